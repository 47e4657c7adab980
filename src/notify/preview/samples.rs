//! Typical messages, for the preview and for tests of renderings.

use std::{collections::HashMap, time::Duration};

use crate::{
    domain::{UsdAmount, UtcMillis},
    notify::{
        Contributor, Digest, Event, Notification, Quantity, Report, Severity,
        report::{Figures, FiredAlerts, ForecastRange, MonthToDate, Share, SlowModel},
    },
};

const AT: UtcMillis = UtcMillis(1_757_346_297_250);
const DASHBOARD: &str = "https://grafana.example/d/heliometer?var-x=1&from=now-1d";

fn usd(cents: i128) -> Quantity {
    Quantity::Usd(UsdAmount::from_pico_usd(cents * 10_000_000_000))
}

fn contributor(what: &str, name: &str, amount: &str) -> Contributor {
    Contributor { what: what.to_owned(), name: name.to_owned(), amount: amount.to_owned() }
}

/// A model's day: 80 % as a warning, 100 % as critical.
#[must_use]
pub fn budget(percent: u32) -> Notification {
    let is_over = percent >= 100;
    let (id, fingerprint) =
        if is_over { ("t-budget-100", "9f3b6c1d2e4a5b60") } else { ("t-budget-80", "5c0d7e8f9a1b2c34") };
    Notification {
        id: id.to_owned(),
        fingerprint: fingerprint.to_owned(),
        at: AT,
        event: Event::Firing,
        rule: "day-budget".to_owned(),
        kind: "budget".to_owned(),
        severity: if is_over { Severity::Critical } else { Severity::Warning },
        labels: vec![("team".to_owned(), "search".to_owned())],
        scope: "model".to_owned(),
        group: "gpt-4o".to_owned(),
        measure: "spend".to_owned(),
        value: if is_over { usd(1_004) } else { usd(821) },
        limit: usd(1_000),
        threshold_percent: Some(percent),
        period: "day 2025-09-08 (Europe/Berlin)".to_owned(),
        since: AT,
        requests: 1_204,
        priced_requests: 1_198,
        exceeding_requests: None,
        newest_event: Some(AT.minus(Duration::from_secs(2))),
        contributors: vec![contributor("user", "ann", "$6.20"), contributor("user", "", "$1.08")],
        notes: vec!["Burn rate: $0.48 per hour so far".to_owned()],
        dashboard_url: DASHBOARD.to_owned(),
    }
}

/// A slow model.
#[must_use]
pub fn latency() -> Notification {
    Notification {
        id: "t-latency-1".to_owned(),
        fingerprint: "0123456789abcdef".to_owned(),
        rule: "slow".to_owned(),
        kind: "latency".to_owned(),
        severity: Severity::Critical,
        measure: "p95 latency".to_owned(),
        value: Quantity::Milliseconds(7_210.0),
        limit: Quantity::Milliseconds(5_000.0),
        threshold_percent: None,
        period: "last 5m".to_owned(),
        since: AT.minus(Duration::from_secs(60)),
        requests: 120,
        priced_requests: 120,
        exceeding_requests: Some(12),
        contributors: vec![contributor("user", "ann", "9,800 ms"), contributor("user", "bob", "7,300 ms")],
        notes: Vec::new(),
        ..budget(80)
    }
}

/// The same model, fast again.
#[must_use]
pub fn resolved() -> Notification {
    let at = AT.plus(Duration::from_secs(17 * 60));
    Notification {
        id: "t-latency-2".to_owned(),
        at,
        event: Event::Resolved,
        value: Quantity::Milliseconds(912.0),
        requests: 98,
        priced_requests: 98,
        exceeding_requests: Some(0),
        newest_event: Some(at.minus(Duration::from_secs(1))),
        contributors: Vec::new(),
        ..latency()
    }
}

/// A policy that matched.
#[must_use]
pub fn policy() -> Notification {
    Notification {
        id: "t-policy-1".to_owned(),
        fingerprint: "77aa01bc43d2ef98".to_owned(),
        rule: "card-leak".to_owned(),
        kind: "policy".to_owned(),
        severity: Severity::Critical,
        labels: Vec::new(),
        scope: "user".to_owned(),
        group: "bob@example.org".to_owned(),
        measure: "requests that the policy matched".to_owned(),
        value: Quantity::Requests(3),
        limit: Quantity::Requests(1),
        threshold_percent: None,
        period: "last 5m".to_owned(),
        requests: 41,
        priced_requests: 41,
        exceeding_requests: Some(3),
        contributors: vec![contributor("request", "7f0c2b9e-52a4-4c1b-9d55-0a0b4c1d2e3f", "1 match")],
        notes: Vec::new(),
        ..budget(80)
    }
}

