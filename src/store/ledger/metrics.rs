//! What the ledger measures.

use prometheus::{IntCounterVec, IntGaugeVec, Opts, Registry};

use super::checkpoint::Checkpoint;
use crate::store::StoreError;

/// Gauges by partition, of the leader alone.
#[derive(Clone, Debug)]
pub struct LedgerMetrics {
    missing: IntGaugeVec,
    lag: IntGaugeVec,
    redecided: IntGaugeVec,
    reset: IntGaugeVec,
    errors: IntCounterVec,
}

impl LedgerMetrics {
    /// Registers the metrics.
    ///
    /// # Errors
    /// When a name is registered twice.
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let gauge = |name: &str, help: &str| IntGaugeVec::new(Opts::new(name, help), &["partition"]);
        let metrics = Self {
            missing: gauge(
                "heliometer_ledger_missing_messages",
                "Messages without outcome though the log was committed past them, or has deleted them.",
            )?,
            lag: gauge(
                "heliometer_ledger_lag_messages",
                "Committed messages of which it is not verified yet that they have an outcome.",
            )?,
            redecided: gauge(
                "heliometer_ledger_redecided_messages",
                "Messages that were seen to have two different outcomes, of which one counts.",
            )?,
            reset: gauge(
                "heliometer_ledger_log_reset",
                "1 when the log ends before offsets whose outcomes are verified: it was deleted or replaced.",
            )?,
            errors: IntCounterVec::new(
                Opts::new("heliometer_ledger_errors_total", "Passes of the ledger that failed and were tried again."),
                &["error"],
            )?,
        };
        for gauge in [&metrics.missing, &metrics.lag, &metrics.redecided, &metrics.reset] {
            registry.register(Box::new(gauge.clone()))?;
        }
        registry.register(Box::new(metrics.errors.clone()))?;
        Ok(metrics)
    }

    pub(super) fn stands(&self, checkpoint: &Checkpoint, left: u64) {
        let partition = checkpoint.partition.to_string();
        for (gauge, messages) in
            [(&self.missing, checkpoint.missing_messages()), (&self.lag, left), (&self.redecided, checkpoint.redecided)]
        {
            gauge.with_label_values(&[&partition]).set(i64::try_from(messages).unwrap_or(i64::MAX));
        }
        self.is_reset(checkpoint.partition, false);
    }

    pub(super) fn is_reset(&self, partition: u16, is_reset: bool) {
        self.reset.with_label_values(&[&partition.to_string()]).set(i64::from(is_reset));
    }

    pub(super) fn failed(&self, error: &StoreError) {
        self.errors.with_label_values(&[error.label()]).inc();
    }

    /// Another process measures from here on.
    pub(super) fn forget(&self) {
        for gauge in [&self.missing, &self.lag, &self.redecided, &self.reset] {
            gauge.reset();
        }
    }
}
