//! What every event log must do, written against the trait alone: the embedded log and Kafka run the same checks.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{FutureExt as _, future::join_all};

use super::{
    EventLog, EventLogError, Header, LogEvent, NewRecord, Offset, Partition, Position, ReadLimits, Record,
    Subscription, Topic,
};
use crate::domain::UtcMillis;

/// Gives the log under test. Each test has a harness of its own, whose topics are empty at first.
#[async_trait]
pub(crate) trait Harness: Send + Sync {
    /// Opens the log, or the same one again after it was closed.
    async fn open(&self) -> Arc<dyn EventLog>;

    /// Removes every record below `ends` of [`Topic::Webhooks`], as retention does once a group has committed them. The
    /// log may keep some that stand together with later ones.
    async fn remove(&self, log: &dyn EventLog, ends: &[(Partition, Offset)]);
}

pub(crate) const ALL_YOU_CAN_READ: ReadLimits = ReadLimits { max_records: 1000, max_bytes: 1 << 24 };

/// Far longer than anything takes: a hanging log fails its test instead of the whole run.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn record(key: &str, body: impl Into<Bytes>, timestamp_ms: i64) -> NewRecord {
    NewRecord {
        key: Bytes::copy_from_slice(key.as_bytes()),
        body: body.into(),
        timestamp: UtcMillis(timestamp_ms),
        headers: Vec::new(),
    }
}

/// Appends `count` records, `key-0` and so on, of which number `n` has the timestamp `n`.
pub(crate) async fn append_many(log: &dyn EventLog, topic: Topic, count: i64) -> Vec<Position> {
    let appends = (0..count).map(|n| log.append(topic, record(&format!("key-{n}"), n.to_string(), n)));
    join_all(appends).await.into_iter().map(|position| position.expect("appends")).collect()
}

/// The next event, within the tests' patience.
pub(crate) async fn next(subscription: &mut dyn Subscription) -> Result<LogEvent, EventLogError> {
    tokio::time::timeout(PATIENCE, subscription.next()).await.expect("an event comes")
}

/// Reads on until `count` records have come.
pub(crate) async fn take(subscription: &mut dyn Subscription, count: usize) -> Vec<Record> {
    let mut taken = Vec::new();
    while taken.len() < count {
        if let LogEvent::Records(partition, records) = next(subscription).await.expect("reads") {
            assert!(records.iter().all(|record| record.position.partition == partition));
            taken.extend(records);
        }
    }
    assert_eq!(taken.len(), count, "more records than were appended");
    taken
}

/// The offset after the last of `records`, by partition.
pub(crate) fn ends_of(records: &[Record]) -> Vec<(Partition, Offset)> {
    let mut ends = BTreeMap::new();
    for record in records {
        let end = ends.entry(record.position.partition).or_default();
        *end = record.position.offset.next().max(*end);
    }
    ends.into_iter().collect()
}

pub(crate) async fn subscribe(log: &dyn EventLog, group: &str) -> Box<dyn Subscription> {
    log.subscribe(Topic::Webhooks, group, ALL_YOU_CAN_READ).await.expect("subscribes")
}

pub(crate) async fn a_record_comes_back_as_it_was_written(harness: &dyn Harness) {
    let log = harness.open().await;
    let written = NewRecord {
        key: Bytes::from_static(b"k\0\xFF"),
        body: Bytes::from_static(b"{\"untouched\": \xF0\x9F\xA6\x80}"),
        timestamp: UtcMillis(1_757_346_297_250),
        headers: vec![
            Header { name: "source".to_owned(), value: Bytes::from_static(b"default") },
            Header { name: "empty".to_owned(), value: Bytes::new() },
            Header { name: "source".to_owned(), value: Bytes::from_static(b"second") },
        ],
    };
    let position = log.append(Topic::DeadLetter, written.clone()).await.expect("appends");
    let empty = log.append(Topic::DeadLetter, record("", Bytes::new(), 0)).await.expect("appends");
    let read = log.read(position).await.expect("reads").expect("is there");
    assert_eq!((read.position, read.timestamp), (position, written.timestamp));
    assert_eq!((&read.key, &read.body, &read.headers), (&written.key, &written.body, &written.headers));
    assert_eq!(read.header("source"), Some(&b"default"[..]));
    assert!(log.read(empty).await.expect("reads").expect("is there").body.is_empty());
    let beyond = Position { offset: Offset(position.offset.0 + 10), ..position };
    assert!(log.read(beyond).await.expect("reads").is_none());
}

