//! Thirty days of traffic with twelve incidents in it: the rules find each of them, and nothing else.

use std::time::Duration;

use heliometer::{
    alert::{Backtest, Engine, Rule, Suppressions},
    domain::UtcMillis,
};
use serde_json::json;

use super::world::World;

/// 38 days before, so that there are weeks to compare with.
const FIRST_DAY: &str = "2031-07-25 00:00:00";
const MINUTES: u32 = 68 * 1440;

/// Twelve calls a minute on working days from 8 to 18, two otherwise, of which one in two hundred fails; alternately from
/// two sources. At quiet times, and before the thirty days, those of five minutes come together, so that fewer minutes are
/// computed. A call costs half a cent to one and a half. And the incidents.
const TRAFFIC: &str = "
INSERT INTO request_rows (request_id, source, event_time, received_at, user_id, model, provider, prompt_tokens,
    completion_tokens, total_tokens, cost_usd, cost_source, latency_ms, token_ratio, status, fetch_status, version)
WITH toDateTime('{first}', 'UTC') + toIntervalMinute(number) AS minute,
    toDayOfWeek(minute) <= 5 AND toHour(minute) >= 8 AND toHour(minute) < 18 AS is_busy,
    if(is_busy AND minute >= toDateTime('2031-09-01', 'UTC'), 1, 5) AS every,
    cityHash64(minute, i) AS chance,
    (from, to) -> minute >= toDateTime(from, 'UTC') AND minute < toDateTime(to, 'UTC') AS within,
    multiIf(within('2031-09-03 10:00:00', '2031-09-03 11:00:00'), 6, within('2031-09-13 03:00:00', '2031-09-13 05:00:00'), 20,
        within('2031-09-25 08:00:00', '2031-09-25 18:00:00'), 2, 1) AS dear,
    within('2031-09-04 14:00:00', '2031-09-04 15:10:00') OR within('2031-09-16 09:30:00', '2031-09-16 10:40:00') AS is_slow,
    multiIf(within('2031-09-09 11:00:00', '2031-09-09 12:10:00'), 3, within('2031-09-23 16:00:00', '2031-09-23 17:10:00'), 1,
        200) AS fails_one_in,
    if(i % 2 = 0, 'default', 'eu') AS sender
SELECT concat(toString(minute), '-', toString(i)), sender, minute + toIntervalMillisecond(i * 900), minute,
    concat('user-', toString(chance % 20)), 'gpt-4o', 'OPENAI', 1000, 500, 1500,
    toDecimal64(0.01 * (0.5 + (chance % 1000) / 1000) * dear, 12), 'gateway', 500 + chance % 2000 + if(is_slow, 8000, 0),
    2, if((chance DIV 1000) % fails_one_in = 0, 'error', 'success'), 'fetched', 1
FROM numbers({minutes}) ARRAY JOIN range(every * if(is_busy, 12, 2)) AS i
WHERE number % every = 0 AND NOT (sender = 'eu' AND within('2031-09-10 12:00:00', '2031-09-10 15:00:00'))
    AND NOT (sender = 'default' AND within('2031-09-20 02:00:00', '2031-09-20 06:00:00'))";

const NEW_MODEL: &str = "
INSERT INTO request_rows (request_id, source, event_time, received_at, user_id, model, total_tokens, cost_source, status, version)
SELECT concat('new-', toString(number)), 'eu', toDateTime('2031-09-18 09:00:00', 'UTC') + number * 300 AS made, made, 'user-1',
    'new-model', 1500, 'unpriced', 'success', 1 FROM numbers(12)";

const GREEDY_USER: &str = "
INSERT INTO request_rows (request_id, source, event_time, received_at, user_id, model, total_tokens, cost_usd, cost_source, status, version)
SELECT concat('mallory-', toString(number)), 'eu', toDateTime('2031-09-27 08:00:00', 'UTC') + number * 300 AS made, made, 'mallory',
    'gpt-4o', 50000, 0.001, 'gateway', 'success', 1 FROM numbers(120)";

const DEAD_LETTERS: &str = "
INSERT INTO dead_letter_rows SELECT 0, number, at, toDateTime64('2031-09-29 13:00:00', 3, 'UTC') AS at, 'eu', 'bad_json', '', 9, 0, number
FROM numbers(5)";

