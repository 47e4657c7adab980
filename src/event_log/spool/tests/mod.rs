//! The spool before a remote log that is away, hangs, or takes only some, on command.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use prometheus::Registry;
use tempfile::TempDir;
use tokio::sync::watch;

use super::{Pace, SpooledLog};
use crate::{
    domain::{ManualClock, UtcMillis},
    event_log::{
        EventLog, EventLogError, NewRecord, Offset, Partition, Position, ReadLimits, Record, Subscription, Topic,
        Watermarks, conformance::record,
    },
    settings::EventLogSettings,
    telemetry::Health,
};

mod behaviour;
mod gate;
mod patience;
mod property;

/// Far longer than anything takes.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Behaviour {
    /// Takes every record.
    Up,
    /// Refuses at once.
    Down,
    /// Does not answer until it behaves otherwise; what was asked then arrives all the same, too late.
    Hang,
    /// Refuses every n-th append.
    FailEvery(usize),
}

/// Keeps what it takes in one list.
struct Remote {
    behaviour: watch::Sender<Behaviour>,
    taken: Mutex<Vec<NewRecord>>,
    late: Mutex<Vec<NewRecord>>,
    asked: AtomicUsize,
    max_record_bytes: usize,
}

impl Remote {
    fn new(behaviour: Behaviour) -> Arc<Self> {
        Arc::new(Self {
            behaviour: watch::Sender::new(behaviour),
            taken: Mutex::default(),
            late: Mutex::default(),
            asked: AtomicUsize::new(0),
            max_record_bytes: 1 << 20,
        })
    }

    /// Changes how it behaves. What hung before arrives now.
    fn become_(&self, behaviour: Behaviour) {
        let late = std::mem::take(&mut *self.late.lock().expect("no panic under the lock"));
        self.taken.lock().expect("no panic under the lock").extend(late);
        self.behaviour.send_replace(behaviour);
    }

    fn bodies(&self) -> Vec<String> {
        let taken = self.taken.lock().expect("no panic under the lock");
        taken.iter().map(|record| String::from_utf8_lossy(&record.body).into_owned()).collect()
    }

    fn take(&self, record: NewRecord) -> Position {
        let mut taken = self.taken.lock().expect("no panic under the lock");
        taken.push(record);
        Position { topic: Topic::Webhooks, partition: Partition(0), offset: Offset(taken.len() as u64 - 1) }
    }
}

#[async_trait]
impl EventLog for Remote {
    async fn append(&self, _: Topic, record: NewRecord) -> Result<Position, EventLogError> {
        let asked = self.asked.fetch_add(1, Ordering::SeqCst);
        if record.body.len() > self.max_record_bytes {
            let size_bytes = record.body.len();
            return Err(EventLogError::RecordTooLarge { size_bytes, max_bytes: self.max_record_bytes });
        }
        // A round trip: others get their turn in between.
        tokio::task::yield_now().await;
        let behaviour = *self.behaviour.borrow();
        match behaviour {
            Behaviour::Up => Ok(self.take(record)),
            Behaviour::FailEvery(n) if !asked.is_multiple_of(n) => Ok(self.take(record)),
            Behaviour::Down | Behaviour::FailEvery(_) => Err(EventLogError::Overloaded),
            Behaviour::Hang => {
                self.late.lock().expect("no panic under the lock").push(record);
                let mut behaviour = self.behaviour.subscribe();
                let _ = behaviour.wait_for(|behaviour| *behaviour != Behaviour::Hang).await;
                Err(EventLogError::Overloaded)
            }
        }
    }

    async fn subscribe(&self, _: Topic, _: &str, _: ReadLimits) -> Result<Box<dyn Subscription>, EventLogError> {
        Err(EventLogError::Overloaded)
    }

    async fn watermarks(&self, _: Topic) -> Result<Vec<Watermarks>, EventLogError> {
        Err(EventLogError::Overloaded)
    }

    async fn read(&self, _: Position) -> Result<Option<Record>, EventLogError> {
        Ok(None)
    }

    async fn enforce_retention(&self, _: UtcMillis) -> Result<(), EventLogError> {
        Ok(())
    }

    async fn close(&self) {}
}

/// One run of a spooled log.
struct Run {
    log: Arc<SpooledLog>,
    health: Health,
    registry: Registry,
    clock: Arc<ManualClock>,
}

/// Nothing hangs.
const CALM: Pace = Pace {
    spool_after: PATIENCE,
    drain_timeout: PATIENCE,
    first_pause: Duration::from_millis(1),
    longest_pause: Duration::from_millis(4),
};

/// For a remote that hangs.
const HASTY: Pace = Pace { spool_after: Duration::from_millis(10), drain_timeout: Duration::from_millis(20), ..CALM };

fn settings() -> EventLogSettings {
    EventLogSettings { segment_bytes: 16 * 1024, ..EventLogSettings::default() }
}

async fn open(pace: Pace, remote: &Arc<Remote>, dir: &Path, settings: &EventLogSettings) -> Run {
    let (health, registry, clock) = (Health::default(), Registry::new(), Arc::new(ManualClock::default()));
    let remote: Arc<dyn EventLog> = remote.clone();
    let log = SpooledLog::open_at(pace, remote, dir, settings, clock.clone(), health.clone(), &registry);
    Run { log: Arc::new(log.await.expect("opens")), health, registry, clock }
}

impl Run {
    async fn append(&self, key: &str, body: &str) -> Result<Position, EventLogError> {
        self.log.append(Topic::Webhooks, record(key, body.to_owned(), 0)).await
    }

    /// The value of a metric.
    fn metric(&self, name: &str) -> f64 {
        let families = self.registry.gather();
        let family = families.iter().find(|family| family.name() == name).expect("is registered");
        let metric = &family.get_metric()[0];
        metric.get_gauge().get_value() + metric.get_counter().get_value()
    }

    async fn until_direct(&self) {
        let direct = async {
            while self.log.gate.is_spooling() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(PATIENCE, direct).await.expect("the spool is drained");
    }
}

fn directory() -> TempDir {
    tempfile::tempdir().expect("makes a directory")
}

/// Every acknowledged `key/number` has arrived, and the first copies of each key in order.
fn check(remote: &Remote, acknowledged: &BTreeSet<(usize, u64)>) {
    let mut seen = BTreeSet::new();
    let mut last: BTreeMap<usize, u64> = BTreeMap::new();
    for body in remote.bodies() {
        let (key, number) = body.split_once('/').expect("key/number");
        let one = (key.parse().expect("a key"), number.parse().expect("a number"));
        // What was not acknowledged has no order to keep.
        if acknowledged.contains(&one) && seen.insert(one) {
            let before = last.insert(one.0, one.1);
            assert!(before.is_none_or(|before| before < one.1), "key {}: {} came after {before:?}", one.0, one.1);
        }
    }
    assert!(seen.is_superset(acknowledged), "{} of {} arrived", seen.len(), acknowledged.len());
}
