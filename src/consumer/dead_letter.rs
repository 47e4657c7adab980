//! Keeps a message that cannot be understood.

use tokio_util::sync::CancellationToken;

use super::{
    ConsumerParts, backoff,
    decide::{Outcome, source_of},
};
use crate::{
    event_log::{Header, NewRecord, Record, Topic},
    payload::{PayloadError, headers},
    store::{DeadLetterRow, OutcomeRow},
};

/// Keeps the message in the topic `dead-letter` and makes its rows. While the log does not take it, this waits; giving up
/// would lose the message. `None` at shutdown.
pub(super) async fn keep(
    parts: &ConsumerParts,
    record: &Record,
    error: &PayloadError,
    shutdown: &CancellationToken,
) -> Option<(OutcomeRow, DeadLetterRow)> {
    let source = source_of(record);
    let reason = error.label();
    let header = |name: &str, value: String| Header { name: name.to_owned(), value: value.into() };
    let mut headers = record.headers_named(&headers::OF_WEBHOOK);
    headers.push(header(headers::REASON, reason.to_owned()));
    headers.push(header(headers::ORIGIN, record.position.to_string()));
    let letter = NewRecord { key: record.key.clone(), body: record.body.clone(), timestamp: record.timestamp, headers };
    let mut pause = backoff::FIRST;
    let kept = loop {
        match parts.log.append(Topic::DeadLetter, letter.clone()).await {
            Ok(position) => break position,
            Err(error) => tracing::error!(%error, "a dead letter could not be kept; trying again"),
        }
        if !backoff::wait(&mut pause, shutdown).await {
            return None;
        }
    };
    let outcome = Outcome::DeadLetter { reason };
    tracing::warn!(
        %source, reason, detail = %error, partition = record.position.partition.0, offset = record.position.offset.0,
        "a signed message could not be understood; kept as a dead letter"
    );
    parts.metrics.decided(outcome.as_str(), reason);
    let row = DeadLetterRow {
        log_partition: record.position.partition.0,
        log_offset: record.position.offset.0,
        received_at: record.timestamp.0,
        at: parts.clock.now().0,
        source: source.to_string(),
        reason: reason.to_owned(),
        detail: error.to_string(),
        body_bytes: record.body.len() as u64,
        dead_letter_partition: kept.partition.0,
        dead_letter_offset: kept.offset.0,
    };
    Some((outcome.row(record.position, &source, record.timestamp), row))
}
