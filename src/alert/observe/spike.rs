//! Spend of the last while against what the same time used to cost.
//!
//! The usual spend is the median over the same hour of the last four weeks, by the calendar of the rule's zone, so that
//! nights, weekends and changes of the clock are no spikes and one bad Monday does not become the rule. The spread is the
//! median absolute deviation. A group that has fewer than three such weeks is compared with the same hour of the last
//! seven days, and says so; with fewer than three such days it is not judged. A group is only compared with times at
//! which it already existed: before that it did not spend nothing, it was not there.

use std::collections::HashMap;

use clickhouse::{Client, Row};
use jiff::{Timestamp, ToSpan};
use serde::Deserialize;

use super::{
    super::{
        AlertError,
        error::bounded,
        period::Span,
        rule::{Rule, Scope, Spike},
        transition::GroupValue,
    },
    DOING, MAX_GROUPS, Sql, group_expression, push_filter,
};
use crate::{
    domain::{UsdAmount, UtcMillis},
    notify::Quantity,
};

/// How many days before now the windows lie that are looked at; the first is now.
const DAYS_BEFORE: [i64; 11] = [0, 1, 2, 3, 4, 5, 6, 7, 14, 21, 28];
const WEEKS: [i64; 4] = [7, 14, 21, 28];
const DAYS: [i64; 7] = [1, 2, 3, 4, 5, 6, 7];
/// With fewer points nothing is called usual.
const MIN_POINTS: usize = 3;
/// Groups that began longer ago than this are old enough for every comparison.
const HISTORY_DAYS: i64 = 35;
/// A median absolute deviation times this is the standard deviation of what is normally distributed.
const DEVIATION_OF_MAD: f64 = 1.4826;

#[derive(Row, Deserialize)]
struct SpendRow {
    grp: String,
    days_before: i64,
    usd: i128,
    reqs: u64,
    priced: u64,
}

#[derive(Row, Deserialize)]
struct FirstRow {
    grp: String,
    first_seconds: i64,
}

/// Every group that spends now and has a past to be compared with.
pub(super) async fn groups(
    client: &Client,
    rule: &Rule,
    spike: &Spike,
    span: &Span,
) -> Result<Vec<GroupValue>, AlertError> {
    let windows = windows(spike, span)?;
    let spend: Vec<SpendRow> = bounded(DOING, spend_sql(rule, &windows).query(client).fetch_all()).await?;
    let first: Vec<FirstRow> = bounded(DOING, first_sql(rule, span.end).query(client).fetch_all()).await?;
    let first: HashMap<String, i64> = first.into_iter().map(|row| (row.grp, row.first_seconds)).collect();
    let mut past: HashMap<&str, HashMap<i64, i128>> = HashMap::new();
    for row in spend.iter().filter(|row| row.days_before > 0) {
        past.entry(&row.grp).or_default().insert(row.days_before, row.usd);
    }
    let starts: HashMap<i64, i64> = windows.iter().map(|window| (window.days_before, window.start_seconds)).collect();
    let judged = spend.iter().filter(|row| row.days_before == 0).filter_map(|row| {
        let began = first.get(&row.grp).copied().unwrap_or(i64::MAX);
        let by_day = past.get(row.grp.as_str());
        let points = |days: &[i64]| -> Vec<i128> {
            let existed = |days: &&i64| starts.get(days).is_some_and(|start| began <= *start);
            let usd = |days: &i64| by_day.and_then(|by_day| by_day.get(days)).copied().unwrap_or(0);
            days.iter().filter(existed).map(usd).collect()
        };
        let usual = Usual::of(&points(&WEEKS), "weeks").or_else(|| Usual::of(&points(&DAYS), "days"))?;
        Some(GroupValue {
            group: row.grp.clone(),
            value: Quantity::Usd(UsdAmount::from_pico_usd(row.usd)),
            requests: row.reqs,
            priced_requests: row.priced,
            exceeding_requests: None,
            limit: Some(Quantity::Usd(usual.limit(spike))),
            note: usual.to_string(),
        })
    });
    let mut judged: Vec<GroupValue> = judged.take(MAX_GROUPS).collect();
    judged.sort_by_key(|group| std::cmp::Reverse(group.value.pico_usd()));
    Ok(judged)
}

