//! Whom the alerts of a rule are told.

use std::sync::Arc;

use super::rule::Rule;
use crate::{
    notify::{Notifier, Routing},
    settings::NotifierSettings,
};

/// Receivers and routes as they were at start.
pub(super) struct Addressees {
    settings: NotifierSettings,
    routing: Routing,
}

impl Addressees {
    pub(super) fn new(settings: &NotifierSettings) -> Self {
        Self { settings: settings.clone(), routing: Routing::new(settings) }
    }

    /// What is wrong with the receivers that rules name.
    ///
    /// # Errors
    /// The first name that was no receiver at start.
    pub(super) fn check(&self, rules: &[Rule]) -> Result<(), String> {
        rules.iter().try_for_each(|rule| {
            rule.notifiers.iter().flatten().try_for_each(|name| {
                self.settings
                    .check_name(name)
                    .map_err(|error| format!("rule `{}`: {error}. Receivers and routes are read at start", rule.name))
            })
        })
    }

    /// The rule with the receivers of its alerts. Says so if there is none.
    pub(super) fn address(&self, rule: Rule, receivers: &[Arc<dyn Notifier>]) -> Rule {
        let to = self.routing.receivers(&rule.name, rule.severity, &rule.labels, rule.notifiers.as_deref());
        if !to.iter().any(|name| receivers.iter().any(|receiver| receiver.name() == name)) {
            tracing::warn!(
                rule = rule.name,
                "its alerts are recorded but sent nowhere yet: set SLACK_WEBHOOK_URL or [[notifiers.routes]], or read the view `alerts`"
            );
        }
        Rule { notifiers: Some(to), ..rule }
    }
}
