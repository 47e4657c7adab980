//! Kafka's metrics, by the embedded log's names where they mean the same.

use prometheus::{IntCounterVec, Opts, Registry};

use crate::event_log::{EventLogError, Topic};

/// Metrics under `heliometer_event_log_`.
#[derive(Clone)]
pub(super) struct Metrics {
    pub(super) appended_records: IntCounterVec,
    pub(super) appended_bytes: IntCounterVec,
    pub(super) append_errors: IntCounterVec,
    pub(super) broker_errors: IntCounterVec,
}

impl Metrics {
    /// Makes and registers all of them; fails when the registry already has an event log's.
    pub(super) fn register(registry: &Registry) -> Result<Self, EventLogError> {
        let counters = |name: &str, help: &str, label: &str| -> Result<IntCounterVec, EventLogError> {
            let made = IntCounterVec::new(Opts::new(format!("heliometer_event_log_{name}"), help), &[label]);
            made.and_then(|metric| registry.register(Box::new(metric.clone())).map(|()| metric))
                .map_err(|error| EventLogError::Storage { doing: "registering metrics", message: error.to_string() })
        };
        let metrics = Self {
            appended_records: counters("appended_records_total", "Records made durable.", "topic")?,
            appended_bytes: counters("appended_bytes_total", "Payload bytes made durable.", "topic")?,
            append_errors: counters("append_errors_total", "Appends that were refused or failed.", "error")?,
            broker_errors: counters("broker_errors_total", "Errors of connections to Kafka's brokers.", "error")?,
        };
        // There from the start, so that a rate over them begins at zero.
        for topic in Topic::ALL {
            metrics.appended_records.with_label_values(&[topic.name()]);
            metrics.appended_bytes.with_label_values(&[topic.name()]);
        }
        Ok(metrics)
    }
}
