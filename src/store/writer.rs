//! Writes batches. The order matters: rows, then outcomes; a crash between them is answered by redelivery.

use std::time::{Duration, Instant};

use clickhouse::{Client, RowOwned, RowWrite};

use super::{
    ContentRow, DeadLetterHandlingRow, DeadLetterRow, InspectionRow, LogPositionRow, OutcomeRow, RequestRow, ScoreRow,
    StoreError, StoreMetrics, client::bounded,
};
use crate::crash_point::crash_point;

/// Everything that one flush writes.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// Calls, new or in a higher version.
    pub requests: Vec<RequestRow>,
    /// Their bodies, where these are kept.
    pub contents: Vec<ContentRow>,
    /// What was found in them, where that is looked for.
    pub inspections: Vec<InspectionRow>,
    /// Scores of calls, to be sent to Helicone.
    pub scores: Vec<ScoreRow>,
    /// What became of each message.
    pub outcomes: Vec<OutcomeRow>,
    /// Messages given up.
    pub dead_letters: Vec<DeadLetterRow>,
}

impl Batch {
    /// Nothing to write.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.outcomes.is_empty() && self.requests.is_empty() && self.dead_letters.is_empty()
    }
}

/// Writes a batch. Writing it again after an error changes nothing that was already written.
///
/// # Errors
/// [`StoreError`] when any part is not known to be written.
pub async fn write_batch(
    client: &Client,
    timeout: Duration,
    batch: &Batch,
    metrics: &StoreMetrics,
) -> Result<(), StoreError> {
    let started = Instant::now();
    write_requests(client, timeout, &batch.requests).await?;
    crash_point!(ConsumerInserted);
    insert(client, timeout, "content_rows", &batch.contents).await?;
    insert(client, timeout, "inspection_rows", &batch.inspections).await?;
    write_scores(client, timeout, &batch.scores).await?;
    insert(client, timeout, "dead_letter_rows", &batch.dead_letters).await?;
    insert(client, timeout, "outcome_rows", &batch.outcomes).await?;
    metrics.batch_written(batch, started.elapsed());
    Ok(())
}

/// Writes calls, new or in a higher version.
///
/// # Errors
/// [`StoreError`] when they are not known to be written; writing them again is harmless.
pub async fn write_requests(client: &Client, timeout: Duration, requests: &[RequestRow]) -> Result<(), StoreError> {
    insert(client, timeout, "request_rows", requests).await
}

/// Queues scores, or records what came of them.
///
/// # Errors
/// [`StoreError`] when they are not known to be written; writing them again is harmless.
pub async fn write_scores(client: &Client, timeout: Duration, scores: &[ScoreRow]) -> Result<(), StoreError> {
    insert(client, timeout, "score_rows", scores).await
}

/// Records how far each partition of the log has come.
///
/// # Errors
/// [`StoreError`] when they are not known to be written; the next call writes newer ones.
pub async fn write_positions(
    client: &Client,
    timeout: Duration,
    positions: &[LogPositionRow],
) -> Result<(), StoreError> {
    insert(client, timeout, "log_positions", positions).await
}

/// Records what was done with dead letters.
///
/// # Errors
/// [`StoreError`] when it is not known to be written; writing it again is harmless.
pub async fn write_handlings(
    client: &Client,
    timeout: Duration,
    handlings: &[DeadLetterHandlingRow],
) -> Result<(), StoreError> {
    insert(client, timeout, "dead_letter_handlings", handlings).await
}

async fn insert<R>(client: &Client, timeout: Duration, table: &'static str, rows: &[R]) -> Result<(), StoreError>
where
    R: RowOwned + RowWrite,
{
    if rows.is_empty() {
        return Ok(());
    }
    let write = async {
        let mut insert = client.insert::<R>(table).await?;
        for row in rows {
            insert.write(row).await?;
        }
        insert.end().await
    };
    bounded(timeout, &format!("inserting into {table}"), write).await
}
