//! What is known of one partition, and how it grows.

use std::fmt;

use clickhouse::Row;
use serde::{Deserialize, Serialize};

use super::MAX_RANGES;
use crate::store::LogPositionRow;

/// Ranges that a message names.
const MAX_LISTED: usize = 10;

/// Offsets of one partition, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OffsetRange {
    /// The smallest.
    pub first: u64,
    /// The largest.
    pub last: u64,
}

impl OffsetRange {
    /// How many offsets.
    #[must_use]
    pub const fn messages(self) -> u64 {
        self.last - self.first + 1
    }

    /// `5-7, 12`, cut when there are many.
    #[must_use]
    pub fn list(ranges: &[Self]) -> String {
        let mut names: Vec<String> = ranges.iter().take(MAX_LISTED).map(ToString::to_string).collect();
        if ranges.len() > MAX_LISTED {
            names.push(format!("and {} more ranges", ranges.len() - MAX_LISTED));
        }
        names.join(", ")
    }
}

impl fmt::Display for OffsetRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last { write!(f, "{}", self.first) } else { write!(f, "{}-{}", self.first, self.last) }
    }
}

/// Messages with one outcome.
#[derive(Clone, Debug, PartialEq, Eq, Row, Deserialize)]
pub(super) struct Count {
    pub(super) outcome: String,
    pub(super) reason: String,
    pub(super) messages: u64,
    pub(super) first_offset: u64,
    pub(super) last_offset: u64,
}

/// What is there of the offsets from one up to and without `end`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) end: u64,
    pub(super) counts: Vec<Count>,
    pub(super) gaps: Vec<OffsetRange>,
    /// Messages with two different outcomes, of which one is in `counts`.
    pub(super) redecided: u64,
}

impl Found {
    /// Whether every offset from `first` on is accounted for. Not so when rows came between the questions.
    pub(super) fn adds_up(&self, first: u64) -> bool {
        let counted: u64 = self.counts.iter().map(|count| count.messages).sum();
        let missing: u64 = self.gaps.iter().map(|gap| gap.messages()).sum();
        counted + missing == self.end - first
    }
}

/// A row of `ledger_checkpoints`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Checkpoint {
    pub(super) partition: u16,
    /// Every smaller offset is counted or missing.
    pub(super) verified_offset: u64,
    pub(super) counted: Vec<Count>,
    /// In order, none touching another.
    pub(super) missing: Vec<OffsetRange>,
    pub(super) redecided: u64,
    pub(super) is_reset: bool,
    pub(super) version: u64,
}

impl Checkpoint {
    /// Nothing is known yet.
    pub(super) fn new(partition: u16) -> Self {
        Self { partition, ..Self::default() }
    }

    /// More gaps than this cannot be remembered.
    pub(super) fn room(&self) -> usize {
        MAX_RANGES.saturating_sub(self.missing.len())
    }

    /// The log ends before what is verified, or has done so: it is another log.
    pub(super) const fn is_after(&self, end_offset: u64) -> bool {
        self.is_reset || end_offset < self.verified_offset
    }

    /// Where this partition must be accounted for: what is committed, and what is deleted from the log.
    pub(super) const fn target(position: &LogPositionRow) -> u64 {
        if position.committed_offset > position.start_offset {
            position.committed_offset
        } else {
            position.start_offset
        }
    }

    /// Offsets that must be accounted for and are not verified yet.
    pub(super) const fn left(&self, position: &LogPositionRow) -> u64 {
        Self::target(position).saturating_sub(self.verified_offset)
    }

    pub(super) fn missing_messages(&self) -> u64 {
        self.missing.iter().map(|range| range.messages()).sum()
    }

    /// Takes in what was found from `verified_offset` on.
    pub(super) fn extend(&mut self, found: Found) {
        self.count(found.counts);
        self.redecided += found.redecided;
        for gap in found.gaps {
            push(&mut self.missing, gap);
        }
        self.verified_offset = found.end;
    }

    /// Takes in what was found from `first` on within `range`, which was missing. The rest of it still is.
    pub(super) fn fill(&mut self, range: OffsetRange, first: u64, found: Found) {
        let Some(index) = self.missing.iter().position(|known| *known == range) else { return };
        self.count(found.counts);
        self.redecided += found.redecided;
        let mut left = Vec::new();
        let rest = |first: u64, end: u64| (first < end).then(|| OffsetRange { first, last: end - 1 });
        for gap in rest(range.first, first).into_iter().chain(found.gaps).chain(rest(found.end, range.last + 1)) {
            push(&mut left, gap);
        }
        self.missing.splice(index..=index, left);
    }

