//! The one thread that writes: whatever waits in the queue shares one transaction and one sync to disk.

use std::{sync::Arc, time::Instant};

use rusqlite::{Connection, TransactionBehavior};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

use super::{
    record::{self, Columns},
    segment::{self, Contents},
    shared::{SegmentView, Shared, View},
    slots::Slot,
    store_error::{StoreError, to_sql},
};
use crate::event_log::{EventLogError, NewRecord, Offset, Position, Topic};

/// Records that may wait for the writer, and hence share one commit.
pub(super) const MAX_QUEUED_COMMANDS: usize = 4096;

/// A segment whose WAL cannot be emptied, because somebody always reads it, is closed at this many times its size.
const MAX_DISK_OVERHEAD: u64 = 2;

/// A record on its way to disk.
pub(super) struct Append {
    pub(super) slot: Slot,
    pub(super) record: NewRecord,
    pub(super) encoded_headers: Vec<u8>,
    pub(super) done: oneshot::Sender<Result<Position, EventLogError>>,
    /// This record's part of the queue's bytes, given back when it is answered.
    pub(super) permit: OwnedSemaphorePermit,
}

impl Append {
    fn columns(&self) -> Columns<'_> {
        Columns {
            timestamp_ms: self.record.timestamp.0,
            key: &self.record.key,
            headers: &self.encoded_headers,
            body: &self.record.body,
        }
    }
}

/// What the writer is asked to do, in order.
pub(super) enum Command {
    Append(Append),
    /// Closes the segment that is being written, so that retention may delete it.
    Roll(oneshot::Sender<Result<(), EventLogError>>),
    /// Writes what is queued and ends.
    Close,
}

/// See the module.
pub(super) struct Writer {
    shared: Arc<Shared>,
    connection: Connection,
    segment_id: u64,
    /// What was appended to the segment, in bytes of payload.
    payload_bytes: u64,
    /// By slot index: whether the segment has its table.
    has_table: Vec<bool>,
    /// By slot index: the next offset.
    next: Vec<u64>,
    /// A commit failed: what is on disk must be looked at before the next one.
    is_in_doubt: bool,
    /// The last commit failed. Failures are logged when they begin and when they end, not one by one.
    is_failing: bool,
}

impl Writer {
    /// Continues the newest segment, as `contents` found it.
    pub(super) fn new(
        shared: Arc<Shared>,
        connection: Connection,
        segment_id: u64,
        contents: &Contents,
    ) -> Result<Self, StoreError> {
        let has_table = segment::tables(&connection, shared.slots)?;
        let (payload_bytes, next) = (contents.payload_bytes, contents.ends.clone());
        Ok(Self {
            shared,
            connection,
            segment_id,
            payload_bytes,
            has_table,
            next,
            is_in_doubt: false,
            is_failing: false,
        })
    }

    /// Works until it is told to close or nobody can ask any more.
    pub(super) fn run(mut self, mut queue: mpsc::Receiver<Command>) {
        let mut commands = Vec::new();
        while queue.blocking_recv_many(&mut commands, MAX_QUEUED_COMMANDS) > 0 {
            let mut batch = Vec::new();
            for command in commands.drain(..) {
                match command {
                    Command::Append(append) => batch.push(append),
                    Command::Roll(done) => {
                        self.write(std::mem::take(&mut batch));
                        let rolled = self.roll().map_err(|error| self.public(error, "closing a segment"));
                        // Whoever asked may have gone; the segment is closed all the same.
                        let _ = done.send(rolled);
                    }
                    // Refuses what comes later; what is queued already is still received below.
                    Command::Close => queue.close(),
                }
            }
            self.write(batch);
        }
    }

