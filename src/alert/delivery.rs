//! From the outbox to a notifier. One task per notifier; the queue is the table, so a wake-up carries nothing.

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};

use rand::{RngExt, SeedableRng, rngs::StdRng};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::{
    AlertError,
    journal::Told,
    metrics::AlertMetrics,
    outbox::{DeliveryRow, DeliveryState, Outbox, Outcome, Waiting},
};
use crate::{
    domain::{Clock, UtcMillis},
    notify::{Digest, Event, Message, Notification, Notifier, NotifyError, Outgoing},
};

/// A message that failed this often lets others pass: it may be the message, not the receiver.
const ATTEMPTS_BEFORE_YIELDING: u32 = 5;
/// Alerts that fire without a step for longer than this are not said again: a month's budget, and some.
const LONGEST_ALERT: Duration = Duration::from_secs(40 * 24 * 3600);

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
    /// When more messages than this wait …
    pub digest_above: usize,
    /// … for longer than this, people get one digest.
    pub digest_after: Duration,
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
            digest_above: 5,
            digest_after: Duration::from_secs(180),
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
    /// Outcomes that ClickHouse has not taken yet. Nothing is sent while there are any: it could be sent twice.
    unrecorded: Vec<DeliveryRow>,
    failures_in_a_row: u32,
    last_sent: Option<Instant>,
    /// When firing alerts are said again, for notifiers that want it.
    say_again_at: Option<Instant>,
    /// A digest was refused for good: until the outbox is empty, every message is judged by itself.
    digest_refused: bool,
}

