//! Alerts in ClickHouse: the record of transitions, which is also the outbox.

use std::collections::HashMap;

use clickhouse::{Client, Row};
use serde::{Deserialize, Serialize};

use super::{
    AlertError,
    error::bounded,
    period::Span,
    report::{self, ReportSchedule},
    rule::Rule,
    state::States,
    transition::{AlertKey, AlertState, Phase, Transition},
};
use crate::{
    domain::UtcMillis,
    notify::{Contributor, Event, Message, Notification, Quantity, Report, Severity},
    store::Term,
};

/// States taken up at start; far more than alerts that people could act on.
const MAX_STATES: u64 = 1_000_000;
/// Fingerprints in one statement, which ClickHouse takes up to 256 KiB.
const NAMES_IN_A_QUERY: usize = 1000;

/// A row of `alert_transitions`.
#[derive(Clone, Debug, PartialEq, Row, Serialize, Deserialize)]
pub(super) struct TransitionRow {
    pub(super) transition_id: String,
    pub(super) fingerprint: String,
    pub(super) at: UtcMillis,
    pub(super) rule: String,
    kind: String,
    severity: String,
    labels: Vec<(String, String)>,
    scope: String,
    group: String,
    state: String,
    reason: String,
    revision: u32,
    notify: bool,
    notifiers: Vec<String>,
    measure: String,
    unit: String,
    value: f64,
    value_usd: Option<i128>,
    limit_value: f64,
    limit_usd: Option<i128>,
    threshold_percent: Option<u32>,
    period: String,
    period_start: Option<UtcMillis>,
    period_end: Option<UtcMillis>,
    since: UtcMillis,
    last_notified_at: Option<UtcMillis>,
    requests: u64,
    priced_requests: u64,
    exceeding_requests: Option<u64>,
    details: String,
    suppressed_by: String,
    below_since: Option<UtcMillis>,
}

/// What a message says beside the numbers, as it was when the transition was decided.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Details {
    pub(super) contributors: Vec<Contributor>,
    pub(super) newest_event: Option<UtcMillis>,
    /// What the numbers stand on, a line each.
    pub(super) notes: Vec<String>,
    /// All of a report, where it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    report: Option<Report>,
}

/// What a row says to people.
pub(super) enum Told {
    Alert(Box<Notification>),
    Report(Box<Report>),
}

impl Told {
    pub(super) fn message(&self) -> Message<'_> {
        match self {
            Self::Alert(notification) => Message::Alert(notification),
            Self::Report(report) => Message::Report(report),
        }
    }
}

impl TransitionRow {
    /// The row of a transition. `rule` is `None` for a rule that is gone.
    pub(super) fn new(transition: &Transition, rule: Option<&Rule>, details: &Details) -> Self {
        let Transition { key, state, .. } = transition;
        Self {
            transition_id: transition.id.clone(),
            fingerprint: transition.fingerprint.clone(),
            at: transition.at,
            rule: key.rule.clone(),
            kind: rule.map_or("", Rule::kind).to_owned(),
            severity: rule.map(|rule| rule.severity).unwrap_or_default().word().to_owned(),
            labels: rule.map(|rule| rule.labels.clone().into_iter().collect()).unwrap_or_default(),
            scope: rule.map_or("", |rule| rule.scope.word()).to_owned(),
            group: key.group.clone(),
            state: state.phase.word().to_owned(),
            reason: transition.reason.word().to_owned(),
            revision: state.revision,
            notify: transition.notify,
            notifiers: rule.and_then(|rule| rule.notifiers.clone()).unwrap_or_default(),
            measure: match rule {
                Some(rule) if key.period_start.is_some() && key.threshold_percent.is_none() => {
                    format!("forecast {}", rule.measure_words())
                }
                rule => rule.map(Rule::measure_words).unwrap_or_default(),
            },
            unit: state.value.unit().to_owned(),
            value: state.value.as_f64(),
            value_usd: state.value.pico_usd(),
            limit_value: state.limit.as_f64(),
            limit_usd: state.limit.pico_usd(),
            threshold_percent: key.threshold_percent,
            period: state.period.clone(),
            period_start: key.period_start,
            period_end: state.period_end,
            since: state.since,
            last_notified_at: state.last_notified_at,
            requests: transition.requests,
            priced_requests: transition.priced_requests,
            exceeding_requests: transition.exceeding_requests,
            details: serde_json::to_string(details).unwrap_or_default(),
            suppressed_by: transition.suppressed_by.clone(),
            below_since: state.below_since,
        }
    }

