//! Writes that fail half way, as on a full disk.

use std::process::Command;

use futures_util::future::join_all;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::{Embedded, open, small};
use crate::{
    event_log::{
        EmbeddedLog, EventLog, EventLogError, Position, Topic,
        conformance::{record, subscribe, take},
    },
    settings::EventLogSettings,
};

const CHILD_VARIABLE: &str = "HELIOMETER_TEST_EVENT_LOG_FULL_DISK";

/// Appends 64 records at once.
async fn append_batch(log: &EmbeddedLog, batch: usize) -> Vec<(String, Result<Position, EventLogError>)> {
    let keys: Vec<String> = (0..64).map(|n| format!("{batch}/{n}")).collect();
    let appends = keys.iter().map(|key| log.append(Topic::Webhooks, record(key, vec![b'x'; 3000], 0)));
    let results = join_all(appends).await;
    keys.into_iter().zip(results).collect()
}

async fn fill_up_and_go_on() {
    let dir = Embedded::new().0;
    let settings = EventLogSettings { segment_bytes: 256 << 20, ..small() };
    let log = open(dir.path(), &settings).expect("opens");
    let mut taken = Vec::new();
    let mut limits = Vec::new();
    // A file may grow to this; the next byte fails. Each limit falls somewhere within a transaction's writes.
    for limit in [400_000, 900_001, 1_500_777] {
        let unlimited = getrlimit(Resource::Fsize);
        setrlimit(Resource::Fsize, Rlimit { current: Some(limit), ..unlimited }).expect("limits");
        let mut failed = 0;
        while failed < 3 {
            for (key, result) in append_batch(&log, limits.len()).await {
                match result {
                    Ok(position) => taken.push((position, key)),
                    Err(EventLogError::Storage { .. } | EventLogError::DiskFull { .. }) => failed += 1,
                    Err(error) => panic!("{error}"),
                }
            }
            limits.push(limit);
        }
        setrlimit(Resource::Fsize, unlimited).expect("lifts the limit");
        for (key, result) in append_batch(&log, limits.len()).await {
            taken.push((result.expect("there is room again"), key));
        }
        limits.push(limit);
    }
    check(&log, &taken).await;
    log.close().await;
    let log = open(dir.path(), &settings).expect("opens");
    check(&log, &taken).await;
}

/// What was acknowledged is there and nothing else, without gaps.
async fn check(log: &EmbeddedLog, taken: &[(Position, String)]) {
    let total: u64 = log.watermarks(Topic::Webhooks).await.expect("reads").iter().map(|mark| mark.end.0).sum();
    assert_eq!(total, taken.len() as u64, "a failed append left a record or a hole");
    let records = take(&mut *subscribe(log, "group").await, taken.len()).await;
    for (position, key) in taken {
        let found = records.iter().find(|record| record.position == *position).expect("is there");
        assert_eq!(found.key, key.as_bytes());
    }
}

/// Not a test on its own: the limit on file sizes is the whole process's, so the next test runs this in a child.
#[test]
fn child_on_a_disk_that_fills_up() {
    if std::env::var(CHILD_VARIABLE).is_ok() {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        runtime.expect("starts").block_on(fill_up_and_go_on());
    }
}

#[test]
fn a_disk_that_fills_up_within_a_transaction_acknowledges_nothing_and_goes_on_when_there_is_room() {
    // The shell ignores the signal that a too large file raises, and what it runs inherits that.
    let output = Command::new("sh")
        .args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""])
        .arg(std::env::current_exe().expect("is known"))
        .args(["event_log::embedded::tests::full_disk::child_on_a_disk_that_fills_up", "--exact", "--nocapture"])
        .env(CHILD_VARIABLE, "1")
        .output()
        .expect("starts");
    let (told, complaints) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && told.contains("1 passed"), "{told}\n{complaints}");
}
