//! A process that is killed while it appends, and files that end too early.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
};

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

use super::{Embedded, open, small};
use crate::{
    event_log::{
        EventLog, LogEvent, Offset, Partition, Position, Record, Topic,
        conformance::{ALL_YOU_CAN_READ, ends_of, next, record},
        embedded::segment,
    },
    settings::EventLogSettings,
};

/// Set in the child: the log's directory, and the number of the round.
const DIR_VARIABLE: &str = "HELIOMETER_TEST_EVENT_LOG_DIR";
const ROUND_VARIABLE: &str = "HELIOMETER_TEST_EVENT_LOG_ROUND";

fn settings() -> EventLogSettings {
    EventLogSettings { segment_bytes: 512 * 1024, ..small() }
}

/// A body that can be told from its key, of 0 to 8 KB.
fn body_of(key: &str) -> Vec<u8> {
    let size = crc32fast::hash(key.as_bytes()) % 8192;
    key.bytes().cycle().take(size as usize).collect()
}

/// Not a test on its own: the next one runs it in a child process and kills it.
#[test]
fn child_that_appends_until_it_is_killed() {
    let (Ok(dir), Ok(round)) = (std::env::var(DIR_VARIABLE), std::env::var(ROUND_VARIABLE)) else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("starts").block_on(async {
        let log = Arc::new(open(Path::new(&dir), &settings()).expect("opens"));
        println!();
        for task in 0..16 {
            let (log, round) = (Arc::clone(&log), round.clone());
            tokio::spawn(async move {
                for n in 0.. {
                    let key = format!("{round}/{task}/{n}");
                    let append = log.append(Topic::Webhooks, record(&key, body_of(&key), 0));
                    let position = append.await.expect("appends");
                    println!("appended {} {} {key}", position.partition.0, position.offset.0);
                }
            });
        }
        let mut subscription = log.subscribe(Topic::Webhooks, "child", ALL_YOU_CAN_READ).await.expect("subscribes");
        loop {
            if let LogEvent::Records(_, records) = subscription.next().await.expect("reads") {
                let ends = ends_of(&records);
                subscription.commit(&ends).await.expect("commits");
                for (partition, end) in ends {
                    println!("committed {} {} -", partition.0, end.0);
                }
            }
        }
    });
}

/// Everything in the log, and the committed offsets of the child's group.
async fn read_all(dir: &Path, settings: &EventLogSettings) -> (Vec<Record>, BTreeMap<Partition, Offset>) {
    let log = open(dir, settings).expect("opens");
    let marks = log.watermarks(Topic::Webhooks).await.expect("reads");
    let total: u64 = marks.iter().map(|mark| mark.end.0 - mark.start.0).sum();
    let mut subscription = log.subscribe(Topic::Webhooks, "child", ALL_YOU_CAN_READ).await.expect("subscribes");
    let committed = subscription.committed().await.expect("reads").into_iter().collect();
    subscription.seek_to_time(crate::domain::UtcMillis(i64::MIN)).await.expect("seeks");
    let mut records = Vec::new();
    while (records.len() as u64) < total {
        if let LogEvent::Records(_, more) = next(&mut *subscription).await.expect("reads") {
            records.extend(more);
        }
    }
    drop(subscription);
    log.close().await;
    (records, committed)
}