/// What a time usually costs.
#[derive(Debug, PartialEq)]
struct Usual {
    median: i128,
    /// Median absolute deviation.
    spread: i128,
    points: usize,
    unit: &'static str,
}

impl Usual {
    fn of(points: &[i128], unit: &'static str) -> Option<Self> {
        if points.len() < MIN_POINTS {
            return None;
        }
        let count = points.len();
        let middle = median(points.to_vec());
        let spread = median(points.iter().map(|point| (point - middle).abs()).collect());
        Some(Self { median: middle, spread, points: count, unit })
    }

    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "a limit that is an estimate")]
    fn limit(&self, spike: &Spike) -> UsdAmount {
        let by_factor = self.median as f64 * spike.factor;
        let by_spread = self.median as f64 + self.spread as f64 * DEVIATION_OF_MAD * spike.deviations;
        UsdAmount::from_pico_usd((by_factor.max(by_spread) as i128).max(spike.min_usd.pico_usd()))
    }
}

impl std::fmt::Display for Usual {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let usd = |pico| Quantity::Usd(UsdAmount::from_pico_usd(pico));
        let (median, spread) = (usd(self.median), usd(self.spread));
        write!(f, "Usual: {median} ± {spread}, median of the same time in the last {} {}", self.points, self.unit)?;
        if self.unit == "days" {
            f.write_str("; history is too short for weeks")?;
        }
        Ok(())
    }
}

fn median(mut values: Vec<i128>) -> i128 {
    values.sort_unstable();
    let half = values.len() / 2;
    match (values.get(half.wrapping_sub(1)), values.get(half)) {
        (Some(low), Some(high)) if values.len().is_multiple_of(2) => i128::midpoint(*low, *high),
        (_, Some(middle)) => *middle,
        _ => 0,
    }
}

struct SpendWindow {
    days_before: i64,
    start_seconds: i64,
    end_seconds: i64,
}

/// The window of now, and the same by the clock on the wall on earlier days.
fn windows(spike: &Spike, span: &Span) -> Result<Vec<SpendWindow>, AlertError> {
    let length = span.end.since(span.start).as_secs().cast_signed();
    let error = || AlertError::Time(span.end.0);
    let now = Timestamp::from_millisecond(span.end.0).map_err(|_| error())?.to_zoned(spike.timezone.clone());
    DAYS_BEFORE
        .into_iter()
        .map(|days_before| {
            let end = now.checked_sub(days_before.days()).map_err(|_| error())?.timestamp().as_second();
            Ok(SpendWindow { days_before, start_seconds: end - length, end_seconds: end })
        })
        .collect()
}

fn by_user(rule: &Rule) -> bool {
    rule.scope == Scope::User || rule.filter.uses(Scope::User)
}

fn spend_sql(rule: &Rule, windows: &[SpendWindow]) -> Sql {
    // Minutes do not know users; single requests do.
    let (view, time, sums) = if by_user(rule) {
        ("requests", "event_time", ("cost_usd", "count()", "count(cost_usd)"))
    } else {
        ("model_minute", "bucket", ("cost_usd", "sum(requests)", "sum(priced_requests)"))
    };
    let within = |window: &SpendWindow| {
        // As a value of the column's type: see `store::rollup::statements`.
        let moment = |seconds| match view {
            "requests" => format!("toDateTime64({seconds}, 3, 'UTC')"),
            _ => format!("toDateTime({seconds}, 'UTC')"),
        };
        format!("({time} > {} AND {time} <= {})", moment(window.start_seconds), moment(window.end_seconds))
    };
    let which: Vec<String> =
        windows.iter().map(|window| format!("{}, toInt64({})", within(window), window.days_before)).collect();
    let any: Vec<String> = windows.iter().map(within).collect();
    let test = if view == "requests" { " AND NOT is_test" } else { "" };
    let mut sql = Sql::default();
    sql.push(&format!(
        "SELECT {} AS grp, multiIf({}, toInt64(-1)) AS days_before, toDecimal128(ifNull(sum({}), 0), 12) AS usd, \
         toUInt64({}) AS reqs, toUInt64({}) AS priced FROM {view} WHERE ({}){test}",
        group_expression(rule.scope),
        which.join(", "),
        sums.0,
        sums.1,
        sums.2,
        any.join(" OR ")
    ));
    push_filter(&mut sql, &rule.filter);
    sql.push(" GROUP BY grp, days_before");
    sql
}

