//! Settings in librdkafka's words.

use std::time::Duration;

use rdkafka::{ClientConfig, config::RDKafkaLogLevel, error::KafkaError};

use super::oauth;
use crate::{
    domain::Secret,
    event_log::{EventLogError, Topic},
    settings::{EventLogSettings, SaslMechanism},
};

/// One question to a broker must be answered within this.
pub(super) const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// What a batch, its headers and its framing may add to a record.
const RECORD_OVERHEAD_BYTES: usize = 1024 * 1024;
/// librdkafka's own bound on `message.max.bytes`.
const MAX_MESSAGE_BYTES: usize = 1_000_000_000;
/// Bytes that wait for the brokers, unless a single record may be larger.
const MIN_QUEUE_BYTES: usize = 64 * 1024 * 1024;
/// Records that wait for the brokers.
const QUEUE_RECORDS: usize = 100_000;
/// Bytes read ahead by one consumer, shared by the topic's partitions.
const READ_AHEAD_BYTES: usize = 64 * 1024 * 1024;
/// Dead letters wait for a person, who has other things to do.
const DEAD_LETTER_RETENTION_MS: u64 = 30 * 24 * 60 * 60 * 1000;

/// Exactness rests on these, so `event_log.properties` may not set them.
const RESERVED: [&str; 24] = [
    "acks",
    "auto.offset.reset",
    "bootstrap.servers",
    "delivery.timeout.ms",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "enable.gapless.guarantee",
    "enable.idempotence",
    "enable.partition.eof",
    "group.id",
    "group.instance.id",
    "group.protocol",
    "isolation.level",
    "message.max.bytes",
    "message.timeout.ms",
    "metadata.broker.list",
    "partition.assignment.strategy",
    "partitioner",
    "request.required.acks",
    "sasl.mechanism",
    "sasl.mechanisms",
    "sasl.password",
    "sasl.username",
    "security.protocol",
];

/// The topic's name at the brokers.
pub(super) fn topic_name(settings: &EventLogSettings, topic: Topic) -> String {
    format!("{}{}", settings.topic_prefix, topic.name())
}

/// The group's name at the brokers.
pub(super) fn group_name(settings: &EventLogSettings, group: &str) -> String {
    format!("{}{group}", settings.topic_prefix)
}

/// The largest batch that brokers must take, in bytes.
pub(super) const fn max_message_bytes(settings: &EventLogSettings) -> usize {
    settings.max_record_bytes.saturating_add(RECORD_OVERHEAD_BYTES)
}

/// How long the topic's records are kept, in milliseconds.
pub(super) const fn retention_ms(settings: &EventLogSettings, topic: Topic) -> u64 {
    match topic {
        Topic::DeadLetter => DEAD_LETTER_RETENTION_MS,
        Topic::Webhooks | Topic::FetchRetry | Topic::Control => settings.retention_hours.saturating_mul(60 * 60 * 1000),
    }
}

/// For clients that manage topics.
pub(super) fn admin(settings: &EventLogSettings) -> Result<ClientConfig, EventLogError> {
    overridden(common(settings)?, settings)
}

fn common(settings: &EventLogSettings) -> Result<ClientConfig, EventLogError> {
    check(settings)?;
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", settings.brokers.join(","))
        .set("client.id", "heliometer")
        .set("security.protocol", settings.security_protocol.as_str())
        .set("socket.keepalive.enable", "true")
        // A broker that closes an idle connection is no news.
        .set("log.connection.close", "false")
        // Brokers that come back are found again within seconds.
        .set("reconnect.backoff.max.ms", "2000")
        .set("socket.connection.setup.timeout.ms", "5000")
        // Partitions that are added get their readers within seconds, and all senders agree on them: else in five minutes.
        .set("topic.metadata.refresh.interval.ms", "10000")
        .set("message.max.bytes", max_message_bytes(settings).to_string())
        .set_log_level(RDKafkaLogLevel::Info);
    let optional = [
        ("sasl.mechanisms", settings.sasl_mechanism.map(SaslMechanism::as_str)),
        ("sasl.username", settings.sasl_username.as_deref()),
        ("sasl.password", settings.sasl_password.as_ref().map(Secret::expose)),
        ("ssl.ca.location", settings.ssl_ca_file.as_ref().and_then(|path| path.to_str())),
    ];
    for (name, value) in optional {
        if let Some(value) = value {
            config.set(name, value);
        }
    }
    Ok(config)
}

/// For the producer.
pub(super) fn producer(settings: &EventLogSettings) -> Result<ClientConfig, EventLogError> {
    let queue_bytes = MIN_QUEUE_BYTES.max(2 * max_message_bytes(settings));
    let mut config = common(settings)?;
    config
        .set("acks", "all")
        .set("enable.idempotence", "true")
        // CRC-32 of the key modulo the number of partitions, as in the embedded log.
        .set("partitioner", "consistent")
        // Measured by `benches/kafka_compression`: at most a tenth more processor time here than with lz4, and
        // a quarter to two thirds fewer bytes for disk, network and brokers' memory (docs/dependencies.md).
        .set("compression.type", "zstd")
        // Records that come at the same time share a request.
        .set("linger.ms", "5")
        .set("delivery.timeout.ms", settings.delivery_timeout_ms.to_string())
        .set("request.timeout.ms", settings.delivery_timeout_ms.min(5_000).to_string())
        .set("queue.buffering.max.messages", QUEUE_RECORDS.to_string())
        .set("queue.buffering.max.kbytes", (queue_bytes / 1024).to_string());
    overridden(config, settings)
}

