//! The ledger: proves that every message of the log has its outcome, and remembers the proof.
//!
//! An offset is committed once its outcome is in ClickHouse. So each offset below the committed one must have a row in
//! `outcome_rows`; one that has none is a *missing* message, and so is one that the log has deleted unread. The leader looks
//! for them: every few seconds it goes through the offsets between the last checkpoint and the committed offset, in bounded
//! steps, and writes the next checkpoint: how many outcomes of each kind there are, and which ranges of offsets are missing.
//! These are looked at again each time, since an insert may come late, and messages can be read again.
//!
//! What it costs depends on what is new. The view `outcomes` adds the checkpoints to the rows that they do not count.
//!
//! # Two at once
//! A checkpoint says something true of its partition for ever: outcomes are only added, a message keeps the one it has,
//! and what is missing is no part of the counts. Hence an older checkpoint that a deposed leader writes over a newer one makes
//! the view read more rows, and falsifies nothing; the next step goes over them again. Even so each write asks first whether
//! the [`Term`] still stands, and the newer leader has the higher versions.
//!
//! # Bounds
//! At most [`MAX_RANGES`] ranges of a partition are remembered. Before the gap that is one too many the checkpoint waits, which
//! its lag tells; what is behind it is read anew each time, and counts as in flight where it has no outcome, until some of
//! the gaps are filled.

mod audit;
mod checkpoint;
mod metrics;

use std::{collections::HashMap, time::Duration};

use clickhouse::Client;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{StoreError, Term};
use audit::Auditor;
use checkpoint::Checkpoint;

pub use audit::{LedgerAudit, LogReset, PartitionAudit, audit_ledger};
pub use checkpoint::OffsetRange;
pub use metrics::LedgerMetrics;

/// Between two passes.
const INTERVAL: Duration = Duration::from_secs(5);
/// Offsets that one step looks at: bounds a statement's memory and time.
const STEP_OFFSETS: u64 = 500_000;
/// Ranges of missing offsets that a checkpoint remembers.
const MAX_RANGES: usize = 1_000;
/// A log that ends before the checkpoint for so long was replaced. Shorter, a position may have been written late.
const RESET_PATIENCE: Duration = Duration::from_secs(15);

/// The leader's task.
#[derive(Debug)]
pub struct Ledger {
    auditor: Auditor,
    term: Option<Term>,
    metrics: LedgerMetrics,
    /// Since when a partition ends before its checkpoint.
    behind_since: HashMap<u16, Instant>,
    /// Missing messages already told of, by partition.
    told: HashMap<u16, u64>,
}

impl Ledger {
    /// A ledger that looks at `client`'s database.
    #[must_use]
    pub fn new(client: Client, timeout: Duration, metrics: LedgerMetrics) -> Self {
        let auditor = Auditor::new(client, timeout);
        Self { auditor, term: None, metrics, behind_since: HashMap::new(), told: HashMap::new() }
    }

    /// Writes only as long as `term` stands.
    #[must_use]
    pub fn fenced_by(mut self, term: Term) -> Self {
        self.term = Some(term);
        self
    }

    /// Keeps the checkpoints until `shutdown`, or until deposed.
    pub async fn run(mut self, shutdown: CancellationToken) {
        loop {
            match shutdown.run_until_cancelled(self.pass()).await {
                None => break,
                Some(Ok(())) => {}
                Some(Err(error @ StoreError::Deposed)) => {
                    tracing::info!(%error, "the ledger is left to it");
                    break;
                }
                Some(Err(error)) => {
                    self.metrics.failed(&error);
                    tracing::warn!(%error, "the ledger could not be kept; it will be tried again");
                }
            }
            if shutdown.run_until_cancelled(tokio::time::sleep(INTERVAL)).await.is_none() {
                break;
            }
        }
        // Whoever leads next says how it stands.
        self.metrics.forget();
    }

    /// Moves every partition's checkpoint up to its committed offset.
    ///
    /// # Errors
    /// [`StoreError`] when ClickHouse does not answer, or another leader has begun; what was written stays.
    pub async fn pass(&mut self) -> Result<(), StoreError> {
        // Positions first: what they call committed has its outcome in everything that is read after them.
        let positions = self.auditor.positions().await?;
        let mut checkpoints = self.auditor.checkpoints().await?;
        for position in positions {
            let partition = position.log_partition;
            let mut checkpoint = checkpoints.remove(&partition).unwrap_or_else(|| Checkpoint::new(partition));
            if checkpoint.is_after(position.end_offset) {
                self.note_reset(&mut checkpoint).await?;
                self.metrics.is_reset(partition, true);
                continue;
            }
            self.behind_since.remove(&partition);
            loop {
                let before = checkpoint.clone();
                let is_done = self.auditor.step(&position, &mut checkpoint).await?;
                if checkpoint != before {
                    self.write(&mut checkpoint).await?;
                }
                self.metrics.stands(&checkpoint, checkpoint.left(&position));
                if is_done {
                    break;
                }
            }
            self.tell(&checkpoint);
        }
        Ok(())
    }

    async fn write(&self, checkpoint: &mut Checkpoint) -> Result<(), StoreError> {
        checkpoint.version = self.auditor.version_after(checkpoint.version).await?;
        // After the version was chosen: see `store::rollup`.
        if let Some(term) = &self.term {
            term.ensure_current().await?;
        }
        self.auditor.write(checkpoint).await
    }

    async fn note_reset(&mut self, checkpoint: &mut Checkpoint) -> Result<(), StoreError> {
        let since = *self.behind_since.entry(checkpoint.partition).or_insert_with(Instant::now);
        if checkpoint.is_reset || since.elapsed() < RESET_PATIENCE {
            return Ok(());
        }
        tracing::error!(
            partition = checkpoint.partition,
            verified_offset = checkpoint.verified_offset,
            "the event log ends before offsets whose outcomes are verified: it was deleted or replaced, and its offsets begin \
             anew. What was counted stays; nothing new of this partition can be proved. See `heliometer doctor`"
        );
        checkpoint.is_reset = true;
        self.write(checkpoint).await
    }

    /// Says once what is missing, and once that it is no longer.
    fn tell(&mut self, checkpoint: &Checkpoint) {
        let (partition, missing) = (checkpoint.partition, checkpoint.missing_messages());
        let told = self.told.insert(partition, missing).unwrap_or(0);
        if missing > told {
            tracing::error!(
                partition,
                messages = missing,
                offsets = OffsetRange::list(&checkpoint.missing),
                waits_for_room = checkpoint.room() == 0,
                "messages have no outcome though the log was committed past them; `heliometer doctor` says what to do"
            );
        } else if missing < told {
            tracing::info!(partition, messages = missing, "fewer messages are missing than before");
        }
    }
}