    /// Writes a batch and answers each of its appends.
    fn write(&mut self, batch: Vec<Append>) {
        if batch.is_empty() {
            return;
        }
        let started = Instant::now();
        let written = self.commit(&batch);
        let metrics = &self.shared.metrics;
        match &written {
            Ok(_) => {
                metrics.commit_seconds.observe(started.elapsed().as_secs_f64());
                metrics.commit_records.observe(f64::from(u32::try_from(batch.len()).unwrap_or(u32::MAX)));
            }
            Err(error) => {
                self.is_in_doubt = true;
                if !self.is_failing {
                    tracing::error!(%error, "appends to the event log fail; none of them is acknowledged");
                }
            }
        }
        if self.is_failing && written.is_ok() {
            tracing::info!("appends to the event log succeed again");
        }
        self.is_failing = written.is_err();
        for (index, append) in batch.into_iter().enumerate() {
            let topic = append.slot.topic;
            let size_bytes = record::size_bytes(&append.record);
            metrics.queue_bytes.sub(i64::try_from(size_bytes).unwrap_or(i64::MAX));
            let answer = match &written {
                Ok(positions) => {
                    metrics.appended_records.with_label_values(&[topic.name()]).inc();
                    metrics.appended_bytes.with_label_values(&[topic.name()]).inc_by(size_bytes as u64);
                    Ok(positions[index])
                }
                Err(error) => {
                    metrics.append_errors.with_label_values(&[error.label()]).inc();
                    Err(error.clone())
                }
            };
            drop(append.permit);
            // A caller that no longer waits does not take its record back.
            let _ = append.done.send(answer);
        }
    }

    /// Makes all of a batch durable and visible, or nothing.
    fn commit(&mut self, batch: &[Append]) -> Result<Vec<Position>, EventLogError> {
        if self.is_in_doubt {
            self.resolve_doubt().map_err(|error| self.public(error, "looking at what a failed commit left"))?;
        }
        let disk_bytes = self.shared.look(|view| view.segments.last().map_or(0, |segment| segment.disk_bytes));
        let limit = self.shared.segment_bytes;
        if (self.payload_bytes >= limit || disk_bytes / MAX_DISK_OVERHEAD >= limit.max(1 << 26))
            && let Err(error) = self.roll()
        {
            // The size of a segment is a wish; durability of the next records does not depend on it.
            tracing::warn!(%error, "the event log could not start a new segment and goes on with the old one");
        }
        let batch_bytes: u64 = batch.iter().map(|append| append.columns().size_bytes() as u64).sum();
        if self.shared.look(View::disk_bytes).saturating_add(batch_bytes) > self.shared.max_disk_bytes {
            return Err(EventLogError::DiskFull { path: self.shared.dir.clone() });
        }
        let positions = self.insert(batch).map_err(|error| self.public(error, "writing records"))?;
        self.payload_bytes += batch_bytes;
        self.publish(batch, &positions);
        Ok(positions)
    }