    fn count(&mut self, counts: Vec<Count>) {
        for new in counts {
            let known =
                self.counted.iter_mut().find(|known| known.outcome == new.outcome && known.reason == new.reason);
            match known {
                Some(known) => {
                    known.messages += new.messages;
                    known.first_offset = known.first_offset.min(new.first_offset);
                    known.last_offset = known.last_offset.max(new.last_offset);
                }
                None => self.counted.push(new),
            }
        }
    }

    /// The missing ranges that hold any of `offsets` (in order), each with the smallest of these.
    pub(super) fn touched_by(&self, offsets: &[u64]) -> Vec<(OffsetRange, u64)> {
        let first_in = |range: &OffsetRange| {
            let offset = *offsets.get(offsets.partition_point(|offset| *offset < range.first))?;
            (offset <= range.last).then_some((*range, offset))
        };
        self.missing.iter().filter_map(first_in).collect()
    }
}

/// Adds the next range, or makes the last one longer.
fn push(ranges: &mut Vec<OffsetRange>, next: OffsetRange) {
    match ranges.last_mut() {
        Some(last) if last.last + 1 == next.first => last.last = next.last,
        _ => ranges.push(next),
    }
}

/// As it is written.
#[derive(Debug, Row, Serialize, Deserialize)]
pub(super) struct CheckpointRow {
    log_partition: u16,
    verified_offset: u64,
    counted: Vec<(String, String, u64, u64, u64)>,
    missing: Vec<(u64, u64)>,
    redecided: u64,
    is_reset: bool,
    version: u64,
}

impl From<CheckpointRow> for Checkpoint {
    fn from(row: CheckpointRow) -> Self {
        let counted = row.counted.into_iter().map(|(outcome, reason, messages, first_offset, last_offset)| Count {
            outcome,
            reason,
            messages,
            first_offset,
            last_offset,
        });
        Self {
            partition: row.log_partition,
            verified_offset: row.verified_offset,
            counted: counted.collect(),
            missing: row.missing.into_iter().map(|(first, last)| OffsetRange { first, last }).collect(),
            redecided: row.redecided,
            is_reset: row.is_reset,
            version: row.version,
        }
    }
}

