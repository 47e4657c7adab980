//! A member of a consumer group as its caller sees it.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use rdkafka::{
    Offset as KafkaOffset, TopicPartitionList,
    config::FromClientConfigAndContext as _,
    consumer::{BaseConsumer, CommitMode, Consumer as _},
    error::KafkaError,
    types::RDKafkaErrorCode as Code,
};
use tokio::{task::spawn_blocking, time::timeout};
use tokio_util::{sync::CancellationToken, task::task_tracker::TaskTrackerToken};

use super::{
    config::{self, REQUEST_TIMEOUT},
    context::Reports,
    failure::{failed, failed_with, interrupted, past_leader_changes},
    membership::{self, Assigned, Change, Epoch, GroupConsumer, GroupContext, Membership, Queue},
    producer::Producer,
    record,
};
use crate::{
    domain::UtcMillis,
    event_log::{EventLogError, LogEvent, Offset, Partition, ReadLimits, Record, Subscription, Topic},
};

/// The queues are looked at again after this even if nobody said to.
const RECHECK: Duration = Duration::from_millis(500);
/// A partition that was assigned just now takes no seek until its reading has begun.
const SEEK_PATIENCE: Duration = Duration::from_secs(5);
const SEEK_PAUSE: Duration = Duration::from_millis(20);

/// A partition that the caller knows to be its own.
struct Active {
    partition: Partition,
    epoch: Epoch,
    /// Taken from the queue and one too many for the answer it was taken for.
    held: Option<Record>,
    queue: Queue,
}

/// See the module. The queues go before the consumer that they are queues of.
pub(super) struct KafkaSubscription {
    active: Vec<Active>,
    topic: Topic,
    limits: ReadLimits,
    /// The partition that is looked at first, so that a busy one does not starve the others.
    turn: usize,
    handle: Handle,
}

/// What a blocking task needs.
#[derive(Clone)]
struct Handle {
    membership: Arc<Membership>,
    consumer: Arc<GroupConsumer>,
    producer: Producer,
    topic_name: Arc<str>,
}

/// Who joins what.
pub(super) struct Joining {
    pub(super) config: rdkafka::ClientConfig,
    pub(super) reports: Reports,
    pub(super) producer: Producer,
    pub(super) topic: Topic,
    pub(super) topic_name: String,
    pub(super) limits: ReadLimits,
    /// Ends the membership when the log is closed.
    pub(super) stop: CancellationToken,
    /// Held until the group was left.
    pub(super) alive: TaskTrackerToken,
}

impl KafkaSubscription {
    /// Makes the client and starts its thread. Blocks briefly.
    pub(super) fn join(joining: Joining) -> Result<Self, EventLogError> {
        let Joining { config, reports, producer, topic, topic_name, limits, stop, alive } = joining;
        let membership = Membership::new(stop);
        let context = GroupContext::new(reports, Arc::clone(&membership));
        let consumer = Arc::new(BaseConsumer::from_config_and_context(&config, context).map_err(config::refused)?);
        consumer.subscribe(&[&topic_name]).map_err(|error| failed("subscribing", &error))?;
        let (thread_consumer, thread_membership, thread_topic) =
            (Arc::clone(&consumer), Arc::clone(&membership), topic_name.clone());
        std::thread::Builder::new()
            .name("kafka-consumer".to_owned())
            .spawn(move || membership::run(&thread_consumer, &thread_topic, &thread_membership, alive))
            .map_err(|error| EventLogError::Storage { doing: "starting a consumer", message: error.to_string() })?;
        let handle = Handle { membership, consumer, producer, topic_name: topic_name.into() };
        Ok(Self { active: Vec::new(), topic, limits, turn: 0, handle })
    }

    fn ensure_open(&self) -> Result<(), EventLogError> {
        if self.handle.membership.stop.is_cancelled() { Err(EventLogError::Closed) } else { Ok(()) }
    }

    /// What is there now, in order. Nothing is awaited, so nothing can be lost by a caller that gives up.
    fn look(&mut self) -> Option<Result<LogEvent, EventLogError>> {
        let membership = Arc::clone(&self.handle.membership);
        // Held while reading the queues: see `membership`.
        let mut state = membership.state();
        if let Some(change) = state.take_change() {
            return Some(Ok(self.apply(change)));
        }
        if let Some(error) = state.take_error() {
            return Some(Err(error));
        }
        for step in 0..self.active.len() {
            let index = (self.turn + step) % self.active.len();
            let active = &mut self.active[index];
            let batch = read(self.topic, active, self.limits);
            match batch {
                Ok(records) if records.is_empty() => {}
                Ok(records) => {
                    self.turn = index + 1;
                    return Some(Ok(LogEvent::Records(active.partition, records)));
                }
                Err(error) => return Some(Err(failed("reading from Kafka", &error))),
            }
        }
        None
    }

