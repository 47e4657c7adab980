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
//!
//! What a silence, a maintenance window or another alert holds back ([`Suppressions`]) is decided and recorded all the
//! same, untold and with the reason. What still fires when nothing holds it back any more is told by the next decision.

use std::collections::{BTreeMap, HashSet};

use super::{
    period::Span,
    rule::{Condition, Rule, Total, Window},
    suppress::Suppressions,
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

    /// What fires now.
    pub(super) fn firing(&self) -> impl Iterator<Item = &AlertKey> {
        self.0.iter().filter(|(_, state)| state.phase == Phase::Firing).map(|(key, _)| key)
    }

    pub(super) fn get(&self, key: &AlertKey) -> Option<&AlertState> {
        self.0.get(key)
    }

    /// The states of one rule.
    pub(super) fn of_rule<'a>(&'a self, rule: &'a str) -> impl Iterator<Item = (&'a AlertKey, &'a AlertState)> {
        let first =
            AlertKey { rule: rule.to_owned(), group: String::new(), period_start: None, threshold_percent: None };
        self.0.range(first..).take_while(move |(key, _)| key.rule == rule)
    }

    /// Groups of a rule that were forecast to reach their limit.
    #[must_use]
    pub(super) fn active_forecasts(&self, rule: &str) -> HashSet<String> {
        let is_forecast = |key: &AlertKey| key.period_start.is_some() && key.threshold_percent.is_none();
        let active = self.of_rule(rule).filter(|(key, state)| is_forecast(key) && state.phase.is_active());
        active.map(|(key, _)| key.group.clone()).collect()
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
pub(super) struct Measured {
    pub(super) value: Quantity,
    requests: u64,
    priced_requests: u64,
    exceeding_requests: Option<u64>,
    limit: Option<Quantity>,
    note: String,
}

impl Measured {
    pub(super) fn nothing(unit: Quantity) -> Self {
        Self {
            value: unit.zero(),
            requests: 0,
            priced_requests: 0,
            exceeding_requests: None,
            limit: None,
            note: String::new(),
        }
    }
}

impl From<&GroupValue> for Measured {
    fn from(group: &GroupValue) -> Self {
        Self {
            value: group.value,
            requests: group.requests,
            priced_requests: group.priced_requests,
            exceeding_requests: group.exceeding_requests,
            limit: group.limit,
            note: group.note.clone(),
        }
    }
}

/// The transitions that `observation` of `rule` brings about when nothing is suppressed.
#[must_use]
pub fn decide(states: &States, rule: &Rule, observation: &Observation, now: UtcMillis) -> Vec<Transition> {
    decide_under(states, rule, observation, now, &Suppressions::default())
}

/// The transitions that `observation` of `rule` brings about.
#[must_use]
pub fn decide_under(
    states: &States,
    rule: &Rule,
    observation: &Observation,
    now: UtcMillis,
    suppressions: &Suppressions,
) -> Vec<Transition> {
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
        let suppressed_by = suppressions.reason(rule, group, states, now);
        let subject = Subject { states, rule, group, measured, suppressed_by: suppressed_by.as_deref(), now };
        match &rule.condition {
            Condition::Total(total) => decide_total(&mut transitions, &subject, total, &observation.span),
            Condition::Window(window) => transitions.extend(decide_window(&subject, window)),
        }
    }
    transitions
}

/// One group at one decision.
pub(super) struct Subject<'a> {
    pub(super) states: &'a States,
    pub(super) rule: &'a Rule,
    pub(super) group: &'a str,
    pub(super) measured: &'a Measured,
    /// What keeps its alerts from being told.
    pub(super) suppressed_by: Option<&'a str>,
    pub(super) now: UtcMillis,
}

impl Subject<'_> {
    /// The state of an alert on a period before its first step.
    pub(super) fn first_state(&self, limit: Quantity, span: &Span) -> AlertState {
        AlertState {
            phase: Phase::Inactive,
            since: self.now,
            last_notified_at: None,
            revision: 0,
            period_end: Some(span.end),
            value: self.measured.value,
            limit,
            period: span.label.clone(),
            below_since: None,
        }
    }

    /// `told` says whether people would be told if nothing were suppressed.
    pub(super) fn transition(&self, key: AlertKey, state: AlertState, reason: Reason, told: bool) -> Transition {
        let notify = told && self.suppressed_by.is_none();
        let state = if notify { AlertState { last_notified_at: Some(self.now), ..state } } else { state };
        let mut transition = transition(key, state, reason, notify, self.now, self.measured);
        if told && let Some(by) = self.suppressed_by {
            by.clone_into(&mut transition.suppressed_by);
        }
        transition
    }
}

