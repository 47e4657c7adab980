//! Which stretch of time a page shows, and which totals answer it with the fewest rows.

use jiff::{Timestamp, ToSpan, civil, tz::TimeZone};

use super::params::Params;
use crate::domain::UtcMillis;

const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 60 * MINUTE_MS;
const DAY_MS: i64 = 24 * HOUR_MS;
/// More days than this do not fit into one chart, nor into its table.
const MAX_DAYS: i64 = 1_100;

/// The length of a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Grain {
    Minute,
    Hour,
    Day,
    Month,
}

impl Grain {
    const COARSEST_FIRST: [Self; 4] = [Self::Month, Self::Day, Self::Hour, Self::Minute];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Minute => "minute",
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Month => "month",
        }
    }

    /// Start of the bucket that holds `at`.
    pub(super) fn start(self, at: UtcMillis) -> UtcMillis {
        let floor = |length_ms: i64| UtcMillis(at.0 - at.0.rem_euclid(length_ms));
        match self {
            Self::Minute => floor(MINUTE_MS),
            Self::Hour => floor(HOUR_MS),
            Self::Day => floor(DAY_MS),
            Self::Month => month(at, 0),
        }
    }

    /// Start of the bucket after the one that holds `at`.
    pub(super) fn next(self, at: UtcMillis) -> UtcMillis {
        let start = self.start(at);
        match self {
            Self::Minute => UtcMillis(start.0 + MINUTE_MS),
            Self::Hour => UtcMillis(start.0 + HOUR_MS),
            Self::Day => UtcMillis(start.0 + DAY_MS),
            Self::Month => month(at, 1),
        }
    }
}

/// Start of the month that is so many months after the one of `at`.
fn month(at: UtcMillis, later: i64) -> UtcMillis {
    let start = Timestamp::from_millisecond(at.0)
        .map(|at| at.to_zoned(TimeZone::UTC).date().first_of_month())
        .and_then(|first| first.checked_add(later.months()))
        .and_then(|first| first.to_zoned(TimeZone::UTC));
    start.map_or(at, |start| UtcMillis(start.timestamp().as_millisecond()))
}

/// Buckets of one grain in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) grain: Grain,
    pub(super) from: UtcMillis,
    /// Exclusive.
    pub(super) to: UtcMillis,
}

/// The fewest buckets that make up `from..to`, both widened to whole minutes.
pub(super) fn cover(from: UtcMillis, to: UtcMillis) -> Vec<Segment> {
    let to = Grain::Minute.next(UtcMillis(to.0 - 1));
    let mut segments: Vec<Segment> = Vec::new();
    let mut at = Grain::Minute.start(from);
    while at < to {
        let fits = |grain: &Grain| grain.start(at) == at && grain.next(at) <= to;
        let grain = Grain::COARSEST_FIRST.into_iter().find(fits).unwrap_or(Grain::Minute);
        let next = grain.next(at);
        match segments.last_mut() {
            Some(last) if last.grain == grain => last.to = next,
            _ => segments.push(Segment { grain, from: at, to: next }),
        }
        at = next;
    }
    segments
}

/// What the links above every page offer, and what its form does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Choice {
    LastHour,
    Last24Hours,
    Last7Days,
    Last30Days,
    Last90Days,
    MonthToDate,
    Between,
}

impl Choice {
    pub(super) const LINKS: [Self; 6] =
        [Self::LastHour, Self::Last24Hours, Self::Last7Days, Self::Last30Days, Self::Last90Days, Self::MonthToDate];

    /// Value of `range` in a URL.
    pub(super) const fn key(self) -> &'static str {
        match self {
            Self::LastHour => "1h",
            Self::Last24Hours => "24h",
            Self::Last7Days => "7d",
            Self::Last30Days => "30d",
            Self::Last90Days => "90d",
            Self::MonthToDate => "month",
            Self::Between => "",
        }
    }

    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::LastHour => "last hour",
            Self::Last24Hours => "last 24 hours",
            Self::Last7Days => "last 7 days",
            Self::Last30Days => "last 30 days",
            Self::Last90Days => "last 90 days",
            Self::MonthToDate => "month to date",
            Self::Between => "chosen range",
        }
    }
}

