//! The event log against a broker that is killed and away. What needs any broker is in `src/event_log/kafka/tests/broker.rs`.

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use heliometer::{
    domain::{SystemClock, UtcMillis},
    event_log::{
        EventLog, KafkaLog, LogEvent, NewRecord, PatientLog, ReadLimits, SPOOL_PARTITION, SpooledLog, Subscription,
        Topic,
    },
    settings::EventLogSettings,
    telemetry::{Health, PartState},
};
use tempfile::TempDir;

use crate::{
    broker::{Broker, Turn},
    harness::PATIENCE,
};

const WRITERS: usize = 16;
const RECORDS_PER_WRITER: usize = 150;

pub(crate) fn record(key: &str) -> NewRecord {
    NewRecord {
        key: Bytes::copy_from_slice(key.as_bytes()),
        body: Bytes::from(vec![b'x'; 2000]),
        timestamp: UtcMillis(1_757_346_297_250),
        headers: Vec::new(),
    }
}

/// Appends until it is acknowledged, as a sender that tries again would.
async fn append(log: &KafkaLog, key: &str) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match log.append(Topic::Webhooks, record(key)).await {
            Ok(_) => return,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Reads until every key has come, committing on the way; errors while the broker is away are waited out.
pub(crate) async fn read_all(subscription: &mut dyn Subscription, expected: usize) -> BTreeSet<Bytes> {
    let (mut keys, deadline) = (BTreeSet::new(), Instant::now() + PATIENCE);
    while keys.len() < expected {
        let left = deadline.saturating_duration_since(Instant::now());
        match tokio::time::timeout(left, subscription.next()).await {
            Ok(Ok(LogEvent::Records(partition, records))) => {
                let end = records.last().map(|record| record.position.offset.next()).expect("is not empty");
                keys.extend(records.into_iter().map(|record| record.key));
                // Not known to be durable while the broker is away; the next one includes it.
                drop(subscription.commit(&[(partition, end)]).await);
            }
            Ok(Ok(LogEvent::Assigned(_) | LogEvent::Revoked(_))) => {}
            Ok(Err(_)) => tokio::time::sleep(Duration::from_millis(100)).await,
            Err(late) => panic!("{late}: {} of {expected} records came", keys.len()),
        }
    }
    keys
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_a_killed_broker() {
    let broker = Broker::started(Turn::wait().await);
    let settings =
        EventLogSettings { brokers: vec![format!("127.0.0.1:{}", broker.port())], ..EventLogSettings::default() };
    let log = Arc::new(KafkaLog::connect(&settings, &prometheus::Registry::new()).expect("connects"));
    let limits = ReadLimits { max_records: 100, max_bytes: 1 << 20 };
    let mut subscription = log.subscribe(Topic::Webhooks, "consumer", limits).await.expect("subscribes");
    let reader = tokio::spawn(async move { read_all(&mut *subscription, WRITERS * RECORDS_PER_WRITER).await });
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let log = Arc::clone(&log);
            tokio::spawn(async move {
                for n in 0..RECORDS_PER_WRITER {
                    append(&log, &format!("{writer}-{n}")).await;
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            })
        })
        .collect();
    let killing = tokio::task::spawn_blocking(move || {
        std::thread::sleep(Duration::from_secs(1));
        broker.kill();
        broker.start();
        broker
    });
    let _broker = killing.await.expect("the broker comes back");
    for writer in writers {
        writer.await.expect("every record is acknowledged in the end");
    }
    assert_eq!(reader.await.expect("reads on").len(), WRITERS * RECORDS_PER_WRITER);
    log.close().await;
}

/// Appends once, as Helicone does, which never tries again; whether it went to the spool.
async fn is_spooled(log: &SpooledLog, key: &str) -> bool {
    let position = log.append(Topic::Webhooks, record(key)).await.expect("the spool takes what Kafka does not");
    position.partition == SPOOL_PARTITION
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_sender_notices_that_the_broker_is_away_and_everything_arrives() {
    const EARLY: usize = 50;
    let broker = Broker::that_is_away(Turn::wait().await);
    let settings = EventLogSettings {
        brokers: vec![format!("127.0.0.1:{}", broker.port())],
        spool_after_ms: 500,
        ..EventLogSettings::default()
    };
    let (spool, registry) = (TempDir::new().expect("a directory"), prometheus::Registry::new());
    let kafka = KafkaLog::connect(&settings, &registry).expect("connects in the background");
    let remote = Arc::new(PatientLog::new(Arc::new(kafka)));
    let (clock, health) = (Arc::new(SystemClock), Health::default());
    let log = SpooledLog::open(remote, spool.path(), &settings, clock, health.clone(), &registry).await.expect("opens");
    let log = Arc::new(log);
    let limits = ReadLimits { max_records: 100, max_bytes: 1 << 20 };
    let mut subscription = log.subscribe(Topic::Webhooks, "consumer", limits).await.expect("waits for the broker");
    let reader = tokio::spawn(async move { read_all(&mut *subscription, EARLY + WRITERS * RECORDS_PER_WRITER).await });

    for n in 0..EARLY {
        assert!(is_spooled(&log, &format!("early-{n}")).await, "the broker is away");
    }
    assert!(matches!(health.snapshot().1["kafka"], PartState::Degraded(_)), "it is told that the broker is away");
    let start = tokio::task::spawn_blocking(move || {
        broker.start();
        broker
    });
    let broker = start.await.expect("the broker starts");
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let log = Arc::clone(&log);
            tokio::spawn(async move {
                for n in 0..RECORDS_PER_WRITER {
                    is_spooled(&log, &format!("{writer}-{n}")).await;
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            })
        })
        .collect();
    let restart = tokio::task::spawn_blocking(move || {
        std::thread::sleep(Duration::from_secs(1));
        broker.kill();
        broker.start();
        broker
    });
    let _broker = restart.await.expect("the broker comes back");
    for writer in writers {
        writer.await.expect("every record is acknowledged at once");
    }
    assert_eq!(reader.await.expect("reads on").len(), EARLY + WRITERS * RECORDS_PER_WRITER);

    // And then Kafka takes them directly again.
    let deadline = Instant::now() + PATIENCE;
    while health.snapshot().1["kafka"] != PartState::Ready {
        assert!(Instant::now() < deadline, "the spool is not drained");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    log.close().await;
}
