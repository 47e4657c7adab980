//! What a comparison found.

use std::fmt::{self, Debug};

/// So many differences are shown.
const MAX_EXAMPLES: usize = 12;

#[derive(Default)]
pub(crate) struct Findings {
    pub(super) requests: u64,
    /// Accepted, and not in `requests`.
    pub(super) lost: u64,
    /// More than one row for one id.
    pub(super) doubled: u64,
    /// Rows and groups of which a field differs, and groups that are missing or nobody sent.
    pub(super) wrong: u64,
    /// Rows that nobody sent, or whose sender was never told that they were accepted.
    pub(super) unknown: u64,
    /// Groups compared, by view.
    pub(super) groups: Vec<(&'static str, usize)>,
    pub(super) examples: Vec<String>,
}

impl Findings {
    pub(super) fn example(&mut self, example: impl FnOnce() -> String) {
        if self.examples.len() < MAX_EXAMPLES {
            self.examples.push(example());
        }
    }

    /// A row or a group was compared; `name` says which.
    pub(super) fn compared(&mut self, differences: &Differences, name: impl FnOnce() -> String) {
        if !differences.0.is_empty() {
            self.wrong += 1;
            self.example(|| format!("{}: {}", name(), differences.0.join("; ")));
        }
    }

    /// Fails unless everything is as it should be.
    pub(crate) fn assert_exact(&self) {
        assert_eq!((self.lost, self.doubled, self.wrong, self.unknown), (0, 0, 0, 0), "{self}");
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { requests, lost, doubled, wrong, unknown, groups, examples } = self;
        let groups: Vec<String> = groups.iter().map(|(view, count)| format!("{view} {count}")).collect();
        writeln!(f, "compared {requests} requests, and groups: {}", groups.join(", "))?;
        write!(f, "lost {lost}, doubled {doubled}, wrong {wrong}, unknown {unknown}")?;
        examples.iter().try_for_each(|example| write!(f, "\n  {example}"))
    }
}

/// The fields of one row or group that are not as they should be.
#[derive(Default)]
pub(super) struct Differences(Vec<String>);

impl Differences {
    pub(super) fn equal<T: Copy + PartialEq + Debug>(&mut self, name: &str, expected: T, found: T) {
        self.holds(name, expected == found, &expected, &found);
    }

    pub(super) fn holds(&mut self, name: &str, is_right: bool, expected: &dyn Debug, found: &dyn Debug) {
        if !is_right {
            self.0.push(format!("{name} is {found:?}, not {expected:?}"));
        }
    }
}
