//! Takes webhooks while the remote log (Kafka) is away: they wait in a log on this machine's disk and are sent, in
//! order, when it is back.
//!
//! # The two states
//! *Direct*: a webhook goes to the remote. When that fails or takes longer than `event_log.spool_after_ms`, the same
//! record goes to the spool, is acknowledged from there, and the state becomes *spooling*: all further webhooks go to
//! the spool without asking the remote, until [the drainer](drainer) has brought all of them there. [The gate](gate)
//! says how the order is kept over both changes. Only when the spool does not take a record either does the append fail.
//!
//! # Duplicates
//! An append that took too long may still arrive at the remote, beside or after its copy from the spool; so may what was
//! sent just before a crash. Both have the same `request_id`, by which the consumer counts a request once. The first
//! copies arrive in order.
//!
//! # Positions
//! A spooled record gets a position in [`SPOOL_PARTITION`], which no remote partition has, and is readable by it until
//! it was drained. Its position in the remote log is not known by then. Only dead letters' positions are kept by anyone,
//! and those never go to the spool: they come from the consumer, which cannot read either while the remote is away and
//! which waits.
//!
//! # Durability
//! The spool is an [`EmbeddedLog`] with one partition; see there. One that is not empty when it is opened is drained
//! before anything goes to the remote directly.

use std::{path::Path, sync::Arc, time::Duration};

use async_trait::async_trait;
use tokio::{sync::Mutex, task::JoinHandle, time::timeout};
use tokio_util::sync::CancellationToken;

use self::{
    drainer::{BATCH, Drainer, GROUP},
    gate::{Gate, Pass},
    metrics::Metrics,
};
use super::{
    EmbeddedLog, EventLog, EventLogError, NewRecord, Partition, Position, ReadLimits, Record, Subscription, Topic,
    Watermarks,
};
use crate::{
    domain::{Clock, UtcMillis},
    settings::EventLogSettings,
    telemetry::Health,
};

mod drainer;
mod gate;
mod metrics;

#[cfg(test)]
mod tests;

/// The partition of positions in the spool.
pub const SPOOL_PARTITION: Partition = Partition(u16::MAX);

/// The spool is deleted in pieces of this size at most.
const MAX_SEGMENT_BYTES: u64 = 64 * 1024 * 1024;

/// How patient it is.
#[derive(Clone, Copy, Debug)]
struct Pace {
    /// A direct append that takes longer goes to the spool.
    spool_after: Duration,
    /// An append of the drainer that takes longer has failed.
    drain_timeout: Duration,
    /// Between attempts of the drainer, at first.
    first_pause: Duration,
    /// Between attempts of the drainer, at last.
    longest_pause: Duration,
}

/// A remote log with a spool before it. Close it with [`EventLog::close`].
pub struct SpooledLog {
    remote: Arc<dyn EventLog>,
    spool: Arc<EmbeddedLog>,
    gate: Arc<Gate>,
    metrics: Metrics,
    spool_after: Duration,
    stop: CancellationToken,
    drainer: Mutex<Option<JoinHandle<()>>>,
}

impl SpooledLog {
    /// Opens the spool in `dir`, or makes one there, and starts to drain it to `remote`. Reports part `kafka` of
    /// `health` and registers metrics under `heliometer_spool`.
    ///
    /// # Errors
    /// [`EventLogError::Settings`] when `spool_after_ms` is 0, otherwise as [`EmbeddedLog::open`].
    pub async fn open(
        remote: Arc<dyn EventLog>,
        dir: &Path,
        settings: &EventLogSettings,
        clock: Arc<dyn Clock>,
        health: Health,
        registry: &prometheus::Registry,
    ) -> Result<Self, EventLogError> {
        if settings.spool_after_ms == 0 {
            return Err(EventLogError::Settings {
                key: "spool_after_ms".to_owned(),
                message: "must be at least 1: how long a webhook may wait for Kafka before it goes to the spool"
                    .to_owned(),
            });
        }
        let pace = Pace {
            spool_after: Duration::from_millis(settings.spool_after_ms),
            // The remote's own bound comes first; this one is for a remote that hangs.
            drain_timeout: Duration::from_millis(settings.delivery_timeout_ms.saturating_mul(2)),
            first_pause: Duration::from_millis(200),
            longest_pause: Duration::from_secs(5),
        };
        Self::open_at(pace, remote, dir, settings, clock, health, registry).await
    }

