use serde_json::json;

use super::*;
use crate::{
    alert::{Condition, Measure, Period, check_rules},
    domain::UsdAmount,
    notify::Quantity,
};

fn parse(table: Value) -> Result<Rule, AlertError> {
    let Value::Object(table) = table else { panic!("a table") };
    Rule::from_table(table)
}

fn message(table: Value) -> String {
    parse(table).expect_err("must be refused").to_string()
}

#[test]
fn the_examples_of_the_contract_are_valid() {
    let budget =
        parse(json!({"name": "model-budget", "kind": "budget", "scope": "model", "match": {"model": "gpt-4o*"},
        "period": "day", "timezone": "UTC", "limit_usd": 1.0, "thresholds": [100, 80]}))
        .expect("valid");
    assert_eq!((budget.kind(), budget.scope), ("budget", Scope::Model));
    assert_eq!(budget.filter, Filter(vec![(Scope::Model, vec!["gpt-4o*".to_owned()])]));
    let Condition::Total(total) = &budget.condition else { panic!("a total") };
    assert_eq!(total.thresholds, [80, 100]);
    assert_eq!(total.limit, Quantity::Usd(UsdAmount::from_pico_usd(1_000_000_000_000)));

    let usage = parse(json!({"name": "user-month", "kind": "usage", "unit": "usd", "period": "month", "limit": 100.0,
        "overrides": {"user-123": 500.0}, "thresholds": [80, 100]}))
    .expect("valid");
    let Condition::Total(total) = &usage.condition else { panic!("a total") };
    assert_eq!(total.limit_of("user-123").to_string(), "$500.00");
    assert_eq!(total.limit_of("other").to_string(), "$100.00");

    let slow = parse(json!({"name": "slow", "kind": "latency", "statistic": "p95", "scope": "model",
        "threshold_ms": 5000, "window": "5m", "for": "1m", "min_requests": 20}))
    .expect("valid");
    assert_eq!((slow.hold, slow.min_requests), (Duration::from_secs(60), 20));

    let ratio = parse(json!({"name": "ratio", "kind": "efficiency", "max_token_ratio": 10.0, "share_percent": 20,
        "window": "1h"}))
    .expect("valid");
    assert_eq!(ratio.kind(), "efficiency");
}

#[test]
fn defaults() {
    let rule = parse(json!({"name": "b", "kind": "budget", "limit_usd": "0.1"})).expect("valid");
    assert_eq!((rule.severity, rule.scope, rule.min_requests), (Severity::Warning, Scope::All, 1));
    assert_eq!((rule.hold, rule.repeat_interval), (Duration::ZERO, Some(DEFAULT_REPEAT)));
    assert_eq!(rule.notifiers, None);
    let Condition::Total(total) = &rule.condition else { panic!("a total") };
    assert_eq!((total.period, total.thresholds.as_slice()), (Period::Month, [50, 80, 100].as_slice()));
    assert_eq!(total.limit, Quantity::Usd(UsdAmount::from_pico_usd(100_000_000_000)), "a tenth, exactly");

    let rule = parse(json!({"name": "e", "kind": "efficiency"})).expect("valid");
    let Condition::Window(window) = &rule.condition else { panic!("a window") };
    assert_eq!(window.measure, Measure::Efficiency { max_token_ratio: 10.0, share_percent: 20.0 });
}