/// A stretch of time, in whole buckets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) choice: Choice,
    pub(super) from: UtcMillis,
    /// Exclusive; of ranges that end now, the end of the bucket that is being filled.
    pub(super) to: UtcMillis,
    /// Of the charts.
    pub(super) grain: Grain,
}

impl Range {
    /// One that ends now.
    pub(super) fn until_now(choice: Choice, now: UtcMillis) -> Self {
        let (grain, buckets) = match choice {
            Choice::LastHour => (Grain::Minute, 60),
            Choice::Last24Hours | Choice::Between => (Grain::Hour, 24),
            Choice::Last7Days => (Grain::Hour, 7 * 24),
            Choice::Last30Days => (Grain::Day, 30),
            Choice::Last90Days => (Grain::Day, 90),
            Choice::MonthToDate => {
                let from = Grain::Month.start(now);
                let grain = if now.0 - from.0 < 3 * DAY_MS { Grain::Hour } else { Grain::Day };
                return Self { choice, from, to: grain.next(now), grain };
            }
        };
        let to = grain.next(now);
        let length_ms = to.0 - grain.start(now).0;
        Self { choice, from: UtcMillis(to.0 - buckets * length_ms), to, grain }
    }

    /// From `from` to `to`, widened to whole buckets of the grain that suits its length.
    fn between(from: UtcMillis, to: UtcMillis) -> Result<Self, &'static str> {
        if from >= to {
            return Err("the range ends before it begins");
        }
        let grain = match to.0 - from.0 {
            length_ms if length_ms <= 6 * HOUR_MS => Grain::Minute,
            length_ms if length_ms <= 14 * DAY_MS => Grain::Hour,
            length_ms if length_ms <= MAX_DAYS * DAY_MS => Grain::Day,
            _ => return Err("the range is longer than three years"),
        };
        Ok(Self { choice: Choice::Between, from: grain.start(from), to: grain.next(UtcMillis(to.0 - 1)), grain })
    }

    /// What the URL says, and what is wrong with it. Without a word it is the last 24 hours.
    pub(super) fn parse(params: &Params, now: UtcMillis) -> (Self, Option<String>) {
        let usual = Self::until_now(Choice::Last24Hours, now);
        let (from, to) = (params.get("from"), params.get("to"));
        if !from.is_empty() || !to.is_empty() {
            let end = if to.is_empty() { Ok(now) } else { time(to) };
            return match time(from).and_then(|from| Self::between(from, end?)) {
                Ok(range) => (range, None),
                Err(problem) => (usual, Some(format!("{problem}; here are the last 24 hours"))),
            };
        }
        let key = params.get("range");
        match Choice::LINKS.into_iter().find(|choice| choice.key() == key) {
            Some(choice) => (Self::until_now(choice, now), None),
            None if key.is_empty() => (usual, None),
            None => (usual, Some("there is no such range; here are the last 24 hours".to_owned())),
        }
    }

    /// The fewest buckets that hold the range. What ends now may take the whole present month: nothing is in the future.
    pub(super) fn segments(&self) -> Vec<Segment> {
        match self.choice {
            Choice::Between => cover(self.from, self.to),
            _ => cover(self.from, Grain::Month.next(UtcMillis(self.to.0 - 1))),
        }
    }

    /// The buckets of the charts.
    pub(super) const fn series(&self) -> Segment {
        Segment { grain: self.grain, from: self.from, to: self.to }
    }

    /// The same for totals by user, whose minutes are kept for some days only: hours, where they are gone.
    pub(super) fn kept_for_users(&self, minutes: UserMinutes) -> Self {
        if self.grain > Grain::Minute || self.from >= minutes.kept_since {
            return *self;
        }
        let to = Grain::Hour.next(UtcMillis(self.to.0 - 1));
        Self { from: Grain::Hour.start(self.from), to, grain: Grain::Hour, ..*self }
    }
}

/// How far back minutes by user are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct UserMinutes {
    kept_since: UtcMillis,
}

impl UserMinutes {
    /// By `clickhouse.retention.user_minute_days`, a day less to be sure; 0 is for ever.
    pub(super) fn of(days: u32, now: UtcMillis) -> Self {
        let kept_since = if days == 0 { i64::MIN } else { now.0 - i64::from(days - 1) * DAY_MS };
        Self { kept_since: UtcMillis(kept_since) }
    }