    /// The row of a report. It is no step of an alert, and in no state.
    pub(super) fn of_report(report: &Report, schedule: &ReportSchedule, span: &Span) -> Self {
        let details = Details { report: Some(report.clone()), ..Details::default() };
        let spend = Quantity::Usd(report.totals.cost_usd);
        Self {
            transition_id: report.id.clone(),
            fingerprint: report.id.clone(),
            at: report.at,
            rule: schedule.name.clone(),
            kind: report::KIND.to_owned(),
            severity: Severity::Info.word().to_owned(),
            labels: Vec::new(),
            scope: "all".to_owned(),
            group: String::new(),
            state: Phase::Inactive.word().to_owned(),
            reason: "scheduled".to_owned(),
            revision: 0,
            notify: true,
            notifiers: schedule.notifiers.clone().unwrap_or_default(),
            measure: "spend".to_owned(),
            unit: spend.unit().to_owned(),
            value: spend.as_f64(),
            value_usd: spend.pico_usd(),
            limit_value: 0.0,
            limit_usd: None,
            threshold_percent: None,
            period: span.label.clone(),
            period_start: Some(span.start),
            period_end: Some(span.end),
            since: report.at,
            last_notified_at: None,
            requests: report.totals.requests,
            priced_requests: report.totals.priced_requests,
            exceeding_requests: None,
            details: serde_json::to_string(&details).unwrap_or_default(),
            suppressed_by: String::new(),
            below_since: None,
        }
    }

    pub(super) fn is_report(&self) -> bool {
        self.kind == report::KIND
    }

    /// What the row says to people; `None` when a newer version of the program wrote what this one cannot read.
    pub(super) fn told(&self, dashboard_url: &str) -> Option<Told> {
        if !self.is_report() {
            return self.to_notification(dashboard_url).map(Box::new).map(Told::Alert);
        }
        let details: Details = serde_json::from_str(&self.details).ok()?;
        let report = Report { dashboard_url: dashboard_url.to_owned(), ..details.report? };
        Some(Told::Report(Box::new(report)))
    }

    /// The same, told as `last` was, an earlier step of the alert: to the same receivers, with the rule's words.
    pub(super) fn in_words_of(self, last: &Self) -> Self {
        let last = last.clone();
        Self {
            kind: last.kind,
            severity: last.severity,
            labels: last.labels,
            scope: last.scope,
            notifiers: last.notifiers,
            measure: last.measure,
            ..self
        }
    }

    /// The state after the transition; `None` when a newer version of the program wrote what this one cannot read.
    fn to_state(&self) -> Option<(AlertKey, AlertState)> {
        let key = AlertKey {
            rule: self.rule.clone(),
            group: self.group.clone(),
            period_start: self.period_start,
            threshold_percent: self.threshold_percent,
        };
        let state = AlertState {
            phase: Phase::from_word(&self.state)?,
            since: self.since,
            last_notified_at: self.last_notified_at,
            revision: self.revision,
            period_end: self.period_end,
            value: Quantity::from_parts(&self.unit, self.value, self.value_usd)?,
            limit: Quantity::from_parts(&self.unit, self.limit_value, self.limit_usd)?,
            period: self.period.clone(),
            below_since: self.below_since,
        };
        Some((key, state))
    }

    /// The message about the transition.
    pub(super) fn to_notification(&self, dashboard_url: &str) -> Option<Notification> {
        let (_, state) = self.to_state()?;
        let details: Details = serde_json::from_str(&self.details).unwrap_or_default();
        Some(Notification {
            id: self.transition_id.clone(),
            fingerprint: self.fingerprint.clone(),
            at: self.at,
            event: match (state.phase, self.reason.as_str()) {
                (Phase::Firing, "repeated") => Event::StillFiring,
                (Phase::Firing | Phase::Pending, _) => Event::Firing,
                _ => Event::Resolved,
            },
            rule: self.rule.clone(),
            kind: self.kind.clone(),
            severity: Severity::ALL.into_iter().find(|known| known.word() == self.severity).unwrap_or_default(),
            labels: self.labels.clone(),
            scope: self.scope.clone(),
            group: self.group.clone(),
            measure: self.measure.clone(),
            value: state.value,
            limit: state.limit,
            threshold_percent: self.threshold_percent,
            period: self.period.clone(),
            since: self.since,
            requests: self.requests,
            priced_requests: self.priced_requests,
            exceeding_requests: self.exceeding_requests,
            newest_event: details.newest_event,
            contributors: details.contributors,
            notes: details.notes,
            dashboard_url: dashboard_url.to_owned(),
        })
    }
}

