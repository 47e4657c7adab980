//! Which requests were seen before, so that the sender's duplicates change nothing.
//!
//! A request is first seen at one position of the log. The same position again is a redelivery and is processed
//! as before; another position with the same request id is a duplicate. Each partition remembers its recent
//! ids; they are reloaded from ClickHouse when the partition is assigned. Ids that no longer fit in memory are
//! looked up in ClickHouse, so the memory's size changes speed, never a total.
//!
//! That duplicates come in the partition of the first message holds as long as the log has the same number of partitions.
//! Kafka's topics can be given more. From then on whatever is not in memory is looked up, in all partitions.

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use clickhouse::{Client, Row};
use serde::Deserialize;

use super::{StoreError, client::bounded};
use crate::{
    domain::{DedupeKey, SourceName, UtcMillis},
    event_log::{Offset, Partition},
};

/// Where a request was seen first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FirstSeen {
    /// The partition of the first message.
    pub partition: Partition,
    /// Its offset.
    pub offset: Offset,
    /// When it was received: in a log that was replaced another message may have its place.
    pub received_at: UtcMillis,
}

#[derive(Row, Deserialize)]
struct SeenRow {
    source: String,
    request_id: String,
    log_partition: u16,
    log_offset: u64,
    /// Milliseconds since 1970, UTC.
    received_at: i64,
}

/// Remembers that the topic has so many partitions. Returns whether it ever had another number of them, so that keys have
/// moved between partitions.
///
/// # Errors
/// [`StoreError`] when ClickHouse cannot be asked.
pub async fn have_keys_moved(client: &Client, timeout: Duration, partitions: usize) -> Result<bool, StoreError> {
    let partitions = u32::try_from(partitions).unwrap_or(u32::MAX);
    let query = client.query("SELECT DISTINCT partitions FROM log_layouts");
    let known = bounded(timeout, "reading log_layouts", query.fetch_all::<u32>()).await?;
    if !known.contains(&partitions) {
        let query = client.query("INSERT INTO log_layouts (partitions) SELECT toUInt32(?)").bind(partitions);
        bounded(timeout, "writing log_layouts", query.execute()).await?;
    }
    Ok(known.iter().any(|count| *count != partitions))
}

/// The recent request ids of one partition.
#[derive(Debug)]
pub struct RecentIds {
    first_seen: HashMap<DedupeKey, FirstSeen>,
    /// Oldest first, with the offsets of those that ClickHouse may not have yet.
    order: VecDeque<(DedupeKey, Option<Offset>)>,
    max_ids: usize,
    /// Whether every stored request of this partition is in memory; if not, a miss must be looked up.
    is_complete: bool,
}

impl RecentIds {
    /// Loads the newest `max_ids` ids of `partition`.
    ///
    /// # Errors
    /// [`StoreError`] when ClickHouse cannot be read.
    pub async fn load(
        client: &Client,
        timeout: Duration,
        partition: Partition,
        max_ids: usize,
    ) -> Result<Self, StoreError> {
        let query = client
            .query(
                "SELECT source, request_id, log_partition, log_offset, toUnixTimestamp64Milli(r.received_at) AS received_at \
                 FROM request_rows AS r WHERE log_partition = ? AND is_deleted = 0 ORDER BY log_offset DESC LIMIT ?",
            )
            .bind(partition.0)
            .bind(max_ids as u64 + 1);
        let rows = bounded(timeout, "reloading recent request ids", query.fetch_all::<SeenRow>()).await?;
        let mut ids = Self::empty(max_ids);
        ids.is_complete = rows.len() <= max_ids;
        for row in rows.into_iter().take(max_ids).rev() {
            ids.insert_row(&row);
        }
        Ok(ids)
    }

    /// Remembers nothing and knows that there is nothing.
    #[must_use]
    pub fn empty(max_ids: usize) -> Self {
        Self { first_seen: HashMap::new(), order: VecDeque::new(), max_ids: max_ids.max(1), is_complete: true }
    }

