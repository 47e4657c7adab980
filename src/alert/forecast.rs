//! Where a period's spend is going. No I/O, no clock.
//!
//! The courses of the last periods of the same length say what comes: if by now the last months had spent 40, 45 and 50 %
//! of what they came to, then this one's spend so far stands for 40 to 50 % of its total. The median is the forecast, the
//! smallest and the largest are its interval. Nights, weekends and the jobs on the first of the month are in it without
//! being modelled. With fewer than three such courses it is a straight line, with an interval for half to twice the present
//! rate, and it says so.

use std::fmt::Write as _;

use super::period::Span;
use crate::{
    domain::{UsdAmount, UtcMillis},
    notify::{Quantity, whole_cents},
};

/// Past periods that are looked at.
pub(super) const PAST_PERIODS: usize = 4;
/// With fewer courses it is a straight line.
const MIN_COURSES: usize = 3;
/// A course that had spent less than this by now says too little, in percent.
const MIN_COURSE_PERCENT: i128 = 5;
/// A straight line needs so much of the period, in percent.
const MIN_ELAPSED_PERCENT: i128 = 10;

const HOUR_MS: i64 = 3_600_000;

/// What one past period had spent, in pico-dollars.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Course {
    /// By the same time after its start.
    pub(super) until: i128,
    /// In all.
    pub(super) whole: i128,
    /// By the end of each of its hours; empty where it is not known.
    pub(super) by_hour: Vec<i128>,
}

/// What the period will come to, in pico-dollars.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Forecast {
    pub(super) low: i128,
    pub(super) middle: i128,
    pub(super) high: i128,
    /// Courses it stands on; 0 for a straight line.
    pub(super) courses: usize,
}

/// The forecast for a period that has spent `spent` by `now`; `None` when it is too early to tell.
pub(super) fn forecast(spent: i128, courses: &[Course], span: &Span, now: UtcMillis) -> Option<Forecast> {
    let usable = usable(courses);
    if usable.len() >= MIN_COURSES {
        let mut totals: Vec<i128> = usable.iter().map(|course| scaled(spent, course.whole, course.until)).collect();
        totals.sort_unstable();
        let middle = i128::midpoint(totals[(totals.len() - 1) / 2], totals[totals.len() / 2]);
        let (low, high) = (totals.first().copied()?, totals.last().copied()?);
        return Some(Forecast { low, middle, high, courses: totals.len() });
    }
    let (elapsed, length) = (i128::from(now.0 - span.start.0), i128::from(span.end.0 - span.start.0));
    if elapsed <= 0 || elapsed * 100 < length * MIN_ELAPSED_PERCENT {
        return None;
    }
    let rest = scaled(spent, length - elapsed, elapsed);
    Some(Forecast { low: spent + rest / 2, middle: spent + rest, high: spent + rest * 2, courses: 0 })
}

fn usable(courses: &[Course]) -> Vec<&Course> {
    courses
        .iter()
        .filter(|course| course.until > 0 && course.until * 100 >= course.whole * MIN_COURSE_PERCENT)
        .collect()
}

/// `value` × `numerator` / `denominator` without overflow for any amount of money there is.
fn scaled(value: i128, numerator: i128, denominator: i128) -> i128 {
    match value.checked_mul(numerator) {
        Some(product) => product / denominator.max(1),
        None => value / denominator.max(1) * numerator,
    }
}

/// When the limit is reached: the earliest and the latest of the courses; `None` for after the period's end.
type Exhaustion = (Option<UtcMillis>, Option<UtcMillis>, Option<UtcMillis>);

fn exhaustion(spent: i128, limit: i128, courses: &[Course], span: &Span, now: UtcMillis) -> Option<Exhaustion> {
    let within = |at: UtcMillis| (at < span.end).then_some(at);
    let usable: Vec<&Course> = usable(courses).into_iter().filter(|course| !course.by_hour.is_empty()).collect();
    if usable.len() >= MIN_COURSES {
        let reached = |course: &&Course| {
            let hour =
                course.by_hour.iter().position(|spent_then| scaled(spent, *spent_then, course.until) >= limit)?;
            let end_of_hour = span.start.0 + (i64::try_from(hour).ok()? + 1) * HOUR_MS;
            within(UtcMillis(end_of_hour.max(now.0)))
        };
        let mut times: Vec<Option<UtcMillis>> = usable.iter().map(reached).collect();
        // Never is the latest.
        times.sort_by_key(|time| time.map_or(i64::MAX, |time| time.0));
        return Some((*times.first()?, times[(times.len() - 1) / 2], *times.last()?));
    }
    let elapsed = i128::from(now.0 - span.start.0);
    if spent <= 0 || elapsed <= 0 {
        return None;
    }
    let left = scaled(limit - spent, elapsed, spent);
    let at =
        |milliseconds: i128| i64::try_from(milliseconds).ok().and_then(|ms| within(UtcMillis(now.0.checked_add(ms)?)));
    Some((at(left / 2), at(left), at(left.saturating_mul(2))))
}