    fn apply(&mut self, change: Change) -> LogEvent {
        match change {
            Change::Assigned(assigned) => {
                let partitions = assigned.iter().map(|assigned| assigned.partition).collect();
                for Assigned { partition, epoch, mut queue } in assigned {
                    // Only now: an earlier assignment's handle on the same queue would take the callback with it.
                    let changed = Arc::clone(&self.handle.membership.changed);
                    queue.set_nonempty_callback(move || changed.notify_one());
                    self.active.push(Active { partition, epoch, held: None, queue });
                }
                LogEvent::Assigned(partitions)
            }
            Change::Revoked(partitions) => {
                self.active.retain(|active| !partitions.contains(&active.partition));
                LogEvent::Revoked(partitions)
            }
        }
    }

    fn assignments(&self) -> Vec<(Partition, Epoch)> {
        self.active.iter().map(|active| (active.partition, active.epoch)).collect()
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Handle) -> Result<T, EventLogError> + Send + 'static,
    ) -> Result<T, EventLogError> {
        self.ensure_open()?;
        let handle = self.handle.clone();
        spawn_blocking(move || work(&handle)).await.map_err(|error| interrupted(&error))?
    }
}

impl Drop for KafkaSubscription {
    fn drop(&mut self) {
        self.active.clear();
        self.handle.membership.abandon();
    }
}

#[async_trait]
impl Subscription for KafkaSubscription {
    async fn next(&mut self) -> Result<LogEvent, EventLogError> {
        loop {
            self.ensure_open()?;
            if let Some(event) = self.look() {
                return event;
            }
            let membership = &self.handle.membership;
            tokio::select! {
                // Either way the queues are looked at.
                _ = timeout(RECHECK, membership.changed.notified()) => {}
                () = membership.stop.cancelled() => {}
            }
        }
    }

    async fn commit(&mut self, offsets: &[(Partition, Offset)]) -> Result<(), EventLogError> {
        let owned: HashMap<Partition, Epoch> = self.assignments().into_iter().collect();
        let offsets: Vec<(Partition, Epoch, i64)> = offsets
            .iter()
            .filter_map(|(partition, offset)| Some((*partition, *owned.get(partition)?, record::raw_offset(*offset))))
            .collect();
        self.blocking(move |handle| handle.commit(&offsets)).await
    }

    async fn committed(&self) -> Result<Vec<(Partition, Offset)>, EventLogError> {
        let (assignments, topic) = (self.assignments(), self.topic);
        let committed = self.blocking(move |handle| handle.committed(assignments.iter().map(|(p, _)| *p))).await?;
        let mut offsets = Vec::with_capacity(committed.len());
        for (partition, offset) in committed {
            let offset = match offset {
                Some(offset) => record::offset(offset),
                // Where a group without a committed offset begins.
                None => self.handle.producer.watermarks_of(topic, partition.0).await?.start,
            };
            offsets.push((partition, offset));
        }
        Ok(offsets)
    }

    async fn seek_to_time(&mut self, time: UtcMillis) -> Result<(), EventLogError> {
        self.ensure_open()?;
        if self.active.is_empty() {
            let message = "no partition is assigned yet: wait for LogEvent::Assigned".to_owned();
            return Err(EventLogError::Storage { doing: "seeking", message });
        }
        // Asked before the time is looked up: what is written in between is then read rather than skipped.
        let mut ends = HashMap::new();
        for active in &self.active {
            let end = self.handle.producer.watermarks_of(self.topic, active.partition.0).await?.end;
            ends.insert(active.partition, (active.epoch, record::raw_offset(end)));
        }
        for active in &mut self.active {
            active.held = None;
        }
        self.blocking(move |handle| handle.seek(&ends, time)).await
    }
}

/// The next records of one partition, within the limits; none when there is none yet.
fn read(topic: Topic, active: &mut Active, limits: ReadLimits) -> Result<Vec<Record>, KafkaError> {
    let (mut records, mut bytes) = (Vec::new(), 0);
    while records.len() < limits.max_records.max(1) {
        let next = match active.held.take() {
            Some(record) => record,
            None => match active.queue.poll(Duration::ZERO) {
                None => break,
                Some(Ok(message)) => record::decode(topic, &message),
                // What was read before it is told first; librdkafka goes on, or says it again.
                Some(Err(error)) if records.is_empty() => return Err(error),
                Some(Err(error)) => {
                    tracing::warn!(%error, partition = active.partition.0, "Kafka has trouble with a partition");
                    break;
                }
            },
        };
        bytes += next.size_bytes();
        if bytes > limits.max_bytes && !records.is_empty() {
            active.held = Some(next);
            break;
        }
        records.push(next);
    }
    Ok(records)
}

impl Handle {
    fn list(
        &self,
        offsets: impl IntoIterator<Item = (Partition, KafkaOffset)>,
    ) -> Result<TopicPartitionList, KafkaError> {
        let mut list = TopicPartitionList::new();
        for (partition, offset) in offsets {
            list.add_partition_offset(&self.topic_name, i32::from(partition.0), offset)?;
        }
        Ok(list)
    }