#[test]
fn mistakes_name_the_place_and_what_is_possible() {
    let budget = |key: &str, value: Value| {
        let mut table = json!({"name": "b", "kind": "budget", "limit_usd": 1});
        table[key] = value;
        table
    };
    for (table, expected) in [
        (json!({"kind": "budget", "limit_usd": 1}), "rule `(without a name)`: `name` is missing"),
        (json!({"name": "b"}), "rule `b`: `kind` is missing"),
        (json!({"name": "b", "kind": "budgt"}), "unknown kind `budgt`, did you mean `budget`?"),
        (json!({"name": "b", "kind": "policy"}), "not written here"),
        (json!({"name": "q", "kind": "sql", "query": "SELECT 1 AS value"}), "`threshold` is missing"),
        (json!({"name": "q", "kind": "sql", "threshold": 1}), "`query` is missing"),
        (json!({"name": "q", "kind": "sql", "threshold": 1, "query": "DROP TABLE x"}), "must be a SELECT"),
        (
            json!({"name": "q", "kind": "sql", "threshold": 1, "query": "SELECT 1", "every": "10ms"}),
            "between 1s and 1d",
        ),
        (json!({"name": "n", "kind": "no_data", "scope": "user"}), "users come and go"),
        (json!({"name": "n", "kind": "no_data", "active_within": "30m"}), "must be longer than `window`"),
        (json!({"name": "n", "kind": "no_data", "match": {"user": "x"}}), "unknown key `match.user`"),
        (json!({"name": "d", "kind": "dead_letters", "scope": "model"}), "all or source"),
        (json!({"name": "d", "kind": "dead_letters", "min_messages": 0}), "must be at least 1"),
        (json!({"name": "l", "kind": "lag", "match": {"model": "x"}}), "unknown key `match`"),
        (json!({"name": "s", "kind": "spend_spike", "window": "90s"}), "whole minutes"),
        (budget("keep_firing_for", json!("5m")), "unknown key `keep_firing_for`"),
        (budget("forecast", json!("on")), "true or false"),
        (
            json!({"name": "u", "kind": "usage", "unit": "usd", "limit": 1, "limits_file": "a", "limits_query": "SELECT"}),
            "not both",
        ),
        (json!({"name": "b", "kind": "budget", "limit_us": 1}), "unknown key `limit_us`, did you mean `limit_usd`?"),
        (json!({"name": "b", "kind": "budget"}), "`limit_usd` is missing"),
        (budget("unit", json!("usd")), "unknown key `unit`"),
        (budget("limit_usd", json!(0)), "`limit_usd` is 0, but must be an amount above 0"),
        (budget("limit_usd", json!("much")), "`limit_usd` is \"much\""),
        (budget("scope", json!("modle")), "did you mean `model`?"),
        (budget("scope", json!("property:team")), "does not carry Helicone's properties"),
        (budget("period", json!("daily")), "`period` is `daily`"),
        (budget("timezone", json!("Europe/Berlinn")), "no IANA time zone"),
        (budget("thresholds", json!([])), "`thresholds` must be"),
        (budget("thresholds", json!([0.8])), "`thresholds` must be"),
        (budget("severity", json!("high")), "one of info, warning, critical"),
        (budget("for", json!("a while")), "must be a duration such as"),
        (budget("for", json!(5)), "must be a duration such as"),
        (budget("notifiers", json!([3])), "`notifiers` has 3, but must be a list of names of receivers"),
        (budget("match", json!({"modell": "x"})), "unknown key `match.modell`, did you mean `model`?"),
        (budget("match", json!({"model": 1})), "must be a glob"),
        (budget("labels", json!({"team": 1})), "`labels.team` is 1, but must be a text"),
        (json!({"name": "u", "kind": "usage", "limit": 1}), "`unit` is missing"),
        (json!({"name": "u", "kind": "usage", "unit": "tokens", "limit": 1.5}), "a whole number above 0"),
        (
            json!({"name": "u", "kind": "usage", "unit": "tokens", "limit": 1, "overrides": {"a": -1}}),
            "`overrides.a` is -1",
        ),
        (json!({"name": "l", "kind": "latency"}), "`threshold_ms` is missing"),
        (json!({"name": "l", "kind": "latency", "threshold_ms": 1, "statistic": "p90"}), "`statistic` is `p90`"),
        (json!({"name": "l", "kind": "latency", "threshold_ms": 1, "window": "30d"}), "`window` must be between"),
        (json!({"name": "e", "kind": "efficiency", "share_percent": 101}), "`share_percent` is above 100"),
    ] {
        let shown = table.to_string();
        let message = message(table);
        assert!(message.contains(expected), "{shown}\n  gives {message}\n  without {expected}");
    }
}

#[test]
fn names_are_unique() {
    let rule = parse(json!({"name": "b", "kind": "budget", "limit_usd": 1})).expect("valid");
    let other = Rule { name: "c".to_owned(), ..rule.clone() };
    assert!(check_rules(&[rule.clone(), other]).is_ok());
    assert!(matches!(check_rules(&[rule.clone(), rule]), Err(AlertError::DuplicateRule(name)) if name == "b"));
}

#[test]
fn the_settings_file_reads_rules_and_names_their_mistakes() {
    let load = |text: &str| {
        let file = tempfile::NamedTempFile::new().expect("temporary file");
        std::fs::write(file.path(), text).expect("write");
        crate::settings::load(Some(file.path()))
    };
    let rule = "[[alerts.rules]]\nname = \"b\"\nkind = \"budget\"\nlimit_usd = 0.3\nperiod = \"day\"\n";
    let settings = load(rule).expect("valid");
    let Condition::Total(total) = &settings.alerts.rules[0].condition else { panic!("a total") };
    assert_eq!(total.limit.to_string(), "$0.30");
    let message = load(&rule.replace("limit_usd", "limit")).expect_err("unknown key").to_string();
    assert!(message.contains("alerts.rules") && message.contains("did you mean `limit_usd`?"), "{message}");
    let message = load(&rule.repeat(2)).expect_err("twice").to_string();
    assert!(message.contains("`b` is used twice"), "{message}");
}