pub(crate) async fn records_of_a_partition_stay_in_order(harness: &dyn Harness) {
    let log = harness.open().await;
    for n in 0..200 {
        log.append(Topic::Webhooks, record(&format!("key-{}", n % 7), n.to_string(), n)).await.expect("appends");
    }
    let mut subscription = subscribe(&*log, "order").await;
    let records = take(&mut *subscription, 200).await;
    let (mut last_of_key, mut next_offsets) = (BTreeMap::new(), BTreeMap::new());
    for record in &records {
        let n: i64 = String::from_utf8_lossy(&record.body).parse().expect("a number");
        assert!(last_of_key.insert(record.key.clone(), n).is_none_or(|last| last < n), "{record:?}");
        let next = next_offsets.entry(record.position.partition).or_insert(Offset(0));
        assert_eq!(record.position.offset, *next);
        *next = next.next();
    }
}

pub(crate) async fn concurrent_appends_get_offsets_without_gaps(harness: &dyn Harness) {
    let log = harness.open().await;
    let tasks = (0..16).map(|task| {
        let log = Arc::clone(&log);
        tokio::spawn(async move {
            let mut positions = Vec::new();
            for n in 0..50 {
                let append = log.append(Topic::Webhooks, record(&format!("{task}-{n}"), vec![0; n * 10], 0));
                positions.push(append.await.expect("appends"));
            }
            positions
        })
    });
    let mut offsets: BTreeMap<Partition, BTreeSet<u64>> = BTreeMap::new();
    for task in join_all(tasks).await {
        for position in task.expect("finishes") {
            assert!(offsets.entry(position.partition).or_default().insert(position.offset.0), "{position:?} twice");
        }
    }
    assert_eq!(offsets.values().map(BTreeSet::len).sum::<usize>(), 800);
    let watermarks = log.watermarks(Topic::Webhooks).await.expect("reads");
    for (partition, offsets) in offsets {
        assert_eq!(offsets.last().copied(), Some(offsets.len() as u64 - 1), "a gap in {partition:?}");
        let mark = watermarks.iter().find(|mark| mark.partition == partition).expect("is there");
        assert_eq!((mark.start, mark.end), (Offset(0), Offset(offsets.len() as u64)));
    }
}

pub(crate) async fn what_was_not_committed_is_read_again(harness: &dyn Harness) {
    let log = harness.open().await;
    append_many(&*log, Topic::Webhooks, 40).await;
    let mut subscription = subscribe(&*log, "again").await;
    take(&mut *subscription, 40).await;
    drop(subscription);
    log.close().await;
    let log = harness.open().await;
    let again = take(&mut *subscribe(&*log, "again").await, 40).await;
    assert_eq!(again.iter().map(|record| &record.key).collect::<BTreeSet<_>>().len(), 40);
}

pub(crate) async fn a_group_resumes_where_it_committed(harness: &dyn Harness) {
    let log = harness.open().await;
    append_many(&*log, Topic::Webhooks, 40).await;
    let mut subscription = subscribe(&*log, "resume").await;
    let first = take(&mut *subscription, 40).await;
    subscription.commit(&ends_of(&first)).await.expect("commits");
    let committed: BTreeMap<_, _> = subscription.committed().await.expect("reads").into_iter().collect();
    assert!(ends_of(&first).iter().all(|(partition, end)| committed[partition] == *end));
    drop(subscription);
    log.close().await;
    let log = harness.open().await;
    log.append(Topic::Webhooks, record("new", "new", 99)).await.expect("appends");
    let mut subscription = subscribe(&*log, "resume").await;
    assert_eq!(take(&mut *subscription, 1).await[0].key, "new");
}

pub(crate) async fn commits_never_go_back(harness: &dyn Harness) {
    let log = harness.open().await;
    let position = append_many(&*log, Topic::Webhooks, 40).await[39];
    let mut subscription = subscribe(&*log, "forward").await;
    take(&mut *subscription, 40).await;
    let end = position.offset.next();
    subscription.commit(&[(position.partition, end)]).await.expect("commits");
    subscription.commit(&[(position.partition, Offset(0))]).await.expect("changes nothing");
    let committed: BTreeMap<_, _> = subscription.committed().await.expect("reads").into_iter().collect();
    assert_eq!(committed[&position.partition], end);
}

