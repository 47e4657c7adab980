//! One thing at a time.

use std::{collections::BTreeSet, fs, path::Path, sync::Arc};

use bytes::Bytes;

use super::{Behaviour, CALM, HASTY, PATIENCE, Remote, Run, check, directory, open, settings};
use crate::{
    domain::UtcMillis,
    event_log::{EventLog, EventLogError, Header, NewRecord, SPOOL_PARTITION, Topic},
    settings::EventLogSettings,
    telemetry::{Health, PartState},
};

/// Appends `key/0`, `key/1` and so on for a few keys, and says which.
async fn append_some(run: &Run, numbers: std::ops::Range<u64>) -> BTreeSet<(usize, u64)> {
    let mut acknowledged = BTreeSet::new();
    for number in numbers {
        for key in 0..5 {
            run.append(&key.to_string(), &format!("{key}/{number}")).await.expect("is taken");
            acknowledged.insert((key, number));
        }
    }
    acknowledged
}

fn kafka(health: &Health) -> PartState {
    health.snapshot().1["kafka"].clone()
}

#[tokio::test]
async fn a_remote_that_is_there_gets_everything_directly() {
    let (remote, dir) = (Remote::new(Behaviour::Up), directory());
    let run = open(CALM, &remote, dir.path(), &settings()).await;
    let acknowledged = append_some(&run, 0..20).await;
    check(&remote, &acknowledged);
    assert!(run.metric("heliometer_spooled_total").abs() < 0.5);
    assert_eq!(kafka(&run.health), PartState::Ready);
    run.log.close().await;
}

#[tokio::test]
async fn what_comes_while_the_remote_is_away_arrives_as_it_was() {
    let (remote, dir) = (Remote::new(Behaviour::Down), directory());
    let run = open(CALM, &remote, dir.path(), &settings()).await;
    let written = NewRecord {
        key: Bytes::from_static(b"k\0\xFF"),
        body: Bytes::from_static(b"{\"untouched\": \xF0\x9F\xA6\x80}"),
        timestamp: UtcMillis(1_757_346_297_250),
        headers: vec![Header { name: "source".to_owned(), value: Bytes::from_static(b"default") }],
    };
    let position = run.log.append(Topic::Webhooks, written.clone()).await.expect("the spool takes it");
    assert_eq!(position.partition, SPOOL_PARTITION);
    assert_eq!(run.log.read(position).await.expect("reads").expect("is there").body, written.body);
    assert!(matches!(kafka(&run.health), PartState::Degraded(_)));
    run.clock.set(written.timestamp.plus(std::time::Duration::from_secs(90)));
    assert!((run.metric("heliometer_spool_records") - 1.0).abs() < 0.5);
    assert!((run.metric("heliometer_spool_oldest_age_seconds") - 90.0).abs() < 0.01);
    assert!(run.metric("heliometer_spool_disk_bytes") > 0.0);

    remote.become_(Behaviour::Up);
    run.until_direct().await;
    {
        let taken = remote.taken.lock().expect("no panic under the lock");
        let [arrived] = &taken[..] else { panic!("{} records arrived", taken.len()) };
        assert_eq!((&arrived.key, &arrived.body), (&written.key, &written.body));
        assert_eq!((arrived.timestamp, &arrived.headers), (written.timestamp, &written.headers));
    }
    assert_eq!(kafka(&run.health), PartState::Ready);
    assert!(run.metric("heliometer_spool_records").abs() < 0.5);
    assert!(run.metric("heliometer_spool_oldest_age_seconds").abs() < 0.01);
    assert!((run.metric("heliometer_spooled_total") - 1.0).abs() < 0.5);
    assert!((run.metric("heliometer_spool_drained_total") - 1.0).abs() < 0.5);
    let direct = run.append("k", "9/9").await.expect("the remote takes it");
    assert_ne!(direct.partition, SPOOL_PARTITION);
    run.log.close().await;
}

