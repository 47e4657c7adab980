//! What fetching measures.

use std::time::Duration;

use prometheus::{Histogram, HistogramOpts, HistogramVec, IntCounterVec, Opts, Registry};

use super::{FetchStatus, attempt::AttemptError};

/// Counters and histograms of fetches.
#[derive(Clone, Debug)]
pub struct FetchMetrics {
    fetches: IntCounterVec,
    attempts: IntCounterVec,
    attempt_seconds: HistogramVec,
    url_life_left_seconds: Histogram,
}

impl FetchMetrics {
    /// Registers the metrics.
    ///
    /// # Errors
    /// When a name is registered twice.
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let metrics = Self {
            fetches: IntCounterVec::new(
                Opts::new("heliometer_fetches_total", "Stored objects asked for, by what became of it."),
                &["result"],
            )?,
            attempts: IntCounterVec::new(
                Opts::new("heliometer_fetch_attempts_total", "Attempts, by number and result."),
                &["attempt", "result"],
            )?,
            attempt_seconds: HistogramVec::new(
                HistogramOpts::new("heliometer_fetch_attempt_seconds", "Time of one attempt."),
                &["result"],
            )?,
            url_life_left_seconds: Histogram::with_opts(
                HistogramOpts::new(
                    "heliometer_fetch_url_life_left_seconds",
                    "How long the pre-signed URL was still good when an attempt was made.",
                )
                .buckets(vec![10.0, 60.0, 300.0, 900.0, 1_800.0, 3_600.0, 21_600.0, 86_400.0]),
            )?,
        };
        registry.register(Box::new(metrics.fetches.clone()))?;
        registry.register(Box::new(metrics.attempts.clone()))?;
        registry.register(Box::new(metrics.attempt_seconds.clone()))?;
        registry.register(Box::new(metrics.url_life_left_seconds.clone()))?;
        Ok(metrics)
    }

    pub(super) fn finished(&self, status: FetchStatus) {
        self.fetches.with_label_values(&[status.as_str()]).inc();
    }

    pub(super) fn attempted(&self, number: u32, error: Option<&AttemptError>, elapsed: Duration, life_left: Duration) {
        let result = match error {
            None => FetchStatus::Fetched.as_str(),
            Some(AttemptError::Final(status)) => status.as_str(),
            Some(AttemptError::Retry { .. }) => "retry",
        };
        // Labels are bounded: more attempts than this are not told apart.
        self.attempts.with_label_values(&[&number.min(9).to_string(), result]).inc();
        self.attempt_seconds.with_label_values(&[result]).observe(elapsed.as_secs_f64());
        self.url_life_left_seconds.observe(life_left.as_secs_f64());
    }
}
