//! The durable, ordered, partitioned log between the ingress and the consumer.
//!
//! A record is appended once and is durable when [`EventLog::append`] resolves. It is read any number of
//! times by a consumer group, in order within its partition, from the group's last committed offset. The log
//! does not know what a webhook means: keys, bodies and headers are bytes.
//!
//! Terms are Kafka's. An *offset* is a record's place in its partition, counted from 0 without reuse. A group's
//! *committed* offset is the next one it wants to read. The *end offset* is the next one that will be written.
//! *Lag* is end offset − committed offset.

use std::{fmt, str::FromStr};

use async_trait::async_trait;
use bytes::Bytes;

use crate::domain::UtcMillis;

mod backoff;
#[cfg(test)]
mod conformance;
mod embedded;
mod error;
mod kafka;
mod patient;
mod spool;

pub use embedded::EmbeddedLog;
pub use error::EventLogError;
pub use kafka::KafkaLog;
pub use patient::PatientLog;
pub use spool::{SPOOL_PARTITION, SpooledLog};

/// The streams of records that Heliometer keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Topic {
    /// Signed webhooks as they came, keyed by `request_id`.
    Webhooks,
    /// Enrichments that did not finish at once and are tried again later.
    FetchRetry,
    /// Messages that could not be understood, with the reason and origin in headers.
    DeadLetter,
    /// Never written: whoever of a group has its one partition leads the group.
    Control,
}

impl Topic {
    /// Every topic, in the order of their codes. New ones come last.
    pub const ALL: [Self; 4] = [Self::Webhooks, Self::FetchRetry, Self::DeadLetter, Self::Control];

    /// The topic's name in file names, labels and (after a prefix) in Kafka.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Webhooks => "webhooks",
            Self::FetchRetry => "fetch-retry",
            Self::DeadLetter => "dead-letter",
            Self::Control => "control",
        }
    }

    /// How many partitions the topic is made with where the settings say `configured`.
    #[must_use]
    pub const fn partitions(self, configured: u16) -> u16 {
        match self {
            // There is one leader.
            Self::Control => 1,
            Self::Webhooks | Self::FetchRetry | Self::DeadLetter => configured,
        }
    }
}

/// The number of a partition within its topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Partition(pub u16);

/// A record's place within its partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Offset(pub u64);

impl Offset {
    /// The offset after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// Where a record stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Position {
    /// The stream.
    pub topic: Topic,
    /// The partition within it.
    pub partition: Partition,
    /// The place within that.
    pub offset: Offset,
}

impl fmt::Display for Position {
    /// `topic/partition/offset`, as tables, headers and the command line have it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.topic.name(), self.partition.0, self.offset.0)
    }
}

/// Why a text is no [`Position`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a position is topic/partition/offset, such as webhooks/0/12")]
pub struct PositionError;

impl FromStr for Position {
    type Err = PositionError;

    fn from_str(text: &str) -> Result<Self, PositionError> {
        let mut parts = text.split('/');
        let (Some(topic), Some(partition), Some(offset), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(PositionError);
        };
        Ok(Self {
            topic: Topic::ALL.into_iter().find(|known| known.name() == topic).ok_or(PositionError)?,
            partition: Partition(partition.parse().map_err(|_| PositionError)?),
            offset: Offset(offset.parse().map_err(|_| PositionError)?),
        })
    }
}

/// A named value beside a record's body. Names are short ASCII words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// What the value is.
    pub name: String,
    /// Bytes that only the writer and the reader understand.
    pub value: Bytes,
}

/// A record to be written.
#[derive(Clone, Debug)]
pub struct NewRecord {
    /// Decides the partition: records of one key stay in order.
    pub key: Bytes,
    /// The payload, untouched.
    pub body: Bytes,
    /// When the record came to be (for webhooks: when the webhook was received).
    pub timestamp: UtcMillis,
    /// At most a handful of small values.
    pub headers: Vec<Header>,
}

/// A record as read.
#[derive(Clone, Debug)]
pub struct Record {
    /// Where it stands.
    pub position: Position,
    /// As written.
    pub key: Bytes,
    /// As written.
    pub body: Bytes,
    /// As written.
    pub timestamp: UtcMillis,
    /// As written, in order.
    pub headers: Vec<Header>,
}

