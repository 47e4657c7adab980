//! 20,000 events over HTTPS: every total equals the simulator's own, to the last 10⁻¹² USD.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::harness::{Options, Server};

#[derive(Debug, Deserialize)]
struct Group {
    source: String,
    model: String,
    /// Provider or user.
    by: String,
    requests: u64,
    priced_requests: u64,
    cost_usd: String,
    prompt_tokens: u64,
    completion_tokens: u64,
    total_tokens: u64,
}

type Key = (String, String, String);
type Sums = (u64, u64, String, u64, u64, u64);

const SUMS: &str = "sum(t.requests) AS requests, sum(t.priced_requests) AS priced_requests, \
    sum(t.cost_usd) AS cost_usd, sum(t.prompt_tokens) AS prompt_tokens, \
    sum(t.completion_tokens) AS completion_tokens, sum(t.total_tokens) AS total_tokens";

/// Totals of a view over all its buckets.
fn totals(server: &Server, view: &str, by: &str) -> BTreeMap<Key, Sums> {
    let query = format!("SELECT source, model, {by} AS by, {SUMS} FROM {view} AS t GROUP BY source, model, by");
    server
        .query::<Group>(&query)
        .into_iter()
        .map(|group| {
            let sums = (
                group.requests,
                group.priced_requests,
                group.cost_usd,
                group.prompt_tokens,
                group.completion_tokens,
                group.total_tokens,
            );
            ((group.source, group.model, group.by), sums)
        })
        .collect()
}

/// Every view of totals against what the simulator expects.
pub(crate) fn assert_exact(server: &Server, expected: &heliometer::simulator::ExpectedTotals) {
    let json = serde_json::to_value(expected).expect("JSON");
    let groups = |list: &str, by: &str| -> BTreeMap<Key, Sums> {
        json[list]
            .as_array()
            .expect("a list")
            .iter()
            .map(|group| {
                let text = |name: &str| group[name].as_str().expect(name).to_owned();
                let number = |name: &str| group[name].as_u64().expect(name);
                let sums = (
                    number("requests"),
                    number("priced_requests"),
                    text("cost_usd"),
                    number("prompt_tokens"),
                    number("completion_tokens"),
                    number("total_tokens"),
                );
                ((text("source"), text("model"), text(by)), sums)
            })
            .collect()
    };
    let by_model = groups("by_model", "provider");
    let by_user = groups("by_user", "user_id");
    assert!(!by_model.is_empty() && !by_user.is_empty());
    for (view, by, expected) in [
        ("model_minute", "provider", &by_model),
        ("model_day", "provider", &by_model),
        ("user_hour", "user_id", &by_user),
        ("user_month", "user_id", &by_user),
    ] {
        let found = totals(server, view, by);
        for (key, sums) in expected {
            assert_eq!(found.get(key), Some(sums), "{view}: {key:?}");
        }
        assert_eq!(found.len(), expected.len(), "{view} has groups that nobody sent");
    }
}

/// Every message has one outcome, and they add up.
pub(crate) fn assert_accounted(server: &Server, expected: &heliometer::simulator::ExpectedTotals) {
    let json = serde_json::to_value(expected).expect("JSON");
    let messages =
        |outcome: &str| server.count(&format!("(SELECT sum(messages) FROM outcomes WHERE outcome = '{outcome}')"));
    let number = |name: &str| json[name].as_i64().expect("a number");
    assert_eq!(messages("stored"), number("requests"), "stored");
    assert_eq!(messages("test"), number("tests"), "tests");
    assert_eq!(messages("in_flight"), 0);
    // A delivery whose answer was lost was sent again: more duplicates than planned, but no fewer.
    let extra = messages("duplicate") - number("duplicates");
    let uncertain = number("uncertain");
    assert!((0..=uncertain).contains(&extra), "{extra} more duplicates than planned, {uncertain} uncertain");
    let accounted = messages("stored") + messages("duplicate") + messages("test") + messages("dead_letter");
    assert_eq!(messages("received"), accounted);
}

#[test]
fn twenty_thousand_events_are_counted_exactly() {
    let mut server = Server::start(
        Options::default()
            .with_local_storage()
            .with("HELIOMETER__RATE_LIMIT__FAILED_SIGNATURES_PER_15_MINUTES", 100_000),
    );
    let expected = server.simulate(&[
        "--rate", "0", "--count", "20000", "--seed", "20000", "--concurrency", "128", "--faults",
        "duplicates=3,reorder=5,bad-signature=0.5,not-json=0.2,no-request-id=0.2,storage-404=5,storage-403=1,storage-500=2",
    ]);
    let json = serde_json::to_value(&expected).expect("JSON");
    let dead_letters = json["dead_letters"].as_i64().expect("a number");
    let received = json["accepted"].as_i64().expect("a number") + dead_letters;
    server.wait_until_worked_off(received);
    assert_exact(&server, &expected);
    assert_accounted(&server, &expected);
    assert_eq!(server.count("(SELECT count() FROM dead_letters)"), dead_letters);
    let finished = "countIf(fetch_status IN ('fetched', 'not_found', 'expired', 'pending', 'none', 'test'))";
    assert_eq!(server.count(&format!("(SELECT count() - {finished} FROM requests)")), 0);
    assert!(server.stop().success());
}
