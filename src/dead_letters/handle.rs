//! Replaying and dropping, inside `serve`.

use std::{sync::Arc, time::Duration};

use clickhouse::Client;
use tokio::sync::Mutex;

use super::{Action, Handled, HandlingRequest};
use crate::{
    domain::Clock,
    event_log::{EventLog, EventLogError, Header, NewRecord, Offset, Partition, Position, Record, Topic, Watermarks},
    payload::{Payload, headers},
    store::{DeadLetterHandlingRow, PendingDeadLetter, StoreError, pending_dead_letters, write_handlings},
};

/// Dead letters looked at in one query, and marked in one insert.
const PAGE: usize = 500;

/// Why dead letters could not be handled. What was handled before stays so; asking again goes on.
#[derive(Debug, thiserror::Error)]
pub enum DeadLettersError {
    /// The log.
    #[error(transparent)]
    EventLog(#[from] EventLogError),
    /// ClickHouse.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Takes dead letters up again.
pub struct DeadLetters {
    log: Arc<dyn EventLog>,
    client: Client,
    timeout: Duration,
    clock: Arc<dyn Clock>,
    /// Two at once could both replay a message that neither has marked yet.
    one_at_a_time: Mutex<()>,
}

impl std::fmt::Debug for DeadLetters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DeadLetters").finish_non_exhaustive()
    }
}

impl DeadLetters {
    /// `timeout` bounds each statement, not the whole.
    #[must_use]
    pub fn new(log: Arc<dyn EventLog>, client: Client, timeout: Duration, clock: Arc<dyn Clock>) -> Self {
        Self { log, client, timeout, clock, one_at_a_time: Mutex::new(()) }
    }

    /// Replays or drops what `request` selects.
    ///
    /// A message is appended first and marked afterwards. A crash between the two leaves it pending, and replaying it
    /// again is harmless: what can be read is recognised as a duplicate. The other order could lose it.
    ///
    /// # Errors
    /// [`DeadLettersError`] when the log or ClickHouse fails; what was handled until then is marked if that is possible.
    pub async fn handle(&self, action: Action, request: &HandlingRequest) -> Result<Handled, DeadLettersError> {
        let _one = self.one_at_a_time.lock().await;
        let mut done = Handled::default();
        // The ends as they are now: what is replayed and becomes a dead letter again lies behind them, or this would
        // never end.
        for Watermarks { partition, end, .. } in self.log.watermarks(Topic::Webhooks).await? {
            let mut from = Offset(0);
            loop {
                let letters = pending_dead_letters(&self.client, self.timeout, partition, from, end, PAGE).await?;
                let Some(last) = letters.last() else { break };
                from = Offset(last.log_offset).next();
                let selected: Vec<_> = letters.into_iter().filter(|letter| request.selector.matches(letter)).collect();
                done.matched += selected.len() as u64;
                if !request.dry_run {
                    self.handle_page(action, &selected, &mut done).await?;
                }
            }
        }
        tracing::info!(action = action.state(), dry_run = request.dry_run, ?done, "dead letters handled");
        Ok(done)
    }

    async fn handle_page(
        &self,
        action: Action,
        letters: &[PendingDeadLetter],
        done: &mut Handled,
    ) -> Result<(), DeadLettersError> {
        let mut rows = Vec::new();
        let mut failure = None;
        for letter in letters {
            let replayed_as = match action {
                Action::Drop => String::new(),
                Action::Replay => match self.replay(letter).await {
                    Ok(Some(position)) => position.to_string(),
                    Ok(None) => {
                        done.no_longer_kept += 1;
                        continue;
                    }
                    Err(error) => {
                        failure = Some(error);
                        break;
                    }
                },
            };
            rows.push(DeadLetterHandlingRow {
                log_partition: letter.log_partition,
                log_offset: letter.log_offset,
                state: action.state().to_owned(),
                replayed_as,
                at: self.clock.now().0,
            });
        }
        // Also after a failure: what was replayed before it must not be replayed again.
        write_handlings(&self.client, self.timeout, &rows).await?;
        done.handled += rows.len() as u64;
        failure.map_or(Ok(()), |error| Err(error.into()))
    }

