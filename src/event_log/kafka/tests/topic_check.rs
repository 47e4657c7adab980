//! What is said about topics that are not as they should be.

use super::super::topic_check::{Described, check};
use crate::{
    event_log::{EventLogError, Topic},
    settings::EventLogSettings,
};

fn settings() -> EventLogSettings {
    EventLogSettings { brokers: vec!["a:9092".to_owned(), "b:9092".to_owned()], ..EventLogSettings::default() }
}

/// As we make it, with what `changes` says instead.
fn described(changes: &[(&str, &str)]) -> Described {
    let ours = [
        ("cleanup.policy", "delete"),
        ("max.message.bytes", "68157440"),
        ("message.timestamp.type", "CreateTime"),
        ("min.insync.replicas", "2"),
        ("retention.bytes", "-1"),
        ("retention.ms", "2592000000"),
    ];
    let config = ours.iter().chain(changes).map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Described { partitions: 4, replicas: 3, config }
}

#[test]
fn each_fault_is_named_with_what_to_do() {
    let cases: [(&str, Topic, Described, &[&str]); 14] = [
        ("as made", Topic::Webhooks, described(&[]), &[]),
        ("not told", Topic::Webhooks, Described { partitions: 4, replicas: 3, ..Described::default() }, &[]),
        (
            "few partitions",
            Topic::Webhooks,
            Described { partitions: 3, ..described(&[]) },
            &["fewer than event_log.part"],
        ),
        ("more partitions", Topic::Webhooks, Described { partitions: 9, ..described(&[]) }, &[]),
        ("small", Topic::FetchRetry, described(&[("max.message.bytes", "1048588")]), &["raise it to 68157440"]),
        ("kept for ever", Topic::Webhooks, described(&[("retention.ms", "-1")]), &[]),
        ("kept a day", Topic::Webhooks, described(&[("retention.ms", "86400000")]), &["raise it to 259200000"]),
        // The webhooks' 72 hours are too short for these.
        ("letters", Topic::DeadLetter, described(&[("retention.ms", "259200000")]), &["raise it to 2592000000"]),
        ("by size", Topic::Webhooks, described(&[("retention.bytes", "1000")]), &["retention.bytes=1000 deletes"]),
        ("time", Topic::Webhooks, described(&[("message.timestamp.type", "LogAppendTime")]), &["set it to CreateTime"]),
        (
            "one in sync",
            Topic::Webhooks,
            described(&[("min.insync.replicas", "1")]),
            &["all its 3 replicas: set it to 2"],
        ),
        ("too many", Topic::Webhooks, described(&[("min.insync.replicas", "4")]), &["no record can be written"]),
        (
            "alone",
            Topic::Webhooks,
            Described { replicas: 1, ..described(&[("min.insync.replicas", "1")]) },
            &["it has one replica"],
        ),
        (
            "two faults",
            Topic::Webhooks,
            described(&[("retention.ms", "1"), ("max.message.bytes", "1")]),
            &["max.message.bytes=1 refuses", "retention.ms=1 records are gone"],
        ),
    ];
    for (name, topic, found, expected) in cases {
        let warnings = check(&settings(), topic, &found).expect(name);
        assert_eq!(warnings.len(), expected.len(), "{name}: {warnings:?}");
        for (warning, expected) in warnings.iter().zip(expected) {
            assert!(warning.contains(expected), "{name}: {warning}");
        }
    }
}

#[test]
fn one_broker_for_development_is_not_scolded() {
    let one = EventLogSettings { brokers: vec!["a:9092".to_owned()], ..settings() };
    let found = Described { replicas: 1, ..described(&[("min.insync.replicas", "1")]) };
    assert_eq!(check(&one, Topic::Webhooks, &found).expect("can be used"), Vec::<String>::new());
}

#[test]
fn a_compacted_topic_is_not_used() {
    for policy in ["compact", "compact,delete", "delete, compact"] {
        let found = described(&[("cleanup.policy", policy)]);
        for topic in [Topic::Webhooks, Topic::FetchRetry, Topic::DeadLetter] {
            let error = check(&settings(), topic, &found).expect_err(policy);
            assert!(matches!(error, EventLogError::Settings { .. }), "{error:?}");
            let message = error.to_string();
            assert!(message.contains(&format!("topic heliometer.{}", topic.name())), "{message}");
            assert!(message.contains("--add-config cleanup.policy=delete"), "{message}");
        }
        assert!(check(&settings(), Topic::Control, &found).expect("is never written").is_empty());
    }
}
