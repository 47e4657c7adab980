//! Compares the log's positions with the outcomes that are in ClickHouse.

use std::{collections::HashMap, time::Duration};

use clickhouse::{Client, Row};
use serde::Deserialize;

use super::{
    STEP_OFFSETS,
    checkpoint::{Checkpoint, CheckpointRow, Count, Found, OffsetRange},
};
use crate::store::{LogPositionRow, StoreError, client::bounded};

/// Filled gaps that one step looks for.
const MAX_FILLED: u64 = 10_000;
/// Steps of one partition that [`audit_ledger`] takes itself, beyond the leader's checkpoint.
const MAX_AUDIT_STEPS: usize = 10;

/// Asks the questions.
#[derive(Debug)]
pub(super) struct Auditor {
    client: Client,
    timeout: Duration,
}

#[derive(Row, Deserialize)]
struct GapRow {
    first_offset: u64,
    last_offset: u64,
}

impl Auditor {
    pub(super) const fn new(client: Client, timeout: Duration) -> Self {
        Self { client, timeout }
    }

    pub(super) async fn positions(&self) -> Result<Vec<LogPositionRow>, StoreError> {
        let query = self.client.query("SELECT ?fields FROM log_positions FINAL ORDER BY log_partition");
        bounded(self.timeout, "reading the log's positions", query.fetch_all::<LogPositionRow>()).await
    }

    pub(super) async fn checkpoints(&self) -> Result<HashMap<u16, Checkpoint>, StoreError> {
        let query = self.client.query("SELECT ?fields FROM ledger_checkpoints FINAL");
        let rows =
            bounded(self.timeout, "reading the ledger's checkpoints", query.fetch_all::<CheckpointRow>()).await?;
        Ok(rows.into_iter().map(Checkpoint::from).map(|checkpoint| (checkpoint.partition, checkpoint)).collect())
    }

    pub(super) async fn version_after(&self, version: u64) -> Result<u64, StoreError> {
        let query = self.client.query("SELECT toUInt64(toUnixTimestamp64Micro(now64(6)))");
        let now_us = bounded(self.timeout, "reading the server's time", query.fetch_one::<u64>()).await?;
        Ok(now_us.max(version + 1))
    }

    pub(super) async fn write(&self, checkpoint: &Checkpoint) -> Result<(), StoreError> {
        let write = async {
            let mut insert = self.client.insert::<CheckpointRow>("ledger_checkpoints").await?;
            insert.write(&CheckpointRow::from(checkpoint)).await?;
            insert.end().await
        };
        bounded(self.timeout, "writing a checkpoint of the ledger", write).await
    }

    /// Looks at what was missing again, and at the next offsets. `true` when nothing is left to look at for now.
    pub(super) async fn step(
        &self,
        position: &LogPositionRow,
        checkpoint: &mut Checkpoint,
    ) -> Result<bool, StoreError> {
        for (range, filled) in checkpoint.touched_by(&self.filled(checkpoint).await?) {
            let end = (range.last + 1).min(filled.saturating_add(STEP_OFFSETS));
            if let Some(found) = self.examine(checkpoint.partition, filled, end, checkpoint.room()).await? {
                checkpoint.fill(range, filled, found);
            }
        }
        let from = checkpoint.verified_offset;
        let end = Checkpoint::target(position).min(from.saturating_add(STEP_OFFSETS));
        if end <= from {
            return Ok(true);
        }
        match self.examine(checkpoint.partition, from, end, checkpoint.room()).await? {
            Some(found) => {
                // Without room for its gaps: it waits there.
                let is_cut = found.end < end;
                checkpoint.extend(found);
                Ok(is_cut || checkpoint.left(position) == 0)
            }
            None => Ok(true),
        }
    }

    /// What is there from `first` up to and without `end`, or up to the gap that is more than `max_gaps`. `None` when rows
    /// came meanwhile.
    async fn examine(
        &self,
        partition: u16,
        first: u64,
        end: u64,
        max_gaps: usize,
    ) -> Result<Option<Found>, StoreError> {
        let counts = self.counts(partition, first, end).await?;
        let mut found = Found { end, counts, gaps: Vec::new(), redecided: 0 };
        if !found.adds_up(first) {
            let mut gaps = self.gaps(partition, first, end, max_gaps + 1).await?;
            if let Some(too_many) = gaps.get(max_gaps).copied() {
                gaps.truncate(max_gaps);
                found.end = too_many.first;
                found.counts = self.counts(partition, first, found.end).await?;
            }
            found.gaps = gaps;
        }
        if !found.adds_up(first) {
            return Ok(None);
        }
        found.redecided = self.redecided(partition, first, &found).await?;
        Ok(Some(found))
    }

    /// Outcomes from `first` up to and without `end`.
    async fn counts(&self, partition: u16, first: u64, end: u64) -> Result<Vec<Count>, StoreError> {
        let query = self
            .client
            .query(
                "SELECT toString(r.outcome) AS outcome, toString(r.reason) AS reason, count() AS messages, \
                 min(log_offset) AS first_offset, max(log_offset) AS last_offset FROM outcome_rows AS r FINAL \
                 WHERE log_partition = ? AND log_offset >= ? AND log_offset < ? \
                 GROUP BY outcome, reason ORDER BY outcome, reason",
            )
            .bind(partition)
            .bind(first)
            .bind(end);
        bounded(self.timeout, "counting outcomes", query.fetch_all::<Count>()).await
    }

