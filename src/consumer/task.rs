//! The loop.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use tokio::{
    task::JoinSet,
    time::{Instant, MissedTickBehavior},
};
use tokio_util::sync::CancellationToken;

use super::{
    ConsumerError, ConsumerParts, Draft, GROUP, backoff,
    batching::{Batching, Finished, InFlight, sleep_until},
    bodies::settle,
    dead_letter,
    decide::{Decoded, Outcome, decide, decode},
    guard::Guard,
    offsets::OffsetTracker,
    retry::Deferral,
};
use crate::{
    contents::Inspected,
    crash_point::crash_point,
    event_log::{LogEvent, Offset, Partition, ReadLimits, Record, Subscription, Topic},
    fetch::{FetchStatus, Wanted},
    payload::headers,
    store::{LogPositionRow, RecentIds, StoreError, have_keys_moved, write_positions},
};

const POSITIONS_EVERY: Duration = Duration::from_secs(1);
/// Bounds one look at the log, so that the loop stays responsive.
const READ_LIMITS: ReadLimits = ReadLimits { max_records: 2_000, max_bytes: 16 * 1024 * 1024 };

/// One member of the consumer group.
pub struct Consumer {
    parts: Arc<ConsumerParts>,
    subscription: Box<dyn Subscription>,
    partitions: HashMap<Partition, PartitionState>,
    fetches: JoinSet<(Finished, InFlight)>,
    batching: Batching,
    in_flight_records: usize,
    in_flight_bytes: usize,
    unpriced_models: HashSet<String>,
    written_positions: Vec<LogPositionRow>,
    guard: Guard,
    layout: Layout,
}

/// Whether a request's messages are all in one partition.
#[derive(Default)]
struct Layout {
    /// How many the topic has; `None` before that is written down.
    partitions: Option<usize>,
    have_keys_moved: bool,
}

struct PartitionState {
    ids: RecentIds,
    offsets: OffsetTracker,
}

impl Consumer {
    /// Joins the group.
    ///
    /// # Errors
    /// [`ConsumerError`] when the log cannot be read.
    pub async fn join(parts: Arc<ConsumerParts>) -> Result<Self, ConsumerError> {
        let subscription = parts.log.subscribe(Topic::Webhooks, GROUP, READ_LIMITS).await?;
        Ok(Self {
            guard: Guard::new(parts.dead_letter_window, parts.max_dead_letter_share_percent),
            batching: Batching::new(parts.clone()),
            parts,
            subscription,
            partitions: HashMap::new(),
            fetches: JoinSet::new(),
            in_flight_records: 0,
            in_flight_bytes: 0,
            unpriced_models: HashSet::new(),
            written_positions: Vec::new(),
            layout: Layout::default(),
        })
    }

    /// Works until `shutdown`, then finishes what it has begun and commits it.
    ///
    /// # Errors
    /// [`ConsumerError`] when it cannot go on; messages not committed are read again by the next run.
    pub async fn run(mut self, shutdown: CancellationToken) -> Result<(), ConsumerError> {
        let mut positions = tokio::time::interval(POSITIONS_EVERY);
        positions.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut deadline: Option<Instant> = None;
        let mut failure: Option<ConsumerError> = None;
        loop {
            let is_stopping = deadline.is_some();
            if is_stopping && self.in_flight_records == 0 {
                break;
            }
            self.batching.write_if_due(is_stopping && self.fetches.is_empty());
            let flush_at = self.batching.flush_at();
            tokio::select! {
                event = self.subscription.next(), if !is_stopping && self.has_room() => match event {
                    Ok(event) => {
                        if let Err(error) = self.handle(event, &shutdown).await {
                            // What was begun before it is finished and committed first.
                            failure = Some(error);
                            deadline = Some(Instant::now() + self.parts.shutdown_timeout);
                        }
                    }
                    Err(error) => {
                        tracing::error!(%error, "the event log cannot be read; trying again");
                        tokio::time::sleep(backoff::FIRST).await;
                    }
                },
                Some(fetched) = self.fetches.join_next(), if !self.fetches.is_empty() => match fetched {
                    Ok((finished, message)) => self.add(finished, message),
                    // Its message would never get an outcome here: start anew from the last commit.
                    Err(error) => return Err(error.into()),
                },
                written = self.batching.written() => {
                    let written = written?;
                    crash_point!(ConsumerWritten);
                    self.commit(&written).await;
                }
                () = sleep_until(flush_at) => {}
                _ = positions.tick() => self.report_positions().await,
                () = shutdown.cancelled(), if !is_stopping => deadline = Some(Instant::now() + self.parts.shutdown_timeout),
                () = sleep_until(deadline) => {
                    tracing::warn!(
                        messages = self.in_flight_records,
                        "shutdown could not wait for these messages; they will be read again at the next start"
                    );
                    break;
                }
            }
        }
        self.report_positions().await;
        failure.map_or(Ok(()), Err)
    }

