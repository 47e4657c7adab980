//! What alerting says about itself. Labels are bounded by the settings.

use prometheus::{IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

use super::{state::States, transition::Phase};

/// Counters and gauges of alerting. Cheap to clone; registered once, used by one [`Alerter`](super::Alerter) after another.
#[derive(Clone, Debug)]
pub struct AlertMetrics {
    notifications: IntCounterVec,
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
            &["notifier", "result"],
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
        registry.register(Box::new(evaluated.clone()))?;
        registry.register(Box::new(alerts.clone()))?;
        Ok(Self { notifications, evaluated, alerts, reloads, rejected })
    }

    pub(super) fn notification(&self, notifier: &str, result: &str) {
        self.notifications.with_label_values(&[notifier, result]).inc();
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
    }

    pub(super) fn states(&self, states: &States) {
        for phase in [Phase::Pending, Phase::Firing] {
            let count = i64::try_from(states.count(phase)).unwrap_or(i64::MAX);
            self.alerts.with_label_values(&[phase.word()]).set(count);
        }
    }
}
