//! `PagerDuty`'s Events API v2. An alert's fingerprint is its `dedup_key`, so the same event twice is one incident.

use std::time::Duration;

use async_trait::async_trait;
use reqwest::Url;
use serde_json::{Value, json};

use super::{
    Event, Message, Notification, Notifier, NotifyError, Outgoing, Traits, http,
    wording::{self, completeness, cut, headline, plain, subject_of},
};
use crate::{domain::Secret, settings::PagerDutyReceiver};

/// `PagerDuty` refuses a longer summary.
const MAX_SUMMARY: usize = 1024;
const MAX_VALUE: usize = 1000;

/// Sends to one service of `PagerDuty`.
pub(super) struct PagerDuty {
    name: String,
    http: http::Http,
    enqueue: Url,
    routing_key: Secret,
    timeout: Duration,
}

impl PagerDuty {
    pub(super) fn new(settings: &PagerDutyReceiver, timeout: Duration) -> Result<Self, NotifyError> {
        Ok(Self {
            name: settings.name.clone(),
            http: http::Http::new("PagerDuty", timeout)?,
            enqueue: http::below(&settings.api_url, "v2/enqueue", "api_url")?,
            routing_key: settings.routing_key.clone(),
            timeout,
        })
    }
}

fn event(notification: &Notification, routing_key: &Secret) -> Value {
    let mut event = json!({
        "routing_key": routing_key.expose(),
        "dedup_key": notification.fingerprint,
        "event_action": if notification.event == Event::Resolved { "resolve" } else { "trigger" },
    });
    if notification.event == Event::Resolved {
        return event;
    }
    let mut details: serde_json::Map<String, Value> =
        wording::facts(notification).into_iter().map(|(name, value)| (name, json!(cut(&value, MAX_VALUE)))).collect();
    let contributors = wording::contributors(&notification.contributors);
    if !contributors.is_empty() {
        details.insert("Top contributors".to_owned(), json!(contributors));
    }
    let notes = wording::notes(notification);
    if !notes.is_empty() {
        details.insert("Notes".to_owned(), json!(notes));
    }
    details.insert("Completeness".to_owned(), json!(completeness(notification)));
    event["payload"] = json!({
        "summary": cut(&headline(notification), MAX_SUMMARY),
        "source": "heliometer",
        // PagerDuty's words hold ours.
        "severity": notification.severity.word(),
        "timestamp": notification.at.to_string(),
        "component": subject_of(notification),
        "group": cut(&plain(&notification.rule), MAX_VALUE),
        "class": notification.kind,
        "custom_details": details,
    });
    event["client"] = json!("Heliometer");
    if !notification.dashboard_url.is_empty() {
        event["client_url"] = json!(notification.dashboard_url);
        event["links"] = json!([{"href": notification.dashboard_url, "text": "Dashboard"}]);
    }
    event
}

#[async_trait]
impl Notifier for PagerDuty {
    fn name(&self) -> &str {
        &self.name
    }

    fn kind(&self) -> &'static str {
        "pagerduty"
    }

    fn traits(&self) -> Traits {
        Traits { needs_every_end: true, ..Traits::default() }
    }

    async fn send(&self, outgoing: Outgoing<'_>) -> Result<Option<String>, NotifyError> {
        let Message::Alert(notification) = outgoing.message else { return Ok(None) };
        let body = event(notification, &self.routing_key).to_string();
        self.http.deliver(self.http.json(&self.enqueue, body)).await.map(|_| None)
    }

    async fn check(&self) -> Result<String, NotifyError> {
        http::connects(&self.enqueue, self.timeout).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::preview::samples;

    #[test]
    fn begin_and_end_are_one_incident() {
        let key = Secret::new("R0");
        let trigger = event(&samples::latency(), &key);
        let payload = &trigger["payload"];
        assert_eq!(trigger["event_action"], "trigger");
        assert_eq!(payload["summary"], "slow: gpt-4o p95 latency is 7,210 ms (limit 5,000 ms)");
        assert_eq!((&payload["severity"], &payload["component"]), (&json!("critical"), &json!("gpt-4o")));
        assert_eq!(payload["custom_details"]["Requests over 5,000 ms"], "12 of 120");
        assert_eq!(payload["custom_details"]["Top contributors"], json!(["user ann: 9,800 ms", "user bob: 7,300 ms"]));
        let resolve = event(&samples::resolved(), &key);
        let expected = json!({"routing_key": "R0", "dedup_key": trigger["dedup_key"], "event_action": "resolve"});
        assert_eq!(resolve, expected);
    }
}
