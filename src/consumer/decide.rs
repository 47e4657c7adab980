//! What each message is: to be stored, a duplicate, a test, or a dead letter. Exactly one of these.

use crate::{
    domain::{DedupeKey, SampleRate, SourceName, UtcMillis},
    event_log::{Position, Record},
    payload::{Payload, PayloadError, headers},
    store::{FirstSeen, OutcomeRow, RecentIds, RequestRow},
};

use super::Draft;

/// The outcome of a message, once it is in ClickHouse; the values of `outcomes.outcome`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Stored,
    Duplicate,
    Test,
    DeadLetter { reason: &'static str },
}

impl Outcome {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Stored => "stored",
            Self::Duplicate => "duplicate",
            Self::Test => "test",
            Self::DeadLetter { .. } => "dead_letter",
        }
    }

    /// The row of `outcome_rows` for a message that became `row`.
    pub(super) fn row_of(self, row: &RequestRow) -> OutcomeRow {
        OutcomeRow {
            log_partition: row.log_partition,
            log_offset: row.log_offset,
            outcome: self.as_str().to_owned(),
            reason: String::new(),
            source: row.source.clone(),
            received_at: row.received_at,
            version: 1,
        }
    }

    /// The row of `outcome_rows` that says so.
    pub(super) fn row(self, position: Position, source: &SourceName, received_at: UtcMillis) -> OutcomeRow {
        OutcomeRow {
            log_partition: position.partition.0,
            log_offset: position.offset.0,
            outcome: self.as_str().to_owned(),
            reason: if let Self::DeadLetter { reason } = self { reason } else { "" }.to_owned(),
            source: source.to_string(),
            received_at: received_at.0,
            version: 1,
        }
    }
}

/// A message as understood.
#[derive(Debug)]
pub(super) enum Decoded {
    Call(Box<Draft>),
    Unreadable(PayloadError),
}

/// The source that the ingress verified. A record without one was not written by an ingress of this version.
pub(super) fn source_of(record: &Record) -> SourceName {
    record
        .header(headers::SOURCE)
        .and_then(|name| std::str::from_utf8(name).ok())
        .and_then(|name| SourceName::new(name).ok())
        .unwrap_or_default()
}

/// How much of its traffic the source sent at receipt.
fn sample_rate_of(record: &Record) -> SampleRate {
    record
        .header(headers::SAMPLE_RATE_PERCENT)
        .and_then(|percent| std::str::from_utf8(percent).ok()?.parse().ok())
        .unwrap_or_default()
}

/// Reads a record.
pub(super) fn decode(record: &Record) -> Decoded {
    match Payload::parse(&record.body) {
        Ok(payload) => {
            let (source, rate) = (source_of(record), sample_rate_of(record));
            Decoded::Call(Box::new(Draft::new(record.position, source, record.timestamp, rate, payload)))
        }
        Err(error) => Decoded::Unreadable(error),
    }
}

/// Whether a call is counted by this message, and remembers it if so.
pub(super) fn decide(draft: &Draft, ids: &mut RecentIds) -> Outcome {
    let (position, received_at) = (draft.position(), draft.received_at());
    let here = FirstSeen { partition: position.partition, offset: position.offset, received_at };
    let key = DedupeKey::new(draft.source(), draft.request_id());
    match ids.get(key) {
        // The same position again is a redelivery: it ends as it did before.
        Some(first) if first != here => Outcome::Duplicate,
        _ => {
            ids.insert(key, here);
            if draft.is_test() { Outcome::Test } else { Outcome::Stored }
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::event_log::{Offset, Partition, Topic};

    fn draft(offset: u64, body: &'static str) -> Draft {
        let record = Record {
            position: Position { topic: Topic::Webhooks, partition: Partition(0), offset: Offset(offset) },
            key: Bytes::new(),
            body: Bytes::from_static(body.as_bytes()),
            timestamp: UtcMillis(0),
            headers: Vec::new(),
        };
        match decode(&record) {
            Decoded::Call(draft) => *draft,
            Decoded::Unreadable(error) => panic!("{error}"),
        }
    }

    #[test]
    fn a_redelivery_is_no_duplicate() {
        let mut ids = RecentIds::empty(10);
        let (first, again) = (draft(3, r#"{"request_id":"a"}"#), draft(9, r#"{"request_id":"a"}"#));
        assert_eq!(decide(&first, &mut ids), Outcome::Stored);
        assert_eq!(decide(&again, &mut ids), Outcome::Duplicate);
        assert_eq!(decide(&first, &mut ids), Outcome::Stored);
        assert_eq!(decide(&again, &mut ids), Outcome::Duplicate);
    }

    #[test]
    fn the_test_button_is_a_test() {
        let body = r#"{"request_id":"t","request_response_url":"https://s3/x?X-Amz-Credential=MOCKAWSCREDENTIAL%2F1"}"#;
        assert_eq!(decide(&draft(0, body), &mut RecentIds::empty(10)), Outcome::Test);
    }
}