    /// `None` when the log no longer keeps the message.
    async fn replay(&self, letter: &PendingDeadLetter) -> Result<Option<Position>, EventLogError> {
        let kept = Position {
            topic: Topic::DeadLetter,
            partition: Partition(letter.dead_letter_partition),
            offset: Offset(letter.dead_letter_offset),
        };
        let Some(record) = self.log.read(kept).await? else { return Ok(None) };
        self.log.append(Topic::Webhooks, again(record)).await.map(Some)
    }
}

/// The message as the ingress wrote it: the same body, source, and time of receipt.
fn again(record: Record) -> NewRecord {
    let mut headers = record.headers_named(&headers::OF_WEBHOOK);
    headers.push(Header { name: headers::REPLAYED_FROM.to_owned(), value: record.position.to_string().into() });
    // The ingress could read no request_id, so the key is empty. If this version can, the message belongs to the
    // partition that knows its duplicates.
    let key = match Payload::parse(&record.body) {
        Ok(payload) if record.key.is_empty() => payload.request_id.into_string().into(),
        _ => record.key,
    };
    NewRecord { key, body: record.body, timestamp: record.timestamp, headers }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use prometheus::Registry;

    use super::*;
    use crate::{domain::UtcMillis, event_log::EmbeddedLog, settings::EventLogSettings};

    fn kept(key: &'static str, body: &'static str) -> Record {
        let header = |name: &str, value: &'static str| Header { name: name.to_owned(), value: Bytes::from(value) };
        Record {
            position: Position { topic: Topic::DeadLetter, partition: Partition(2), offset: Offset(5) },
            key: Bytes::from(key),
            body: Bytes::from(body),
            timestamp: UtcMillis(1_700_000_000_123),
            headers: vec![header("source", "team-a"), header("reason", "bad_json"), header("origin", "webhooks/0/9")],
        }
    }

    #[test]
    fn a_replayed_message_is_the_original_and_says_where_it_was() {
        let record = again(kept("", "not JSON"));
        assert_eq!((record.key.as_ref(), record.body.as_ref()), (&b""[..], &b"not JSON"[..]));
        assert_eq!(record.timestamp, UtcMillis(1_700_000_000_123));
        let headers: Vec<_> =
            record.headers.iter().map(|header| (header.name.as_str(), header.value.as_ref())).collect();
        assert_eq!(headers, [("source", &b"team-a"[..]), ("replayed-from", b"dead-letter/2/5")]);
    }

    #[test]
    fn what_can_be_read_now_goes_where_its_duplicates_are() {
        assert_eq!(again(kept("", r#"{"request_id":"a"}"#)).key.as_ref(), b"a");
        assert_eq!(again(kept("b", r#"{"request_id":"a"}"#)).key.as_ref(), b"b");
    }
    #[tokio::test]
    async fn a_kept_message_is_appended_again_and_a_lost_one_is_not() {
        let directory = tempfile::TempDir::new().expect("temporary directory");
        let log = EmbeddedLog::open(directory.path(), &EventLogSettings::default(), &Registry::new()).expect("a log");
        let log: Arc<dyn EventLog> = Arc::new(log);
        let Record { key, body, timestamp, headers, .. } = kept("", r#"{"request_id":"a"}"#);
        let kept = NewRecord { key, body, timestamp, headers };
        let place = log.append(Topic::DeadLetter, kept).await.expect("kept");
        let mut letter = PendingDeadLetter {
            log_partition: 0,
            log_offset: 9,
            source: "team-a".to_owned(),
            reason: "bad_json".to_owned(),
            dead_letter_partition: place.partition.0,
            dead_letter_offset: place.offset.0,
        };
        let (timeout, clock) = (Duration::from_secs(1), Arc::new(crate::domain::SystemClock));
        let letters = DeadLetters::new(log.clone(), Client::default(), timeout, clock);
        let appended = letters.replay(&letter).await.expect("replayed").expect("still kept");
        assert_eq!(appended.topic, Topic::Webhooks);
        let record = log.read(appended).await.expect("readable").expect("there");
        assert_eq!((record.key.as_ref(), record.timestamp), (&b"a"[..], UtcMillis(1_700_000_000_123)));
        assert!(record.header(headers::REPLAYED_FROM).is_some());

        letter.dead_letter_offset += 1;
        assert_eq!(letters.replay(&letter).await.expect("no error"), None);
        log.close().await;
    }
}
