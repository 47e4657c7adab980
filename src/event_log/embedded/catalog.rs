//! What outlives every segment: the number of partitions, the consumer groups and their committed offsets.

use std::{
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use rusqlite::{Connection, OptionalExtension as _};

use super::{
    slots::Slots,
    store_error::{StoreError, from_sql, to_sql},
};
use crate::event_log::{EventLogError, Offset, Partition, Topic};

const FILE: &str = "catalog.sqlite";
const FORMAT_VERSION: i64 = 1;

/// Longer names are refused; they come from this program, not from senders.
const MAX_GROUP_NAME_BYTES: usize = 255;

/// The smallest and the largest committed offset of a slot's groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CommittedRange {
    pub(super) lowest: u64,
    pub(super) highest: u64,
}

/// A small database beside the segments. Every change is on disk when the call returns.
pub(super) struct Catalog {
    dir: PathBuf,
    connection: Mutex<Connection>,
}

impl Catalog {
    /// Opens or makes the catalog in `dir`. The number of partitions is fixed when it is made.
    pub(super) fn open(dir: &Path, partitions: u16) -> Result<Self, EventLogError> {
        let doing = "opening the catalog";
        let (connection, stored) =
            Self::open_database(dir, partitions).map_err(|error| error.into_public(dir, doing))?;
        if stored != i64::from(partitions) {
            return Err(EventLogError::Storage {
                doing,
                message: format!(
                    "the log in {} was made with {stored} partitions and cannot change to {partitions}, because keys \
                     would move between partitions: set event_log.partitions = {stored}, or let the log drain and \
                     start with an empty directory",
                    dir.display()
                ),
            });
        }
        Ok(Self { dir: dir.to_owned(), connection: Mutex::new(connection) })
    }

    fn open_database(dir: &Path, partitions: u16) -> Result<(Connection, i64), StoreError> {
        if partitions == 0 {
            return Err(StoreError::Layout("event_log.partitions must be at least 1".to_owned()));
        }
        let mut connection = Connection::open(dir.join(FILE))?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        let transaction = connection.transaction()?;
        let version: i64 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
        if version != 0 && version != FORMAT_VERSION {
            return Err(StoreError::Layout(format!(
                "the catalog has format {version}, this release reads {FORMAT_VERSION}: use the release that wrote it"
            )));
        }
        transaction.execute_batch(
            "CREATE TABLE IF NOT EXISTS partitions (count INTEGER NOT NULL);
             CREATE TABLE IF NOT EXISTS committed_offsets (
                 topic TEXT NOT NULL, group_name TEXT NOT NULL, partition INTEGER NOT NULL,
                 next_offset INTEGER NOT NULL,
                 PRIMARY KEY (topic, group_name, partition)) WITHOUT ROWID;",
        )?;
        let stored: Option<i64> =
            transaction.query_row("SELECT count FROM partitions", [], |row| row.get(0)).optional()?;
        if stored.is_none() {
            transaction.execute("INSERT INTO partitions VALUES (?)", [partitions])?;
        }
        transaction.pragma_update(None, "user_version", FORMAT_VERSION)?;
        transaction.commit()?;
        Ok((connection, stored.unwrap_or_else(|| i64::from(partitions))))
    }

    /// Makes `group` known for `topic`; one that is new starts at `starts`, by partition.
    pub(super) fn register(&self, topic: Topic, group: &str, starts: &[u64]) -> Result<(), EventLogError> {
        let doing = "registering a consumer group";
        if group.is_empty() || group.len() > MAX_GROUP_NAME_BYTES {
            let message = format!("a group's name has 1 to {MAX_GROUP_NAME_BYTES} bytes");
            return Err(EventLogError::Storage { doing, message });
        }
        self.write(doing, "INSERT OR IGNORE INTO committed_offsets VALUES (?, ?, ?, ?)", topic, group, {
            (0..).zip(starts.iter().copied())
        })
    }

    /// Raises committed offsets; a lower one than the stored changes nothing.
    pub(super) fn commit(
        &self,
        topic: Topic,
        group: &str,
        offsets: &[(Partition, Offset)],
    ) -> Result<(), EventLogError> {
        self.write(
            "committing offsets",
            "INSERT INTO committed_offsets VALUES (?, ?, ?, ?)
             ON CONFLICT DO UPDATE SET next_offset = max(next_offset, excluded.next_offset)",
            topic,
            group,
            offsets.iter().map(|(partition, offset)| (partition.0, offset.0)),
        )
    }

    fn write(
        &self,
        doing: &'static str,
        sql: &str,
        topic: Topic,
        group: &str,
        offsets: impl Iterator<Item = (u16, u64)>,
    ) -> Result<(), EventLogError> {
        let write = || -> Result<(), StoreError> {
            let mut connection = self.lock();
            let transaction = connection.transaction()?;
            for (partition, offset) in offsets {
                transaction.prepare_cached(sql)?.execute((topic.name(), group, partition, to_sql(offset)))?;
            }
            Ok(transaction.commit()?)
        };
        write().map_err(|error| error.into_public(&self.dir, doing))
    }

    /// The committed offsets of a registered group, by partition.
    pub(super) fn committed(&self, topic: Topic, group: &str) -> Result<Vec<(Partition, Offset)>, EventLogError> {
        let read = || -> Result<Vec<(Partition, Offset)>, StoreError> {
            let connection = self.lock();
            let mut statement = connection.prepare_cached(
                "SELECT partition, next_offset FROM committed_offsets
                 WHERE topic = ? AND group_name = ? ORDER BY partition",
            )?;
            let rows = statement
                .query_map((topic.name(), group), |row| Ok((Partition(row.get(0)?), Offset(from_sql(row.get(1)?)))))?;
            Ok(rows.collect::<Result<_, _>>()?)
        };
        read().map_err(|error| error.into_public(&self.dir, "reading committed offsets"))
    }

    /// For each slot the range of its groups' committed offsets, `None` where no group ever subscribed.
    pub(super) fn committed_ranges(&self, slots: Slots) -> Result<Vec<Option<CommittedRange>>, EventLogError> {
        let read = || -> Result<Vec<Option<CommittedRange>>, StoreError> {
            let connection = self.lock();
            let mut statement = connection.prepare_cached(
                "SELECT topic, partition, min(next_offset), max(next_offset) FROM committed_offsets
                 GROUP BY topic, partition",
            )?;
            let mut ranges = vec![None; slots.count()];
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                if let Some(slot) = slots.named(row.get_ref(0)?.as_str().unwrap_or_default(), row.get(1)?) {
                    let (lowest, highest) = (from_sql(row.get(2)?), from_sql(row.get(3)?));
                    ranges[slot.index] = Some(CommittedRange { lowest, highest });
                }
            }
            Ok(ranges)
        };
        read().map_err(|error| error.into_public(&self.dir, "reading committed offsets"))
    }

    fn lock(&self) -> MutexGuard<'_, Connection> {
        // A poisoned lock means a panic mid-call; the transaction was rolled back when it was dropped.
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
