//! The outbox: which messages still wait for a receiver, and the record of what became of them.
//!
//! A transition that is to be told is in the outbox of each of its receivers from the insert that records it on, until
//! `alert_deliveries` has a final row for it.

use std::collections::HashMap;

use async_trait::async_trait;
use clickhouse::Row;
use serde::{Deserialize, Serialize};

use super::{
    AlertError,
    error::bounded,
    journal::{Journal, TransitionRow},
};
use crate::domain::UtcMillis;

/// Messages taken from the outbox at once: this bounds the memory of a queue, and how many a digest can stand for.
const BATCH: u64 = 1000;
/// Alerts said again at once.
const MAX_FIRING: u64 = 5000;
/// A final row wins over any other, whatever the clock did in between.
const FINAL: u64 = 1 << 63;

/// A row of `alert_deliveries`.
#[derive(Clone, Debug, PartialEq, Row, Serialize, Deserialize)]
pub(super) struct DeliveryRow {
    pub(super) transition_id: String,
    pub(super) notifier: String,
    pub(super) fingerprint: String,
    pub(super) rule: String,
    pub(super) state: String,
    pub(super) attempts: u32,
    pub(super) error: String,
    pub(super) at: UtcMillis,
    pub(super) version: u64,
    pub(super) thread: String,
    pub(super) digest: String,
    pub(super) resend_at: Option<UtcMillis>,
}

/// How a delivery stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DeliveryState {
    Pending,
    Sent,
    Failed,
}

impl DeliveryState {
    const fn word(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Sent => "sent",
            Self::Failed => "failed",
        }
    }
}

/// What an attempt came to.
pub(super) struct Outcome {
    pub(super) state: DeliveryState,
    pub(super) attempts: u32,
    pub(super) error: String,
    /// What later messages about the alert answer.
    pub(super) thread: String,
    /// The digest it was a part of.
    pub(super) digest: String,
}

/// A message that waits.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Waiting {
    pub(super) message: TransitionRow,
    pub(super) known: KnownDelivery,
}

/// What the record says of a delivery so far; nothing before the first attempt.
#[derive(Clone, Debug, Default, PartialEq, Eq, Row, Serialize, Deserialize)]
pub(super) struct KnownDelivery {
    pub(super) transition_id: String,
    pub(super) attempts: u32,
    pub(super) version: u64,
    pub(super) resend_at: Option<UtcMillis>,
}

/// When an alert ended.
#[derive(Row, Deserialize)]
struct EndRow {
    fingerprint: String,
    ended_at: UtcMillis,
}

impl Waiting {
    /// Since when it is to be delivered: since it was decided, or since somebody asked for it again.
    pub(super) fn since(&self) -> UtcMillis {
        self.known.resend_at.unwrap_or(self.message.at)
    }

    /// The record of an attempt.
    pub(super) fn row(&self, notifier: &str, outcome: Outcome, at: UtcMillis) -> DeliveryRow {
        let time = u64::try_from(at.0).unwrap_or(0);
        let version = if outcome.state == DeliveryState::Pending { time } else { time | FINAL };
        DeliveryRow {
            transition_id: self.message.transition_id.clone(),
            notifier: notifier.to_owned(),
            fingerprint: self.message.fingerprint.clone(),
            rule: self.message.rule.clone(),
            state: outcome.state.word().to_owned(),
            attempts: outcome.attempts,
            error: outcome.error,
            at,
            // Above the final row that was before it was asked for again.
            version: version.max(self.known.version + u64::from(self.known.resend_at.is_some())),
            thread: outcome.thread,
            digest: outcome.digest,
            resend_at: self.known.resend_at,
        }
    }
}

impl DeliveryRow {
    /// The row that puts a delivery into the outbox again.
    pub(super) fn asked_again(self, at: UtcMillis) -> Self {
        let version = (u64::try_from(at.0).unwrap_or(0) | FINAL).max(self.version + 1);
        let state = DeliveryState::Pending.word().to_owned();
        Self { state, attempts: 0, error: String::new(), at, version, resend_at: Some(at), ..self }
    }
}

/// Where messages wait, and where their outcomes are kept.
#[async_trait]
pub(super) trait Outbox: Send + Sync + 'static {
    /// The oldest messages for `notifier` that were decided, or asked for again, since `oldest` and have no final delivery.
    /// With `every_end` also the ends that nobody is told of, of alerts that it was told of.
    async fn waiting(&self, notifier: &str, every_end: bool, oldest: UtcMillis) -> Result<Vec<Waiting>, AlertError>;

    /// Which of these alerts are over, and since when.
    async fn ended(&self, fingerprints: &[String]) -> Result<HashMap<String, UtcMillis>, AlertError>;

    /// The thread of an alert at `notifier`.
    async fn thread(&self, notifier: &str, fingerprint: &str) -> Result<Option<String>, AlertError>;

    /// The alerts that `notifier` is told of and that fire now, of those that changed since `oldest`.
    async fn firing(&self, notifier: &str, oldest: UtcMillis) -> Result<Vec<TransitionRow>, AlertError>;

    /// Whether this process is still the one that sends.
    async fn may_send(&self) -> Result<(), AlertError>;

    /// Records attempts and outcomes. Resolves when they are durable.
    async fn record_deliveries(&self, rows: &[DeliveryRow]) -> Result<(), AlertError>;
}