    fn has_room(&self) -> bool {
        self.in_flight_records < self.parts.max_in_flight_records
            && self.in_flight_bytes < self.parts.max_in_flight_bytes
    }

    async fn handle(&mut self, event: LogEvent, shutdown: &CancellationToken) -> Result<(), ConsumerError> {
        match event {
            LogEvent::Assigned(partitions) => {
                let max_ids = self.parts.dedupe_max_ids.div_ceil(self.partitions.len() + partitions.len());
                if !self.guard.remember(&self.parts, &partitions, shutdown).await {
                    return Ok(());
                }
                if !self.learn_layout(shutdown).await {
                    return Ok(());
                }
                for partition in partitions {
                    let Some(ids) = self.load_ids(partition, max_ids, shutdown).await else { return Ok(()) };
                    self.parts.metrics.lag(partition, 0);
                    self.partitions.insert(partition, PartitionState { ids, offsets: OffsetTracker::default() });
                    tracing::info!(partition = partition.0, "partition assigned");
                }
            }
            LogEvent::Revoked(partitions) => {
                for partition in partitions {
                    // Unfinished work goes on and is harmless: its rows equal those the next owner writes.
                    self.partitions.remove(&partition);
                    tracing::info!(partition = partition.0, "partition revoked");
                }
            }
            LogEvent::Records(partition, records) => self.process(partition, &records, shutdown).await?,
        }
        Ok(())
    }

    async fn process(
        &mut self,
        partition: Partition,
        records: &[Record],
        shutdown: &CancellationToken,
    ) -> Result<(), ConsumerError> {
        let decoded: Vec<Decoded> = records.iter().map(decode).collect();
        let requests: Vec<_> = decoded
            .iter()
            .filter_map(|decoded| match decoded {
                Decoded::Call(draft) => Some((draft.source().clone(), draft.request_id().to_owned())),
                Decoded::Unreadable(_) => None,
            })
            .collect();
        if !self.look_up(partition, &requests, shutdown).await {
            return Ok(());
        }
        for (record, decoded) in records.iter().zip(decoded) {
            let message = InFlight { partition, offset: record.position.offset, size_bytes: record.size_bytes() };
            // Before the message is begun, so that no commit can pass it.
            self.guard(record, &decoded)?;
            let Some(state) = self.partitions.get_mut(&partition) else { return Ok(()) };
            state.offsets.start(message.offset);
            self.in_flight_records += 1;
            self.in_flight_bytes += message.size_bytes;
            match decoded {
                Decoded::Unreadable(error) => {
                    let kept = dead_letter::keep(&self.parts, record, &error, shutdown).await;
                    let Some((outcome, letter)) = kept else { return Ok(()) };
                    self.batching.push_outcome(outcome, Some(letter), message);
                }
                Decoded::Call(draft) => match decide(&draft, &mut state.ids) {
                    Outcome::Duplicate => {
                        let row = Outcome::Duplicate.row(record.position, draft.source(), record.timestamp);
                        self.batching.push_outcome(row, None, message);
                        self.parts.metrics.decided(Outcome::Duplicate.as_str(), "");
                    }
                    outcome => {
                        self.parts.metrics.decided(outcome.as_str(), "");
                        self.enrich(*draft, record, message);
                    }
                },
            }
        }
        self.trim_ids();
        self.parts.metrics.in_flight(self.in_flight_records, self.in_flight_bytes);
        Ok(())
    }

