//! Scenarios in virtual time. Every step also restarts: the states rebuilt from what was recorded must be the live ones.

use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::domain::{Clock, ManualClock, UsdAmount};

/// A rule and its world: live states, the record, and a clock.
struct World {
    rule: Rule,
    states: States,
    recorded: Vec<Transition>,
    clock: ManualClock,
}

fn at(text: &str) -> UtcMillis {
    UtcMillis(text.parse::<jiff::Timestamp>().expect("a time").as_millisecond())
}

fn rule(value: Value) -> Rule {
    serde_json::from_value(value).expect("a valid rule")
}

fn usd(text: &str) -> Quantity {
    Quantity::Usd(text.parse::<UsdAmount>().expect("an amount"))
}

fn ms(number: f64) -> Quantity {
    Quantity::Milliseconds(number)
}

/// What people are told and what is only recorded, short: `ann 80 fired!`, with `!` for a message.
fn short(transition: &Transition) -> String {
    let percent = transition.key.threshold_percent.map(|percent| format!(" {percent}")).unwrap_or_default();
    let bell = if transition.notify { "!" } else { "" };
    format!("{}{percent} {} {}{bell}", transition.key.group, transition.state.phase.word(), transition.reason.word())
}

impl World {
    fn new(rule_table: Value, start: &str) -> Self {
        Self {
            rule: rule(rule_table),
            states: States::default(),
            recorded: Vec::new(),
            clock: ManualClock::at(at(start)),
        }
    }

    fn span(&self) -> Span {
        match &self.rule.condition {
            Condition::Total(total) => total.period.span_at(&total.timezone, self.clock.now()).expect("in range"),
            Condition::Window(_) => Span { start: self.clock.now(), end: self.clock.now(), label: "window".to_owned() },
        }
    }

    /// Evaluates once with 100 requests per group.
    fn see(&mut self, groups: &[(&str, Quantity)]) -> Vec<String> {
        let groups: Vec<_> = groups.iter().map(|(group, value)| (*group, *value, 100)).collect();
        self.see_requests(&groups)
    }

    fn see_requests(&mut self, groups: &[(&str, Quantity, u64)]) -> Vec<String> {
        let groups = groups
            .iter()
            .map(|(group, value, requests)| GroupValue {
                group: (*group).to_owned(),
                value: *value,
                requests: *requests,
                priced_requests: *requests,
                exceeding_requests: None,
                limit: None,
                note: String::new(),
            })
            .collect();
        let observation = Observation { span: self.span(), groups, cut: false };
        let now = self.clock.now();
        let transitions = decide(&self.states, &self.rule, &observation, now);
        assert_eq!(transitions, decide(&self.states, &self.rule, &observation, now), "deciding twice gives the same");
        self.take(transitions)
    }

    fn end_stale(&mut self, rules: &[&str]) -> Vec<String> {
        let transitions = self.states.end_stale(&rules.iter().copied().collect(), self.clock.now());
        self.take(transitions)
    }

    fn take(&mut self, transitions: Vec<Transition>) -> Vec<String> {
        for transition in &transitions {
            self.states.apply(transition);
        }
        let said = transitions.iter().map(short).collect();
        self.recorded.extend(transitions);
        self.assert_restart();
        said
    }

    /// From the newest transition of each key, as a restart reads them.
    fn assert_restart(&self) {
        let mut rebuilt = States::default();
        let mut newest: BTreeMap<&AlertKey, &Transition> = BTreeMap::new();
        for transition in &self.recorded {
            newest.insert(&transition.key, transition);
        }
        for transition in newest.values() {
            rebuilt.apply(transition);
        }
        assert_eq!(rebuilt, self.states);
        let ids: HashSet<&str> = self.recorded.iter().map(|transition| transition.id.as_str()).collect();
        assert_eq!(ids.len(), self.recorded.len(), "every step has an id of its own");
    }

    fn wait(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }
}

