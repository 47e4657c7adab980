//! One query per rule. SQL is put together from constants; everything else is bound.

use clickhouse::{Client, Row, query::Query};
use serde::Deserialize;

use super::{
    AlertError,
    error::bounded,
    period::Span,
    rule::{Condition, Filter, Measure, Period, Rule, Scope, Statistic, Total, Window},
    transition::{GroupValue, Observation},
};
use crate::{
    domain::{UsdAmount, UtcMillis},
    notify::Quantity,
};

/// Groups looked at per rule, those with the highest values first.
pub(super) const MAX_GROUPS: usize = 10_000;
/// One more tells that there are more.
const GROUPS_AND_ONE: i64 = 10_001;
/// A request counts in a window when it *ended* in it; it began at most this much earlier.
const LONGEST_REQUEST: std::time::Duration = std::time::Duration::from_secs(3600);

/// A call may be 7 days older than its webhook (`consumer::draft`), and its stored object a day younger.
const OLDEST_JUDGED: std::time::Duration = std::time::Duration::from_secs(8 * 24 * 3600);

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;

/// A value to bind.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Bind {
    Text(String),
    Texts(Vec<String>),
    Int(i64),
    Float(f64),
}

/// A query and what is bound to its question marks, in order.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Sql {
    pub(super) text: String,
    pub(super) binds: Vec<Bind>,
}

impl Sql {
    pub(super) fn push(&mut self, text: &str) -> &mut Self {
        self.text.push_str(text);
        self
    }

    pub(super) fn bind(&mut self, value: Bind) -> &mut Self {
        self.binds.push(value);
        self
    }

    /// Ready to be sent.
    pub(super) fn query(self, client: &Client) -> Query {
        self.binds.into_iter().fold(client.query(&self.text), |query, bind| match bind {
            Bind::Text(text) => query.bind(text),
            Bind::Texts(texts) => query.bind(texts),
            Bind::Int(number) => query.bind(number),
            Bind::Float(number) => query.bind(number),
        })
    }
}

/// A view to sum over, with the name of its time column and how one row counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum View {
    ModelMinute,
    ModelDay,
    UserHour,
    UserMonth,
    Requests,
}

impl View {
    /// The coarsest view that has the columns and whose buckets do not straddle the period's edges.
    pub(super) fn for_total(scope: Scope, filter: &Filter, period: Period, span: &Span) -> Self {
        let by_user = scope == Scope::User || filter.uses(Scope::User);
        let by_provider = scope == Scope::Provider || filter.uses(Scope::Provider);
        let whole = |unit: i64| span.start.0 % unit == 0 && span.end.0 % unit == 0;
        match (by_user, by_provider) {
            // A calendar month that starts and ends at midnight in UTC is a month in UTC.
            (true, false) if period == Period::Month && whole(DAY_MS) => Self::UserMonth,
            (true, false) if whole(HOUR_MS) => Self::UserHour,
            (false, _) if whole(DAY_MS) => Self::ModelDay,
            (false, _) if whole(60_000) => Self::ModelMinute,
            // No rollup knows both users and providers, or starts within a minute.
            _ => Self::Requests,
        }
    }

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::ModelMinute => "model_minute",
            Self::ModelDay => "model_day",
            Self::UserHour => "user_hour",
            Self::UserMonth => "user_month",
            Self::Requests => "requests",
        }
    }

    /// Expressions for money, tokens, requests and priced requests of all rows of a group.
    pub(super) const fn sums(self) -> &'static str {
        match self {
            Self::Requests => {
                "toDecimal128(ifNull(sum(cost_usd), 0), 12) AS usd, toUInt64(ifNull(sum(total_tokens), 0)) AS tokens, \
                 toUInt64(count()) AS reqs, toUInt64(count(cost_usd)) AS priced"
            }
            _ => {
                "toDecimal128(ifNull(sum(cost_usd), 0), 12) AS usd, toUInt64(ifNull(sum(total_tokens), 0)) AS tokens, \
                 toUInt64(sum(requests)) AS reqs, toUInt64(sum(priced_requests)) AS priced"
            }
        }
    }

    /// Bounds the time to `span`.
    pub(super) fn during(self, sql: &mut Sql, span: &Span) {
        if self == Self::Requests {
            sql.push(
                " WHERE event_time >= fromUnixTimestamp64Milli(?, 'UTC') \
                 AND event_time < fromUnixTimestamp64Milli(?, 'UTC') AND NOT is_test",
            );
            sql.bind(Bind::Int(span.start.0)).bind(Bind::Int(span.end.0));
        } else {
            sql.push(" WHERE bucket >= toDateTime(?, 'UTC') AND bucket < toDateTime(?, 'UTC')");
            sql.bind(Bind::Int(span.start.0.div_euclid(1000))).bind(Bind::Int(span.end.0.div_euclid(1000)));
        }
    }
}