    async fn open_at(
        pace: Pace,
        remote: Arc<dyn EventLog>,
        dir: &Path,
        settings: &EventLogSettings,
        clock: Arc<dyn Clock>,
        health: Health,
        registry: &prometheus::Registry,
    ) -> Result<Self, EventLogError> {
        let max_disk_bytes = settings.spool_max_disk_bytes;
        let segment_bytes = settings.segment_bytes.min(MAX_SEGMENT_BYTES).min(max_disk_bytes / 4);
        let spool_settings = EventLogSettings {
            // Of one partition the order is total.
            partitions: 1,
            retention_hours: 0,
            segment_bytes,
            max_disk_bytes,
            max_record_bytes: settings.max_record_bytes,
            ..EventLogSettings::default()
        };
        // Its own metrics have the names of the remote's.
        let spool = Arc::new(EmbeddedLog::open(dir, &spool_settings, &prometheus::Registry::new())?);
        let subscription = spool.subscribe(Topic::Webhooks, GROUP, BATCH).await?;
        let start = subscription.committed().await?.first().map(|(_, offset)| *offset).unwrap_or_default();
        let end = spool.watermarks(Topic::Webhooks).await?.first().map(|marks| marks.end).unwrap_or_default();
        let gate = Arc::new(Gate::new(start, end, None, health));
        let metrics = Metrics::register(registry, &gate, &spool, clock)?;
        if start < end {
            tracing::info!(records = end.0 - start.0, "webhooks of an earlier run wait in the spool");
        }
        let stop = CancellationToken::new();
        let drainer = Drainer {
            remote: Arc::clone(&remote),
            spool: Arc::clone(&spool),
            subscription,
            gate: Arc::clone(&gate),
            metrics: metrics.clone(),
            pace,
            stop: stop.clone(),
            reclaim_bytes: segment_bytes,
            max_disk_bytes,
        };
        let drainer = Mutex::new(Some(tokio::spawn(drainer.run())));
        Ok(Self { remote, spool, gate, metrics, spool_after: pace.spool_after, stop, drainer })
    }

    /// Appends to the spool.
    async fn spool(&self, record: NewRecord, pass: Pass<'_>) -> Result<Position, EventLogError> {
        let timestamp = record.timestamp;
        let position = self.spool.append(Topic::Webhooks, record).await?;
        pass.appended(position.offset, timestamp);
        self.metrics.spooled.inc();
        Ok(Position { partition: SPOOL_PARTITION, ..position })
    }

    async fn append_webhook(&self, record: NewRecord) -> Result<Position, EventLogError> {
        if let Some(pass) = self.gate.enter(size_bytes(&record))? {
            return self.spool(record, pass).await;
        }
        let append = self.remote.append(Topic::Webhooks, record.clone());
        let reason = match timeout(self.spool_after, append).await {
            Ok(Ok(position)) => return Ok(position),
            Ok(Err(error @ EventLogError::RecordTooLarge { max_bytes, .. })) => {
                self.gate.learn_limit(max_bytes);
                return Err(error);
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no acknowledgement within {} ms", self.spool_after.as_millis()),
        };
        let pass = self.gate.begin(&reason);
        self.spool(record, pass).await
    }
}

fn size_bytes(record: &NewRecord) -> usize {
    let headers: usize = record.headers.iter().map(|header| header.name.len() + header.value.len()).sum();
    record.key.len() + record.body.len() + headers
}

#[async_trait]
impl EventLog for SpooledLog {
    async fn append(&self, topic: Topic, record: NewRecord) -> Result<Position, EventLogError> {
        match topic {
            Topic::Webhooks => self.append_webhook(record).await,
            Topic::FetchRetry | Topic::DeadLetter | Topic::Control => self.remote.append(topic, record).await,
        }
    }

    async fn subscribe(
        &self,
        topic: Topic,
        group: &str,
        limits: ReadLimits,
    ) -> Result<Box<dyn Subscription>, EventLogError> {
        self.remote.subscribe(topic, group, limits).await
    }

    async fn watermarks(&self, topic: Topic) -> Result<Vec<Watermarks>, EventLogError> {
        self.remote.watermarks(topic).await
    }

    async fn read(&self, position: Position) -> Result<Option<Record>, EventLogError> {
        if position.partition != SPOOL_PARTITION {
            return self.remote.read(position).await;
        }
        let record = self.spool.read(Position { partition: Partition(0), ..position }).await?;
        Ok(record.map(|record| Record { position, ..record }))
    }

    async fn enforce_retention(&self, now: UtcMillis) -> Result<(), EventLogError> {
        drainer::enforce_retention(&self.spool).await?;
        self.remote.enforce_retention(now).await
    }

    /// What is in the spool stays there until the next start.
    async fn close(&self) {
        self.stop.cancel();
        if let Some(drainer) = self.drainer.lock().await.take()
            && let Err(error) = drainer.await
        {
            tracing::error!(%error, "the spool's drainer ended abnormally");
        }
        self.remote.close().await;
        self.spool.close().await;
        let waiting = self.gate.waiting().records;
        if waiting > 0 {
            tracing::warn!(waiting, "webhooks wait in the spool; they go to Kafka at the next start");
        }
    }
}

impl Drop for SpooledLog {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