/// Reads and writes the record of transitions; [`super::outbox`] has the other half.
#[derive(Clone)]
pub(super) struct Journal {
    pub(super) client: Client,
    term: Option<Term>,
}

impl Journal {
    pub(super) fn new(client: &Client) -> Self {
        // An acknowledged row must be there: no server-side buffering.
        let client = client.clone().with_setting("async_insert", "0").with_setting("wait_end_of_query", "1");
        Self { client, term: None }
    }

    pub(super) fn fence(&mut self, term: Term) {
        self.term = Some(term);
    }

    pub(super) async fn ensure_current(&self) -> Result<(), AlertError> {
        match &self.term {
            Some(term) => Ok(term.ensure_current().await?),
            None => Ok(()),
        }
    }

    /// Appends the transitions of one pass with one insert.
    pub(super) async fn record(&self, rows: &[TransitionRow]) -> Result<(), AlertError> {
        self.ensure_current().await?;
        bounded("record alerts", self.insert("alert_transitions", rows)).await
    }

    pub(super) async fn insert<T>(&self, table: &str, rows: &[T]) -> Result<(), clickhouse::error::Error>
    where
        T: clickhouse::RowOwned + clickhouse::RowWrite,
    {
        let mut insert = self.client.insert::<T>(table).await?;
        for row in rows {
            insert.write(row).await?;
        }
        insert.end().await
    }

    /// The last step of each of these alerts.
    pub(super) async fn last_steps(&self, fingerprints: &[&str]) -> Result<HashMap<String, TransitionRow>, AlertError> {
        let mut steps = HashMap::with_capacity(fingerprints.len());
        for batch in fingerprints.chunks(NAMES_IN_A_QUERY) {
            let query = "SELECT ?fields FROM alert_transitions WHERE fingerprint IN ? \
                 ORDER BY at DESC, revision DESC LIMIT 1 BY fingerprint";
            let query = self.client.query(query).bind(batch);
            let rows: Vec<TransitionRow> = bounded("read the last steps of alerts", query.fetch_all()).await?;
            steps.extend(rows.into_iter().map(|row| (row.fingerprint.clone(), row)));
        }
        Ok(steps)
    }

    /// The states as they were recorded, at start.
    pub(super) async fn load(&self, now: UtcMillis) -> Result<States, AlertError> {
        let query = "SELECT ?fields FROM alert_transitions \
             WHERE (rule, `group`, period_start, threshold_percent, at, revision) IN (\
                SELECT rule, `group`, period_start, threshold_percent, tupleElement(newest, 1), tupleElement(newest, 2) FROM (\
                    SELECT rule, `group`, period_start, threshold_percent, max((at, revision)) AS newest, \
                        argMax(state, (at, revision)) AS last_state, any(period_end) AS ended_at \
                    FROM alert_transitions WHERE kind != 'report' GROUP BY rule, `group`, period_start, threshold_percent \
                    HAVING last_state IN ('pending', 'firing') OR ended_at > fromUnixTimestamp64Milli(?, 'UTC'))) \
             ORDER BY at, revision LIMIT ? SETTINGS transform_null_in = 1";
        let rows = self.client.query(query).bind(now.minus(super::PERIOD_GRACE).0).bind(MAX_STATES);
        let rows: Vec<TransitionRow> = bounded("load alert states", rows.fetch_all()).await?;
        let mut states = States::default();
        for row in rows {
            if let Some((key, state)) = row.to_state() {
                states.restore(key, state);
            } else {
                tracing::warn!(rule = row.rule, state = row.state, "an alert state cannot be read; skipped");
            }
        }
        Ok(states)
    }
}
