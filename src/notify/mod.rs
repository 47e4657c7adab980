//! Where alerts go. A notifier makes one attempt to hand over one message; the alert room owns the queue, the
//! retries and the record of what was delivered.
//!
//! There is one model of what is said, [`Message`], and a rendering of it for each type of receiver. Words that all of
//! them share are in `wording`.

use std::time::Duration;

use async_trait::async_trait;

use crate::domain::UtcMillis;

mod alertmanager;
mod digest;
mod discord;
mod email;
mod http;
mod pagerduty;
pub mod preview;
mod quantity;
mod receivers;
pub mod report;
mod routing;
mod slack;
mod slack_blocks;
mod slack_bot;
mod teams;
mod webhook;
mod wording;

pub use digest::{Digest, DigestEntry};
pub use quantity::{Quantity, money, whole_cents};
pub use receivers::{check, receivers};
pub use report::Report;
pub use routing::Routing;
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

/// What is handed over.
#[derive(Clone, Copy, Debug)]
pub enum Message<'a> {
    /// About one alert.
    Alert(&'a Notification),
    /// About everything that waited while the receiver was away.
    Digest(&'a Digest),
    /// About what a day or a week came to; for receivers that people read.
    Report(&'a Report),
}

/// A message on its way.
#[derive(Clone, Copy, Debug)]
pub struct Outgoing<'a> {
    /// What is said.
    pub message: Message<'a>,
    /// What [`Notifier::send`] returned for the message that began the thread, if there was one.
    pub thread: Option<&'a str>,
    /// The time of the attempt.
    pub now: UtcMillis,
}

/// What a type of receiver needs of the queue before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traits {
    /// People read it: what waited for long comes as one [`Digest`], and they may want a [`Report`].
    pub digests: bool,
    /// Later messages about an alert answer the first one.
    pub threads: bool,
    /// It keeps an alert open until it hears of the end, so it is told also of ends that people need not hear of.
    pub needs_every_end: bool,
    /// It forgets alerts that are not sent again and again while they fire.
    pub resend_every: Option<Duration>,
}

/// A place that takes messages.
#[async_trait]
pub trait Notifier: Send + Sync + 'static {
    /// Its name in settings, tables and metric labels.
    fn name(&self) -> &str;

    /// The word of its type in settings.
    fn kind(&self) -> &'static str;

    /// What it needs of the queue.
    fn traits(&self) -> Traits;

    /// Makes one attempt. Returns when the receiver has confirmed: a reference to the message if later ones can answer it.
    ///
    /// # Errors
    /// [`NotifyError::Transient`] when trying again may help, [`NotifyError::Final`] when not.
    async fn send(&self, outgoing: Outgoing<'_>) -> Result<Option<String>, NotifyError>;

    /// Says that these alerts still fire, where [`Traits::resend_every`] asks for it.
    ///
    /// # Errors
    /// As [`Self::send`].
    async fn send_again(&self, _firing: &[Notification], _now: UtcMillis) -> Result<(), NotifyError> {
        Ok(())
    }

    /// Looks whether it could work, without telling anybody anything. Returns what was found, in words.
    ///
    /// # Errors
    /// [`NotifyError`] says what is wrong and what to do.
    async fn check(&self) -> Result<String, NotifyError>;
}

#[cfg(test)]
mod service_tests;
