//! The loop.

use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::{
    task::JoinSet,
    time::{Instant, MissedTickBehavior},
};
use tokio_util::sync::CancellationToken;

use super::{Deferral, waiting::Waiting};
use crate::{
    consumer::{
        ConsumerError, ConsumerParts, Draft, RETRY_GROUP, backoff,
        batching::{Batching, Finished, InFlight, sleep_until, sooner},
        bodies::settle,
        decide::{Decoded, decode},
        offsets::OffsetTracker,
    },
    crash_point::crash_point,
    domain::{PresignedUrl, UtcMillis},
    event_log::{LogEvent, Offset, Partition, ReadLimits, Record, Subscription, Topic},
    fetch::{FetchStatus, Wanted},
};

const READ_LIMITS: ReadLimits = ReadLimits { max_records: 500, max_bytes: 4 * 1024 * 1024 };
/// Records in memory at once, waiting or being asked for.
const MAX_RECORDS: usize = 10_000;
/// Their bytes; a single larger one is taken alone.
const MAX_BYTES: usize = 64 * 1024 * 1024;
/// Lag is measured, and what needs no batch is committed, this often.
const HOUSEKEEPING_EVERY: Duration = Duration::from_secs(5);

/// One member of the consumer group of `fetch-retry`. See the module.
pub struct RetryConsumer {
    parts: Arc<ConsumerParts>,
    subscription: Box<dyn Subscription>,
    partitions: HashMap<Partition, OffsetTracker>,
    waiting: Waiting<Turn>,
    /// Each gives the row, with its object or without it for good; `None` when it was put off once more.
    attempts: JoinSet<(Option<Finished>, InFlight)>,
    batching: Batching,
    in_flight_records: usize,
    in_flight_bytes: usize,
}

/// A record that waits for its turn.
struct Turn {
    message: InFlight,
    deferral: Deferral,
    draft: Draft,
    url: PresignedUrl,
}

impl RetryConsumer {
    /// Joins the group.
    ///
    /// # Errors
    /// [`ConsumerError`] when the log cannot be read.
    pub async fn join(parts: Arc<ConsumerParts>) -> Result<Self, ConsumerError> {
        let subscription = parts.log.subscribe(Topic::FetchRetry, RETRY_GROUP, READ_LIMITS).await?;
        Ok(Self {
            batching: Batching::new(parts.clone()),
            parts,
            subscription,
            partitions: HashMap::new(),
            waiting: Waiting::new(),
            attempts: JoinSet::new(),
            in_flight_records: 0,
            in_flight_bytes: 0,
        })
    }

    /// Works until `shutdown`, then writes and commits what has come. What waits or is being asked for then is read
    /// again by the next run: nobody should wait for a slow storage to stop.
    ///
    /// # Errors
    /// [`ConsumerError`] when it cannot go on; records not committed are read again by the next run.
    pub async fn run(mut self, shutdown: CancellationToken) -> Result<(), ConsumerError> {
        let mut housekeeping = tokio::time::interval(HOUSEKEEPING_EVERY);
        housekeeping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut deadline: Option<Instant> = None;
        loop {
            let is_stopping = deadline.is_some();
            if is_stopping && self.batching.is_idle() {
                break;
            }
            self.batching.write_if_due(is_stopping);
            let next_turn = if is_stopping { None } else { self.start_attempts() };
            let wake_at = sooner(self.batching.flush_at(), next_turn);
            self.parts.metrics.retry_waiting(self.waiting.len());
            tokio::select! {
                event = self.subscription.next(), if !is_stopping && self.has_room() => match event {
                    Ok(event) => self.handle(event),
                    Err(error) => {
                        tracing::error!(%error, "the topic fetch-retry cannot be read; trying again");
                        tokio::time::sleep(backoff::FIRST).await;
                    }
                },
                Some(ended) = self.attempts.join_next(), if !self.attempts.is_empty() => {
                    let (finished, message) = ended?;
                    self.ended(finished, message);
                }
                written = self.batching.written() => {
                    let written = written?;
                    crash_point!(RetryWritten);
                    for message in written {
                        self.finish(message);
                    }
                    self.commit().await;
                }
                () = sleep_until(wake_at) => {}
                _ = housekeeping.tick() => {
                    self.commit().await;
                    self.report_lag().await;
                }
                () = shutdown.cancelled(), if !is_stopping => {
                    self.attempts = JoinSet::new();
                    deadline = Some(Instant::now() + self.parts.shutdown_timeout);
                }
                () = sleep_until(deadline) => break,
            }
        }
        self.commit().await;
        Ok(())
    }

    fn has_room(&self) -> bool {
        self.in_flight_records < MAX_RECORDS && self.in_flight_bytes < MAX_BYTES
    }