/// Runs the child and kills it after it has told of `lines` things; returns all that it told.
fn run_and_kill(dir: &Path, round: usize, lines: usize) -> Vec<String> {
    let mut child = Command::new(std::env::current_exe().expect("is known"))
        .args(["event_log::embedded::tests::crash::child_that_appends_until_it_is_killed", "--exact", "--nocapture"])
        .env(DIR_VARIABLE, dir)
        .env(ROUND_VARIABLE, round.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("starts");
    let mut reader = BufReader::new(child.stdout.take().expect("is piped"));
    let (mut told, mut line) = (Vec::new(), String::new());
    while reader.read_line(&mut line).expect("reads") > 0 {
        // A line that was cut by the kill was not told.
        if line.ends_with('\n') && (line.starts_with("appended ") || line.starts_with("committed ")) {
            told.push(line.trim_end().to_owned());
            if told.len() == lines {
                child.kill().expect("kills"); // SIGKILL
            }
        }
        line.clear();
    }
    child.wait().expect("ends");
    told
}

#[test]
fn a_killed_process_loses_no_acknowledged_record() {
    let dir = Embedded::new().0;
    let mut random = StdRng::seed_from_u64(20_250_908);
    let runtime = runtime();
    let mut acknowledged: BTreeMap<(u16, u64), String> = BTreeMap::new();
    for round in 0..15 {
        let lines = random.random_range(1..600);
        let mut committed_at_least: BTreeMap<u16, u64> = BTreeMap::new();
        let told = run_and_kill(dir.path(), round, lines);
        assert!(told.len() >= lines, "round {round}: the child ended by itself");
        for line in told {
            let words: Vec<&str> = line.split(' ').collect();
            let partition: u16 = words[1].parse().expect("is a number");
            let offset: u64 = words[2].parse().expect("is a number");
            if words[0] == "appended" {
                let earlier = acknowledged.insert((partition, offset), words[3].to_owned());
                assert_eq!(earlier, None, "round {round}: an offset was given out twice");
            } else {
                committed_at_least.insert(partition, offset);
            }
        }
        let (records, committed) = runtime.block_on(read_all(dir.path(), &settings()));
        let (mut keys, mut next_offsets, mut last_of_task) = (BTreeSet::new(), BTreeMap::new(), BTreeMap::new());
        let mut found = BTreeMap::new();
        for record in &records {
            let key = String::from_utf8(record.key.to_vec()).expect("is text");
            let (partition, offset) = (record.position.partition.0, record.position.offset.0);
            let next: &mut u64 = next_offsets.entry(partition).or_default();
            assert_eq!(offset, *next, "round {round}: offsets have a gap");
            *next += 1;
            assert_eq!(record.body, body_of(&key), "round {round}: {key} is not what was written");
            let (task, n) = key.rsplit_once('/').expect("has parts");
            let n: u64 = n.parse().expect("is a number");
            let last = last_of_task.insert((partition, task.to_owned()), n);
            assert!(last.is_none_or(|last| last < n), "round {round}: {key} is out of order");
            assert!(keys.insert(key.clone()), "round {round}: {key} is there twice");
            found.insert((partition, offset), key);
        }
        for (place, key) in &acknowledged {
            assert_eq!(found.get(place), Some(key), "round {round}: an acknowledged record is lost");
        }
        for (partition, offset) in committed_at_least {
            assert!(committed[&Partition(partition)].0 >= offset, "round {round}: a commit is lost");
        }
    }
}

/// What happens to the write-ahead log of the newest segment.
#[derive(Clone, Copy, Debug)]
enum Harm {
    CutAt(u64),
    FlipAt(u64),
}

#[test]
fn a_log_whose_end_is_cut_or_damaged_keeps_all_before_and_invents_nothing() {
    let runtime = runtime();
    let dir = Embedded::new().0;
    let settings = EventLogSettings { partitions: 2, ..EventLogSettings::default() };
    let mut written = Vec::new();
    let image = Embedded::new().0;
    let log = runtime.block_on(async {
        let log = open(dir.path(), &settings).expect("opens");
        for n in 0..24 {
            let key = format!("key-{n}");
            let position = log.append(Topic::Webhooks, record(&key, body_of(&key), 0)).await.expect("appends");
            written.push((position, key, fs::metadata(wal(dir.path())).expect("is there").len()));
        }
        log
    });
    copy(dir.path(), image.path());
    runtime.block_on(log.close());
    let length = fs::metadata(wal(image.path())).expect("is there").len();
    assert_eq!(written.last().map(|(_, _, wal_bytes)| *wal_bytes), Some(length));
    let mut random = StdRng::seed_from_u64(4);
    let mut harms: Vec<Harm> = (length - 40..=length).chain(0..40).map(Harm::CutAt).collect();
    for (_, _, wal_bytes) in &written {
        harms.extend([wal_bytes - 1, *wal_bytes, wal_bytes + 1].map(|at| Harm::CutAt(at.min(length))));
    }
    for _ in 0..100 {
        harms.push(Harm::CutAt(random.random_range(0..length)));
        harms.push(Harm::FlipAt(random.random_range(0..length)));
    }
    // Each opening waits for the disk a few times, so they wait together.
    std::thread::scope(|scope| {
        for some in harms.chunks(harms.len().div_ceil(8)) {
            scope.spawn(|| some.iter().for_each(|&harm| survives(harm, image.path(), &settings, &written)));
        }
    });
}

/// Harms a copy of `image` and reads what is left of `written`: records, each with the WAL's length when it was
/// acknowledged.
fn survives(harm: Harm, image: &Path, settings: &EventLogSettings, written: &[(Position, String, u64)]) {
    let copied = Embedded::new().0;
    copy(image, copied.path());
    let path = wal(copied.path());
    let intact_until = match harm {
        Harm::CutAt(at) => {
            fs::File::options().write(true).open(path).and_then(|file| file.set_len(at)).expect("cuts");
            at
        }
        Harm::FlipAt(at) => {
            let mut bytes = fs::read(&path).expect("reads");
            bytes[usize::try_from(at).expect("is small")] ^= 0x10;
            fs::write(&path, bytes).expect("writes");
            at
        }
    };
    let (records, _) = runtime().block_on(read_all(copied.path(), settings));
    for record in &records {
        let original = written.iter().find(|(position, ..)| *position == record.position);
        let (_, key, _) = original.unwrap_or_else(|| panic!("{harm:?}: {:?} was invented", record.position));
        assert_eq!(record.key, key.as_bytes(), "{harm:?}");
        assert_eq!(record.body, body_of(key), "{harm:?}");
    }
    let kept: BTreeSet<_> = records.iter().map(|record| record.position).collect();
    assert_eq!(kept.len(), records.len(), "{harm:?}: a record came twice");
    for (position, _, wal_bytes) in written {
        assert!(*wal_bytes > intact_until || kept.contains(position), "{harm:?}: {position:?} is lost");
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("starts")
}

/// The write-ahead log of the first segment.
fn wal(dir: &Path) -> PathBuf {
    dir.join(format!("{}-wal", segment::path(dir, 1).file_name().expect("has one").display()))
}

/// Copies the files of a log that may be open, as a power cut would leave them.
fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).expect("lists") {
        let entry = entry.expect("lists");
        let name = entry.file_name().into_string().expect("is text");
        // Shared memory and the lock do not survive a process.
        if !name.ends_with("-shm") && name != "lock" {
            fs::copy(entry.path(), to.join(name)).expect("copies");
        }
    }
}
