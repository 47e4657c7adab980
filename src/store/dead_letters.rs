//! Which dead letters wait to be handled.

use std::time::Duration;

use clickhouse::{Client, Row};
use serde::Deserialize;

use super::{StoreError, client::bounded};
use crate::event_log::{Offset, Partition};

/// A dead letter that was neither replayed nor dropped.
#[derive(Clone, Debug, PartialEq, Eq, Row, Deserialize)]
pub struct PendingDeadLetter {
    /// Partition of the topic `webhooks` it came in.
    pub log_partition: u16,
    /// Offset within it.
    pub log_offset: u64,
    /// Name of the sender.
    pub source: String,
    /// `bad_json` or `no_request_id`
    pub reason: String,
    /// Partition of the topic `dead-letter` that keeps the message.
    pub dead_letter_partition: u16,
    /// Offset within it.
    pub dead_letter_offset: u64,
}

/// The pending dead letters that came in `partition` at `from` or later and before `end`, in order, at most
/// `max_letters` of them.
///
/// # Errors
/// [`StoreError`] when ClickHouse cannot be read.
pub async fn pending_dead_letters(
    client: &Client,
    timeout: Duration,
    partition: Partition,
    from: Offset,
    end: Offset,
    max_letters: usize,
) -> Result<Vec<PendingDeadLetter>, StoreError> {
    let query = client
        .query(
            "SELECT log_partition, log_offset, toString(source) AS source, toString(reason) AS reason, \
             dead_letter_partition, dead_letter_offset FROM dead_letter_rows FINAL \
             WHERE log_partition = ? AND log_offset >= ? AND log_offset < ? \
             AND log_offset NOT IN (SELECT log_offset FROM dead_letter_handlings WHERE log_partition = ?) \
             ORDER BY log_offset LIMIT ?",
        )
        .bind(partition.0)
        .bind(from.0)
        .bind(end.0)
        .bind(partition.0)
        .bind(max_letters as u64);
    bounded(timeout, "reading dead letters", query.fetch_all::<PendingDeadLetter>()).await
}
