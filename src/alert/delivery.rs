//! From the outbox to a notifier. One task per notifier; the queue is the table, so a wake-up carries nothing.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::{
    AlertError,
    journal::{DeliveryRow, DeliveryState, TransitionRow},
    metrics::AlertMetrics,
};
use crate::{
    domain::{Clock, UtcMillis},
    notify::{Notifier, NotifyError},
};

/// A message that failed this often lets others pass: it may be the message, not the receiver.
const ATTEMPTS_BEFORE_YIELDING: u32 = 5;

/// How patiently messages are delivered.
#[derive(Clone, Copy, Debug)]
pub struct DeliveryPolicy {
    /// Between two messages; Slack takes one a second.
    pub min_interval: Duration,
    /// The first retry waits up to this long, and each further one up to twice as long.
    pub first_backoff: Duration,
    /// No retry waits longer than this, unless the receiver asks for it.
    pub max_backoff: Duration,
    /// A message that is older is given up.
    pub retry_for: Duration,
    /// The outbox is looked at this often without a wake-up.
    pub poll_every: Duration,
    /// Seeds the jitter.
    pub seed: u64,
}

impl Default for DeliveryPolicy {
    fn default() -> Self {
        Self {
            min_interval: Duration::from_secs(1),
            first_backoff: Duration::from_secs(1),
            max_backoff: Duration::from_secs(300),
            retry_for: Duration::from_secs(24 * 3600),
            poll_every: Duration::from_secs(30),
            seed: 0,
        }
    }
}

impl DeliveryPolicy {
    /// The wait before the retry after `failures` failures in a row: full jitter, so that restarts spread out.
    fn backoff(&self, failures: u32, rng: &mut StdRng) -> Duration {
        let doubled =
            self.first_backoff.saturating_mul(1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX));
        let most = doubled.min(self.max_backoff);
        most.mul_f64(rng.random_range(0.0..=1.0))
    }
}

/// Where messages wait, and where their outcomes are kept.
#[async_trait]
pub(super) trait Outbox: Send + Sync + 'static {
    /// Attempts made so far at deliveries that are not final, by transition id.
    async fn attempts(&self, notifier: &str) -> Result<Vec<(String, u32)>, AlertError>;

    /// The oldest messages for `notifier` that were decided since `oldest` and have no final delivery.
    async fn waiting(&self, notifier: &str, oldest: UtcMillis) -> Result<Vec<TransitionRow>, AlertError>;

    /// Whether this process is still the one that sends.
    async fn may_send(&self) -> Result<(), AlertError>;

    /// Records attempts and outcomes. Resolves when they are durable.
    async fn record_deliveries(&self, rows: &[DeliveryRow]) -> Result<(), AlertError>;
}

/// Delivers to one notifier.
pub(super) struct Delivery {
    pub(super) outbox: Arc<dyn Outbox>,
    pub(super) notifier: Arc<dyn Notifier>,
    pub(super) policy: DeliveryPolicy,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) metrics: AlertMetrics,
    pub(super) dashboard_url: String,
    pub(super) wake: Arc<Notify>,
}

/// What one look at the outbox came to.
enum Round {
    /// Nothing left to send.
    Done,
    /// Wait this long before the next attempt.
    Wait(Duration),
}

/// What is remembered between rounds.
struct Progress {
    rng: StdRng,
    /// Attempts at messages that are not delivered, by transition id.
    attempts: Option<HashMap<String, u32>>,
    /// Outcomes that ClickHouse has not taken yet. Nothing is sent while there are any: it could be sent twice.
    unrecorded: Vec<DeliveryRow>,
    failures_in_a_row: u32,
    last_sent: Option<Instant>,
}

