//! A consumer group's member: its thread, and what the thread and the subscription have in common.
//!
//! The thread polls the consumer's main queue, which carries rebalances and errors, so that the brokers see a live
//! member however slow the caller is. Records never pass through it: each partition has a queue of its own, split off
//! **before** the partition is assigned, and the subscription reads those queues itself. A full queue stops the
//! fetching of its partition; that is all the backpressure there is.
//!
//! A change of the assignment and a look at the queues exclude each other ([`Membership::state`]), so no record of a
//! new assignment can be taken for one of the old. So do a revocation and a commit ([`Membership::commits`]): once a
//! partition is given away, a late commit cannot overwrite the new owner's.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use rdkafka::{
    ClientContext, TopicPartitionList,
    client::OAuthToken,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, Consumer as _, ConsumerContext, RebalanceProtocol, base_consumer::PartitionQueue},
    error::KafkaError,
    types::{RDKafkaErrorCode as Code, RDKafkaRespErr},
};
use tokio::sync::Notify;
use tokio_util::{sync::CancellationToken, task::task_tracker::TaskTrackerToken};

use super::{
    context::Reports,
    failure::{failed, failed_with},
    record,
};
use crate::event_log::{EventLogError, Partition};

/// The thread notices a stop within this.
const POLL: Duration = Duration::from_millis(100);
/// Leaving the group may take this long; after it, the brokers notice by themselves.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(10);

pub(super) type GroupConsumer = BaseConsumer<GroupContext>;
pub(super) type Queue = PartitionQueue<GroupContext>;

/// Tells one assignment of a partition from the next.
pub(super) type Epoch = u64;

/// A change that the caller has not been told yet.
pub(super) enum Change {
    Assigned(Vec<Assigned>),
    Revoked(Vec<Partition>),
}

/// A partition that is now this member's.
pub(super) struct Assigned {
    pub(super) partition: Partition,
    pub(super) epoch: Epoch,
    pub(super) queue: Queue,
}

/// What the group says now, which the caller learns step by step.
#[derive(Default)]
pub(super) struct State {
    /// In order; at most one revocation and one assignment of a partition.
    changes: std::collections::VecDeque<Change>,
    owned: HashMap<Partition, Epoch>,
    last_epoch: Epoch,
    error: Option<EventLogError>,
    /// No way to go on; told again and again.
    fatal: Option<EventLogError>,
}

impl State {
    pub(super) fn take_change(&mut self) -> Option<Change> {
        self.changes.pop_front()
    }

    pub(super) fn take_error(&mut self) -> Option<EventLogError> {
        self.error.take().or_else(|| self.fatal.clone())
    }

    fn assign(&mut self, queues: Vec<(Partition, Queue)>) {
        let mut assigned = Vec::with_capacity(queues.len());
        for (partition, queue) in queues {
            self.last_epoch += 1;
            self.owned.insert(partition, self.last_epoch);
            assigned.push(Assigned { partition, epoch: self.last_epoch, queue });
        }
        self.changes.push_back(Change::Assigned(assigned));
    }

    fn revoke(&mut self, partitions: &[Partition]) {
        let mut known = Vec::new();
        for partition in partitions {
            self.owned.remove(partition);
            // An assignment that the caller never saw needs no revocation.
            let unseen = self.changes.iter_mut().find_map(|change| match change {
                Change::Assigned(assigned) => {
                    let index = assigned.iter().position(|assigned| assigned.partition == *partition)?;
                    Some(assigned.swap_remove(index))
                }
                Change::Revoked(_) => None,
            });
            if unseen.is_none() {
                known.push(*partition);
            }
        }
        self.changes.retain(|change| !matches!(change, Change::Assigned(assigned) if assigned.is_empty()));
        if !known.is_empty() {
            self.changes.push_back(Change::Revoked(known));
        }
    }
}

/// See the module.
pub(super) struct Membership {
    state: Mutex<State>,
    /// By partition and assignment: the committed offset, as far as it is known. Locked before `state`.
    commits: Mutex<HashMap<(Partition, Epoch), i64>>,
    /// Something to look at: a change, an error, or records.
    pub(super) changed: Arc<Notify>,
    pub(super) stop: CancellationToken,
}

impl Membership {
    pub(super) fn new(stop: CancellationToken) -> Arc<Self> {
        Arc::new(Self { state: Mutex::default(), commits: Mutex::default(), changed: Arc::new(Notify::new()), stop })
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn commits(&self) -> MutexGuard<'_, HashMap<(Partition, Epoch), i64>> {
        self.commits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the brokers still see that very assignment.
    pub(super) fn owns(&self, partition: Partition, epoch: Epoch) -> bool {
        self.state().owned.get(&partition) == Some(&epoch)
    }

    fn fail(&self, error: EventLogError, is_fatal: bool) {
        let mut state = self.state();
        if is_fatal {
            state.fatal = Some(error);
        } else {
            state.error = Some(error);
        }
        drop(state);
        self.changed.notify_one();
    }

    /// Ends the membership from the caller's side; lets go of queues nobody will read.
    pub(super) fn abandon(&self) {
        self.stop.cancel();
        let changes = std::mem::take(&mut self.state().changes);
        drop(changes);
    }
}

/// Gets the rebalances.
pub(super) struct GroupContext {
    reports: Reports,
    membership: Arc<Membership>,
    /// Assigned by the group and not yet carried out.
    to_assign: Mutex<Vec<TopicPartitionList>>,
}

impl GroupContext {
    pub(super) fn new(reports: Reports, membership: Arc<Membership>) -> Self {
        Self { reports, membership, to_assign: Mutex::default() }
    }

