//! What is measured of contents. Never a piece of them.

use prometheus::{IntCounter, IntCounterVec, Opts, Registry};

use super::{
    Action,
    pii::{PiiCounts, PiiKind},
};

/// Counters of inspection. Labels are bounded by the settings.
#[derive(Clone, Debug)]
pub struct ContentsMetrics {
    pii_found: IntCounterVec,
    policy_matches: IntCounterVec,
    policy_errors: IntCounterVec,
    failures: IntCounter,
}

impl ContentsMetrics {
    /// Registers the metrics.
    ///
    /// # Errors
    /// When a name is registered twice.
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let metrics = Self {
            pii_found: IntCounterVec::new(
                Opts::new("heliometer_pii_found_total", "Personal data and secrets found in requests and responses."),
                &["type"],
            )?,
            policy_matches: IntCounterVec::new(
                Opts::new("heliometer_policy_matches_total", "Calls that a policy was about."),
                &["policy", "action"],
            )?,
            policy_errors: IntCounterVec::new(
                Opts::new(
                    "heliometer_policy_errors_total",
                    "Calls on which a policy could not be evaluated, for example because a value is null; it then does nothing.",
                ),
                &["policy"],
            )?,
            failures: IntCounter::new(
                "heliometer_inspection_failures_total",
                "Calls that were stored without being inspected, because that failed.",
            )?,
        };
        registry.register(Box::new(metrics.pii_found.clone()))?;
        registry.register(Box::new(metrics.policy_matches.clone()))?;
        registry.register(Box::new(metrics.policy_errors.clone()))?;
        registry.register(Box::new(metrics.failures.clone()))?;
        Ok(metrics)
    }

    pub(super) fn found(&self, counts: PiiCounts) {
        for kind in PiiKind::ALL {
            let count = counts.of(kind);
            if count > 0 {
                self.pii_found.with_label_values(&[kind.as_str()]).inc_by(count.into());
            }
        }
    }

    pub(super) fn policy_matched(&self, policy: &str, action: Action) {
        self.policy_matches.with_label_values(&[policy, action.as_str()]).inc();
    }

    pub(super) fn policy_failed(&self, policy: &str) {
        self.policy_errors.with_label_values(&[policy]).inc();
    }

    pub(super) fn failed(&self) {
        self.failures.inc();
    }
}
