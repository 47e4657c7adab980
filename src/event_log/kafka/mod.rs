//! The event log in Apache Kafka, or in anything that speaks its protocol.
//!
//! # Durability
//! An append is answered when all in-sync replicas have it (`acks=all`), once even when the producer had to repeat it
//! (idempotence). How many replicas that are is the topic's `min.insync.replicas`, which is the brokers' business. An
//! append that is not acknowledged in time fails as [`EventLogError::Overloaded`] and may yet be in the log: the
//! consumer counts a request once, however often it comes.
//!
//! # Topics
//! `<topic_prefix>webhooks` and its siblings are made at the first use of the log, with our settings. Topics that are
//! there already are used as they are, with a warning where they keep or take less than the settings say; one that is
//! compacted is not used. The key decides the partition by CRC-32, as in the embedded log.
//!
//! # Consumer groups
//! See [`membership`] for how rebalances, records and commits are kept apart.

use std::{
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use tokio::{
    sync::{Semaphore, watch},
    task::spawn_blocking,
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::{
    context::Reports,
    failure::interrupted,
    metrics::Metrics,
    oauth::Tokens,
    producer::Producer,
    subscription::{Joining, KafkaSubscription},
    topics::Limits,
};
use super::{EventLog, EventLogError, NewRecord, Position, ReadLimits, Record, Subscription, Topic, Watermarks};
use crate::{domain::UtcMillis, settings::EventLogSettings};

mod config;
mod context;
mod failure;
mod membership;
mod metrics;
mod oauth;
mod producer;
mod reader;
mod record;
mod subscription;
mod topic_check;
mod topics;

#[cfg(test)]
mod tests;

/// Brokers that are away at the start are looked for again after this.
const CONNECT_PAUSE: Duration = Duration::from_secs(2);
/// Each read of a single record makes a connection of its own.
const CONCURRENT_READS: usize = 4;
/// Members are given this long to leave their groups.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(12);

/// The log in Kafka. Close it with [`EventLog::close`].
pub struct KafkaLog {
    inner: Arc<Inner>,
}

struct Inner {
    settings: Arc<EventLogSettings>,
    metrics: Metrics,
    reports: Reports,
    producer: Producer,
    /// What became of the search for the brokers: nothing yet, why they cannot be used, or what they take.
    found: watch::Sender<Option<Result<Limits, EventLogError>>>,
    reads: Semaphore,
    is_closed: AtomicBool,
    /// Ends every subscription.
    stop: CancellationToken,
    members: TaskTracker,
}

impl KafkaLog {
    /// Makes the clients. Brokers are connected to in the background, so that a broker that is away does not keep the
    /// service from starting; until it is there, every use of the log fails and says why.
    ///
    /// Metrics are registered under `heliometer_event_log_`; a registry takes one open log. Call it within a Tokio
    /// runtime.
    ///
    /// # Errors
    /// [`EventLogError::Settings`] for settings that librdkafka does not take; [`EventLogError::Storage`] when metrics
    /// of an event log are registered already.
    pub fn connect(settings: &EventLogSettings, registry: &prometheus::Registry) -> Result<Self, EventLogError> {
        let settings = Arc::new(settings.clone());
        // Everything the user may have got wrong, before anything is registered or started.
        config::consumer(&settings, "check", Topic::Webhooks)?;
        config::producer(&settings)?;
        let tokens = Tokens::start(&settings)?;
        let metrics = Metrics::register(registry)?;
        let reports = Reports::new(metrics.broker_errors.clone(), tokens);
        let producer = Producer::new(Arc::clone(&settings), reports.clone())?;
        let inner = Arc::new(Inner {
            settings,
            metrics,
            reports,
            producer,
            found: watch::Sender::new(None),
            reads: Semaphore::new(CONCURRENT_READS),
            is_closed: AtomicBool::new(false),
            stop: CancellationToken::new(),
            members: TaskTracker::new(),
        });
        tokio::spawn(find_brokers(Arc::downgrade(&inner)));
        Ok(Self { inner })
    }
}

/// Reaches the brokers and makes sure that the topics are there. Until that is done, whoever uses the log is told at
/// once what is wrong, rather than after a timeout of their own.
async fn find_brokers(log: Weak<Inner>) {
    loop {
        let Some(inner) = log.upgrade() else { return };
        let found = tokio::select! {
            found = topics::ensure(&inner.settings, inner.reports()) => found,
            () = inner.stop.cancelled() => return,
        };
        if let Err(error) = &found {
            tracing::warn!(%error, "Kafka cannot be used yet; trying again");
        }
        let is_done = found.is_ok();
        inner.found.send_replace(Some(found));
        if is_done {
            return;
        }
        drop(inner);
        sleep(CONNECT_PAUSE).await;
    }
}

impl Inner {
    fn ensure_open(&self) -> Result<(), EventLogError> {
        if self.is_closed.load(Ordering::Acquire) { Err(EventLogError::Closed) } else { Ok(()) }
    }

    fn reports(&self) -> Reports {
        self.reports.apart()
    }

    /// Waits for the first attempt to reach the brokers, no longer.
    async fn limits(&self) -> Result<Limits, EventLogError> {
        let mut found = self.found.subscribe();
        let found = found.wait_for(Option::is_some).await.map_err(|_| EventLogError::Closed)?;
        found.clone().unwrap_or(Err(EventLogError::Closed))
    }

    async fn append(&self, topic: Topic, record: &NewRecord) -> Result<Position, EventLogError> {
        self.ensure_open()?;
        let patience = Duration::from_millis(self.settings.delivery_timeout_ms);
        let limits = timeout(patience, self.limits()).await.map_err(|_| EventLogError::Overloaded)??;
        self.producer.append(topic, record, limits.max_record_bytes).await
    }
}

#[async_trait]
impl EventLog for KafkaLog {
    async fn append(&self, topic: Topic, record: NewRecord) -> Result<Position, EventLogError> {
        let result = self.inner.append(topic, &record).await;
        let metrics = &self.inner.metrics;
        match &result {
            Ok(_) => {
                metrics.appended_records.with_label_values(&[topic.name()]).inc();
                let bytes = u64::try_from(record::size_bytes(&record)).unwrap_or(u64::MAX);
                metrics.appended_bytes.with_label_values(&[topic.name()]).inc_by(bytes);
            }
            Err(error) => metrics.append_errors.with_label_values(&[error.label()]).inc(),
        }
        result
    }

    async fn subscribe(
        &self,
        topic: Topic,
        group: &str,
        limits: ReadLimits,
    ) -> Result<Box<dyn Subscription>, EventLogError> {
        let inner = &self.inner;
        inner.ensure_open()?;
        inner.limits().await?;
        let joining = Joining {
            config: config::consumer(&inner.settings, group, topic)?,
            reports: inner.reports(),
            producer: inner.producer.clone(),
            topic,
            topic_name: config::topic_name(&inner.settings, topic),
            limits,
            stop: inner.stop.child_token(),
            alive: inner.members.token(),
        };
        let subscription =
            spawn_blocking(move || KafkaSubscription::join(joining)).await.map_err(|error| interrupted(&error))??;
        Ok(Box::new(subscription))
    }

    async fn watermarks(&self, topic: Topic) -> Result<Vec<Watermarks>, EventLogError> {
        self.inner.ensure_open()?;
        self.inner.limits().await?;
        self.inner.producer.watermarks(topic).await
    }

    async fn read(&self, position: Position) -> Result<Option<Record>, EventLogError> {
        let inner = &self.inner;
        inner.ensure_open()?;
        inner.limits().await?;
        let _turn = inner.reads.acquire().await.map_err(|_| EventLogError::Closed)?;
        let watermarks = inner.producer.watermarks_of(position.topic, position.partition.0).await?;
        if !(watermarks.start..watermarks.end).contains(&position.offset) {
            return Ok(None);
        }
        let config = config::reader(&inner.settings)?;
        let (reports, name) = (inner.reports(), config::topic_name(&inner.settings, position.topic));
        spawn_blocking(move || reader::read(&config, reports, &name, position))
            .await
            .map_err(|error| interrupted(&error))?
    }

    /// Kafka deletes by itself, by each topic's `retention.ms`.
    async fn enforce_retention(&self, _now: UtcMillis) -> Result<(), EventLogError> {
        self.inner.ensure_open()
    }

    async fn close(&self) {
        let inner = &self.inner;
        if inner.is_closed.swap(true, Ordering::AcqRel) {
            return;
        }
        inner.stop.cancel();
        if let Err(error) = inner.producer.flush().await {
            tracing::error!(%error, "appends under way at the close are not known to be durable");
        }
        inner.members.close();
        if timeout(LEAVE_TIMEOUT, inner.members.wait()).await.is_err() {
            tracing::warn!("a consumer group was not left in time; its partitions move after the session timeout");
        }
    }
}
