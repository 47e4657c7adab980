//! Whether a topic that is there is fit for what it is to hold.

use std::collections::BTreeMap;

use super::config;
use crate::{
    event_log::{EventLogError, Topic},
    settings::EventLogSettings,
};

/// What brokers say about one topic.
#[derive(Debug, Default)]
pub(super) struct Described {
    pub(super) partitions: usize,
    /// Of the partition that has the fewest.
    pub(super) replicas: usize,
    /// By Kafka's names; empty when this user may not read it.
    pub(super) config: BTreeMap<String, String>,
}

impl Described {
    fn text(&self, name: &str) -> &str {
        self.config.get(name).map_or("", String::as_str)
    }

    fn number(&self, name: &str) -> Option<i64> {
        self.text(name).parse().ok()
    }

    /// The largest batch that the topic takes, when that is known.
    pub(super) fn max_message_bytes(&self) -> Option<usize> {
        self.number("max.message.bytes").and_then(|bytes| usize::try_from(bytes).ok())
    }
}

/// What is wrong with the topic, and what to do. Nothing is said about what the brokers do not tell.
///
/// # Errors
/// When the topic would lose records: then it must not be used.
pub(super) fn check(
    settings: &EventLogSettings,
    topic: Topic,
    found: &Described,
) -> Result<Vec<String>, EventLogError> {
    // Nothing is ever written to it.
    if topic == Topic::Control {
        return Ok(Vec::new());
    }
    // Also beside "delete".
    if found.text("cleanup.policy").split(',').any(|policy| policy.trim() == "compact") {
        let name = config::topic_name(settings, topic);
        let message = format!(
            "topic {name} has cleanup.policy={}, with which Kafka deletes a record when a later one has its key: run \
             kafka-configs --alter --topic {name} --add-config cleanup.policy=delete, or set another prefix",
            found.text("cleanup.policy")
        );
        return Err(EventLogError::Settings { key: "topic_prefix".to_owned(), message });
    }
    let mut warnings = Vec::new();
    sizes(settings, topic, found, &mut warnings);
    retention(settings, topic, found, &mut warnings);
    durability(settings, found, &mut warnings);
    if found.text("message.timestamp.type") == "LogAppendTime" {
        let message = "message.timestamp.type=LogAppendTime replaces the time of receipt, so that a webhook from the \
                       spool or a replay counts when it was written: set it to CreateTime";
        warnings.push(message.to_owned());
    }
    Ok(warnings)
}

fn sizes(settings: &EventLogSettings, topic: Topic, found: &Described, warnings: &mut Vec<String>) {
    let wanted = topic.partitions(settings.partitions);
    if found.partitions < usize::from(wanted) {
        warnings.push(format!(
            "it has {} partitions, fewer than event_log.partitions ({wanted}), and is used as it is (adding \
             partitions moves keys, so drain it first)",
            found.partitions
        ));
    }
    let wanted = config::max_message_bytes(settings);
    if let Some(bytes) = found.max_message_bytes().filter(|bytes| *bytes < wanted) {
        warnings.push(format!(
            "max.message.bytes={bytes} refuses records that event_log.max_record_bytes allows: raise it to {wanted}"
        ));
    }
}

fn retention(settings: &EventLogSettings, topic: Topic, found: &Described, warnings: &mut Vec<String>) {
    let wanted = config::retention_ms(settings, topic);
    // -1 keeps everything.
    let kept_ms = found.number("retention.ms").and_then(|ms| u64::try_from(ms).ok());
    if let Some(kept_ms) = kept_ms.filter(|kept_ms| *kept_ms < wanted) {
        let what = if topic == Topic::DeadLetter {
            "dead letters are gone before anybody has looked"
        } else {
            "records are gone, read or not, earlier than event_log.retention_hours says"
        };
        warnings.push(format!("with retention.ms={kept_ms} {what}: raise it to {wanted}"));
    }
    if let Some(bytes) = found.number("retention.bytes").filter(|bytes| *bytes >= 0) {
        warnings.push(format!(
            "retention.bytes={bytes} deletes records by size, read or not: set it to -1, or make sure that a \
             partition's records of an outage fit"
        ));
    }
}

fn durability(settings: &EventLogSettings, found: &Described, warnings: &mut Vec<String>) {
    let Some(in_sync) = found.number("min.insync.replicas").and_then(|count| usize::try_from(count).ok()) else {
        return;
    };
    let replicas = found.replicas;
    if in_sync > replicas {
        warnings.push(format!(
            "min.insync.replicas={in_sync} is more than its {replicas} replicas, so no record can be written: \
             lower it, or add replicas"
        ));
    } else if replicas > 1 && in_sync < 2 {
        warnings.push(format!(
            "with min.insync.replicas={in_sync} a record counts as durable on one broker alone, for all its \
             {replicas} replicas: set it to 2"
        ));
    } else if replicas == 1 && settings.brokers.len() > 1 {
        let message = "it has one replica, so the loss of one broker's disk loses webhooks that were acknowledged: add \
                       replicas, and set min.insync.replicas to 2";
        warnings.push(message.to_owned());
    }
}
