//! The waiting room: records whose time has not come, and those that are due, the URL that expires first before the others.

use std::collections::BTreeMap;

use crate::domain::UtcMillis;

/// Orders what waits. `T` is what is waited with.
#[derive(Debug)]
pub(super) struct Waiting<T> {
    /// By the time before which they may not be tried. The number tells equal times apart.
    early: BTreeMap<(UtcMillis, u64), (UtcMillis, T)>,
    /// By the URL's end.
    due: BTreeMap<(UtcMillis, u64), T>,
    last_number: u64,
}

impl<T> Waiting<T> {
    pub(super) const fn new() -> Self {
        Self { early: BTreeMap::new(), due: BTreeMap::new(), last_number: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.early.len() + self.due.len()
    }

    pub(super) fn push(&mut self, not_before: UtcMillis, expires_at: UtcMillis, item: T) {
        self.last_number += 1;
        self.early.insert((not_before, self.last_number), (expires_at, item));
    }

    /// The most urgent of those that are due at `now`.
    pub(super) fn pop(&mut self, now: UtcMillis) -> Option<T> {
        while let Some(first) = self.early.first_entry().filter(|first| first.key().0 <= now) {
            let number = first.key().1;
            let (expires_at, item) = first.remove();
            self.due.insert((expires_at, number), item);
        }
        self.due.pop_first().map(|(_, item)| item)
    }

    /// When the next one is due: now or earlier if one is.
    pub(super) fn next_due(&self) -> Option<UtcMillis> {
        if self.due.is_empty() { self.early.keys().next().map(|(at, _)| *at) } else { Some(UtcMillis(i64::MIN)) }
    }

    /// Keeps only what `stays` says.
    pub(super) fn retain(&mut self, mut stays: impl FnMut(&T) -> bool) {
        self.early.retain(|_, (_, item)| stays(item));
        self.due.retain(|_, item| stays(item));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_url_that_ends_first_goes_first_among_those_that_are_due() {
        let mut waiting = Waiting::new();
        for (not_before, expires_at, item) in [(10, 500, 'a'), (20, 300, 'b'), (20, 300, 'c'), (30, 100, 'd')] {
            waiting.push(UtcMillis(not_before), UtcMillis(expires_at), item);
        }
        assert_eq!(waiting.next_due(), Some(UtcMillis(10)));
        assert_eq!(waiting.pop(UtcMillis(9)), None);
        assert_eq!(waiting.pop(UtcMillis(20)), Some('b'));
        assert_eq!(waiting.next_due(), Some(UtcMillis(i64::MIN)));
        assert_eq!(waiting.pop(UtcMillis(30)), Some('d'));
        assert_eq!(waiting.len(), 2);
        waiting.retain(|item| *item != 'c');
        assert_eq!(waiting.pop(UtcMillis(30)), Some('a'));
        assert_eq!((waiting.len(), waiting.next_due()), (0, None));
    }
}