impl From<&Checkpoint> for CheckpointRow {
    fn from(checkpoint: &Checkpoint) -> Self {
        let counted = checkpoint.counted.iter().cloned().map(|count| {
            let Count { outcome, reason, messages, first_offset, last_offset } = count;
            (outcome, reason, messages, first_offset, last_offset)
        });
        Self {
            log_partition: checkpoint.partition,
            verified_offset: checkpoint.verified_offset,
            counted: counted.collect(),
            missing: checkpoint.missing.iter().map(|range| (range.first, range.last)).collect(),
            redecided: checkpoint.redecided,
            is_reset: checkpoint.is_reset,
            version: checkpoint.version,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is there of the offsets from `first` on: `s` stored, `d` duplicate, `.` nothing.
    fn found(first: u64, outcomes: &str) -> Found {
        let offsets = || (first..).zip(outcomes.chars());
        let count = |mark: char, outcome: &str| {
            let mut of = offsets().filter(|(_, found)| *found == mark).map(|(offset, _)| offset);
            let first_offset = of.next()?;
            let (messages, last_offset) = of.fold((1, first_offset), |(messages, _), offset| (messages + 1, offset));
            let (outcome, reason) = (outcome.to_owned(), String::new());
            Some(Count { outcome, reason, messages, first_offset, last_offset })
        };
        let mut gaps = Vec::new();
        for (offset, _) in offsets().filter(|(_, found)| *found == '.') {
            push(&mut gaps, OffsetRange { first: offset, last: offset });
        }
        let counts = [count('s', "stored"), count('d', "duplicate")].into_iter().flatten().collect();
        let found = Found { end: first + outcomes.len() as u64, counts, gaps, redecided: 0 };
        assert!(found.adds_up(first));
        found
    }

    fn told(checkpoint: &Checkpoint) -> (u64, String, String) {
        let counted = checkpoint
            .counted
            .iter()
            .map(|count| format!("{} {} {}-{}", count.messages, count.outcome, count.first_offset, count.last_offset));
        (checkpoint.verified_offset, counted.collect::<Vec<_>>().join(", "), OffsetRange::list(&checkpoint.missing))
    }

    #[test]
    fn grows_by_what_is_found() {
        let stored = |text: &str| text.to_owned();
        for (what, steps, verified, counted, missing) in [
            ("nothing", vec![], 0, "", ""),
            ("all there", vec!["sss"], 3, "3 stored 0-2", ""),
            ("in two steps", vec!["sss", "dsd"], 6, "4 stored 0-4, 2 duplicate 3-5", ""),
            ("gaps at both ends and between", vec![".s..s."], 6, "2 stored 1-4", "0, 2-3, 5"),
            ("one gap over two steps", vec!["s..", "..s"], 6, "2 stored 0-5", "1-4"),
            ("nothing at all", vec!["...", "..."], 6, "", "0-5"),
        ] {
            let mut checkpoint = Checkpoint::new(0);
            for step in steps {
                checkpoint.extend(found(checkpoint.verified_offset, step));
            }
            assert_eq!(told(&checkpoint), (verified, stored(counted), stored(missing)), "{what}");
            let counted: u64 = checkpoint.counted.iter().map(|count| count.messages).sum();
            assert_eq!(counted + checkpoint.missing_messages(), checkpoint.verified_offset, "{what}");
        }
    }

    #[test]
    fn late_outcomes_fill_gaps() {
        for (what, range, first, late, counted, missing) in [
            ("whole", (2, 6), 2, "sssss", "8 stored 0-7", "8"),
            ("its begin", (2, 6), 2, "ss...", "5 stored 0-7", "4-6, 8"),
            ("its end", (2, 6), 5, "sd", "4 stored 0-7, 1 duplicate 6-6", "2-4, 8"),
            ("its middle", (2, 6), 4, "s..", "4 stored 0-7", "2-3, 5-6, 8"),
            ("looked at in part", (2, 6), 3, "s.", "4 stored 0-7", "2, 4-6, 8"),
            ("the last", (8, 8), 8, "s", "4 stored 0-8", "2-6"),
            ("a range that is not missing", (3, 4), 3, "ss", "3 stored 0-7", "2-6, 8"),
        ] {
            let mut checkpoint = Checkpoint::new(0);
            checkpoint.extend(found(0, "ss.....s."));
            checkpoint.fill(OffsetRange { first: range.0, last: range.1 }, first, found(first, late));
            assert_eq!(told(&checkpoint), (9, counted.to_owned(), missing.to_owned()), "{what}");
        }
    }

    #[test]
    fn finds_what_was_filled() {
        let mut checkpoint = Checkpoint::new(0);
        checkpoint.extend(found(0, "..s...s."));
        let touched = |offsets: &[u64]| -> Vec<(String, u64)> {
            checkpoint.touched_by(offsets).into_iter().map(|(range, offset)| (range.to_string(), offset)).collect()
        };
        let touch = |range: &str, offset| (range.to_owned(), offset);
        assert_eq!(touched(&[]), []);
        assert_eq!(touched(&[1]), [touch("0-1", 1)]);
        assert_eq!(touched(&[4, 5, 7]), [touch("3-5", 4), touch("7", 7)]);
        assert_eq!(touched(&[2, 6]), []);
    }

    #[test]
    fn what_must_be_accounted_for() {
        let position = |start_offset, committed_offset, end_offset| LogPositionRow {
            log_partition: 0,
            start_offset,
            end_offset,
            committed_offset,
            at: 0,
        };
        let checkpoint = Checkpoint { verified_offset: 10, ..Checkpoint::default() };
        for (what, position, left, is_reset) in [
            ("committed", position(0, 15, 20), 5, false),
            ("deleted unread", position(18, 15, 20), 8, false),
            ("committed anew from earlier on", position(0, 5, 20), 0, false),
            ("idle", position(10, 10, 10), 0, false),
            ("another log", position(0, 3, 9), 0, true),
        ] {
            assert_eq!(
                (checkpoint.left(&position), checkpoint.is_after(position.end_offset)),
                (left, is_reset),
                "{what}"
            );
        }
        let flagged = Checkpoint { is_reset: true, ..checkpoint };
        assert!(flagged.is_after(1_000), "what was another log stays one");
    }

    #[test]
    fn lists_are_short() {
        let ranges: Vec<OffsetRange> = (0..12).map(|n| OffsetRange { first: n * 10, last: n * 10 + n % 2 }).collect();
        let list = OffsetRange::list(&ranges);
        assert_eq!(list, "0, 10-11, 20, 30-31, 40, 50-51, 60, 70-71, 80, 90-91, and 2 more ranges");
    }
}