    fn take_to_assign(&self) -> Vec<TopicPartitionList> {
        std::mem::take(&mut *self.to_assign.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl ClientContext for GroupContext {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.reports.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.reports.error(error, reason);
    }

    fn generate_oauth_token(&self, config: Option<&str>) -> Result<OAuthToken, Box<dyn std::error::Error>> {
        self.reports.generate_oauth_token(config)
    }
}

impl ConsumerContext for GroupContext {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, event: RDKafkaRespErr, partitions: &mut TopicPartitionList) {
        let done = match event {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS if !self.membership.stop.is_cancelled() => {
                // The queues must be split off before, which takes the `Arc` that only the thread has.
                self.to_assign.lock().unwrap_or_else(PoisonError::into_inner).push(partitions.clone());
                Ok(())
            }
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => assign(consumer, partitions),
            _ => {
                let numbers = numbers(partitions);
                let mut commits = self.membership.commits();
                commits.retain(|(partition, _), _| !numbers.contains(partition));
                let mut state = self.membership.state();
                state.revoke(&numbers);
                unassign(consumer, partitions)
            }
        };
        if let Err(error) = done {
            self.membership.fail(failed("taking part in a rebalance", &error), false);
        }
        self.membership.changed.notify_one();
    }
}

fn assign(consumer: &GroupConsumer, partitions: &TopicPartitionList) -> Result<(), KafkaError> {
    match consumer.rebalance_protocol() {
        RebalanceProtocol::Cooperative => consumer.incremental_assign(partitions),
        RebalanceProtocol::None | RebalanceProtocol::Eager => consumer.assign(partitions),
    }
}

fn unassign(consumer: &GroupConsumer, partitions: &TopicPartitionList) -> Result<(), KafkaError> {
    match consumer.rebalance_protocol() {
        RebalanceProtocol::Cooperative => consumer.incremental_unassign(partitions),
        RebalanceProtocol::None | RebalanceProtocol::Eager => consumer.unassign(),
    }
}

fn numbers(partitions: &TopicPartitionList) -> Vec<Partition> {
    partitions.elements().iter().map(|element| record::partition(element.partition())).collect()
}

/// The thread's work: polls until the membership ends, then leaves the group.
pub(super) fn run(consumer: &Arc<GroupConsumer>, topic: &str, membership: &Membership, alive: TaskTrackerToken) {
    while !membership.stop.is_cancelled() {
        match consumer.poll(POLL) {
            // One lost connection is the client's own business: counted, logged, made anew.
            None | Some(Err(KafkaError::MessageConsumption(Code::BrokerTransportFailure | Code::Resolve))) => {}
            Some(Err(error)) => {
                let is_fatal = matches!(error, KafkaError::MessageConsumptionFatal(_));
                membership.fail(failed("reading from Kafka", &error), is_fatal);
            }
            // Cannot be: each partition has its own queue. Going on would skip the record.
            Some(Ok(_)) => {
                membership.fail(failed_with("reading from Kafka", Code::Inconsistent), true);
                break;
            }
        }
        for partitions in consumer.context().take_to_assign() {
            if let Err(error) = carry_out(consumer, topic, &partitions, membership) {
                membership.fail(failed("taking part in a rebalance", &error), false);
            }
        }
    }
    leave(consumer);
    drop(alive);
    // Whoever drops the last reference destroys the client, which takes its time: better here than in an async task.
    while Arc::strong_count(consumer) > 1 {
        std::thread::sleep(POLL);
    }
}

fn carry_out(
    consumer: &Arc<GroupConsumer>,
    topic: &str,
    partitions: &TopicPartitionList,
    membership: &Membership,
) -> Result<(), KafkaError> {
    let mut state = membership.state();
    // After a stop nobody would take these queues away.
    if membership.stop.is_cancelled() {
        return assign(consumer, partitions);
    }
    let mut queues = Vec::new();
    for element in partitions.elements() {
        let queue = consumer
            .split_partition_queue(topic, element.partition())
            .ok_or(KafkaError::Subscription(format!("partition {} has no queue", element.partition())))?;
        queues.push((record::partition(element.partition()), queue));
    }
    assign(consumer, partitions)?;
    if !queues.is_empty() {
        state.assign(queues);
    }
    drop(state);
    membership.changed.notify_one();
    Ok(())
}

fn leave(consumer: &GroupConsumer) {
    let deadline = Instant::now() + LEAVE_TIMEOUT;
    if let Err(error) = consumer.close_queue() {
        tracing::debug!(%error, "the consumer group was not left in order");
        return;
    }
    while !consumer.closed() && Instant::now() < deadline {
        drop(consumer.poll(POLL));
    }
}
