//! The engine, the rollups and the alerter that a scenario is played on.

use std::{sync::Arc, time::Duration};

use heliometer::{
    alert::{
        AlertMetrics, Alerter, Matcher, RecordedMessage, Silence, StoredSilence, add_silence, expire_silence,
        list_silences, recorded_messages,
    },
    domain::{ManualClock, UtcMillis},
    notify::{Quantity, preview::Example},
    settings::{NotifierSettings, RetentionSettings},
    store::{
        Batch, Database, LogPositionRow, OutcomeRow, RequestRow, Rollups, StoreMetrics, Term, write_batch,
        write_positions,
    },
};
use prometheus::Registry;
use serde::Deserialize;
use tokio::sync::Notify;

use super::{
    deliver::Deliveries,
    read::{Calls, Event, Scenario, Step},
};
use crate::alerts::fresh_database;

const TIMEOUT: Duration = Duration::from_secs(30);
/// What a scenario leaves behind.
const TABLES: [&str; 18] = [
    "request_rows",
    "model_minute_rows",
    "model_hour_rows",
    "model_day_rows",
    "model_month_rows",
    "user_minute_rows",
    "user_hour_rows",
    "user_day_rows",
    "user_month_rows",
    "rollup_passes",
    "alert_transitions",
    "alert_deliveries",
    "alert_silences",
    "user_limit_rows",
    "outcome_rows",
    "log_positions",
    "dead_letter_rows",
    "signature_failure_rows",
];

pub(super) struct World {
    database: Database,
    metrics: StoreMetrics,
    rollups: Rollups,
    calls: u64,
    _directory: tempfile::TempDir,
}

#[derive(Debug, clickhouse::Row, Deserialize)]
struct Said {
    transition_id: String,
    rule: String,
    group: String,
    state: String,
    reason: String,
    threshold_percent: Option<u32>,
    period_start: Option<i64>,
    unit: String,
    value: f64,
    value_usd: Option<i128>,
    notify: bool,
    suppressed_by: String,
}

impl Said {
    /// `rule/group 80% $0.81`, `~rule/group fires 9,000 ms`; `None` for what is only recorded.
    fn short(&self) -> Option<String> {
        let held_back = !self.suppressed_by.is_empty() && !self.suppressed_by.ends_with("of the same limit");
        if !self.notify && !held_back {
            return None;
        }
        let value = Quantity::from_parts(&self.unit, self.value, self.value_usd).expect("a quantity");
        let what = match (self.state.as_str(), self.reason.as_str(), self.threshold_percent) {
            ("resolved", ..) => "ends".to_owned(),
            (_, "unsuppressed", None) => "still".to_owned(),
            (_, "repeated", _) => "again".to_owned(),
            (_, _, Some(percent)) => format!("{percent}%"),
            _ if self.period_start.is_some() => "forecast".to_owned(),
            _ => "fires".to_owned(),
        };
        let mark = if self.notify { "" } else { "~" };
        Some(format!("{mark}{}/{} {what} {value}", self.rule, self.group))
    }
}

impl World {
    pub(super) async fn start() -> Self {
        let directory = tempfile::tempdir().expect("directory");
        let database = fresh_database(&directory).await;
        let metrics = StoreMetrics::new(&Registry::new()).expect("metrics");
        let rollups = rollups(&database, &metrics);
        Self { database, metrics, rollups, calls: 0, _directory: directory }
    }

    pub(super) async fn stop(self) {
        self.database.close().await;
    }

    pub(super) fn client(&self) -> &clickhouse::Client {
        self.database.client()
    }

    pub(super) async fn execute(&self, statement: &str) {
        self.database.client().query(statement).execute().await.expect("executed");
    }

    /// Until nothing is left to do.
    pub(super) async fn roll_up(&mut self) {
        while self.rollups.pass().await.expect("a rollup pass") > 0 {}
    }

