//! The live page: today's spend by model, this month's by user, alerts, newest requests. Plain HTML that reloads itself.

use std::time::Duration;

use clickhouse::{Client, Row, RowOwned, RowRead};
use maud::{DOCTYPE, Markup, html};
use serde::Deserialize;

use crate::{
    store::Reader,
    telemetry::{Health, PartState},
};

pub(super) const STYLE: &str = include_str!("style.css");

const QUERY_TIMEOUT: Duration = Duration::from_secs(5);

/// Where the page's numbers come from, with the reader's rights.
#[derive(Debug)]
pub(super) struct Source {
    client: Client,
}

#[derive(Debug, Deserialize, Row)]
pub(super) struct Today {
    requests: u64,
    priced_requests: u64,
    cost_usd: String,
    total_tokens: u64,
    errors: u64,
}

#[derive(Debug, Deserialize, Row)]
pub(super) struct GroupRow {
    name: String,
    detail: String,
    requests: u64,
    priced_requests: u64,
    cost_usd: String,
    share_percent: f64,
    total_tokens: u64,
    latency_p95_ms: Option<f64>,
}

#[derive(Debug, Deserialize, Row)]
pub(super) struct RequestLine {
    at: String,
    model: String,
    user_id: String,
    prompt_tokens: Option<u64>,
    completion_tokens: Option<u64>,
    cost_usd: Option<String>,
    latency_ms: Option<u32>,
    status: String,
    fetch_status: String,
}

#[derive(Debug, Deserialize, Row)]
pub(super) struct AlertLine {
    at: String,
    rule: String,
    group: String,
    state: String,
    detail: String,
}

#[derive(Debug, Deserialize, Row)]
pub(super) struct OutcomeLine {
    outcome: String,
    messages: i64,
}

/// Everything on the page.
#[derive(Debug, Default)]
pub(super) struct View {
    today: Option<Today>,
    models: Vec<GroupRow>,
    users: Vec<GroupRow>,
    requests: Vec<RequestLine>,
    alerts: Vec<AlertLine>,
    outcomes: Vec<OutcomeLine>,
    problem: Option<String>,
}

const TODAY: &str = "SELECT sum(t.requests) AS requests, sum(t.priced_requests) AS priced_requests, \
    if(sum(t.cost_usd) < 1, toDecimalString(sum(t.cost_usd), 6), toDecimalString(sum(t.cost_usd), 2)) AS cost_usd, \
    sum(t.total_tokens) AS total_tokens, sum(t.error_requests) AS errors \
    FROM model_day AS t WHERE bucket = toStartOfDay(now('UTC'))";

const MODELS: &str = "SELECT if(model = '', '(unknown)', toString(model)) AS name, any(toString(provider)) AS detail, \
    sum(t.requests) AS requests, sum(t.priced_requests) AS priced_requests, \
    toDecimalString(sum(t.cost_usd), 6) AS cost_usd, \
    ifNull(100 * toFloat64(sum(t.cost_usd)) / nullIf(max(sum(toFloat64(t.cost_usd))) OVER (), 0), 0) AS share_percent, \
    sum(t.total_tokens) AS total_tokens, max(t.latency_p95_ms) AS latency_p95_ms \
    FROM model_day AS t WHERE bucket = toStartOfDay(now('UTC')) \
    GROUP BY name ORDER BY sum(t.cost_usd) DESC LIMIT 15";

const USERS: &str = "SELECT if(user_id = '', '(no user)', user_id) AS name, \
    ifNull(concat(toString(round(100 * any(limit_used_ratio), 1)), ' % of ', toString(any(limit_usd)), ' USD'), '') AS detail, \
    sum(t.requests) AS requests, sum(t.priced_requests) AS priced_requests, \
    toDecimalString(sum(t.cost_usd), 6) AS cost_usd, \
    ifNull(100 * toFloat64(sum(t.cost_usd)) / nullIf(max(sum(toFloat64(t.cost_usd))) OVER (), 0), 0) AS share_percent, \
    sum(t.total_tokens) AS total_tokens, max(t.latency_p95_ms) AS latency_p95_ms \
    FROM user_month AS t WHERE bucket = toStartOfMonth(now('UTC')) \
    GROUP BY name ORDER BY sum(t.cost_usd) DESC LIMIT 15";