/// Every threshold of one group in one period. Of several reached at once, only the highest is told, and none below
/// or at what was told before.
fn decide_total(transitions: &mut Vec<Transition>, subject: &Subject<'_>, total: &Total, span: &Span) {
    let Subject { states, rule, measured, now, .. } = *subject;
    let limit = total.limit_of(subject.group);
    let key = |percent| AlertKey {
        rule: rule.name.clone(),
        group: subject.group.to_owned(),
        period_start: Some(span.start),
        threshold_percent: Some(percent),
    };
    let new_state = || subject.first_state(limit, span);
    let first = transitions.len();
    // The highest that fires after this decision, and the highest that was ever told in this period.
    let (mut firing, mut told) = (None, None);
    for percent in &total.thresholds {
        let key = key(*percent);
        let known = states.get(&key);
        if known.is_some_and(|state| state.last_notified_at.is_some()) {
            told = Some(*percent);
        }
        let reached = measured.value.has_reached(limit, *percent);
        let phase = match step(known, rule, reached, measured, now, new_state) {
            Some((mut next, reason)) => {
                next.limit = limit;
                let phase = next.phase;
                transitions.push(transition(key, next, reason, false, now, measured));
                Some(phase)
            }
            None => known.map(|state| state.phase),
        };
        if phase == Some(Phase::Firing) {
            firing = Some(*percent);
        }
    }
    let Some(highest) = firing.filter(|_| told < firing) else { return };
    let fired = transitions
        .iter()
        .skip(first)
        .position(|transition| transition.reason == Reason::Fired && transition.key.threshold_percent == Some(highest));
    for transition in transitions.iter_mut().skip(first).filter(|transition| transition.reason == Reason::Fired) {
        if transition.key.threshold_percent != Some(highest) {
            transition.suppressed_by = format!("{highest} % of the same limit");
        }
    }
    match (fired, states.get(&key(highest))) {
        (Some(index), _) => {
            let Transition { key, state, reason, .. } = transitions[first + index].clone();
            transitions[first + index] = subject.transition(key, state, reason, true);
        }
        // It fired while something held it back.
        (None, Some(state)) if subject.suppressed_by.is_none() => {
            let next = AlertState { revision: state.revision + 1, value: measured.value, limit, ..state.clone() };
            transitions.push(subject.transition(key(highest), next, Reason::Unsuppressed, true));
        }
        (None, _) => {}
    }
}

fn decide_window(subject: &Subject<'_>, window: &Window) -> Option<Transition> {
    let Subject { states, rule, measured, now, .. } = *subject;
    let key = AlertKey {
        rule: rule.name.clone(),
        group: subject.group.to_owned(),
        period_start: None,
        threshold_percent: None,
    };
    let known = states.get(&key);
    let limit = match (measured.limit, known) {
        (Some(limit), _) => limit,
        // Of what is gone there is nothing to compute a limit from: it keeps the one it had.
        (None, Some(state)) if measured.requests == 0 => state.limit,
        (None, _) => window.measure.limit(),
    };
    let over = measured.requests > 0 && window.measure.is_over(measured.value, limit);
    let new_state = || AlertState {
        phase: Phase::Inactive,
        since: now,
        last_notified_at: None,
        revision: 0,
        period_end: None,
        value: measured.value,
        limit,
        period: window.label(),
        below_since: None,
    };
    if let Some((mut next, reason)) = step(known, rule, over, measured, now, new_state) {
        next.limit = limit;
        if reason == Reason::Below && measured.requests == 0 && window.measure.absence_is_no_recovery() {
            return Some(transition(key, next, Reason::Forgotten, false, now, measured));
        }
        let told = match reason {
            Reason::Fired => true,
            // What nobody was told need not be called off.
            Reason::Below => next.phase == Phase::Resolved && next.last_notified_at.is_some(),
            _ => false,
        };
        return Some(subject.transition(key, next, reason, told));
    }
    let state = known.filter(|state| state.phase == Phase::Firing && state.below_since.is_none())?;
    if subject.suppressed_by.is_some() {
        return None;
    }
    let (reason, due) = match state.last_notified_at {
        Some(told) => (Reason::Repeated, told.plus(rule.repeat_interval?)),
        None => (Reason::Unsuppressed, now),
    };
    (now >= due).then(|| {
        let next = AlertState { revision: state.revision + 1, value: measured.value, limit, ..state.clone() };
        subject.transition(key, next, reason, true)
    })
}

/// The next state of one alert, if it changes.
pub(super) fn step(
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
        Some(state) if over => {
            state.below_since?;
            (AlertState { below_since: None, revision: state.revision + 1, ..state.clone() }, Reason::OverAgain)
        }
        Some(state) => match state.below_since {
            None if !rule.keep_firing_for.is_zero() => {
                let next = AlertState { below_since: Some(now), revision: state.revision + 1, ..state.clone() };
                (next, Reason::Kept)
            }
            Some(below) if now.since(below) < rule.keep_firing_for => return None,
            _ => (end_of(state), Reason::Below),
        },
    };
    next.value = measured.value;
    Some((next, reason))
}

/// A state after its end.
fn end_of(state: &AlertState) -> AlertState {
    let phase = if state.phase == Phase::Firing { Phase::Resolved } else { Phase::Inactive };
    AlertState { phase, revision: state.revision + 1, below_since: None, ..state.clone() }
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
        suppressed_by: String::new(),
        note: measured.note.clone(),
    }
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
