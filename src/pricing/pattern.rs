//! Names and globs of providers and models, and which of two is the more specific.

use std::cmp::Ordering;

use wildmatch::WildMatch;

/// A name, or a glob in which `*` stands for any text. Case does not matter.
#[derive(Clone, Debug)]
pub struct Pattern {
    /// Lower case.
    text: String,
    glob: Option<WildMatch>,
}

/// How much a pattern says: an exact name more than any glob, then the longer text before the first `*`, then the longer
/// text in all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Specificity {
    is_exact: bool,
    prefix_length: usize,
    literal_length: usize,
}

/// Longer names are nobody's.
const MAX_LENGTH: usize = 256;

impl Pattern {
    /// Reads a pattern; the error says what is wrong with it.
    ///
    /// # Errors
    /// When it is empty, too long, or has a `?`.
    pub fn new(text: &str) -> Result<Self, String> {
        if text.trim().is_empty() || text.trim() != text {
            return Err(format!("`{text}` is empty or has blanks around it"));
        }
        if text.len() > MAX_LENGTH {
            return Err(format!("`{text:.40}…` is longer than {MAX_LENGTH} bytes"));
        }
        if text.contains('?') {
            return Err(format!("`{text}` has a `?`; only `*` stands for other text"));
        }
        let text = text.to_lowercase();
        let glob = text.contains('*').then(|| WildMatch::new(&text));
        Ok(Self { text, glob })
    }

    /// Whether it fits a name, which must be in lower case.
    #[must_use]
    pub fn matches(&self, lower_case_name: &str) -> bool {
        match &self.glob {
            None => self.text == lower_case_name,
            // Most globs are ruled out by their beginning, which is cheaper to look at.
            Some(glob) => lower_case_name.starts_with(self.prefix()) && glob.matches(lower_case_name),
        }
    }

    /// The pattern in lower case.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Without any `*`.
    #[must_use]
    pub const fn is_exact(&self) -> bool {
        self.glob.is_none()
    }

    fn prefix(&self) -> &str {
        self.text.split('*').next().unwrap_or_default()
    }

    /// How much it says.
    #[must_use]
    pub fn specificity(&self) -> Specificity {
        Specificity {
            is_exact: self.is_exact(),
            prefix_length: self.prefix().len(),
            literal_length: self.text.chars().filter(|letter| *letter != '*').count(),
        }
    }

    /// Whether some name fits both.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        overlap(&self.text.chars().collect::<Vec<_>>(), &other.text.chars().collect::<Vec<_>>())
    }
}

/// `table[i][j]`: whether some text fits the ends of both patterns that begin at `i` and `j`.
fn overlap(a: &[char], b: &[char]) -> bool {
    let mut below = vec![false; b.len() + 1];
    for i in (0..=a.len()).rev() {
        let mut row = vec![false; b.len() + 1];
        for j in (0..=b.len()).rev() {
            row[j] = match (a.get(i), b.get(j)) {
                (None, None) => true,
                (Some('*'), _) if below[j] => true,
                (_, Some('*')) if row[j + 1] => true,
                // A star takes the other's next letter.
                (Some('*'), Some(letter)) if *letter != '*' => row[j + 1],
                (Some(letter), Some('*')) if *letter != '*' => below[j],
                (Some(x), Some(y)) => x == y && *x != '*' && below[j + 1],
                _ => false,
            };
        }
        below = row;
    }
    below[0]
}

/// Most specific first.
pub(super) fn most_specific_first(a: &Pattern, b: &Pattern) -> Ordering {
    b.specificity().cmp(&a.specificity())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pattern(text: &str) -> Pattern {
        Pattern::new(text).expect(text)
    }

    #[test]
    fn the_more_specific_comes_first() {
        let mut patterns = ["*", "gpt-*", "gpt-4o*", "gpt-4*-mini", "gpt-4*", "GPT-4o", "*-mini"].map(pattern).to_vec();
        patterns.sort_by(most_specific_first);
        let order: Vec<_> = patterns.iter().map(Pattern::as_str).collect();
        assert_eq!(order, ["gpt-4o", "gpt-4o*", "gpt-4*-mini", "gpt-4*", "gpt-*", "*-mini", "*"]);
    }

    #[test]
    fn two_globs_overlap_when_a_name_fits_both() {
        for (a, b, expected) in [
            ("a*b", "ab*", true),
            ("a*", "b*", false),
            ("*-mini", "gpt-*", true),
            ("gpt-*-a", "gpt-*-b", false),
            ("gpt-4o", "gpt-4o", true),
            ("gpt-4o", "gpt-4*", true),
            ("gpt-5", "gpt-4*", false),
            ("*", "*", true),
            ("*a*", "*b*", true),
            ("a**", "a", true),
        ] {
            assert_eq!(pattern(a).overlaps(&pattern(b)), expected, "{a} {b}");
            assert_eq!(pattern(b).overlaps(&pattern(a)), expected, "{b} {a}");
        }
    }

    #[test]
    fn a_wrong_pattern_is_refused() {
        for text in ["", " ", " gpt", "gpt-?", &"x".repeat(300)] {
            Pattern::new(text).expect_err(text);
        }
    }

    proptest! {
        /// What fits both proves that they overlap.
        #[test]
        fn a_name_that_fits_both_is_an_overlap(a in "[ab*]{1,6}", b in "[ab*]{1,6}", name in "[ab]{0,8}") {
            let (a, b) = (pattern(&a), pattern(&b));
            if a.matches(&name) && b.matches(&name) {
                prop_assert!(a.overlaps(&b));
            }
        }
    }
}
