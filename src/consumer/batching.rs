//! Collects what messages became, and writes it in batches, one at a time.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::OwnedSemaphorePermit,
    task::{JoinError, JoinSet},
    time::Instant,
};

use super::{ConsumerParts, backoff};
use crate::{
    contents::Inspected,
    domain::UtcMillis,
    event_log::{Offset, Partition, Record},
    fetch::Object,
    store::{Batch, DeadLetterRow, OutcomeRow, RequestRow, write_batch},
};

/// A batch with so much text of bodies is written at once.
const FLUSH_TEXT_BYTES: usize = 16 * 1024 * 1024;

/// A message from its reading to its commit.
#[derive(Clone, Copy, Debug)]
pub(super) struct InFlight {
    pub(super) partition: Partition,
    pub(super) offset: Offset,
    pub(super) size_bytes: usize,
}

/// A call's row, and what goes with it.
pub(super) struct Finished {
    pub(super) row: RequestRow,
    pub(super) inspected: Inspected,
}

impl Finished {
    /// Judges the call of `row`, if that is wanted. `record` is its webhook, `object` its stored object.
    pub(super) async fn new(parts: &ConsumerParts, row: RequestRow, record: &Record, object: Option<Object>) -> Self {
        let inspected = match &parts.inspector {
            Some(inspector) => inspector.inspect(&row, record.body.clone(), object).await,
            None => Inspected::default(),
        };
        Self { row, inspected }
    }
}

/// The batch that grows, and the one that is being written.
pub(super) struct Batching {
    parts: Arc<ConsumerParts>,
    batch: Batch,
    /// Messages whose rows are in `batch`.
    messages: Vec<InFlight>,
    /// Room of the text of bodies in `batch`, and how much it is.
    rooms: Vec<OwnedSemaphorePermit>,
    text_bytes: usize,
    started: Option<Instant>,
    /// At most one insert at a time: the next batch grows meanwhile.
    writing: JoinSet<Vec<InFlight>>,
}

impl Batching {
    pub(super) fn new(parts: Arc<ConsumerParts>) -> Self {
        Self {
            parts,
            batch: Batch::default(),
            messages: Vec::new(),
            rooms: Vec::new(),
            text_bytes: 0,
            started: None,
            writing: JoinSet::new(),
        }
    }

    /// A message became a call.
    pub(super) fn push_request(&mut self, finished: Finished, outcome: Option<OutcomeRow>, message: InFlight) {
        let Finished { row, inspected: Inspected { content, inspection, scores, room } } = finished;
        self.batch.requests.push(row);
        if let Some(content) = &content {
            self.text_bytes += content.request_body.len() + content.response_body.len();
        }
        self.batch.contents.extend(content);
        self.batch.inspections.extend(inspection);
        self.batch.scores.extend(scores);
        self.rooms.extend(room);
        self.batch.outcomes.extend(outcome);
        self.push(message);
    }

    /// A message became nothing but its outcome.
    pub(super) fn push_outcome(&mut self, outcome: OutcomeRow, letter: Option<DeadLetterRow>, message: InFlight) {
        self.batch.outcomes.push(outcome);
        self.batch.dead_letters.extend(letter);
        self.push(message);
    }

    fn push(&mut self, message: InFlight) {
        self.messages.push(message);
        self.started.get_or_insert_with(Instant::now);
    }

    /// When the batch is to be written at the latest. `None` while there is none, or another is being written.
    pub(super) fn flush_at(&self) -> Option<Instant> {
        self.started.filter(|_| self.writing.is_empty()).map(|started| started + self.parts.flush_interval)
    }

    /// Writes the batch if it is large or old enough, or if nothing more will come.
    pub(super) fn write_if_due(&mut self, is_last: bool) {
        let is_due = self.messages.len() >= self.parts.flush_rows
            || self.text_bytes >= FLUSH_TEXT_BYTES
            || self.flush_at().is_some_and(|at| at <= Instant::now())
            || is_last;
        if !is_due || self.messages.is_empty() || !self.writing.is_empty() {
            return;
        }
        self.started = None;
        self.text_bytes = 0;
        let (batch, messages) = (std::mem::take(&mut self.batch), std::mem::take(&mut self.messages));
        let rooms = std::mem::take(&mut self.rooms);
        let parts = self.parts.clone();
        // Dropped with the set at shutdown: an insert that then still ends is repeated by redelivery.
        self.writing.spawn(async move {
            let mut pause = backoff::FIRST;
            while let Err(error) = write_batch(&parts.client, parts.timeout, &batch, &parts.store_metrics).await {
                parts.store_metrics.insert_failed(&error);
                tracing::warn!(%error, messages = messages.len(), "a batch could not be written; trying again");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(backoff::LONGEST);
            }
            let now = parts.clock.now();
            for row in &batch.outcomes {
                parts.metrics.reached("stored", UtcMillis(row.received_at), now);
            }
            parts.inserted.notify_one();
            drop((batch, rooms));
            messages
        });
    }

    /// Nothing is to be written, and nothing is being written.
    pub(super) fn is_idle(&self) -> bool {
        self.messages.is_empty() && self.writing.is_empty()
    }

    /// The messages of the next batch that was written. Cancel-safe; waits for ever while none is being written.
    pub(super) async fn written(&mut self) -> Result<Vec<InFlight>, JoinError> {
        match self.writing.join_next().await {
            Some(written) => written,
            None => std::future::pending().await,
        }
    }
}

/// Sleeps until `at`, for ever when there is no such time.
pub(super) async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending::<()>().await,
    }
}

/// The sooner of two times, where there are any.
pub(super) fn sooner(a: Option<Instant>, b: Option<Duration>) -> Option<Instant> {
    let b = b.map(|wait| Instant::now() + wait);
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}
