//! The same request, delivered once to five times, over restarts, minutes, hours and the end of a month: counted once.
//!
//! Times of receipt are chosen: records are appended to the log as the ingress writes them, while `serve` is stopped.

use std::collections::{BTreeMap, HashSet};

use heliometer::{
    domain::UtcMillis,
    event_log::{Header, NewRecord, Topic},
};
use serde::Deserialize;
use serde_json::json;

use crate::harness::{Options, Server, client, wait_until};

/// A record of the topic `webhooks`, as the ingress writes it.
pub(crate) fn record(source: &str, request_id: &str, body: &str, received_at: UtcMillis) -> NewRecord {
    let header = |name: &str, value: &str| Header { name: name.to_owned(), value: value.to_owned().into() };
    NewRecord {
        key: request_id.to_owned().into(),
        body: body.to_owned().into(),
        timestamp: received_at,
        headers: vec![header("source", source), header("secret", "0")],
    }
}

/// When the runs of `serve` have their messages received. The server is ended after each.
const RUNS: [&str; 6] = [
    "2026-10-31T23:58:20Z",
    // The next minute.
    "2026-10-31T23:59:30Z",
    // The next month, in the first seconds.
    "2026-11-01T00:00:10Z",
    // The next hour.
    "2026-11-01T01:10:00Z",
    // Two days later.
    "2026-11-03T09:00:00Z",
    // More than seven days after the first, where a creation time is no longer believed.
    "2026-11-09T12:00:00Z",
];

/// The runs in which a request is delivered; twice the same one is twice within a second.
const DELIVERIES: [&[usize]; 18] = [
    &[0],
    &[2],
    &[5],
    &[0, 0],
    &[0, 1],
    &[1, 2],
    &[0, 5],
    &[2, 3],
    &[0, 1, 2],
    &[1, 1, 2],
    &[2, 3, 4],
    &[0, 2, 5],
    &[0, 1, 2, 3],
    &[0, 0, 2, 2],
    &[1, 3, 4, 5],
    &[0, 1, 2, 3, 4],
    &[0, 0, 0, 0, 0],
    &[1, 2, 3, 4, 5],
];

#[derive(Clone, Copy, Debug)]
enum Kind {
    /// Counts when it is received.
    Plain,
    /// Says when it was made: this long before it was first received.
    Created { seconds_before: i64 },
    /// Every delivery says something else; the first one counts.
    Changing,
}

const KINDS: [Kind; 4] =
    [Kind::Plain, Kind::Created { seconds_before: 75 }, Kind::Created { seconds_before: 4_000 }, Kind::Changing];
/// Each has requests of the same ids.
const SOURCES: [&str; 2] = ["default", "second"];

/// One message that is to be received.
struct Message {
    source: &'static str,
    request_id: String,
    received_at: UtcMillis,
    /// When the call counts, if this is its first message.
    event_time: UtcMillis,
    model: String,
    user_id: String,
    quarters: u64,
    body: String,
}

fn messages(run: usize) -> Vec<Message> {
    let time = |run: usize| RUNS[run].parse::<jiff::Timestamp>().expect("a time").as_millisecond();
    let mut messages = Vec::new();
    for (number, runs) in DELIVERIES.iter().enumerate() {
        for (index, _) in runs.iter().enumerate().filter(|(_, in_run)| **in_run == run) {
            for (kind_number, kind) in KINDS.into_iter().enumerate() {
                for source in SOURCES {
                    let number_ms = i64::try_from(number * 100 + index).expect("fits");
                    let received_ms = time(run) + number_ms;
                    let created = match kind {
                        Kind::Created { seconds_before } => Some(time(runs[0]) / 1_000 - seconds_before),
                        Kind::Plain | Kind::Changing => None,
                    };
                    let change = if matches!(kind, Kind::Changing) { index } else { 0 };
                    let (model, user_id) = (format!("model-{change}"), format!("user-{}", number % 3 + change));
                    let quarters = u64::try_from(1 + number + change).expect("fits");
                    let mut body = json!({
                        "request_id": format!("request-{number}-{kind_number}"),
                        "model": model,
                        "provider": "OPENAI",
                        "user_id": user_id,
                        "metadata": {
                            "cost": f64::from(u32::try_from(quarters).expect("fits")) * 0.25,
                            "promptTokens": quarters,
                            "completionTokens": 1,
                            "totalTokens": quarters + 1,
                            "latencyMs": 500,
                        },
                    });
                    if let Some(created) = created {
                        body["response_body"] = json!({"id": "c", "object": "chat.completion", "created": created});
                    }
                    messages.push(Message {
                        source,
                        request_id: format!("request-{number}-{kind_number}"),
                        received_at: UtcMillis(received_ms),
                        event_time: UtcMillis(created.map_or(received_ms, |seconds| seconds * 1_000)),
                        model,
                        user_id,
                        quarters,
                        body: body.to_string(),
                    });
                }
            }
        }
    }
    messages
}

