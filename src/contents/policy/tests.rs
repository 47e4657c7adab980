use prometheus::Registry;

use super::*;

fn row() -> RequestRow {
    RequestRow {
        request_id: "r".to_owned(),
        source: "default".to_owned(),
        event_time: 0,
        received_at: 0,
        user_id: "ann".to_owned(),
        model: "gpt-4o-2024-08-06".to_owned(),
        provider: "OPENAI".to_owned(),
        prompt_tokens: Some(1200),
        completion_tokens: Some(30),
        total_tokens: Some(1230),
        cached_tokens: None,
        cache_write_tokens: None,
        reasoning_tokens: None,
        cost_usd: Some(1_500_000_000_000),
        cost_source: "gateway".to_owned(),
        gateway_cost_usd: None,
        latency_ms: Some(900),
        token_ratio: Some(40.0),
        is_inefficient: true,
        status: "success".to_owned(),
        fetch_status: "none".to_owned(),
        is_test: false,
        log_partition: 0,
        log_offset: 0,
        version: 2 << 32,
        is_deleted: 0,
        ..RequestRow::default()
    }
}

fn policy(name: &str, when: &str, action: PolicyAction) -> PolicySettings {
    PolicySettings {
        name: name.to_owned(),
        when: when.to_owned(),
        action,
        severity: None,
        scope: None,
        window: None,
        min_matches: None,
        score: None,
        value: None,
    }
}

fn metrics() -> (Registry, ContentsMetrics) {
    let registry = Registry::new();
    let metrics = ContentsMetrics::new(&registry).expect("metrics");
    (registry, metrics)
}

fn judge(settings: &[PolicySettings], row: &RequestRow, request: &str, response: &str) -> (Verdict, Registry) {
    let (registry, metrics) = metrics();
    let policies = Policies::compile(settings).expect("valid");
    let mut pii = PiiCounts::default();
    pii.add(PiiKind::Card);
    (policies.judge(&Call { row, request, response, pii }, &metrics), registry)
}

/// How often a policy could not be evaluated.
fn errors(registry: &Registry) -> f64 {
    let families = registry.gather();
    let family = families.iter().find(|family| family.name() == "heliometer_policy_errors_total");
    family.map_or(0.0, |family| family.get_metric().iter().map(|metric| metric.get_counter().get_value()).sum())
}

