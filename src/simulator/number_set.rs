//! A set of event numbers, one bit each.

/// The numbers below a bound that is known from the start.
#[derive(Debug)]
pub(super) struct NumberSet {
    words: Vec<u64>,
    len: u64,
}

impl NumberSet {
    /// An empty set of numbers below `bound`.
    pub(super) fn new(bound: u64) -> Self {
        let words = usize::try_from(bound.div_ceil(64)).unwrap_or(0);
        Self { words: vec![0; words], len: 0 }
    }

    /// Puts a number in; false when it was there or is out of bounds.
    pub(super) fn insert(&mut self, number: u64) -> bool {
        let word = usize::try_from(number / 64).ok().and_then(|index| self.words.get_mut(index));
        let bit = 1 << (number % 64);
        match word {
            Some(word) if *word & bit == 0 => {
                *word |= bit;
                self.len += 1;
                true
            }
            _ => false,
        }
    }

    /// How many numbers it has.
    pub(super) const fn len(&self) -> u64 {
        self.len
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_goes_in_once() {
        let mut set = NumberSet::new(130);
        assert!(set.insert(0) && set.insert(129) && !set.insert(129) && !set.insert(500));
        assert_eq!(set.len(), 2);
    }
}