impl Delivery {
    /// Runs until `shutdown`; an attempt under way is finished.
    pub(super) async fn run(self, shutdown: CancellationToken) {
        let mut progress = Progress {
            rng: StdRng::seed_from_u64(self.policy.seed),
            unrecorded: Vec::new(),
            failures_in_a_row: 0,
            last_sent: None,
            say_again_at: self.notifier.traits().resend_every.map(|_| Instant::now()),
            digest_refused: false,
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
            let wait = match round {
                Round::Wait(wait) => wait,
                Round::Done => progress
                    .say_again_at
                    .map_or(self.policy.poll_every, |at| at.saturating_duration_since(Instant::now()))
                    .min(self.policy.poll_every),
            };
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(wait) => {}
                () = self.wake.notified(), if matches!(round, Round::Done) => {}
            }
        }
    }

    async fn round(&self, progress: &mut Progress, shutdown: &CancellationToken) -> Result<Round, AlertError> {
        self.record(progress).await?;
        self.say_again(progress).await?;
        let name = self.notifier.name();
        // Twice the time: what is too old to be sent is still seen, and recorded as given up.
        let now = self.clock.now();
        let oldest = now.minus(self.policy.retry_for.saturating_mul(2));
        let mut waiting = self.outbox.waiting(name, self.notifier.traits().needs_every_end, oldest).await?;
        let longest = waiting.iter().map(|waiting| now.since(waiting.since())).max().unwrap_or_default();
        self.metrics.waiting(self.notifier.as_ref(), waiting.len(), longest);
        if waiting.is_empty() {
            progress.failures_in_a_row = 0;
            progress.digest_refused = false;
            return Ok(Round::Done);
        }
        if self.is_for_a_digest(progress, &waiting, now) {
            return self.deliver_digest(progress, waiting).await;
        }
        // Oldest first, and a stable sort keeps it so.
        waiting.sort_by_key(|waiting| waiting.known.attempts >= ATTEMPTS_BEFORE_YIELDING);
        for message in waiting {
            if shutdown.is_cancelled() {
                break;
            }
            if let Some(wait) = self.deliver(progress, &message).await? {
                return Ok(Round::Wait(wait));
            }
        }
        // There may be more than one batch.
        Ok(Round::Wait(Duration::ZERO))
    }

    fn is_for_a_digest(&self, progress: &Progress, waiting: &[Waiting], now: UtcMillis) -> bool {
        let is_late = |waiting: &&Waiting| {
            let age = now.since(waiting.since());
            !waiting.message.is_report() && age >= self.policy.digest_after && age <= self.policy.retry_for
        };
        self.notifier.traits().digests
            && !progress.digest_refused
            && waiting.iter().filter(is_late).count() > self.policy.digest_above
    }

    /// Says that alerts still fire, if it is time. That it fails is no reason to hold up anything else.
    async fn say_again(&self, progress: &mut Progress) -> Result<(), AlertError> {
        let Some(every) = self.notifier.traits().resend_every else { return Ok(()) };
        if progress.say_again_at.is_some_and(|at| Instant::now() < at) {
            return Ok(());
        }
        let now = self.clock.now();
        let rows = self.outbox.firing(self.notifier.name(), now.minus(LONGEST_ALERT)).await?;
        let firing: Vec<Notification> =
            rows.iter().filter_map(|row| row.to_notification(&self.dashboard_url)).collect();
        progress.say_again_at = Some(Instant::now() + every);
        if firing.is_empty() {
            return Ok(());
        }
        self.outbox.may_send().await?;
        if let Err(error) = self.notifier.send_again(&firing, now).await {
            tracing::warn!(%error, notifier = self.notifier.name(), "firing alerts could not be said again");
        }
        Ok(())
    }

    /// One attempt at one message; the time to wait when it must be tried again.
    async fn deliver(&self, progress: &mut Progress, waiting: &Waiting) -> Result<Option<Duration>, AlertError> {
        if let Some(reason) = self.hopeless(waiting) {
            self.settle(progress, &[waiting], (Err(NotifyError::Final(reason)), 0), "");
            return self.record(progress).await.map(|()| None);
        }
        let Some(told) = waiting.message.told(&self.dashboard_url) else { return Ok(None) };
        let event = match &told {
            Told::Alert(notification) => notification.event,
            Told::Report(_) => Event::Firing,
        };
        let thread = match event {
            Event::Firing => None,
            _ if !self.notifier.traits().threads => None,
            _ => self.outbox.thread(self.notifier.name(), &waiting.message.fingerprint).await?,
        };
        let outcome = self.send(progress, told.message(), thread.as_deref()).await?;
        if event == Event::Resolved && progress.say_again_at.is_some() && outcome.is_ok() {
            // Another alert with the same labels may fire on: a budget's new period. Then it must not be taken for over.
            progress.say_again_at = Some(Instant::now());
        }
        let wait = self.settle(progress, &[waiting], (outcome, 1), "");
        self.record(progress).await.map(|()| wait)
    }

    /// One attempt at all messages as one digest.
    async fn deliver_digest(&self, progress: &mut Progress, waiting: Vec<Waiting>) -> Result<Round, AlertError> {
        // A report is a message of its own also then; it is sent after the digest.
        let (hopeless, waiting): (Vec<_>, Vec<_>) = waiting
            .into_iter()
            .filter(|waiting| !waiting.message.is_report())
            .partition(|waiting| self.hopeless(waiting).is_some());
        for waiting in &hopeless {
            let reason = self.hopeless(waiting).unwrap_or_default();
            self.settle(progress, &[waiting], (Err(NotifyError::Final(reason)), 0), "");
        }
        self.record(progress).await?;
        let told: Vec<Notification> =
            waiting.iter().filter_map(|waiting| waiting.message.to_notification(&self.dashboard_url)).collect();
        let fingerprints: BTreeSet<String> = told.iter().map(|told| told.fingerprint.clone()).collect();
        let ended = self.outbox.ended(&fingerprints.into_iter().collect::<Vec<_>>()).await?;
        let digest = Digest::new(&told, &ended, self.clock.now());
        let outcome = self.send(progress, Message::Digest(&digest), None).await?;
        if let Err(NotifyError::Final(reason) | NotifyError::Setup(reason)) = &outcome {
            tracing::warn!(
                reason,
                notifier = self.notifier.name(),
                "a digest was refused; its messages are sent one by one"
            );
            progress.digest_refused = true;
            return Ok(Round::Wait(Duration::ZERO));
        }
        let all: Vec<&Waiting> = waiting.iter().collect();
        let wait = self.settle(progress, &all, (outcome, 1), &digest.id);
        self.record(progress).await?;
        Ok(Round::Wait(wait.unwrap_or_default()))
    }

    /// Why an attempt makes no sense.
    fn hopeless(&self, waiting: &Waiting) -> Option<String> {
        if self.clock.now().since(waiting.since()) > self.policy.retry_for {
            return Some(format!("given up: not delivered within {} s", self.policy.retry_for.as_secs()));
        }
        let is_readable = waiting.message.told("").is_some();
        (!is_readable).then(|| "written by a newer version, cannot be read".to_owned())
    }

    /// One request, not sooner after the last one than the receiver takes it.
    async fn send(
        &self,
        progress: &mut Progress,
        message: Message<'_>,
        thread: Option<&str>,
    ) -> Result<Result<Option<String>, NotifyError>, AlertError> {
        if let Some(last) = progress.last_sent {
            tokio::time::sleep(self.policy.min_interval.saturating_sub(last.elapsed())).await;
        }
        self.outbox.may_send().await?;
        let started = Instant::now();
        progress.last_sent = Some(started);
        let outcome = self.notifier.send(Outgoing { message, thread, now: self.clock.now() }).await;
        self.metrics.attempted(self.notifier.as_ref(), started.elapsed());
        Ok(outcome)
    }

    /// Takes note of what an attempt (or none: `made` 0) at `messages` came to; the time to wait when it must be repeated.
    fn settle(
        &self,
        progress: &mut Progress,
        messages: &[&Waiting],
        (outcome, made): (Result<Option<String>, NotifyError>, u32),
        digest: &str,
    ) -> Option<Duration> {
        let notifier = self.notifier.name();
        let (state, error, thread, wait) = match outcome {
            Ok(thread) => {
                progress.failures_in_a_row = 0;
                tracing::info!(notifier, messages = messages.len(), "alert notification sent");
                (DeliveryState::Sent, String::new(), thread.unwrap_or_default(), None)
            }
            Err(NotifyError::Transient { message: error, retry_after }) => {
                progress.failures_in_a_row += 1;
                let backoff = self.policy.backoff(progress.failures_in_a_row, &mut progress.rng);
                let wait = retry_after.map_or(backoff, |asked| asked + backoff.min(self.policy.first_backoff));
                tracing::warn!(
                    notifier,
                    messages = messages.len(),
                    error,
                    wait_ms = wait.as_millis(),
                    "alert notification not delivered; it is tried again"
                );
                (DeliveryState::Pending, error, String::new(), Some(wait))
            }
            Err(error @ (NotifyError::Final(_) | NotifyError::Setup(_))) => {
                progress.failures_in_a_row = 0;
                tracing::error!(
                    notifier, messages = messages.len(), %error,
                    "alert notification given up; see the view `notifications`"
                );
                (DeliveryState::Failed, error.to_string(), String::new(), None)
            }
        };
        let result = match state {
            DeliveryState::Sent => "sent",
            DeliveryState::Pending => "retried",
            DeliveryState::Failed => "failed",
        };
        for waiting in messages {
            self.metrics.notification(self.notifier.as_ref(), result);
            let outcome = Outcome {
                state,
                attempts: waiting.known.attempts + made,
                error: error.clone(),
                thread: thread.clone(),
                digest: digest.to_owned(),
            };
            progress.unrecorded.push(waiting.row(notifier, outcome, self.clock.now()));
        }
        wait
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
