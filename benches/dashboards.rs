//! How long people wait for what they look at, with many calls stored: `cargo bench --bench dashboards -- 100000000`, or `make
//! bench-dashboards`.
//!
//! Runs every ClickHouse query of every dashboard, of panels and of variables, at the time that it opens with, over 7
//! and over 90 days, and every query of docs/sql.md, with the reader's rights. Prints the median of five of each, the
//! slowest first, marks those above 200 ms, and fails when there are any. `HELIOMETER_BENCH_DIR` names a directory to
//! keep the generated calls in.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a benchmark that cannot go on ends, and prints its figures"
)]

mod calls;
#[expect(dead_code, reason = "the tests look at more of it")]
#[path = "../tests/end_to_end/dashboards/documents.rs"]
mod documents;
#[expect(dead_code, reason = "the tests look at more of it")]
#[path = "../tests/end_to_end/dashboards/grafana.rs"]
mod grafana;
#[expect(dead_code, reason = "the tests look at more of it")]
#[path = "../tests/end_to_end/dashboards/reader.rs"]
mod reader;

use std::{process::ExitCode, time::Instant};

use calls::{Calls, usual_timeout};
use heliometer::domain::{Clock, SystemClock};
use reader::Reader;

const REPEATS: usize = 5;
const LIMIT_MS: f64 = 200.0;
const HOUR_SECONDS: i64 = 3_600;

fn main() -> ExitCode {
    calls::runtime().block_on(bench(calls::asked(10_000_000)))
}

async fn bench(count: u64) -> ExitCode {
    let (directory, _temporary) = calls::directory();
    Calls::fill(&directory, count).await;
    let calls = Calls::open(&directory, usual_timeout()).await;
    let rights = calls.database.reader();
    let reader = Reader {
        client: reqwest::Client::new(),
        url: rights.url.clone(),
        user: rights.user.clone(),
        password: rights.password.expose().to_owned(),
    };

    let mut figures = Vec::new();
    for (place, query) in queries(&reader).await {
        let mut times = Vec::new();
        for _ in 0..REPEATS {
            let started = Instant::now();
            reader.ask(&query).await.unwrap_or_else(|error| panic!("{place}: {error}\n{query}"));
            times.push(started.elapsed().as_secs_f64() * 1_000.0);
        }
        times.sort_by(f64::total_cmp);
        figures.push((times[REPEATS / 2], place));
    }
    figures.sort_by(|one, other| other.0.total_cmp(&one.0));
    for (time, place) in &figures {
        println!("{time:>7.0} ms {} {place}", if *time > LIMIT_MS { "SLOW" } else { "    " });
    }
    let slow = figures.iter().filter(|(time, _)| *time > LIMIT_MS).count();
    println!("{} queries with {} calls stored, {slow} of them above {LIMIT_MS} ms", figures.len(), calls.count);
    calls.close().await;
    if slow == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Where each is, and its text.
async fn queries(reader: &Reader) -> Vec<(String, String)> {
    let now = SystemClock.now().0 / 1_000;
    let mut queries = Vec::new();
    for (name, _, dashboard) in grafana::dashboards() {
        let opens_with = dashboard.time.hours();
        for hours in [opens_with, 7 * 24, 90 * 24] {
            let range = now - hours * HOUR_SECONDS..now + 1;
            let choices = dashboard.choices(&range, reader).await;
            for variable in dashboard.templating.list.iter().filter(|variable| variable.kind == "query") {
                if let Some(query) = variable.query.as_str() {
                    let query = grafana::fill(query, &range, &choices).expect("a query");
                    queries.push((format!("{name}, {hours} h, variable {}", variable.name), query));
                }
            }
            for panel in &dashboard.panels {
                for query in panel.targets.iter().filter_map(|target| target.sql.as_ref()) {
                    let query = grafana::fill(query, &range, &choices).expect("a query");
                    queries.push((format!("{name}, {hours} h, {}", panel.title), query));
                }
            }
        }
    }
    let documented = documents::sql_blocks().into_iter();
    queries.extend(
        documented
            .filter(|block| block.is_query() && block.place.starts_with("sql.md"))
            .map(|block| (block.place, block.text)),
    );
    queries
}