    /// Everything that was told, as Slack shows it, or what went otherwise than the scenario says.
    pub(super) async fn play(&mut self, scenario: &Scenario) -> Result<Vec<Example>, String> {
        for table in TABLES {
            let query = format!("TRUNCATE TABLE IF EXISTS {table}");
            self.database.client().query(&query).execute().await.expect("truncated");
        }
        self.rollups = rollups(&self.database, &self.metrics);
        let mut ids = std::collections::HashSet::new();
        let mut deliveries = if scenario.to_slack { Some(Deliveries::start().await) } else { None };
        let mut examples = Vec::new();
        for step in &scenario.steps {
            self.bring(step, deliveries.as_ref()).await;
            self.rollups.pass().await.expect("a rollup pass");
            let notifiers = deliveries.as_ref().map(|deliveries| deliveries.notifiers.clone()).unwrap_or_default();
            self.decide(scenario, &notifiers, step.at).await;
            let said = self.said(step.at).await;
            let mut short: Vec<String> = said.iter().filter_map(Said::short).collect();
            if let Some(deliveries) = &mut deliveries {
                let posted = deliveries.deliver(self, scenario, step.at).await;
                short.extend(posted.iter().map(|body| format!("posted {}", body["text"].as_str().unwrap_or_default())));
                let caption = format!("{} · {}", scenario.title, step.at);
                examples.extend(posted.into_iter().map(|body| Example { caption: caption.clone(), body }));
            }
            short.sort();
            if short != step.expected {
                return Err(format!(
                    "  {}\n    at {}\n    in    {}\n    said  {}\n    not   {}",
                    scenario.title,
                    step.at,
                    step.line,
                    short.join("; "),
                    step.expected.join("; ")
                ));
            }
            for said in said {
                if !ids.insert(said.transition_id.clone()) {
                    return Err(format!("  {}: {said:?} is there twice", scenario.title));
                }
            }
        }
        if deliveries.is_some() {
            return Ok(examples);
        }
        let messages = recorded_messages(self.client(), UtcMillis(0), 1_000, "").await.expect("what was told");
        let example =
            |told: &RecordedMessage| Example::of(&format!("{} · {}", scenario.title, told.at), told.message());
        Ok(messages.iter().map(example).collect())
    }

    /// A fresh alerter, as after a crash; or two, of which the elder may not decide any more.
    async fn decide(&self, scenario: &Scenario, notifiers: &NotifierSettings, now: UtcMillis) {
        let alerter = || {
            let metrics = AlertMetrics::new(&Registry::new()).expect("metrics");
            let clock = Arc::new(ManualClock::at(now));
            Alerter::new(self.database.client(), &scenario.settings, notifiers, clock, metrics)
                .expect("an alerter")
                .reading_as(self.database.reader())
        };
        if scenario.two_replicas {
            let elder = Term::begin(self.database.client(), TIMEOUT).await.expect("a term");
            let younger = Term::begin(self.database.client(), TIMEOUT).await.expect("a term");
            let (mut first, mut second) = (alerter().fenced_by(elder), alerter().fenced_by(younger));
            let (deposed, leading) = tokio::join!(first.pass(true), second.pass(true));
            leading.expect("the leader decides");
            // It may have had nothing to record; then it did not ask.
            drop(deposed);
        } else {
            alerter().pass(true).await.expect("a pass");
        }
    }

    async fn said(&self, at: UtcMillis) -> Vec<Said> {
        let query = "SELECT transition_id, rule, `group`, toString(state) AS state, toString(reason) AS reason, \
             threshold_percent, period_start, toString(unit) AS unit, value, value_usd, notify, suppressed_by \
             FROM alert_transitions WHERE at = fromUnixTimestamp64Milli(?, 'UTC')";
        self.database.client().query(query).bind(at.0).fetch_all().await.expect("transitions")
    }

    /// Messages that are told and neither sent nor given up.
    pub(super) async fn waiting(&self) -> u64 {
        let query = "SELECT count() FROM alert_transitions WHERE notify AND transition_id NOT IN \
             (SELECT transition_id FROM alert_deliveries FINAL WHERE state != 'pending')";
        self.database.client().query(query).fetch_one().await.expect("a count")
    }

    async fn bring(&mut self, step: &Step, deliveries: Option<&Deliveries>) {
        let mut batch = Batch::default();
        for event in &step.events {
            match event {
                Event::Calls(calls) => batch.requests.extend(self.requests(calls, step.at)),
                Event::Slack { is_away } => deliveries.expect("`# to Slack`").go(*is_away),
                other => self.bring_other(other, step.at).await,
            }
        }
        write_batch(self.database.client(), TIMEOUT, &batch, &self.metrics).await.expect("inserted");
    }

