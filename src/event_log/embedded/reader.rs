//! Blocking reads in offset order, a bounded piece at a time.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{Arc, Mutex, PoisonError},
};

use rusqlite::{Connection, OptionalExtension as _};

use super::{
    record::Columns,
    segment,
    shared::{Place, Shared},
    slots::Slot,
    store_error::{StoreError, from_sql, to_sql},
};
use crate::{
    domain::UtcMillis,
    event_log::{EventLogError, Partition, ReadLimits, Record},
};

/// Consecutive records of one partition.
pub(super) struct Batch {
    pub(super) records: Vec<Record>,
    /// Where to read next.
    pub(super) next: u64,
}

/// Reads segments, each through one connection that is kept while it is of use.
pub(super) struct Reader {
    shared: Arc<Shared>,
    /// Never contended: the mutex only makes a connection fit to stand in an async subscription.
    connections: HashMap<u64, Mutex<Connection>>,
}

impl Reader {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, connections: HashMap::new() }
    }

    /// Forgets segments that none of `positions` is in, so that there are never more connections than partitions.
    pub(super) fn keep_only(&mut self, positions: &[(Slot, u64)]) {
        let needed: Vec<u64> = self.shared.look(|view| {
            positions.iter().filter_map(|&(slot, from)| view.locate(slot, from)).map(|place| place.id).collect()
        });
        self.connections.retain(|id, _| needed.contains(id));
    }

    /// Reads on from offset `from`: the next records of one segment within `limits`, none at the end.
    ///
    /// # Errors
    /// [`EventLogError::Corrupt`] when the very next record is damaged: reading on after its offset gets past it.
    pub(super) fn read(&mut self, slot: Slot, from: u64, limits: ReadLimits) -> Result<Batch, EventLogError> {
        let (place, end) = self.shared.look(|view| (view.locate(slot, from), view.ends[slot.index]));
        let Some(place) = place else {
            return Ok(Batch { records: Vec::new(), next: from.max(end) });
        };
        let mut batch = Batch { records: Vec::new(), next: place.from };
        let result = self.fill(slot, place, limits, &mut batch);
        let message = match result {
            Ok(None) => return Ok(batch),
            // What stands before the damage first; the next call meets the damage.
            Ok(Some(_)) if !batch.records.is_empty() => return Ok(batch),
            Ok(Some(damage)) => damage.to_owned(),
            Err(error) => {
                self.connections.remove(&place.id);
                let is_kept = self.shared.look(|view| view.segments.iter().any(|segment| segment.id == place.id));
                if !is_kept {
                    // Retention was faster: go on with what it left.
                    return self.read(slot, from, limits);
                }
                if !batch.records.is_empty() {
                    return Ok(batch);
                }
                if !error.is_damage() {
                    return Err(error.into_public(&self.shared.dir, "reading records"));
                }
                error.to_string()
            }
        };
        Err(EventLogError::Corrupt { partition: slot.partition.0, offset: batch.next, message })
    }

    /// Adds records to `batch`; returns what is wrong with the record it stopped at, if anything is.
    fn fill(
        &mut self,
        slot: Slot,
        place: Place,
        limits: ReadLimits,
        batch: &mut Batch,
    ) -> Result<Option<&'static str>, StoreError> {
        const MISSING: &str = "it is missing";
        let sql = format!(
            "SELECT offset, timestamp_ms, crc32, key, headers, body FROM {} WHERE offset >= ? AND offset < ?
             ORDER BY offset",
            slot.table()
        );
        let mut statement = self.connection(place.id)?.prepare_cached(&sql)?;
        let mut rows = statement.query((to_sql(place.from), to_sql(place.end)))?;
        let mut bytes = 0_usize;
        while batch.next < place.end && batch.records.len() < limits.max_records.max(1) {
            let Some(row) = rows.next()? else { return Ok(Some(MISSING)) };
            if row.get::<_, i64>(0)? != to_sql(batch.next) {
                return Ok(Some(MISSING));
            }
            let columns = Columns {
                timestamp_ms: row.get(1)?,
                key: row.get_ref(3)?.as_blob().map_err(rusqlite::Error::from)?,
                headers: row.get_ref(4)?.as_blob().map_err(rusqlite::Error::from)?,
                body: row.get_ref(5)?.as_blob().map_err(rusqlite::Error::from)?,
            };
            bytes = bytes.saturating_add(columns.size_bytes());
            if bytes > limits.max_bytes && !batch.records.is_empty() {
                break;
            }
            match columns.decode(slot, batch.next, row.get(2)?) {
                Ok(record) => batch.records.push(record),
                Err(damage) => return Ok(Some(damage)),
            }
            batch.next += 1;
        }
        Ok(None)
    }

    /// The offset of the first record with a timestamp of `time` or later, or the end offset.
    pub(super) fn first_since(&mut self, slot: Slot, time: UtcMillis) -> Result<u64, EventLogError> {
        let (places, end) = self.shared.look(|view| {
            let places: Vec<Place> = (0..view.segments.len())
                .filter(|&index| view.segments[index].newest_ms[slot.index] >= time.0)
                .filter_map(|index| view.locate(slot, view.segments[index].bases[slot.index]))
                .collect();
            (places, view.ends[slot.index])
        });
        for place in places {
            let sql = format!(
                "SELECT offset FROM {} WHERE offset < ? AND timestamp_ms >= ? ORDER BY offset LIMIT 1",
                slot.table()
            );
            let found = self.connection(place.id).and_then(|connection| {
                let mut statement = connection.prepare(&sql)?;
                Ok(statement.query_row((to_sql(place.end), time.0), |row| row.get::<_, i64>(0)).optional()?)
            });
            match found {
                Ok(Some(offset)) => return Ok(from_sql(offset)),
                Ok(None) => {}
                Err(error) => {
                    self.connections.remove(&place.id);
                    return Err(error.into_public(&self.shared.dir, "seeking to a time"));
                }
            }
        }
        Ok(end)
    }

    fn connection(&mut self, id: u64) -> Result<&Connection, StoreError> {
        let connection = match self.connections.entry(id) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => entry.insert(Mutex::new(segment::open_to_read(&self.shared.dir, id)?)),
        };
        Ok(connection.get_mut().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The error of a blocking task that did not finish.
pub(super) fn interrupted(error: &tokio::task::JoinError) -> EventLogError {
    EventLogError::Storage { doing: "waiting for a blocking task", message: error.to_string() }
}

/// The error for a partition that the topic does not have.
pub(super) fn no_such_partition(partition: Partition) -> EventLogError {
    EventLogError::Storage {
        doing: "looking for a partition",
        message: format!("the log has no partition {}", partition.0),
    }
}
