//! Subscriptions to a log that is not there yet.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use async_trait::async_trait;
use futures_util::FutureExt as _;

use super::directory;
use crate::{
    domain::UtcMillis,
    event_log::{
        EmbeddedLog, EventLog, EventLogError, LogEvent, NewRecord, PatientLog, Position, ReadLimits, Record,
        Subscription, Topic, Watermarks,
        conformance::{append_many, next, subscribe, take},
    },
    settings::EventLogSettings,
};

/// Cannot be read for the first few attempts.
struct Away {
    log: EmbeddedLog,
    refusals_left: AtomicUsize,
}

#[async_trait]
impl EventLog for Away {
    async fn append(&self, topic: Topic, record: NewRecord) -> Result<Position, EventLogError> {
        self.log.append(topic, record).await
    }

    async fn subscribe(
        &self,
        topic: Topic,
        group: &str,
        limits: ReadLimits,
    ) -> Result<Box<dyn Subscription>, EventLogError> {
        let left = self.refusals_left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        if left.is_ok() { Err(EventLogError::Overloaded) } else { self.log.subscribe(topic, group, limits).await }
    }

    async fn watermarks(&self, topic: Topic) -> Result<Vec<Watermarks>, EventLogError> {
        self.log.watermarks(topic).await
    }

    async fn read(&self, position: Position) -> Result<Option<Record>, EventLogError> {
        self.log.read(position).await
    }

    async fn enforce_retention(&self, now: UtcMillis) -> Result<(), EventLogError> {
        self.log.enforce_retention(now).await
    }

    async fn close(&self) {
        self.log.close().await;
    }
}

fn away(dir: &std::path::Path, refusals: usize) -> PatientLog {
    let log = EmbeddedLog::open(dir, &EventLogSettings::default(), &prometheus::Registry::new()).expect("opens");
    PatientLog::new(Arc::new(Away { log, refusals_left: AtomicUsize::new(refusals) }))
}

#[tokio::test]
async fn reading_begins_when_the_log_is_there() {
    let dir = directory();
    let log = away(dir.path(), 2);
    let mut subscription = subscribe(&log, "group").await;
    assert!(subscription.next().now_or_never().is_none(), "the log is away");
    assert!(subscription.committed().await.expect("nothing is assigned").is_empty());
    append_many(&log, Topic::Webhooks, 10).await;
    assert!(matches!(next(&mut *subscription).await, Ok(LogEvent::Assigned(_))));
    assert_eq!(take(&mut *subscription, 10).await.len(), 10);
    assert!(!subscription.committed().await.expect("reads").is_empty());
    log.close().await;
}

#[tokio::test]
async fn a_closed_log_ends_the_wait() {
    let dir = directory();
    let log = away(dir.path(), usize::MAX);
    let mut subscription = subscribe(&log, "group").await;
    log.close().await;
    assert!(matches!(next(&mut *subscription).await, Err(EventLogError::Closed)));
    assert!(matches!(next(&mut *subscription).await, Err(EventLogError::Closed)));
}
