//! What the log makes of brokers' errors, with librdkafka's mock cluster. It proves retries, not exactness.

use std::time::Duration;

use rdkafka::{
    mocking::MockCluster,
    producer::DefaultProducerContext,
    types::{RDKafkaApiKey, RDKafkaRespErr},
};

use crate::{
    event_log::{EventLog as _, EventLogError, KafkaLog, Topic, conformance::record},
    settings::EventLogSettings,
};

async fn connect(brokers: String) -> (KafkaLog, prometheus::Registry) {
    let settings = EventLogSettings {
        brokers: vec![brokers],
        max_record_bytes: 100_000,
        delivery_timeout_ms: 2_000,
        // The mock cluster has no "broker's default".
        replication_factor: 1,
        ..EventLogSettings::default()
    };
    let registry = prometheus::Registry::new();
    let log = KafkaLog::connect(&settings, &registry).expect("connects");
    // The first connection may take longer than an append may.
    drop(log.watermarks(Topic::Webhooks).await);
    (log, registry)
}

fn cluster() -> MockCluster<'static, DefaultProducerContext> {
    let cluster = MockCluster::new(1).expect("starts");
    for topic in Topic::ALL {
        cluster.create_topic(&format!("heliometer.{}", topic.name()), 4, 1).expect("is made");
    }
    cluster
}

/// The counters called `name`, as `label=value`.
fn counters(registry: &prometheus::Registry, name: &str) -> Vec<String> {
    let families = registry.gather();
    let family = families.iter().find(|family| family.name() == name);
    family.map_or_else(Vec::new, |family| {
        let metrics = family.get_metric().iter().filter(|metric| metric.get_counter().get_value() > 0.0);
        metrics
            .map(|metric| format!("{}={}", metric.get_label()[0].value(), metric.get_counter().get_value()))
            .collect()
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn an_append_outlasts_errors_that_pass() {
    let cluster = cluster();
    let (log, registry) = connect(cluster.bootstrap_servers()).await;
    log.append(Topic::Webhooks, record("key", "first", 1)).await.expect("appends");
    cluster.request_errors(
        RDKafkaApiKey::Produce,
        &[
            RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
            RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS,
        ],
    );
    let position = log.append(Topic::Webhooks, record("key", "second", 2)).await.expect("appends");
    assert_eq!(position.offset.0, 1);
    assert_eq!(counters(&registry, "heliometer_event_log_appended_records_total"), ["webhooks=2"]);
    log.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_is_too_large_is_refused_here_and_there() {
    let cluster = cluster();
    let (log, registry) = connect(cluster.bootstrap_servers()).await;
    let refused = log.append(Topic::Webhooks, record("key", vec![0; 100_000], 1)).await;
    let expected = "a record of 100003 bytes is over the log's limit of 100000; raise event_log.max_record_bytes";
    assert_eq!(refused.expect_err("is too large").to_string(), expected);
    cluster.request_errors(RDKafkaApiKey::Produce, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE]);
    let refused = log.append(Topic::Webhooks, record("key", "small", 1)).await;
    assert!(matches!(refused, Err(EventLogError::RecordTooLarge { size_bytes: 8, .. })), "{refused:?}");
    assert_eq!(counters(&registry, "heliometer_event_log_append_errors_total"), ["record_too_large=2"]);
    log.append(Topic::Webhooks, record("key", "after", 1)).await.expect("appends");
}

#[tokio::test(flavor = "multi_thread")]
async fn brokers_that_hang_are_an_overload_within_the_time_allowed() {
    let cluster = cluster();
    let (log, _) = connect(cluster.bootstrap_servers()).await;
    log.append(Topic::Webhooks, record("key", "first", 1)).await.expect("appends");
    cluster.broker_down(1).expect("goes down");
    let append = log.append(Topic::Webhooks, record("key", "second", 2));
    let refused = tokio::time::timeout(Duration::from_secs(5), append).await.expect("is bounded");
    assert!(matches!(refused, Err(EventLogError::Overloaded)), "{refused:?}");
    cluster.broker_up(1).expect("comes back");
    // It takes the client up to two seconds to look for it again.
    let mut attempts = 1;
    while let Err(error) = log.append(Topic::Webhooks, record("key", "third", 3)).await {
        assert!(attempts < 5, "{error:?}");
        attempts += 1;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn brokers_that_are_not_there_are_named_as_the_trouble() {
    // Port 9 is "discard": nobody listens.
    let (log, _) = connect("127.0.0.1:9".to_owned()).await;
    let error = log.watermarks(Topic::Webhooks).await.expect_err("nobody is there").to_string();
    assert!(error.contains("check that event_log.brokers can be reached"), "{error}");
    log.close().await;
    assert!(matches!(log.append(Topic::Webhooks, record("key", "", 0)).await, Err(EventLogError::Closed)));
}