#[test]
fn expressions_see_the_call() {
    for (when, expected) in [
        ("true", true),
        ("false", false),
        (r#"model.startsWith("gpt-4o") && provider == "OPENAI""#, true),
        (r#"user_id in ["ann", "bob"] && source == "default" && request_id == "r""#, true),
        ("prompt_tokens > 1000 && completion_tokens < 50 && total_tokens == 1230", true),
        ("cost_usd != null && cost_usd > 1", true),
        ("cost_usd > 1.5", false),
        ("cached_tokens == null && reasoning_tokens == null", true),
        ("latency_ms >= 900 && token_ratio > 10.0 && is_inefficient", true),
        (r#"status == "error""#, false),
        ("pii.card > 0 && pii.email == 0", true),
        (r#"pii["api_key"] == 0"#, true),
        (r#"request.contains("hello")"#, true),
        (r#"response.lowerAscii().contains("forbidden")"#, true),
        (r#"response.matches("(?i)forbidden|secret")"#, true),
        (r#"response.matches("^x")"#, false),
        (r#"["secret", "FORBIDDEN"].exists(word, response.contains(word))"#, true),
        (r#"["secret"].all(word, !response.contains(word))"#, true),
        ("size(request) > 3 ? true : false", true),
    ] {
        let (verdict, registry) =
            judge(&[policy("p", when, PolicyAction::Flag)], &row(), r#"{"a":"hello"}"#, r#"{"b":"FORBIDDEN"}"#);
        assert_eq!(verdict.flags.len(), usize::from(expected), "{when}");
        assert!(errors(&registry).abs() < f64::EPSILON, "{when}");
    }
}

#[test]
fn what_cannot_be_evaluated_is_counted_and_does_nothing() {
    let unpriced = RequestRow { cost_usd: None, ..row() };
    for when in ["cost_usd > 1.0", "1", "model", "1 / 0 == 1", r#"pii["nothing"] > 0"#, "model > 3"] {
        let policies = [policy("bad", when, PolicyAction::Flag), policy("good", "true", PolicyAction::Flag)];
        let (verdict, registry) = judge(&policies, &unpriced, "", "");
        assert_eq!(verdict.flags, ["good"], "{when}");
        assert!((errors(&registry) - 1.0).abs() < f64::EPSILON, "{when}");
    }
}

#[test]
fn each_action_has_its_consequence() {
    let score = |name: &str, value: Option<&str>| PolicySettings {
        value: value.map(str::to_owned),
        ..policy(name, "true", PolicyAction::Score)
    };
    let named = PolicySettings { score: Some("other".to_owned()), ..score("s3", Some("false")) };
    let policies = [
        policy("f", "true", PolicyAction::Flag),
        policy("a", "true", PolicyAction::Alert),
        score("s1", None),
        score("s2", Some("completion_tokens * 2")),
        named,
        score("s4", Some("token_ratio")),
    ];
    let (verdict, registry) = judge(&policies, &row(), "", "");
    assert_eq!(verdict.flags, ["f"]);
    assert_eq!(verdict.matches, ["f", "a", "s1", "s2", "s3"]);
    let scores = [
        ("s1".to_owned(), ScoreValue::Bool(true)),
        ("s2".to_owned(), ScoreValue::Int(60)),
        ("other".to_owned(), ScoreValue::Bool(false)),
    ];
    assert_eq!(verdict.scores, scores);
    // Helicone takes no floats.
    assert!((errors(&registry) - 1.0).abs() < f64::EPSILON);
}

#[test]
fn expressions_see_the_beginning_of_a_text() {
    let long = format!("{}é", "a".repeat(MAX_TEXT_BYTES - 1));
    let (verdict, _) = judge(
        &[policy("p", &format!("size(request) == {}", MAX_TEXT_BYTES - 1), PolicyAction::Flag)],
        &row(),
        &long,
        "",
    );
    assert_eq!(verdict.flags, ["p"]);
}

#[test]
fn mistakes_name_the_policy_and_the_place() {
    let nested = "[1].all(x, [2].all(y, x == y))";
    let long = format!("true{}", " || true".repeat(600));
    for (when, expected) in [
        ("", "policies: `p`: `when`"),
        ("model ==", "`when`, line 1, column 9"),
        ("true && modle == ''", "`when`, column 9: unknown variable `modle`, did you mean `model`?"),
        ("now() > 3", "unknown function `now`"),
        ("model.startWith('x')", "did you mean `startsWith`?"),
        ("model.matches('(')", "the pattern of `matches` is wrong"),
        ("model.matches(user_id)", "takes a pattern written as a text"),
        ("model.matches('a{1000}{1000}{1000}')", "the pattern of `matches` is wrong"),
        (nested, "loops cannot be nested"),
        ("Money{usd: 1}.usd > 0", "no known type"),
        (&long, "more than 4096 bytes"),
    ] {
        let error = Policies::compile(&[policy("p", when, PolicyAction::Flag)]).err().expect("is refused").to_string();
        assert!(error.contains(expected), "{when}\n  gives {error}\n  without {expected}");
    }
    let wrong_value = PolicySettings { value: Some("x".to_owned()), ..policy("p", "true", PolicyAction::Score) };
    let wrong_key = PolicySettings { window: Some("5m".to_owned()), ..policy("p", "true", PolicyAction::Flag) };
    let wrong_window = PolicySettings { window: Some("soon".to_owned()), ..policy("p", "true", PolicyAction::Alert) };
    for (policy, expected) in [
        (wrong_value, "`value`, column 1: unknown variable `x`"),
        (wrong_key, "`window` is for action = \"alert\" only"),
        (wrong_window, "policies: `p`: `window` is \"soon\""),
        (policy("", "true", PolicyAction::Flag), "`name` must be one line"),
    ] {
        let settings = ContentsSettings { policies: vec![policy], ..ContentsSettings::default() };
        let error = check(&settings).expect_err("is refused").to_string();
        assert!(error.contains(expected), "{error}");
    }
    let twice = [policy("p", "true", PolicyAction::Flag), policy("p", "true", PolicyAction::Flag)];
    assert!(matches!(Policies::compile(&twice), Err(ContentsError::DuplicatePolicy(name)) if name == "p"));
}

#[test]
fn alerting_policies_are_rules() {
    let alerting = PolicySettings {
        severity: Some("critical".to_owned()),
        scope: Some("user".to_owned()),
        min_matches: Some(3),
        ..policy("leak", "pii.api_key > 0", PolicyAction::Alert)
    };
    let policies = vec![policy("f", "true", PolicyAction::Flag), alerting];
    let rules = alert_rules(&ContentsSettings { policies, ..ContentsSettings::default() }).expect("valid");
    assert_eq!(rules.len(), 1);
    assert_eq!((rules[0].name.as_str(), rules[0].kind()), ("leak", "policy"));
    let crate::alert::Condition::Window(window) = &rules[0].condition else { panic!("a window") };
    assert_eq!(window.measure, crate::alert::Measure::Policy { min_matches: 3 });
    assert_eq!(window.window_text, "5m");
}
