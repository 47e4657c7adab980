//! What alerting says about itself. Labels are bounded by the settings.

use prometheus::{IntCounterVec, IntGaugeVec, Opts, Registry};

use super::{state::States, transition::Phase};

/// Counters and gauges of alerting. Cheap to clone; registered once, used by one [`Alerter`](super::Alerter) after another.
#[derive(Clone, Debug)]
pub struct AlertMetrics {
    notifications: IntCounterVec,
    evaluated: IntCounterVec,
    alerts: IntGaugeVec,
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
        registry.register(Box::new(notifications.clone()))?;
        registry.register(Box::new(evaluated.clone()))?;
        registry.register(Box::new(alerts.clone()))?;
        Ok(Self { notifications, evaluated, alerts })
    }

    pub(super) fn notification(&self, notifier: &str, result: &str) {
        self.notifications.with_label_values(&[notifier, result]).inc();
    }

    pub(super) fn evaluated(&self, rule: &str, ok: bool) {
        self.evaluated.with_label_values(&[rule, if ok { "ok" } else { "error" }]).inc();
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
