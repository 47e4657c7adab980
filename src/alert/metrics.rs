//! What alerting says about itself. Labels are bounded by the settings.

use std::time::Duration;

use prometheus::{GaugeVec, HistogramOpts, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

use super::{state::States, transition::Phase};
use crate::notify::Notifier;

/// Counters and gauges of alerting. Cheap to clone; registered once, used by one [`Alerter`](super::Alerter) after another.
#[derive(Clone, Debug)]
pub struct AlertMetrics {
    notifications: IntCounterVec,
    attempts: HistogramVec,
    waiting: IntGaugeVec,
    longest_wait: GaugeVec,
    evaluated: IntCounterVec,
    alerts: IntGaugeVec,
    reloads: IntCounterVec,
    rejected: IntGauge,
}

impl AlertMetrics {
    /// Registers the metrics.
    ///
    /// # Errors
    /// When a name is registered twice.
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let notifications = IntCounterVec::new(
            Opts::new(
                "heliometer_notifications_total",
                "Delivery attempts of alert notifications by outcome: sent, retried, failed",
            ),
            &["notifier", "type", "result"],
        )?;
        let attempts = HistogramVec::new(
            HistogramOpts::new("heliometer_notification_attempt_seconds", "Time of one attempt to hand over a message")
                .buckets(vec![0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0]),
            &["notifier", "type"],
        )?;
        let waiting = IntGaugeVec::new(
            Opts::new("heliometer_notifications_waiting", "Messages in the outbox of a receiver, 1000 for more"),
            &["notifier", "type"],
        )?;
        let longest_wait = GaugeVec::new(
            Opts::new(
                "heliometer_notifications_oldest_waiting_seconds",
                "How long the oldest message in the outbox of a receiver waits, as of the last attempt; 0 for none",
            ),
            &["notifier", "type"],
        )?;
        let evaluated = IntCounterVec::new(
            Opts::new("heliometer_alert_rules_evaluated_total", "Evaluations of alert rules by outcome: ok, error"),
            &["rule", "result"],
        )?;
        let alerts = IntGaugeVec::new(Opts::new("heliometer_alerts", "Alerts by state: pending, firing"), &["state"])?;
        let reloads = IntCounterVec::new(
            Opts::new(
                "heliometer_alert_rules_reloads_total",
                "Changed alert rules read from disk by outcome: ok, error",
            ),
            &["result"],
        )?;
        let rejected = IntGauge::new(
            "heliometer_alert_rules_rejected",
            "1 while the alert rules on disk are not valid and those before them hold.",
        )?;
        registry.register(Box::new(reloads.clone()))?;
        registry.register(Box::new(rejected.clone()))?;
        registry.register(Box::new(notifications.clone()))?;
        registry.register(Box::new(attempts.clone()))?;
        registry.register(Box::new(waiting.clone()))?;
        registry.register(Box::new(longest_wait.clone()))?;
        registry.register(Box::new(evaluated.clone()))?;
        registry.register(Box::new(alerts.clone()))?;
        Ok(Self { notifications, attempts, waiting, longest_wait, evaluated, alerts, reloads, rejected })
    }

    pub(super) fn notification(&self, notifier: &dyn Notifier, result: &str) {
        self.notifications.with_label_values(&[notifier.name(), notifier.kind(), result]).inc();
    }

    pub(super) fn attempted(&self, notifier: &dyn Notifier, took: Duration) {
        self.attempts.with_label_values(&[notifier.name(), notifier.kind()]).observe(took.as_secs_f64());
    }

    /// What one look at a receiver's outbox found.
    pub(super) fn waiting(&self, notifier: &dyn Notifier, messages: usize, longest: Duration) {
        let labels = [notifier.name(), notifier.kind()];
        self.waiting.with_label_values(&labels).set(i64::try_from(messages).unwrap_or(i64::MAX));
        self.longest_wait.with_label_values(&labels).set(longest.as_secs_f64());
    }

    pub(super) fn evaluated(&self, rule: &str, ok: bool) {
        self.evaluated.with_label_values(&[rule, if ok { "ok" } else { "error" }]).inc();
    }

    pub(super) fn reloaded(&self, ok: bool) {
        self.reloads.with_label_values(&[if ok { "ok" } else { "error" }]).inc();
        self.rejected.set(i64::from(!ok));
    }

    /// The rule is gone, and its series with it.
    pub(super) fn forget_rule(&self, rule: &str) {
        for result in ["ok", "error"] {
            // An error says that there was none.
            drop(self.evaluated.remove_label_values(&[rule, result]));
        }
    }

    /// This process knows of no alerts any more.
    pub(super) fn forget(&self) {
        self.states(&States::default());
        self.waiting.reset();
        self.longest_wait.reset();
    }

    pub(super) fn states(&self, states: &States) {
        for phase in [Phase::Pending, Phase::Firing] {
            let count = i64::try_from(states.count(phase)).unwrap_or(i64::MAX);
            self.alerts.with_label_values(&[phase.word()]).set(count);
        }
    }
}
