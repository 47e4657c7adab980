//! Who added most to a value. Asked only when a message is about to be written.

use std::{cmp::Ordering, collections::HashMap};

use clickhouse::{Client, Row};
use serde::Deserialize;

use super::{
    AlertError,
    error::bounded,
    observe::{
        ANY_LENGTH, Bind, SUMS, Sql, View, group_expression, push_filter, push_judged, push_rows, push_window,
        window_span,
    },
    period::Span,
    rule::{Condition, Measure, Rule, Scope, Total, Window},
    transition::Transition,
};
use crate::{
    domain::{UsdAmount, UtcMillis},
    notify::{Contributor, Quantity},
};

/// Shown in a message.
const TOP: i64 = 3;

#[derive(Row, Deserialize)]
struct TotalRow {
    name: String,
    usd: i128,
    tokens: u64,
    reqs: u64,
    priced: u64,
}

#[derive(Row, Deserialize)]
struct RequestRow {
    name: String,
    user_name: String,
    measured: f64,
}

/// The top contributors to `transition`, largest first, and what their changes are against.
pub(super) async fn top(
    client: &Client,
    rule: &Rule,
    transition: &Transition,
    now: UtcMillis,
) -> Result<(Vec<Contributor>, Option<String>), AlertError> {
    let doing = "find the top contributors of an alert";
    match &rule.condition {
        Condition::Total(total) => {
            let (Some(start), Some(end)) = (transition.key.period_start, transition.state.period_end) else {
                return Ok((Vec::new(), None));
            };
            let span = Span { start, end, label: String::new() };
            let by = if rule.scope == Scope::Model { Scope::User } else { Scope::Model };
            let sql = total_sql(rule, total, (&transition.key.group, by), &span);
            let rows: Vec<TotalRow> = bounded(doing, sql.query(client).fetch_all()).await?;
            let before = before(client, rule, total, (&transition.key.group, by), &span, &rows, now).await?;
            let contributor = |row: TotalRow| {
                let unpriced = row.reqs.saturating_sub(row.priced);
                let value = value_of(total, &row);
                let mut amount = value.to_string();
                if let Some(before) = &before {
                    amount.push_str(&before.change(&row.name, value));
                }
                if unpriced > 0 && matches!(total.limit, Quantity::Usd(_)) {
                    amount = format!("{amount} (and {unpriced} unpriced)");
                }
                Contributor { what: by.word().to_owned(), name: row.name, amount }
            };
            let against =
                before.as_ref().map(|before| format!("Changes are against the same time of {}", before.label));
            Ok((rows.into_iter().map(contributor).collect(), against))
        }
        Condition::Window(window) => {
            let group = &transition.key.group;
            let sql = match &window.measure {
                Measure::Latency { threshold_ms, .. } => {
                    worst_requests(rule, window, ("latency_ms", *threshold_ms), group, now)
                }
                Measure::Efficiency { max_token_ratio, .. } => {
                    worst_requests(rule, window, ("token_ratio", *max_token_ratio), group, now)
                }
                Measure::Policy { .. } => policy_sql(rule, &window_span(window, now), group),
                Measure::ErrorRate { .. } => counted(rule, window, (by(rule), "countIf(status = 'error')"), group, now),
                Measure::SpendSpike(_) => {
                    counted(rule, window, (by(rule), "toFloat64(ifNull(sum(cost_usd), 0))"), group, now)
                }
                Measure::UnpricedModel { .. } => {
                    counted(rule, window, ("toString(unpriced_reason)", "countIf(cost_usd IS NULL)"), group, now)
                }
                // Not of requests.
                _ => return Ok((Vec::new(), None)),
            };
            let what = match &window.measure {
                Measure::ErrorRate { .. } | Measure::SpendSpike(_) if rule.scope == Scope::Model => "user",
                Measure::ErrorRate { .. } | Measure::SpendSpike(_) => "model",
                Measure::UnpricedModel { .. } => "reason",
                _ => "request",
            };
            let rows: Vec<RequestRow> = bounded(doing, sql.query(client).fetch_all()).await?;
            let contributor = |row: RequestRow| {
                let amount = match window.measure {
                    Measure::Latency { .. } => Quantity::Milliseconds(row.measured).to_string(),
                    Measure::Efficiency { .. } => format!("ratio {:.1}", row.measured),
                    Measure::ErrorRate { .. } => count_of(row.measured, "error"),
                    Measure::SpendSpike(_) => format!("${:.2}", row.measured),
                    Measure::UnpricedModel { .. } => count_of(row.measured, "request"),
                    _ => "matched".to_owned(),
                };
                let user = if row.user_name.is_empty() { String::new() } else { format!(" by {}", row.user_name) };
                Contributor { what: what.to_owned(), name: row.name, amount: format!("{amount}{user}") }
            };
            Ok((rows.into_iter().map(contributor).collect(), None))
        }
    }
}