/// A message of a rule of `kind` that looks at the last while, about one `scope`.
fn window(
    kind: &str,
    (scope, group): (&str, &str),
    measure: &str,
    (value, limit): (Quantity, Quantity),
) -> Notification {
    Notification {
        id: format!("t-{kind}"),
        fingerprint: format!("{kind}-0123456789"),
        rule: kind.replace('_', "-"),
        kind: kind.to_owned(),
        severity: Severity::Warning,
        labels: Vec::new(),
        scope: scope.to_owned(),
        group: group.to_owned(),
        measure: measure.to_owned(),
        value,
        limit,
        contributors: Vec::new(),
        exceeding_requests: None,
        ..latency()
    }
}

fn with_notes(notification: Notification, period: &str, notes: &[&str]) -> Notification {
    let notes = notes.iter().map(|note| (*note).to_owned()).collect();
    Notification { period: period.to_owned(), notes, ..notification }
}

/// A budget that is on its way beyond its limit.
#[must_use]
pub fn forecast() -> Notification {
    let forecast = Notification {
        measure: "forecast spend".to_owned(),
        value: usd(1_240),
        threshold_percent: None,
        fingerprint: "a1c0d7e8f9a1b2c3".to_owned(),
        ..budget(80)
    };
    let notes = [
        "Changes are against the same time of day 2025-09-07 (Europe/Berlin)",
        "Burn rate: $0.48 per hour so far",
        "Forecast for the period: $12.40 (between $11.28 and $13.90, by the course of the last 4 periods)",
        "$10.00 is reached 2025-09-08 19:00 UTC (between 18:00 and 20:00)",
    ];
    with_notes(forecast, "day 2025-09-08 (Europe/Berlin)", &notes)
}

/// Errors of a provider.
#[must_use]
pub fn errors() -> Notification {
    let measure = "share of requests with an error";
    let values = (Quantity::Percent(60.0), Quantity::Percent(10.0));
    let errors = window("error_rate", ("provider", "ANTHROPIC"), measure, values);
    let contributors = vec![contributor("model", "claude-sonnet-4", "72 errors")];
    Notification { exceeding_requests: Some(72), contributors, ..errors }
}

/// Spend that is unusual for the hour.
#[must_use]
pub fn spike() -> Notification {
    let spike = window("spend_spike", ("all", ""), "spend", (usd(3_100), usd(3_000)));
    let contributors = vec![contributor("model", "gpt-4o", "$28.40"), contributor("model", "o4-mini", "$2.60")];
    let spike = Notification { contributors, ..spike };
    with_notes(spike, "last 1h", &["Usual: $10.00 ± $0.40, median of the same time in the last 4 weeks"])
}

/// A source that fell silent.
#[must_use]
pub fn quiet() -> Notification {
    let values = (Quantity::Seconds(3_660.0), Quantity::Seconds(3_600.0));
    let quiet = Notification {
        newest_event: None,
        requests: 240,
        ..window("no_data", ("source", "eu"), "time since the last call", values)
    };
    let note = "The last call was made in the minute before 2025-09-08T14:44:00.000Z; 240 calls within 1 d before now";
    with_notes(quiet, "now", &[note])
}

/// The same source, heard of again.
#[must_use]
pub fn heard_again() -> Notification {
    let at = AT.plus(Duration::from_secs(2_400));
    Notification {
        event: Event::Resolved,
        at,
        value: Quantity::Seconds(0.0),
        newest_event: Some(at.minus(Duration::from_secs(1))),
        notes: Vec::new(),
        ..quiet()
    }
}

/// A model that nobody has a price for.
#[must_use]
pub fn unpriced() -> Notification {
    let measure = "number of requests without a price";
    let values = (Quantity::Requests(2), Quantity::Requests(1));
    let unpriced = Notification {
        requests: 2,
        priced_requests: 0,
        exceeding_requests: Some(2),
        contributors: vec![contributor("reason", "unknown_model", "2 requests")],
        ..window("unpriced_model", ("model", "new-model"), measure, values)
    };
    with_notes(unpriced, "last 1d", &["Add a price (docs/pricing.md), then run heliometer reprice"])
}

/// Webhooks that were refused.
#[must_use]
pub fn signatures() -> Notification {
    let measure = "number of webhooks with a wrong signature";
    let values = (Quantity::counted(12), Quantity::counted(10));
    let note = "Helicone's signing key and the source's secrets differ, or somebody else is sending";
    with_notes(window("signature_failures", ("source", "default"), measure, values), "last 15m", &[note])
}

