//! Keeps the rollups equal to what the deduplicated rows say, by recomputing what was touched.
//!
//! A pass asks which minutes have rows that were inserted since the last pass, computes those minutes again from
//! the rows, and writes what differs from the totals that are stored; groups that have vanished get a tombstone. The groups
//! written there have changed, and hours, days and months are computed for them from the next finer grain. Then the
//! watermark moves. A pass that dies anywhere is repeated from the old watermark
//! and ends in the same place: late rows, duplicates, corrections and crashes need no code of their own.
//!
//! **Which rows are new** cannot be told by time alone: an insert that started before the last pass may have become
//! visible after it. So each pass looks back [`OVERLAP`] further than the watermark, which is longer than an insert may
//! take, and leaves out the inserts it has already seen there (each insert has one `inserted_at`).
//!
//! # Two at once
//! One process at a time keeps the rollups, but a deposed one may not know it yet, and a statement that was sent to a
//! server goes on there after whoever sent it has died. Let D be the old one, L the new one.
//! - A pass reads the server's time, which becomes the version of all it writes; then it asks before **each statement**
//!   whether its [`Term`] still stands. L writes its term, and reads its first version after that. So whatever D is still
//!   allowed to send has a version from before L's term, and L's are higher: D's late rows lose against L's, of whatever
//!   age their data. Without that order a pass of D with the higher version and the older rows could win for good.
//! - The replicas' clocks may differ: L begins [`CLOCK_SKEW`] ahead of the time it reads, and above the highest version
//!   that is there.
//! - What D writes late and L did not write at all has nothing to lose against: a group that D saw, and that vanished
//!   before L looked. It would stay as a ghost. So once every statement of D must have ended (`max_execution_time` is
//!   `clickhouse.timeout_ms`), L forgets what it has seen and computes again what was touched since before D's last
//!   statements can have begun, which gives ghosts their tombstones. This holds for a crash and restart of a single process as well.
//! - Otherwise a pass writes only what differs from what is stored. Until L has looked again, it writes everything: what equals
//!   L's totals now may be overwritten by D a moment later. The same after a pass that failed, whose last statement may go on.
//!
//! What is left: D is stopped (not merely slow) between a yes to its question and its statement, for longer than three times
//! `clickhouse.timeout_ms`, and then writes such a ghost. The next row in the same bucket heals it.

mod grain;
mod pass;
mod statements;
mod verify;

use std::{sync::Arc, time::Duration};

use clickhouse::Client;
use tokio::{
    sync::{Notify, watch},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use super::{Horizons, StoreError, StoreMetrics, Term};
use crate::settings::RetentionSettings;
pub use grain::{Grain, Grouping, Table};
use pass::{Done, Pass};
pub use verify::{Comparison, Difference, compare, request_recomputation};

/// Longer than an insert may be under way (`clickhouse.timeout_ms`, 30 s by default).
const OVERLAP: Duration = Duration::from_secs(90);
/// Without a nudge, a pass runs at least this often, for rows that other processes inserted.
const IDLE_INTERVAL: Duration = Duration::from_secs(1);
/// Passes under load are at least this far apart, so that a busy minute is recomputed a few times a second at most.
const BUSY_INTERVAL: Duration = Duration::from_millis(300);
/// More than the clocks of a cluster's replicas differ.
const CLOCK_SKEW: Duration = Duration::from_secs(10);
const ERROR_BACKOFF: Duration = Duration::from_secs(1);

/// The rollup task.
#[derive(Debug)]
pub struct Rollups {
    pass: Pass,
    metrics: StoreMetrics,
    inserted: Arc<Notify>,
    rolled_up: watch::Sender<u64>,
}

impl Rollups {
    /// `inserted` is notified after every insert. The receiver's value changes after every pass that changed something.
    #[must_use]
    pub fn new(
        client: &Client,
        timeout: Duration,
        retention: &RetentionSettings,
        metrics: StoreMetrics,
        inserted: Arc<Notify>,
    ) -> (Self, watch::Receiver<u64>) {
        let (rolled_up, receiver) = watch::channel(0);
        let pass = Pass::new(client.clone(), timeout, OVERLAP.max(timeout * 2), Horizons::new(retention));
        (Self { pass, metrics, inserted, rolled_up }, receiver)
    }

    /// Writes only as long as `term` stands.
    #[must_use]
    pub fn fenced_by(mut self, term: Term) -> Self {
        self.pass.fence(term);
        self
    }

    /// Whoever kept the rollups before has ended, and so have all of its statements: the caller has seen to it.
    #[must_use]
    pub fn alone(mut self) -> Self {
        self.pass.assume_alone();
        self
    }

    /// Runs passes until `shutdown` (or until deposed, which ends it at once), then one more, so that what was stored last is in the totals.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let mut complete_at = Instant::now();
        loop {
            let pause = match self.pass_once(complete_at).await {
                Ok(elapsed) => {
                    complete_at = Instant::now();
                    // A pass that takes long must not take all of the engine.
                    BUSY_INTERVAL.max(elapsed)
                }
                Err(()) => ERROR_BACKOFF,
            };
            self.metrics.rollup_lag(complete_at.elapsed());
            if self.pass.is_deposed() {
                return;
            }
            let stop = tokio::select! {
                () = shutdown.cancelled() => true,
                () = async {
                    tokio::time::sleep(pause).await;
                    // Either returns at once if an insert came meanwhile.
                    drop(tokio::time::timeout(IDLE_INTERVAL, self.inserted.notified()).await);
                } => false,
            };
            if stop {
                // Failing, it is repeated by the next start.
                let _last = self.pass_once(complete_at).await;
                return;
            }
        }
    }

    /// One pass by itself; returns the minutes that were recomputed.
    ///
    /// # Errors
    /// [`StoreError`] when it did not come to its end; the next one repeats it.
    pub async fn pass(&mut self) -> Result<usize, StoreError> {
        self.pass.run().await.map(|done| done.minutes)
    }

    async fn pass_once(&mut self, complete_at: Instant) -> Result<Duration, ()> {
        let started = Instant::now();
        let result = {
            let pass = self.pass.run();
            tokio::pin!(pass);
            loop {
                tokio::select! {
                    result = &mut pass => break result,
                    // A pass that hangs must show.
                    () = tokio::time::sleep(IDLE_INTERVAL) => self.metrics.rollup_lag(complete_at.elapsed()),
                }
            }
        };
        match result {
            Ok(done) if done.minutes == 0 => {
                self.metrics.closed_minutes(done.closed);
                Ok(started.elapsed())
            }
            Ok(Done { minutes, backlog, closed }) => {
                self.metrics.rolled_up(minutes, backlog, started.elapsed());
                self.metrics.closed_minutes(closed);
                if backlog > 0 {
                    // The next one need not wait for an insert.
                    self.inserted.notify_one();
                }
                self.rolled_up.send_modify(|passes| *passes += 1);
                Ok(started.elapsed())
            }
            Err(error @ StoreError::Deposed) => {
                tracing::info!(%error, "the rollups are left to it");
                Err(())
            }
            Err(error) => {
                self.metrics.rollup_failed(&error);
                tracing::warn!(%error, "a rollup pass failed; it will be repeated");
                Err(())
            }
        }
    }
}
