//! A fetch that is put off, and its record in the topic `fetch-retry`.

use std::{str::FromStr, time::Duration};

use bytes::Bytes;

use crate::{
    consumer::{ConsumerParts, backoff},
    crash_point::crash_point,
    domain::UtcMillis,
    event_log::{Header, NewRecord, Record, Topic},
    fetch::{FetchStatus, Wanted},
    payload::headers,
};

/// A webhook whose stored object is still to come.
#[derive(Clone, Debug)]
pub(in crate::consumer) struct Deferral {
    /// The webhook as it stands in the topic `webhooks`: body, source and time of receipt. Its position is the row's.
    pub(super) webhook: Record,
    /// Not to be asked for before this.
    pub(super) not_before: UtcMillis,
    /// How often it was put off.
    deferrals: u32,
}

impl Deferral {
    /// A webhook whose object could not be had at once.
    pub(in crate::consumer) fn new(webhook: &Record) -> Self {
        Self { webhook: webhook.clone(), not_before: webhook.timestamp, deferrals: 0 }
    }

    /// Reads a record of the topic. `None` when it is not one of ours.
    pub(super) fn read(record: &Record) -> Option<Self> {
        let webhook = Record {
            position: number(record, headers::ORIGIN)?,
            headers: record.headers_named(&headers::OF_WEBHOOK),
            ..record.clone()
        };
        Some(Self {
            webhook,
            not_before: UtcMillis(number(record, headers::NOT_BEFORE)?),
            deferrals: number(record, headers::DEFERRALS)?,
        })
    }

    fn write(&self) -> NewRecord {
        let header = |name: &str, value: String| Header { name: name.to_owned(), value: value.into() };
        let mut all = self.webhook.headers_named(&headers::OF_WEBHOOK);
        all.push(header(headers::ORIGIN, self.webhook.position.to_string()));
        all.push(header(headers::NOT_BEFORE, self.not_before.0.to_string()));
        all.push(header(headers::DEFERRALS, self.deferrals.to_string()));
        NewRecord {
            key: self.webhook.key.clone(),
            body: Bytes::clone(&self.webhook.body),
            timestamp: self.webhook.timestamp,
            headers: all,
        }
    }
}

fn number<T: FromStr>(record: &Record, name: &str) -> Option<T> {
    std::str::from_utf8(record.header(name)?).ok()?.parse().ok()
}

/// Puts the fetch off, durably, and says how the row stands then: [`FetchStatus::Pending`], or [`FetchStatus::Failed`] when
/// the URL's life is over before the next attempt. While the log does not take the record, this waits.
pub(in crate::consumer) async fn defer(
    parts: &ConsumerParts,
    wanted: Wanted<'_>,
    mut deferral: Deferral,
    retry_after: Option<Duration>,
) -> FetchStatus {
    let Some(not_before) = parts.fetcher.not_before(wanted, deferral.deferrals, retry_after) else {
        return FetchStatus::Failed;
    };
    deferral.not_before = not_before;
    deferral.deferrals = deferral.deferrals.saturating_add(1);
    let record = deferral.write();
    let mut pause = backoff::FIRST;
    while let Err(error) = parts.log.append(Topic::FetchRetry, record.clone()).await {
        tracing::warn!(%error, "a fetch could not be put off; trying again");
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(backoff::LONGEST);
    }
    crash_point!(FetchDeferred);
    FetchStatus::Pending
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event_log::{Offset, Partition, Position};

    #[test]
    fn comes_back_as_it_was_put_off() {
        let header = |name: &str, value: &'static str| Header { name: name.to_owned(), value: value.into() };
        let webhook = Record {
            position: Position { topic: Topic::Webhooks, partition: Partition(3), offset: Offset(42) },
            key: Bytes::from_static(b"id"),
            body: Bytes::from_static(b"{}"),
            timestamp: UtcMillis(7),
            headers: vec![
                header(headers::SOURCE, "team-a"),
                header(headers::SECRET, "0"),
                header(headers::SAMPLE_RATE_PERCENT, "12.5"),
            ],
        };
        let deferral = Deferral { not_before: UtcMillis(99), deferrals: 5, ..Deferral::new(&webhook) };
        let NewRecord { key, body, timestamp, headers } = deferral.write();
        let position = Position { topic: Topic::FetchRetry, partition: Partition(0), offset: Offset(0) };
        let record = Record { position, key, body, timestamp, headers };
        let read = Deferral::read(&record).expect("is one");
        assert_eq!((read.not_before, read.deferrals), (UtcMillis(99), 5));
        assert_eq!(read.webhook.position, webhook.position);
        assert_eq!(
            (read.webhook.key, read.webhook.body, read.webhook.timestamp),
            (webhook.key, webhook.body, timestamp)
        );
        let kept = [header(headers::SOURCE, "team-a"), header(headers::SAMPLE_RATE_PERCENT, "12.5")];
        assert_eq!(read.webhook.headers, kept);
        assert!(Deferral::read(&Record { headers: Vec::new(), ..record }).is_none(), "has no origin");
    }
}