/// Messages that wait to be stored.
#[must_use]
pub fn behind() -> Notification {
    let measure = "wait of the oldest message to be stored";
    let values = (Quantity::Seconds(420.0), Quantity::Seconds(300.0));
    let note = "900 messages wait to be stored, the oldest at most that long";
    with_notes(window("lag", ("all", ""), measure, values), "now", &[note])
}

/// A query of somebody's own.
#[must_use]
pub fn own_query() -> Notification {
    let values = (Quantity::Number(11.0), Quantity::Number(10.0));
    with_notes(window("sql", ("labels", "ann"), "value", values), "now", &[])
}

/// A digest after an hour without Slack.
#[must_use]
pub fn digest() -> Digest {
    let users: Vec<Notification> = (1..=4_u32)
        .map(|number| Notification {
            id: format!("t-user-{number}"),
            fingerprint: format!("user-{number}"),
            rule: "user-month".to_owned(),
            scope: "user".to_owned(),
            group: format!("user-{number}"),
            since: AT.plus(Duration::from_secs(u64::from(number) * 240)),
            at: AT.plus(Duration::from_secs(u64::from(number) * 240)),
            ..budget(80)
        })
        .collect();
    let mut waiting = vec![latency(), budget(80)];
    waiting.extend(users);
    waiting.extend([resolved(), budget(100)]);
    let ended = HashMap::from([(resolved().fingerprint, resolved().at)]);
    Digest::new(&waiting, &ended, AT.plus(Duration::from_secs(3_780)))
}

/// What a day came to.
#[must_use]
pub fn report() -> Report {
    let cents = |cents: i128| UsdAmount::from_pico_usd(cents * 10_000_000_000);
    let share = |what: &str, name: &str, now: i128, before: i128| Share {
        what: what.to_owned(),
        name: name.to_owned(),
        requests: 1_000,
        priced_requests: 1_000,
        cost_usd: cents(now),
        previous_cost_usd: cents(before),
    };
    let fired = |rule: &str, alerts: u64| FiredAlerts { rule: rule.to_owned(), alerts };
    let (claude, ann) = (share("model", "claude-sonnet-4", 4_335, 0), share("user", "ann", 6_100, 6_300));
    let at = UtcMillis(1_757_401_200_000);
    Report {
        id: "t-report".to_owned(),
        name: "daily".to_owned(),
        period: "day 2025-09-08 (Europe/Berlin)".to_owned(),
        from: UtcMillis(1_757_282_400_000),
        to: UtcMillis(1_757_368_800_000),
        previous_period: "day 2025-09-07 (Europe/Berlin)".to_owned(),
        at,
        totals: Figures {
            requests: 12_034,
            priced_requests: 12_022,
            error_requests: 61,
            inefficient_requests: 145,
            active_users: 312,
            cost_usd: cents(12_345),
            prompt_tokens: 7_200_100,
            completion_tokens: 1_920_300,
            cached_tokens: 2_400_000,
            total_tokens: 9_120_400,
            latency_p50_ms: Some(812.0),
            latency_p95_ms: Some(4_210.0),
        },
        previous: Figures {
            requests: 11_684,
            priced_requests: 11_684,
            error_requests: 246,
            active_users: 312,
            cost_usd: cents(11_020),
            total_tokens: 9_306_530,
            latency_p95_ms: Some(5_020.0),
            ..Figures::default()
        },
        estimate: None,
        month: Some(MonthToDate {
            period: "month 2025-09 (Europe/Berlin)".to_owned(),
            spent_usd: cents(81_210),
            forecast: Some(ForecastRange {
                low_usd: cents(287_000),
                middle_usd: cents(310_500),
                high_usd: cents(341_050),
                courses: 4,
            }),
        }),
        alerts: vec![fired("day-budget", 2), fired("slow", 1)],
        top_models: vec![share("model", "gpt-4o", 8_010, 7_490), claude.clone()],
        top_users: vec![ann.clone(), share("user", "", 1_200, 1_200)],
        movers: vec![claude, ann],
        slowest_models: vec![SlowModel {
            model: "gpt-4o".to_owned(),
            requests: 812,
            latency_p50_ms: 1_200.0,
            latency_p95_ms: 9_048.0,
        }],
        unpriced_models: vec![Share { requests: 12, priced_requests: 0, ..share("model", "new-model", 0, 0) }],
        newest_event: Some(UtcMillis(at.0 - 2_000)),
        backlog: None,
        dashboard_url: DASHBOARD.to_owned(),
    }
}
