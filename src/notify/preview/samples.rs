//! Typical messages, for the preview and for tests of renderings.

use std::{collections::HashMap, time::Duration};

use crate::{
    domain::{UsdAmount, UtcMillis},
    notify::{Contributor, Digest, Event, Notification, Quantity, Severity},
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
        ..budget(80)
    }
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
