//! What a decision is made of: alerts, their states, what was measured, and the steps between states.

use sha2::{Digest, Sha256};

use super::period::Span;
use crate::{domain::UtcMillis, notify::Quantity};

/// What one alert is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AlertKey {
    /// The rule's name.
    pub rule: String,
    /// One of what the rule's scope names; empty for `all` and for "nobody".
    pub group: String,
    /// Start of the period, for totals.
    pub period_start: Option<UtcMillis>,
    /// Percent of the limit, for totals.
    pub threshold_percent: Option<u32>,
}

/// Where an alert stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Over, but not yet for as long as `for` asks.
    Pending,
    /// Over.
    Firing,
    /// Was firing.
    Resolved,
    /// Was pending.
    Inactive,
}

impl Phase {
    const ALL: [Self; 4] = [Self::Pending, Self::Firing, Self::Resolved, Self::Inactive];

    /// The word in tables and metrics.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Firing => "firing",
            Self::Resolved => "resolved",
            Self::Inactive => "inactive",
        }
    }

    /// Reads [`Self::word`] back.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|phase| phase.word() == word)
    }

    pub(super) const fn is_active(self) -> bool {
        matches!(self, Self::Pending | Self::Firing)
    }
}

/// Why a transition happened: the `reason` column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Over, waiting for `for`.
    Held,
    /// Began to fire.
    Fired,
    /// Fires still, and is said again.
    Repeated,
    /// Nothing holds it back any more (a silence, a maintenance window, another alert), and it fires still.
    Unsuppressed,
    /// Below the limit, but kept firing for a while.
    Kept,
    /// Over again while it was kept firing.
    OverAgain,
    /// Below the limit, or nothing left in the window.
    Below,
    /// Nothing was heard of the group for so long that nobody waits for it any more.
    Forgotten,
    /// The period ended.
    PeriodEnded,
    /// No rule of this name any more.
    RuleRemoved,
}

impl Reason {
    /// The word in tables.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Fired => "fired",
            Self::Repeated => "repeated",
            Self::Unsuppressed => "unsuppressed",
            Self::Kept => "kept",
            Self::OverAgain => "over_again",
            Self::Below => "below",
            Self::Forgotten => "forgotten",
            Self::PeriodEnded => "period_ended",
            Self::RuleRemoved => "rule_removed",
        }
    }
}

/// The state of one alert.
#[derive(Clone, Debug, PartialEq)]
pub struct AlertState {
    /// Where it stands.
    pub phase: Phase,
    /// When it was first seen over.
    pub since: UtcMillis,
    /// When people were last told.
    pub last_notified_at: Option<UtcMillis>,
    /// Counts the transitions of this alert, from 0.
    pub revision: u32,
    /// End of the period, for totals.
    pub period_end: Option<UtcMillis>,
    /// The measured value at the last transition.
    pub value: Quantity,
    /// The limit at the last transition.
    pub limit: Quantity,
    /// Period or window, for people.
    pub period: String,
    /// Since when it is below its limit though it is kept firing.
    pub below_since: Option<UtcMillis>,
}

/// One step of one alert, to be recorded and perhaps told.
#[derive(Clone, Debug, PartialEq)]
pub struct Transition {
    /// Names this step: SHA-256 over fingerprint, reason and revision, in hex.
    pub id: String,
    /// Names the alert: SHA-256 over rule, group, threshold and period start (for windows: the time it began), in hex.
    pub fingerprint: String,
    /// When it was decided.
    pub at: UtcMillis,
    /// Which alert.
    pub key: AlertKey,
    /// The state after it.
    pub state: AlertState,
    /// Why.
    pub reason: Reason,
    /// Whether people are to be told.
    pub notify: bool,
    /// Requests that the value stands on.
    pub requests: u64,
    /// Those whose price is known.
    pub priced_requests: u64,
    /// Requests over the limit by themselves, for windows.
    pub exceeding_requests: Option<u64>,
    /// What kept it from being told, if anything did; empty when nothing did.
    pub suppressed_by: String,
    /// What the numbers stand on, for people; may be empty.
    pub note: String,
}

/// What was measured for one group.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupValue {
    /// Which one.
    pub group: String,
    /// How much.
    pub value: Quantity,
    /// Requests it stands on.
    pub requests: u64,
    /// Those whose price is known.
    pub priced_requests: u64,
    /// Requests over the limit by themselves, for windows.
    pub exceeding_requests: Option<u64>,
    /// A limit of its own, where the rule computes one.
    pub limit: Option<Quantity>,
    /// What value and limit stand on, for people; may be empty.
    pub note: String,
}

/// What was measured for one rule.
#[derive(Clone, Debug, PartialEq)]
pub struct Observation {
    /// The period, for totals; the window otherwise.
    pub span: Span,
    /// Every group that may matter. A group that is not here has nothing.
    pub groups: Vec<GroupValue>,
    /// There may be more groups than these: then a missing one is not known to have nothing.
    pub cut: bool,
}

/// Names an alert: by its period for totals, by its begin for windows.
pub(super) fn fingerprint(key: &AlertKey, state: &AlertState) -> String {
    let threshold = key.threshold_percent.map(|percent| percent.to_string()).unwrap_or_default();
    let start = key.period_start.unwrap_or(state.since).0.to_string();
    digest(&[&key.rule, &key.group, &threshold, &start])
}

/// Names a step of an alert. Deciding it twice from one state gives the same name.
pub(super) fn step_id(fingerprint: &str, reason: Reason, state: &AlertState) -> String {
    digest(&[fingerprint, reason.word(), &state.revision.to_string()])
}

/// SHA-256 in hex over the parts, each preceded by its length, so that no two lists of parts read alike.
pub(super) fn digest(parts: &[&str]) -> String {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part.as_bytes());
    }
    hex::encode(hasher.finalize())
}
