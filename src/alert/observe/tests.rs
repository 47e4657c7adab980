use serde_json::json;

use super::{
    super::rule::Total,
    requests::window_sql,
    total::{lowest, total_sql},
    *,
};

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;

fn rule(table: serde_json::Value) -> Rule {
    serde_json::from_value(table).expect("a valid rule")
}

fn total(rule: &Rule) -> &Total {
    match &rule.condition {
        Condition::Total(total) => total,
        Condition::Window(_) => panic!("a total"),
    }
}

fn view(table: serde_json::Value, now: &str) -> View {
    let rule = rule(table);
    let total = total(&rule);
    let now = UtcMillis(now.parse::<jiff::Timestamp>().expect("a time").as_millisecond());
    let span = total.period.span_at(&total.timezone, now).expect("in range");
    View::for_total(rule.scope, &rule.filter, total.period, &span)
}

#[test]
fn each_total_reads_the_coarsest_view_that_answers_it() {
    let budget = |scope: &str, period: &str, timezone: &str, filter: serde_json::Value| {
        json!({"name": "b", "kind": "budget", "limit_usd": 1, "scope": scope, "period": period, "timezone": timezone,
            "match": filter})
    };
    let now = "2025-09-08T15:44:57Z";
    for (scope, period, zone, filter, expected) in [
        ("all", "hour", "UTC", json!({}), View::ModelMinute),
        ("all", "day", "UTC", json!({}), View::ModelDay),
        ("model", "month", "UTC", json!({}), View::ModelDay),
        ("provider", "month", "Asia/Tokyo", json!({}), View::ModelMinute),
        ("all", "day", "UTC", json!({"user": "a*"}), View::UserHour),
        ("user", "month", "UTC", json!({}), View::UserMonth),
        ("user", "month", "Europe/Berlin", json!({}), View::UserHour),
        ("user", "day", "Asia/Kathmandu", json!({}), View::Requests),
        ("user", "day", "UTC", json!({"provider": "OPENAI"}), View::Requests),
        ("model", "day", "Asia/Kathmandu", json!({}), View::ModelMinute),
    ] {
        let shown = format!("{scope} {period} {zone} {filter}");
        assert_eq!(view(budget(scope, period, zone, filter), now), expected, "{shown}");
    }
    // In winter a month in London is one in UTC; in March it ends an hour early.
    let london = budget("user", "month", "Europe/London", json!({}));
    assert_eq!(view(london.clone(), "2025-01-08T00:00:00Z"), View::UserMonth);
    assert_eq!(view(london, "2025-03-08T00:00:00Z"), View::UserHour);
}

#[test]
fn globs_become_patterns_without_changing_meaning() {
    for (glob, like) in [("gpt-4o*", "gpt-4o%"), ("a?c", "a_c"), ("100%_\\", "100\\%\\_\\\\"), ("plain", "plain")] {
        assert_eq!(glob_to_like(glob), like);
    }
}

#[test]
fn what_senders_or_settings_wrote_is_bound_never_pasted() {
    let rule =
        rule(json!({"name": "b", "kind": "budget", "limit_usd": 1, "scope": "model", "match": {"user": "x' OR 1"}}));
    let span = Span { start: UtcMillis(0), end: UtcMillis(HOUR_MS), label: String::new() };
    let sql = total_sql(&rule, total(&rule), &span, vec!["y' OR 1".to_owned()]);
    assert!(!sql.text.contains("OR 1"), "{}", sql.text);
    assert_eq!(sql.text.matches('?').count(), sql.binds.len());
    assert_eq!(
        sql.binds,
        [
            Bind::Int(0),
            Bind::Int(3600),
            Bind::Text("x' OR 1".to_owned()),
            Bind::Text("0.500000000000".to_owned()),
            Bind::Texts(vec!["y' OR 1".to_owned()]),
            Bind::Int(GROUPS_AND_ONE),
        ]
    );
}

#[test]
fn a_policy_counts_what_was_judged_within_the_window() {
    let table = json!({"name": "it's", "scope": "user", "window": "1m"});
    let serde_json::Value::Object(table) = table else { panic!("a table") };
    let rule = Rule::of_policy(table).expect("valid");
    let Condition::Window(window) = &rule.condition else { panic!("a window") };
    let sql = window_sql(&rule, window, &window_span(window, UtcMillis(60_000)));
    assert!(sql.text.contains("FROM inspection_rows") && sql.text.contains("toString(user_id) AS grp"), "{}", sql.text);
    assert_eq!(sql.text.matches('?').count(), sql.binds.len());
    let oldest = Bind::Int(-8 * DAY_MS);
    assert_eq!(sql.binds, [Bind::Text("it's".to_owned()), Bind::Int(0), oldest, Bind::Int(GROUPS_AND_ONE)]);
}

#[test]
fn the_lowest_limit_counts_with_overrides() {
    let rule = rule(json!({"name": "u", "kind": "usage", "unit": "tokens", "limit": 1000, "overrides": {"a": 10}}));
    assert_eq!(lowest(total(&rule)), "8.000000000000");
}
