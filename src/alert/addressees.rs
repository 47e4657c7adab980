//! Whom the alerts of a rule are told.

use std::{collections::BTreeMap, sync::Arc};

use super::{report::ReportSchedule, rule::Rule};
use crate::{
    notify::{Notifier, Routing, Severity},
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
            rule.notifiers.iter().flatten().try_for_each(|name| self.check_name(("rule", &rule.name), name))
        })
    }

    fn check_name(&self, (what, whose): (&str, &str), name: &str) -> Result<(), String> {
        self.settings
            .check_name(name)
            .map_err(|error| format!("{what} `{whose}`: {error}. Receivers and routes are read at start"))
    }

    /// What is wrong with the receivers that reports name: nobody reads what is sent to some.
    ///
    /// # Errors
    /// The first name that was no receiver at start, or none that people read.
    pub(super) fn check_reports(
        &self,
        schedules: &[ReportSchedule],
        receivers: &[Arc<dyn Notifier>],
    ) -> Result<(), String> {
        schedules.iter().try_for_each(|schedule| {
            schedule.notifiers.iter().flatten().try_for_each(|name| {
                self.check_name(("report", &schedule.name), name)?;
                match receivers.iter().find(|receiver| receiver.name() == name && !receiver.traits().digests) {
                    Some(machine) => Err(format!(
                        "report `{}`: `{name}` is of type {}, which takes alerts only",
                        schedule.name,
                        machine.kind()
                    )),
                    None => Ok(()),
                }
            })
        })
    }

    /// The schedules with the receivers of their reports, those that people read. Says so where there is none.
    pub(super) fn address_reports(
        &self,
        schedules: &[ReportSchedule],
        receivers: &[Arc<dyn Notifier>],
    ) -> Vec<ReportSchedule> {
        schedules.iter().cloned().map(|schedule| self.address_report(schedule, receivers)).collect()
    }

    fn address_report(&self, schedule: ReportSchedule, receivers: &[Arc<dyn Notifier>]) -> ReportSchedule {
        let labels = BTreeMap::new();
        let mut to = self.routing.receivers(&schedule.name, Severity::Info, &labels, schedule.notifiers.as_deref());
        to.retain(|name| receivers.iter().any(|receiver| receiver.name() == name && receiver.traits().digests));
        if to.is_empty() {
            tracing::warn!(
                report = schedule.name,
                "it is sent nowhere: set SLACK_WEBHOOK_URL or its `notifiers`, or see `heliometer report`"
            );
        }
        ReportSchedule { notifiers: Some(to), ..schedule }
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
