//! The spool's metrics. Gauges are taken when they are asked for, so that the age grows while nothing happens.

use std::sync::Arc;

use prometheus::{
    Gauge, IntCounter, IntGauge, Registry,
    core::{Collector, Desc},
    proto::MetricFamily,
};

use super::gate::Gate;
use crate::{
    domain::Clock,
    event_log::{EmbeddedLog, EventLogError},
};

/// Counters under `heliometer_`.
#[derive(Clone)]
pub(super) struct Metrics {
    /// Records made durable in the spool.
    pub(super) spooled: IntCounter,
    /// Records that the remote acknowledged from the spool.
    pub(super) drained: IntCounter,
    /// Records of the spool that could not be read: lost to damage of its files.
    pub(super) damaged: IntCounter,
}

impl Metrics {
    /// Registers them, and the gauges over `gate` and `spool`.
    pub(super) fn register(
        registry: &Registry,
        gate: &Arc<Gate>,
        spool: &Arc<EmbeddedLog>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, EventLogError> {
        let register = || -> Result<Self, prometheus::Error> {
            let counter = |name: &str, help: &str| -> Result<IntCounter, prometheus::Error> {
                let counter = IntCounter::new(format!("heliometer_{name}"), help)?;
                registry.register(Box::new(counter.clone()))?;
                Ok(counter)
            };
            let metrics = Self {
                spooled: counter("spooled_total", "Webhooks made durable in the spool.")?,
                drained: counter("spool_drained_total", "Webhooks that Kafka took from the spool.")?,
                damaged: counter("spool_damaged_total", "Webhooks in the spool that cannot be read any more.")?,
            };
            registry.register(Box::new(Gauges {
                gate: Arc::clone(gate),
                spool: Arc::clone(spool),
                clock,
                records: IntGauge::new("heliometer_spool_records", "Webhooks in the spool that wait for Kafka.")?,
                oldest_age_seconds: Gauge::new(
                    "heliometer_spool_oldest_age_seconds",
                    "How long ago the oldest of them was received; 0 when none waits.",
                )?,
                disk_bytes: IntGauge::new("heliometer_spool_disk_bytes", "The spool's size on disk.")?,
            }))?;
            Ok(metrics)
        };
        register().map_err(|error| EventLogError::Storage { doing: "registering metrics", message: error.to_string() })
    }
}

struct Gauges {
    gate: Arc<Gate>,
    spool: Arc<EmbeddedLog>,
    clock: Arc<dyn Clock>,
    records: IntGauge,
    oldest_age_seconds: Gauge,
    disk_bytes: IntGauge,
}

impl Collector for Gauges {
    fn desc(&self) -> Vec<&Desc> {
        [self.records.desc(), self.oldest_age_seconds.desc(), self.disk_bytes.desc()].concat()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let waiting = self.gate.waiting();
        self.records.set(i64::try_from(waiting.records).unwrap_or(i64::MAX));
        let age = waiting.oldest.map(|oldest| self.clock.now().since(oldest)).unwrap_or_default();
        self.oldest_age_seconds.set(age.as_secs_f64());
        self.disk_bytes.set(i64::try_from(self.spool.disk_bytes()).unwrap_or(i64::MAX));
        [self.records.collect(), self.oldest_age_seconds.collect(), self.disk_bytes.collect()].concat()
    }
}