#[tokio::test]
async fn a_remote_that_hangs_keeps_nobody_waiting_and_what_arrives_late_is_only_a_duplicate() {
    let (remote, dir) = (Remote::new(Behaviour::Hang), directory());
    let run = open(HASTY, &remote, dir.path(), &settings()).await;
    let acknowledged = append_some(&run, 0..20).await;
    remote.become_(Behaviour::Up);
    run.until_direct().await;
    check(&remote, &acknowledged);
    run.log.close().await;
}

#[tokio::test]
async fn a_remote_that_refuses_some_gets_all_in_order() {
    let (remote, dir) = (Remote::new(Behaviour::Down), directory());
    let run = open(CALM, &remote, dir.path(), &settings()).await;
    let mut acknowledged = append_some(&run, 0..40).await;
    remote.become_(Behaviour::FailEvery(7));
    acknowledged.append(&mut append_some(&run, 40..80).await);
    run.until_direct().await;
    check(&remote, &acknowledged);
    assert_eq!(remote.bodies().len(), acknowledged.len(), "what was taken is not sent again");
    run.log.close().await;
}

#[tokio::test]
async fn a_closed_spool_is_drained_by_the_next_run_before_anything_else() {
    let (remote, dir) = (Remote::new(Behaviour::Down), directory());
    let run = open(CALM, &remote, dir.path(), &settings()).await;
    let mut acknowledged = append_some(&run, 0..30).await;
    run.log.close().await;
    assert!(matches!(run.append("0", "0/99").await, Err(EventLogError::Closed)));

    let run = open(CALM, &remote, dir.path(), &settings()).await;
    assert!(matches!(kafka(&run.health), PartState::Degraded(_)));
    assert!((run.metric("heliometer_spool_records") - 150.0).abs() < 0.5);
    remote.become_(Behaviour::Up);
    acknowledged.append(&mut append_some(&run, 30..40).await);
    run.until_direct().await;
    check(&remote, &acknowledged);
    run.log.close().await;
}

fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).expect("lists").map(|entry| entry.expect("is there").path()) {
        fs::copy(&entry, to.join(entry.file_name().expect("has a name"))).expect("copies");
    }
}

#[tokio::test]
async fn a_killed_process_loses_nothing() {
    let (remote, dir, left) = (Remote::new(Behaviour::Down), directory(), directory());
    let run = open(CALM, &remote, dir.path(), &settings()).await;
    let acknowledged = append_some(&run, 0..30).await;
    // What a kill would leave: nothing was closed or flushed for it.
    copy(dir.path(), left.path());
    run.log.close().await;
    remote.become_(Behaviour::Up);
    let run = open(CALM, &remote, left.path(), &settings()).await;
    run.until_direct().await;
    check(&remote, &acknowledged);
    run.log.close().await;
}

#[tokio::test]
async fn damaged_records_are_counted_and_not_in_the_way_of_the_others() {
    let (remote, dir) = (Remote::new(Behaviour::Down), directory());
    let run = open(CALM, &remote, dir.path(), &settings()).await;
    let mut acknowledged = append_some(&run, 0..2).await;
    run.log.close().await;
    let files = fs::read_dir(dir.path()).expect("lists").map(|entry| entry.expect("is there").path());
    let segments: Vec<_> = files.filter(|file| file.to_string_lossy().contains("segment-")).collect();
    assert_eq!(segments.len(), 1);
    let connection = rusqlite::Connection::open(&segments[0]).expect("opens");
    // One in the middle, and the last one, behind which nothing comes.
    let damage = "UPDATE \"records/webhooks/0\" SET body = x'00' WHERE offset IN (4, 9)";
    assert_eq!(connection.execute(damage, []).expect("changes the file"), 2);
    drop(connection);
    assert!(acknowledged.remove(&(4, 0)) && acknowledged.remove(&(4, 1)));

    remote.become_(Behaviour::Up);
    let run = open(CALM, &remote, dir.path(), &settings()).await;
    run.until_direct().await;
    check(&remote, &acknowledged);
    assert!((run.metric("heliometer_spool_damaged_total") - 2.0).abs() < 0.5);
    run.log.close().await;
}

