//! What the consumer measures.

use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

use crate::{domain::UtcMillis, event_log::Partition};

/// Counters, gauges and histograms of the consumer.
#[derive(Clone, Debug)]
pub struct ConsumerMetrics {
    outcomes: IntCounterVec,
    event_age_seconds: HistogramVec,
    lag: IntGaugeVec,
    in_flight_records: IntGauge,
    in_flight_bytes: IntGauge,
    unpriced: IntCounterVec,
    retry_lag: IntGaugeVec,
    retry_waiting: IntGauge,
    retries: IntCounterVec,
}

/// Models told apart in metrics; a sender could name any number of them.
const MAX_MODEL_LABELS: usize = 200;

impl ConsumerMetrics {
    /// Registers the metrics.
    ///
    /// # Errors
    /// When a name is registered twice.
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let metrics = Self {
            outcomes: IntCounterVec::new(
                Opts::new("heliometer_outcomes_total", "Messages by outcome, redeliveries counted again."),
                &["outcome", "reason"],
            )?,
            event_age_seconds: HistogramVec::new(
                HistogramOpts::new("heliometer_event_age_seconds", "Time since receipt when a stage was reached.")
                    .buckets(vec![0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 30.0, 60.0, 300.0, 3_600.0]),
                &["stage"],
            )?,
            lag: IntGaugeVec::new(
                Opts::new("heliometer_log_lag_records", "Records not yet committed."),
                &["partition"],
            )?,
            in_flight_records: IntGauge::new("heliometer_consumer_in_flight_records", "Records being worked on.")?,
            in_flight_bytes: IntGauge::new("heliometer_consumer_in_flight_bytes", "Bytes of records being worked on.")?,
            unpriced: IntCounterVec::new(
                Opts::new("heliometer_unpriced_requests_total", "Stored requests without a known price."),
                &["model"],
            )?,
            retry_lag: IntGaugeVec::new(
                Opts::new("heliometer_fetch_retry_lag_records", "Stored objects that are still to be asked for again."),
                &["partition"],
            )?,
            retry_waiting: IntGauge::new(
                "heliometer_fetch_retry_waiting_records",
                "Of these, the ones that were read and wait in memory for their turn.",
            )?,
            retries: IntCounterVec::new(
                Opts::new("heliometer_fetch_retries_total", "Stored objects asked for again, by what became of it."),
                &["result"],
            )?,
        };
        registry.register(Box::new(metrics.outcomes.clone()))?;
        registry.register(Box::new(metrics.event_age_seconds.clone()))?;
        registry.register(Box::new(metrics.lag.clone()))?;
        registry.register(Box::new(metrics.in_flight_records.clone()))?;
        registry.register(Box::new(metrics.in_flight_bytes.clone()))?;
        registry.register(Box::new(metrics.unpriced.clone()))?;
        registry.register(Box::new(metrics.retry_lag.clone()))?;
        registry.register(Box::new(metrics.retry_waiting.clone()))?;
        registry.register(Box::new(metrics.retries.clone()))?;
        Ok(metrics)
    }

    pub(super) fn decided(&self, outcome: &str, reason: &str) {
        self.outcomes.with_label_values(&[outcome, reason]).inc();
    }

    pub(super) fn reached(&self, stage: &'static str, received_at: UtcMillis, now: UtcMillis) {
        self.event_age_seconds.with_label_values(&[stage]).observe(now.since(received_at).as_secs_f64());
    }

    pub(super) fn lag(&self, partition: Partition, records: u64) {
        self.lag.with_label_values(&[&partition.0.to_string()]).set(i64::try_from(records).unwrap_or(i64::MAX));
    }

    pub(super) fn retry_lag(&self, partition: Partition, records: u64) {
        self.retry_lag.with_label_values(&[&partition.0.to_string()]).set(i64::try_from(records).unwrap_or(i64::MAX));
    }

    pub(super) fn retry_waiting(&self, records: usize) {
        self.retry_waiting.set(i64::try_from(records).unwrap_or(i64::MAX));
    }

    pub(super) fn retried(&self, result: &str) {
        self.retries.with_label_values(&[result]).inc();
    }

    pub(super) fn in_flight(&self, records: usize, bytes: usize) {
        self.in_flight_records.set(i64::try_from(records).unwrap_or(i64::MAX));
        self.in_flight_bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    pub(super) fn unpriced(&self, model: &str, labels: &mut std::collections::HashSet<String>) {
        let known = labels.contains(model) || labels.len() < MAX_MODEL_LABELS;
        if known && !labels.contains(model) {
            labels.insert(model.to_owned());
        }
        self.unpriced.with_label_values(&[if known { model } else { "(other)" }]).inc();
    }
}
