//! What a stretch of time came to, and what changed: told every day or week, or asked for with `heliometer report`.
//!
//! There is one model of it, [`Report`], and one choice of words, [`words`]; each rendering only lays them out.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Message, slack_blocks};
use crate::domain::{UsdAmount, UtcMillis};

mod html;
mod markdown;
mod words;

pub(super) use html::fragment;
pub use html::page;
pub use markdown::markdown;
pub(super) use words::{Line, Words};

/// A report, as it was when it was made. Money is exact. Names come from senders and are not to be trusted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Names this message; the same report always has the same id.
    pub id: String,
    /// Name of its schedule in the settings; empty for one that was asked for.
    pub name: String,
    /// What it is about, for people: `day 2026-11-24 (Europe/Berlin)`.
    pub period: String,
    /// The first millisecond of it.
    pub from: UtcMillis,
    /// The first millisecond after it.
    pub to: UtcMillis,
    /// What it is compared with: the period before.
    pub previous_period: String,
    /// When it was made.
    pub at: UtcMillis,
    /// What it came to.
    pub totals: Figures,
    /// What the period before came to.
    pub previous: Figures,
    /// Of all calls, where sources send only a sample of them; `totals` are the calls that were sent.
    pub estimate: Option<Estimate>,
    /// The month up to the end of the period; not in reports on whole months.
    pub month: Option<MonthToDate>,
    /// Alerts that people were told to fire, by rule, the most frequent first.
    pub alerts: Vec<FiredAlerts>,
    /// By spend, largest first.
    pub top_models: Vec<Share>,
    /// By spend, largest first.
    pub top_users: Vec<Share>,
    /// Models and users whose spend changed most against the period before, up or down.
    pub movers: Vec<Share>,
    /// Models by 95th percentile of latency, slowest first.
    pub slowest_models: Vec<SlowModel>,
    /// Models with calls that have no price, by the number of those.
    pub unpriced_models: Vec<Share>,
    /// When the newest stored request began, if one did within the last hour.
    pub newest_event: Option<UtcMillis>,
    /// What still waits to be stored, in words.
    pub backlog: Option<String>,
    /// A page to link to; empty for none.
    #[serde(default, skip_serializing)]
    pub dashboard_url: String,
}

/// Totals of one period.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    /// Calls, each counted once.
    pub requests: u64,
    /// Of these, those whose price is known.
    pub priced_requests: u64,
    /// Of these, those that ended in an error.
    pub error_requests: u64,
    /// Of these, those with a token ratio above `limits.max_token_ratio`.
    pub inefficient_requests: u64,
    /// Users with a name that made calls.
    pub active_users: u64,
    /// Sum of the known costs.
    pub cost_usd: UsdAmount,
    /// Prompt tokens without cached ones.
    pub prompt_tokens: u64,
    /// Completion tokens.
    pub completion_tokens: u64,
    /// Tokens read from the provider's cache.
    pub cached_tokens: u64,
    /// All tokens as reported.
    pub total_tokens: u64,
    /// Median latency in milliseconds, within 1 %; `None` when none is known.
    pub latency_p50_ms: Option<f64>,
    /// 95th percentile of latency in milliseconds, within 1 %.
    pub latency_p95_ms: Option<f64>,
}

/// Totals of all calls, extrapolated from a sample.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// Calls.
    pub requests: f64,
    /// Their standard error.
    pub requests_standard_error: f64,
    /// Cost in USD.
    pub cost_usd: UsdAmount,
    /// Its standard error in USD.
    pub cost_usd_standard_error: f64,
}

/// A month that the report is in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MonthToDate {
    /// For people: `month 2026-11 (Europe/Berlin)`.
    pub period: String,
    /// Spend up to the end of the report's period.
    pub spent_usd: UsdAmount,
    /// What the whole month will come to; `None` when it is over, or too young to tell.
    pub forecast: Option<ForecastRange>,
}

/// A forecast with its uncertainty.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ForecastRange {
    /// If the cheapest of the courses is followed.
    pub low_usd: UsdAmount,
    /// The median of them.
    pub middle_usd: UsdAmount,
    /// If the dearest of them is followed.
    pub high_usd: UsdAmount,
    /// Past months whose courses it stands on; 0 for a straight line.
    pub courses: usize,
}

/// How often one rule's alerts fired.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, clickhouse::Row)]
pub struct FiredAlerts {
    /// The rule's name.
    pub rule: String,
    /// Alerts of it that began to fire.
    pub alerts: u64,
}

/// What one model or user came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    /// `model` or `user`.
    pub what: String,
    /// Its name; may be empty.
    pub name: String,
    /// Calls.
    pub requests: u64,
    /// Of these, those whose price is known.
    pub priced_requests: u64,
    /// Spend in the period.
    pub cost_usd: UsdAmount,
    /// Spend in the period before.
    pub previous_cost_usd: UsdAmount,
}

/// Latency of one model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SlowModel {
    /// Its name; may be empty.
    pub model: String,
    /// Calls.
    pub requests: u64,
    /// Median latency in milliseconds, within 1 %.
    pub latency_p50_ms: f64,
    /// 95th percentile of latency in milliseconds, within 1 %.
    pub latency_p95_ms: f64,
}

/// The body to post to Slack.
#[must_use]
pub fn slack_body(report: &Report) -> Value {
    slack_blocks::body(Message::Report(report))
}