pub(crate) async fn groups_and_topics_do_not_disturb_each_other(harness: &dyn Harness) {
    let log = harness.open().await;
    append_many(&*log, Topic::Webhooks, 20).await;
    log.append(Topic::FetchRetry, record("retry", "", 0)).await.expect("appends");
    let (mut one, mut two) = (subscribe(&*log, "one").await, subscribe(&*log, "two").await);
    let read = take(&mut *one, 20).await;
    one.commit(&ends_of(&read)).await.expect("commits");
    assert_eq!(take(&mut *two, 20).await.len(), 20);
    let mut other = log.subscribe(Topic::FetchRetry, "one", ALL_YOU_CAN_READ).await.expect("subscribes");
    assert_eq!(take(&mut *other, 1).await[0].key, "retry");
}

pub(crate) async fn seeking_finds_the_first_record_of_a_time(harness: &dyn Harness) {
    let log = harness.open().await;
    append_many(&*log, Topic::Webhooks, 60).await;
    let mut subscription = subscribe(&*log, "seek").await;
    take(&mut *subscription, 60).await;
    subscription.seek_to_time(UtcMillis(45)).await.expect("seeks");
    let mut timestamps: Vec<i64> = take(&mut *subscription, 15).await.iter().map(|r| r.timestamp.0).collect();
    timestamps.sort_unstable();
    assert_eq!(timestamps, (45..60).collect::<Vec<_>>());
    // Past everything: only what comes from now on.
    subscription.seek_to_time(UtcMillis(1000)).await.expect("seeks");
    log.append(Topic::Webhooks, record("late", "", 0)).await.expect("appends");
    assert_eq!(take(&mut *subscription, 1).await[0].key, "late");
    subscription.seek_to_time(UtcMillis(0)).await.expect("seeks");
    take(&mut *subscription, 61).await;
}

pub(crate) async fn reads_stay_within_their_limits(harness: &dyn Harness) {
    let log = harness.open().await;
    for n in 0..30 {
        // One key, hence one partition; every tenth record is over the limit alone.
        let size = if n % 10 == 9 { 5000 } else { 300 };
        log.append(Topic::Webhooks, record("key", vec![b'x'; size], 0)).await.expect("appends");
    }
    let limits = ReadLimits { max_records: 4, max_bytes: 1000 };
    let mut subscription = log.subscribe(Topic::Webhooks, "limits", limits).await.expect("subscribes");
    let mut seen = 0;
    while seen < 30 {
        if let LogEvent::Records(_, records) = next(&mut *subscription).await.expect("reads") {
            let bytes: usize = records.iter().map(Record::size_bytes).sum();
            assert!(records.len() == 1 || (records.len() <= 4 && bytes <= 1000), "{} of {bytes}", records.len());
            seen += records.len();
        }
    }
}

pub(crate) async fn every_partition_gets_its_turn(harness: &dyn Harness) {
    let log = harness.open().await;
    append_many(&*log, Topic::Webhooks, 200).await;
    let partitions = log.watermarks(Topic::Webhooks).await.expect("reads").len();
    let limits = ReadLimits { max_records: 1, max_bytes: 1000 };
    let mut subscription = log.subscribe(Topic::Webhooks, "turns", limits).await.expect("subscribes");
    // A broker sends one partition's records before another's. Once they are there, nobody waits for another to be
    // read out.
    take(&mut *subscription, 1).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let first = take(&mut *subscription, partitions * 10).await;
    let seen: BTreeSet<_> = first.iter().map(|record| record.position.partition).collect();
    assert_eq!(seen.len(), partitions);
}

pub(crate) async fn a_reader_is_woken_and_a_dropped_read_loses_nothing(harness: &dyn Harness) {
    let log = harness.open().await;
    let mut subscription = subscribe(&*log, "woken").await;
    let (mut seen, mut appended) = (Vec::new(), 0);
    while seen.len() < 100 {
        if appended < 100 {
            let key = format!("{appended}");
            log.append(Topic::Webhooks, record(&key, "", 0)).await.expect("appends");
            appended += 1;
        }
        // Polled once and dropped, at whatever point it has come to.
        let event = subscription.next().now_or_never();
        if let Some(LogEvent::Records(_, records)) = event.transpose().expect("reads") {
            seen.extend(records);
        }
        tokio::task::yield_now().await;
    }
    assert_eq!(seen.iter().map(|record| &record.key).collect::<BTreeSet<_>>().len(), 100);
    let waiting = tokio::spawn(async move { take(&mut *subscription, 1).await });
    log.append(Topic::Webhooks, record("wake", "", 0)).await.expect("appends");
    assert_eq!(waiting.await.expect("finishes")[0].key, "wake");
}

