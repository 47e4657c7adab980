//! A consumer group's one member, which has all partitions of its topic.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::{
    sync::watch,
    task::{JoinHandle, spawn_blocking},
};

use super::{
    reader::{Batch, Reader, interrupted, no_such_partition},
    shared::Shared,
    slots::Slot,
};
use crate::{
    domain::UtcMillis,
    event_log::{EventLogError, LogEvent, Offset, Partition, ReadLimits, Subscription, Topic},
};

/// A read of one partition that is under way. It lives in the subscription, so a dropped `next` loses nothing.
struct Running {
    slot: Slot,
    read: JoinHandle<(Reader, Result<Batch, EventLogError>)>,
}

/// See the module.
pub(super) struct EmbeddedSubscription {
    shared: Arc<Shared>,
    topic: Topic,
    group: String,
    limits: ReadLimits,
    /// By partition: what is read next.
    positions: Vec<u64>,
    is_assigned: bool,
    /// The partition that is looked at first, so that a busy one does not starve the others.
    turn: usize,
    appended: watch::Receiver<()>,
    /// `None` while a read is under way, and after one that was given up.
    reader: Option<Reader>,
    running: Option<Running>,
}

impl EmbeddedSubscription {
    /// Registers the group and takes its place. Blocks.
    pub(super) fn open(
        shared: &Arc<Shared>,
        topic: Topic,
        group: String,
        limits: ReadLimits,
    ) -> Result<Self, EventLogError> {
        shared.ensure_open()?;
        if !shared.enter(topic, &group) {
            return Err(EventLogError::Storage {
                doing: "subscribing",
                message: format!(
                    "consumer group {group} already reads {}: the embedded log has one subscriber a group",
                    topic.name()
                ),
            });
        }
        let appended = shared.follow(topic);
        let positions = Vec::new();
        // Made before anything can fail, so that its drop gives the group's place back.
        let mut subscription = Self {
            shared: Arc::clone(shared),
            topic,
            group,
            limits,
            positions,
            is_assigned: false,
            turn: 0,
            appended,
            reader: None,
            running: None,
        };
        let starts: Vec<u64> = shared.look(|view| shared.slots.of_topic(topic).map(|slot| view.start(slot)).collect());
        shared.catalog.register(topic, &subscription.group, &starts)?;
        let committed = shared.catalog.committed(topic, &subscription.group)?;
        subscription.positions = committed.into_iter().map(|(_, offset)| offset.0).collect();
        Ok(subscription)
    }

    fn slots(&self) -> Vec<Slot> {
        self.shared.slots.of_topic(self.topic).collect()
    }

    /// The next partition in turn that has something to read.
    fn next_readable(&self) -> Option<Slot> {
        let slots = self.slots();
        self.shared.look(|view| {
            (0..slots.len())
                .map(|step| slots[(self.turn + step) % slots.len()])
                .find(|slot| self.positions[usize::from(slot.partition.0)] < view.ends[slot.index])
        })
    }

    fn start(&mut self, slot: Slot) {
        let positions: Vec<(Slot, u64)> = self.slots().into_iter().zip(self.positions.iter().copied()).collect();
        let from = self.positions[usize::from(slot.partition.0)];
        let limits = self.limits;
        let mut reader = self.reader.take().unwrap_or_else(|| Reader::new(Arc::clone(&self.shared)));
        let read = spawn_blocking(move || {
            reader.keep_only(&positions);
            let batch = reader.read(slot, from, limits);
            (reader, batch)
        });
        self.running = Some(Running { slot, read });
    }

    /// Waits for the read under way, if any.
    async fn finish(&mut self) -> Option<(Slot, Result<Batch, EventLogError>)> {
        let running = self.running.as_mut()?;
        let finished = (&mut running.read).await;
        // Nothing is awaited from here on: a caller either gets the result or leaves the read in its place.
        let slot = running.slot;
        self.running = None;
        Some((
            slot,
            match finished {
                Ok((reader, result)) => {
                    self.reader = Some(reader);
                    result
                }
                Err(error) => Err(interrupted(&error)),
            },
        ))
    }
}

impl Drop for EmbeddedSubscription {
    fn drop(&mut self) {
        self.shared.leave(self.topic, std::mem::take(&mut self.group));
    }
}

#[async_trait]
impl Subscription for EmbeddedSubscription {
    async fn next(&mut self) -> Result<LogEvent, EventLogError> {
        loop {
            self.shared.ensure_open()?;
            if !self.is_assigned {
                self.is_assigned = true;
                return Ok(LogEvent::Assigned(self.slots().into_iter().map(|slot| slot.partition).collect()));
            }
            if let Some((slot, result)) = self.finish().await {
                let partition = usize::from(slot.partition.0);
                self.turn = partition + 1;
                match result {
                    Ok(batch) => {
                        self.positions[partition] = batch.next;
                        if !batch.records.is_empty() {
                            return Ok(LogEvent::Records(slot.partition, batch.records));
                        }
                    }
                    Err(error) => {
                        if let EventLogError::Corrupt { offset, .. } = error {
                            // Reported once by this subscription; the next call goes on behind it.
                            self.positions[partition] = offset + 1;
                        }
                        return Err(error);
                    }
                }
            }
            // Marked as seen before looking: an append in between wakes the wait below at once.
            self.appended.borrow_and_update();
            match self.next_readable() {
                Some(slot) => self.start(slot),
                None => self.appended.changed().await.map_err(|_| EventLogError::Closed)?,
            }
        }
    }

    async fn commit(&mut self, offsets: &[(Partition, Offset)]) -> Result<(), EventLogError> {
        self.shared.ensure_open()?;
        for &(partition, offset) in offsets {
            let slot = self.shared.slots.get(self.topic, partition).ok_or_else(|| no_such_partition(partition))?;
            let end = self.shared.look(|view| view.ends[slot.index]);
            if offset.0 > end {
                // It would make the group skip records that are yet to come.
                let message = format!("offset {} of partition {} is past its end {end}", offset.0, partition.0);
                return Err(EventLogError::Storage { doing: "committing offsets", message });
            }
        }
        let (shared, topic, group, offsets) =
            (Arc::clone(&self.shared), self.topic, self.group.clone(), offsets.to_vec());
        spawn_blocking(move || shared.catalog.commit(topic, &group, &offsets))
            .await
            .map_err(|error| interrupted(&error))?
    }

    async fn committed(&self) -> Result<Vec<(Partition, Offset)>, EventLogError> {
        self.shared.ensure_open()?;
        let (shared, topic, group) = (Arc::clone(&self.shared), self.topic, self.group.clone());
        spawn_blocking(move || shared.catalog.committed(topic, &group)).await.map_err(|error| interrupted(&error))?
    }

    async fn seek_to_time(&mut self, time: UtcMillis) -> Result<(), EventLogError> {
        self.shared.ensure_open()?;
        // What was being read stands before or after the new place: it is read again from there.
        drop(self.finish().await);
        let (shared, slots) = (Arc::clone(&self.shared), self.slots());
        self.positions = spawn_blocking(move || {
            let mut reader = Reader::new(shared);
            slots.into_iter().map(|slot| reader.first_since(slot, time)).collect::<Result<Vec<u64>, _>>()
        })
        .await
        .map_err(|error| interrupted(&error))??;
        Ok(())
    }
}