    /// One transaction. On an error the transaction is rolled back and `self` is as before.
    fn insert(&mut self, batch: &[Append]) -> Result<Vec<Position>, StoreError> {
        let (mut next, mut has_table) = (self.next.clone(), self.has_table.clone());
        let mut positions = Vec::with_capacity(batch.len());
        // Immediate: a lock that cannot be had shows before anything is written.
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        for append in batch {
            let slot = append.slot;
            if !has_table[slot.index] {
                transaction.execute_batch(&format!(
                    "CREATE TABLE {} (offset INTEGER PRIMARY KEY, timestamp_ms INTEGER NOT NULL,
                     crc32 INTEGER NOT NULL, key BLOB NOT NULL, headers BLOB NOT NULL, body BLOB NOT NULL)",
                    slot.table()
                ))?;
                has_table[slot.index] = true;
            }
            let (offset, columns) = (next[slot.index], append.columns());
            let sql = format!("INSERT INTO {} VALUES (?, ?, ?, ?, ?, ?)", slot.table());
            transaction.prepare_cached(&sql)?.execute((
                to_sql(offset),
                columns.timestamp_ms,
                columns.checksum(slot, offset),
                columns.key,
                columns.headers,
                columns.body,
            ))?;
            next[slot.index] += 1;
            positions.push(Position { topic: slot.topic, partition: slot.partition, offset: Offset(offset) });
        }
        transaction.commit()?;
        (self.next, self.has_table) = (next, has_table);
        Ok(positions)
    }

    /// Shows readers what is now durable.
    fn publish(&self, batch: &[Append], positions: &[Position]) {
        let disk_bytes = segment::disk_bytes(&self.shared.dir, self.segment_id);
        self.shared.change(|view| {
            view.ends.clone_from(&self.next);
            if let Some(active) = view.segments.last_mut() {
                active.disk_bytes = disk_bytes;
                for append in batch {
                    let newest_ms = &mut active.newest_ms[append.slot.index];
                    *newest_ms = (*newest_ms).max(append.record.timestamp.0);
                }
            }
        });
        let mut topics: Vec<_> = positions.iter().map(|position| position.topic).collect();
        topics.dedup();
        for topic in topics {
            self.shared.announce(topic);
        }
    }

    /// After a failed commit: what does the disk hold?
    ///
    /// SQLite has rolled the transaction back, so normally nothing has changed: readers saw none of it, and the
    /// next commit takes the same offsets. Should the rollback have failed too, the segment is opened afresh,
    /// and what turns out to be there after all is made durable and shown.
    fn resolve_doubt(&mut self) -> Result<(), StoreError> {
        let Shared { dir, slots, .. } = &*self.shared;
        if !self.connection.is_autocommit() {
            self.connection = segment::open_to_write(dir, self.segment_id, *slots)?;
        }
        let bases = self.shared.look(|view| view.segments.last().map(|segment| segment.bases.clone()));
        let bases = bases.ok_or_else(|| StoreError::Layout("the log has no segment".to_owned()))?;
        if segment::ends(&self.connection, *slots, &bases)? != self.next {
            segment::make_durable(&self.connection)?;
            let contents = segment::load(&self.connection, *slots)?;
            self.payload_bytes = contents.payload_bytes;
            for (next, end) in self.next.iter_mut().zip(contents.ends) {
                // Never back: an offset that was shown is not given out again, whatever became of its record.
                *next = (*next).max(end);
            }
            self.shared.change(|view| {
                view.ends.clone_from(&self.next);
                if let Some(active) = view.segments.last_mut() {
                    active.newest_ms = contents.newest_ms;
                }
            });
            for topic in Topic::ALL {
                self.shared.announce(topic);
            }
        }
        self.has_table = segment::tables(&self.connection, *slots)?;
        self.is_in_doubt = false;
        Ok(())
    }

    /// Starts the next segment and seals the one before.
    fn roll(&mut self) -> Result<(), StoreError> {
        if self.is_in_doubt {
            self.resolve_doubt()?;
        }
        let Shared { dir, slots, .. } = &*self.shared;
        let id = self.segment_id + 1;
        segment::create(dir, id, *slots, &self.next)?;
        let connection = match segment::open_to_write(dir, id, *slots) {
            Ok(connection) => connection,
            Err(error) => {
                // The old segment goes on growing, so the new one's base offsets will be wrong.
                segment::remove(dir, id)?;
                return Err(error);
            }
        };
        let mut sealed = std::mem::replace(&mut self.connection, connection);
        let sealed_id = std::mem::replace(&mut self.segment_id, id);
        self.payload_bytes = 0;
        self.has_table = vec![false; slots.count()];
        let newest_ms = self.shared.change(|view| {
            view.segments.push(SegmentView::empty(id, self.next.clone()));
            view.segments.iter().find(|segment| segment.id == sealed_id).map(|segment| segment.newest_ms.clone())
        });
        // From here on the roll has happened. An unsealed segment is sealed at the next start.
        if let Some(newest_ms) = newest_ms
            && let Err(error) = segment::seal(&mut sealed, *slots, &newest_ms)
        {
            tracing::warn!(%error, segment = sealed_id, "an event log segment will be sealed at the next start");
        }
        drop(sealed); // With the last connection SQLite empties and removes the WAL.
        let disk_bytes = [sealed_id, id].map(|id| (id, segment::disk_bytes(dir, id)));
        self.shared.change(|view| {
            for segment in &mut view.segments {
                if let Some((_, bytes)) = disk_bytes.iter().find(|(id, _)| *id == segment.id) {
                    segment.disk_bytes = *bytes;
                }
            }
        });
        Ok(())
    }

    fn public(&self, error: StoreError, doing: &'static str) -> EventLogError {
        error.into_public(&self.shared.dir, doing)
    }
}