    /// Messages with two different outcomes. They show as long as ClickHouse has not merged their rows.
    async fn redecided(&self, partition: u16, first: u64, found: &Found) -> Result<u64, StoreError> {
        const ROWS: &str = "FROM outcome_rows WHERE log_partition = ? AND log_offset >= ? AND log_offset < ?";
        let ask = async |question: &str| {
            let query = self.client.query(question).bind(partition).bind(first).bind(found.end);
            bounded(self.timeout, "looking for messages with two outcomes", query.fetch_one::<u64>()).await
        };
        let messages: u64 = found.counts.iter().map(|count| count.messages).sum();
        // Hardly ever more: after redeliveries only.
        if ask(&format!("SELECT count() {ROWS}")).await? == messages {
            return Ok(0);
        }
        let decisions = format!("SELECT log_offset {ROWS} GROUP BY log_offset HAVING uniqExact(outcome, reason) > 1");
        ask(&format!("SELECT count() FROM ({decisions})")).await
    }

    /// The first `limit` gaps from `first` up to and without `end`.
    async fn gaps(&self, partition: u16, first: u64, end: u64, limit: usize) -> Result<Vec<OffsetRange>, StoreError> {
        let query = self
            .client
            .query(
                "SELECT toUInt64(previous + 1) AS first_offset, toUInt64(at - 1) AS last_offset FROM \
                 (SELECT at, lagInFrame(at, 1, toInt64(?) - 1) OVER \
                 (ORDER BY at ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) AS previous FROM \
                 (SELECT toInt64(log_offset) AS at FROM outcome_rows \
                 WHERE log_partition = ? AND log_offset >= ? AND log_offset < ? UNION ALL SELECT toInt64(?))) \
                 WHERE at > previous + 1 ORDER BY first_offset LIMIT ?",
            )
            .bind(first)
            .bind(partition)
            .bind(first)
            .bind(end)
            .bind(end)
            .bind(limit as u64);
        let rows = bounded(self.timeout, "finding messages without outcome", query.fetch_all::<GapRow>()).await?;
        Ok(rows.into_iter().map(|row| OffsetRange { first: row.first_offset, last: row.last_offset }).collect())
    }

    /// Offsets that were missing and have an outcome now; the first ones, when there are many.
    async fn filled(&self, checkpoint: &Checkpoint) -> Result<Vec<u64>, StoreError> {
        if checkpoint.missing.is_empty() {
            return Ok(Vec::new());
        }
        let ranges: Vec<String> = checkpoint
            .missing
            .iter()
            .map(|range| format!("log_offset BETWEEN {} AND {}", range.first, range.last))
            .collect();
        let statement = format!(
            "SELECT DISTINCT log_offset FROM outcome_rows WHERE log_partition = {} AND ({}) ORDER BY log_offset LIMIT {}",
            checkpoint.partition,
            ranges.join(" OR "),
            MAX_FILLED
        );
        let query = self.client.query(&statement);
        bounded(self.timeout, "looking for late outcomes", query.fetch_all::<u64>()).await
    }
}

/// How one partition stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionAudit {
    /// Which.
    pub partition: u16,
    /// Offsets without outcome that were committed, or deleted from the log unread.
    pub missing: Vec<OffsetRange>,
    /// Offsets that must be accounted for and were not looked at yet.
    pub unverified: u64,
    /// The log ends before the verified offset, or did: it was replaced.
    pub reset: Option<LogReset>,
}

/// A log whose offsets have begun anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogReset {
    /// Where it ends now.
    pub end_offset: u64,
    /// Up to where outcomes were verified.
    pub verified_offset: u64,
}

/// How the whole log stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LedgerAudit {
    /// Messages received.
    pub received: u64,
    /// Of these, by outcome, in alphabetical order.
    pub decided: Vec<(String, u64)>,
    /// Of these, still to be worked off.
    pub in_flight: u64,
    /// Messages that were seen to have two outcomes.
    pub redecided: u64,
    /// By partition.
    pub partitions: Vec<PartitionAudit>,
}

/// Looks where the ledger stands and goes on from there, without writing anything. Needs only the right to read.
///
/// # Errors
/// [`StoreError`] when ClickHouse cannot be asked.
pub async fn audit_ledger(client: &Client, timeout: Duration) -> Result<LedgerAudit, StoreError> {
    let auditor = Auditor::new(client.clone(), timeout);
    // In this order: see `Ledger::pass`.
    let positions = auditor.positions().await?;
    let mut checkpoints = auditor.checkpoints().await?;
    let mut audit = LedgerAudit::default();
    let mut decided = std::collections::BTreeMap::new();
    for position in positions {
        let partition = position.log_partition;
        let mut checkpoint = checkpoints.remove(&partition).unwrap_or_else(|| Checkpoint::new(partition));
        let reset = checkpoint
            .is_after(position.end_offset)
            .then_some(LogReset { end_offset: position.end_offset, verified_offset: checkpoint.verified_offset });
        let mut beyond = Vec::new();
        if reset.is_none() {
            for _ in 0..MAX_AUDIT_STEPS {
                if auditor.step(&position, &mut checkpoint).await? {
                    break;
                }
            }
            beyond = auditor.counts(partition, checkpoint.verified_offset, position.end_offset).await?;
        }
        let received = position.end_offset.max(checkpoint.verified_offset);
        let uncounted: u64 = beyond.iter().map(|count| count.messages).sum();
        audit.received += received;
        audit.in_flight += (received - checkpoint.verified_offset).saturating_sub(uncounted);
        audit.redecided += checkpoint.redecided;
        for count in checkpoint.counted.iter().chain(&beyond) {
            *decided.entry(count.outcome.clone()).or_insert(0) += count.messages;
        }
        let unverified = if reset.is_none() { checkpoint.left(&position) } else { 0 };
        audit.partitions.push(PartitionAudit { partition, missing: checkpoint.missing, unverified, reset });
    }
    audit.decided = decided.into_iter().collect();
    Ok(audit)
}