#[tokio::test]
async fn a_full_spool_refuses_and_what_it_took_arrives() {
    let (remote, dir) = (Remote::new(Behaviour::Down), directory());
    let bounded = EventLogSettings { spool_max_disk_bytes: 512 * 1024, ..settings() };
    let run = open(CALM, &remote, dir.path(), &bounded).await;
    let padding = " ".repeat(2000);
    let mut acknowledged = BTreeSet::new();
    let error = loop {
        let number = acknowledged.len() as u64;
        let padded = NewRecord {
            key: padding.clone().into(),
            ..crate::event_log::conformance::record("", format!("0/{number}"), 0)
        };
        match run.log.append(Topic::Webhooks, padded).await {
            Ok(_) => assert!(acknowledged.insert((0, number))),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, EventLogError::DiskFull { .. }), "{error}");
    // The bound is looked at before each write, so the last one comes on top, with its pages in SQLite's WAL.
    assert!(run.metric("heliometer_spool_disk_bytes") <= 640.0 * 1024.0);
    remote.become_(Behaviour::Up);
    run.until_direct().await;
    check(&remote, &acknowledged);
    // There is room for the next time.
    remote.become_(Behaviour::Down);
    run.append("0", "0/1000").await.expect("the spool was emptied");
    run.log.close().await;
}

#[tokio::test]
async fn what_the_remote_will_never_take_is_refused_also_while_it_is_away() {
    let (remote, dir) = (Remote::new(Behaviour::Up), directory());
    let run = open(CALM, &remote, dir.path(), &settings()).await;
    let large = "x".repeat(remote.max_record_bytes + 1);
    assert!(matches!(run.append("k", &large).await, Err(EventLogError::RecordTooLarge { .. })));
    remote.become_(Behaviour::Down);
    run.append("0", "0/0").await.expect("the spool takes it");
    assert!(matches!(run.append("k", &large).await, Err(EventLogError::RecordTooLarge { .. })));
    run.log.close().await;
}

#[tokio::test]
async fn while_spooling_no_append_waits_for_the_remote() {
    let (remote, dir) = (Remote::new(Behaviour::Down), directory());
    let run = open(CALM, &remote, dir.path(), &settings()).await;
    run.append("0", "0/0").await.expect("the spool takes it");
    // From here on an append that asked the remote would not come back.
    remote.become_(Behaviour::Hang);
    let appends = async {
        for number in 1..20 {
            run.append("0", &format!("0/{number}")).await.expect("the spool takes it");
        }
    };
    tokio::time::timeout(PATIENCE / 2, appends).await.expect("nobody waits");
    remote.become_(Behaviour::Up);
    run.until_direct().await;
    run.log.close().await;
}

#[tokio::test]
async fn dead_letters_do_not_go_to_the_spool() {
    let (remote, dir) = (Remote::new(Behaviour::Down), directory());
    let run = open(CALM, &remote, dir.path(), &settings()).await;
    let letter = crate::event_log::conformance::record("k", "letter", 0);
    assert!(run.log.append(Topic::DeadLetter, letter).await.is_err());
    assert!(run.metric("heliometer_spooled_total").abs() < 0.5);
    run.log.close().await;
}

#[tokio::test]
async fn a_pace_of_zero_is_refused() {
    let (remote, dir) = (Remote::new(Behaviour::Up), directory());
    let zero = EventLogSettings { spool_after_ms: 0, ..settings() };
    let clock = Arc::new(crate::domain::SystemClock);
    let registry = prometheus::Registry::new();
    let opened = super::SpooledLog::open(remote, dir.path(), &zero, clock, Health::default(), &registry).await;
    assert!(matches!(opened.err(), Some(EventLogError::Settings { key, .. }) if key == "spool_after_ms"));
}
