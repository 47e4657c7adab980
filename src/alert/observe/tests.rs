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

/// `model_hour 2h, model_minute 15m`, …: what a budget reads of its period.
fn read(scope: &str, period: &str, zone: &str, filter: &serde_json::Value, now: &str) -> String {
    let rule = rule(json!({"name": "b", "kind": "budget", "limit_usd": 1, "scope": scope, "period": period,
        "timezone": zone, "match": filter}));
    let now = UtcMillis(now.parse::<jiff::Timestamp>().expect("a time").as_millisecond());
    let span = total(&rule).period.span_at(&total(&rule).timezone, now).expect("in range");
    shown(&View::cover(rule.scope, &rule.filter, &span, ANY_LENGTH), &span)
}

/// The parts, each with its length, after a check that nothing is missing or there twice.
fn shown(parts: &[view::Part], span: &Span) -> String {
    let mut at = span.start.0;
    let mut shown = Vec::new();
    for part in parts {
        assert_eq!(part.start, at, "{parts:?}");
        at = part.end;
        let minutes = (part.end - part.start) / 60_000;
        shown.push(match minutes {
            minutes if minutes % 1440 == 0 => format!("{:?} {} d", part.view, minutes / 1440),
            minutes if minutes % 60 == 0 => format!("{:?} {} h", part.view, minutes / 60),
            minutes => format!("{:?} {minutes} min", part.view),
        });
    }
    assert_eq!(at, span.end.0, "{parts:?}");
    shown.join(", ")
}

#[test]
fn each_total_reads_the_coarsest_views_that_answer_it() {
    let now = "2025-09-08T15:44:57Z";
    for (scope, period, zone, filter, expected) in [
        ("all", "hour", "UTC", json!({}), "ModelHour 1 h"),
        ("all", "day", "UTC", json!({}), "ModelDay 1 d"),
        ("model", "month", "UTC", json!({}), "ModelMonth 30 d"),
        ("model", "week", "UTC", json!({}), "ModelDay 7 d"),
        ("provider", "month", "Asia/Tokyo", json!({}), "ModelHour 9 h, ModelDay 29 d, ModelHour 15 h"),
        ("all", "day", "UTC", json!({"user": "a*"}), "UserDay 1 d"),
        ("user", "month", "UTC", json!({}), "UserMonth 30 d"),
        ("user", "month", "Europe/Berlin", json!({}), "UserHour 2 h, UserDay 29 d, UserHour 22 h"),
        ("user", "day", "Asia/Kathmandu", json!({}), "Requests 45 min, UserHour 23 h, Requests 15 min"),
        ("user", "day", "UTC", json!({"provider": "OPENAI"}), "Requests 1 d"),
        ("user", "month", "UTC", json!({"provider": "OPENAI"}), "Requests 30 d"),
        ("model", "day", "Asia/Kathmandu", json!({}), "ModelMinute 45 min, ModelHour 23 h, ModelMinute 15 min"),
    ] {
        assert_eq!(read(scope, period, zone, &filter, now), expected, "{scope} {period} {zone} {filter}");
    }
    // In winter a month in London is one in UTC; in March it ends an hour early.
    let london = |now: &str| read("user", "month", "Europe/London", &json!({}), now);
    assert_eq!(london("2025-01-08T00:00:00Z"), "UserMonth 31 d");
    assert_eq!(london("2025-03-08T00:00:00Z"), "UserDay 30 d, UserHour 23 h");
}

proptest::proptest! {
    #[test]
    fn parts_cover_any_time_once(start in 0..40 * DAY_MS, length in proptest::prop_oneof![proptest::strategy::Just(0), 1..40 * DAY_MS], by_user: bool, by_provider: bool, longest in 0..3_usize) {
        let mut filter = Filter::default();
        filter.0.extend(by_user.then_some((Scope::User, Vec::new())));
        filter.0.extend(by_provider.then_some((Scope::Provider, Vec::new())));
        let span = Span { start: UtcMillis(start), end: UtcMillis(start + length), label: String::new() };
        shown(&View::cover(Scope::All, &filter, &span, [0, HOUR_MS, ANY_LENGTH][longest]), &span);
    }
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