fn user_budget() -> Value {
    json!({"name": "b", "kind": "budget", "scope": "user", "period": "day", "limit_usd": 1.0, "thresholds": [80, 100]})
}

fn slow() -> Value {
    json!({"name": "slow", "kind": "latency", "statistic": "p95", "threshold_ms": 5000, "window": "5m", "min_requests": 20})
}

#[test]
fn a_second_user_fires_while_the_first_is_over() {
    let mut world = World::new(user_budget(), "2025-09-08T10:00:00Z");
    assert!(world.see(&[("ann", usd("0.79")), ("bob", usd("0.10"))]).is_empty());
    assert_eq!(world.see(&[("ann", usd("0.80")), ("bob", usd("0.10"))]), ["ann 80 firing fired!"]);
    assert!(world.see(&[("ann", usd("0.85")), ("bob", usd("0.79"))]).is_empty(), "said once");
    assert_eq!(world.see(&[("ann", usd("0.85")), ("bob", usd("0.81"))]), ["bob 80 firing fired!"]);
    assert_eq!(world.see(&[("ann", usd("1.02")), ("bob", usd("0.81"))]), ["ann 100 firing fired!"]);
    let alert = world.recorded.last().expect("recorded");
    assert_eq!((alert.state.value, alert.state.limit), (usd("1.02"), usd("1")));
    let fingerprints: HashSet<&str> = world.recorded.iter().map(|step| step.fingerprint.as_str()).collect();
    assert_eq!(fingerprints.len(), 3);
}

#[test]
fn of_several_thresholds_at_once_the_highest_is_said() {
    let mut table = user_budget();
    table["thresholds"] = json!([100, 50, 80]);
    let mut world = World::new(table, "2025-09-08T10:00:00Z");
    assert_eq!(
        world.see(&[("ann", usd("3"))]),
        ["ann 50 firing fired", "ann 80 firing fired", "ann 100 firing fired!"]
    );
    assert!(world.see(&[("ann", usd("4"))]).is_empty());
}

#[test]
fn a_corrected_total_is_recorded_silently_and_a_threshold_is_said_once_a_period() {
    let mut world = World::new(user_budget(), "2025-09-08T10:00:00Z");
    assert_eq!(world.see(&[("ann", usd("1.00"))]), ["ann 80 firing fired", "ann 100 firing fired!"]);
    assert_eq!(world.see(&[("ann", usd("0.90"))]), ["ann 100 resolved below"]);
    // The user's requests are gone altogether.
    assert_eq!(world.see(&[]), ["ann 80 resolved below"]);
    assert_eq!(world.see(&[("ann", usd("0.85"))]), ["ann 80 firing fired"]);
    assert_eq!(world.see(&[("ann", usd("1.10"))]), ["ann 100 firing fired"]);
}

#[test]
fn a_cut_list_of_groups_resolves_nobody() {
    let mut world = World::new(user_budget(), "2025-09-08T10:00:00Z");
    world.see(&[("ann", usd("1"))]);
    let observation = Observation { span: world.span(), groups: Vec::new(), cut: true };
    assert!(decide(&world.states, &world.rule, &observation, world.clock.now()).is_empty());
}

#[test]
fn a_new_period_starts_anew() {
    let mut world = World::new(user_budget(), "2025-09-08T23:59:59Z");
    assert_eq!(world.see(&[("ann", usd("0.90"))]), ["ann 80 firing fired!"]);
    world.wait(2);
    assert!(world.end_stale(&["b"]).is_empty(), "the end is judged a moment later");
    assert_eq!(world.see(&[("ann", usd("0.80"))]), ["ann 80 firing fired!"]);
    world.wait(PERIOD_GRACE.as_secs());
    assert_eq!(world.end_stale(&["b"]), ["ann 80 resolved period_ended"]);
    assert_eq!(world.recorded.last().map(|step| step.state.value), Some(usd("0.90")));
    world.states.forget_ended(world.clock.now());
    assert_eq!((world.states.count(Phase::Firing), world.states.0.len()), (1, 1));
}

