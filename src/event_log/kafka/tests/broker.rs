//! The conformance suite and what only Kafka does, against the real broker at `KAFKA_BROKERS`.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use async_trait::async_trait;
use bytes::Bytes;
use rdkafka::{
    ClientConfig, ClientContext, Offset as KafkaOffset, Statistics, TopicPartitionList,
    admin::{AdminClient, AdminOptions, AlterConfig, NewTopic, ResourceSpecifier, TopicReplication},
    client::DefaultClientContext,
    config::FromClientConfigAndContext as _,
    consumer::{BaseConsumer, Consumer as _, ConsumerContext},
};

use super::super::config;
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

    fn topic(&self, topic: Topic) -> String {
        format!("{}{}", self.0.topic_prefix, topic.name())
    }

    fn admin(&self) -> AdminClient<DefaultClientContext> {
        ClientConfig::new().set("bootstrap.servers", self.0.brokers.join(",")).create().expect("connects")
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

    async fn remove(&self, _: &dyn EventLog, ends: &[(Partition, Offset)]) {
        let mut offsets = TopicPartitionList::new();
        let name = self.topic(Topic::Webhooks);
        for (partition, end) in ends {
            let end = KafkaOffset::Offset(i64::try_from(end.0).expect("fits"));
            offsets.add_partition_offset(&name, i32::from(partition.0), end).expect("is an offset");
        }
        self.admin().delete_records(&offsets, &AdminOptions::new()).await.expect("deletes");
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_compacted_topic_is_used_only_once_it_is_not_compacted_any_more() {
    let broker = Broker::new();
    let (admin, name, options) = (broker.admin(), broker.topic(Topic::Webhooks), AdminOptions::new());
    let compacted = NewTopic::new(&name, 3, TopicReplication::Fixed(1)).set("cleanup.policy", "compact");
    admin.create_topics(&[compacted], &options).await.expect("asks")[0].as_ref().expect("is made");
    let log = broker.connect();
    let error = log.append(Topic::Webhooks, record("key", "body", 1)).await.expect_err("would be lost");
    assert!(matches!(&error, EventLogError::Settings { key, .. } if key == "topic_prefix"), "{error:?}");
    assert!(error.to_string().contains(&format!("topic {name} has cleanup.policy=compact")), "{error}");

    // As the error says; no restart is needed.
    let change = AlterConfig::new(ResourceSpecifier::Topic(&name)).set("cleanup.policy", "delete");
    admin.alter_configs(&[change], &options).await.expect("asks")[0].as_ref().expect("is changed");
    for _ in 0..100 {
        match log.append(Topic::Webhooks, record("key", "body", 1)).await {
            Ok(_) => return,
            Err(EventLogError::Settings { .. }) => tokio::time::sleep(Duration::from_millis(100)).await,
            Err(error) => panic!("{error}"),
        }
    }
    panic!("the change was not noticed");
}

/// What librdkafka holds for one partition that nobody reads, as its statistics tell.
#[derive(Clone, Default)]
struct HeldBytes(Arc<AtomicU64>);

impl ClientContext for HeldBytes {
    fn stats(&self, statistics: Statistics) {
        let partitions = statistics.topics.values().flat_map(|topic| topic.partitions.values());
        let held = partitions.map(|partition| partition.fetchq_size).sum();
        self.0.fetch_max(held, Ordering::SeqCst);
    }
}

impl ConsumerContext for HeldBytes {}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consumer_that_does_not_read_holds_no_more_than_its_read_ahead() {
    const APPENDED_BYTES: u64 = 60 << 20;
    let broker = Broker::new();
    let log = broker.connect();
    // One key, hence one partition; bytes that do not compress.
    for _ in 0..APPENDED_BYTES >> 20 {
        let body: Vec<u8> = (0..1 << 20).map(|_| rand::random()).collect();
        log.append(Topic::Webhooks, record("key", body, 1)).await.expect("appends");
    }
    let config = config::consumer(&broker.0, "idle", Topic::Webhooks).expect("is right");
    let bound =
        config.get("queued.max.messages.kbytes").and_then(|text| text.parse::<u64>().ok()).expect("is set") << 10;
    assert!(bound < APPENDED_BYTES / 2, "{bound} of {APPENDED_BYTES} shows nothing");
    let mut config = config;
    config.set("statistics.interval.ms", "100");
    let held = HeldBytes::default();
    let consumer: Arc<BaseConsumer<HeldBytes>> =
        Arc::new(BaseConsumer::from_config_and_context(&config, held.clone()).expect("is made"));
    let name = broker.topic(Topic::Webhooks);
    let reading = tokio::task::spawn_blocking(move || {
        let partition = i32::try_from(crc32fast::hash(b"key") % 3).expect("fits");
        let queue = consumer.split_partition_queue(&name, partition).expect("has a queue");
        let mut assignment = TopicPartitionList::new();
        assignment.add_partition_offset(&name, partition, KafkaOffset::Beginning).expect("is an offset");
        consumer.assign(&assignment).expect("assigns");
        let poll_for = |time: Duration| {
            let deadline = Instant::now() + time;
            while let Some(left) = deadline.checked_duration_since(Instant::now()) {
                drop(consumer.poll(left));
            }
        };
        // It fills up, and then no more comes.
        let deadline = Instant::now() + Duration::from_secs(30);
        while held.0.load(Ordering::SeqCst) < bound / 2 {
            assert!(Instant::now() < deadline, "nothing is read ahead");
            poll_for(Duration::from_millis(100));
        }
        poll_for(Duration::from_secs(3));
        drop(queue);
        held.0.load(Ordering::SeqCst)
    });
    let most = reading.await.expect("finishes");
    // It stops with the answer that crosses the bound, which has a record or two for the partition.
    assert!(most < bound + (4 << 20), "{most} bytes are held, {bound} allowed");
}
