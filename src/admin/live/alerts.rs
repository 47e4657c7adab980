//! Alerts and budgets, from what the alerter has recorded.

use clickhouse::Row;
use serde::Deserialize;

use super::{
    source::{Part, Source},
    totals::Scope,
};

/// The newest step of an alert, or one of its steps.
#[derive(Clone, Debug, Deserialize, Row)]
pub(super) struct Alert {
    pub(super) at_ms: i64,
    pub(super) since_ms: i64,
    pub(super) rule: String,
    pub(super) kind: String,
    pub(super) severity: String,
    pub(super) scope: String,
    pub(super) group: String,
    pub(super) state: String,
    pub(super) reason: String,
    pub(super) unit: String,
    pub(super) value: f64,
    pub(super) limit_value: f64,
    pub(super) threshold: f64,
    pub(super) period: String,
}

/// A user's monthly limit.
#[derive(Clone, Debug, Deserialize, Row)]
pub(super) struct UserLimit {
    pub(super) user_id: String,
    /// Exact.
    pub(super) cost_usd: String,
    /// Exact.
    pub(super) limit_usd: String,
    pub(super) used_ratio: f64,
}

const COLUMNS: &str = "toUnixTimestamp64Milli(a.at) AS at_ms, toUnixTimestamp64Milli(a.since) AS since_ms, \
    a.rule AS rule, toString(a.kind) AS kind, toString(a.severity) AS severity, toString(a.scope) AS scope, \
    a.`group` AS group, toString(a.state) AS state, toString(a.reason) AS reason, toString(a.unit) AS unit, \
    a.value AS value, a.limit_value AS limit_value, a.threshold AS threshold, a.period AS period";

/// The newest step of each alert that is not over. Every alert has a step at least once a period or repeat interval.
const NEWEST: &str =
    "SELECT * FROM alerts WHERE at >= now() - INTERVAL 100 DAY ORDER BY at DESC LIMIT 1 BY fingerprint";

/// Alerts that fire now, the newest first; of several thresholds of a budget the highest.
pub(super) async fn firing(source: &Source) -> Part<Vec<Alert>> {
    let query = format!(
        "SELECT {COLUMNS} FROM ({NEWEST}) AS a WHERE a.state = 'firing' \
         ORDER BY a.threshold DESC LIMIT 1 BY a.rule, a.`group`, a.period"
    );
    let query = format!("SELECT * FROM ({query}) ORDER BY at_ms DESC, rule, group LIMIT 100");
    source.rows(source.query(&query)).await
}

/// What happened last.
pub(super) async fn recent(source: &Source) -> Part<Vec<Alert>> {
    let query = format!(
        "SELECT {COLUMNS} FROM alerts AS a WHERE a.at >= now() - INTERVAL 100 DAY AND a.state IN ('firing', 'resolved') \
         ORDER BY a.at DESC LIMIT 50"
    );
    source.rows(source.query(&query)).await
}

/// Budgets and usage limits of the present periods, as of their last step, the fullest first.
pub(super) async fn budgets(source: &Source) -> Part<Vec<Alert>> {
    let query = format!(
        "SELECT {COLUMNS} FROM ({NEWEST}) AS a WHERE a.kind IN ('budget', 'usage') AND a.state IN ('firing', 'pending') \
         AND a.limit_value > 0 ORDER BY a.at DESC, a.threshold DESC LIMIT 1 BY a.rule, a.`group`, a.period"
    );
    let query = format!("SELECT * FROM ({query}) ORDER BY value / limit_value DESC, rule, group LIMIT 20");
    source.rows(source.query(&query)).await
}

/// Users with a monthly limit, by how much of it they have used.
pub(super) async fn user_limits(source: &Source, scope: &Scope) -> Part<Vec<UserLimit>> {
    let user = match scope {
        Scope::User(name) => name.as_str(),
        Scope::All | Scope::Model(_) => "",
    };
    let condition = if matches!(scope, Scope::User(_)) { "AND m.user_id = {user:String}" } else { "" };
    let query = format!(
        "SELECT m.user_id AS user_id, toString(sum(m.cost_usd)) AS cost_usd, toString(assumeNotNull(any(m.limit_usd))) AS limit_usd, \
         assumeNotNull(any(m.limit_used_ratio)) AS used_ratio \
         FROM user_month AS m WHERE m.bucket = toStartOfMonth(now('UTC')) AND m.limit_usd > 0 {condition} \
         GROUP BY m.user_id ORDER BY used_ratio DESC, m.user_id LIMIT 10"
    );
    source.rows(source.query(&query).param("user", user)).await
}