/// Since which hour each group is known, within what is looked at.
fn first_sql(rule: &Rule, now: UtcMillis) -> Sql {
    let (view, time) = match (by_user(rule), rule.filter.uses(Scope::Provider)) {
        (false, _) => ("model_hour", "bucket"),
        (true, false) => ("user_hour", "bucket"),
        (true, true) => ("requests", "event_time"),
    };
    let test = if view == "requests" { " AND NOT is_test" } else { "" };
    let since = now.0.div_euclid(1000) - HISTORY_DAYS * 86_400;
    let mut sql = Sql::default();
    sql.push(&format!(
        "SELECT {} AS grp, toInt64(toUnixTimestamp(min({time}))) AS first_seconds FROM {view} \
         WHERE {time} >= toDateTime({since}, 'UTC') AND {time} <= toDateTime({}, 'UTC'){test}",
        group_expression(rule.scope),
        now.0.div_euclid(1000)
    ));
    push_filter(&mut sql, &rule.filter);
    sql.push(" GROUP BY grp");
    sql
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;

    use super::*;

    const USD: i128 = 1_000_000_000_000;

    fn spike(zone: &str) -> Spike {
        Spike {
            factor: 3.0,
            deviations: 6.0,
            min_usd: UsdAmount::from_pico_usd(USD),
            timezone: TimeZone::get(zone).expect("a zone"),
        }
    }

    #[test]
    fn one_bad_week_is_not_the_rule_and_spread_widens_the_limit() {
        for (points, limit) in [
            // Four weeks alike: three times the median.
            (vec![10 * USD, 10 * USD, 10 * USD, 10 * USD], 30 * USD),
            // One incident in the past changes next to nothing.
            (vec![10 * USD, 11 * USD, 500 * USD, 10 * USD], 31_500_000_000_000),
            // A time that varies a lot: 10 + 6 × 1.4826 × 5.
            (vec![5 * USD, 10 * USD, 15 * USD], 54_478_000_000_000),
            // Next to nothing is never a spike.
            (vec![0, 0, 0], USD),
        ] {
            let usual = Usual::of(&points, "weeks").expect("enough points");
            assert_eq!(usual.limit(&spike("UTC")).pico_usd(), limit, "{points:?}");
        }
        assert_eq!(Usual::of(&[USD, USD], "weeks"), None, "two points are no history");
        let usual = Usual::of(&[USD, 2 * USD, 4 * USD], "days").expect("enough points");
        assert_eq!(
            usual.to_string(),
            "Usual: $2.00 ± $1.00, median of the same time in the last 3 days; history is too short for weeks"
        );
    }

    #[test]
    fn the_same_hour_is_by_the_clock_on_the_wall() {
        let end = UtcMillis("2025-03-31T07:00:00Z".parse::<Timestamp>().expect("a time").as_millisecond());
        let span = Span { start: end.minus(std::time::Duration::from_secs(3600)), end, label: String::new() };
        let week_before = |zone: &str| -> String {
            let windows = windows(&spike(zone), &span).expect("in range");
            let window = windows.iter().find(|window| window.days_before == 7).expect("a week before");
            assert_eq!(window.end_seconds - window.start_seconds, 3600);
            Timestamp::from_second(window.end_seconds).expect("a time").to_string()
        };
        assert_eq!(week_before("UTC"), "2025-03-24T07:00:00Z");
        // Daylight saving time began in between: 09:00 was an hour later in UTC.
        assert_eq!(week_before("Europe/Berlin"), "2025-03-24T08:00:00Z");
    }
}
