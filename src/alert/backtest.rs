//! What rules would have told in the past: the stored totals, evaluated in virtual time by the code that decides in
//! `serve`. Nothing is recorded or sent.

use std::{collections::HashSet, time::Duration};

use super::{
    AlertError,
    decide_forecasts::decide_forecasts,
    observe::{Engine, forecasts, observe, window_span},
    rule::{Condition, Measure, Rule},
    state::{PERIOD_GRACE, States, decide_under},
    suppress::Suppressions,
    transition::{Phase, Reason, Transition},
};
use crate::domain::UtcMillis;

/// A backtest under way.
#[derive(Debug)]
pub struct Backtest {
    rules: Vec<Rule>,
    left_out: Vec<String>,
    suppressions: Suppressions,
    states: States,
    from: UtcMillis,
    to: UtcMillis,
    step: Duration,
    done: u64,
}

/// What one moment would have brought.
#[derive(Debug, Default)]
pub struct BacktestStep {
    /// Messages, a line each.
    pub told: Vec<String>,
    /// How many were held back by a silence and the like.
    pub held_back: u64,
}

impl Backtest {
    /// Prepares one from `from` to `to`, with `step` between two evaluations.
    #[must_use]
    pub fn new(rules: Vec<Rule>, suppressions: Suppressions, from: UtcMillis, to: UtcMillis, step: Duration) -> Self {
        // They look at what is so now, or at when something was judged.
        let is_of_now = |rule: &Rule| match &rule.condition {
            Condition::Window(window) => {
                matches!(window.measure, Measure::Lag { .. } | Measure::Sql { .. } | Measure::Policy { .. })
            }
            Condition::Total(total) => total.limit_source.is_some(),
        };
        let (left_out, rules): (Vec<Rule>, Vec<Rule>) = rules.into_iter().partition(is_of_now);
        let left_out = left_out.into_iter().map(|rule| rule.name).collect();
        Self { rules, left_out, suppressions, states: States::default(), from, to, step, done: 0 }
    }

    /// Rules that cannot be asked about the past.
    #[must_use]
    pub fn left_out(&self) -> &[String] {
        &self.left_out
    }

    /// How many moments are evaluated in all.
    #[must_use]
    pub fn steps(&self) -> u64 {
        let length = self.to.since(self.from).as_millis() / self.step.as_millis().max(1);
        u64::try_from(length).unwrap_or(u64::MAX).saturating_add(1)
    }

    /// Evaluates the next moment; `None` when all are done.
    ///
    /// # Errors
    /// [`AlertError`] when a rule cannot be evaluated.
    pub async fn step(&mut self, engine: Engine<'_>) -> Result<Option<BacktestStep>, AlertError> {
        if self.done >= self.steps() {
            return Ok(None);
        }
        let now = self.from.plus(self.step.saturating_mul(u32::try_from(self.done).unwrap_or(u32::MAX)));
        self.done += 1;
        self.states.forget_ended(now);
        let names: HashSet<&str> = self.rules.iter().map(|rule| rule.name.as_str()).collect();
        let mut transitions = self.states.end_stale(&names, now);
        // Each rule decides from its own states.
        let decisions = self.rules.iter().map(|rule| self.decide(engine, rule, now));
        transitions.extend(futures_util::future::try_join_all(decisions).await?.into_iter().flatten());
        let mut step = BacktestStep::default();
        for transition in &transitions {
            self.states.apply(transition);
            if transition.notify {
                step.told.push(self.line(transition));
            } else if !transition.suppressed_by.is_empty() {
                step.held_back += 1;
            }
        }
        Ok(Some(step))
    }

    async fn decide(&self, engine: Engine<'_>, rule: &Rule, now: UtcMillis) -> Result<Vec<Transition>, AlertError> {
        let active = self.states.active_groups(&rule.name);
        let suppressions = &self.suppressions;
        let total = match &rule.condition {
            Condition::Window(window) => {
                let observation = observe(engine, rule, window_span(window, now), active).await?;
                return Ok(decide_under(&self.states, rule, &observation, now, suppressions));
            }
            Condition::Total(total) => total,
        };
        let mut transitions = Vec::new();
        let mut spans = vec![total.period.span_at(&total.timezone, now.minus(PERIOD_GRACE))?];
        let current = total.period.span_at(&total.timezone, now)?;
        if spans[0] != current {
            spans.push(current.clone());
        }
        for span in spans {
            // What came after that moment was not known then.
            let minute = UtcMillis(now.0.div_euclid(60_000) * 60_000);
            let known = super::period::Span { end: span.end.min(minute.max(span.start)), ..span.clone() };
            let mut observation = observe(engine, rule, known, active.clone()).await?;
            observation.span = span;
            transitions.extend(decide_under(&self.states, rule, &observation, now, suppressions));
        }
        if total.forecast {
            let active = self.states.active_forecasts(&rule.name);
            let observation = forecasts(engine.client, rule, total, current, &active, now).await?;
            transitions.extend(decide_forecasts(&self.states, (rule, total), &observation, now, suppressions));
        }
        Ok(transitions)
    }

    /// `2026-11-02T10:05:00.000Z slow gpt-4o: p95 latency 9,000 ms (limit 5,000 ms), last 5m`
    fn line(&self, transition: &Transition) -> String {
        let Transition { at, key, state, reason, .. } = transition;
        let measure = self.rules.iter().find(|rule| rule.name == key.rule).map(Rule::measure_words).unwrap_or_default();
        let what = match (state.phase, key.threshold_percent, reason) {
            (Phase::Resolved, ..) => format!("over; {measure} {}", state.value),
            (_, Some(percent), _) => format!("{percent} % of {} reached: {}", state.limit, state.value),
            (.., Reason::Repeated) => format!("{measure} is still {} (limit {})", state.value, state.limit),
            _ if key.period_start.is_some() => format!("forecast {measure} {} (limit {})", state.value, state.limit),
            _ => format!("{measure} {} (limit {})", state.value, state.limit),
        };
        let group = if key.group.is_empty() { String::new() } else { format!(" {}", key.group) };
        format!("{at} {}{group}: {what}, {}", key.rule, state.period)
    }
}