const REQUESTS: &str = "SELECT formatDateTime(received_at, '%H:%i:%S') AS at, toString(model) AS model, user_id, prompt_tokens, \
    completion_tokens, toString(cost_usd) AS cost_usd, latency_ms, toString(status) AS status, toString(fetch_status) AS fetch_status \
    FROM requests WHERE event_time >= now() - INTERVAL 1 HOUR AND received_at >= now() - INTERVAL 1 HOUR \
    ORDER BY received_at DESC LIMIT 20";

const ALERTS: &str = "SELECT formatDateTime(at, '%Y-%m-%d %H:%i:%S') AS at, toString(rule) AS rule, toString(group) AS group, \
    toString(state) AS state, concat(toString(round(value, 4)), ' of ', toString(round(limit_value, 4)), ' ', toString(unit)) AS detail \
    FROM alerts WHERE state IN ('firing', 'resolved') ORDER BY at DESC LIMIT 10";

const OUTCOMES: &str = "SELECT outcome, sum(o.messages) AS messages FROM outcomes AS o GROUP BY outcome \
    ORDER BY indexOf(['received', 'stored', 'duplicate', 'test', 'dead_letter', 'in_flight'], outcome)";

impl Source {
    pub(super) fn new(reader: &Reader) -> Self {
        let client = Client::default()
            .with_url(&reader.url)
            .with_user(&reader.user)
            .with_password(reader.password.expose())
            .with_database(&reader.database)
            .with_setting("max_execution_time", QUERY_TIMEOUT.as_secs().to_string());
        Self { client }
    }

    /// Reads everything at once; what cannot be read is said on the page.
    pub(super) async fn read(&self) -> View {
        let (today, models, users, requests, alerts, outcomes) = tokio::join!(
            self.ask::<Today>(TODAY),
            self.ask::<GroupRow>(MODELS),
            self.ask::<GroupRow>(USERS),
            self.ask::<RequestLine>(REQUESTS),
            self.ask::<AlertLine>(ALERTS),
            self.ask::<OutcomeLine>(OUTCOMES),
        );
        let mut view = View::default();
        view.today = view.take(today).into_iter().next();
        view.models = view.take(models);
        view.users = view.take(users);
        view.requests = view.take(requests);
        view.alerts = view.take(alerts);
        view.outcomes = view.take(outcomes);
        view
    }

    async fn ask<T: RowOwned + RowRead>(&self, query: &str) -> Result<Vec<T>, String> {
        match tokio::time::timeout(QUERY_TIMEOUT, self.client.query(query).fetch_all::<T>()).await {
            Ok(rows) => rows.map_err(|error| error.to_string().chars().take(400).collect()),
            Err(_) => Err(format!("ClickHouse did not answer within {} s", QUERY_TIMEOUT.as_secs())),
        }
    }
}

impl View {
    /// The rows; a query that failed leaves its part of the page empty and says so at the top.
    fn take<T>(&mut self, rows: Result<Vec<T>, String>) -> Vec<T> {
        rows.unwrap_or_else(|problem| {
            self.problem = Some(problem);
            Vec::new()
        })
    }
}

fn frame(body: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta http-equiv="refresh" content="3";
                title { "Heliometer" }
                link rel="stylesheet" href="/style.css";
            }
            body {
                header { h1 { "Heliometer" } p { "LLM spend, live. Times are UTC." } }
                main { (body) }
            }
        }
    }
}

/// Before ClickHouse is up.
pub(super) fn render_waiting(health: &Health) -> Markup {
    frame(&html! {
        p .notice { "ClickHouse is starting. Webhooks are taken meanwhile; their numbers appear here soon." }
        (parts(health))
    })
}

