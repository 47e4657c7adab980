//! What a rule does, in a sentence.

use std::fmt::Write as _;

use super::{
    rule::{Condition, LimitSource, Measure, Rule, Scope, Total, Window},
    suppress::Suppressions,
};
use crate::notify::Quantity;

/// One sentence about `rule`.
#[must_use]
pub fn describe(rule: &Rule) -> String {
    let mut text = match &rule.condition {
        Condition::Total(total) => of_total(rule, total),
        Condition::Window(window) => of_window(rule, window),
    };
    for (scope, globs) in &rule.filter.0 {
        let _ = write!(text, ", counting only {} {}", scope.word(), globs.join(" or "));
    }
    let duration = |duration: std::time::Duration| Quantity::Seconds(duration.as_secs_f64()).to_string();
    if rule.min_requests > 1 {
        let _ = write!(text, ", from {} requests on", rule.min_requests);
    }
    if !rule.hold.is_zero() {
        let _ = write!(text, ", once that holds for {}", duration(rule.hold));
    }
    if !rule.keep_firing_for.is_zero() {
        let _ = write!(text, ", and goes on until it was over for {}", duration(rule.keep_firing_for));
    }
    if matches!(rule.condition, Condition::Window(_)) {
        match rule.repeat_interval {
            Some(interval) => drop(write!(text, "; repeated every {}", duration(interval))),
            None => text.push_str("; never repeated"),
        }
    }
    text + "."
}

fn each(scope: Scope) -> String {
    match scope {
        Scope::All => "everything together".to_owned(),
        Scope::Labels => "each row of a query".to_owned(),
        scope => format!("each {}", scope.word()),
    }
}

fn of_total(rule: &Rule, total: &Total) -> String {
    let percents: Vec<String> = total.thresholds.iter().map(|percent| format!("{percent} %")).collect();
    let zone = total.timezone.iana_name().unwrap_or("UTC");
    let of = match total.limit {
        Quantity::Usd(_) => "of spend ",
        _ => "",
    };
    let mut text = format!(
        "tells, for {}, when {} of {} {of}within a {} ({zone}) are reached",
        each(rule.scope),
        percents.join(", "),
        total.limit,
        total.period.word(),
    );
    if !total.overrides.is_empty() {
        let _ = write!(text, ", {} with limits of their own", total.overrides.len());
    }
    match &total.limit_source {
        Some(LimitSource::File(path)) => drop(write!(text, ", with limits from {}", path.display())),
        Some(LimitSource::Query(_)) => text.push_str(", with limits from a query"),
        None => {}
    }
    if total.forecast {
        text.push_str(", and when it is on its way beyond the limit");
    }
    text
}

fn of_window(rule: &Rule, window: &Window) -> String {
    let what = window.measure.words();
    let limit = window.measure.limit();
    let when = match &window.measure {
        Measure::SpendSpike(spike) => format!(
            "spend of the {} is above {} times the usual, {} deviations from it and {limit}",
            window.label(),
            spike.factor,
            spike.deviations
        ),
        Measure::NoData { active_within, .. } => {
            let within = Quantity::Seconds(active_within.as_secs_f64());
            format!("there was no call for {limit}, though there were some within {within}")
        }
        Measure::Lag { .. } | Measure::Sql { .. } => format!("the {what} is above {limit}"),
        Measure::Latency { .. } => format!("the {what} of the {} is above {limit}", window.label()),
        _ => format!("the {what} of the {} reaches {limit}", window.label()),
    };
    format!("tells, for {}, when {when}", each(rule.scope))
}

/// A line for each kind of suppression there is.
#[must_use]
pub fn describe_suppressions(suppressions: &Suppressions) -> Vec<String> {
    let counts = [
        (suppressions.silences.len(), "silences"),
        (suppressions.maintenance.len(), "maintenance windows"),
        (suppressions.inhibitions.len(), "inhibitions"),
    ];
    counts.into_iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn rules_are_said_in_a_sentence() {
        for (table, expected) in [
            (
                json!({"name": "b", "kind": "budget", "scope": "model", "limit_usd": 25, "period": "day",
                    "timezone": "Europe/Berlin", "match": {"model": "gpt*"}, "forecast": true}),
                "tells, for each model, when 50 %, 80 %, 100 % of $25.00 of spend within a day (Europe/Berlin) are reached, \
                 and when it is on its way beyond the limit, counting only model gpt*.",
            ),
            (
                json!({"name": "s", "kind": "latency", "threshold_ms": 5000, "for": "1m", "min_requests": 20}),
                "tells, for each model, when the p95 latency of the last 5m is above 5,000 ms, from 20 requests on, once \
                 that holds for 60 s; repeated every 4 h.",
            ),
            (
                json!({"name": "n", "kind": "no_data", "repeat_interval": 0}),
                "tells, for each source, when there was no call for 1 h, though there were some within 1 d, from 10 \
                 requests on; never repeated.",
            ),
            (
                json!({"name": "u", "kind": "usage", "unit": "tokens", "limit": 1000, "limits_file": "limits.csv"}),
                "tells, for each user, when 80 %, 100 % of 1,000 tokens within a month (UTC) are reached, with limits from \
                 limits.csv.",
            ),
        ] {
            let rule: Rule = serde_json::from_value(table).expect("a rule");
            assert_eq!(describe(&rule), expected);
        }
    }
}
