//! The spend of a period and of those before it.

use std::collections::{BTreeMap, HashSet};

use clickhouse::{Client, Row};
use jiff::tz::TimeZone;
use serde::Deserialize;

use super::{
    super::{
        AlertError,
        error::bounded,
        forecast::{Course, PAST_PERIODS, forecast},
        period::Span,
        rule::{Filter, Period, Rule, Scope, Total},
        transition::{GroupValue, Observation},
    },
    Bind, DOING, GROUPS_AND_ONE, HOUR_MS, Sql, View, group_expression, push_filter, push_rows,
    view::DAY_MS,
};
use crate::{
    domain::{UsdAmount, UtcMillis},
    notify::{Quantity, whole_cents},
};

const HOUR_SECONDS: i64 = 3_600;

#[derive(Row, Deserialize)]
struct PeriodRow {
    grp: String,
    /// 0 is the current one.
    before: u8,
    until: i128,
    whole: i128,
    reqs: u64,
    priced: u64,
}

#[derive(Row, Deserialize)]
struct HourRow {
    before: u8,
    hour: u32,
    usd: i128,
}

/// Whose spend it is, and what restarts its count.
#[derive(Clone, Copy)]
pub(in crate::alert) struct SpendOf<'a> {
    pub(in crate::alert) scope: Scope,
    pub(in crate::alert) filter: &'a Filter,
    pub(in crate::alert) period: Period,
    pub(in crate::alert) timezone: &'a TimeZone,
}

impl<'a> SpendOf<'a> {
    pub(in crate::alert) const fn of(rule: &'a Rule, total: &'a Total) -> Self {
        Self { scope: rule.scope, filter: &rule.filter, period: total.period, timezone: &total.timezone }
    }
}

/// The periods from `span` backwards, `span` first.
fn periods(of: SpendOf<'_>, span: &Span) -> Result<Vec<Span>, AlertError> {
    let mut periods = vec![span.clone()];
    while periods.len() <= PAST_PERIODS {
        let start = periods.last().map_or(span.start, |period| period.start);
        periods.push(of.period.span_at(of.timezone, UtcMillis(start.0 - 1))?);
    }
    Ok(periods)
}

/// `multiIf(t >= toDateTime(…), 0, …)`: how many periods before the current one a row lies.
fn which(periods: &[Span], value: impl Fn(usize, i64) -> String) -> String {
    let arms: Vec<String> = periods
        .iter()
        .enumerate()
        .map(|(index, period)| {
            let start = period.start.0.div_euclid(1000);
            format!("t >= toDateTime({start}, 'UTC'), {}", value(index, start))
        })
        .collect();
    format!("multiIf({}, {})", arms.join(", "), value(255, 0))
}

/// Rows of the period and those before it; by the hour, unless that is too coarse for the period or straddles its edges.
fn push_origin(sql: &mut Sql, of: SpendOf<'_>, periods: &[Span], now: UtcMillis) {
    let first = periods.last().map_or(now, |period| period.start);
    let is_long = periods.iter().all(|period| period.end.0 - period.start.0 > DAY_MS + HOUR_MS);
    let is_even = periods.iter().all(|period| period.start.0 % HOUR_MS == 0);
    let longest_ms = if is_long && is_even { HOUR_MS } else { 0 };
    let end = UtcMillis((now.0.div_euclid(60_000) + 1) * 60_000);
    let span = Span { start: first, end, label: String::new() };
    let parts = View::cover(of.scope, of.filter, &span, longest_ms);
    push_rows(sql, &parts, &group_expression(of.scope), |sql| push_filter(sql, of.filter));
}

