//! Records as Kafka's messages.

use bytes::Bytes;
use rdkafka::{
    Message,
    message::{BorrowedMessage, Header as KafkaHeader, Headers as _, OwnedHeaders},
    producer::FutureRecord,
};

use crate::{
    domain::UtcMillis,
    event_log::{Header, NewRecord, Offset, Partition, Position, Record, Topic},
};

/// The record as the producer takes it.
pub(super) fn encode<'a>(topic: &'a str, record: &'a NewRecord) -> FutureRecord<'a, [u8], [u8]> {
    let headers =
        record.headers.iter().fold(OwnedHeaders::new_with_capacity(record.headers.len()), |headers, header| {
            headers.insert(KafkaHeader { key: &header.name, value: Some(header.value.as_ref()) })
        });
    FutureRecord::to(topic)
        .key(record.key.as_ref())
        .payload(record.body.as_ref())
        // librdkafka takes 0 for "now"; the first millisecond of 1970 is close enough.
        .timestamp(record.timestamp.0.max(1))
        .headers(headers)
}

/// The record as it was written.
pub(super) fn decode(topic: Topic, message: &BorrowedMessage<'_>) -> Record {
    let copy = |bytes: Option<&[u8]>| bytes.map_or_else(Bytes::new, Bytes::copy_from_slice);
    let headers = message.headers().map_or_else(Vec::new, |headers| {
        headers.iter().map(|header| Header { name: header.key.to_owned(), value: copy(header.value) }).collect()
    });
    Record {
        position: position(topic, message.partition(), message.offset()),
        key: copy(message.key()),
        body: copy(message.payload()),
        timestamp: UtcMillis(message.timestamp().to_millis().unwrap_or(0)),
        headers,
    }
}

/// Bytes of a record that is to be written, counted as [`Record::size_bytes`] does.
pub(super) fn size_bytes(record: &NewRecord) -> usize {
    let headers: usize = record.headers.iter().map(|header| header.name.len() + header.value.len()).sum();
    record.key.len() + record.body.len() + headers
}

/// A place in our own types. Neither number is negative or over its range in what brokers send.
pub(super) fn position(topic: Topic, partition: i32, offset: i64) -> Position {
    Position { topic, partition: self::partition(partition), offset: self::offset(offset) }
}

/// A partition's number. Topics with more than 65,536 partitions are refused when connecting.
pub(super) fn partition(number: i32) -> Partition {
    Partition(u16::try_from(number).unwrap_or(u16::MAX))
}

/// An offset; Kafka's negative ones stand for "none" and are handled before.
pub(super) fn offset(number: i64) -> Offset {
    Offset(u64::try_from(number).unwrap_or(0))
}

/// An offset as Kafka counts it.
pub(super) fn raw_offset(offset: Offset) -> i64 {
    i64::try_from(offset.0).unwrap_or(i64::MAX)
}
