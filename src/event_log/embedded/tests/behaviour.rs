//! Opening, bounds and failures of the disk.

use prometheus::Registry;

use super::{Embedded, open, small};
use crate::{
    event_log::{
        EmbeddedLog, EventLog, EventLogError, LogEvent, Offset, Partition, Topic,
        conformance::{ALL_YOU_CAN_READ, append_many, ends_of, next, record, subscribe, take},
        embedded::segment,
    },
    settings::EventLogSettings,
};

fn message(result: Result<impl Sized, EventLogError>) -> String {
    result.err().expect("fails").to_string()
}

#[tokio::test]
async fn the_number_of_partitions_is_fixed() {
    let dir = Embedded::new().0;
    open(dir.path(), &small()).expect("opens").close().await;
    let other = EventLogSettings { partitions: 8, ..small() };
    assert!(message(open(dir.path(), &other)).contains("set event_log.partitions = 4"));
    open(dir.path(), &small()).expect("opens").close().await;
    let none = EventLogSettings { partitions: 0, ..small() };
    assert!(message(open(Embedded::new().0.path(), &none)).contains("at least 1"));
}

#[tokio::test]
async fn a_directory_is_open_once() {
    let dir = Embedded::new().0;
    let log = open(dir.path(), &small()).expect("opens");
    assert!(message(open(dir.path(), &small())).contains("already open"));
    let subscription = subscribe(&log, "group").await;
    log.close().await;
    open(dir.path(), &small()).expect("opens although a subscription of the closed log lives").close().await;
    drop(subscription);
}

#[tokio::test]
async fn a_group_has_one_subscriber() {
    let dir = Embedded::new().0;
    let log = open(dir.path(), &small()).expect("opens");
    let first = subscribe(&log, "group").await;
    let second = log.subscribe(Topic::Webhooks, "group", ALL_YOU_CAN_READ).await;
    assert!(message(second).contains("consumer group group already reads webhooks"));
    log.subscribe(Topic::FetchRetry, "group", ALL_YOU_CAN_READ).await.expect("another topic is another matter");
    drop(first);
    let mut again = subscribe(&log, "group").await;
    let past_the_end = again.commit(&[(Partition(0), Offset(1))]).await;
    assert!(message(past_the_end).contains("past its end"));
    assert!(message(log.subscribe(Topic::Webhooks, "", ALL_YOU_CAN_READ).await).contains("name"));
}

#[tokio::test]
async fn a_large_record_is_refused_and_a_just_fitting_one_is_not() {
    let dir = Embedded::new().0;
    let log = open(dir.path(), &EventLogSettings { max_record_bytes: 5000, ..small() }).expect("opens");
    log.append(Topic::Webhooks, record("key", vec![0; 4997], 0)).await.expect("fits");
    let refused = log.append(Topic::Webhooks, record("key", vec![0; 4998], 0)).await;
    assert!(matches!(refused, Err(EventLogError::RecordTooLarge { size_bytes: 5001, max_bytes: 5000 })));
}

#[tokio::test]
async fn a_record_larger_than_the_queue_goes_through() {
    let dir = Embedded::new().0;
    let settings = EventLogSettings { max_record_bytes: 80 << 20, ..small() };
    let log = open(dir.path(), &settings).expect("opens");
    let position = log.append(Topic::Webhooks, record("key", vec![7; 70 << 20], 0)).await.expect("appends");
    let read = log.read(position).await.expect("reads").expect("is there");
    assert_eq!(read.body.len(), 70 << 20);
}

