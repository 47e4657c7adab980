//! Statistics over single requests of the last while.

use clickhouse::{Client, Row};
use serde::Deserialize;

use super::{
    super::{
        AlertError,
        error::bounded,
        period::Span,
        rule::{Measure, Rule, Statistic, Window},
        transition::GroupValue,
    },
    Bind, DOING, GROUPS_AND_ONE, Sql, group_expression, push_filter, push_judged, push_window,
};
use crate::notify::Quantity;

/// Every group with requests in the window.
pub(super) async fn groups(
    client: &Client,
    rule: &Rule,
    window: &Window,
    span: &Span,
) -> Result<Vec<GroupValue>, AlertError> {
    let query = window_sql(rule, window, span).query(client);
    let rows: Vec<WindowRow> = bounded(DOING, query.fetch_all()).await?;
    Ok(rows.into_iter().map(|row| row.into_group(&window.measure)).collect())
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
    fn into_group(self, measure: &Measure) -> GroupValue {
        let value = match measure {
            Measure::Latency { .. } => Quantity::Milliseconds(self.measured),
            Measure::Efficiency { .. } | Measure::ErrorRate { .. } => Quantity::Percent(self.measured),
            _ => Quantity::Requests(self.exceeding),
        };
        GroupValue {
            group: self.grp,
            value,
            requests: self.reqs,
            priced_requests: self.priced,
            exceeding_requests: Some(self.exceeding),
            limit: None,
            note: String::new(),
        }
    }
}

pub(super) fn window_sql(rule: &Rule, window: &Window, span: &Span) -> Sql {
    let (measured, exceeding, usable, threshold) = match &window.measure {
        Measure::Latency { statistic, threshold_ms } => {
            let latency = match statistic {
                // For `each`, the slowest decides whether any request is over.
                Statistic::Each | Statistic::Max => "max(latency_ms)",
                Statistic::Avg => "avg(latency_ms)",
                Statistic::P50 => "quantileDD(0.01, 0.5)(assumeNotNull(latency_ms))",
                Statistic::P95 => "quantileDD(0.01, 0.95)(assumeNotNull(latency_ms))",
                Statistic::P99 => "quantileDD(0.01, 0.99)(assumeNotNull(latency_ms))",
            };
            (latency, "countIf(latency_ms > ?)", "latency_ms > 0", Some(*threshold_ms))
        }
        Measure::Efficiency { max_token_ratio, .. } => {
            ("100 * exceeding / reqs", "countIf(token_ratio > ?)", "token_ratio > 0", Some(*max_token_ratio))
        }
        // Without a response body nobody knows how a request ended.
        Measure::ErrorRate { .. } => {
            ("100 * exceeding / reqs", "countIf(status = 'error')", "status != 'unknown'", None)
        }
        _ => return policy_sql(rule, span),
    };
    let mut sql = Sql::default();
    sql.push(&format!(
        "SELECT {} AS grp, toUInt64({exceeding}) AS exceeding, toUInt64(count()) AS reqs, \
         toUInt64(count(cost_usd)) AS priced, toFloat64(assumeNotNull({measured})) AS measured FROM requests",
        group_expression(rule.scope)
    ));
    if let Some(threshold) = threshold {
        sql.bind(Bind::Float(threshold));
    }
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