/// Groups whose period is on its way beyond the limit, whatever course of the past it follows; of those that are known to
/// be (`active`), whether it probably still is. The value is the forecast.
pub(in crate::alert) async fn forecasts(
    client: &Client,
    rule: &Rule,
    total: &Total,
    span: Span,
    active: &HashSet<String>,
    now: UtcMillis,
) -> Result<Observation, AlertError> {
    let of = SpendOf::of(rule, total);
    let periods = periods(of, &span)?;
    let elapsed = (now.0 - span.start.0).div_euclid(1000);
    let mut sql = Sql::default();
    sql.push(&format!(
        "SELECT name AS grp, toUInt8({}) AS before, \
         toDecimal128(ifNull(sum(cost_usd * least(greatest({elapsed} - toInt64(toUnixTimestamp(t)) + {}, 0), bucket_seconds) \
         / bucket_seconds), 0), 12) AS until, \
         toDecimal128(ifNull(sum(cost_usd), 0), 12) AS whole, toUInt64(sum(requests)) AS reqs, \
         toUInt64(sum(priced_requests)) AS priced FROM ",
        which(&periods, |index, _| index.to_string()),
        which(&periods, |_, start| format!("toInt64({start})")),
    ));
    push_origin(&mut sql, of, &periods, now);
    let limit = GROUPS_AND_ONE * i64::try_from(periods.len()).unwrap_or(1);
    sql.push(" GROUP BY grp, before HAVING whole > 0 ORDER BY before, whole DESC LIMIT ?").bind(Bind::Int(limit));
    let rows: Vec<PeriodRow> = bounded(DOING, sql.query(client).fetch_all()).await?;
    let mut groups: BTreeMap<&str, (Option<&PeriodRow>, Vec<Course>)> = BTreeMap::new();
    for row in &rows {
        let (current, courses) = groups.entry(&row.grp).or_default();
        if row.before == 0 {
            *current = Some(row);
        } else {
            courses.push(Course { until: row.until, whole: row.whole, by_hour: Vec::new() });
        }
    }
    let over = groups.into_iter().filter_map(|(group, (current, courses))| {
        let current = current?;
        let forecast = forecast(current.whole, &courses, &span, now)?;
        let limit = total.limit_of(group).pico_usd()?;
        let decisive = if active.contains(group) { forecast.middle } else { forecast.low };
        (decisive >= limit).then(|| GroupValue {
            group: group.to_owned(),
            value: Quantity::Usd(whole_cents(UsdAmount::from_pico_usd(forecast.middle))),
            requests: current.reqs,
            priced_requests: current.priced,
            exceeding_requests: None,
            limit: None,
            note: String::new(),
        })
    });
    let groups = over.collect();
    Ok(Observation { span, groups, cut: false })
}

/// The spend of one group's period, and the courses of those before it.
pub(in crate::alert) async fn courses(
    client: &Client,
    of: SpendOf<'_>,
    (span, group): (&Span, &str),
    now: UtcMillis,
) -> Result<(i128, Vec<Course>), AlertError> {
    let periods = periods(of, span)?;
    let mut sql = Sql::default();
    sql.push(&format!(
        "SELECT toUInt8({}) AS before, toUInt32(intDiv(toInt64(toUnixTimestamp(t)) - {}, {HOUR_SECONDS})) AS hour, \
         toDecimal128(ifNull(sum(cost_usd), 0), 12) AS usd FROM ",
        which(&periods, |index, _| index.to_string()),
        which(&periods, |_, start| format!("toInt64({start})")),
    ));
    push_origin(&mut sql, of, &periods, now);
    sql.push(" WHERE name = ? GROUP BY before, hour ORDER BY before, hour").bind(Bind::Text(group.to_owned()));
    let rows: Vec<HourRow> = bounded("forecast a budget", sql.query(client).fetch_all()).await?;
    let elapsed_hours = usize::try_from((now.0 - span.start.0).div_euclid(1000) / HOUR_SECONDS).unwrap_or(0);
    let spent = rows.iter().filter(|row| row.before == 0).map(|row| row.usd).sum();
    let courses = periods.iter().enumerate().skip(1).map(|(index, period)| {
        let hours = usize::try_from((period.end.0 - period.start.0).div_euclid(1000) / HOUR_SECONDS).unwrap_or(0);
        let mut by_hour = vec![0; hours.clamp(1, 800)];
        let last = by_hour.len() - 1;
        for row in rows.iter().filter(|row| usize::from(row.before) == index) {
            by_hour[usize::try_from(row.hour).unwrap_or(last).min(last)] += row.usd;
        }
        for hour in 1..by_hour.len() {
            by_hour[hour] += by_hour[hour - 1];
        }
        Course { until: by_hour[elapsed_hours.min(last)], whole: by_hour[last], by_hour }
    });
    Ok((spent, courses.filter(|course| course.whole > 0).collect()))
}
