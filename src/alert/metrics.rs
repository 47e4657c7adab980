//! What alerting says about itself. Labels are bounded by the settings.

use prometheus::{IntCounterVec, IntGaugeVec, Opts, Registry};

use super::{state::States, transition::Phase};

/// The room's metrics. Cheap to clone.
#[derive(Clone)]
pub(super) struct AlertMetrics {
    notifications: IntCounterVec,
    evaluated: IntCounterVec,
    alerts: IntGaugeVec,
}

impl AlertMetrics {
    pub(super) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
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

    pub(super) fn states(&self, states: &States) {
        for phase in [Phase::Pending, Phase::Firing] {
            let count = i64::try_from(states.count(phase)).unwrap_or(i64::MAX);
            self.alerts.with_label_values(&[phase.word()]).set(count);
        }
    }
}
