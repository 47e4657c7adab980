//! The state machine: known states, an observation and a time give transitions. No I/O, no clock.
//!
//! State is kept per rule **and** group (and for totals per threshold and period): while one user is over, another
//! one's crossing fires on its own. A transition carries the whole state after it, so the newest transition of each
//! key is enough to continue after a restart, and deciding twice from one state gives the same transition ids.
//!
//! ```text
//! (none) ──over──▶ pending ──held for `for`──▶ firing ──below──▶ resolved
//!    └────────over, `for` is 0────────────────▶──┘ ▲ repeats       │
//!                     pending ──below──▶ inactive   └──over again──┘ (a new alert)
//! ```

use std::collections::{BTreeMap, HashSet};

use super::{
    period::Span,
    rule::{Condition, Rule, Total, Window},
    transition::{AlertKey, AlertState, GroupValue, Observation, Phase, Reason, Transition, fingerprint, step_id},
};
use crate::{domain::UtcMillis, notify::Quantity};

/// A period is still judged this long after its end: what happened in its last seconds takes a moment to be stored.
pub const PERIOD_GRACE: std::time::Duration = std::time::Duration::from_secs(120);

/// The states of all alerts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct States(BTreeMap<AlertKey, AlertState>);

impl States {
    /// Takes a transition into account. The last one of each key is enough.
    pub fn apply(&mut self, transition: &Transition) {
        self.restore(transition.key.clone(), transition.state.clone());
    }

    /// Takes a state as it was recorded.
    pub fn restore(&mut self, key: AlertKey, state: AlertState) {
        // Totals are remembered until their period ends, so that one threshold is told once.
        if state.phase.is_active() || state.period_end.is_some() {
            self.0.insert(key, state);
        } else {
            self.0.remove(&key);
        }
    }

    /// The states of one rule.
    fn of_rule<'a>(&'a self, rule: &'a str) -> impl Iterator<Item = (&'a AlertKey, &'a AlertState)> {
        let first =
            AlertKey { rule: rule.to_owned(), group: String::new(), period_start: None, threshold_percent: None };
        self.0.range(first..).take_while(move |(key, _)| key.rule == rule)
    }

    /// Groups of a rule that are pending or firing: their values are wanted whatever they are.
    #[must_use]
    pub fn active_groups(&self, rule: &str) -> Vec<String> {
        let groups: HashSet<&str> = self
            .of_rule(rule)
            .filter(|(_, state)| state.phase.is_active())
            .map(|(key, _)| key.group.as_str())
            .collect();
        groups.into_iter().map(str::to_owned).collect()
    }

    /// Whether an alert of the rule waits for `for`.
    #[must_use]
    pub fn has_pending(&self, rule: &str) -> bool {
        self.of_rule(rule).any(|(_, state)| state.phase == Phase::Pending)
    }

    /// How many alerts are in `phase`.
    #[must_use]
    pub fn count(&self, phase: Phase) -> usize {
        self.0.values().filter(|state| state.phase == phase).count()
    }

    /// Forgets totals whose period ended and that have nothing left to record.
    pub fn forget_ended(&mut self, now: UtcMillis) {
        self.0.retain(|_, state| {
            state.phase.is_active() || state.period_end.is_none_or(|end| now < end.plus(PERIOD_GRACE))
        });
    }

    /// Ends alerts whose period is over or whose rule is gone, silently: nothing happened that people must know.
    #[must_use]
    pub fn end_stale(&self, rules: &HashSet<&str>, now: UtcMillis) -> Vec<Transition> {
        let ended = |state: &AlertState| state.period_end.is_some_and(|end| now >= end.plus(PERIOD_GRACE));
        self.0
            .iter()
            .filter(|(_, state)| state.phase.is_active())
            .filter_map(|(key, state)| {
                let reason = if ended(state) {
                    Reason::PeriodEnded
                } else if rules.contains(key.rule.as_str()) {
                    return None;
                } else {
                    Reason::RuleRemoved
                };
                let measured = Measured::nothing(state.value);
                let mut next = end_of(state);
                next.value = state.value;
                Some(transition(key.clone(), next, reason, false, now, &measured))
            })
            .collect()
    }
}

/// What is known of a group at a decision.
struct Measured {
    value: Quantity,
    requests: u64,
    priced_requests: u64,
    exceeding_requests: Option<u64>,
}

impl Measured {
    fn nothing(unit: Quantity) -> Self {
        Self { value: unit.zero(), requests: 0, priced_requests: 0, exceeding_requests: None }
    }
}

impl From<&GroupValue> for Measured {
    fn from(group: &GroupValue) -> Self {
        Self {
            value: group.value,
            requests: group.requests,
            priced_requests: group.priced_requests,
            exceeding_requests: group.exceeding_requests,
        }
    }
}

/// The transitions that `observation` of `rule` brings about.
#[must_use]
pub fn decide(states: &States, rule: &Rule, observation: &Observation, now: UtcMillis) -> Vec<Transition> {
    let seen: HashSet<&str> = observation.groups.iter().map(|group| group.group.as_str()).collect();
    let mut groups: Vec<(String, Measured)> =
        observation.groups.iter().map(|group| (group.group.clone(), Measured::from(group))).collect();
    if !observation.cut {
        let mut missing = HashSet::new();
        for (key, state) in states.of_rule(&rule.name) {
            if state.phase.is_active() && !seen.contains(key.group.as_str()) && missing.insert(key.group.as_str()) {
                groups.push((key.group.clone(), Measured::nothing(state.value)));
            }
        }
    }
    let mut transitions = Vec::new();
    for (group, measured) in &groups {
        match &rule.condition {
            Condition::Total(total) => {
                decide_total(&mut transitions, states, (rule, total), &observation.span, (group, measured), now);
            }
            Condition::Window(window) => {
                transitions.extend(decide_window(states, (rule, window), (group, measured), now));
            }
        }
    }
    transitions
}

