//! The conformance suite and what only Kafka does, against the real broker at `KAFKA_BROKERS`.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;

use crate::{
    event_log::{
        EventLog, EventLogError, KafkaLog, LogEvent, Offset, Partition, Subscription, Topic,
        conformance::{Harness, append_many, ends_of, next, record, subscribe, take},
    },
    settings::EventLogSettings,
};

/// Topics and groups of its own for each test.
struct Broker(EventLogSettings);

impl Broker {
    fn new() -> Self {
        let brokers = std::env::var("KAFKA_BROKERS").unwrap_or_default();
        assert!(
            !brokers.is_empty(),
            "these tests need a Kafka broker: run tests/kafka/broker.sh with 19092 cargo test --features test-kafka \
             --lib event_log::kafka, or set KAFKA_BROKERS"
        );
        Self(EventLogSettings {
            brokers: brokers.split(',').map(str::to_owned).collect(),
            topic_prefix: format!("test-{}.", uuid::Uuid::from_u128(rand::random())),
            partitions: 3,
            ..EventLogSettings::default()
        })
    }

    fn connect(&self) -> KafkaLog {
        KafkaLog::connect(&self.0, &prometheus::Registry::new()).expect("connects")
    }
}

#[async_trait]
impl Harness for Broker {
    async fn open(&self) -> Arc<dyn EventLog> {
        let log = self.connect();
        // Appends that wait for the brokers go on in any order once these are found; the suite counts on its own.
        log.watermarks(Topic::Webhooks).await.expect("the broker answers");
        Arc::new(log)
    }
}

crate::event_log::conformance::conformance_suite!(Broker::new());

