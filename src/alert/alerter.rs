//! The evaluation loop.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

use clickhouse::Client;
use tokio::{
    sync::{Notify, watch},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use super::{
    AlertError, contributors,
    delivery::{Delivery, DeliveryPolicy},
    journal::{Details, Journal, TransitionRow},
    limits,
    metrics::AlertMetrics,
    observe::{MAX_GROUPS, observe, window_span},
    period::Span,
    rule::{Condition, Rule, check_rules},
    state::{PERIOD_GRACE, States, decide},
    transition::Transition,
};
use crate::{
    domain::{Clock, UtcMillis},
    notify::{Notifier, Routing, receivers},
    settings::{AlertSettings, NotifierSettings},
    store::Term,
};

/// A rule's query may take this part of the time: one that took 100 ms is not asked again within a second.
const QUERY_REST_FACTOR: u32 = 10;
/// … but no rule rests longer than this.
const MAX_REST: Duration = Duration::from_secs(60);
/// Totals are asked again after this long, though no rollup pass reported a change.
const UNCHANGED_RECHECK: Duration = Duration::from_secs(60);
/// Messages of one pass that get their top contributors; further ones go without.
const MAX_DETAILED: usize = 20;

/// Evaluates rules and delivers their alerts. One at a time may run on a database.
pub struct Alerter {
    client: Client,
    journal: Journal,
    rules: Vec<RuleProgress>,
    settings: AlertSettings,
    notifiers: Vec<Arc<dyn Notifier>>,
    policy: DeliveryPolicy,
    clock: Arc<dyn Clock>,
    metrics: AlertMetrics,
    states: States,
    loaded: bool,
    /// Decided, and not yet known to be recorded. Recorded as they are before anything else is decided.
    unrecorded: Vec<(Transition, TransitionRow)>,
    /// One for each notifier: they are told that there is something to send.
    wakes: Vec<Arc<Notify>>,
}

/// A rule, and when it was last asked.
struct RuleProgress {
    rule: Rule,
    /// Not asked again before this.
    rest_until: Option<Instant>,
    asked: Option<Instant>,
    /// The periods or window that were last asked about.
    period_starts: Vec<UtcMillis>,
    /// A change came while the rule rested, or its query failed.
    dirty: bool,
    cut_reported: bool,
}

impl Alerter {
    /// Prepares evaluation of `settings.rules` on `client`, whose default database holds the views. Reaches nothing yet.
    ///
    /// # Errors
    /// [`AlertError`] when rules contradict each other or a receiver cannot be set up.
    pub fn new(
        client: &Client,
        settings: &AlertSettings,
        notifiers: &NotifierSettings,
        clock: Arc<dyn Clock>,
        metrics: AlertMetrics,
    ) -> Result<Self, AlertError> {
        check_rules(&settings.rules)?;
        let targets = receivers(notifiers)?;
        let routing = Routing::new(notifiers);
        let routed = |rule: &Rule| {
            let to = routing.receivers(&rule.name, rule.severity, &rule.labels, rule.notifiers.as_deref());
            if !to.iter().any(|name| targets.iter().any(|target| target.name() == name)) {
                let rule = &rule.name;
                tracing::warn!(
                    rule,
                    "its alerts are recorded but sent nowhere yet: set SLACK_WEBHOOK_URL or [[notifiers.routes]], or read the view `alerts`"
                );
            }
            RuleProgress::new(Rule { notifiers: Some(to), ..rule.clone() })
        };
        let rules = settings.rules.iter().map(routed).collect();
        let wakes = targets.iter().map(|_| Arc::new(Notify::new())).collect();
        Ok(Self {
            client: client.clone(),
            journal: Journal::new(client),
            rules,
            settings: settings.clone(),
            notifiers: targets,
            policy: DeliveryPolicy {
                retry_for: Duration::from_secs(notifiers.retry_for_hours.saturating_mul(3600)),
                digest_above: notifiers.digest_above_messages,
                digest_after: Duration::from_secs(notifiers.digest_after_seconds),
                seed: rand::random(),
                ..DeliveryPolicy::default()
            },
            clock,
            metrics,
            states: States::default(),
            loaded: false,
            unrecorded: Vec::new(),
            wakes,
        })
    }

    /// Replaces the pace of deliveries, for tests.
    #[must_use]
    pub const fn with_policy(mut self, policy: DeliveryPolicy) -> Self {
        self.policy = policy;
        self
    }

    /// Records and sends only as long as `term` stands.
    #[must_use]
    pub fn fenced_by(mut self, term: Term) -> Self {
        self.journal.fence(term);
        self
    }

    /// Runs until `shutdown`: evaluates when `rolled_up` changes (a rollup pass changed something) and at least every
    /// `alerts.evaluate_every_ms`. ClickHouse being away is logged and tried again, never fatal.
    pub async fn run(mut self, shutdown: CancellationToken, mut rolled_up: watch::Receiver<u64>) {
        let mut deliveries = JoinSet::new();
        for (notifier, wake) in self.notifiers.iter().zip(&self.wakes) {
            let delivery = Delivery {
                outbox: Arc::new(self.journal.clone()),
                notifier: Arc::clone(notifier),
                policy: self.policy,
                clock: Arc::clone(&self.clock),
                metrics: self.metrics.clone(),
                dashboard_url: self.settings.dashboard_url.clone(),
                wake: Arc::clone(wake),
            };
            deliveries.spawn(delivery.run(shutdown.clone()));
        }
        let mut tick = tokio::time::interval(Duration::from_millis(self.settings.evaluate_every_ms.max(10)));
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        // Without a rollup in this process every tick may have news.
        let mut reported = true;
        loop {
            let changed = tokio::select! {
                () = shutdown.cancelled() => break,
                change = rolled_up.changed(), if reported => { reported = change.is_ok(); true }
                _ = tick.tick() => !reported,
            };
            tokio::select! {
                () = shutdown.cancelled() => break,
                result = self.pass(changed) => if let Err(error) = result {
                    tracing::warn!(%error, "alerts could not be evaluated; tried again at the next pass");
                }
            }
        }
        // A pass that was broken off may have sent its steps without hearing of it. Once more, under the same ids: then
        // nothing is under way when this returns, and whoever comes next knows them.
        if let Err(error) = self.record().await {
            tracing::warn!(%error, "the last alerts may not be recorded; they are decided again at the next start");
        }
        while deliveries.join_next().await.is_some() {}
        self.metrics.forget();
    }

    /// One pass over all rules.
    async fn pass(&mut self, changed: bool) -> Result<(), AlertError> {
        if changed {
            self.rules.iter_mut().for_each(|rule| rule.dirty = true);
        }
        if !self.loaded {
            let now = self.clock.now();
            let rules: Vec<&Rule> = self.rules.iter().map(|progress| &progress.rule).collect();
            limits::publish(&self.client, &rules, now).await?;
            self.states = self.journal.load(now).await?;
            self.loaded = true;
        }
        self.record().await?;
        let now = self.clock.now();
        self.states.forget_ended(now);
        let names: HashSet<&str> = self.rules.iter().map(|progress| progress.rule.name.as_str()).collect();
        let mut transitions = self.states.end_stale(&names, now);
        for progress in &mut self.rules {
            match progress.evaluate(&self.client, &self.states, now).await {
                Ok(None) => {}
                Ok(Some(decided)) => {
                    self.metrics.evaluated(&progress.rule.name, true);
                    transitions.extend(decided);
                }
                Err(error) => {
                    self.metrics.evaluated(&progress.rule.name, false);
                    tracing::warn!(%error, rule = progress.rule.name, "an alert rule could not be evaluated");
                }
            }
        }
        if !transitions.is_empty() {
            self.unrecorded = self.describe(transitions, now).await;
            self.record().await?;
        }
        self.metrics.states(&self.states);
        Ok(())
    }

    /// Records what is decided with one insert, and only then believes it.
    async fn record(&mut self) -> Result<(), AlertError> {
        if self.unrecorded.is_empty() {
            return Ok(());
        }
        let rows: Vec<TransitionRow> = self.unrecorded.iter().map(|(_, row)| row.clone()).collect();
        self.journal.record(&rows).await?;
        for (transition, _) in self.unrecorded.drain(..) {
            let (rule, group, state) = (&transition.key.rule, &transition.key.group, transition.state.phase.word());
            tracing::info!(rule, group, state, reason = transition.reason.word(), notify = transition.notify, "alert");
            self.states.apply(&transition);
        }
        self.wakes.iter().for_each(|wake| wake.notify_one());
        Ok(())
    }

    /// Adds what a message says beside the numbers. A failing query leaves it out: the alert matters more.
    async fn describe(&self, transitions: Vec<Transition>, now: UtcMillis) -> Vec<(Transition, TransitionRow)> {
        let rules: HashMap<&str, &Rule> =
            self.rules.iter().map(|progress| (progress.rule.name.as_str(), &progress.rule)).collect();
        let mut detailed = 0;
        let mut newest = None;
        let mut rows = Vec::with_capacity(transitions.len());
        for transition in transitions {
            let rule = rules.get(transition.key.rule.as_str()).copied();
            let mut details = Details::default();
            if let Some(rule) = rule.filter(|_| transition.notify) {
                if detailed == 0 {
                    newest = or_none(contributors::newest_event(&self.client, now).await).flatten();
                }
                details.newest_event = newest;
                if detailed < MAX_DETAILED {
                    let top = contributors::top(&self.client, rule, &transition, now).await;
                    details.contributors = or_none(top).unwrap_or_default();
                }
                detailed += 1;
            }
            let row = TransitionRow::new(&transition, rule, &details);
            rows.push((transition, row));
        }
        rows
    }
}

fn or_none<T>(result: Result<T, AlertError>) -> Option<T> {
    result.inspect_err(|error| tracing::warn!(%error, "an alert goes without some details")).ok()
}

impl RuleProgress {
    const fn new(rule: Rule) -> Self {
        Self { rule, rest_until: None, asked: None, period_starts: Vec::new(), dirty: true, cut_reported: false }
    }

    /// Asks, if it is time and there may be something new; `None` when not.
    async fn evaluate(
        &mut self,
        client: &Client,
        states: &States,
        now: UtcMillis,
    ) -> Result<Option<Vec<Transition>>, AlertError> {
        if self.rest_until.is_some_and(|until| Instant::now() < until) {
            return Ok(None);
        }
        let spans = self.spans(now)?;
        let starts: Vec<UtcMillis> = match &self.rule.condition {
            Condition::Total(_) => spans.iter().map(|span| span.start).collect(),
            Condition::Window(_) => Vec::new(),
        };
        // Windows move with the time, and `for` runs out; totals change only with the rollups.
        let needed = self.dirty
            || matches!(self.rule.condition, Condition::Window(_))
            || starts != self.period_starts
            || states.has_pending(&self.rule.name)
            || self.asked.is_none_or(|asked| asked.elapsed() >= UNCHANGED_RECHECK);
        if !needed {
            return Ok(None);
        }
        let started = Instant::now();
        let result = self.decide(client, states, spans, now).await;
        self.asked = Some(started);
        self.rest_until = Some(Instant::now() + (started.elapsed() * QUERY_REST_FACTOR).min(MAX_REST));
        self.dirty = result.is_err();
        self.period_starts = starts;
        result.map(Some)
    }

    async fn decide(
        &mut self,
        client: &Client,
        states: &States,
        spans: Vec<Span>,
        now: UtcMillis,
    ) -> Result<Vec<Transition>, AlertError> {
        let mut transitions = Vec::new();
        for span in spans {
            let active = states.active_groups(&self.rule.name);
            let observation = observe(client, &self.rule, span, active).await?;
            if observation.cut && !self.cut_reported {
                self.cut_reported = true;
                tracing::warn!(
                    rule = self.rule.name,
                    "only the {MAX_GROUPS} groups with the highest values are looked at"
                );
            }
            transitions.extend(decide(states, &self.rule, &observation, now));
        }
        Ok(transitions)
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