    fn requests(&mut self, calls: &Calls, now: UtcMillis) -> Vec<RequestRow> {
        let row = |world: &mut Self| {
            world.calls += 1;
            let id = calls.id.clone().unwrap_or_else(|| format!("call-{}", world.calls));
            let made = now.0 - calls.ago_ms - i64::from(calls.latency_ms);
            RequestRow {
                request_id: id,
                source: calls.source.clone(),
                event_time: made,
                received_at: now.0,
                user_id: calls.user.clone(),
                model: calls.model.clone(),
                provider: calls.provider.clone(),
                prompt_tokens: Some(1_000),
                completion_tokens: Some(500),
                total_tokens: Some(calls.tokens),
                cost_usd: calls.cost,
                cost_source: if calls.cost.is_some() { "gateway" } else { "unpriced" }.to_owned(),
                unpriced_reason: if calls.cost.is_some() { "" } else { "unknown_model" }.to_owned(),
                latency_ms: Some(calls.latency_ms),
                token_ratio: Some(calls.ratio),
                status: if calls.error { "error" } else { "success" }.to_owned(),
                fetch_status: "fetched".to_owned(),
                is_test: calls.test,
                version: world.calls,
                ..RequestRow::default()
            }
        };
        (0..calls.count).map(|_| row(self)).collect()
    }

    async fn bring_other(&self, event: &Event, now: UtcMillis) {
        let client = self.database.client();
        let seconds = now.0 / 1000;
        let statement = match event {
            Event::Calls(_) | Event::Slack { .. } => return,
            Event::DeadLetters { count, source } => format!(
                "INSERT INTO dead_letter_rows SELECT 0, {} + number, fromUnixTimestamp64Milli(toInt64({now})), \
                 fromUnixTimestamp64Milli(toInt64({now})), '{source}', 'bad_json', '', 1, 0, number FROM numbers({count})",
                now.0,
                now = now.0
            ),
            Event::SignatureFailures { count, source } => format!(
                "INSERT INTO signature_failure_rows SELECT toStartOfMinute(toDateTime({seconds}, 'UTC')), '{source}', 'test', {count}"
            ),
            Event::Backlog { messages, age } => {
                let offset = u64::try_from(seconds).expect("positive");
                let outcome = OutcomeRow {
                    log_partition: 0,
                    log_offset: offset,
                    outcome: "stored".to_owned(),
                    source: "default".to_owned(),
                    received_at: now.minus(*age).0,
                    reason: String::new(),
                    version: u64::try_from(now.0).expect("positive"),
                };
                let batch = Batch { outcomes: vec![outcome], ..Batch::default() };
                write_batch(client, TIMEOUT, &batch, &self.metrics).await.expect("inserted");
                let position = LogPositionRow {
                    log_partition: 0,
                    start_offset: 0,
                    end_offset: offset + 1 + messages,
                    committed_offset: offset + 1,
                    at: now.0,
                };
                return write_positions(client, TIMEOUT, &[position]).await.expect("written");
            }
            Event::Silence { length, rule, group } => {
                let matcher = Matcher { rule: rule.clone(), group: group.clone(), ..Matcher::default() };
                let silence =
                    Silence { matcher, starts_at: now, ends_at: now.plus(*length), comment: "test".to_owned() };
                let stored = StoredSilence { id: format!("s{}", now.0), silence };
                return add_silence(client, &stored, now).await.expect("a silence");
            }
            Event::Expire => {
                for stored in list_silences(client, now).await.expect("silences") {
                    expire_silence(client, &stored.id, now).await.expect("expired");
                }
                return;
            }
        };
        client.query(&statement).execute().await.expect("inserted");
    }
}

fn rollups(database: &Database, metrics: &StoreMetrics) -> Rollups {
    let retention = RetentionSettings::default();
    Rollups::new(database.client(), TIMEOUT, &retention, metrics.clone(), Arc::new(Notify::new())).0
}
