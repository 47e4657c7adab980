//! Alerts, budgets and silences, from what the alerter has recorded: what is decided is decided there alone.

use clickhouse::Row;
use serde::Deserialize;

use super::{
    source::{Part, Source},
    totals::Scope,
};

/// Rows of a page at most; SQL has the rest.
pub(super) const MAX_ALERTS: usize = 300;
/// Steps of the past on a page.
const MAX_STEPS: usize = 50;
const MAX_SILENCES: usize = 100;

/// The newest step of an alert, or one of its steps.
#[derive(Clone, Debug, Default, Deserialize, Row)]
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
    /// What kept the step from being told; empty when nothing did.
    pub(super) suppressed_by: String,
    pub(super) measure: String,
    pub(super) unit: String,
    pub(super) value: f64,
    pub(super) limit_value: f64,
    /// Of a budget or usage limit. A forecast has none.
    pub(super) threshold_percent: Option<u32>,
    pub(super) period: String,
    /// Since when it is below its limit though it is kept firing.
    pub(super) below_since_ms: Option<i64>,
}

impl Alert {
    pub(super) fn is_firing(&self) -> bool {
        self.state == "firing" && !self.is_held_back()
    }

    /// Nobody is told of it.
    pub(super) const fn is_held_back(&self) -> bool {
        !self.suppressed_by.is_empty()
    }

    /// Against a budget or usage limit, and as it is, not as it is forecast.
    pub(super) fn is_of_limit(&self) -> bool {
        self.threshold_percent.is_some() && self.limit_value > 0.0
    }

    pub(super) fn used_ratio(&self) -> f64 {
        self.value / self.limit_value
    }
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

/// A silence made at run time that holds or is to come.
#[derive(Clone, Debug, Deserialize, Row)]
pub(super) struct Silence {
    pub(super) id: String,
    pub(super) rule: String,
    pub(super) group: String,
    pub(super) severity: String,
    pub(super) labels: Vec<(String, String)>,
    pub(super) starts_ms: i64,
    pub(super) ends_ms: i64,
    pub(super) comment: String,
}

/// Of the table, whose order is that of time: the view `alerts` sorts the steps of two years before it can leave one out.
const COLUMNS: &str = "toUnixTimestamp64Milli(a.at) AS at_ms, toUnixTimestamp64Milli(a.since) AS since_ms, \
    a.rule AS rule, toString(a.kind) AS kind, toString(a.severity) AS severity, toString(a.scope) AS scope, \
    a.`group` AS group, toString(a.state) AS state, toString(a.reason) AS reason, a.suppressed_by AS suppressed_by, \
    a.measure AS measure, toString(a.unit) AS unit, a.value AS value, a.limit_value AS limit_value, \
    a.threshold_percent AS threshold_percent, a.period AS period, \
    toUnixTimestamp64Milli(a.below_since) AS below_since_ms";

/// Which rows are the newest steps of alerts that are not over: one of each rule, group, period and threshold, as the alerter
/// takes them up at its start.
const ACTIVE: &str = "(a.at, a.revision, a.fingerprint) IN (\
    SELECT tupleElement(newest, 1), tupleElement(newest, 2), tupleElement(newest, 3) FROM (\
        SELECT max((at, revision, fingerprint)) AS newest, argMax(state, (at, revision)) AS last_state \
        FROM alert_transitions WHERE kind != 'report' GROUP BY rule, `group`, period_start, threshold_percent \
        HAVING last_state IN ('pending', 'firing')))";

/// Alerts that are not over, as a subquery: of several thresholds of a budget the highest, and its forecast.
fn not_over(columns: &str) -> String {
    format!(
        "(SELECT {columns} FROM alert_transitions AS a WHERE {ACTIVE} ORDER BY a.threshold_percent DESC NULLS LAST, a.at DESC \
         LIMIT 1 BY a.rule, a.`group`, a.period_start, isNull(a.threshold_percent))"
    )
}

/// Alerts that fire or wait for `for`: what is told first, then what is held back, then what waits.
pub(super) async fn active(source: &Source) -> Part<Vec<Alert>> {
    let query = format!(
        "SELECT * FROM {} ORDER BY state = 'firing' DESC, suppressed_by = '' DESC, at_ms DESC, rule, group LIMIT {MAX_ALERTS}",
        not_over(COLUMNS)
    );
    source.rows(source.query(&query)).await
}

/// A query for how many of [`active`] fire and are told, were they ever so many.
pub(super) fn firing_count() -> String {
    let alerts = not_over("a.state AS state, a.suppressed_by AS suppressed_by");
    format!("SELECT count() FROM {alerts} WHERE state = 'firing' AND suppressed_by = ''")
}

/// What began and ended last. That something goes on is no news.
pub(super) async fn recent(source: &Source) -> Part<Vec<Alert>> {
    let query = format!(
        "SELECT {COLUMNS} FROM alert_transitions AS a WHERE a.state IN ('firing', 'resolved') \
         AND a.reason NOT IN ('repeated', 'kept', 'over_again') \
         ORDER BY a.at DESC, a.revision DESC LIMIT 1 BY a.transition_id LIMIT {MAX_STEPS}"
    );
    source.rows(source.query(&query)).await
}

/// Silences that hold or are to come, the next to end first.
pub(super) async fn silences(source: &Source) -> Part<Vec<Silence>> {
    let query = format!(
        "SELECT s.id AS id, s.rule AS rule, s.`group` AS group, s.severity AS severity, \
         CAST(s.labels, 'Array(Tuple(String, String))') AS labels, toUnixTimestamp64Milli(s.starts_at) AS starts_ms, \
         toUnixTimestamp64Milli(s.ends_at) AS ends_ms, s.comment AS comment \
         FROM alert_silences AS s FINAL WHERE s.ends_at > now64(3) ORDER BY s.ends_at, s.id LIMIT {MAX_SILENCES}"
    );
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
