//! Personal data and secrets, found by type.
//!
//! Regular expressions without backtracking find candidates, and each type's own rules decide: check digits, lengths,
//! what may stand before and after. So the time is linear in the text, and ids, times, hashes and prices do not match. What
//! has no check digit and no usual form (names, addresses, numbers without separators) is not found.

mod api_key;
mod card;
mod email;
mod iban;
mod phone;
mod scan;
mod ssn;

use std::ops::Range;

use serde::Deserialize;

use scan::Scanned;

/// A type of what is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PiiKind {
    /// An e-mail address.
    Email,
    /// A telephone number, with `+` or in a common national form with separators.
    Phone,
    /// A payment card number: known prefix and length, right check digit (Luhn).
    Card,
    /// An international bank account number: the country's length, right check digits (ISO 13616).
    Iban,
    /// A US social security number that can have been issued, with hyphens.
    Ssn,
    /// A key, token or private key of a known form.
    ApiKey,
}

impl PiiKind {
    /// All of them, in the order of [`PiiCounts`].
    pub const ALL: [Self; 6] = [Self::Email, Self::Phone, Self::Card, Self::Iban, Self::Ssn, Self::ApiKey];

    /// The word in settings, metrics, columns and policies.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Email => "email",
            Self::Phone => "phone",
            Self::Card => "card",
            Self::Iban => "iban",
            Self::Ssn => "ssn",
            Self::ApiKey => "api_key",
        }
    }

    /// What stands in its place after redaction. Holds nothing that is found itself.
    #[must_use]
    pub const fn placeholder(self) -> &'static str {
        match self {
            Self::Email => "[email]",
            Self::Phone => "[phone]",
            Self::Card => "[card]",
            Self::Iban => "[iban]",
            Self::Ssn => "[ssn]",
            Self::ApiKey => "[api_key]",
        }
    }
}

/// How often each type was found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PiiCounts([u32; PiiKind::ALL.len()]);

impl PiiCounts {
    /// How often `kind` was found.
    #[must_use]
    pub const fn of(self, kind: PiiKind) -> u32 {
        self.0[kind as usize]
    }

    /// Counts one more.
    pub const fn add(&mut self, kind: PiiKind) {
        let count = &mut self.0[kind as usize];
        *count = count.saturating_add(1);
    }

    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self(std::array::from_fn(|kind| self.0[kind].saturating_add(other.0[kind])))
    }
}

/// Something found, by its bytes in the text that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Its type.
    pub kind: PiiKind,
    /// Where it stands, escapes included.
    pub range: Range<usize>,
}

/// What is in `text` of `kinds`, in order, none overlapping another: the one that begins first is taken, of two that
/// begin together the longer. JSON escapes are understood, also those of JSON inside a JSON string.
#[must_use]
pub fn find(text: &str, kinds: &[PiiKind]) -> Vec<Finding> {
    let scanned = Scanned::new(text);
    let mut found = Vec::new();
    for kind in kinds {
        let mut push = |range| found.push((*kind, range));
        let bytes = scanned.bytes();
        match kind {
            PiiKind::Email => email::find(bytes, &mut push),
            PiiKind::Phone => phone::find(bytes, &mut push),
            PiiKind::Card => card::find(bytes, &mut push),
            PiiKind::Iban => iban::find(bytes, &mut push),
            PiiKind::Ssn => ssn::find(bytes, &mut push),
            PiiKind::ApiKey => api_key::find(bytes, &mut push),
        }
    }
    found.sort_by_key(|(kind, range)| (range.start, std::cmp::Reverse(range.end), *kind));
    let mut end = 0;
    found.retain(|(_, range)| {
        let is_free = range.start >= end;
        if is_free {
            end = range.end;
        }
        is_free
    });
    found.into_iter().map(|(kind, range)| Finding { kind, range: scanned.in_text(&range) }).collect()
}

/// How often each of `findings`' types occurs.
#[must_use]
pub fn count(findings: &[Finding]) -> PiiCounts {
    let mut counts = PiiCounts::default();
    for finding in findings {
        counts.add(finding.kind);
    }
    counts
}

/// A detector's expression over bytes, compiled once, without Unicode classes.
macro_rules! expression {
    ($pattern:expr) => {{
        static EXPRESSION: std::sync::LazyLock<regex::bytes::Regex> =
            std::sync::LazyLock::new(|| super::compile(concat!("(?-u)", $pattern)));
        &*EXPRESSION
    }};
}
use expression;

#[expect(clippy::expect_used, reason = "constants, all of which the tests compile")]
fn compile(pattern: &str) -> regex::bytes::Regex {
    regex::bytes::Regex::new(pattern).expect("a valid expression")
}

/// Hands each candidate to `judge`, which returns where one that it took ends. After one that it did not take the search
/// goes on one byte later, since the next may begin within it. For expressions that match a bounded length only.
fn each_candidate(expression: &regex::bytes::Regex, text: &[u8], mut judge: impl FnMut(Range<usize>) -> Option<usize>) {
    let mut at = 0;
    while let Some(found) = expression.find_at(text, at) {
        at = judge(found.range()).unwrap_or(found.start() + 1);
    }
}

/// The byte before `at`.
fn before(text: &[u8], at: usize) -> Option<u8> {
    at.checked_sub(1).and_then(|at| text.get(at)).copied()
}

/// Whether `at` is followed by a digit: `.5` after a number makes it another number.
fn is_digit_at(text: &[u8], at: usize) -> bool {
    text.get(at).is_some_and(u8::is_ascii_digit)
}

/// Whether a run of digits with hyphens that ends at `end` is over there, rather than part of a longer id or number.
fn ends_number(text: &[u8], end: usize) -> bool {
    match text.get(end) {
        None => true,
        Some(b'-' | b'.' | b'_' | b'/') => !text.get(end + 1).is_some_and(u8::is_ascii_alphanumeric),
        Some(byte) => !byte.is_ascii_alphanumeric(),
    }
}

/// Whether one that begins at `start` begins there, rather than in the middle of a longer id or number.
fn begins_number(text: &[u8], start: usize) -> bool {
    !before(text, start).is_some_and(|byte| byte.is_ascii_alphanumeric() || b"-._/+=#%$".contains(&byte))
}

#[cfg(test)]
mod tests;
