//! Where alerts go. A notifier makes one attempt to hand over one notification; the alert room owns the queue, the
//! retries and the record of what was delivered.

use std::time::Duration;

use async_trait::async_trait;

use crate::domain::UtcMillis;

mod quantity;
mod slack;
mod slack_blocks;

pub use quantity::{Quantity, money};
pub use slack::Slack;

/// What happened to the alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// It began to fire.
    Firing,
    /// It still fires, and `repeat_interval` has passed since the last message.
    StillFiring,
    /// It ended.
    Resolved,
}

/// How urgent a rule says its alerts are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Severity {
    /// Good to know.
    Info,
    /// Look at it today.
    #[default]
    Warning,
    /// Look at it now.
    Critical,
}

impl Severity {
    /// Every severity, mildest first.
    pub const ALL: [Self; 3] = [Self::Info, Self::Warning, Self::Critical];

    /// The word in settings, tables and messages.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

/// One of those who added most to the value.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Contributor {
    /// What it is: `user`, `model` or `request`.
    pub what: String,
    /// Its name, as the sender wrote it. May be empty.
    pub name: String,
    /// Its share, ready to be read: `$0.62`, `5,321 ms`.
    pub amount: String,
}

/// One message about one alert: a snapshot taken when it was decided. Text in `group`, `labels` and `contributors`
/// comes from senders and is not to be trusted.
#[derive(Clone, Debug, PartialEq)]
pub struct Notification {
    /// Names this message; the same message always has the same id.
    pub id: String,
    /// Names the alert; its firing, repeats and end share it.
    pub fingerprint: String,
    /// When it was decided.
    pub at: UtcMillis,
    /// What happened.
    pub event: Event,
    /// The rule's name.
    pub rule: String,
    /// The rule's kind: `budget`, `usage`, `latency` or `efficiency`.
    pub kind: String,
    /// How urgent.
    pub severity: Severity,
    /// The rule's labels.
    pub labels: Vec<(String, String)>,
    /// What the rule is applied to, one by one: `all`, `model`, `user`, `provider` or `source`.
    pub scope: String,
    /// Which one of them. Empty for scope `all`, and for requests without a user or model.
    pub group: String,
    /// What is measured, in words: `spend`, `p95 latency`.
    pub measure: String,
    /// The measured value.
    pub value: Quantity,
    /// The limit it is measured against.
    pub limit: Quantity,
    /// The threshold that was reached, in percent of the limit, for rules that have such.
    pub threshold_percent: Option<u32>,
    /// The period or window, for people: `day 2025-09-08 (Europe/Berlin)`, `last 5m`.
    pub period: String,
    /// Since when the alert is active.
    pub since: UtcMillis,
    /// Requests that the value stands on.
    pub requests: u64,
    /// Those of them whose price is known.
    pub priced_requests: u64,
    /// Requests over the limit by themselves, for latency and efficiency rules.
    pub exceeding_requests: Option<u64>,
    /// When the newest stored request began, if one did within the last hour.
    pub newest_event: Option<UtcMillis>,
    /// Who added most, largest first; a handful.
    pub contributors: Vec<Contributor>,
    /// What the numbers stand on: forecast, usual spend, backlog; a line each.
    pub notes: Vec<String>,
    /// A page to link to; empty for none.
    pub dashboard_url: String,
}

/// Why a notification was not delivered. Never holds a URL, which may be a credential.
#[derive(Debug, thiserror::Error)]
pub enum NotifyError {
    /// May work later.
    #[error("{message}")]
    Transient {
        /// What happened.
        message: String,
        /// The receiver asked to wait this long.
        retry_after: Option<Duration>,
    },
    /// Will not work, however often it is tried.
    #[error("{0}")]
    Final(String),
    /// The notifier cannot be set up.
    #[error("notifiers: {0}")]
    Setup(String),
}

/// A place that takes notifications.
#[async_trait]
pub trait Notifier: Send + Sync + 'static {
    /// Its word in settings, tables and metric labels.
    fn name(&self) -> &'static str;

    /// Makes one attempt. Returns when the receiver has confirmed.
    ///
    /// # Errors
    /// [`NotifyError::Transient`] when trying again may help, [`NotifyError::Final`] when not.
    async fn send(&self, notification: &Notification) -> Result<(), NotifyError>;
}
