//! Every total equals the simulator's own, to the last 10⁻¹² USD.

use std::collections::BTreeMap;

use heliometer::simulator::ExpectedTotals;
use serde::Deserialize;

use crate::harness::Server;

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
pub(crate) fn assert_exact(server: &Server, expected: &ExpectedTotals) {
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
        ("model_hour", "provider", &by_model),
        ("model_day", "provider", &by_model),
        ("model_month", "provider", &by_model),
        ("user_minute", "user_id", &by_user),
        ("user_hour", "user_id", &by_user),
        ("user_day", "user_id", &by_user),
        ("user_month", "user_id", &by_user),
    ] {
        let found = totals(server, view, by);
        for (key, sums) in expected {
            assert_eq!(found.get(key), Some(sums), "{view}: {key:?}");
        }
        assert_eq!(found.len(), expected.len(), "{view} has groups that nobody sent");
    }
}

/// Every message has one outcome, they add up, and every accepted request is stored once.
pub(crate) fn assert_accounted(server: &Server, expected: &ExpectedTotals) {
    assert_eq!(extra_duplicates(server, expected, 0), 0);
}

/// As [`assert_accounted`], where up to `resent` messages may be in the log twice though their sender knows of one
/// delivery. Returns how many more duplicates than planned there were beyond those that the sender calls uncertain.
pub(crate) fn extra_duplicates(server: &Server, expected: &ExpectedTotals, resent: i64) -> i64 {
    let messages =
        |outcome: &str| server.count(&format!("(SELECT sum(messages) FROM outcomes WHERE outcome = '{outcome}')"));
    let number = |number: u64| i64::try_from(number).expect("fits");
    let (requests, tests) = (number(expected.sums.requests), number(expected.tests));
    assert_eq!(messages("stored"), requests, "stored");
    assert_eq!(messages("test"), tests, "tests");
    assert_eq!(messages("in_flight"), 0);
    assert_eq!(server.count("(SELECT count() FROM requests)"), requests + tests, "rows");
    assert_eq!(server.count("(SELECT uniqExact(source, request_id) FROM requests)"), requests + tests, "request ids");
    // A delivery whose answer was lost was sent again: more duplicates than planned, but no fewer.
    let extra = messages("duplicate") - number(expected.duplicates);
    let uncertain = number(expected.uncertain);
    assert!(
        (0..=uncertain + resent).contains(&extra),
        "{extra} more duplicates than planned, {uncertain} deliveries uncertain, {resent} may be in the log twice"
    );
    let accounted = messages("stored") + messages("duplicate") + messages("test") + messages("dead_letter");
    assert_eq!(messages("received"), accounted);
    (extra - uncertain).max(0)
}

/// 20,000 events with every fault that senders and storage have, at once, through `server`'s ClickHouse.
pub(crate) fn assert_twenty_thousand_are_exact(server: &Server, webhook_url: &str) {
    let arguments = [
        "--rate",
        "0",
        "--count",
        "20000",
        "--seed",
        "20000",
        "--concurrency",
        "128",
        "--faults",
        "duplicates=3,reorder=5,bad-signature=0.5,not-json=0.2,no-request-id=0.2,storage-404=5,storage-403=1,storage-500=2",
    ];
    let expected = server.start_simulation_to(webhook_url, &arguments).finish();
    let dead_letters = i64::try_from(expected.dead_letters).expect("fits");
    server.wait_until_worked_off(i64::try_from(expected.accepted).expect("fits") + dead_letters);
    assert_exact(server, &expected);
    assert_accounted(server, &expected);
    assert_eq!(server.count("(SELECT count() FROM dead_letters)"), dead_letters);
    let finished = "countIf(fetch_status IN ('fetched', 'not_found', 'expired', 'pending', 'none', 'test'))";
    assert_eq!(server.count(&format!("(SELECT count() - {finished} FROM requests)")), 0);
}