#[test]
fn a_month_starts_at_local_midnight() {
    for (zone, last_second) in [
        ("UTC", "2025-09-30T23:59:59Z"),
        ("Asia/Tokyo", "2025-09-30T14:59:59Z"),
        ("America/New_York", "2025-10-01T03:59:59Z"),
    ] {
        let table =
            json!({"name": "u", "kind": "usage", "unit": "usd", "period": "month", "timezone": zone, "limit": 10});
        let mut world = World::new(table, last_second);
        assert_eq!(world.see(&[("ann", usd("8"))]), ["ann 80 firing fired!"], "{zone}");
        world.wait(1);
        assert_eq!(world.see(&[("ann", usd("8"))]), ["ann 80 firing fired!"], "{zone}");
        assert!(world.see(&[("ann", usd("8.5"))]).is_empty(), "{zone}");
    }
}

#[test]
fn a_day_of_25_hours_is_one_period() {
    let mut table = user_budget();
    table["timezone"] = json!("Europe/Berlin");
    let mut world = World::new(table, "2025-10-25T22:00:00Z");
    assert_eq!(world.see(&[("ann", usd("0.9"))]), ["ann 80 firing fired!"]);
    world.wait(25 * 3600 - 1);
    assert!(world.see(&[("ann", usd("0.9"))]).is_empty());
    world.wait(1);
    assert_eq!(world.see(&[("ann", usd("0.9"))]), ["ann 80 firing fired!"]);
}

#[test]
fn overrides_and_units() {
    let table = json!({"name": "u", "kind": "usage", "unit": "tokens", "period": "day", "limit": 1000,
        "overrides": {"ann": 5000}});
    let mut world = World::new(table, "2025-09-08T10:00:00Z");
    let tokens = Quantity::Tokens;
    assert_eq!(world.see(&[("ann", tokens(3999)), ("", tokens(800))]), [" 80 firing fired!"]);
    assert_eq!(world.see(&[("ann", tokens(4000)), ("", tokens(800))]), ["ann 80 firing fired!"]);
    assert_eq!(world.recorded.last().map(|step| step.state.limit), Some(tokens(5000)));
}

#[test]
fn latency_fires_with_enough_requests_and_resolves() {
    let mut world = World::new(slow(), "2025-09-08T10:00:00Z");
    assert!(world.see_requests(&[("a", ms(9000.0), 19)]).is_empty(), "too few requests");
    assert!(world.see_requests(&[("a", ms(5000.0), 20)]).is_empty(), "at the limit is not over it");
    assert_eq!(world.see_requests(&[("a", ms(5001.0), 20)]), ["a firing fired!"]);
    assert!(world.see_requests(&[("a", ms(6000.0), 3)]).is_empty(), "fewer requests do not end it");
    assert_eq!(world.see_requests(&[("a", ms(4000.0), 3)]), ["a resolved below!"]);
    assert_eq!(world.recorded.last().map(|step| step.state.value), Some(ms(4000.0)));
    assert!(world.states.0.is_empty());
}

#[test]
fn nothing_in_the_window_resolves() {
    let mut world = World::new(slow(), "2025-09-08T10:00:00Z");
    assert_eq!(world.see(&[("a", ms(9000.0)), ("b", ms(9000.0))]), ["a firing fired!", "b firing fired!"]);
    assert_eq!(world.see(&[("b", ms(9000.0))]), ["a resolved below!"]);
}