impl Record {
    /// The first header called `name`.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.headers.iter().find(|header| header.name == name).map(|header| header.value.as_ref())
    }

    /// The headers with one of these names, in order.
    #[must_use]
    pub fn headers_named(&self, names: &[&str]) -> Vec<Header> {
        self.headers.iter().filter(|header| names.contains(&header.name.as_str())).cloned().collect()
    }

    /// Bytes held by this record, for memory bounds.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        self.key.len() + self.body.len() + self.headers.iter().map(|h| h.name.len() + h.value.len()).sum::<usize>()
    }
}

/// The first readable offset and the end offset of one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watermarks {
    /// Which partition.
    pub partition: Partition,
    /// The oldest offset that is still kept.
    pub start: Offset,
    /// The next offset that will be written: every smaller one was received.
    pub end: Offset,
}

/// What a subscription reports.
#[derive(Debug)]
pub enum LogEvent {
    /// These partitions are now this consumer's; reading starts at the group's committed offsets.
    Assigned(Vec<Partition>),
    /// These partitions are no longer this consumer's: forget their unfinished work.
    Revoked(Vec<Partition>),
    /// Records of one partition, in order, without gaps except where retention removed some.
    Records(Partition, Vec<Record>),
}

/// How much one [`Subscription::next`] may return.
#[derive(Clone, Copy, Debug)]
pub struct ReadLimits {
    /// Records at most.
    pub max_records: usize,
    /// Bytes of records at most; a single larger record is returned alone.
    pub max_bytes: usize,
}

/// A durable, ordered, partitioned log.
#[async_trait]
pub trait EventLog: Send + Sync + 'static {
    /// Appends a record to the partition of its key. Resolves when it is durable, never before.
    /// Dropping the future does not take the record back.
    ///
    /// # Errors
    /// [`EventLogError`] when the record is not known to be durable.
    async fn append(&self, topic: Topic, record: NewRecord) -> Result<Position, EventLogError>;

    /// Joins consumer group `group` on `topic`. The first event is [`LogEvent::Assigned`].
    ///
    /// # Errors
    /// [`EventLogError`] when the log cannot be reached or read.
    async fn subscribe(
        &self,
        topic: Topic,
        group: &str,
        limits: ReadLimits,
    ) -> Result<Box<dyn Subscription>, EventLogError>;

    /// Start and end offsets of every partition of `topic`.
    ///
    /// # Errors
    /// [`EventLogError`] when the log cannot be reached or read.
    async fn watermarks(&self, topic: Topic) -> Result<Vec<Watermarks>, EventLogError>;

    /// Reads one record by its position, `None` when retention removed it or it was never written.
    ///
    /// # Errors
    /// [`EventLogError`] when the log cannot be reached or read.
    async fn read(&self, position: Position) -> Result<Option<Record>, EventLogError>;

    /// Deletes what every group has consumed and is older than the retention. Kafka does this by itself.
    ///
    /// # Errors
    /// [`EventLogError`] when files cannot be removed; trying again later is safe.
    async fn enforce_retention(&self, now: UtcMillis) -> Result<(), EventLogError>;

    /// Finishes writes under way and closes. Appends after it fail.
    async fn close(&self);
}

/// One member of a consumer group.
#[async_trait]
pub trait Subscription: Send + Sync {
    /// Waits for the next event. Cancel-safe: a dropped call loses no record.
    ///
    /// # Errors
    /// [`EventLogError`] when the log cannot be read; calling again continues where it stood.
    async fn next(&mut self) -> Result<LogEvent, EventLogError>;

    /// Stores the group's committed offset of each partition, durably. An offset below the committed one changes nothing.
    ///
    /// # Errors
    /// [`EventLogError`] when the commit is not known to be durable; the group may then read records again.
    async fn commit(&mut self, offsets: &[(Partition, Offset)]) -> Result<(), EventLogError>;

    /// The group's committed offsets of this member's partitions.
    ///
    /// # Errors
    /// [`EventLogError`] when they cannot be read.
    async fn committed(&self) -> Result<Vec<(Partition, Offset)>, EventLogError>;

    /// Continues every partition of this member at its first record with a timestamp of `time` or later.
    ///
    /// # Errors
    /// [`EventLogError`] when the log cannot be read.
    async fn seek_to_time(&mut self, time: UtcMillis) -> Result<(), EventLogError>;
}
