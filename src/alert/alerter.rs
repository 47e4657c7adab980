//! The evaluation loop.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use clickhouse::Client;
use tokio::{
    sync::{Notify, watch},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use super::{
    AlertError,
    addressees::Addressees,
    delivery::{Delivery, DeliveryPolicy},
    details,
    journal::{Journal, TransitionRow},
    limits,
    metrics::AlertMetrics,
    observe::{self, Engine},
    progress::{Looked, RuleProgress},
    reload::RuleFiles,
    report::{ReportSchedule, Reporter},
    rule::{Rule, check_rules},
    silences::list_silences,
    state::States,
    suppress::Suppressions,
    transition::{Phase, Transition},
};
use crate::{
    domain::Clock,
    notify::{Notifier, receivers},
    settings::{AlertSettings, NotifierSettings},
    store::{Reader, Term},
    telemetry::Health,
};

/// The part that reports in `/readyz` whether the rules on disk are those that hold.
const RULES_PART: &str = "alert rules";

/// Evaluates rules and delivers their alerts. One at a time may run on a database.
pub struct Alerter {
    client: Client,
    reader: Option<Client>,
    journal: Journal,
    rules: Vec<RuleProgress>,
    files: Option<RuleFiles>,
    health: Health,
    /// Of the settings.
    suppressions: Suppressions,
    settings: AlertSettings,
    notifiers: Vec<Arc<dyn Notifier>>,
    addressees: Addressees,
    policy: DeliveryPolicy,
    clock: Arc<dyn Clock>,
    metrics: AlertMetrics,
    states: States,
    loaded: bool,
    /// Decided, and not yet known to be recorded. Recorded as they are before anything else is decided.
    unrecorded: Vec<(Transition, TransitionRow)>,
    /// One for each notifier: they are told that there is something to send.
    wakes: Vec<Arc<Notify>>,
    /// Of the settings, with their receivers.
    reports: watch::Sender<Vec<ReportSchedule>>,
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
        let addressees = Addressees::new(notifiers);
        addressees.check_reports(&settings.reports, &targets).map_err(AlertError::Report)?;
        let reports = addressees.address_reports(&settings.reports, &targets);
        let rules = settings.rules.iter().cloned();
        let rules = rules.map(|rule| RuleProgress::new(addressees.address(rule, &targets))).collect();
        let wakes = targets.iter().map(|_| Arc::new(Notify::new())).collect();
        Ok(Self {
            client: client.clone(),
            reader: None,
            files: RuleFiles::of(settings),
            health: Health::default(),
            suppressions: settings.suppressions(),
            journal: Journal::new(client),
            rules,
            settings: settings.clone(),
            notifiers: targets,
            addressees,
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
            reports: watch::Sender::new(reports),
        })
    }

    /// Replaces the pace of deliveries, for tests.
    #[must_use]
    pub const fn with_policy(mut self, policy: DeliveryPolicy) -> Self {
        self.policy = policy;
        self
    }

    /// Asks the queries of rules with the rights of `reader`. Without it they are errors.
    #[must_use]
    pub fn reading_as(mut self, reader: &Reader) -> Self {
        self.reader = Some(reader.client());
        self
    }

    /// Reports to `health` whether the rules on disk are those that hold.
    #[must_use]
    pub fn reporting_to(mut self, health: Health) -> Self {
        self.health = health;
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
        deliveries.spawn(self.reporter().run(shutdown.clone()));
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

    fn reporter(&self) -> Reporter {
        Reporter {
            journal: self.journal.clone(),
            schedules: self.reports.subscribe(),
            clock: Arc::clone(&self.clock),
            wakes: self.wakes.clone(),
            settled: HashMap::new(),
        }
    }

    /// One pass over all rules: decides, and records what it decides. `changed` says that totals may have changed.
    ///
    /// # Errors
    /// [`AlertError`] when states cannot be read or written; the next pass tries again.
    pub async fn pass(&mut self, changed: bool) -> Result<(), AlertError> {
        if changed {
            self.rules.iter_mut().for_each(|rule| rule.dirty = true);
        }
        self.reload();
        let is_first = !self.loaded;
        if is_first {
            self.states = self.journal.load(self.clock.now()).await?;
            self.loaded = true;
        }
        self.record().await?;
        let now = self.clock.now();
        if self.refresh_limits().await || is_first {
            let rules: Vec<&Rule> = self.rules.iter().map(RuleProgress::rule).collect();
            // Another pass tries again.
            self.loaded = false;
            limits::publish(&self.client, &rules, now).await?;
            self.loaded = true;
        }
        let mut suppressions = self.suppressions.clone();
        let silences = list_silences(&self.client, now).await?;
        suppressions.silences.extend(silences.into_iter().map(|stored| stored.silence));
        self.states.forget_ended(now);
        let names: HashSet<&str> = self.rules.iter().map(|progress| progress.rule().name.as_str()).collect();
        let mut transitions = self.states.end_stale(&names, now);
        let backlog = if self.states.count(Phase::Firing) > 0 { observe::lag(&self.client, now).await? } else { None };
        let engine = Engine { client: &self.client, reader: self.reader.as_ref() };
        for progress in &mut self.rules {
            let looked = Looked { engine, states: &self.states, suppressions: &suppressions, backlog, now };
            match progress.evaluate(looked).await {
                Ok(None) => {}
                Ok(Some(decided)) => {
                    self.metrics.evaluated(&progress.rule().name, true);
                    transitions.extend(decided);
                }
                Err(error) => {
                    self.metrics.evaluated(&progress.rule().name, false);
                    tracing::warn!(%error, rule = progress.rule().name, "an alert rule could not be evaluated");
                }
            }
        }
        if !transitions.is_empty() {
            let rules: HashMap<&str, &Rule> =
                self.rules.iter().map(|progress| (progress.rule().name.as_str(), progress.rule())).collect();
            match details::describe(&self.journal, &rules, transitions, now).await {
                Ok(described) => self.unrecorded = described,
                Err(error) => {
                    // They are decided again.
                    self.rules.iter_mut().for_each(|rule| rule.dirty = true);
                    return Err(error);
                }
            }
            self.record().await?;
        }
        self.metrics.states(&self.states);
        Ok(())
    }

    /// Takes up rules, silences and the like that have changed on disk: all of them, or none.
    fn reload(&mut self) {
        match self.files.as_mut().and_then(RuleFiles::changed) {
            None => {}
            Some(Ok(settings)) => {
                // Policies are read with the bodies, at start.
                let policies: Vec<Rule> = self
                    .rules
                    .iter()
                    .map(RuleProgress::settings)
                    .filter(|rule| rule.kind() == "policy")
                    .cloned()
                    .collect();
                let rules: Vec<Rule> = settings.rules.iter().cloned().chain(policies).collect();
                let checked = check_rules(&rules).map_err(|error| error.to_string());
                let checked = checked
                    .and_then(|()| self.addressees.check(&rules))
                    .and_then(|()| self.addressees.check_reports(&settings.reports, &self.notifiers));
                if let Err(error) = checked {
                    return self.reject(&error);
                }
                self.reports.send_replace(self.addressees.address_reports(&settings.reports, &self.notifiers));
                let address = |rule| self.addressees.address(rule, &self.notifiers);
                let rules: Vec<Rule> = rules.into_iter().map(address).collect();
                for progress in &self.rules {
                    if !rules.iter().any(|rule| rule.name == progress.rule().name) {
                        self.metrics.forget_rule(&progress.rule().name);
                    }
                }
                let mut old: HashMap<String, RuleProgress> =
                    self.rules.drain(..).map(|progress| (progress.rule().name.clone(), progress)).collect();
                self.rules = rules
                    .into_iter()
                    .map(|rule| match old.remove(&rule.name) {
                        Some(progress) if *progress.settings() == rule => progress,
                        _ => RuleProgress::new(rule),
                    })
                    .collect();
                self.suppressions = settings.suppressions();
                self.settings = settings;
                self.metrics.reloaded(true);
                self.health.ready(RULES_PART);
                tracing::info!(rules = self.rules.len(), "alert rules read again");
            }
            Some(Err(error)) => self.reject(&error.to_string()),
        }
    }

    fn reject(&self, error: &str) {
        self.metrics.reloaded(false);
        self.health.degraded(RULES_PART, format!("the settings on disk are not valid, those before hold: {error}"));
        tracing::error!(error, "alert rules on disk are not valid as a whole; those before them hold");
    }

    /// Reads limits from files and queries again; whether any changed.
    async fn refresh_limits(&mut self) -> bool {
        let engine = Engine { client: &self.client, reader: self.reader.as_ref() };
        let mut changed = false;
        for progress in &mut self.rules {
            match progress.refresh_limits(engine).await {
                Ok(has_others) => changed |= has_others,
                Err(error) => {
                    self.metrics.evaluated(&progress.rule().name, false);
                    tracing::error!(%error, "limits of users could not be read; those before them hold");
                }
            }
        }
        changed
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
}
