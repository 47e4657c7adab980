//! What the leader does: keeps the rollups and the ledger, and sends the alerts, for one term.
//!
//! A term starts from what is in ClickHouse, never from what an earlier one of the same process remembers. The rollups
//! and the ledger start at once: `store::rollup` and `store::ledger` say why a predecessor that still writes does no harm. The alerter asks ClickHouse
//! whether its term stands before it records steps and before each message. A predecessor may have been told yes just
//! before this term began, so its insert and its message may still be under way. Unless it ended in order, the alerter
//! therefore waits: for an insert (`clickhouse.timeout_ms`) and a message (`notifiers.timeout_ms`). Then it loads what was
//! recorded. So a crash delays alerts by that, and doubles none, except a message whose sender died, or was stopped for
//! longer than that, between the receiver's answer and its record. With the embedded log there is no waiting: the lock on
//! its directory proves that nobody else is there.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use clickhouse::Client;
use tokio::{sync::Notify, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use super::leader::{Ended, PART, Work};
use crate::{
    alert::{AlertError, AlertMetrics, Alerter},
    contents::scores::ScoreSender,
    domain::Clock,
    settings::{AlertSettings, NotifierSettings, RetentionSettings},
    store::{Ledger, LedgerMetrics, Reader, Rollups, StoreError, StoreMetrics, Term},
    telemetry::Health,
};

/// Rollups and alerts. Starts nothing before [`Work::lead`].
pub(super) struct Accounts {
    pub(super) client: Client,
    /// How queries of rules are asked.
    pub(super) reader: Reader,
    /// One statement's limit.
    pub(super) timeout: Duration,
    /// How long a predecessor's last steps may be under way; zero where there can be none.
    pub(super) grace: Duration,
    pub(super) retention: RetentionSettings,
    pub(super) store_metrics: StoreMetrics,
    pub(super) ledger_metrics: LedgerMetrics,
    pub(super) inserted: Arc<Notify>,
    pub(super) alerts: AlertSettings,
    pub(super) notifiers: NotifierSettings,
    /// Where policies give scores.
    pub(super) scores: Option<ScoreSender>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) alert_metrics: AlertMetrics,
    pub(super) health: Health,
}

impl Accounts {
    /// Whether the settings make an alerter.
    ///
    /// # Errors
    /// [`AlertError`] when they do not.
    pub(super) fn check(&self) -> Result<(), AlertError> {
        self.alerter().map(drop)
    }

    fn alerter(&self) -> Result<Alerter, AlertError> {
        let (clock, metrics) = (Arc::clone(&self.clock), self.alert_metrics.clone());
        let alerter = Alerter::new(&self.client, &self.alerts, &self.notifiers, clock, metrics)?;
        Ok(alerter.reading_as(&self.reader).reporting_to(self.health.clone()))
    }
}

#[async_trait]
impl Work for Accounts {
    async fn lead(&mut self, stop: &CancellationToken, revoked: &CancellationToken) -> Ended {
        let begun = tokio::select! {
            begun = Term::begin(&self.client, self.timeout) => begun,
            () = stop.cancelled() => return Ended::Asked,
            () = revoked.cancelled() => return Ended::Asked,
        };
        let term = match begun {
            Ok(term) => term,
            Err(error) => return Ended::Again(error.to_string()),
        };
        let alerter = match self.alerter() {
            Ok(alerter) => alerter.fenced_by(term.clone()),
            Err(error) => return Ended::Again(error.to_string()),
        };
        let (rollups, rolled_up) = Rollups::new(
            &self.client,
            self.timeout,
            &self.retention,
            self.store_metrics.clone(),
            Arc::clone(&self.inserted),
        );
        self.health.ready(PART);
        let (stop_rollups, stop_alerter) = (CancellationToken::new(), CancellationToken::new());
        let mut rollups = tokio::spawn(rollups.fenced_by(term.clone()).run(stop_rollups.clone()));
        let (grace, until) = (self.grace, stop_alerter.clone());
        let waits = !term.follows_clean_end() && !grace.is_zero();
        let mut alerter = tokio::spawn(async move {
            if waits {
                tracing::info!(seconds = grace.as_secs(), "alerts wait: the last leader did not end in order");
            }
            let wait = if waits { grace } else { Duration::ZERO };
            if until.run_until_cancelled(tokio::time::sleep(wait)).await.is_some() {
                alerter.run(until, rolled_up).await;
            }
        });
        let ledger = Ledger::new(self.client.clone(), self.timeout, self.ledger_metrics.clone());
        let mut ledger = tokio::spawn(ledger.fenced_by(term.clone()).run(stop_alerter.clone()));
        let scores = self.scores.clone();
        let (until, scoring) = (stop_alerter.clone(), term.clone());
        let mut scores = tokio::spawn(async move {
            match scores {
                Some(scores) => scores.run(until, scoring).await,
                None => until.cancelled().await,
            }
        });
        let why = tokio::select! {
            () = stop.cancelled() => Why::Stop,
            () = revoked.cancelled() => Why::Revoked,
            () = term.lost() => Why::Deposed,
            result = &mut rollups => if term.is_lost() { Why::Deposed } else { Why::Died("rollups", result) },
            result = &mut alerter => Why::Died("alerter", result),
            result = &mut ledger => if term.is_lost() { Why::Deposed } else { Why::Died("ledger", result) },
            result = &mut scores => if term.is_lost() { Why::Deposed } else { Why::Died("scores", result) },
        };
        match &why {
            Why::Stop => stop_rollups.cancel(),
            // The next leader computes what this one leaves.
            Why::Revoked | Why::Deposed | Why::Died(..) => rollups.abort(),
        }
        stopped(&mut rollups, "rollups").await;
        stop_alerter.cancel();
        stopped(&mut alerter, "alerter").await;
        stopped(&mut ledger, "ledger").await;
        stopped(&mut scores, "scores").await;
        match why {
            Why::Stop | Why::Revoked => {
                if let Err(error) = term.end().await {
                    tracing::warn!(%error, "the next leader waits before it alerts");
                }
                Ended::Asked
            }
            Why::Deposed => Ended::Again(StoreError::Deposed.to_string()),
            Why::Died(what, result) => {
                report(result, what);
                Ended::Died
            }
        }
    }
}

/// Why a term ends.
enum Why {
    Stop,
    Revoked,
    Deposed,
    Died(&'static str, Result<(), tokio::task::JoinError>),
}

async fn stopped(task: &mut JoinHandle<()>, what: &'static str) {
    if !task.is_finished() {
        report(task.await, what);
    }
}

fn report(result: Result<(), tokio::task::JoinError>, what: &'static str) {
    if let Err(error) = result
        && !error.is_cancelled()
    {
        tracing::error!(%error, what, "a task ended abnormally");
    }
}