/// The page.
pub(super) fn render(view: &View, health: &Health) -> Markup {
    frame(&html! {
        @if let Some(problem) = &view.problem {
            p .notice role="alert" { "Not all numbers could be read: " (problem) }
        }
        @if let Some(today) = &view.today {
            section .tiles aria-label="Today" {
                (tile("Spend today", &format!("${}", today.cost_usd)))
                (tile("Requests today", &grouped(today.requests)))
                (tile("Priced", &percent(today.priced_requests, today.requests)))
                (tile("Tokens today", &grouped(today.total_tokens)))
                (tile("Errors today", &grouped(today.errors)))
            }
        }
        @if view.models.is_empty() {
            p .notice { "No requests yet today. Send one: " code { "heliometer send-test --url https://localhost:8443/webhook" } }
        }
        (groups("Models today", "Model", "Provider", &view.models))
        (groups("Users this month", "User", "Limit used", &view.users))
        section {
            h2 { "Alerts" }
            @if view.alerts.is_empty() { p { "None so far." } } @else {
                table {
                    thead { tr { th { "At" } th { "Rule" } th { "Group" } th { "State" } th { "Value of limit" } } }
                    tbody {
                        @for alert in &view.alerts {
                            tr { td { (alert.at) } td { (alert.rule) } td { (alert.group) } td .(alert.state) { (alert.state) } td { (alert.detail) } }
                        }
                    }
                }
            }
        }
        section {
            h2 { "Newest requests" }
            div .scroll tabindex="0" role="region" aria-label="Newest requests" {
                table {
                    thead { tr { th { "Received" } th { "Model" } th { "User" } th .number { "Prompt" } th .number { "Completion" } th .number { "Cost, USD" } th .number { "Latency, ms" } th { "Status" } th { "Bodies" } } }
                    tbody {
                        @for request in &view.requests {
                            tr {
                                td { (request.at) } td { (request.model) } td { (request.user_id) }
                                td .number { (optional(request.prompt_tokens)) } td .number { (optional(request.completion_tokens)) }
                                td .number { @match &request.cost_usd { Some(cost) => (cost), None => span .unpriced { "unpriced" } } }
                                td .number { (optional(request.latency_ms)) } td .(request.status) { (request.status) } td { (request.fetch_status) }
                            }
                        }
                    }
                }
            }
        }
        section {
            h2 { "Pipeline" }
            ul .outcomes { @for line in &view.outcomes { li { (line.outcome) " " strong { (line.messages) } } } }
            (parts(health))
        }
    })
}

fn tile(label: &str, value: &str) -> Markup {
    html! { div .tile { span { (label) } strong { (value) } } }
}

fn groups(title: &str, name: &str, detail: &str, rows: &[GroupRow]) -> Markup {
    html! {
        @if !rows.is_empty() {
            section {
                h2 { (title) }
                div .scroll tabindex="0" role="region" aria-label=(title) {
                    table {
                        thead { tr { th { (name) } th { (detail) } th .number { "Requests" } th .number { "Priced" } th .number { "Tokens" } th .number { "p95, ms" } th .number { "Spend, USD" } th { span .hidden { "Share" } } } }
                        tbody {
                            @for row in rows {
                                tr {
                                    td { (row.name) } td { (row.detail) }
                                    td .number { (grouped(row.requests)) } td .number { (percent(row.priced_requests, row.requests)) }
                                    td .number { (grouped(row.total_tokens)) }
                                    td .number { @if let Some(latency_ms) = row.latency_p95_ms { (format!("{latency_ms:.0}")) } }
                                    td .number { @if row.priced_requests == 0 { span .unpriced { "unpriced" } } @else { (row.cost_usd) } }
                                    td { meter min="0" max="100" value=(format!("{:.1}", row.share_percent)) { (format!("{:.0} %", row.share_percent)) } }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn parts(health: &Health) -> Markup {
    let (_, parts) = health.snapshot();
    html! {
        ul .parts {
            @for (part, state) in &parts {
                li {
                    (part) " "
                    @match state {
                        PartState::Ready => span .success { "ready" },
                        PartState::NotReady(reason) => span .error { (reason) },
                    }
                }
            }
        }
    }
}

fn optional<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| "–".to_owned(), |value| value.to_string())
}

/// `1234567` as `1,234,567`.
fn grouped(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[expect(clippy::cast_precision_loss, reason = "a percentage for people")]
fn percent(part: u64, whole: u64) -> String {
    if whole == 0 { "–".to_owned() } else { format!("{:.1} %", 100.0 * part as f64 / whole as f64) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!(["0", "999", "1,000", "1,234,567"].map(str::to_owned), [0, 999, 1_000, 1_234_567].map(grouped));
        assert_eq!((percent(1, 3), percent(0, 0)), ("33.3 %".to_owned(), "–".to_owned()));
    }

    #[test]
    fn names_from_senders_are_escaped() {
        let row = GroupRow {
            name: "<script>".to_owned(),
            detail: String::new(),
            requests: 1,
            priced_requests: 1,
            cost_usd: "1".to_owned(),
            share_percent: 100.0,
            total_tokens: 1,
            latency_p95_ms: None,
        };
        let view = View { models: vec![row], ..View::default() };
        let page = render(&view, &Health::default()).into_string();
        assert!(page.contains("&lt;script&gt;") && !page.contains("<script"));
    }
}