    /// From now on nothing is believed to be new that ClickHouse was not asked about: other partitions may have it.
    pub fn distrust(&mut self) {
        self.is_complete = false;
    }

    /// Brings ids that are not in memory but in ClickHouse back into memory. Costs nothing while memory is complete.
    ///
    /// # Errors
    /// [`StoreError`] when ClickHouse cannot be read.
    pub async fn look_up(
        &mut self,
        client: &Client,
        timeout: Duration,
        requests: &[(SourceName, String)],
    ) -> Result<(), StoreError> {
        if self.is_complete {
            return Ok(());
        }
        let missing: Vec<&str> = requests
            .iter()
            .filter(|(source, id)| !self.first_seen.contains_key(&DedupeKey::new(source, id)))
            .map(|(_, id)| id.as_str())
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        let query = client
            .query(
                "SELECT source, request_id, log_partition, log_offset, toUnixTimestamp64Milli(r.received_at) AS received_at \
                 FROM request_rows AS r WHERE request_id IN ? AND is_deleted = 0 ORDER BY r.received_at DESC",
            )
            .bind(missing);
        // Oldest last, so that the first message of an id wins.
        for row in bounded(timeout, "looking up request ids", query.fetch_all::<SeenRow>()).await? {
            self.insert_row(&row);
        }
        Ok(())
    }

    /// Where this request was seen first, if it was.
    #[must_use]
    pub fn get(&self, key: DedupeKey) -> Option<FirstSeen> {
        self.first_seen.get(&key).copied()
    }

    /// Remembers a request's first position, which is not in ClickHouse yet.
    pub fn insert(&mut self, key: DedupeKey, seen: FirstSeen) {
        self.remember(key, seen, Some(seen.offset));
    }

    fn remember(&mut self, key: DedupeKey, seen: FirstSeen, unwritten: Option<Offset>) {
        if self.first_seen.insert(key, seen).is_none() {
            self.order.push_back((key, unwritten));
        }
    }

    /// Forgets the oldest ids that are too many, but none that ClickHouse could not tell: every message below
    /// `written_below` is there. So it can hold more than its limit by what is in flight.
    pub fn trim(&mut self, written_below: Offset) {
        let is_written = |unwritten: Option<Offset>| unwritten.is_none_or(|offset| offset < written_below);
        while self.order.len() > self.max_ids
            && let Some((oldest, _)) = self.order.front().copied().filter(|(_, unwritten)| is_written(*unwritten))
        {
            self.order.pop_front();
            self.first_seen.remove(&oldest);
            self.is_complete = false;
        }
    }

    fn insert_row(&mut self, row: &SeenRow) {
        // A source that is no longer configured still has a valid name; anything else cannot match a message.
        if let Ok(source) = SourceName::new(&row.source) {
            let seen = FirstSeen {
                partition: Partition(row.log_partition),
                offset: Offset(row.log_offset),
                received_at: UtcMillis(row.received_at),
            };
            self.remember(DedupeKey::new(&source, &row.request_id), seen, None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forgets_the_oldest_that_is_written_and_knows_it() {
        let source = SourceName::default();
        let key = |offset: u64| DedupeKey::new(&source, &offset.to_string());
        for (what, written_below, forgotten) in [
            ("nothing is written", 0, 0..0),
            ("the first is written", 1, 0..1),
            ("more are written than there is room for", 5, 0..3),
        ] {
            let mut ids = RecentIds::empty(2);
            for offset in 0..5 {
                let seen = FirstSeen { partition: Partition(0), offset: Offset(offset), received_at: UtcMillis(0) };
                ids.insert(key(offset), seen);
            }
            ids.trim(Offset(written_below));
            for offset in 0..5 {
                assert_eq!(ids.get(key(offset)).is_none(), forgotten.contains(&offset), "{what}: {offset}");
            }
            assert_eq!(ids.is_complete, forgotten.is_empty(), "{what}");
        }
    }
}
