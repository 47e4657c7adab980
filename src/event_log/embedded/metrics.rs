//! The embedded log's metrics. Lag is computed elsewhere, from watermarks and committed offsets.

use prometheus::{
    Histogram, HistogramOpts, IntCounterVec, IntGauge, Opts, Registry, core::Collector, exponential_buckets,
};

/// Metrics under `heliometer_event_log_`.
pub(super) struct Metrics {
    pub(super) appended_records: IntCounterVec,
    pub(super) appended_bytes: IntCounterVec,
    pub(super) append_errors: IntCounterVec,
    pub(super) commit_seconds: Histogram,
    pub(super) commit_records: Histogram,
    pub(super) queue_bytes: IntGauge,
    pub(super) disk_bytes: IntGauge,
    pub(super) segments: IntGauge,
}

impl Metrics {
    /// Makes and registers all of them; fails when the registry already has an embedded log's.
    pub(super) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        fn add<T: Collector + Clone + 'static>(registry: &Registry, metric: T) -> Result<T, prometheus::Error> {
            registry.register(Box::new(metric.clone()))?;
            Ok(metric)
        }
        let counters = |name: &str, help: &str, label: &str| -> Result<IntCounterVec, prometheus::Error> {
            add(registry, IntCounterVec::new(Opts::new(format!("heliometer_event_log_{name}"), help), &[label])?)
        };
        let histogram = |name: &str, help: &str, buckets: Vec<f64>| -> Result<Histogram, prometheus::Error> {
            let options = HistogramOpts::new(format!("heliometer_event_log_{name}"), help).buckets(buckets);
            add(registry, Histogram::with_opts(options)?)
        };
        let gauge = |name: &str, help: &str| -> Result<IntGauge, prometheus::Error> {
            add(registry, IntGauge::new(format!("heliometer_event_log_{name}"), help)?)
        };
        Ok(Self {
            appended_records: counters("appended_records_total", "Records made durable.", "topic")?,
            appended_bytes: counters("appended_bytes_total", "Payload bytes made durable.", "topic")?,
            append_errors: counters("append_errors_total", "Appends that were refused or failed.", "error")?,
            commit_seconds: histogram(
                "commit_duration_seconds",
                "Time to write one batch of appends and sync it to disk.",
                exponential_buckets(0.000_25, 2.0, 16)?,
            )?,
            commit_records: histogram(
                "commit_records",
                "Records that shared one sync to disk.",
                exponential_buckets(1.0, 2.0, 13)?,
            )?,
            queue_bytes: gauge("queue_bytes", "Bytes of appends that wait to be written.")?,
            disk_bytes: gauge("disk_bytes", "Bytes of all segments on disk.")?,
            segments: gauge("segments", "Segment files.")?,
        })
    }
}