/// Follows `subscription` until it owns `count` partitions.
async fn own(subscription: &mut dyn Subscription, owned: &mut BTreeSet<Partition>, count: usize) {
    while owned.len() != count {
        match next(subscription).await.expect("reads") {
            LogEvent::Assigned(partitions) => owned.extend(partitions),
            LogEvent::Revoked(partitions) => owned.retain(|partition| !partitions.contains(partition)),
            LogEvent::Records(partition, _) => {
                assert!(owned.contains(&partition), "records of a foreign {partition:?}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_go_where_the_embedded_log_puts_them() {
    let log = Broker::new().connect();
    for key in ["", "a", "7d4e7e2e-6d2c-4f0e-9d5f-0e9b6c1c7c55", "k\0\u{7f}"] {
        let position = log.append(Topic::Webhooks, record(key, "body", 1)).await.expect("appends");
        assert_eq!(u32::from(position.partition.0), crc32fast::hash(key.as_bytes()) % 3, "{key:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_record_comes_back_whole() {
    let log = Broker::new().connect();
    // Does not compress.
    let body: Vec<u8> = (0..20_000_000_u64).map(|n| (n.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8).collect();
    let position = log.append(Topic::Webhooks, record("large", body.clone(), 1)).await.expect("appends");
    log.append(Topic::Webhooks, record("large", "small", 1)).await.expect("appends");
    assert_eq!(log.read(position).await.expect("reads").expect("is there").body, body);
    let mut subscription = subscribe(&log, "large").await;
    let records = take(&mut *subscription, 2).await;
    assert_eq!((records[0].body.len(), &records[1].body[..]), (body.len(), &b"small"[..]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_share_the_partitions_and_take_over_what_was_not_committed() {
    let broker = Broker::new();
    let (log, other_log) = (broker.connect(), broker.connect());
    let mut first = subscribe(&log, "shared").await;
    let mut first_owns = BTreeSet::new();
    own(&mut *first, &mut first_owns, 3).await;
    append_many(&log, Topic::Webhooks, 60).await;
    let records = take(&mut *first, 60).await;
    let ends: BTreeMap<Partition, Offset> = ends_of(&records).into_iter().collect();

    let mut second = subscribe(&other_log, "shared").await;
    let mut second_owns = BTreeSet::new();
    let mut moved = Vec::new();
    // The first gives one away only when it is asked to, the second has it only after that.
    while second_owns.is_empty() {
        tokio::select! {
            event = first.next() => match event.expect("reads") {
                LogEvent::Revoked(partitions) => first_owns.retain(|partition| !partitions.contains(partition)),
                LogEvent::Assigned(partitions) => first_owns.extend(partitions),
                LogEvent::Records(..) => panic!("everything was read"),
            },
            event = second.next() => match event.expect("reads") {
                LogEvent::Assigned(partitions) => second_owns.extend(partitions),
                LogEvent::Records(..) | LogEvent::Revoked(_) => panic!("nothing was assigned"),
            },
        }
    }
    assert!(first_owns.is_disjoint(&second_owns) && first_owns.len() + second_owns.len() == 3);
    let expected: usize = second_owns
        .iter()
        .filter_map(|partition| ends.get(partition))
        .map(|end| usize::try_from(end.0).expect("fits"))
        .sum();
    moved.extend(take(&mut *second, expected).await);
    second.commit(&ends_of(&moved)).await.expect("commits");
    // The former owner's late commit, here lower, changes nothing.
    let stale: Vec<_> = second_owns.iter().map(|partition| (*partition, Offset(1))).collect();
    first.commit(&stale).await.expect("leaves out what is not its own");
    let committed: BTreeMap<_, _> = second.committed().await.expect("reads").into_iter().collect();
    assert!(ends_of(&moved).iter().all(|(partition, end)| committed[partition] == *end));

    // Its partitions come back when the second leaves; what it committed is not read again.
    drop(second);
    own(&mut *first, &mut first_owns, 3).await;
    append_many(&log, Topic::Webhooks, 1).await;
    assert_eq!(take(&mut *first, 1).await[0].body, Bytes::from_static(b"0"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_caller_stays_a_member_and_reads_on() {
    let broker = Broker::new();
    let log = broker.connect();
    let mut subscription = subscribe(&log, "slow").await;
    own(&mut *subscription, &mut BTreeSet::new(), 3).await;
    append_many(&log, Topic::Webhooks, 50).await;
    // Longer than the session: only the thread keeps the member alive.
    tokio::time::sleep(Duration::from_secs(12)).await;
    let records = take(&mut *subscription, 50).await;
    subscription.commit(&ends_of(&records)).await.expect("is still a member");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_smaller_topic_is_used_within_its_limits() {
    let broker = Broker::new();
    let first = EventLogSettings { max_record_bytes: 10_000, partitions: 2, ..broker.0.clone() };
    let log = KafkaLog::connect(&first, &prometheus::Registry::new()).expect("connects");
    log.append(Topic::Webhooks, record("key", "body", 1)).await.expect("appends");
    log.close().await;
    let log = broker.connect();
    assert_eq!(log.watermarks(Topic::Webhooks).await.expect("reads").len(), 2);
    // The broker refuses it; soon the log knows the limit by itself.
    let body: Vec<u8> = (0..2_000_000).map(|_| rand::random()).collect();
    for _ in 0..100 {
        match log.append(Topic::Webhooks, record("key", body.clone(), 1)).await {
            Err(EventLogError::RecordTooLarge { max_bytes: 1_058_576, .. }) => return,
            Err(EventLogError::RecordTooLarge { .. }) => tokio::time::sleep(Duration::from_millis(100)).await,
            other => panic!("{other:?}"),
        }
    }
    panic!("the topic's limit was not found");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closing_ends_subscriptions() {
    let log = Broker::new().connect();
    let mut subscription = subscribe(&log, "closing").await;
    own(&mut *subscription, &mut BTreeSet::new(), 3).await;
    let waiting = tokio::spawn(async move { next(&mut *subscription).await });
    log.close().await;
    assert!(matches!(waiting.await.expect("finishes"), Err(EventLogError::Closed)));
}