/// Rule, group, and from when to when its messages may come.
const INCIDENTS: [(&str, &str, &str, &str); 12] = [
    ("spike", "", "2031-09-03T10:00:00Z", "2031-09-03T12:00:00Z"),
    ("slow", "gpt-4o", "2031-09-04T14:00:00Z", "2031-09-04T15:15:00Z"),
    ("errors", "gpt-4o", "2031-09-09T11:00:00Z", "2031-09-09T12:15:00Z"),
    ("quiet", "eu", "2031-09-10T13:00:00Z", "2031-09-10T15:15:00Z"),
    ("spike", "", "2031-09-13T03:00:00Z", "2031-09-13T06:00:00Z"),
    ("slow", "gpt-4o", "2031-09-16T09:30:00Z", "2031-09-16T10:45:00Z"),
    ("unpriced", "new-model", "2031-09-18T09:00:00Z", "2031-09-19T11:00:00Z"),
    ("quiet", "default", "2031-09-20T03:00:00Z", "2031-09-20T06:15:00Z"),
    ("errors", "gpt-4o", "2031-09-23T16:00:00Z", "2031-09-23T17:15:00Z"),
    ("day", "", "2031-09-25T12:00:00Z", "2031-09-26T00:00:00Z"),
    ("tokens", "mallory", "2031-09-27T08:00:00Z", "2031-09-27T18:15:00Z"),
    ("dead", "eu", "2031-09-29T13:00:00Z", "2031-09-29T14:15:00Z"),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twelve_incidents_in_thirty_days_are_found_and_nothing_else() {
    let mut world = World::start().await;
    let traffic = TRAFFIC.replace("{first}", FIRST_DAY).replace("{minutes}", &MINUTES.to_string());
    for statement in [traffic.as_str(), NEW_MODEL, GREEDY_USER, DEAD_LETTERS] {
        world.execute(statement).await;
    }
    world.roll_up().await;
    // As they are by default; limits are of course one's own.
    let rules: Vec<Rule> = serde_json::from_value(json!([
        {"name": "spike", "kind": "spend_spike"},
        {"name": "slow", "kind": "latency", "threshold_ms": 5000},
        {"name": "errors", "kind": "error_rate"},
        {"name": "quiet", "kind": "no_data"},
        {"name": "unpriced", "kind": "unpriced_model"},
        {"name": "dead", "kind": "dead_letters"},
        {"name": "signatures", "kind": "signature_failures"},
        {"name": "day", "kind": "budget", "period": "day", "limit_usd": 150, "thresholds": [100]},
        {"name": "tokens", "kind": "usage", "unit": "tokens", "period": "day", "limit": 5_000_000, "thresholds": [100]},
    ]))
    .expect("rules");
    let at = |text: &str| UtcMillis(text.parse::<jiff::Timestamp>().expect("a time").as_millisecond());
    let step = Duration::from_secs(3600);
    let mut backtest =
        Backtest::new(rules, Suppressions::default(), at("2031-09-01T00:00:00Z"), at("2031-10-01T00:00:00Z"), step);
    let started = std::time::Instant::now();
    let mut messages = Vec::new();
    let engine = Engine { client: world.client(), reader: None };
    while let Some(step) = backtest.step(engine).await.expect("evaluated") {
        messages.extend(step.told);
    }
    eprintln!(
        "{} evaluations of 9 rules in {} s, {} messages",
        backtest.steps(),
        started.elapsed().as_secs(),
        messages.len()
    );
    // `2031-09-03T10:15:00.000Z spike: spend …`
    let fits = |message: &str, (rule, group, from, to): (&str, &str, &str, &str)| {
        let (time, rest) = message.split_once(' ').expect("a time");
        let group = if group.is_empty() { String::new() } else { format!(" {group}") };
        (at(from)..=at(to)).contains(&at(time)) && rest.starts_with(&format!("{rule}{group}: "))
    };
    for incident in INCIDENTS {
        let begins = |message: &&String| fits(message, incident) && !message.contains(": over; ");
        assert!(
            messages.iter().any(|message| begins(&message)),
            "{incident:?} was not found in\n{}",
            messages.join("\n")
        );
    }
    let is_end = |message: &&String| message.contains(": over; ");
    let false_alarms: Vec<&String> = messages
        .iter()
        .filter(|message| !is_end(message) && !INCIDENTS.iter().any(|incident| fits(message, *incident)))
        .collect();
    assert!(false_alarms.is_empty(), "{false_alarms:#?}");
    world.stop().await;
}