#[test]
fn for_holds_back_what_passes_by_itself() {
    let mut table = slow();
    table["for"] = json!("1m");
    let mut world = World::new(table, "2025-09-08T10:00:00Z");
    assert_eq!(world.see(&[("a", ms(9000.0))]), ["a pending held"]);
    world.wait(59);
    assert!(world.see(&[("a", ms(9000.0))]).is_empty());
    assert_eq!(world.see(&[("a", ms(100.0))]), ["a inactive below"], "nobody was told, nothing to call off");
    assert!(world.states.0.is_empty());
    world.wait(1);
    assert_eq!(world.see(&[("a", ms(9000.0))]), ["a pending held"]);
    assert!(world.states.has_pending("slow"));
    world.wait(60);
    assert_eq!(world.see(&[("a", ms(9000.0))]), ["a firing fired!"]);
    let [.., pending, firing] = world.recorded.as_slice() else { panic!("two steps") };
    assert_eq!(pending.fingerprint, firing.fingerprint);
    assert_eq!(firing.state.since, at("2025-09-08T10:01:00Z"), "since it was first over");
}

#[test]
fn flapping_is_a_new_alert_each_time() {
    let mut world = World::new(slow(), "2025-09-08T10:00:00Z");
    for _ in 0..3 {
        assert_eq!(world.see(&[("a", ms(9000.0))]), ["a firing fired!"]);
        world.wait(1);
        assert_eq!(world.see(&[("a", ms(1.0))]), ["a resolved below!"]);
        world.wait(1);
    }
    let fingerprints: HashSet<&str> = world.recorded.iter().map(|step| step.fingerprint.as_str()).collect();
    assert_eq!(fingerprints.len(), 3);
}

#[test]
fn repeats_while_it_fires() {
    let mut world = World::new(slow(), "2025-09-08T10:00:00Z");
    assert_eq!(world.see(&[("a", ms(9000.0))]), ["a firing fired!"]);
    world.wait(4 * 3600 - 1);
    assert!(world.see(&[("a", ms(9000.0))]).is_empty());
    world.wait(1);
    assert_eq!(world.see(&[("a", ms(7000.0))]), ["a firing repeated!"]);
    assert!(world.see(&[("a", ms(9000.0))]).is_empty());
    world.wait(4 * 3600);
    assert_eq!(world.see(&[("a", ms(9000.0))]), ["a firing repeated!"]);

    let mut table = slow();
    table["repeat_interval"] = json!(0);
    let mut world = World::new(table, "2025-09-08T10:00:00Z");
    assert_eq!(world.see(&[("a", ms(9000.0))]), ["a firing fired!"]);
    world.wait(1_000_000);
    assert!(world.see(&[("a", ms(9000.0))]).is_empty());
}

#[test]
fn a_budget_never_repeats() {
    let mut table = user_budget();
    table["repeat_interval"] = json!("1s");
    let mut world = World::new(table, "2025-09-08T10:00:00Z");
    assert_eq!(world.see(&[("ann", usd("0.9"))]), ["ann 80 firing fired!"]);
    world.wait(3600);
    assert!(world.see(&[("ann", usd("0.9"))]).is_empty());
}

#[test]
fn a_removed_rule_ends_silently() {
    let mut world = World::new(slow(), "2025-09-08T10:00:00Z");
    world.see(&[("a", ms(9000.0))]);
    assert!(world.end_stale(&["slow"]).is_empty());
    assert_eq!(world.end_stale(&["other"]), ["a resolved rule_removed"]);
}

#[test]
fn efficiency_fires_from_its_share_on() {
    let table = json!({"name": "ratio", "kind": "efficiency", "share_percent": 100});
    let mut world = World::new(table, "2025-09-08T10:00:00Z");
    assert!(world.see(&[("a", Quantity::Percent(99.9))]).is_empty());
    assert_eq!(world.see(&[("a", Quantity::Percent(100.0))]), ["a firing fired!"]);
}

#[test]
fn rules_do_not_see_each_others_states() {
    let mut first = World::new(slow(), "2025-09-08T10:00:00Z");
    first.see(&[("a", ms(9000.0))]);
    let mut table = slow();
    table["name"] = json!("slower");
    let observation = Observation { span: first.span(), groups: Vec::new(), cut: false };
    assert!(decide(&first.states, &rule(table), &observation, first.clock.now()).is_empty());
    assert_eq!(first.states.active_groups("slow"), ["a"]);
    assert!(first.states.active_groups("slo").is_empty());
}