/// For messages: how fast, where to, and when the limit is reached.
pub(super) fn notes(spent: i128, limit: i128, courses: &[Course], span: &Span, now: UtcMillis) -> Vec<String> {
    let usd = |pico: i128| Quantity::Usd(UsdAmount::from_pico_usd(pico));
    let elapsed = i128::from(now.0 - span.start.0).max(1);
    let (unit_ms, unit) =
        if span.end.0 - span.start.0 > 48 * HOUR_MS { (24 * HOUR_MS, "day") } else { (HOUR_MS, "hour") };
    let mut burn = format!("Burn rate: {} per {unit} so far", cents(scaled(spent, i128::from(unit_ms), elapsed)));
    let Some(forecast) = forecast(spent, courses, span, now) else {
        return vec![burn + "; too early for a forecast"];
    };
    let _ = write!(
        burn,
        ". Forecast for the period: {} (between {} and {}, {})",
        cents(forecast.middle),
        cents(forecast.low),
        cents(forecast.high),
        match forecast.courses {
            0 => "a straight line at half to twice this rate, for lack of history".to_owned(),
            courses => format!("by the course of the last {courses} periods"),
        }
    );
    let mut notes = vec![burn];
    if spent < limit
        && let Some((early, likely, late)) = exhaustion(spent, limit, courses, span, now)
        && early.is_some()
    {
        let time = |at: Option<UtcMillis>| at.map_or_else(|| "after the period".to_owned(), minute);
        notes.push(format!("{} is reached {} (between {} and {})", usd(limit), time(likely), time(early), time(late)));
    }
    notes
}

fn cents(pico: i128) -> String {
    Quantity::Usd(whole_cents(UsdAmount::from_pico_usd(pico))).to_string()
}

fn minute(at: UtcMillis) -> String {
    jiff::Timestamp::from_millisecond(at.0)
        .map_or_else(|_| at.to_string(), |timestamp| timestamp.strftime("%Y-%m-%d %H:%M UTC").to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const USD: i128 = 1_000_000_000_000;

    fn at(text: &str) -> UtcMillis {
        UtcMillis(text.parse::<jiff::Timestamp>().expect("a time").as_millisecond())
    }

    fn day() -> Span {
        Span { start: at("2031-09-08T00:00:00Z"), end: at("2031-09-09T00:00:00Z"), label: String::new() }
    }

    /// A day that spends `by_hour` dollars in each hour.
    fn course(by_hour: impl Fn(usize) -> i128, until_hour: usize) -> Course {
        let mut sum = 0;
        let by_hour: Vec<i128> = (0..24)
            .map(|hour| {
                sum += by_hour(hour) * USD;
                sum
            })
            .collect();
        Course { until: by_hour[until_hour - 1], whole: sum, by_hour }
    }

    #[test]
    fn working_days_go_on_as_working_days_do() {
        // From 8 to 18, ten dollars an hour: at noon 40 of 100 are spent.
        let office = || course(|hour| if (8..18).contains(&hour) { 10 } else { 0 }, 12);
        let courses = [office(), office(), course(|hour| if (8..16).contains(&hour) { 10 } else { 0 }, 12)];
        let noon = at("2031-09-08T12:00:00Z");
        let forecast = forecast(60 * USD, &courses, &day(), noon).expect("a forecast");
        assert_eq!((forecast.low, forecast.middle, forecast.high), (120 * USD, 150 * USD, 150 * USD));
        let notes = notes(60 * USD, 100 * USD, &courses, &day(), noon);
        assert_eq!(
            notes,
            [
                "Burn rate: $5.00 per hour so far. Forecast for the period: $150.00 (between $120.00 and $150.00, by the \
                 course of the last 3 periods)",
                "$100.00 is reached 2031-09-08 15:00 UTC (between 2031-09-08 15:00 UTC and 2031-09-08 15:00 UTC)",
            ]
        );
    }

    #[test]
    fn without_history_it_is_a_straight_line_and_says_so() {
        let six = at("2031-09-08T06:00:00Z");
        let line = forecast(10 * USD, &[], &day(), six).expect("a forecast");
        assert_eq!((line.low, line.middle, line.high), (25 * USD, 40 * USD, 70 * USD));
        let notes = notes(10 * USD, 30 * USD, &[], &day(), six);
        assert!(notes[0].contains("for lack of history"), "{notes:?}");
        assert_eq!(
            notes[1],
            "$30.00 is reached 2031-09-08 18:00 UTC (between 2031-09-08 12:00 UTC and after the period)"
        );
        assert_eq!(forecast(10 * USD, &[], &day(), at("2031-09-08T02:00:00Z")), None, "too early");
    }

    #[test]
    fn a_course_that_had_hardly_begun_says_nothing() {
        let night = || course(|hour| if hour < 20 { 0 } else { 100 }, 12);
        let courses = [night(), night(), night()];
        let noon = at("2031-09-08T12:00:00Z");
        let forecast = forecast(10 * USD, &courses, &day(), noon).expect("a straight line");
        assert_eq!((forecast.courses, forecast.middle), (0, 20 * USD));
    }
}
