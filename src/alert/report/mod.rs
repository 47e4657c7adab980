//! Reports: what a day, week or month came to, told when it is over. One is a row of the outbox like an alert, under an id
//! that is made from its schedule and period: it is told once, whatever restarts in between.

use std::{collections::HashMap, sync::Arc, time::Duration};

use clickhouse::Client;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::{
    AlertError,
    error::bounded,
    journal::{Journal, TransitionRow},
    period::Span,
    transition::digest,
};
use crate::{
    domain::{Clock, UtcMillis},
    notify::Report,
};

mod gather;
mod schedule;

pub use schedule::{ReportPeriod, ReportSchedule, check_schedules};

/// Whether something is due is looked at this often.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// After a mistake it is tried again this much later.
const RETRY_AFTER: Duration = Duration::from_secs(60);

/// The kind of rows of `alert_transitions` that are reports.
pub(super) const KIND: &str = "report";

/// Makes reports when they are due. Beside the alerter, so that no report delays an alert.
pub(super) struct Reporter {
    pub(super) journal: Journal,
    /// Schedules with their receivers, as they are now.
    pub(super) schedules: watch::Receiver<Vec<ReportSchedule>>,
    pub(super) clock: Arc<dyn Clock>,
    /// One for each notifier: they are told that there is something to send.
    pub(super) wakes: Vec<Arc<Notify>>,
    /// By schedule: the start of the period that was told last, or that has nothing to tell.
    pub(super) settled: HashMap<String, UtcMillis>,
}

impl Reporter {
    /// Runs until `shutdown`. ClickHouse being away is logged and tried again, never fatal.
    pub(super) async fn run(mut self, shutdown: CancellationToken) {
        loop {
            let looked = shutdown.run_until_cancelled(self.look()).await;
            let wait = match looked {
                None => return,
                Some(Ok(())) => LOOK_EVERY,
                Some(Err(error)) => {
                    tracing::warn!(%error, "a report could not be made; it is tried again");
                    RETRY_AFTER
                }
            };
            if shutdown.run_until_cancelled(tokio::time::sleep(wait)).await.is_none() {
                return;
            }
        }
    }

    /// Makes and records what is due.
    ///
    /// # Errors
    /// [`AlertError`] when a report cannot be made or recorded; the next look tries again.
    pub(super) async fn look(&mut self) -> Result<(), AlertError> {
        let schedules = self.schedules.borrow_and_update().clone();
        for schedule in schedules {
            let now = self.clock.now();
            let period = schedule.due(now)?;
            if self.settled.get(&schedule.name) == Some(&period.span.start) {
                continue;
            }
            let id = digest(&[KIND, &schedule.name, schedule.every.word(), &period.span.start.0.to_string()]);
            if !self.is_recorded(&id).await? {
                let name = (id, schedule.name.clone());
                let report = gather::gather(&self.journal.client, name, &period, &schedule.timezone, now).await?;
                // Nothing is said about times in which nothing was there yet.
                if report.totals.requests > 0 || report.previous.requests > 0 {
                    self.journal.record(&[TransitionRow::of_report(&report, &schedule, &period.span)]).await?;
                    tracing::info!(report = schedule.name, period = report.period, "a report was made");
                    self.wakes.iter().for_each(|wake| wake.notify_one());
                }
            }
            self.settled.insert(schedule.name, period.span.start);
        }
        Ok(())
    }

    async fn is_recorded(&self, id: &str) -> Result<bool, AlertError> {
        let query = "SELECT toUInt64(count()) FROM alert_transitions WHERE transition_id = ?";
        let rows: u64 = bounded("look for a report", self.journal.client.query(query).bind(id).fetch_one()).await?;
        Ok(rows > 0)
    }
}

/// The report on any stretch of time of whole minutes, compared with an equally long one before it.
///
/// # Errors
/// [`AlertError`] when ClickHouse does not answer.
pub async fn report(client: &Client, from: UtcMillis, to: UtcMillis, now: UtcMillis) -> Result<Report, AlertError> {
    let span = |from: UtcMillis, to: UtcMillis| Span { start: from, end: to, label: label(from, to) };
    let previous = span(UtcMillis(from.0 - (to.0 - from.0)), from);
    let period = ReportPeriod { span: span(from, to), previous };
    gather::gather(client, (String::new(), String::new()), &period, &jiff::tz::TimeZone::UTC, now).await
}

/// `2026-11-01 to 2026-11-08 (UTC)`, with times of day where they matter.
fn label(from: UtcMillis, to: UtcMillis) -> String {
    const DAY_MS: i64 = 86_400_000;
    let format = if from.0 % DAY_MS == 0 && to.0 % DAY_MS == 0 { "%Y-%m-%d" } else { "%Y-%m-%d %H:%M" };
    let text = |at: UtcMillis| {
        jiff::Timestamp::from_millisecond(at.0).map_or_else(|_| at.to_string(), |at| at.strftime(format).to_string())
    };
    format!("{} to {} (UTC)", text(from), text(to))
}
