//! Moves what is in the spool to the remote log.
//!
//! Records leave in the spool's order, as many at once as have different keys, so that two of one key are never under
//! way together. One that fails is tried again before any later one of its key. The spool's offset is committed behind
//! the acknowledgement: a process that is killed in between sends those records a second time at its next start.

use std::{
    collections::{HashSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use futures_util::future::join_all;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::{Pace, gate::Gate, metrics::Metrics};
use crate::{
    crash_point::crash_point,
    domain::UtcMillis,
    event_log::{
        EmbeddedLog, EventLog, EventLogError, LogEvent, NewRecord, Offset, Partition, Position, ReadLimits, Record,
        Subscription, Topic, backoff::Backoff,
    },
};

/// How much is read, and at most under way, at once.
pub(super) const BATCH: ReadLimits = ReadLimits { max_records: 256, max_bytes: 8 * 1024 * 1024 };
/// The one reader of the spool.
pub(super) const GROUP: &str = "drainer";
/// At a stop, records under way are waited for this long; what is not acknowledged then is sent again.
const STOP_GRACE: Duration = Duration::from_secs(2);

/// See the module.
pub(super) struct Drainer {
    pub(super) remote: Arc<dyn EventLog>,
    pub(super) spool: Arc<EmbeddedLog>,
    pub(super) subscription: Box<dyn Subscription>,
    pub(super) gate: Arc<Gate>,
    pub(super) metrics: Metrics,
    pub(super) pace: Pace,
    pub(super) stop: CancellationToken,
    /// Segments are looked at for deletion whenever so many bytes have left.
    pub(super) reclaim_bytes: u64,
    pub(super) max_disk_bytes: u64,
}

/// What lasts from one batch to the next.
struct Progress {
    backoff: Backoff,
    /// After a failure one record at a time asks whether the remote is back.
    is_probing: bool,
    drained_bytes: u64,
    /// An offset that the spool could not store yet.
    uncommitted: Option<Offset>,
}

impl Drainer {
    /// Works until it is stopped.
    pub(super) async fn run(mut self) {
        let backoff = Backoff::new(self.pace.first_pause, self.pace.longest_pause);
        let mut progress = Progress { backoff, is_probing: false, drained_bytes: 0, uncommitted: None };
        let stop = self.stop.clone();
        loop {
            let event = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                event = self.subscription.next() => event,
                () = sleep(self.pace.longest_pause), if progress.uncommitted.is_some() => {
                    self.commit(None, &mut progress).await;
                    continue;
                }
            };
            match event {
                Ok(LogEvent::Records(_, records)) => {
                    if !self.deliver(records.into(), &mut progress).await {
                        return;
                    }
                }
                Ok(LogEvent::Assigned(_) | LogEvent::Revoked(_)) => {}
                Err(EventLogError::Closed) => return,
                Err(error @ EventLogError::Corrupt { offset, .. }) => {
                    tracing::error!(%error, "a webhook in the spool is damaged and lost; going on behind it");
                    self.metrics.damaged.inc();
                    let behind = Offset(offset).next();
                    self.commit(Some(behind), &mut progress).await;
                    self.gate.drained(behind, None);
                }
                Err(error) => {
                    if progress.backoff.is_news() {
                        tracing::error!(%error, "the spool cannot be read; trying again");
                    }
                    self.gate.failed(&error.to_string());
                    if !self.pause(&mut progress).await {
                        return;
                    }
                }
            }
        }
    }

    /// Sends one batch, however long it takes; `false` when it was stopped.
    async fn deliver(&mut self, mut pending: VecDeque<Record>, progress: &mut Progress) -> bool {
        let (Some(first), Some(last)) = (pending.front(), pending.back()) else { return true };
        let (mut reached, end) = (first.position.offset, last.position.offset.next());
        self.gate.reading(end, first.timestamp);
        while !pending.is_empty() {
            let count = if progress.is_probing { 1 } else { different_keys(&pending) };
            let Some(results) = self.send(pending.iter().take(count)).await else { return false };
            let (mut failed, mut failure, mut is_any_taken) = (VecDeque::new(), None, false);
            for (record, result) in pending.drain(..count).zip(results) {
                match result {
                    Ok(_) => {
                        is_any_taken = true;
                        self.metrics.drained.inc();
                        progress.drained_bytes += record.size_bytes() as u64;
                    }
                    Err(error) => {
                        failure.get_or_insert(error);
                        failed.push_back(record);
                    }
                }
            }
            failed.append(&mut pending);
            pending = failed;
            let (next, oldest) =
                pending.front().map_or((end, None), |record| (record.position.offset, Some(record.timestamp)));
            if next > reached {
                crash_point!(SpoolDelivered);
                reached = next;
                self.commit(Some(next), progress).await;
                self.gate.drained(next, oldest);
                self.reclaim(progress).await;
            }
            if is_any_taken {
                progress.backoff.reset();
            }
            progress.is_probing = failure.is_some();
            if let Some(error) = failure {
                self.failed(&error, progress);
                if !self.pause(progress).await {
                    return false;
                }
            }
        }
        true
    }

    /// Sends records at once and waits for all answers; `None` when it was stopped.
    async fn send(&self, records: impl Iterator<Item = &Record>) -> Option<Vec<Result<Position, EventLogError>>> {
        let appends = records.map(|record| async {
            let record = NewRecord {
                key: record.key.clone(),
                body: record.body.clone(),
                timestamp: record.timestamp,
                headers: record.headers.clone(),
            };
            let answer = timeout(self.pace.drain_timeout, self.remote.append(Topic::Webhooks, record)).await;
            answer.unwrap_or(Err(EventLogError::Overloaded))
        });
        let stopped = async {
            self.stop.cancelled().await;
            sleep(STOP_GRACE).await;
        };
        tokio::select! {
            results = join_all(appends) => Some(results),
            () = stopped => None,
        }
    }

    /// Stores how far it has come. Where that fails it goes on: the remote has the records, and that the spool does not
    /// know it only means that a later start sends them again.
    async fn commit(&mut self, reached: Option<Offset>, progress: &mut Progress) {
        let Some(offset) = reached.max(progress.uncommitted) else { return };
        progress.uncommitted = match self.subscription.commit(&[(Partition(0), offset)]).await {
            Ok(()) => None,
            Err(error) => {
                tracing::warn!(%error, "the spool's progress could not be stored; trying again");
                Some(offset)
            }
        };
    }

    /// Gives disk space back. What little remains is deleted by the service's regular pass.
    async fn reclaim(&self, progress: &mut Progress) {
        let is_crowded = self.spool.disk_bytes() >= self.max_disk_bytes / 2 && self.gate.waiting().records == 0;
        if progress.drained_bytes < self.reclaim_bytes && !is_crowded {
            return;
        }
        progress.drained_bytes = 0;
        if let Err(error) = enforce_retention(&self.spool).await {
            tracing::warn!(%error, "drained segments of the spool could not be removed");
        }
    }

    fn failed(&self, error: &EventLogError, progress: &mut Progress) {
        self.gate.failed(&error.to_string());
        if let EventLogError::RecordTooLarge { max_bytes, .. } = error {
            self.gate.learn_limit(*max_bytes);
        }
        if !progress.backoff.is_news() {
            return;
        }
        if matches!(error, EventLogError::RecordTooLarge { .. }) {
            tracing::error!(
                %error,
                "Kafka refuses a webhook of the spool for its size, and all others wait behind it: raise the topic's \
                 max.message.bytes and restart"
            );
        } else {
            tracing::warn!(%error, waiting = self.gate.waiting().records, "Kafka does not take the spool's webhooks yet");
        }
    }

    /// Waits before the next attempt; `false` when it was stopped.
    async fn pause(&self, progress: &mut Progress) -> bool {
        self.stop.run_until_cancelled(sleep(progress.backoff.next_pause())).await.is_some()
    }
}

/// Deletes all segments that were drained, however young: the remote keeps the records.
pub(super) async fn enforce_retention(spool: &EmbeddedLog) -> Result<(), EventLogError> {
    spool.enforce_retention(UtcMillis(i64::MAX)).await
}

/// How many records from the front have keys of their own.
fn different_keys(records: &VecDeque<Record>) -> usize {
    let mut keys = HashSet::new();
    records.iter().take_while(|record| keys.insert(&record.key)).count()
}