    /// Where a stretch ends that can be answered: with a whole hour, where minutes are gone.
    pub(super) fn end(self, to: UtcMillis) -> UtcMillis {
        if Grain::Hour.start(to) >= self.kept_since { to } else { Grain::Hour.start(to) }
    }
}

/// `2026-11-24T12:30` or `2026-11-24`, in UTC, as browsers write it.
fn time(text: &str) -> Result<UtcMillis, &'static str> {
    const PROBLEM: &str = "times are written like 2026-11-24T12:30, in UTC";
    let at = text
        .parse::<civil::DateTime>()
        .or_else(|_| text.parse::<civil::Date>().map(|date| date.at(0, 0, 0, 0)))
        .map_err(|_| PROBLEM)?;
    if !(2000..=2100).contains(&at.year()) {
        return Err(PROBLEM);
    }
    let at = at.to_zoned(TimeZone::UTC).map_err(|_| PROBLEM)?;
    Ok(UtcMillis(at.timestamp().as_millisecond()))
}

/// Stretches that end now, beside the same ones of the period before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Comparison {
    pub(super) from: UtcMillis,
    pub(super) before: (UtcMillis, UtcMillis),
}

impl Comparison {
    /// Today, and yesterday until the same time.
    pub(super) fn today(now: UtcMillis) -> Self {
        let from = Grain::Day.start(now);
        Self { from, before: (UtcMillis(from.0 - DAY_MS), UtcMillis(now.0 - DAY_MS)) }
    }