impl Delivery {
    /// Runs until `shutdown`; an attempt under way is finished.
    pub(super) async fn run(self, shutdown: CancellationToken) {
        let mut progress = Progress {
            rng: StdRng::seed_from_u64(self.policy.seed),
            attempts: None,
            unrecorded: Vec::new(),
            failures_in_a_row: 0,
            last_sent: None,
        };
        loop {
            let round = match self.round(&mut progress, &shutdown).await {
                Ok(round) => round,
                Err(error) => {
                    progress.failures_in_a_row += 1;
                    tracing::warn!(%error, notifier = self.notifier.name(), "deliveries wait for ClickHouse");
                    Round::Wait(self.policy.backoff(progress.failures_in_a_row, &mut progress.rng))
                }
            };
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(match round { Round::Wait(wait) => wait, Round::Done => self.policy.poll_every }) => {}
                () = self.wake.notified(), if matches!(round, Round::Done) => {}
            }
        }
    }

    async fn round(&self, progress: &mut Progress, shutdown: &CancellationToken) -> Result<Round, AlertError> {
        self.record(progress).await?;
        let name = self.notifier.name();
        if progress.attempts.is_none() {
            progress.attempts = Some(self.outbox.attempts(name).await?.into_iter().collect());
        }
        // Twice the time: what is too old to be sent is still seen, and recorded as given up.
        let oldest = self.clock.now().minus(self.policy.retry_for.saturating_mul(2));
        let mut messages = self.outbox.waiting(name, oldest).await?;
        if messages.is_empty() {
            progress.failures_in_a_row = 0;
            return Ok(Round::Done);
        }
        let attempts = progress.attempts.get_or_insert_default();
        let made = |message: &TransitionRow| attempts.get(&message.transition_id).copied().unwrap_or(0);
        // Oldest first, and a stable sort keeps it so.
        messages.sort_by_key(|message| made(message) >= ATTEMPTS_BEFORE_YIELDING);
        for message in messages {
            if shutdown.is_cancelled() {
                break;
            }
            if let Some(wait) = self.attempt(progress, &message).await? {
                return Ok(Round::Wait(wait));
            }
        }
        // There may be more than one batch.
        Ok(Round::Wait(Duration::ZERO))
    }

    /// One attempt at one message; the time to wait when it must be tried again.
    async fn attempt(&self, progress: &mut Progress, message: &TransitionRow) -> Result<Option<Duration>, AlertError> {
        let name = self.notifier.name();
        let id = &message.transition_id;
        let made = progress.attempts.as_ref().and_then(|attempts| attempts.get(id)).copied().unwrap_or(0);
        let age = self.clock.now().since(message.at);
        let (outcome, attempts) = match message.to_notification(&self.dashboard_url) {
            _ if age > self.policy.retry_for => {
                let text = format!("given up: not delivered within {} s", self.policy.retry_for.as_secs());
                (Err(NotifyError::Final(text)), made)
            }
            None => (Err(NotifyError::Final("written by a newer version, cannot be read".to_owned())), made),
            Some(notification) => {
                if let Some(last) = progress.last_sent {
                    tokio::time::sleep(self.policy.min_interval.saturating_sub(last.elapsed())).await;
                }
                self.outbox.may_send().await?;
                progress.last_sent = Some(Instant::now());
                (self.notifier.send(&notification).await, made + 1)
            }
        };
        let (state, error, wait) = match outcome {
            Ok(()) => {
                tracing::info!(rule = message.rule, notifier = name, attempts, "alert notification sent");
                self.metrics.notification(name, "sent");
                (DeliveryState::Sent, String::new(), None)
            }
            Err(NotifyError::Transient { message: text, retry_after }) => {
                progress.failures_in_a_row += 1;
                let backoff = self.policy.backoff(progress.failures_in_a_row, &mut progress.rng);
                let wait = retry_after.map_or(backoff, |asked| asked + backoff.min(self.policy.first_backoff));
                tracing::warn!(
                    rule = message.rule,
                    notifier = name,
                    attempts,
                    error = text,
                    wait_ms = wait.as_millis(),
                    "alert notification not delivered; it is tried again"
                );
                self.metrics.notification(name, "retried");
                (DeliveryState::Pending, text, Some(wait))
            }
            Err(error @ (NotifyError::Final(_) | NotifyError::Setup(_))) => {
                tracing::error!(
                    rule = message.rule, notifier = name, attempts, %error,
                    "alert notification given up; see the view `notifications`"
                );
                self.metrics.notification(name, "failed");
                (DeliveryState::Failed, error.to_string(), None)
            }
        };
        let known = progress.attempts.get_or_insert_default();
        if state == DeliveryState::Pending {
            known.insert(id.clone(), attempts);
        } else {
            known.remove(id);
            progress.failures_in_a_row = 0;
        }
        progress.unrecorded.push(DeliveryRow::new(message, name, (state, attempts, error), self.clock.now()));
        self.record(progress).await?;
        Ok(wait)
    }

    async fn record(&self, progress: &mut Progress) -> Result<(), AlertError> {
        if !progress.unrecorded.is_empty() {
            self.outbox.record_deliveries(&progress.unrecorded).await?;
            progress.unrecorded.clear();
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "delivery_tests.rs"]
mod tests;
