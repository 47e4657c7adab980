//! Reads one record by its position, outside of any consumer group's life.

use std::time::{Duration, Instant};

use rdkafka::{
    ClientConfig, Message as _, Offset as KafkaOffset, TopicPartitionList,
    config::FromClientConfigAndContext as _,
    consumer::{BaseConsumer, Consumer as _, ConsumerContext},
    error::KafkaError,
};

use super::{config, context::Reports, failure::failed, record};
use crate::event_log::{EventLogError, Position, Record};

/// Connecting and reading one record must be done within this.
const PATIENCE: Duration = Duration::from_secs(15);
const DOING: &str = "reading a record";

impl ConsumerContext for Reports {}

/// The record at `position`, which is within its partition's watermarks. Blocks.
pub(super) fn read(
    config: &ClientConfig,
    reports: Reports,
    topic_name: &str,
    position: Position,
) -> Result<Option<Record>, EventLogError> {
    let consumer = BaseConsumer::from_config_and_context(config, reports).map_err(config::refused)?;
    let offset = record::raw_offset(position.offset);
    let mut assignment = TopicPartitionList::new();
    assignment
        .add_partition_offset(topic_name, i32::from(position.partition.0), KafkaOffset::Offset(offset))
        .and_then(|()| consumer.assign(&assignment))
        .map_err(|error| failed(DOING, &error))?;
    let deadline = Instant::now() + PATIENCE;
    let mut last_error = None;
    while let Some(left) = deadline.checked_duration_since(Instant::now()) {
        match consumer.poll(left.min(Duration::from_millis(500))) {
            None => {}
            // Retention may have taken it since the watermarks were read; then a later one comes.
            Some(Ok(message)) if message.offset() == offset => {
                return Ok(Some(record::decode(position.topic, &message)));
            }
            Some(Ok(_) | Err(KafkaError::PartitionEOF(_))) => return Ok(None),
            Some(Err(error)) => last_error = Some(error),
        }
    }
    Err(last_error.map_or_else(
        || EventLogError::Storage { doing: DOING, message: "no broker answered in time".to_owned() },
        |error| failed(DOING, &error),
    ))
}