/// The group's name; the same text for all requests.
pub(super) fn group_expression(scope: Scope) -> String {
    scope.column().map_or_else(|| "''".to_owned(), |column| format!("toString({column})"))
}

/// ` AND (model LIKE ? OR model LIKE ?)`
pub(super) fn push_filter(sql: &mut Sql, filter: &Filter) {
    for (scope, globs) in &filter.0 {
        let Some(column) = scope.column() else { continue };
        let alternatives = vec![format!("{column} LIKE ?"); globs.len()].join(" OR ");
        sql.push(&format!(" AND ({alternatives})"));
        for glob in globs {
            sql.bind(Bind::Text(glob_to_like(glob)));
        }
    }
}

/// `gpt-4o*` as `gpt-4o%`. In `LIKE`, `\`, `%` and `_` of the text itself are escaped.
fn glob_to_like(glob: &str) -> String {
    let mut pattern = String::with_capacity(glob.len());
    for character in glob.chars() {
        match character {
            '*' => pattern.push('%'),
            '?' => pattern.push('_'),
            '%' | '_' | '\\' => pattern.extend(['\\', character]),
            other => pattern.push(other),
        }
    }
    pattern
}

/// What a rule measures now. `active` are its groups that are pending or firing: they are looked at whatever their value.
pub(super) async fn observe(
    client: &Client,
    rule: &Rule,
    span: Span,
    active: Vec<String>,
) -> Result<Observation, AlertError> {
    let doing = "evaluate an alert rule";
    let mut groups: Vec<GroupValue> = match &rule.condition {
        Condition::Total(total) => {
            let query = total_sql(rule, total, &span, active).query(client);
            let rows: Vec<TotalRow> = bounded(doing, query.fetch_all()).await?;
            rows.into_iter().map(|row| row.into_group(total.limit)).collect()
        }
        Condition::Window(window) => {
            let query = window_sql(rule, window, &span).query(client);
            let rows: Vec<WindowRow> = bounded(doing, query.fetch_all()).await?;
            rows.into_iter().map(|row| row.into_group(window.measure)).collect()
        }
    };
    let cut = groups.len() > MAX_GROUPS;
    groups.truncate(MAX_GROUPS);
    Ok(Observation { span, groups, cut })
}

#[derive(Row, Deserialize)]
struct TotalRow {
    grp: String,
    usd: i128,
    tokens: u64,
    reqs: u64,
    priced: u64,
}

impl TotalRow {
    fn into_group(self, unit: Quantity) -> GroupValue {
        let value = match unit {
            Quantity::Usd(_) => Quantity::Usd(UsdAmount::from_pico_usd(self.usd)),
            Quantity::Requests(_) => Quantity::Requests(self.reqs),
            _ => Quantity::Tokens(self.tokens),
        };
        GroupValue {
            group: self.grp,
            value,
            requests: self.reqs,
            priced_requests: self.priced,
            exceeding_requests: None,
        }
    }
}

/// Groups that have reached the lowest threshold of the lowest limit, and those that are active.
fn total_sql(rule: &Rule, total: &Total, span: &Span, active: Vec<String>) -> Sql {
    let view = View::for_total(rule.scope, &rule.filter, total.period, span);
    let value = match total.limit {
        Quantity::Usd(_) => "usd",
        Quantity::Requests(_) => "reqs",
        _ => "tokens",
    };
    let mut sql = Sql::default();
    sql.push(&format!("SELECT {} AS grp, {} FROM {}", group_expression(rule.scope), view.sums(), view.name()));
    view.during(&mut sql, span);
    push_filter(&mut sql, &rule.filter);
    sql.push(&format!(" GROUP BY grp HAVING {value} >= toDecimal128(?, 12) OR has(?, grp)"));
    sql.bind(Bind::Text(lowest(total))).bind(Bind::Texts(active));
    sql.push(&format!(" ORDER BY {value} DESC, grp LIMIT ?"));
    sql.bind(Bind::Int(GROUPS_AND_ONE));
    sql
}

/// The least value that could matter, as a decimal text.
fn lowest(total: &Total) -> String {
    let percent = i128::from(total.thresholds.first().copied().unwrap_or(0));
    let pico = |limit: &Quantity| match *limit {
        Quantity::Usd(amount) => amount.pico_usd(),
        Quantity::Tokens(count) | Quantity::Requests(count) => i128::from(count) * 1_000_000_000_000,
        _ => 0,
    };
    let limit = total.overrides.values().chain([&total.limit]).map(pico).min().unwrap_or(0);
    UsdAmount::from_pico_usd(limit.saturating_mul(percent) / 100).to_string()
}

#[derive(Row, Deserialize)]
struct WindowRow {
    grp: String,
    exceeding: u64,
    reqs: u64,
    priced: u64,
    measured: f64,
}