#[async_trait]
impl Outbox for Journal {
    async fn waiting(&self, notifier: &str, every_end: bool, oldest: UtcMillis) -> Result<Vec<Waiting>, AlertError> {
        let query = "SELECT ?fields FROM alert_transitions \
             WHERE ((notify AND has(notifiers, ?) AND at >= fromUnixTimestamp64Milli(?, 'UTC')) \
                OR (? AND state = 'resolved' AND at >= fromUnixTimestamp64Milli(?, 'UTC') AND fingerprint IN (\
                    SELECT fingerprint FROM alert_deliveries WHERE notifier = ? AND state = 'sent')) \
                OR transition_id IN (SELECT transition_id FROM alert_deliveries FINAL WHERE notifier = ? \
                    AND state = 'pending' AND resend_at >= fromUnixTimestamp64Milli(?, 'UTC'))) \
             AND transition_id NOT IN (\
                SELECT transition_id FROM alert_deliveries FINAL WHERE notifier = ? AND state IN ('sent', 'failed')) \
             ORDER BY at, revision, transition_id LIMIT 1 BY transition_id LIMIT ?";
        let query = self
            .client
            .query(query)
            .bind(notifier)
            .bind(oldest.0)
            .bind(every_end)
            .bind(oldest.0)
            .bind(notifier)
            .bind(notifier)
            .bind(oldest.0)
            .bind(notifier)
            .bind(BATCH);
        let messages: Vec<TransitionRow> = bounded("read the outbox", query.fetch_all()).await?;
        if messages.is_empty() {
            return Ok(Vec::new());
        }
        let ids: Vec<&str> = messages.iter().map(|message| message.transition_id.as_str()).collect();
        let query = "SELECT ?fields FROM alert_deliveries FINAL WHERE notifier = ? AND transition_id IN ?";
        let query = self.client.query(query).bind(notifier).bind(&ids);
        let known: Vec<KnownDelivery> = bounded("read deliveries", query.fetch_all()).await?;
        let mut known: HashMap<String, KnownDelivery> =
            known.into_iter().map(|known| (known.transition_id.clone(), known)).collect();
        let with_known = |message: TransitionRow| {
            let known = known.remove(&message.transition_id).unwrap_or_default();
            Waiting { message, known }
        };
        Ok(messages.into_iter().map(with_known).collect())
    }

    async fn ended(&self, fingerprints: &[String]) -> Result<HashMap<String, UtcMillis>, AlertError> {
        let query = "SELECT fingerprint, tupleElement(max((at, revision)), 1) AS ended_at FROM alert_transitions \
             WHERE fingerprint IN ? GROUP BY fingerprint \
             HAVING argMax(state, (at, revision)) IN ('resolved', 'inactive')";
        let query = self.client.query(query).bind(fingerprints);
        let rows: Vec<EndRow> = bounded("read which alerts are over", query.fetch_all()).await?;
        Ok(rows.into_iter().map(|row| (row.fingerprint, row.ended_at)).collect())
    }

    async fn thread(&self, notifier: &str, fingerprint: &str) -> Result<Option<String>, AlertError> {
        let query = "SELECT thread FROM alert_deliveries FINAL \
             WHERE notifier = ? AND fingerprint = ? AND thread != '' ORDER BY at DESC LIMIT 1";
        let query = self.client.query(query).bind(notifier).bind(fingerprint);
        bounded("read a thread", query.fetch_optional()).await
    }

    async fn firing(&self, notifier: &str, oldest: UtcMillis) -> Result<Vec<TransitionRow>, AlertError> {
        let query = "SELECT ?fields FROM (\
                SELECT * FROM alert_transitions WHERE at >= fromUnixTimestamp64Milli(?, 'UTC') AND fingerprint IN (\
                    SELECT fingerprint FROM alert_transitions \
                    WHERE at >= fromUnixTimestamp64Milli(?, 'UTC') AND notify AND has(notifiers, ?)) \
                ORDER BY at DESC, revision DESC LIMIT 1 BY fingerprint) \
             WHERE state = 'firing' ORDER BY at, revision LIMIT ?";
        let query = self.client.query(query).bind(oldest.0).bind(oldest.0).bind(notifier).bind(MAX_FIRING);
        bounded("read which alerts fire", query.fetch_all()).await
    }

    async fn may_send(&self) -> Result<(), AlertError> {
        self.ensure_current().await
    }

    // Also after the term: what was sent while it stood must not be sent again.
    async fn record_deliveries(&self, rows: &[DeliveryRow]) -> Result<(), AlertError> {
        bounded("record deliveries", self.insert("alert_deliveries", rows)).await
    }
}
