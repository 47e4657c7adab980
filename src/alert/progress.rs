//! A rule, and when it was last asked.

use std::time::{Duration, Instant};

use super::{
    AlertError,
    decide_forecasts::decide_forecasts,
    limit_source::LimitReader,
    observe::{Backlog, Engine, MAX_GROUPS, forecasts, observe, window_span},
    period::Span,
    rule::{Condition, Measure, Rule},
    state::{PERIOD_GRACE, States, decide_under},
    suppress::Suppressions,
    transition::Transition,
};
use crate::domain::UtcMillis;

/// A rule's query may take this part of the time: one that took 100 ms is not asked again within a second.
const QUERY_REST_FACTOR: u32 = 10;
/// … but no rule rests longer than this, unless it is to be asked less often by itself.
const MAX_REST: Duration = Duration::from_secs(60);
/// Totals are asked again after this long, though no rollup pass reported a change.
const UNCHANGED_RECHECK: Duration = Duration::from_secs(60);
/// Forecasts are made this often: they look at five periods and move slowly.
const FORECAST_EVERY: Duration = Duration::from_secs(60);
/// With messages waiting that may be older than this, an empty window is not known to be empty.
const BEHIND: Duration = Duration::from_secs(60);

/// What a pass knows when it looks at a rule.
#[derive(Clone, Copy)]
pub(super) struct Looked<'a> {
    pub(super) engine: Engine<'a>,
    pub(super) states: &'a States,
    pub(super) suppressions: &'a Suppressions,
    /// What waits to be stored, if anything fires.
    pub(super) backlog: Option<Backlog>,
    pub(super) now: UtcMillis,
}

/// A rule, and when it was last asked.
pub(super) struct RuleProgress {
    /// As the settings have it.
    settings: Rule,
    /// The same with the limits that were read from elsewhere.
    rule: Rule,
    limits: LimitReader,
    /// Not asked again before this.
    rest_until: Option<Instant>,
    asked: Option<Instant>,
    forecast_at: Option<Instant>,
    /// The periods that were last asked about.
    period_starts: Vec<UtcMillis>,
    /// A change came while the rule rested, or its query failed.
    pub(super) dirty: bool,
    cut_reported: bool,
}

impl RuleProgress {
    pub(super) fn new(rule: Rule) -> Self {
        Self {
            settings: rule.clone(),
            rule,
            limits: LimitReader::default(),
            rest_until: None,
            asked: None,
            forecast_at: None,
            period_starts: Vec::new(),
            dirty: true,
            cut_reported: false,
        }
    }

    /// As it is evaluated.
    pub(super) const fn rule(&self) -> &Rule {
        &self.rule
    }

    /// As the settings have it.
    pub(super) const fn settings(&self) -> &Rule {
        &self.settings
    }

    /// Reads limits from elsewhere again, if it is time; whether they changed.
    pub(super) async fn refresh_limits(&mut self, engine: Engine<'_>) -> Result<bool, AlertError> {
        if !self.limits.refresh(engine, &self.settings).await? {
            return Ok(false);
        }
        if let (Condition::Total(total), Condition::Total(settings), Some(known)) =
            (&mut self.rule.condition, &self.settings.condition, &self.limits.known)
        {
            total.overrides.clone_from(known);
            total.overrides.extend(settings.overrides.clone());
        }
        self.dirty = true;
        Ok(true)
    }

    /// Asks, if it is time and there may be something new; `None` when not.
    pub(super) async fn evaluate(&mut self, looked: Looked<'_>) -> Result<Option<Vec<Transition>>, AlertError> {
        if self.rest_until.is_some_and(|until| Instant::now() < until) {
            return Ok(None);
        }
        if let Condition::Total(total) = &self.rule.condition
            && total.limit_source.is_some()
            && self.limits.known.is_none()
        {
            return Ok(None);
        }
        let spans = self.spans(looked.now)?;
        let (starts, every): (Vec<UtcMillis>, Duration) = match &self.rule.condition {
            Condition::Total(_) => (spans.iter().map(|span| span.start).collect(), Duration::ZERO),
            Condition::Window(window) => (Vec::new(), window.measure.every()),
        };
        // Windows move with the time, and `for` runs out; totals change only with the rollups.
        let needed = self.dirty
            || matches!(self.rule.condition, Condition::Window(_))
            || starts != self.period_starts
            || looked.states.has_pending(&self.rule.name)
            || self.asked.is_none_or(|asked| asked.elapsed() >= UNCHANGED_RECHECK);
        if !needed {
            return Ok(None);
        }
        let started = Instant::now();
        let result = self.decide(looked, spans).await;
        self.asked = Some(started);
        self.rest_until = Some(Instant::now() + (started.elapsed() * QUERY_REST_FACTOR).min(MAX_REST).max(every));
        self.dirty = result.is_err();
        self.period_starts = starts;
        result.map(Some)
    }

    async fn decide(&mut self, looked: Looked<'_>, spans: Vec<Span>) -> Result<Vec<Transition>, AlertError> {
        let mut transitions = Vec::new();
        let current = spans.last().cloned();
        for span in spans {
            let active = looked.states.active_groups(&self.rule.name);
            let mut observation = observe(looked.engine, &self.rule, span, active).await?;
            if observation.cut && !self.cut_reported {
                self.cut_reported = true;
                tracing::warn!(
                    rule = self.rule.name,
                    "only the {MAX_GROUPS} groups with the highest values are looked at"
                );
            }
            let is_behind = looked.backlog.is_some_and(|backlog| backlog.oldest_at_most > BEHIND);
            observation.cut |= is_behind && self.needs_rows();
            let now = looked.now;
            transitions.extend(decide_under(looked.states, &self.rule, &observation, now, looked.suppressions));
        }
        if let (Condition::Total(total), Some(span)) = (&self.rule.condition, current)
            && total.forecast
            && self.forecast_at.is_none_or(|at| at.elapsed() >= FORECAST_EVERY)
        {
            self.forecast_at = Some(Instant::now());
            let Looked { engine, states, suppressions, now, .. } = looked;
            let active = states.active_forecasts(&self.rule.name);
            let observation = forecasts(engine.client, &self.rule, total, span, &active, now).await?;
            transitions.extend(decide_forecasts(states, (&self.rule, total), &observation, now, suppressions));
        }
        Ok(transitions)
    }

    /// Whether a group without rows may have some that are not stored yet.
    const fn needs_rows(&self) -> bool {
        match &self.rule.condition {
            Condition::Total(_) => false,
            Condition::Window(window) => matches!(
                window.measure,
                Measure::Latency { .. }
                    | Measure::Efficiency { .. }
                    | Measure::ErrorRate { .. }
                    | Measure::SpendSpike(_)
            ),
        }
    }

    /// The window that ends now; or the period that holds now, after the one that ended a moment ago.
    fn spans(&self, now: UtcMillis) -> Result<Vec<Span>, AlertError> {
        match &self.rule.condition {
            Condition::Window(window) => Ok(vec![window_span(window, now)]),
            Condition::Total(total) => {
                let before = total.period.span_at(&total.timezone, now.minus(PERIOD_GRACE))?;
                let current = total.period.span_at(&total.timezone, now)?;
                Ok(if before == current { vec![current] } else { vec![before, current] })
            }
        }
    }
}
