//! Settings become librdkafka's properties, or an error that says what to do.

use std::collections::BTreeMap;

use rdkafka::ClientConfig;

use super::super::config;
use crate::{
    domain::Secret,
    event_log::{EventLogError, Topic},
    settings::{EventLogSettings, SaslMechanism, SecurityProtocol},
};

fn settings() -> EventLogSettings {
    EventLogSettings { brokers: vec!["a:9092".to_owned(), "b:9092".to_owned()], ..EventLogSettings::default() }
}

fn consumer(settings: &EventLogSettings) -> Result<ClientConfig, EventLogError> {
    config::consumer(settings, "consumer", Topic::Webhooks)
}

fn assert_has(config: &ClientConfig, expected: &[(&str, Option<&str>)]) {
    for (name, value) in expected {
        assert_eq!(config.get(name), *value, "{name}");
    }
}

#[test]
fn the_producer_is_durable_bounded_and_partitions_like_the_embedded_log() {
    let producer = config::producer(&settings()).expect("is right");
    assert_has(
        &producer,
        &[
            ("bootstrap.servers", Some("a:9092,b:9092")),
            ("acks", Some("all")),
            ("enable.idempotence", Some("true")),
            ("partitioner", Some("consistent")),
            ("compression.type", Some("zstd")),
            ("linger.ms", Some("5")),
            ("delivery.timeout.ms", Some("8000")),
            ("message.max.bytes", Some("68157440")),
            ("queue.buffering.max.kbytes", Some("133120")),
            ("queue.buffering.max.messages", Some("100000")),
            ("security.protocol", Some("plaintext")),
            ("sasl.mechanisms", None),
            ("ssl.ca.location", None),
        ],
    );
}

#[test]
fn the_consumer_commits_by_itself_alone_and_starts_at_the_beginning() {
    let expected = [
        ("group.id", Some("heliometer.consumer")),
        ("enable.auto.commit", Some("false")),
        ("partition.assignment.strategy", Some("cooperative-sticky")),
        ("isolation.level", Some("read_committed")),
        ("auto.offset.reset", Some("earliest")),
        ("queued.max.messages.kbytes", Some("16384")),
        ("group.instance.id", None),
        ("session.timeout.ms", Some("10000")),
    ];
    assert_has(&consumer(&settings()).expect("is right"), &expected);
    let named = EventLogSettings { instance_id: Some("host-1".to_owned()), ..settings() };
    let expected = [("group.instance.id", Some("host-1.webhooks")), ("session.timeout.ms", None)];
    assert_has(&consumer(&named).expect("is right"), &expected);
}

#[test]
fn users_and_certificates_are_passed_on() {
    let file = tempfile::NamedTempFile::new().expect("makes a file");
    let secured = EventLogSettings {
        security_protocol: SecurityProtocol::SaslSsl,
        sasl_mechanism: Some(SaslMechanism::ScramSha512),
        sasl_username: Some("heliometer".to_owned()),
        sasl_password: Some(Secret::new("hunter2")),
        ssl_ca_file: Some(file.path().to_owned()),
        properties: BTreeMap::from([("client.rack".to_owned(), Secret::new("eu-1a"))]),
        ..settings()
    };
    for config in [config::producer(&secured), consumer(&secured), config::admin(&secured), config::reader(&secured)] {
        assert_has(
            &config.expect("is right"),
            &[
                ("security.protocol", Some("sasl_ssl")),
                ("sasl.mechanisms", Some("SCRAM-SHA-512")),
                ("sasl.username", Some("heliometer")),
                ("sasl.password", Some("hunter2")),
                ("ssl.ca.location", file.path().to_str()),
                ("client.rack", Some("eu-1a")),
            ],
        );
    }
    assert!(!format!("{secured:?}").contains("hunter2"));
}

#[test]
fn what_cannot_be_is_refused_by_name_and_without_its_value() {
    let property = |name: &str, value: &str| EventLogSettings {
        properties: BTreeMap::from([(name.to_owned(), Secret::new(value))]),
        ..settings()
    };
    let sasl = EventLogSettings { security_protocol: SecurityProtocol::SaslSsl, ..settings() };
    let cases = [
        (property("no.such.property", "hunter2"), "event_log.properties.\"no.such.property\""),
        (property("linger.ms", "hunter2"), "event_log.properties.\"linger.ms\""),
        (property("enable.auto.commit", "true"), "event_log.properties.\"enable.auto.commit\": may not be set"),
        (property("sasl.password", "hunter2"), "event_log.properties.\"sasl.password\": may not be set"),
        (EventLogSettings { brokers: vec!["kafka://a".to_owned()], ..settings() }, "event_log.brokers"),
        (EventLogSettings { sasl_password: Some(Secret::new("hunter2")), ..settings() }, "event_log.security_protocol"),
        (sasl.clone(), "event_log.sasl_mechanism: is needed"),
        (EventLogSettings { sasl_mechanism: Some(SaslMechanism::Plain), ..sasl }, "event_log.sasl_username: is needed"),
        (EventLogSettings { topic_prefix: "a b".to_owned(), ..settings() }, "event_log.topic_prefix"),
        (EventLogSettings { max_record_bytes: 1 << 30, ..settings() }, "event_log.max_record_bytes"),
        (EventLogSettings { delivery_timeout_ms: 0, ..settings() }, "event_log.delivery_timeout_ms"),
        (EventLogSettings { ssl_ca_file: Some("no/such/file".into()), ..settings() }, "event_log.ssl_ca_file"),
    ];
    for (settings, expected) in cases {
        let error = config::producer(&settings).expect_err(expected);
        assert!(matches!(error, EventLogError::Settings { .. }), "{error:?}");
        let message = error.to_string();
        assert!(message.starts_with(expected) && !message.contains("hunter2"), "{message}");
    }
}

#[test]
fn dead_letters_outlive_the_rest() {
    assert_eq!(config::retention_ms(&settings(), Topic::Webhooks), 72 * 3_600_000);
    assert_eq!(config::retention_ms(&settings(), Topic::DeadLetter), 30 * 24 * 3_600_000);
    assert_eq!(config::topic_name(&settings(), Topic::FetchRetry), "heliometer.fetch-retry");
}

#[test]
fn the_settings_file_names_properties_by_librdkafkas_names() {
    let directory = tempfile::tempdir().expect("makes a directory");
    let path = directory.path().join("heliometer.toml");
    let file = r#"
        [event_log]
        brokers = ["kafka-1:9093", "kafka-2:9093"]
        security_protocol = "sasl_ssl"
        sasl_mechanism = "SCRAM-SHA-256"
        sasl_username = "heliometer"
        sasl_password = "hunter2"
        [event_log.properties]
        "client.rack" = "eu-1a"
    "#;
    std::fs::write(&path, file).expect("writes");
    let settings = crate::settings::load(Some(&path)).expect("loads").event_log;
    let expected = [("bootstrap.servers", Some("kafka-1:9093,kafka-2:9093")), ("client.rack", Some("eu-1a"))];
    assert_has(&config::producer(&settings).expect("is right"), &expected);
    std::fs::write(&path, file.replace("SCRAM-SHA-256", "SCRAM")).expect("writes");
    let error = crate::settings::load(Some(&path)).expect_err("no such mechanism").to_string();
    assert!(error.contains("sasl_mechanism") && error.contains("SCRAM-SHA-512"), "{error}");
}
