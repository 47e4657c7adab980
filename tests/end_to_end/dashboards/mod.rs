//! What people look at, on the stream of `make demo`: every panel of every Grafana dashboard, whose queries run and give
//! what the panel needs, and every query that documentation shows.

pub(crate) mod documents;
mod grafana;
mod links;
mod prometheus;
pub(crate) mod reader;

use std::collections::BTreeSet;

use documents::{sql_blocks, statements};
use grafana::{Choice, Choices, Dashboard, Panel, TimeRange, dashboards, fill};
use links::Pages;
use prometheus::Prometheus;
use reader::{Answer, Column, Reader};
use serde_json::Value;

use crate::{
    harness::{Options, SECRET, Server, client, wait_until},
    slack::start_slack,
};

const DEMO: &str = include_str!("../../../demo/heliometer.toml");
const HOUR_SECONDS: i64 = 3_600;

/// With the rights that Grafana has.
fn reader(server: &Server) -> Reader {
    let directory = server.data_dir().join("clickhouse");
    let read = |name: &str| -> Value {
        serde_json::from_slice(&std::fs::read(directory.join(name)).expect("a file")).expect("JSON")
    };
    let credentials = read("credentials.json");
    let text = |name: &str| credentials[name].as_str().expect("a text").to_owned();
    Reader {
        client: client(),
        url: format!("http://127.0.0.1:{}", read("endpoint.json")["http_port"]),
        user: text("reader_user"),
        password: text("reader_password"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn panels_and_documented_queries_have_answers_on_the_demo_stream() {
    let options = Options { config: Some(DEMO.to_owned()), ..Options::default() };
    let (slack, slack_url) = start_slack().await;
    let options = options.with_local_storage().with("DEMO_SECRET", SECRET).with("SLACK_WEBHOOK_URL", slack_url);
    let mut server = Server::start(options.with("HELIOMETER__ALERTS__DASHBOARD_URL", links::documented_link()));
    let admin = server.admin_url().trim_start_matches("http://").trim_end_matches('/').to_owned();
    let prometheus = Prometheus::scrape(&admin).await;
    let url = format!("{}/demo", server.webhook_url());
    let faults = "duplicates=1,storage-404=5,storage-500=2,bad-signature=1,no-request-id=1";
    let arguments = ["--rate", "0", "--count", "4000", "--seed", "7", "--linger-seconds", "3", "--faults", faults];
    let expected = server.start_simulation_to(&url, &arguments).finish();
    server.wait_until_counted(&expected, crate::harness::PATIENCE);
    for kind in ["budget", "usage", "latency", "efficiency"] {
        wait_until(&format!("an alert of kind {kind}"), || {
            (server.count(&format!("(SELECT count() FROM alerts WHERE kind = '{kind}')")) > 0).then_some(())
        });
    }
    let silence = ["silences", "add", "--rule", "ratio", "--for", "1h", "--comment", "as make demo does"];
    assert!(server.command().args(silence).status().expect("runs").success());
    // Two more scrapes, so that the last change is in.
    prometheus.wait_for("changes(heliometer_is_leader[1m]) >= 0 and count_over_time(up[1m]) > 5").await;

    let reader = reader(&server);
    let now = server.count("toUnixTimestamp(now())");
    let mut problems = clickhouse_panels(&reader, now).await;
    problems.extend(prometheus_panels(&prometheus).await);
    problems.extend(documented_queries(&reader).await);
    assert!(problems.is_empty(), "{} problems:\n{}", problems.len(), problems.join("\n\n"));

    let (_, _, latency) = dashboards().into_iter().find(|(name, ..)| name == "latency.json").expect("latency.json");
    let range = now - 48 * HOUR_SECONDS..now + 1;
    let choices = latency.choices(&range, &reader).await;
    let (_, query) = panels(&latency, &range, &choices)
        .into_iter()
        .find(|(panel, _)| panel.title == "Calls")
        .expect("a panel that counts");
    let shown = reader.ask(&query).await.expect("an answer").rows[0][0].to_string();
    assert_eq!(shown.trim_matches('"'), expected.sums.requests.to_string(), "all that was sent, once");
    links::message_links(&slack, &reader).await;
    assert!(server.stop().success());
}

/// Every query, over an hour, the time that it opens with, a week and two years, as the dashboard is opened and with each
/// variable set.
async fn clickhouse_panels(reader: &Reader, now: i64) -> Vec<String> {
    let mut problems = Vec::new();
    let mut queries = 0;
    let all = dashboards();
    let pages = Pages::of(&all);
    for (name, _, dashboard) in all {
        for hours in [1, dashboard.time.hours(), 7 * 24, 2 * 365 * 24] {
            let range = now - hours * HOUR_SECONDS..now + 1;
            let opened = dashboard.choices(&range, reader).await;
            for (is_opened, choices) in std::iter::once((true, opened.clone())).chain(chosen(&opened)) {
                for (panel, query) in panels(&dashboard, &range, &choices) {
                    let place = format!("{name}, {}, last {hours} h, {choices:?}", panel.title);
                    queries += 1;
                    match reader.ask(&query).await {
                        Err(error) => problems.push(format!("{place}: {error}\n{query}")),
                        Ok(answer) if is_opened => {
                            let problem = wrong(panel, &answer).or_else(|| pages.wrong(&answer));
                            problems.extend(problem.map(|problem| format!("{place}: {problem}\n{query}")));
                        }
                        Ok(_) => {}
                    }
                }
            }
        }
    }
    assert!(queries > 500, "only {queries} queries");
    problems
}

async fn prometheus_panels(prometheus: &Prometheus) -> Vec<String> {
    let mut problems = Vec::new();
    for (name, _, dashboard) in dashboards() {
        for panel in &dashboard.panels {
            let asked: Vec<&String> = panel.targets.iter().filter_map(|target| target.expr.as_ref()).collect();
            let mut values = 0;
            for query in &asked {
                let query = query.replace("$instance", ".+").replace("$__rate_interval", "5m");
                match prometheus.ask(&query).await {
                    Ok(found) => values += found.len(),
                    Err(error) => problems.push(format!("{name}, {}: {error}", panel.title)),
                }
            }
            if !asked.is_empty() && values == 0 {
                problems.push(format!("{name}, {}: Prometheus has nothing for {asked:?}", panel.title));
            }
        }
    }
    problems
}

/// Queries run, and those of docs/sql.md have answers; what an administrator would run is read by ClickHouse and not done.
async fn documented_queries(reader: &Reader) -> Vec<String> {
    let blocks = sql_blocks();
    assert!(blocks.iter().filter(|block| block.place.starts_with("sql.md") && block.is_query()).count() >= 10);
    let mut problems = Vec::new();
    for block in &blocks {
        let statements = if block.is_query() { vec![block.text.clone()] } else { statements(&block.text) };
        for statement in statements {
            let asked = if block.is_query() { statement } else { format!("EXPLAIN AST {statement}") };
            match reader.ask(&asked).await {
                Err(error) => problems.push(format!("{}: {error}\n{asked}", block.place)),
                Ok(answer) if answer.rows.is_empty() && block.place.starts_with("sql.md") => {
                    problems.push(format!("{}: no rows\n{asked}", block.place));
                }
                Ok(_) => {}
            }
        }
    }
    for statement in statements(include_str!("../../../sql/access.example.sql")) {
        if let Err(error) = reader.ask(&format!("EXPLAIN AST {statement}")).await {
            problems.push(format!("access.example.sql: {error}\n{statement}"));
        }
    }
    problems.extend(dbt_sources(reader).await);
    problems
}

/// Each column that the sources of dbt describe is one of the view.
async fn dbt_sources(reader: &Reader) -> Vec<String> {
    let (mut problems, mut view, mut known) = (Vec::new(), "", Vec::new());
    for line in include_str!("../../../sql/dbt/sources.yml").lines() {
        if let Some(name) = line.strip_prefix("      - name: ") {
            view = name;
            known = reader.texts(&format!("SELECT name FROM system.columns WHERE table = '{name}'")).await;
        } else if let Some(column) = line.strip_prefix("          - name: ")
            && !known.iter().any(|name| name == column)
        {
            problems.push(format!("sources.yml: {view} has no column {column}"));
        }
    }
    problems
}

/// The same, with one variable after the other set to its first value.
fn chosen(opened: &Choices) -> Vec<(bool, Choices)> {
    let one = |(name, choice): (&String, &Choice)| {
        let Choice::All(values) = choice else { return None };
        let mut choices = opened.clone();
        choices.insert(name.clone(), Choice::One(values.first()?.clone()));
        Some((false, choices))
    };
    opened.iter().filter_map(one).collect()
}

fn panels<'a>(dashboard: &'a Dashboard, range: &TimeRange, choices: &Choices) -> Vec<(&'a Panel, String)> {
    let queries = |panel: &'a Panel| panel.targets.iter().filter_map(move |target| Some((panel, target.sql.as_ref()?)));
    let filled = |(panel, query): (&'a Panel, &String)| {
        (panel, fill(query, range, choices).unwrap_or_else(|error| panic!("{}: {error}", panel.title)))
    };
    dashboard.panels.iter().flat_map(queries).map(filled).collect()
}

fn is_time(column: &Column) -> bool {
    column.kind.starts_with("DateTime")
}

fn is_number(column: &Column) -> bool {
    let kind = column.kind.trim_start_matches("Nullable(");
    // Grafana shows decimals as texts.
    ["UInt", "Int", "Float"].iter().any(|begin| kind.starts_with(begin))
}

/// What the panel cannot do with this answer.
fn wrong(panel: &Panel, answer: &Answer) -> Option<String> {
    let columns = &answer.columns;
    let Some((first, others)) = columns.split_first() else { return Some("no columns".to_owned()) };
    if answer.rows.is_empty() {
        return Some("no rows".to_owned());
    }
    let is_label =
        |column: &Column| panel.field_config.defaults.display_name.contains(&format!("labels.{}}}", column.name));
    let problem = match panel.kind.as_str() {
        "stat" if answer.rows.len() > 1 || !others.is_empty() || !is_number(first) => "a stat shows one number",
        "stat" if answer.rows[0][0].is_null() => "nothing is known",
        "timeseries" | "heatmap" if first.name != "time" || !is_time(first) => "the first column is not the time",
        "timeseries" if !others.iter().any(is_number) => "there is no number",
        "timeseries" | "heatmap" if others.iter().any(|column| !is_number(column) && !is_label(column)) => {
            "a column is neither a number nor the name of a series"
        }
        "timeseries" if !panel.field_config.defaults.display_name.is_empty() && !others.iter().any(is_label) => {
            "the series have no name"
        }
        _ => "",
    };
    let known: BTreeSet<&str> = columns.iter().map(|column| column.name.as_str()).collect();
    let configured = panel.field_config.overrides.iter().map(|each| each.matcher.options.as_str());
    let missing: Vec<&str> = configured.filter(|name| !known.contains(name)).collect();
    if !missing.is_empty() {
        return Some(format!("there is no column {missing:?}"));
    }
    (!problem.is_empty()).then(|| format!("{problem}: {known:?}"))
}

#[test]
fn dashboards_are_described_and_readable() {
    for (name, text, dashboard) in dashboards() {
        // Who cannot tell red from green sees blue, orange and vermilion.
        for colour in ["\"red\"", "\"green\"", "-red\"", "-green\""] {
            assert!(!text.contains(colour), "{name}: {colour}");
        }
        let panels: Vec<&Panel> = dashboard.panels.iter().collect();
        for (index, panel) in panels.iter().enumerate() {
            let place = format!("{name}, {}", panel.title);
            let cell = &panel.grid_pos;
            assert!(cell.x + cell.w <= 24, "{place}: wider than the page");
            for other in &panels[..index] {
                let other = &other.grid_pos;
                let is_beside = cell.x >= other.x + other.w || other.x >= cell.x + cell.w;
                let is_below = cell.y >= other.y + other.h || other.y >= cell.y + cell.h;
                assert!(is_beside || is_below, "{place}: lies on another panel");
            }
            if panel.kind == "row" {
                continue;
            }
            assert!(panel.description.len() > 20, "{place}: no description");
            assert!(panel.field_config.defaults.unit.is_some(), "{place}: no unit");
            assert!(!panel.field_config.defaults.no_value.is_empty(), "{place}: would say `No data`");
            for query in panel.targets.iter().filter_map(|target| target.sql.as_ref()) {
                let reads_calls = query.contains("FROM requests ") || query.contains("request_rows");
                assert!(!reads_calls || query.contains("$__toTime - INTERVAL 1 HOUR"), "{place}: reads all calls");
            }
        }
    }
}

/// Some are there only with Kafka, or once something has gone wrong.
#[test]
fn dashboards_ask_prometheus_for_documented_metrics() {
    let documented = include_str!("../../../docs/operations.md");
    let metric = regex::Regex::new(r"heliometer_\w+").expect("an expression");
    for (name, _, dashboard) in dashboards() {
        for query in dashboard.panels.iter().flat_map(|panel| &panel.targets).filter_map(|target| target.expr.as_ref())
        {
            for found in metric.find_iter(query) {
                let base = found.as_str().trim_end_matches("_bucket");
                assert!(documented.contains(base), "{name}: docs/operations.md knows no {base}");
            }
        }
    }
}