    /// This month, and the last one until the same day and time, or its end.
    pub(super) fn month(now: UtcMillis) -> Self {
        let from = Grain::Month.start(now);
        let before = month(now, -1);
        Self { from, before: (before, UtcMillis(from.0.min(before.0 + now.0 - from.0))) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> UtcMillis {
        UtcMillis(text.parse::<Timestamp>().expect("a time").as_millisecond())
    }

    fn told(range: &Range) -> String {
        format!("{} {} {}", range.from, range.to, range.grain.name()).replace(":00.000Z", "Z")
    }

    #[test]
    fn each_range_has_its_buckets() {
        let now = at("2026-11-25T20:19:31Z");
        for (query, expected) in [
            ("", "2026-11-24T21:00Z 2026-11-25T21:00Z hour"),
            ("range=1h", "2026-11-25T19:20Z 2026-11-25T20:20Z minute"),
            ("range=24h", "2026-11-24T21:00Z 2026-11-25T21:00Z hour"),
            ("range=7d", "2026-11-18T21:00Z 2026-11-25T21:00Z hour"),
            ("range=30d", "2026-10-27T00:00Z 2026-11-26T00:00Z day"),
            ("range=90d", "2026-08-28T00:00Z 2026-11-26T00:00Z day"),
            ("range=month", "2026-11-01T00:00Z 2026-11-26T00:00Z day"),
            ("from=2026-11-25T10:00&to=2026-11-25T10:30", "2026-11-25T10:00Z 2026-11-25T10:30Z minute"),
            ("from=2026-11-20T10:20&to=2026-11-22", "2026-11-20T10:00Z 2026-11-22T00:00Z hour"),
            ("from=2026-01-01T05:00&to=2026-03-01T00:01", "2026-01-01T00:00Z 2026-03-02T00:00Z day"),
            ("from=2026-11-25T18:00", "2026-11-25T18:00Z 2026-11-25T20:20Z minute"),
        ] {
            let (range, problem) = Range::parse(&Params::parse(Some(query)), now);
            assert_eq!((told(&range).as_str(), problem), (expected, None), "{query}");
        }
        for wrong in [
            "range=2h",
            "from=yesterday",
            "to=2026-11-25",
            "from=2026-11-25&to=2026-11-24",
            "from=2001-01-01",
            "from=0001-01-01",
        ] {
            let (range, problem) = Range::parse(&Params::parse(Some(wrong)), now);
            assert_eq!(range, Range::until_now(Choice::Last24Hours, now), "{wrong}");
            assert!(problem.expect("a problem").ends_with("here are the last 24 hours"), "{wrong}");
        }
        let early = Range::until_now(Choice::MonthToDate, at("2026-11-02T10:00:00Z"));
        assert_eq!(told(&early), "2026-11-01T00:00Z 2026-11-02T11:00Z hour");
    }

    #[test]
    fn the_coarsest_totals_answer() {
        let now = at("2026-11-25T20:19:31Z");
        let grains = |query: &str| {
            let (range, _) = Range::parse(&Params::parse(Some(query)), now);
            let of = |segment: &Segment| format!("{}×{}", buckets(segment), segment.grain.name());
            range.segments().iter().map(of).collect::<Vec<_>>().join(" ")
        };
        for (query, expected) in [
            ("range=month", "1×month"),
            ("range=30d", "5×day 1×month"),
            ("range=90d", "4×day 3×month"),
            ("range=24h", "3×hour 6×day"),
            ("range=1h", "40×minute 4×hour 5×day"),
            ("from=2026-11-25T10:00&to=2026-11-25T10:30", "30×minute"),
            ("from=2026-09-15&to=2026-11-03", "16×day 1×month 2×day"),
        ] {
            assert_eq!(grains(query), expected, "{query}");
        }
    }

    fn buckets(segment: &Segment) -> usize {
        std::iter::successors(Some(segment.from), |at| Some(segment.grain.next(*at)))
            .take_while(|at| *at < segment.to)
            .count()
    }

    #[test]
    fn old_minutes_by_user_are_hours() {
        let now = at("2026-11-25T20:19:31Z");
        let parse = |query: &str| Range::parse(&Params::parse(Some(query)), now).0;
        let minutes = UserMinutes::of(10, now);
        let recent = parse("from=2026-11-20T10:10&to=2026-11-20T10:30");
        assert_eq!(recent.kept_for_users(minutes), recent);
        let old = parse("from=2026-10-20T10:10&to=2026-10-20T11:30");
        assert_eq!(told(&old.kept_for_users(minutes)), "2026-10-20T10:00Z 2026-10-20T12:00Z hour");
        assert_eq!(old.kept_for_users(UserMinutes::of(0, now)), old);
        assert_eq!(minutes.end(at("2026-10-25T20:19:00Z")), at("2026-10-25T20:00:00Z"));
        assert_eq!(minutes.end(at("2026-11-24T20:19:00Z")), at("2026-11-24T20:19:00Z"));
    }

    #[test]
    fn comparisons_end_at_the_same_time() {
        let told = |comparison: Comparison| {
            format!("{} {} {}", comparison.from, comparison.before.0, comparison.before.1).replace(":00.000Z", "Z")
        };
        let now = at("2026-03-31T20:19:00Z");
        assert_eq!(told(Comparison::today(now)), "2026-03-31T00:00Z 2026-03-30T00:00Z 2026-03-30T20:19Z");
        // February has no 31st day.
        assert_eq!(told(Comparison::month(now)), "2026-03-01T00:00Z 2026-02-01T00:00Z 2026-03-01T00:00Z");
        let now = at("2026-11-05T20:19:00Z");
        assert_eq!(told(Comparison::month(now)), "2026-11-01T00:00Z 2026-10-01T00:00Z 2026-10-05T20:19Z");
    }

    proptest::proptest! {
        #[test]
        fn segments_make_up_the_range_and_fit_their_grain(from in 0_i64..4_000_000_000, minutes in 1_i64..3_000_000) {
            let from = UtcMillis(from * 1_000);
            let to = UtcMillis(from.0 + minutes * MINUTE_MS);
            let segments = cover(from, to);
            proptest::prop_assert_eq!(segments[0].from, Grain::Minute.start(from));
            proptest::prop_assert_eq!(segments[segments.len() - 1].to, Grain::Minute.next(UtcMillis(to.0 - 1)));
            proptest::prop_assert!(segments.len() <= 7);
            for segment in &segments {
                proptest::prop_assert_eq!(segment.grain.start(segment.from), segment.from);
                proptest::prop_assert_eq!(segment.grain.start(segment.to), segment.to);
            }
            for pair in segments.windows(2) {
                proptest::prop_assert_eq!(pair[0].to, pair[1].from);
            }
        }
    }
}
