//! Which requests were seen before, so that the sender's duplicates change nothing.
//!
//! A request is first seen at one position of the log. The same position again is a redelivery and is processed
//! as before; another position with the same request id is a duplicate. Each partition remembers its recent
//! ids; they are reloaded from ClickHouse when the partition is assigned. Ids that no longer fit in memory are
//! looked up in ClickHouse, so the memory's size changes speed, never a total.

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use clickhouse::{Client, Row};
use serde::Deserialize;

use super::{StoreError, client::bounded};
use crate::{
    domain::{DedupeKey, SourceName},
    event_log::{Offset, Partition},
};

/// Where a request was seen first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FirstSeen {
    /// The partition of the first message.
    pub partition: Partition,
    /// Its offset.
    pub offset: Offset,
}

#[derive(Row, Deserialize)]
struct SeenRow {
    source: String,
    request_id: String,
    log_partition: u16,
    log_offset: u64,
}

/// The recent request ids of one partition.
#[derive(Debug)]
pub struct RecentIds {
    first_seen: HashMap<DedupeKey, FirstSeen>,
    order: VecDeque<DedupeKey>,
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
                "SELECT source, request_id, log_partition, log_offset FROM request_rows \
                 WHERE log_partition = ? AND is_deleted = 0 ORDER BY log_offset DESC LIMIT ?",
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
                "SELECT source, request_id, log_partition, log_offset FROM request_rows \
                 WHERE request_id IN ? AND is_deleted = 0 ORDER BY received_at DESC",
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

    /// Remembers a request's first position.
    pub fn insert(&mut self, key: DedupeKey, seen: FirstSeen) {
        if self.first_seen.insert(key, seen).is_none() {
            self.order.push_back(key);
        }
        while self.order.len() > self.max_ids {
            if let Some(oldest) = self.order.pop_front() {
                self.first_seen.remove(&oldest);
                self.is_complete = false;
            }
        }
    }

    fn insert_row(&mut self, row: &SeenRow) {
        // A source that is no longer configured still has a valid name; anything else cannot match a message.
        if let Ok(source) = SourceName::new(&row.source) {
            let seen = FirstSeen { partition: Partition(row.log_partition), offset: Offset(row.log_offset) };
            self.insert(DedupeKey::new(&source, &row.request_id), seen);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forgets_the_oldest_and_knows_it() {
        let source = SourceName::default();
        let mut ids = RecentIds::empty(2);
        for offset in 0..3 {
            let seen = FirstSeen { partition: Partition(0), offset: Offset(offset) };
            ids.insert(DedupeKey::new(&source, &offset.to_string()), seen);
        }
        assert_eq!(ids.get(DedupeKey::new(&source, "0")), None);
        assert!(ids.get(DedupeKey::new(&source, "2")).is_some());
        assert!(!ids.is_complete);
    }
}