/// Every threshold of one group in one period. Of several reached at once, only the highest is told, and none below
/// or at what was told before.
fn decide_total(
    transitions: &mut Vec<Transition>,
    states: &States,
    (rule, total): (&Rule, &Total),
    span: &Span,
    (group, measured): (&str, &Measured),
    now: UtcMillis,
) {
    let limit = total.limit_of(group);
    let key = |percent| AlertKey {
        rule: rule.name.clone(),
        group: group.to_owned(),
        period_start: Some(span.start),
        threshold_percent: Some(percent),
    };
    let new_state = || AlertState {
        phase: Phase::Inactive,
        since: now,
        last_notified_at: None,
        revision: 0,
        period_end: Some(span.end),
        value: measured.value,
        limit,
        period: span.label.clone(),
    };
    let mut highest_fired = None;
    for percent in &total.thresholds {
        let key = key(*percent);
        let reached = measured.value.has_reached(limit, *percent);
        let Some((mut next, reason)) = step(states.0.get(&key), rule, reached, measured, now, new_state) else {
            continue;
        };
        next.limit = limit;
        if reason == Reason::Fired {
            highest_fired = Some(transitions.len());
        }
        transitions.push(transition(key, next, reason, false, now, measured));
    }
    let Some(index) = highest_fired else { return };
    let told = total
        .thresholds
        .iter()
        .filter(|percent| states.0.get(&key(**percent)).is_some_and(|state| state.last_notified_at.is_some()))
        .max();
    if let Some(transition) = transitions.get_mut(index)
        && told < transition.key.threshold_percent.as_ref()
    {
        transition.notify = true;
        transition.state.last_notified_at = Some(now);
    }
}

fn decide_window(
    states: &States,
    (rule, window): (&Rule, &Window),
    (group, measured): (&str, &Measured),
    now: UtcMillis,
) -> Option<Transition> {
    let key =
        AlertKey { rule: rule.name.clone(), group: group.to_owned(), period_start: None, threshold_percent: None };
    let over = measured.requests > 0 && window.measure.is_over(measured.value);
    let known = states.0.get(&key);
    let new_state = || AlertState {
        phase: Phase::Inactive,
        since: now,
        last_notified_at: None,
        revision: 0,
        period_end: None,
        value: measured.value,
        limit: window.measure.limit(),
        period: format!("last {}", window.window_text),
    };
    if let Some((mut next, reason)) = step(known, rule, over, measured, now, new_state) {
        let notify = match reason {
            Reason::Fired => true,
            // What nobody was told need not be called off.
            _ => next.phase == Phase::Resolved && next.last_notified_at.is_some(),
        };
        if notify {
            next.last_notified_at = Some(now);
        }
        next.limit = window.measure.limit();
        return Some(transition(key, next, reason, notify, now, measured));
    }
    let state = known.filter(|state| state.phase == Phase::Firing)?;
    let due = state.last_notified_at.unwrap_or(state.since).plus(rule.repeat_interval?);
    (now >= due).then(|| {
        let next = AlertState {
            last_notified_at: Some(now),
            revision: state.revision + 1,
            value: measured.value,
            ..state.clone()
        };
        transition(key, next, Reason::Repeated, true, now, measured)
    })
}

/// The next state of one alert, if it changes.
fn step(
    known: Option<&AlertState>,
    rule: &Rule,
    over: bool,
    measured: &Measured,
    now: UtcMillis,
    new_state: impl Fn() -> AlertState,
) -> Option<(AlertState, Reason)> {
    let enough = measured.requests >= rule.min_requests;
    let active = known.filter(|state| state.phase.is_active());
    let (mut next, reason) = match active {
        None if over && enough => {
            // A total that fires again within its period is the same alert: what was told stays told.
            let mut next = new_state();
            if let Some(before) = known {
                next.revision = before.revision + 1;
                next.last_notified_at = before.last_notified_at;
            }
            let held = rule.hold.is_zero();
            next.phase = if held { Phase::Firing } else { Phase::Pending };
            return Some((next, if held { Reason::Fired } else { Reason::Held }));
        }
        None => return None,
        Some(state) if state.phase == Phase::Pending => {
            if !(over && enough) {
                (end_of(state), Reason::Below)
            } else if now.since(state.since) >= rule.hold {
                let next = AlertState { phase: Phase::Firing, revision: state.revision + 1, ..state.clone() };
                (next, Reason::Fired)
            } else {
                return None;
            }
        }
        // Once firing, fewer requests alone do not end it.
        Some(_) if over => return None,
        Some(state) => (end_of(state), Reason::Below),
    };
    next.value = measured.value;
    Some((next, reason))
}

/// A state after its end.
fn end_of(state: &AlertState) -> AlertState {
    let phase = if state.phase == Phase::Firing { Phase::Resolved } else { Phase::Inactive };
    AlertState { phase, revision: state.revision + 1, ..state.clone() }
}

fn transition(
    key: AlertKey,
    state: AlertState,
    reason: Reason,
    notify: bool,
    at: UtcMillis,
    measured: &Measured,
) -> Transition {
    let fingerprint = fingerprint(&key, &state);
    let id = step_id(&fingerprint, reason, &state);
    Transition {
        id,
        fingerprint,
        at,
        key,
        state,
        reason,
        notify,
        requests: measured.requests,
        priced_requests: measured.priced_requests,
        exceeding_requests: measured.exceeding_requests,
    }
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
