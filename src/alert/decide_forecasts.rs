//! Which forecasts are told: steps of [`super::state`] for periods that are on their way beyond their limit.

use super::{
    rule::{Rule, Total},
    state::{Measured, States, Subject, step},
    suppress::Suppressions,
    transition::{AlertKey, AlertState, Observation, Phase, Reason, Transition},
};
use crate::domain::UtcMillis;

/// Forecasts: `observation` has the groups whose period is on its way beyond the limit. Each is told once a period, and
/// not when the limit is reached already.
#[must_use]
pub fn decide_forecasts(
    states: &States,
    (rule, total): (&Rule, &Total),
    observation: &Observation,
    now: UtcMillis,
    suppressions: &Suppressions,
) -> Vec<Transition> {
    let span = &observation.span;
    let key = |group: &str, percent| AlertKey {
        rule: rule.name.clone(),
        group: group.to_owned(),
        period_start: Some(span.start),
        threshold_percent: percent,
    };
    let over: Vec<(String, Measured)> =
        observation.groups.iter().map(|group| (group.group.clone(), Measured::from(group))).collect();
    let is_over = |group: &str| observation.groups.iter().any(|over| over.group == group);
    let below: Vec<(String, Measured)> = states
        .of_rule(&rule.name)
        .filter(|(known, state)| {
            known.threshold_percent.is_none()
                && known.period_start == Some(span.start)
                && state.phase.is_active()
                && !is_over(&known.group)
        })
        .map(|(known, state)| (known.group.clone(), Measured::nothing(state.value)))
        .collect();
    let mut transitions = Vec::new();
    for (group, measured) in over.iter().chain(&below) {
        let key = key(group, None);
        let limit = total.limit_of(group);
        let known = states.get(&key);
        let suppressed_by = suppressions.reason(rule, group, states, now);
        let subject = Subject { states, rule, group, measured, suppressed_by: suppressed_by.as_deref(), now };
        let new_state = || subject.first_state(limit, span);
        let is_reached = || {
            let highest = AlertKey { threshold_percent: total.thresholds.last().copied(), ..key.clone() };
            let reached = |state: &AlertState| state.phase == Phase::Firing && state.value.has_reached(limit, 100);
            states.get(&highest).is_some_and(reached)
        };
        let untold = known.is_none_or(|state| state.last_notified_at.is_none());
        if let Some((next, reason)) = step(known, rule, is_over(group), measured, now, new_state) {
            let told = reason == Reason::Fired && untold && !is_reached();
            transitions.push(subject.transition(key, next, reason, told));
        } else if let Some(state) = known.filter(|state| state.phase == Phase::Firing)
            && untold
            && subject.suppressed_by.is_none()
            && !is_reached()
        {
            let next = AlertState { revision: state.revision + 1, value: measured.value, ..state.clone() };
            transitions.push(subject.transition(key, next, Reason::Unsuppressed, true));
        }
    }
    transitions
}