impl WindowRow {
    fn into_group(self, measure: Measure) -> GroupValue {
        let value = match measure {
            Measure::Latency { .. } => Quantity::Milliseconds(self.measured),
            Measure::Efficiency { .. } => Quantity::Percent(self.measured),
            Measure::Policy { .. } => Quantity::Requests(self.exceeding),
        };
        GroupValue {
            group: self.grp,
            value,
            requests: self.reqs,
            priced_requests: self.priced,
            exceeding_requests: Some(self.exceeding),
        }
    }
}

fn window_sql(rule: &Rule, window: &Window, span: &Span) -> Sql {
    let (measured, exceeding, usable, threshold) = match window.measure {
        Measure::Latency { statistic, threshold_ms } => {
            let latency = match statistic {
                // For `each`, the slowest decides whether any request is over.
                Statistic::Each | Statistic::Max => "max(latency_ms)",
                Statistic::Avg => "avg(latency_ms)",
                Statistic::P50 => "quantileDD(0.01, 0.5)(assumeNotNull(latency_ms))",
                Statistic::P95 => "quantileDD(0.01, 0.95)(assumeNotNull(latency_ms))",
                Statistic::P99 => "quantileDD(0.01, 0.99)(assumeNotNull(latency_ms))",
            };
            (latency, "countIf(latency_ms > ?)", "latency_ms > 0", threshold_ms)
        }
        Measure::Efficiency { max_token_ratio, .. } => {
            ("100 * exceeding / reqs", "countIf(token_ratio > ?)", "token_ratio > 0", max_token_ratio)
        }
        Measure::Policy { .. } => return policy_sql(rule, span),
    };
    let mut sql = Sql::default();
    sql.push(&format!(
        "SELECT {} AS grp, toUInt64({exceeding}) AS exceeding, toUInt64(count()) AS reqs, \
         toUInt64(count(cost_usd)) AS priced, toFloat64(assumeNotNull({measured})) AS measured FROM requests",
        group_expression(rule.scope)
    ));
    sql.bind(Bind::Float(threshold));
    push_window(&mut sql, span);
    sql.push(&format!(" AND {usable}"));
    push_filter(&mut sql, &rule.filter);
    sql.push(" GROUP BY grp ORDER BY measured DESC, grp LIMIT ?");
    sql.bind(Bind::Int(GROUPS_AND_ONE));
    sql
}

/// Requests that were judged within the window, and those that the policy matched, in whatever version: what was seen once
/// is to be told. Not by the time of the call, since webhooks come late and stored objects later. Calls of a long time ago
/// are history that somebody has just loaded.
fn policy_sql(rule: &Rule, span: &Span) -> Sql {
    let mut sql = Sql::default();
    sql.push(&format!(
        "SELECT {} AS grp, uniqExactIf((source, request_id), has(matches, ?)) AS exceeding, \
         uniqExact((source, request_id)) AS reqs, reqs AS priced, toFloat64(exceeding) AS measured FROM inspection_rows",
        group_expression(rule.scope)
    ));
    sql.bind(Bind::Text(rule.name.clone()));
    push_judged(&mut sql, span);
    push_filter(&mut sql, &rule.filter);
    sql.push(" GROUP BY grp HAVING exceeding > 0 ORDER BY measured DESC, grp LIMIT ?");
    sql.bind(Bind::Int(GROUPS_AND_ONE));
    sql
}

/// Rows of `inspection_rows` that were written within the window, of calls that are not history.
pub(super) fn push_judged(sql: &mut Sql, span: &Span) {
    sql.push(
        " WHERE inserted_at >= fromUnixTimestamp64Milli(?, 'UTC') \
         AND event_time >= fromUnixTimestamp64Milli(?, 'UTC') AND NOT is_deleted",
    );
    sql.bind(Bind::Int(span.start.0)).bind(Bind::Int(span.start.minus(OLDEST_JUDGED).0));
}

/// Requests that ended within the window: a slow one begins long before anyone can know that it is slow.
pub(super) fn push_window(sql: &mut Sql, span: &Span) {
    sql.push(
        " WHERE event_time >= fromUnixTimestamp64Milli(?, 'UTC') \
         AND toUnixTimestamp64Milli(event_time) + toInt64(ifNull(latency_ms, 0)) >= ? AND NOT is_test",
    );
    sql.bind(Bind::Int(span.start.minus(LONGEST_REQUEST).0)).bind(Bind::Int(span.start.0));
}

/// The window that ends at `now`.
pub(super) fn window_span(window: &Window, now: UtcMillis) -> Span {
    Span { start: now.minus(window.window), end: now, label: format!("last {}", window.window_text) }
}

#[cfg(test)]
#[path = "observe_tests.rs"]
mod tests;