/// What the same contributors had come to by the same time of the period before.
struct Before {
    label: String,
    values: HashMap<String, Quantity>,
}

impl Before {
    /// ` (+$0.40)`, ` (-3 requests)`, ` (new)`
    fn change(&self, name: &str, value: Quantity) -> String {
        let Some(before) = self.values.get(name).filter(|before| before.as_f64() > 0.0) else {
            return " (new)".to_owned();
        };
        let (Some(now), Some(then)) = (exact(value), exact(*before)) else { return String::new() };
        let difference = |amount: i128| match value {
            Quantity::Usd(_) => Quantity::Usd(UsdAmount::from_pico_usd(amount)),
            Quantity::Requests(_) => Quantity::Requests(u64::try_from(amount).unwrap_or(u64::MAX)),
            _ => Quantity::Tokens(u64::try_from(amount).unwrap_or(u64::MAX)),
        };
        match now.cmp(&then) {
            Ordering::Equal => " (as before)".to_owned(),
            Ordering::Greater => format!(" (+{})", difference(now - then)),
            Ordering::Less => format!(" (-{})", difference(then - now)),
        }
    }
}

fn exact(value: Quantity) -> Option<i128> {
    match value {
        Quantity::Usd(amount) => Some(amount.pico_usd()),
        Quantity::Tokens(count) | Quantity::Requests(count) => Some(i128::from(count)),
        _ => None,
    }
}

fn value_of(total: &Total, row: &TotalRow) -> Quantity {
    match total.limit {
        Quantity::Usd(_) => Quantity::Usd(UsdAmount::from_pico_usd(row.usd)),
        Quantity::Requests(_) => Quantity::Requests(row.reqs),
        _ => Quantity::Tokens(row.tokens),
    }
}

/// `None` when there was nothing before.
async fn before(
    client: &Client,
    rule: &Rule,
    total: &Total,
    (group, by): (&str, Scope),
    span: &Span,
    rows: &[TotalRow],
    now: UtcMillis,
) -> Result<Option<Before>, AlertError> {
    let period = total.period.span_at(&total.timezone, UtcMillis(span.start.0 - 1))?;
    let elapsed = (now.0 - span.start.0 + 59_999) / 60_000 * 60_000;
    let end = UtcMillis((period.start.0 + elapsed).min(period.end.0));
    let part = Span { start: period.start, end, label: String::new() };
    let names: Vec<String> = rows.iter().map(|row| row.name.clone()).collect();
    let mut sql = Sql::default();
    push_totals(&mut sql, rule, (group, by), &part);
    sql.push(" WHERE has(?, name) GROUP BY name").bind(Bind::Texts(names));
    let rows: Vec<TotalRow> = bounded("find what changed", sql.query(client).fetch_all()).await?;
    let values: HashMap<String, Quantity> =
        rows.into_iter().map(|row| (row.name.clone(), value_of(total, &row))).collect();
    Ok((!values.is_empty()).then_some(Before { label: period.label, values }))
}

/// What a breakdown of the rule's groups is by.
const fn by(rule: &Rule) -> &'static str {
    if matches!(rule.scope, Scope::Model) { "toString(user_id)" } else { "toString(model)" }
}

/// `1 error`, `2 errors`.
fn count_of(measured: f64, noun: &str) -> String {
    let count = format!("{measured:.0}");
    let plural = if count == "1" { "" } else { "s" };
    format!("{count} {noun}{plural}")
}