/// For a member of `group`.
pub(super) fn consumer(settings: &EventLogSettings, group: &str, topic: Topic) -> Result<ClientConfig, EventLogError> {
    let message_bytes = max_message_bytes(settings);
    let fetch_bytes = message_bytes.max(16 * 1024 * 1024);
    // Counted by partition, since each has a queue of its own.
    let read_ahead_kbytes = (READ_AHEAD_BYTES / 1024 / usize::from(settings.partitions.max(1))).max(1024);
    let mut config = common(settings)?;
    config
        .set("group.id", group_name(settings, group))
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        // A rebalance takes away only what moves.
        .set("partition.assignment.strategy", "cooperative-sticky")
        .set("isolation.level", "read_committed")
        .set("auto.offset.reset", "earliest")
        .set("queued.max.messages.kbytes", read_ahead_kbytes.to_string())
        // A full queue is looked at again soon: the default of a second would halve the throughput.
        .set("fetch.queue.backoff.ms", "50")
        // A partition that is assigned joins the broker's one fetch only when that has ended.
        .set("fetch.wait.max.ms", "200")
        .set("fetch.max.bytes", fetch_bytes.to_string())
        // An answer ends with the batch that crosses the bound.
        .set("receive.message.max.bytes", (fetch_bytes + message_bytes).min(2_147_483_647).to_string());
    if let Some(instance) = &settings.instance_id {
        config.set("group.instance.id", format!("{instance}.{}", topic.name()));
    } else {
        // Without a name to come back under, a dead member's partitions should move soon.
        config.set("session.timeout.ms", "10000").set("heartbeat.interval.ms", "2000");
    }
    overridden(config, settings)
}

/// For reading single records, outside of any group's life.
pub(super) fn reader(settings: &EventLogSettings) -> Result<ClientConfig, EventLogError> {
    let mut config = consumer(settings, "reader", Topic::DeadLetter)?;
    config.remove("group.instance.id").set("auto.offset.reset", "error").set("enable.partition.eof", "true");
    Ok(config)
}

/// Puts the user's own properties over ours.
fn overridden(mut config: ClientConfig, settings: &EventLogSettings) -> Result<ClientConfig, EventLogError> {
    for (name, value) in &settings.properties {
        config.set(name, value.expose());
    }
    config.create_native_config().map_err(refused)?;
    Ok(config)
}

fn check(settings: &EventLogSettings) -> Result<(), EventLogError> {
    let wrong =
        |key: &str, message: &str| Err(EventLogError::Settings { key: key.to_owned(), message: message.into() });
    if settings.brokers.iter().any(|broker| broker.is_empty() || broker.contains(['/', ',', ' '])) {
        return wrong("brokers", "must be a list of \"host:port\", such as [\"kafka-1:9092\", \"kafka-2:9092\"]");
    }
    if max_message_bytes(settings) > MAX_MESSAGE_BYTES {
        return wrong("max_record_bytes", "must be below 998000000 with Kafka");
    }
    if !(1_000..=900_000).contains(&settings.delivery_timeout_ms) {
        return wrong("delivery_timeout_ms", "must be between 1000 and 900000");
    }
    if settings.partitions == 0 {
        return wrong("partitions", "must be at least 1");
    }
    let is_name = |c: char| c.is_ascii_alphanumeric() || ['.', '_', '-'].contains(&c);
    if settings.topic_prefix.len() > 200 || !settings.topic_prefix.chars().all(is_name) {
        return wrong("topic_prefix", "must be at most 200 of a-z, A-Z, 0-9, '.', '_' and '-'");
    }
    if settings.ssl_ca_file.as_ref().is_some_and(|path| !path.is_file()) {
        return wrong("ssl_ca_file", "is not there: name a readable file in PEM");
    }
    if let Err((key, message)) = oauth::check(settings) {
        return wrong(key, message);
    }
    let has_credentials =
        settings.sasl_mechanism.is_some() || settings.sasl_username.is_some() || settings.sasl_password.is_some();
    if has_credentials && !settings.security_protocol.has_sasl() {
        return wrong("security_protocol", "must be \"sasl_ssl\" (or \"sasl_plaintext\") for SASL settings to be used");
    }
    if settings.security_protocol.has_sasl() {
        match settings.sasl_mechanism {
            None => {
                let message = "is needed: \"PLAIN\", \"SCRAM-SHA-256\", \"SCRAM-SHA-512\" or \"OAUTHBEARER\"";
                return wrong("sasl_mechanism", message);
            }
            Some(SaslMechanism::OauthBearer) => {}
            Some(_) if settings.sasl_username.is_none() => return wrong("sasl_username", "is needed"),
            Some(_) if settings.sasl_password.is_none() => {
                return wrong("sasl_password", "is needed, for example \"env:KAFKA_PASSWORD\"");
            }
            Some(_) => {}
        }
    }
    if let Some(name) = settings.properties.keys().find(|name| name.contains("sasl.oauthbearer")) {
        let message = "may not be set: tokens come by event_log.oauth_token_url and the settings beside it";
        return wrong(&format!("properties.\"{name}\""), message);
    }
    match settings.properties.keys().find(|name| RESERVED.contains(&name.as_str())) {
        Some(name) => wrong(
            &format!("properties.\"{name}\""),
            "may not be set: it has a setting of its own in event_log, or no record being lost depends on it",
        ),
        None => Ok(()),
    }
}

/// What librdkafka does not accept, without the value: that may be a secret.
pub(super) fn refused(error: KafkaError) -> EventLogError {
    match error {
        KafkaError::ClientConfig(_, description, name, value) => EventLogError::Settings {
            message: format!(
                "is refused: {}",
                if value.is_empty() { description } else { description.replace(&value, "…") }
            ),
            key: format!("properties.\"{name}\""),
        },
        error => EventLogError::Settings {
            key: "properties".to_owned(),
            message: format!("Kafka's client cannot be made: {error}"),
        },
    }
}
