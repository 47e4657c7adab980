//! Writes records, and asks the brokers about topics.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rdkafka::{
    client::Client,
    config::FromClientConfigAndContext as _,
    producer::{FutureProducer, Producer as _, future_producer::FutureProducerContext},
    types::RDKafkaErrorCode as Code,
    util::Timeout,
};
use tokio::{task::spawn_blocking, time::timeout};

use super::{
    config::{self, REQUEST_TIMEOUT},
    context::Reports,
    failure::{failed, failed_with, interrupted, not_appended, past_leader_changes},
    record, topics,
};
use crate::{
    event_log::{EventLogError, NewRecord, Position, Topic, Watermarks},
    settings::EventLogSettings,
};

/// librdkafka looks for records past their time once a second.
const DELIVERY_TIMEOUT_SLACK: Duration = Duration::from_millis(1_500);

type KafkaProducer = FutureProducer<Reports>;

/// The producer of one log.
#[derive(Clone)]
pub(super) struct Producer {
    settings: Arc<EventLogSettings>,
    reports: Reports,
    /// Replaced when the brokers have put an end to it.
    current: Arc<Mutex<KafkaProducer>>,
}

impl Producer {
    /// Makes the client; connects in the background.
    pub(super) fn new(settings: Arc<EventLogSettings>, reports: Reports) -> Result<Self, EventLogError> {
        let current = make(&settings, &reports)?;
        Ok(Self { settings, reports, current: Arc::new(Mutex::new(current)) })
    }

    fn current(&self) -> KafkaProducer {
        self.current.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Writes one record and waits until all in-sync replicas have it. `max_bytes` is the largest record allowed.
    pub(super) async fn append(
        &self,
        topic: Topic,
        record: &NewRecord,
        max_bytes: usize,
    ) -> Result<Position, EventLogError> {
        let size_bytes = record::size_bytes(record);
        if size_bytes > max_bytes {
            return Err(EventLogError::RecordTooLarge { size_bytes, max_bytes });
        }
        let name = config::topic_name(&self.settings, topic);
        let producer = self.current();
        let patience = Duration::from_millis(self.settings.delivery_timeout_ms) + DELIVERY_TIMEOUT_SLACK;
        let sent = timeout(patience, producer.send(record::encode(&name, record), Timeout::Never)).await;
        match sent {
            Ok(Ok(delivery)) => Ok(record::position(topic, delivery.partition, delivery.offset)),
            Ok(Err((error, _))) => {
                self.replace_if_ended(&producer);
                Err(not_appended(&error, size_bytes, max_bytes))
            }
            Err(_) => Err(EventLogError::Overloaded),
        }
    }

    /// An idempotent producer refuses everything once its sequence is broken; a new one starts a new sequence. What the
    /// old one had under way failed and was reported as such.
    fn replace_if_ended(&self, used: &KafkaProducer) {
        let Some((code, reason)) = used.client().fatal_error() else { return };
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.client().fatal_error().is_none() {
            return;
        }
        tracing::error!(%code, reason, "Kafka's producer has ended; a new one takes its place");
        match make(&self.settings, &self.reports) {
            Ok(producer) => *current = producer,
            Err(error) => tracing::error!(%error, "Kafka's producer could not be made anew"),
        }
    }

    /// Start and end of each partition.
    pub(super) async fn watermarks(&self, topic: Topic) -> Result<Vec<Watermarks>, EventLogError> {
        let name = config::topic_name(&self.settings, topic);
        self.ask(move |client| {
            let count = topics::describe(client, &name)?
                .map(|found| found.partitions)
                .ok_or_else(|| failed_with("reading watermarks", Code::UnknownTopicOrPartition))?;
            let count = i32::try_from(count).unwrap_or(i32::MAX);
            (0..count).map(|number| watermarks(client, &name, number)).collect()
        })
        .await
    }

    /// Start and end of one partition.
    pub(super) async fn watermarks_of(&self, topic: Topic, partition: u16) -> Result<Watermarks, EventLogError> {
        let name = config::topic_name(&self.settings, topic);
        self.ask(move |client| watermarks(client, &name, i32::from(partition))).await
    }

    async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Client<FutureProducerContext<Reports>>) -> Result<T, EventLogError> + Send + 'static,
    ) -> Result<T, EventLogError> {
        let producer = self.current();
        spawn_blocking(move || question(producer.client())).await.map_err(|error| interrupted(&error))?
    }

    /// Waits until what was appended is durable or has failed.
    pub(super) async fn flush(&self) -> Result<(), EventLogError> {
        let (producer, patience) = (self.current(), Duration::from_millis(self.settings.delivery_timeout_ms));
        spawn_blocking(move || producer.flush(patience + DELIVERY_TIMEOUT_SLACK))
            .await
            .map_err(|error| interrupted(&error))?
            .map_err(|error| failed("flushing", &error))
    }
}

fn make(settings: &EventLogSettings, reports: &Reports) -> Result<KafkaProducer, EventLogError> {
    FutureProducer::from_config_and_context(&config::producer(settings)?, reports.clone()).map_err(config::refused)
}

fn watermarks(
    client: &Client<FutureProducerContext<Reports>>,
    name: &str,
    number: i32,
) -> Result<Watermarks, EventLogError> {
    let (start, end) = past_leader_changes(|| client.fetch_watermarks(name, number, REQUEST_TIMEOUT))
        .map_err(|error| failed("reading watermarks", &error))?;
    Ok(Watermarks { partition: record::partition(number), start: record::offset(start), end: record::offset(end) })
}