    /// Commits what is above the committed offsets, for assignments that still stand.
    fn commit(&self, offsets: &[(Partition, Epoch, i64)]) -> Result<(), EventLogError> {
        const DOING: &str = "committing offsets";
        // Held until the brokers have answered: a revocation waits for it.
        let mut known = self.membership.commits();
        let standing: Vec<(Partition, Epoch, i64)> =
            offsets.iter().copied().filter(|(partition, epoch, _)| self.membership.owns(*partition, *epoch)).collect();
        let unknown: Vec<(Partition, Epoch)> = standing
            .iter()
            .map(|(partition, epoch, _)| (*partition, *epoch))
            .filter(|assignment| !known.contains_key(assignment))
            .collect();
        if !unknown.is_empty() {
            let committed = self.committed(unknown.iter().map(|(partition, _)| *partition))?;
            for (assignment, (_, offset)) in unknown.into_iter().zip(committed) {
                known.insert(assignment, offset.unwrap_or(-1));
            }
        }
        let news: Vec<(Partition, Epoch, i64)> = standing
            .into_iter()
            .filter(|(partition, epoch, offset)| known.get(&(*partition, *epoch)).is_none_or(|last| offset > last))
            .collect();
        if news.is_empty() {
            return Ok(());
        }
        let list = self
            .list(news.iter().map(|(partition, _, offset)| (*partition, KafkaOffset::Offset(*offset))))
            .map_err(|error| failed(DOING, &error))?;
        self.consumer.commit(&list, CommitMode::Sync).map_err(|error| failed(DOING, &error))?;
        known.extend(news.into_iter().map(|(partition, epoch, offset)| ((partition, epoch), offset)));
        Ok(())
    }

    /// The group's committed offsets in the order asked, `None` where it has none.
    fn committed(
        &self,
        partitions: impl Iterator<Item = Partition>,
    ) -> Result<Vec<(Partition, Option<i64>)>, EventLogError> {
        const DOING: &str = "reading committed offsets";
        let list = self
            .list(partitions.map(|partition| (partition, KafkaOffset::Invalid)))
            .map_err(|error| failed(DOING, &error))?;
        if list.count() == 0 {
            return Ok(Vec::new());
        }
        let list = self.consumer.committed_offsets(list, REQUEST_TIMEOUT).map_err(|error| failed(DOING, &error))?;
        list.elements()
            .iter()
            .map(|element| {
                element.error().map_err(|error| failed(DOING, &error))?;
                let offset = match element.offset() {
                    KafkaOffset::Offset(offset) => Some(offset),
                    _ => None,
                };
                Ok((record::partition(element.partition()), offset))
            })
            .collect()
    }

    /// Goes on at `time` in each partition, or at its end when nothing is that late.
    fn seek(&self, ends: &HashMap<Partition, (Epoch, i64)>, time: UtcMillis) -> Result<(), EventLogError> {
        const DOING: &str = "seeking";
        // Negative times have meanings of their own in the protocol.
        let time = KafkaOffset::Offset(time.0.max(0));
        let found = past_leader_changes(|| {
            let found = self
                .consumer
                .offsets_for_times(self.list(ends.keys().map(|partition| (*partition, time)))?, REQUEST_TIMEOUT)?;
            found.elements().iter().try_for_each(rdkafka::topic_partition_list::TopicPartitionListElem::error)?;
            Ok(found)
        })
        .map_err(|error| failed(DOING, &error))?;
        let mut targets = Vec::new();
        for element in found.elements() {
            let partition = record::partition(element.partition());
            let Some((epoch, end)) = ends.get(&partition) else { continue };
            let offset = match element.offset() {
                KafkaOffset::Offset(offset) => offset,
                _ => *end,
            };
            targets.push((partition, *epoch, KafkaOffset::Offset(offset)));
        }
        let deadline = Instant::now() + SEEK_PATIENCE;
        for (partition, epoch, offset) in targets {
            while let Err(code) = self.seek_one(partition, offset)? {
                // Lost meanwhile: its new owner reads it.
                if !self.membership.owns(partition, epoch) {
                    break;
                }
                if Instant::now() > deadline {
                    return Err(failed_with(DOING, code));
                }
                std::thread::sleep(SEEK_PAUSE);
            }
        }
        Ok(())
    }

    /// The inner error is one that may pass.
    fn seek_one(&self, partition: Partition, offset: KafkaOffset) -> Result<Result<(), Code>, EventLogError> {
        const DOING: &str = "seeking";
        let list = self.list([(partition, offset)]).map_err(|error| failed(DOING, &error))?;
        let list = self.consumer.seek_partitions(list, REQUEST_TIMEOUT).map_err(|error| failed(DOING, &error))?;
        for element in list.elements() {
            if let Err(error) = element.error() {
                return match error.rdkafka_error_code() {
                    Some(code @ (Code::State | Code::PreviousInProgress | Code::UnknownPartition)) => Ok(Err(code)),
                    _ => Err(failed(DOING, &error)),
                };
            }
        }
        Ok(Ok(()))
    }
}
