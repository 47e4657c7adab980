//! Which dead letters wait to be handled, and which of the last messages became one.

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

/// What became of one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Row, Deserialize)]
pub struct RecentOutcome {
    /// When it was received, milliseconds since 1970, UTC.
    pub received_at: i64,
    /// Whether it became a dead letter.
    pub is_dead_letter: bool,
}

/// The outcomes of the last messages of `partition`, newest first, at most `max_outcomes`. Replayed messages are left out.
///
/// # Errors
/// [`StoreError`] when ClickHouse cannot be read.
pub async fn recent_outcomes(
    client: &Client,
    timeout: Duration,
    partition: Partition,
    max_outcomes: usize,
) -> Result<Vec<RecentOutcome>, StoreError> {
    // Reads the end of the table alone, so that a start does not wait for it; FINAL would read more.
    let query = client
        .query(
            "SELECT toUnixTimestamp64Milli(received_at) AS received_at, toBool(outcome = 'dead_letter') AS is_dead_letter \
             FROM outcome_rows WHERE log_partition = ? AND concat('webhooks/', toString(log_partition), '/', \
             toString(log_offset)) NOT IN (SELECT replayed_as FROM dead_letter_handlings) \
             ORDER BY log_partition DESC, log_offset DESC LIMIT 1 BY log_offset LIMIT ?",
        )
        .bind(partition.0)
        .bind(max_outcomes as u64);
    bounded(timeout, "reading recent outcomes", query.fetch_all::<RecentOutcome>()).await
}