    /// Forgets ids that are too many, of messages that are in ClickHouse.
    fn trim_ids(&mut self) {
        for state in self.partitions.values_mut() {
            if let Some(written_below) = state.offsets.committable() {
                state.ids.trim(written_below);
            }
        }
    }

    /// Refuses the message that would make too many dead letters of the last ones.
    fn guard(&mut self, record: &Record, decoded: &Decoded) -> Result<(), ConsumerError> {
        // Someone has asked for these, and they are dead letters already.
        if record.header(headers::REPLAYED_FROM).is_some() {
            return Ok(());
        }
        match decoded {
            Decoded::Call(_) => self.guard.understood(),
            Decoded::Unreadable(error) => {
                if !self.guard.allows_dead_letter() {
                    return Err(ConsumerError::TooManyDeadLetters {
                        partition: record.position.partition.0,
                        offset: record.position.offset.0,
                        reason: error.label(),
                        max_share_percent: self.parts.max_dead_letter_share_percent,
                        window: self.parts.dead_letter_window,
                    });
                }
            }
        }
        Ok(())
    }

    /// Starts the fetch, or makes the row at once where there is nothing to fetch.
    fn enrich(&mut self, draft: Draft, record: &Record, message: InFlight) {
        let Some(url) = draft.url().filter(|_| !draft.is_test()).cloned() else {
            let status = if draft.is_test() { FetchStatus::Test } else { FetchStatus::None };
            let row = draft.finish(status, None, &self.parts.judgement);
            if self.parts.inspector.is_none() {
                self.add(Finished { row, inspected: Inspected::default() }, message);
            } else {
                let (parts, record) = (self.parts.clone(), record.clone());
                self.fetches.spawn(async move { (Finished::new(&parts, row, &record, None).await, message) });
            }
            return;
        };
        let (parts, record) = (self.parts.clone(), record.clone());
        self.fetches.spawn(async move {
            let wanted = Wanted { source: draft.source(), url: &url, received_at: draft.received_at() };
            let fetched = parts.fetcher.fetch(wanted).await;
            // Putting off comes first, then the row and the commit: a crash in between repeats both.
            let (status, object) = settle(&parts, &draft, &url, fetched, Deferral::new(&record)).await;
            let row = draft.finish(status, object.as_deref(), &parts.judgement);
            (Finished::new(&parts, row, &record, object).await, message)
        });
    }

    fn add(&mut self, finished: Finished, message: InFlight) {
        let row = &finished.row;
        if row.cost_usd.is_none() && !row.is_test {
            self.parts.metrics.unpriced(&row.model, &mut self.unpriced_models);
        }
        let outcome = if row.is_test { Outcome::Test } else { Outcome::Stored };
        let outcome = outcome.row_of(row);
        self.batching.push_request(finished, Some(outcome), message);
    }

    async fn commit(&mut self, messages: &[InFlight]) {
        for message in messages {
            self.in_flight_records -= 1;
            self.in_flight_bytes -= message.size_bytes;
            if let Some(state) = self.partitions.get_mut(&message.partition) {
                state.offsets.finish(message.offset);
            }
        }
        self.trim_ids();
        self.parts.metrics.in_flight(self.in_flight_records, self.in_flight_bytes);
        let offsets: Vec<(Partition, Offset)> = self
            .partitions
            .iter()
            .filter_map(|(partition, state)| Some((*partition, state.offsets.committable()?)))
            .collect();
        if let Err(error) = self.subscription.commit(&offsets).await {
            tracing::warn!(%error, "offsets could not be committed; the next commit includes them");
        }
    }