/// Requests, quarters of a USD and prompt tokens (the same number) of a bucket: by view, bucket in seconds, source and
/// model or user.
type Totals = BTreeMap<(&'static str, i64, String, String), (u64, u64)>;

/// What must be counted, worked out from the messages alone.
#[derive(Default)]
struct Expected {
    seen: HashSet<(&'static str, String)>,
    totals: Totals,
    /// By source and id: when it counts, when it was received, and its model.
    requests: BTreeMap<(String, String), (i64, i64, String)>,
    received: i64,
}

impl Expected {
    fn receive(&mut self, message: &Message) {
        self.received += 1;
        if !self.seen.insert((message.source, message.request_id.clone())) {
            return;
        }
        let seconds = message.event_time.0.div_euclid(1_000);
        let day = seconds - seconds.rem_euclid(86_400);
        let date = jiff::Timestamp::from_second(day).expect("a time").to_zoned(jiff::tz::TimeZone::UTC);
        let month = day - i64::from(date.day() - 1) * 86_400;
        for (view, bucket, by) in [
            ("model_minute", seconds - seconds.rem_euclid(60), &message.model),
            ("model_day", day, &message.model),
            ("user_hour", seconds - seconds.rem_euclid(3_600), &message.user_id),
            ("user_month", month, &message.user_id),
        ] {
            let sums = self.totals.entry((view, bucket, message.source.to_owned(), by.clone())).or_default();
            *sums = (sums.0 + 1, sums.1 + message.quarters);
        }
        let key = (message.source.to_owned(), message.request_id.clone());
        self.requests.insert(key, (message.event_time.0, message.received_at.0, message.model.clone()));
    }

    fn assert_counted(&self, server: &Server) {
        server.wait_until_worked_off(self.received);
        let found: Vec<Row> = server.query(
            "SELECT source, request_id, toUnixTimestamp64Milli(event_time) AS event_ms, \
             toUnixTimestamp64Milli(received_at) AS received_ms, model FROM requests",
        );
        assert_eq!(found.len(), self.requests.len(), "no request is there twice");
        let found: BTreeMap<(String, String), (i64, i64, String)> = found
            .into_iter()
            .map(|row| ((row.source, row.request_id), (row.event_ms, row.received_ms, row.model)))
            .collect();
        assert_eq!(found, self.requests);
        assert_eq!(totals(server), self.totals);
        let messages =
            |outcome: &str| server.count(&format!("(SELECT sum(messages) FROM outcomes WHERE outcome = '{outcome}')"));
        let stored = i64::try_from(self.requests.len()).expect("fits");
        let outcomes = ["received", "stored", "duplicate", "in_flight", "missing", "dead_letter", "test"].map(messages);
        assert_eq!(outcomes, [self.received, stored, self.received - stored, 0, 0, 0, 0]);
    }
}

/// Of the view `requests`.
#[derive(Deserialize)]
struct Row {
    source: String,
    request_id: String,
    event_ms: i64,
    received_ms: i64,
    model: String,
}

fn totals(server: &Server) -> Totals {
    #[derive(Deserialize)]
    struct Group {
        start: i64,
        source: String,
        by: String,
        calls: u64,
        quarters: u64,
        tokens: u64,
    }
    let mut totals = Totals::new();
    for (view, by) in
        [("model_minute", "model"), ("model_day", "model"), ("user_hour", "user_id"), ("user_month", "user_id")]
    {
        let groups: Vec<Group> = server.query(&format!(
            "SELECT toInt64(toUnixTimestamp(bucket)) AS start, source, {by} AS by, sum(requests) AS calls, \
             toUInt64(sum(cost_usd) * 4) AS quarters, sum(prompt_tokens) AS tokens FROM {view} GROUP BY start, source, by"
        ));
        for group in groups {
            assert_eq!(group.tokens, group.quarters, "{view}");
            totals.insert((view, group.start, group.source, group.by), (group.calls, group.quarters));
        }
    }
    totals
}

/// For records that are as old as they say.
fn with_retention(options: Options) -> Options {
    options.with("HELIOMETER__EVENT_LOG__RETENTION_HOURS", u16::MAX)
}

async fn each_request_is_counted_once(options: Options) {
    let mut server = Server::not_started(with_retention(options));
    let mut expected = Expected::default();
    for run in 0..RUNS.len() {
        let log = server.open_log();
        for message in messages(run) {
            let record = record(message.source, &message.request_id, &message.body, message.received_at);
            log.append(Topic::Webhooks, record).await.expect("appended");
            expected.receive(&message);
        }
        log.close().await;
        drop(log);
        server.start_again();
        if run % 3 == 2 {
            // In the middle of it, or before it has begun.
            std::thread::sleep(std::time::Duration::from_millis(150 * u64::try_from(run).expect("fits")));
            server.kill();
            server.start_again();
        }
        expected.assert_counted(&server);
        if run % 2 == 0 {
            assert!(server.stop().success());
        } else {
            server.kill();
        }
    }
    let distances = DELIVERIES.iter().map(|runs| runs.len()).collect::<HashSet<usize>>();
    assert_eq!(distances, (1..=5).collect(), "once to five times");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_counts_once_however_often_and_late_it_comes() {
    each_request_is_counted_once(Options::default()).await;
}

/// One id a partition is remembered, so all others come from ClickHouse.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_counts_once_when_its_id_is_no_longer_in_memory() {
    each_request_is_counted_once(Options::default().with("HELIOMETER__LIMITS__DEDUPE_MAX_IDS", 4)).await;
}

const CALLS: i64 = 40;

/// Appends the calls, received in another of [`RUNS`]: a duplicate of the same minute would replace its first message's row,
/// and count once by that.
async fn deliver(server: &Server, run: usize) {
    let received_at = UtcMillis(RUNS[run].parse::<jiff::Timestamp>().expect("a time").as_millisecond());
    let log = server.open_log();
    for number in 0..CALLS {
        let id = format!("call-{number}");
        let body = format!(r#"{{"request_id":"{id}","model":"m","provider":"P","metadata":{{"cost":0.25}}}}"#);
        log.append(Topic::Webhooks, record("default", &id, &body, received_at)).await.expect("appended");
    }
    log.close().await;
}

/// Waits until this process has decided so many messages, and the totals hold what was stored.
async fn decided(server: &Server, messages: i64) {
    let url = format!("{}metrics", server.admin_url());
    for _ in 0..900 {
        let text = client().get(&url).send().await.expect("metrics").text().await.expect("text");
        let lines = text.lines().filter(|line| line.starts_with("heliometer_outcomes_total{"));
        let values =
            lines.map(|line| line.rsplit(' ').next().and_then(|value| value.parse::<f64>().ok()).expect("a number"));
        #[expect(clippy::cast_possible_truncation, reason = "a small count")]
        let sum = values.sum::<f64>() as i64;
        if sum >= messages {
            assert_eq!(sum, messages);
            return wait_until("the totals", || {
                (server.count("(SELECT sum(requests) FROM model_day)") == CALLS
                    && server.count("(SELECT count() FROM requests)") == CALLS)
                    .then_some(())
            });
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    panic!("{messages} messages were not decided");
}

/// A new log with another number of partitions beside the old ClickHouse: keys are elsewhere, positions begin anew.
#[cfg(not(feature = "test-kafka"))]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn duplicates_are_found_when_the_log_was_replaced() {
    let mut server = Server::not_started(with_retention(Options::default()));
    deliver(&server, 0).await;
    server.start_again();
    decided(&server, CALLS).await;
    // First with the same number, where messages come to the places of their first ones.
    for (partitions, run) in [(4, 1), (7, 2)] {
        assert!(server.stop().success());
        std::fs::remove_dir_all(server.data_dir().join("event_log")).expect("removed");
        server.set("HELIOMETER__EVENT_LOG__PARTITIONS", partitions);
        deliver(&server, run).await;
        server.start_again();
        decided(&server, CALLS).await;
        assert_eq!(server.count("(SELECT count() FROM request_rows FINAL)"), CALLS);
    }
    assert!(server.log().contains("the log had another number of partitions before"));
}

/// Partitions are added to the topic, beside running consumers and before a start.
#[cfg(feature = "test-kafka")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn duplicates_are_found_after_partitions_were_added() {
    use rdkafka::{
        ClientConfig,
        admin::{AdminClient, AdminOptions, NewPartitions},
        client::DefaultClientContext,
    };

    let mut server = Server::not_started(with_retention(Options::default()));
    deliver(&server, 0).await;
    server.start_again();
    decided(&server, CALLS).await;
    let admin: AdminClient<DefaultClientContext> = ClientConfig::new()
        .set("bootstrap.servers", std::env::var("KAFKA_BROKERS").expect("brokers"))
        .create()
        .expect("a client");
    let topic = server.topic("webhooks");
    let add = async |count: usize| {
        let results = admin.create_partitions(&[NewPartitions::new(&topic, count)], &AdminOptions::new()).await;
        assert!(results.expect("an answer").iter().all(Result::is_ok));
    };
    add(7).await;
    wait_until("the consumer to notice", || {
        server.log().contains("the log had another number of partitions before").then_some(())
    });
    deliver(&server, 1).await;
    decided(&server, 2 * CALLS).await;
    assert!(server.stop().success());
    add(11).await;
    deliver(&server, 2).await;
    server.start_again();
    decided(&server, CALLS).await;
    server.wait_until_worked_off(3 * CALLS);
    let partitions = server.count("(SELECT uniqExact(log_partition) FROM outcome_rows)");
    assert!(partitions > 7, "messages are in {partitions} partitions only");
}