    fn handle(&mut self, event: LogEvent) {
        match event {
            LogEvent::Assigned(partitions) => {
                self.partitions.extend(partitions.into_iter().map(|partition| (partition, OffsetTracker::default())));
            }
            LogEvent::Revoked(partitions) => {
                self.partitions.retain(|partition, _| !partitions.contains(partition));
                // Attempts under way go on and are harmless, as their rows equal those of the next owner.
                let mut left = Vec::new();
                self.waiting.retain(|Turn { message, .. }| {
                    let stays = !partitions.contains(&message.partition);
                    left.extend((!stays).then_some(*message));
                    stays
                });
                for message in left {
                    self.forget(message);
                }
            }
            LogEvent::Records(partition, records) => {
                for record in &records {
                    self.receive(partition, record);
                }
            }
        }
    }

    fn receive(&mut self, partition: Partition, record: &Record) {
        let Some(tracker) = self.partitions.get_mut(&partition) else { return };
        let message = InFlight { partition, offset: record.position.offset, size_bytes: record.size_bytes() };
        tracker.start(message.offset);
        self.in_flight_records += 1;
        self.in_flight_bytes += message.size_bytes;
        let turn = Deferral::read(record).and_then(|deferral| {
            let Decoded::Call(draft) = decode(&deferral.webhook) else { return None };
            let url = draft.url()?.clone();
            Some(Turn { message, deferral, draft: *draft, url })
        });
        let Some(turn) = turn else {
            // Its row is there already, without the object.
            tracing::error!(position = %record.position, "a record of fetch-retry cannot be understood and is left out");
            self.parts.metrics.retried("unreadable");
            self.finish(message);
            return;
        };
        self.wait(turn.deferral.not_before, turn);
    }

    fn wait(&mut self, not_before: UtcMillis, turn: Turn) {
        let expires_at = turn.url.expires_at(turn.draft.received_at());
        self.waiting.push(not_before, expires_at, turn);
    }

    /// Starts what is due and has a place, and says how long until the next one is due.
    fn start_attempts(&mut self) -> Option<Duration> {
        while self.attempts.len() < self.parts.fetcher.retry_concurrency() {
            let now = self.parts.clock.now();
            let Some(turn) = self.waiting.pop(now) else {
                return self.waiting.next_due().map(|at| at.since(now));
            };
            match self.parts.fetcher.host_open_for(&turn.url) {
                // Waits here for its host. Where that would fill the room, it goes back to the log, behind the others.
                Some(wait) if self.has_room() => self.wait(now.plus(wait), turn),
                _ => drop(self.attempts.spawn(attempt(self.parts.clone(), turn))),
            }
        }
        // The end of an attempt wakes the loop.
        None
    }

    fn ended(&mut self, finished: Option<Finished>, message: InFlight) {
        if let Some(finished) = finished {
            self.parts.metrics.retried(&finished.row.fetch_status);
            self.batching.push_request(finished, None, message);
        } else {
            self.parts.metrics.retried(FetchStatus::Pending.as_str());
            self.finish(message);
        }
    }

    fn finish(&mut self, message: InFlight) {
        if let Some(tracker) = self.partitions.get_mut(&message.partition) {
            tracker.finish(message.offset);
        }
        self.forget(message);
    }

    fn forget(&mut self, message: InFlight) {
        self.in_flight_records -= 1;
        self.in_flight_bytes -= message.size_bytes;
    }

    async fn commit(&mut self) {
        let offsets: Vec<(Partition, Offset)> = self
            .partitions
            .iter()
            .filter_map(|(partition, tracker)| Some((*partition, tracker.committable()?)))
            .collect();
        if let Err(error) = self.subscription.commit(&offsets).await {
            tracing::warn!(%error, "offsets of fetch-retry could not be committed; the next commit includes them");
        }
    }

    async fn report_lag(&self) {
        let (ends, committed) =
            match (self.parts.log.watermarks(Topic::FetchRetry).await, self.subscription.committed().await) {
                (Ok(ends), Ok(committed)) => (ends, committed),
                (Err(error), _) | (_, Err(error)) => {
                    tracing::debug!(%error, "the lag of fetch-retry could not be read");
                    return;
                }
            };
        for (partition, committed) in committed {
            if let Some(marks) = ends.iter().find(|marks| marks.partition == partition) {
                self.parts.metrics.retry_lag(partition, marks.end.0.saturating_sub(committed.0));
            }
        }
    }
}

async fn attempt(parts: Arc<ConsumerParts>, turn: Turn) -> (Option<Finished>, InFlight) {
    let Turn { message, deferral, draft, url } = turn;
    let wanted = Wanted { source: draft.source(), url: &url, received_at: draft.received_at() };
    let webhook = deferral.webhook.clone();
    let fetched = parts.fetcher.fetch_again(wanted).await;
    let (status, object) = settle(&parts, &draft, &url, fetched, deferral).await;
    if status == FetchStatus::Pending {
        return (None, message);
    }
    let row = draft.finish(status, object.as_deref(), &parts.judgement);
    (Some(Finished::new(&parts, row, &webhook, object).await), message)
}