#[tokio::test]
async fn a_full_disk_refuses_and_room_is_used_again() {
    let dir = Embedded::new().0;
    let settings = EventLogSettings { max_disk_bytes: 1 << 20, ..small() };
    let log = open(dir.path(), &settings).expect("opens");
    let mut taken = 0;
    let refusal = loop {
        match log.append(Topic::DeadLetter, record(&taken.to_string(), vec![0; 10_000], 0)).await {
            Ok(_) => taken += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(refusal, EventLogError::DiskFull { .. }), "{refusal}");
    let kept: u64 = log.watermarks(Topic::DeadLetter).await.expect("reads").iter().map(|mark| mark.end.0).sum();
    assert_eq!(kept, taken, "a refused record left a trace");
    log.enforce_retention(crate::domain::UtcMillis::from_seconds(7200)).await.expect("deletes");
    log.append(Topic::DeadLetter, record("again", vec![0; 10_000], 0)).await.expect("there is room");
}

#[tokio::test]
async fn a_failed_commit_fails_all_its_appends_and_leaves_no_hole() {
    let dir = Embedded::new().0;
    let log = open(dir.path(), &small()).expect("opens");
    append_many(&log, Topic::Webhooks, 10).await;
    // Somebody else holds the file's write lock: SQLite refuses the transaction.
    let thief = segment::open_to_read(dir.path(), 1).expect("opens");
    thief.execute_batch("PRAGMA query_only = OFF; BEGIN IMMEDIATE").expect("locks");
    let failed = futures_util::future::join_all(
        (0..20).map(|n| log.append(Topic::Webhooks, record(&format!("failed-{n}"), "", 0))),
    )
    .await;
    assert!(failed.iter().all(|result| matches!(result, Err(EventLogError::Storage { .. }))), "{failed:?}");
    thief.execute_batch("ROLLBACK").expect("unlocks");
    append_many(&log, Topic::Webhooks, 10).await;
    let records = take(&mut *subscribe(&log, "group").await, 20).await;
    assert!(records.iter().all(|record| record.key.starts_with(b"key-")));
    for mark in log.watermarks(Topic::Webhooks).await.expect("reads") {
        let offsets: Vec<u64> = records
            .iter()
            .filter(|record| record.position.partition == mark.partition)
            .map(|record| record.position.offset.0)
            .collect();
        assert_eq!(offsets, (0..mark.end.0).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn metrics_count_what_was_appended() {
    let (dir, registry) = (Embedded::new().0, Registry::new());
    let log = EmbeddedLog::open(dir.path(), &small(), &registry).expect("opens");
    append_many(&log, Topic::Webhooks, 30).await;
    let too_large = log.append(Topic::Webhooks, record("key", vec![0; 70 << 20], 0)).await;
    assert!(too_large.is_err());
    let text = prometheus::TextEncoder::new().encode_to_string(&registry.gather()).expect("encodes");
    for line in [
        "heliometer_event_log_appended_records_total{topic=\"webhooks\"} 30",
        "heliometer_event_log_append_errors_total{error=\"record_too_large\"} 1",
        "heliometer_event_log_queue_bytes 0",
        "heliometer_event_log_segments 1",
        "heliometer_event_log_commit_records_sum 30",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
    assert!(message(EmbeddedLog::open(Embedded::new().0.path(), &small(), &registry)).contains("metrics"));
}

#[tokio::test]
async fn what_a_crash_left_half_made_is_tidied_away() {
    let dir = Embedded::new().0;
    for name in ["segment-0000000000000007.sqlite-wal", "segment-0000000000000002.sqlite.tmp"] {
        std::fs::write(dir.path().join(name), b"rest").expect("writes");
    }
    let log = open(dir.path(), &small()).expect("opens");
    append_many(&log, Topic::Webhooks, 3).await;
    log.close().await;
    let names: Vec<_> = std::fs::read_dir(dir.path())
        .expect("lists")
        .map(|entry| entry.expect("lists").file_name().into_string().expect("is text"))
        .filter(|name| name.starts_with("segment-"))
        .collect();
    assert_eq!(names, ["segment-0000000000000001.sqlite"]);
}

#[tokio::test]
async fn a_segment_that_never_came_into_use_is_dropped() {
    let dir = Embedded::new().0;
    let log = open(dir.path(), &small()).expect("opens");
    let slots = crate::event_log::embedded::slots::Slots::new(4);
    // As if it could not be opened, nor removed, and the log went on with the one before.
    segment::create(dir.path(), 2, slots, &vec![0; slots.count()]).expect("makes");
    append_many(&log, Topic::Webhooks, 10).await;
    log.close().await;
    let log = open(dir.path(), &small()).expect("opens");
    assert_eq!(append_many(&log, Topic::Webhooks, 10).await.len(), 10);
    take(&mut *subscribe(&log, "group").await, 20).await;
}

/// A release that knows more topics opens what an earlier one made: nothing is numbered anew.
#[tokio::test]
async fn a_directory_from_before_a_topic_existed_is_used_as_it_is() {
    let dir = Embedded::new().0;
    let log = open(dir.path(), &small()).expect("opens");
    let written = append_many(&log, Topic::Webhooks, 200).await;
    let mut letters = Vec::new();
    for n in 0..10 {
        letters.push(log.append(Topic::DeadLetter, record("key", vec![0; 5_000], n)).await.expect("appends"));
    }
    let mut reader = subscribe(&log, "consumer").await;
    let ends = ends_of(&take(&mut *reader, 200).await);
    reader.commit(&ends).await.expect("commits");
    log.close().await;
    drop((reader, log));
    // What such a release writes says nothing of the topic.
    let ids = segment::list(dir.path()).expect("lists");
    assert!(ids.len() > 1, "every kind of segment: sealed and active");
    for id in &ids {
        let connection = rusqlite::Connection::open(segment::path(dir.path(), *id)).expect("opens");
        let removed = connection.execute("DELETE FROM base_offsets WHERE topic = 'control'", []).expect("deletes");
        assert_eq!(removed, 1, "segment {id}");
    }
    let log = open(dir.path(), &small()).expect("opens");
    assert_eq!(segment::list(dir.path()).expect("lists"), ids, "no segment is added or lost");
    let mut reader = subscribe(&log, "consumer").await;
    assert_eq!(reader.committed().await.expect("reads"), ends);
    for position in written.iter().chain(&letters) {
        assert!(log.read(*position).await.expect("reads").is_some(), "{position:?}");
    }
    let ends_before: u64 = log.watermarks(Topic::Webhooks).await.expect("reads").iter().map(|mark| mark.end.0).sum();
    append_many(&log, Topic::Webhooks, 40).await;
    assert_eq!(take(&mut *reader, 40).await.len(), 40, "the group goes on where it stood");
    let ends_after: u64 = log.watermarks(Topic::Webhooks).await.expect("reads").iter().map(|mark| mark.end.0).sum();
    assert_eq!((ends_before, ends_after), (200, 240));
    let mut control = log.subscribe(Topic::Control, "leader", ALL_YOU_CAN_READ).await.expect("subscribes");
    assert!(matches!(next(&mut *control).await, Ok(LogEvent::Assigned(partitions)) if partitions == [Partition(0)]));
}
