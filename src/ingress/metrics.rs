//! The metrics of the ingress, and log lines that a flood cannot multiply.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use prometheus::{Histogram, HistogramOpts, IntCounterVec, IntGauge, Opts, Registry, exponential_buckets};
use tracing::Level;

use super::error::IngressError;

/// The `source` label of requests for no configured source.
pub(super) const UNKNOWN_SOURCE: &str = "unknown";

pub(super) struct IngressMetrics {
    pub(super) webhooks: IntCounterVec,
    pub(super) signature_failures: IntCounterVec,
    pub(super) rate_limited: IntCounterVec,
    pub(super) limiter_overflow: IntCounterVec,
    pub(super) secret_used: IntCounterVec,
    pub(super) ack_seconds: Histogram,
    pub(super) body_bytes: Histogram,
    pub(super) connections: IntGauge,
    pub(super) in_flight_body_bytes: IntGauge,
    refusals: RefusalLog,
}

impl IngressMetrics {
    pub(super) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let counters = |name: &str, help: &str, labels: &[&str]| -> Result<IntCounterVec, prometheus::Error> {
            let counters = IntCounterVec::new(Opts::new(format!("heliometer_{name}"), help), labels)?;
            registry.register(Box::new(counters.clone()))?;
            Ok(counters)
        };
        let histogram = |name: &str, help: &str, buckets: Vec<f64>| -> Result<Histogram, prometheus::Error> {
            let options = HistogramOpts::new(format!("heliometer_{name}"), help).buckets(buckets);
            let histogram = Histogram::with_opts(options)?;
            registry.register(Box::new(histogram.clone()))?;
            Ok(histogram)
        };
        let gauge = |name: &str, help: &str| -> Result<IntGauge, prometheus::Error> {
            let gauge = IntGauge::new(format!("heliometer_{name}"), help)?;
            registry.register(Box::new(gauge.clone()))?;
            Ok(gauge)
        };
        Ok(Self {
            webhooks: counters("webhooks_total", "Requests to the webhook listener.", &["source", "outcome"])?,
            signature_failures: counters(
                "signature_failures_total",
                "Webhooks whose signature is missing, malformed or wrong, also those answered 429.",
                &["source"],
            )?,
            rate_limited: counters("rate_limited_total", "Webhooks answered 429.", &["limit"])?,
            limiter_overflow: counters(
                "rate_limit_overflow_total",
                "Requests judged by the bucket that clients share when too many are remembered.",
                &["limit"],
            )?,
            secret_used: counters(
                "secret_used_total",
                "Right signatures by the index of the source's secret: when an old one stops, rotation is done.",
                &["source", "secret"],
            )?,
            ack_seconds: histogram(
                "ack_seconds",
                "From the request's headers to its answer, for webhooks that were made durable.",
                exponential_buckets(0.000_5, 2.0, 16)?,
            )?,
            body_bytes: histogram("body_bytes", "Size of signed bodies.", exponential_buckets(256.0, 4.0, 10)?)?,
            connections: gauge("connections", "Open connections to the webhook listener.")?,
            in_flight_body_bytes: gauge(
                "in_flight_body_bytes",
                "Memory reserved for bodies being received or stored, in bytes.",
            )?,
            refusals: RefusalLog::default(),
        })
    }

    /// Counts and logs a refused request.
    pub(super) fn refused(&self, source: &str, error: &IngressError) {
        self.webhooks.with_label_values(&[source, error.outcome()]).inc();
        if let IngressError::RateLimited(limit) = error {
            self.rate_limited.with_label_values(&[limit.limit]).inc();
        }
        self.refusals.log(source, error);
    }
}

/// The first refusal of each outcome in any ten seconds, with the number that came in between.
#[derive(Default)]
struct RefusalLog(Mutex<HashMap<&'static str, Refusals>>);

struct Refusals {
    logged: Instant,
    suppressed: u64,
}

const LOG_EACH_OUTCOME_EVERY: Duration = Duration::from_secs(10);

impl RefusalLog {
    fn log(&self, source: &str, error: &IngressError) {
        let Some(suppressed) = self.due(error.outcome(), Instant::now()) else { return };
        let (outcome, status) = (error.outcome(), error.status().as_u16());
        let cause = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
        // tracing wants the level as a constant.
        match error.level() {
            Level::ERROR => tracing::error!(source, outcome, status, suppressed, cause, "webhook lost: {error}"),
            Level::WARN => tracing::warn!(source, outcome, status, suppressed, cause, "webhook refused: {error}"),
            _ => tracing::debug!(source, outcome, status, suppressed, "request refused: {error}"),
        }
    }

    /// How many lines were left out since the last one, if another is due.
    fn due(&self, outcome: &'static str, now: Instant) -> Option<u64> {
        let mut outcomes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match outcomes.get_mut(outcome) {
            Some(last) if now.duration_since(last.logged) < LOG_EACH_OUTCOME_EVERY => {
                last.suppressed += 1;
                None
            }
            Some(last) => {
                last.logged = now;
                Some(std::mem::take(&mut last.suppressed))
            }
            None => {
                outcomes.insert(outcome, Refusals { logged: now, suppressed: 0 });
                Some(0)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_refusals_is_one_line_and_a_count() {
        let (log, start) = (RefusalLog::default(), Instant::now());
        assert_eq!(log.due("a", start), Some(0));
        assert_eq!(log.due("b", start), Some(0));
        assert!((0..1000).all(|_| log.due("a", start + Duration::from_secs(9)).is_none()));
        assert_eq!(log.due("a", start + Duration::from_secs(10)), Some(1000));
        assert_eq!(log.due("a", start + Duration::from_secs(11)), None);
    }

    #[test]
    fn every_metric_registers_once() {
        let registry = Registry::new();
        assert!(IngressMetrics::register(&registry).is_ok());
        assert!(IngressMetrics::register(&registry).is_err());
    }
}