    /// How far the log has come, for `outcomes` and for the lag metric.
    async fn report_positions(&mut self) {
        // Before they are read: the newest is the one that was read last.
        let at = self.parts.clock.now().0;
        let (watermarks, committed) =
            match (self.parts.log.watermarks(Topic::Webhooks).await, self.subscription.committed().await) {
                (Ok(watermarks), Ok(committed)) => (watermarks, committed),
                (Err(error), _) | (_, Err(error)) => {
                    tracing::warn!(%error, "the log's positions could not be read");
                    return;
                }
            };
        if self.layout.partitions != Some(watermarks.len())
            && let Err(error) = self.set_layout(watermarks.len()).await
        {
            tracing::warn!(%error, "the log's number of partitions could not be written down; trying again");
        }
        let mut rows = Vec::new();
        for (partition, committed) in committed {
            let Some(watermark) = watermarks.iter().find(|watermark| watermark.partition == partition) else {
                continue;
            };
            self.parts.metrics.lag(partition, watermark.end.0.saturating_sub(committed.0));
            rows.push(LogPositionRow {
                log_partition: partition.0,
                start_offset: watermark.start.0,
                end_offset: watermark.end.0,
                committed_offset: committed.0,
                at,
            });
        }
        let is_news = |row: &&LogPositionRow| {
            !self.written_positions.iter().any(|old| LogPositionRow { at: row.at, ..old.clone() } == **row)
        };
        let news: Vec<LogPositionRow> = rows.iter().filter(is_news).cloned().collect();
        if news.is_empty() {
            return;
        }
        match write_positions(&self.parts.client, self.parts.timeout, &news).await {
            Ok(()) => self.written_positions = rows,
            Err(error) => tracing::debug!(%error, "the log's positions could not be written"),
        }
    }

    /// Asks how many partitions there are. `false` at shutdown.
    async fn learn_layout(&mut self, shutdown: &CancellationToken) -> bool {
        let mut pause = backoff::FIRST;
        loop {
            let learnt: Result<(), ConsumerError> = async {
                let partitions = self.parts.log.watermarks(Topic::Webhooks).await?.len();
                Ok(self.set_layout(partitions).await?)
            }
            .await;
            match learnt {
                Ok(()) => return true,
                Err(error) => tracing::warn!(%error, "the log's number of partitions is not known; trying again"),
            }
            if !backoff::wait(&mut pause, shutdown).await {
                return false;
            }
        }
    }

    async fn set_layout(&mut self, partitions: usize) -> Result<(), StoreError> {
        // Also while ClickHouse cannot be asked: another number than before is known to be one.
        let has_changed = self.layout.partitions.is_some_and(|known| known != partitions);
        self.layout.have_keys_moved |= has_changed;
        if !has_changed && self.layout.partitions.is_some() {
            return Ok(());
        }
        self.distrust_ids();
        self.layout.partitions = None;
        self.layout.have_keys_moved |= have_keys_moved(&self.parts.client, self.parts.timeout, partitions).await?;
        self.layout.partitions = Some(partitions);
        if self.layout.have_keys_moved {
            tracing::warn!(
                partitions,
                "the log had another number of partitions before, so duplicates are looked for in all of them, in ClickHouse"
            );
            self.distrust_ids();
        }
        Ok(())
    }

    fn distrust_ids(&mut self) {
        if self.layout.have_keys_moved {
            self.partitions.values_mut().for_each(|state| state.ids.distrust());
        }
    }

    /// `None` at shutdown.
    async fn load_ids(&self, partition: Partition, max_ids: usize, shutdown: &CancellationToken) -> Option<RecentIds> {
        let mut pause = backoff::FIRST;
        loop {
            match RecentIds::load(&self.parts.client, self.parts.timeout, partition, max_ids).await {
                Ok(mut ids) => {
                    if self.layout.have_keys_moved {
                        ids.distrust();
                    }
                    return Some(ids);
                }
                Err(error) => tracing::warn!(%error, "recent request ids could not be loaded; trying again"),
            }
            if !backoff::wait(&mut pause, shutdown).await {
                return None;
            }
        }
    }

    /// `false` at shutdown, or when the partition is no longer ours.
    async fn look_up(
        &mut self,
        partition: Partition,
        requests: &[(crate::domain::SourceName, String)],
        shutdown: &CancellationToken,
    ) -> bool {
        let Some(state) = self.partitions.get_mut(&partition) else { return false };
        let mut pause = backoff::FIRST;
        loop {
            match state.ids.look_up(&self.parts.client, self.parts.timeout, requests).await {
                Ok(()) => return true,
                Err(error) => tracing::warn!(%error, "request ids could not be looked up; trying again"),
            }
            if !backoff::wait(&mut pause, shutdown).await {
                return false;
            }
        }
    }
}
