//! Records that are no longer what was written.

use rusqlite::Connection;

use super::{Embedded, open};
use crate::{
    event_log::{
        EventLog, EventLogError, LogEvent, Offset, Topic,
        conformance::{next, record, subscribe},
        embedded::segment,
    },
    settings::EventLogSettings,
};

/// One partition with ten records in one segment, changed by `sql` while the log is closed.
/// Returns the offsets that are read and those that are reported.
async fn read_after(sql: &str) -> (Vec<u64>, Vec<u64>) {
    let dir = Embedded::new().0;
    let settings = EventLogSettings { partitions: 1, ..EventLogSettings::default() };
    let log = open(dir.path(), &settings).expect("opens");
    for n in 0..10 {
        log.append(Topic::Webhooks, record("key", n.to_string(), n)).await.expect("appends");
    }
    log.close().await;
    let connection = Connection::open(segment::path(dir.path(), 1)).expect("opens");
    connection.execute_batch(sql).expect("changes the file");
    drop(connection);
    let log = open(dir.path(), &settings).expect("opens");
    let mut subscription = subscribe(&log, "group").await;
    let (mut read, mut reported) = (Vec::new(), Vec::new());
    while read.len() + reported.len() < 10 {
        match next(&mut *subscription).await {
            Ok(LogEvent::Records(_, records)) => read.extend(records.iter().map(|record| record.position.offset.0)),
            Ok(_) => {}
            Err(EventLogError::Corrupt { partition: 0, offset, .. }) => reported.push(offset),
            Err(error) => panic!("{error}"),
        }
    }
    // What is reported stays so: the record does not come back as another one.
    for &offset in &reported {
        let position = crate::event_log::Position {
            topic: Topic::Webhooks,
            partition: crate::event_log::Partition(0),
            offset: Offset(offset),
        };
        let single = log.read(position).await;
        assert!(matches!(single, Err(EventLogError::Corrupt { .. })), "{single:?}");
    }
    (read, reported)
}

#[tokio::test]
async fn a_changed_body_is_reported_once_and_the_reader_gets_past_it() {
    let (read, reported) = read_after("UPDATE \"records/webhooks/0\" SET body = x'00' WHERE offset IN (0, 4)").await;
    assert_eq!((read, reported), (vec![1, 2, 3, 5, 6, 7, 8, 9], vec![0, 4]));
}

#[tokio::test]
async fn a_missing_record_is_reported_too() {
    let (read, reported) = read_after("DELETE FROM \"records/webhooks/0\" WHERE offset = 7").await;
    assert_eq!((read, reported), (vec![0, 1, 2, 3, 4, 5, 6, 8, 9], vec![7]));
}

#[tokio::test]
async fn a_changed_key_time_or_type_is_reported() {
    for change in ["key = x'00'", "timestamp_ms = 99", "headers = x'0000'", "body = 'text'", "crc32 = -1"] {
        let (read, reported) =
            read_after(&format!("UPDATE \"records/webhooks/0\" SET {change} WHERE offset = 9")).await;
        assert_eq!((read.len(), reported), (9, vec![9]), "{change}");
    }
}

#[tokio::test]
async fn a_damaged_page_is_reported_record_by_record() {
    let dir = Embedded::new().0;
    let settings = EventLogSettings { partitions: 1, segment_bytes: 1 << 20, ..EventLogSettings::default() };
    let log = open(dir.path(), &settings).expect("opens");
    for n in 0..200 {
        log.append(Topic::Webhooks, record("key", vec![b'x'; 3000], n)).await.expect("appends");
    }
    // Sealed, so that opening does not need to scan it.
    log.enforce_retention(crate::domain::UtcMillis::from_seconds(0)).await.expect("runs");
    while log.shared.look(|view| view.segments.len()) == 1 {
        log.append(Topic::Webhooks, record("key", vec![b'x'; 30_000], 0)).await.expect("appends");
    }
    let end = log.watermarks(Topic::Webhooks).await.expect("reads")[0].end.0;
    log.close().await;
    let path = segment::path(dir.path(), 1);
    let mut bytes = std::fs::read(&path).expect("reads");
    // A page in the middle of the file: a leaf of the one large table.
    let page = bytes.len() / 16_384 / 3 * 16_384;
    bytes[page..page + 16_384].fill(0xAA);
    std::fs::write(&path, bytes).expect("writes");
    let log = open(dir.path(), &settings).expect("opens");
    let mut subscription = subscribe(&log, "group").await;
    let (mut read, mut reported) = (0, 0);
    while read + reported < end {
        match next(&mut *subscription).await {
            Ok(LogEvent::Records(_, records)) => read += records.len() as u64,
            Ok(_) => {}
            Err(EventLogError::Corrupt { offset, .. }) => {
                assert_eq!(offset, read + reported, "one by one");
                reported += 1;
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert!((1..=20).contains(&reported), "{reported} of {end} records were in one page");
}
