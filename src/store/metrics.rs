//! What the store measures.

use std::time::Duration;

use prometheus::{Gauge, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry};

use super::{Batch, StoreError};

/// Counters and histograms of inserts and rollups.
#[derive(Clone, Debug)]
pub struct StoreMetrics {
    batches: IntCounter,
    rows: IntCounterVec,
    insert_seconds: Histogram,
    insert_retries: IntCounterVec,
    rollup_seconds: Histogram,
    rollup_lag_seconds: Gauge,
    rollup_buckets: IntCounter,
    rollup_errors: IntCounterVec,
    rollup_backlog_buckets: IntGauge,
    rollup_closed_buckets: IntCounter,
}

impl StoreMetrics {
    /// Registers the metrics.
    ///
    /// # Errors
    /// When a name is registered twice.
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let seconds = vec![0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
        let metrics = Self {
            batches: IntCounter::new("heliometer_batches_total", "Batches written to ClickHouse.")?,
            rows: IntCounterVec::new(Opts::new("heliometer_rows_total", "Rows written to ClickHouse."), &["table"])?,
            insert_seconds: Histogram::with_opts(
                HistogramOpts::new("heliometer_insert_seconds", "Time to write one batch.").buckets(seconds.clone()),
            )?,
            insert_retries: IntCounterVec::new(
                Opts::new("heliometer_insert_retries_total", "Batches that had to be written again."),
                &["error"],
            )?,
            rollup_seconds: Histogram::with_opts(
                HistogramOpts::new("heliometer_rollup_seconds", "Time of one rollup pass that changed something.")
                    .buckets(seconds),
            )?,
            rollup_lag_seconds: Gauge::new(
                "heliometer_rollup_lag_seconds",
                "Time since the rollups last held everything that was stored.",
            )?,
            rollup_buckets: IntCounter::new("heliometer_rollup_buckets_total", "Minutes recomputed.")?,
            rollup_errors: IntCounterVec::new(
                Opts::new("heliometer_rollup_errors_total", "Rollup passes that failed and were tried again."),
                &["error"],
            )?,
            rollup_backlog_buckets: IntGauge::new(
                "heliometer_rollup_backlog_buckets",
                "Minutes that a large correction touched and that are still to be recomputed, the newest first.",
            )?,
            rollup_closed_buckets: IntCounter::new(
                "heliometer_rollup_closed_buckets_total",
                "Minutes that were touched and left as they are, because retention may have removed rows of theirs.",
            )?,
        };
        registry.register(Box::new(metrics.batches.clone()))?;
        registry.register(Box::new(metrics.rows.clone()))?;
        registry.register(Box::new(metrics.insert_seconds.clone()))?;
        registry.register(Box::new(metrics.insert_retries.clone()))?;
        registry.register(Box::new(metrics.rollup_seconds.clone()))?;
        registry.register(Box::new(metrics.rollup_lag_seconds.clone()))?;
        registry.register(Box::new(metrics.rollup_buckets.clone()))?;
        registry.register(Box::new(metrics.rollup_errors.clone()))?;
        registry.register(Box::new(metrics.rollup_backlog_buckets.clone()))?;
        registry.register(Box::new(metrics.rollup_closed_buckets.clone()))?;
        Ok(metrics)
    }

    pub(super) fn batch_written(&self, batch: &Batch, elapsed: Duration) {
        self.batches.inc();
        self.rows.with_label_values(&["request_rows"]).inc_by(batch.requests.len() as u64);
        self.rows.with_label_values(&["outcome_rows"]).inc_by(batch.outcomes.len() as u64);
        for (table, rows) in [
            ("content_rows", batch.contents.len()),
            ("inspection_rows", batch.inspections.len()),
            ("score_rows", batch.scores.len()),
        ] {
            if rows > 0 {
                self.rows.with_label_values(&[table]).inc_by(rows as u64);
            }
        }
        self.rows.with_label_values(&["dead_letter_rows"]).inc_by(batch.dead_letters.len() as u64);
        self.insert_seconds.observe(elapsed.as_secs_f64());
    }

    /// A batch could not be written and will be tried again.
    pub fn insert_failed(&self, error: &StoreError) {
        self.insert_retries.with_label_values(&[error.label()]).inc();
    }

    pub(super) fn rolled_up(&self, buckets: usize, backlog: usize, elapsed: Duration) {
        self.rollup_buckets.inc_by(buckets as u64);
        self.rollup_backlog_buckets.set(i64::try_from(backlog).unwrap_or(i64::MAX));
        self.rollup_seconds.observe(elapsed.as_secs_f64());
    }

    pub(super) fn closed_minutes(&self, buckets: usize) {
        if buckets > 0 {
            tracing::warn!(
                minutes = buckets,
                "calls came for minutes whose rows clickhouse.retention.requests_days has removed; their totals stay"
            );
            self.rollup_closed_buckets.inc_by(buckets as u64);
        }
    }

    pub(super) fn rollup_failed(&self, error: &StoreError) {
        self.rollup_errors.with_label_values(&[error.label()]).inc();
    }

    pub(super) fn rollup_lag(&self, lag: Duration) {
        self.rollup_lag_seconds.set(lag.as_secs_f64());
    }
}
