//! The tables of totals: four grains for each of two groupings, each computed from the next finer one.

use std::collections::BTreeSet;

use super::pass::Bucket;

const MINUTE: u32 = 60;
const HOUR: u32 = 3_600;
const DAY: u32 = 86_400;

/// The length of a bucket. All are UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Grain {
    /// Computed from the rows.
    Minute,
    /// Computed from minutes; an hour whose minutes may have been removed, from the rows.
    Hour,
    /// Computed from hours.
    Day,
    /// Computed from days.
    Month,
}

impl Grain {
    /// From the finest to the coarsest, which is the order of computation.
    pub const ALL: [Self; 4] = [Self::Minute, Self::Hour, Self::Day, Self::Month];

    /// The word in the names of tables and views.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Minute => "minute",
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Month => "month",
        }
    }

    /// What it is computed from; `None` for the rows.
    #[must_use]
    pub const fn finer(self) -> Option<Self> {
        match self {
            Self::Minute => None,
            Self::Hour => Some(Self::Minute),
            Self::Day => Some(Self::Hour),
            Self::Month => Some(Self::Day),
        }
    }

    /// The start of the bucket that holds `seconds` since 1970.
    #[must_use]
    pub fn start(self, seconds: u32) -> u32 {
        match self {
            Self::Minute => seconds - seconds % MINUTE,
            Self::Hour => seconds - seconds % HOUR,
            Self::Day => seconds - seconds % DAY,
            Self::Month => {
                let day = seconds - seconds % DAY;
                day - (day_of_month(day) - 1) * DAY
            }
        }
    }

    /// The start of the bucket after the one that starts at `start`.
    #[must_use]
    pub fn next(self, start: u32) -> u32 {
        match self {
            Self::Minute => start + MINUTE,
            Self::Hour => start + HOUR,
            Self::Day => start + DAY,
            // 31 days after the first of a month is in the next one.
            Self::Month => self.start(start + 31 * DAY),
        }
    }

    /// The SQL of the start of the bucket that holds the time in `column`.
    pub(super) fn start_of(self, column: &str) -> String {
        match self {
            Self::Minute => format!("toStartOfMinute({column})"),
            Self::Hour => format!("toStartOfHour({column})"),
            Self::Day => format!("toStartOfDay({column})"),
            Self::Month => format!("toDateTime(toStartOfMonth({column}), 'UTC')"),
        }
    }
}

/// 1 to 31.
fn day_of_month(day_start: u32) -> u32 {
    let day = jiff::Timestamp::from_second(i64::from(day_start))
        .map_or(1, |timestamp| timestamp.to_zoned(jiff::tz::TimeZone::UTC).day());
    u32::try_from(day).unwrap_or(1)
}

/// What the groups of a table are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grouping {
    /// `model_minute` to `model_month`.
    Model,
    /// `user_minute` to `user_month`.
    User,
}

impl Grouping {
    /// All groupings.
    pub const ALL: [Self; 2] = [Self::Model, Self::User];

    /// The columns of a group, after `bucket` and `source`.
    #[must_use]
    pub const fn columns(self) -> [&'static str; 2] {
        match self {
            Self::Model => ["model", "provider"],
            Self::User => ["user_id", "model"],
        }
    }

    const fn word(self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::User => "user",
        }
    }
}

/// One table of totals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Table {
    /// Its groups.
    pub grouping: Grouping,
    /// Its buckets.
    pub grain: Grain,
}

impl Table {
    /// Every table, in the order of computation.
    pub fn all() -> impl Iterator<Item = Self> {
        Grouping::ALL.into_iter().flat_map(|grouping| Grain::ALL.map(|grain| Self { grouping, grain }))
    }

    /// The view that people read, such as `model_minute`.
    #[must_use]
    pub fn view(self) -> String {
        format!("{}_{}", self.grouping.word(), self.grain.word())
    }

    /// The table with versions and tombstones.
    #[must_use]
    pub fn rows(self) -> String {
        format!("{}_rows", self.view())
    }
}

/// The buckets of `grain` that hold these.
pub(super) fn coarser(buckets: &BTreeSet<Bucket>, grain: Grain) -> BTreeSet<Bucket> {
    buckets.iter().map(|bucket| Bucket { source: bucket.source.clone(), start: grain.start(bucket.start) }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(text: &str) -> u32 {
        u32::try_from(text.parse::<jiff::Timestamp>().expect("a time").as_second()).expect("after 1970")
    }

    #[test]
    fn buckets_start_and_follow_each_other() {
        for (at, grain, start, next) in [
            ("2026-11-21T23:59:59Z", Grain::Minute, "2026-11-21T23:59:00Z", "2026-11-22T00:00:00Z"),
            ("2026-11-21T23:59:59Z", Grain::Hour, "2026-11-21T23:00:00Z", "2026-11-22T00:00:00Z"),
            ("2026-11-30T23:59:59Z", Grain::Day, "2026-11-30T00:00:00Z", "2026-12-01T00:00:00Z"),
            ("2026-11-21T23:59:59Z", Grain::Month, "2026-11-01T00:00:00Z", "2026-12-01T00:00:00Z"),
            ("2024-02-29T00:00:00Z", Grain::Month, "2024-02-01T00:00:00Z", "2024-03-01T00:00:00Z"),
            ("2026-12-31T12:00:00Z", Grain::Month, "2026-12-01T00:00:00Z", "2027-01-01T00:00:00Z"),
            ("2026-01-01T00:00:00Z", Grain::Month, "2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z"),
        ] {
            assert_eq!(grain.start(seconds(at)), seconds(start), "{at} {grain:?}");
            assert_eq!(grain.next(seconds(start)), seconds(next), "{at} {grain:?}");
        }
    }

    #[test]
    fn every_table_is_computed_after_its_origin() {
        let all: Vec<Table> = Table::all().collect();
        assert_eq!(all.len(), 8);
        for (index, table) in all.iter().enumerate() {
            let origin = table.grain.finer().map(|grain| Table { grain, ..*table });
            assert!(origin.is_none_or(|origin| all[..index].contains(&origin)), "{}", table.view());
        }
    }
}
