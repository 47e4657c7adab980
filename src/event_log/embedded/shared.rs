//! What the writer, the readers and the handle of one open log have in common.

use std::{
    collections::HashSet,
    fs::File,
    path::PathBuf,
    sync::{
        Mutex, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::sync::watch;

use super::{
    catalog::Catalog,
    metrics::Metrics,
    segment,
    slots::{Slot, Slots},
};
use crate::event_log::{EventLogError, Topic};

/// A segment as its readers and retention see it. `Vec`s are by slot index.
#[derive(Clone, Debug)]
pub(super) struct SegmentView {
    pub(super) id: u64,
    pub(super) bases: Vec<u64>,
    pub(super) newest_ms: Vec<i64>,
    pub(super) disk_bytes: u64,
}

impl SegmentView {
    /// A segment without records.
    pub(super) fn empty(id: u64, bases: Vec<u64>) -> Self {
        let newest_ms = vec![segment::NO_TIMESTAMP; bases.len()];
        Self { id, bases, newest_ms, disk_bytes: 0 }
    }
}

/// All segments, oldest first, of which the last is being written, and the end offsets by slot index.
///
/// Offsets below `ends` are durable: the writer raises them after its commit and nobody reads beyond.
#[derive(Debug)]
pub(super) struct View {
    pub(super) segments: Vec<SegmentView>,
    pub(super) ends: Vec<u64>,
}

/// Where a reader continues: offsets from `from` up to but without `end` are in segment `id`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) id: u64,
    pub(super) from: u64,
    pub(super) end: u64,
}

impl View {
    /// The offset after the last one of segment number `index`.
    pub(super) fn end_in(&self, index: usize, slot: Slot) -> u64 {
        self.segments.get(index + 1).map_or(self.ends[slot.index], |next| next.bases[slot.index])
    }

    /// The oldest offset that is kept.
    pub(super) fn start(&self, slot: Slot) -> u64 {
        self.segments.first().map_or(self.ends[slot.index], |first| first.bases[slot.index])
    }

    /// The first place at or after offset `from`, `None` when nothing is kept from there on.
    pub(super) fn locate(&self, slot: Slot, from: u64) -> Option<Place> {
        self.segments.iter().enumerate().find_map(|(index, segment)| {
            let (from, end) = (from.max(segment.bases[slot.index]), self.end_in(index, slot));
            (from < end).then_some(Place { id: segment.id, from, end })
        })
    }

    /// Bytes of all segments on disk.
    pub(super) fn disk_bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.disk_bytes).sum()
    }
}

/// See the module.
pub(super) struct Shared {
    pub(super) dir: PathBuf,
    pub(super) slots: Slots,
    pub(super) segment_bytes: u64,
    pub(super) max_disk_bytes: u64,
    pub(super) catalog: Catalog,
    pub(super) metrics: Metrics,
    view: RwLock<View>,
    /// By topic: changed whenever something was appended, and at closing.
    appended: [watch::Sender<()>; Topic::ALL.len()],
    subscriptions: Mutex<HashSet<(Topic, String)>>,
    is_closed: AtomicBool,
    /// Held as long as the log is open.
    lock: File,
}

impl Shared {
    pub(super) fn new(
        dir: PathBuf,
        slots: Slots,
        (segment_bytes, max_disk_bytes): (u64, u64),
        catalog: Catalog,
        metrics: Metrics,
        view: View,
        lock: File,
    ) -> Self {
        let shared = Self {
            dir,
            slots,
            segment_bytes,
            max_disk_bytes,
            catalog,
            metrics,
            view: RwLock::new(view),
            appended: Topic::ALL.map(|_| watch::Sender::new(())),
            subscriptions: Mutex::new(HashSet::new()),
            is_closed: AtomicBool::new(false),
            lock,
        };
        shared.change(|_| ());
        shared
    }

    /// Looks at the view. `look` must not block.
    pub(super) fn look<T>(&self, look: impl FnOnce(&View) -> T) -> T {
        // The view is replaced field by field without panics, so a poisoned one is still whole.
        look(&self.view.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Changes the view. `change` must not block.
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut View) -> T) -> T {
        let mut view = self.view.write().unwrap_or_else(PoisonError::into_inner);
        let result = change(&mut view);
        self.metrics.disk_bytes.set(i64::try_from(view.disk_bytes()).unwrap_or(i64::MAX));
        self.metrics.segments.set(i64::try_from(view.segments.len()).unwrap_or(i64::MAX));
        result
    }

    /// Wakes the readers of `topic`.
    pub(super) fn announce(&self, topic: Topic) {
        self.appended[topic as usize].send_replace(());
    }

    /// Follows the appends to `topic`.
    pub(super) fn follow(&self, topic: Topic) -> watch::Receiver<()> {
        self.appended[topic as usize].subscribe()
    }

    /// Takes the place of `group`'s one subscriber; `false` when it is taken.
    pub(super) fn enter(&self, topic: Topic, group: &str) -> bool {
        self.subscriptions.lock().unwrap_or_else(PoisonError::into_inner).insert((topic, group.to_owned()))
    }

    /// Gives the place back.
    pub(super) fn leave(&self, topic: Topic, group: String) {
        self.subscriptions.lock().unwrap_or_else(PoisonError::into_inner).remove(&(topic, group));
    }

    pub(super) fn ensure_open(&self) -> Result<(), EventLogError> {
        if self.is_closed.load(Ordering::Acquire) { Err(EventLogError::Closed) } else { Ok(()) }
    }

    /// Closes for readers and committers and lets another process open the directory.
    pub(super) fn close(&self) {
        self.is_closed.store(true, Ordering::Release);
        for topic in Topic::ALL {
            self.announce(topic);
        }
        if let Err(error) = self.lock.unlock() {
            tracing::warn!(%error, "the event log's directory stays locked until this process ends");
        }
    }
}
