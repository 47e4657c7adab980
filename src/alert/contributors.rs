//! Who added most to a value. Asked only when a message is about to be written.

use clickhouse::{Client, Row};
use serde::Deserialize;

use super::{
    AlertError,
    error::bounded,
    observe::{Bind, Sql, View, group_expression, push_filter, push_judged, push_window, window_span},
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

/// The top contributors to `transition`, largest first.
pub(super) async fn top(
    client: &Client,
    rule: &Rule,
    transition: &Transition,
    now: UtcMillis,
) -> Result<Vec<Contributor>, AlertError> {
    let doing = "find the top contributors of an alert";
    match &rule.condition {
        Condition::Total(total) => {
            let (Some(start), Some(end)) = (transition.key.period_start, transition.state.period_end) else {
                return Ok(Vec::new());
            };
            let span = Span { start, end, label: String::new() };
            let by = if rule.scope == Scope::Model { Scope::User } else { Scope::Model };
            let sql = total_sql(rule, total, (&transition.key.group, by), &span);
            let rows: Vec<TotalRow> = bounded(doing, sql.query(client).fetch_all()).await?;
            let contributor = |row: TotalRow| {
                let unpriced = row.reqs.saturating_sub(row.priced);
                let mut amount = match total.limit {
                    Quantity::Usd(_) => Quantity::Usd(UsdAmount::from_pico_usd(row.usd)),
                    Quantity::Requests(_) => Quantity::Requests(row.reqs),
                    _ => Quantity::Tokens(row.tokens),
                }
                .to_string();
                if unpriced > 0 && matches!(total.limit, Quantity::Usd(_)) {
                    amount = format!("{amount} (and {unpriced} unpriced)");
                }
                Contributor { what: by.word().to_owned(), name: row.name, amount }
            };
            Ok(rows.into_iter().map(contributor).collect())
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
                _ => return Ok(Vec::new()),
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
                    Measure::ErrorRate { .. } => format!("{:.0} errors", row.measured),
                    Measure::SpendSpike(_) => format!("${:.2}", row.measured),
                    Measure::UnpricedModel { .. } => format!("{:.0} requests", row.measured),
                    _ => "matched".to_owned(),
                };
                let user = if row.user_name.is_empty() { String::new() } else { format!(" by {}", row.user_name) };
                Contributor { what: what.to_owned(), name: row.name, amount: format!("{amount}{user}") }
            };
            Ok(rows.into_iter().map(contributor).collect())
        }
    }
}

/// What a breakdown of the rule's groups is by.
const fn by(rule: &Rule) -> &'static str {
    if matches!(rule.scope, Scope::Model) { "toString(user_id)" } else { "toString(model)" }
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

fn total_sql(rule: &Rule, total: &Total, (group, by): (&str, Scope), span: &Span) -> Sql {
    // The breakdown needs the columns of both scopes.
    let mut filter = rule.filter.clone();
    filter.0.push((by, Vec::new()));
    let view = View::for_total(rule.scope, &filter, total.period, span);
    let value = match total.limit {
        Quantity::Usd(_) => "usd",
        Quantity::Requests(_) => "reqs",
        _ => "tokens",
    };
    let mut sql = Sql::default();
    sql.push(&format!("SELECT {} AS name, {} FROM {}", group_expression(by), view.sums(), view.name()));
    view.during(&mut sql, span);
    push_group(&mut sql, rule.scope, group);
    push_filter(&mut sql, &rule.filter);
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