pub(crate) async fn what_retention_removed_is_skipped(harness: &dyn Harness) {
    // Records of the size of a segment, of two keys only: some partitions stay empty.
    let append = async |log: &dyn EventLog, from: i64, to: i64| {
        for n in from..to {
            let key = if n % 2 == 0 { "even" } else { "odd" };
            log.append(Topic::Webhooks, record(key, vec![b'x'; 17_000], n)).await.expect("appends");
        }
    };
    let log = harness.open().await;
    append(&*log, 0, 20).await;
    let mut subscription = subscribe(&*log, "removed").await;
    let old = take(&mut *subscription, 20).await;
    subscription.commit(&ends_of(&old)).await.expect("commits");
    append(&*log, 20, 30).await;
    // This reader stands at the beginning, which is about to go.
    subscription.seek_to_time(UtcMillis(0)).await.expect("seeks");
    harness.remove(&*log, &ends_of(&old)).await;

    let marks = log.watermarks(Topic::Webhooks).await.expect("reads");
    let mark = |partition: Partition| marks.iter().find(|mark| mark.partition == partition).expect("is there");
    let removed = |record: &Record| record.position.offset < mark(record.position.partition).start;
    for (partition, end) in ends_of(&old) {
        assert!((Offset(1)..=end).contains(&mark(partition).start), "{:?}, removed until {end:?}", mark(partition));
    }
    for record in &old {
        let read = log.read(record.position).await.expect("a removed record is no error");
        assert_eq!(read.is_none(), removed(record), "{:?}", record.position);
    }

    // A group that comes now starts at what is left. So does one that has fallen behind; what it had read ahead before
    // the removal it may still deliver, but nothing that is kept may be missing.
    let left = 10 + old.iter().filter(|record| !removed(record)).count();
    let mut new = subscribe(&*log, "new").await;
    for (partition, offset) in take_until_assigned(&mut *new).await {
        assert_eq!(offset, mark(partition).start, "{partition:?}");
    }
    let mut positions = BTreeSet::new();
    for record in take(&mut *new, left).await {
        assert!(!removed(&record), "{:?}", record.position);
        positions.insert((record.position.partition, record.position.offset));
    }
    assert_eq!(positions.len(), left);
    let mut kept = BTreeSet::new();
    while kept.len() < left {
        if let LogEvent::Records(_, records) = next(&mut *subscription).await.expect("reading goes on") {
            let records = records.iter().filter(|record| !removed(record));
            kept.extend(records.map(|record| (record.position.partition, record.position.offset)));
        }
    }
    assert_eq!(kept, positions);

    // Offsets go on, after a restart too, and the groups stay where they were.
    drop((subscription, new));
    log.close().await;
    let log = harness.open().await;
    assert_eq!(log.watermarks(Topic::Webhooks).await.expect("reads"), marks);
    let mut subscription = subscribe(&*log, "removed").await;
    let again = take(&mut *subscription, 10).await;
    assert!(again.iter().all(|record| record.timestamp.0 >= 20), "what was committed came again");
}

/// The committed offsets of a member that has read nothing yet.
async fn take_until_assigned(subscription: &mut dyn Subscription) -> Vec<(Partition, Offset)> {
    loop {
        if let LogEvent::Assigned(_) = next(subscription).await.expect("joins") {
            return subscription.committed().await.expect("reads");
        }
    }
}

pub(crate) async fn a_closed_log_takes_nothing(harness: &dyn Harness) {
    let log = harness.open().await;
    append_many(&*log, Topic::Webhooks, 5).await;
    log.close().await;
    log.close().await;
    let refused = log.append(Topic::Webhooks, record("key", "", 0)).await;
    assert!(matches!(refused, Err(EventLogError::Closed)), "{refused:?}");
}

/// Makes a test of each check. `$harness` is an expression that makes a new harness.
macro_rules! conformance_suite {
    ($harness:expr) => {
        $crate::event_log::conformance::conformance_suite!($harness;
            a_record_comes_back_as_it_was_written,
            records_of_a_partition_stay_in_order,
            concurrent_appends_get_offsets_without_gaps,
            what_was_not_committed_is_read_again,
            a_group_resumes_where_it_committed,
            commits_never_go_back,
            groups_and_topics_do_not_disturb_each_other,
            seeking_finds_the_first_record_of_a_time,
            reads_stay_within_their_limits,
            every_partition_gets_its_turn,
            a_reader_is_woken_and_a_dropped_read_loses_nothing,
            what_retention_removed_is_skipped,
            a_closed_log_takes_nothing,
        );
    };
    ($harness:expr; $($check:ident,)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $check() {
            $crate::event_log::conformance::$check(&$harness).await;
        }
    )*};
}
pub(crate) use conformance_suite;