/// Who counts most among the window's requests.
fn counted(rule: &Rule, window: &Window, (name, count): (&str, &str), group: &str, now: UtcMillis) -> Sql {
    let mut sql = Sql::default();
    sql.push(&format!("SELECT {name} AS name, '' AS user_name, toFloat64({count}) AS measured FROM requests"));
    push_window(&mut sql, &window_span(window, now));
    push_group(&mut sql, rule.scope, group);
    push_filter(&mut sql, &rule.filter);
    sql.push(" GROUP BY name HAVING measured > 0 ORDER BY measured DESC, name LIMIT ?").bind(Bind::Int(TOP));
    sql
}

fn push_group(sql: &mut Sql, scope: Scope, group: &str) {
    if scope.column().is_some() {
        sql.push(&format!(" AND {} = ?", group_expression(scope))).bind(Bind::Text(group.to_owned()));
    }
}

/// Sums by name within `span`; without its `GROUP BY`.
fn push_totals(sql: &mut Sql, rule: &Rule, (group, by): (&str, Scope), span: &Span) {
    // The breakdown needs the columns of both scopes.
    let mut filter = rule.filter.clone();
    filter.0.push((by, Vec::new()));
    sql.push(&format!("SELECT name, {SUMS} FROM "));
    push_rows(sql, &View::cover(rule.scope, &filter, span, ANY_LENGTH), &group_expression(by), |sql| {
        push_group(sql, rule.scope, group);
        push_filter(sql, &rule.filter);
    });
}

fn total_sql(rule: &Rule, total: &Total, subject: (&str, Scope), span: &Span) -> Sql {
    let value = match total.limit {
        Quantity::Usd(_) => "usd",
        Quantity::Requests(_) => "reqs",
        _ => "tokens",
    };
    let mut sql = Sql::default();
    push_totals(&mut sql, rule, subject, span);
    sql.push(&format!(" GROUP BY name ORDER BY {value} DESC, name LIMIT ?")).bind(Bind::Int(TOP));
    sql
}

/// The worst requests of the window.
fn worst_requests(rule: &Rule, window: &Window, (column, limit): (&str, f64), group: &str, now: UtcMillis) -> Sql {
    let mut sql = Sql::default();
    sql.push(&format!(
        "SELECT toString(request_id) AS name, toString(user_id) AS user_name, \
         toFloat64(assumeNotNull({column})) AS measured FROM requests"
    ));
    push_window(&mut sql, &window_span(window, now));
    push_group(&mut sql, rule.scope, group);
    push_filter(&mut sql, &rule.filter);
    sql.push(&format!(" AND {column} > ? ORDER BY measured DESC, name LIMIT ?"));
    sql.bind(Bind::Float(limit)).bind(Bind::Int(TOP));
    sql
}

/// The newest requests that the policy matched.
fn policy_sql(rule: &Rule, span: &Span, group: &str) -> Sql {
    let mut sql = Sql::default();
    sql.push(
        "SELECT toString(request_id) AS name, toString(any(user_id)) AS user_name, \
         toFloat64(max(toUnixTimestamp64Milli(event_time))) AS measured FROM inspection_rows",
    );
    push_judged(&mut sql, span);
    sql.push(" AND has(matches, ?)").bind(Bind::Text(rule.name.clone()));
    push_group(&mut sql, rule.scope, group);
    push_filter(&mut sql, &rule.filter);
    sql.push(" GROUP BY request_id ORDER BY measured DESC, name LIMIT ?").bind(Bind::Int(TOP));
    sql
}

/// When the newest request of the last hour began: how complete the numbers are.
pub(super) async fn newest_event(client: &Client, now: UtcMillis) -> Result<Option<UtcMillis>, AlertError> {
    let query = "SELECT toUnixTimestamp64Milli(max(event_time)) FROM requests \
         WHERE event_time >= fromUnixTimestamp64Milli(?, 'UTC') AND NOT is_test";
    let hour_ago = now.minus(std::time::Duration::from_secs(3600));
    let newest: i64 = bounded("find the newest event", client.query(query).bind(hour_ago.0).fetch_one()).await?;
    Ok((newest > 0).then_some(UtcMillis(newest)))
}
