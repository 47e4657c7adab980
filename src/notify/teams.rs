//! Microsoft Teams: an Adaptive Card to a workflow that "posts to a channel when a webhook request is received".

use std::time::Duration;

use async_trait::async_trait;
use reqwest::Url;
use serde_json::{Value, json};

use super::{
    Digest, DigestEntry, Event, Message, Notification, Notifier, NotifyError, Outgoing, Report, Severity, Traits,
    digest, http,
    report::{Line, Words},
    wording::{self, completeness, cut, escape_markdown, title},
};
use crate::settings::WebhookUrlReceiver;

// So that a message stays below the 28 KB that Teams takes, whatever senders wrote.
const MAX_TEXT: usize = 400;
const MAX_LINE: usize = 160;

/// Posts to one workflow. Its URL is a credential and appears in no error.
pub(super) struct Teams {
    name: String,
    http: http::Http,
    url: Url,
    timeout: Duration,
}

impl Teams {
    pub(super) fn new(settings: &WebhookUrlReceiver, timeout: Duration) -> Result<Self, NotifyError> {
        let url = http::url(settings.webhook_url.expose(), "webhook_url")?;
        Ok(Self { name: settings.name.clone(), http: http::Http::new("Teams", timeout)?, url, timeout })
    }
}

fn body(message: Message<'_>) -> Value {
    let (content, url) = match message {
        Message::Alert(notification) => (alert(notification), &notification.dashboard_url),
        Message::Digest(digest) => (catch_up(digest), &digest.dashboard_url),
        Message::Report(report) => (tell(report), &report.dashboard_url),
    };
    let mut card = json!({
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "msteams": {"width": "Full"},
        "body": content,
    });
    if !url.is_empty() {
        card["actions"] = json!([{"type": "Action.OpenUrl", "title": "Open the dashboard", "url": url}]);
    }
    json!({
        "type": "message",
        "attachments": [{"contentType": "application/vnd.microsoft.card.adaptive", "contentUrl": null, "content": card}],
    })
}

fn alert(notification: &Notification) -> Vec<Value> {
    let color = match (notification.event, notification.severity) {
        (Event::Resolved, _) => "Good",
        (_, Severity::Critical) => "Attention",
        (_, Severity::Warning) => "Warning",
        (_, Severity::Info) => "Accent",
    };
    let mut content = vec![heading(&title(notification), color), facts(&wording::facts(notification))];
    content.extend(wording::notes(notification).iter().map(|note| text(note)));
    let contributors = wording::contributors(&notification.contributors);
    if !contributors.is_empty() {
        content.push(list("Top contributors", &contributors));
    }
    content.push(small(&completeness(notification)));
    content
}

fn catch_up(digest: &Digest) -> Vec<Value> {
    let color = if digest.firing.is_empty() { "Good" } else { "Attention" };
    let mut content = vec![heading(&digest.title(), color), text(&digest.intro())];
    for (name, entries) in [("Still firing", &digest.firing), ("Over", &digest.ended)] {
        if !entries.is_empty() {
            let mut lines: Vec<String> = entries.iter().take(digest::MAX_SHOWN).map(DigestEntry::line).collect();
            lines.extend(digest::and_more(entries));
            content.push(list(&format!("{name} ({})", entries.len()), &lines));
        }
    }
    content.push(small(digest::WHERE_TO_LOOK));
    content
}

fn tell(report: &Report) -> Vec<Value> {
    let words = Words::of(report);
    let mut content = vec![heading(&words.title, "Accent"), facts(&words.facts)];
    for (name, lines) in &words.lists {
        let lines: Vec<String> = lines.iter().map(|Line { name, text }| format!("{name}: {text}")).collect();
        content.push(list(name, &lines));
    }
    content.push(small(&words.completeness));
    content
}

fn facts(facts: &[(impl AsRef<str>, String)]) -> Value {
    let cell = |text: &str| cut(&escape_markdown(text), MAX_LINE);
    let facts: Vec<Value> =
        facts.iter().map(|(name, value)| json!({"title": cell(name.as_ref()), "value": cell(value)})).collect();
    json!({"type": "FactSet", "facts": facts})
}

fn heading(title: &str, color: &str) -> Value {
    let text = cut(&escape_markdown(title), MAX_TEXT);
    json!({"type": "TextBlock", "text": text, "size": "Large", "weight": "Bolder", "wrap": true, "color": color})
}

fn text(text: &str) -> Value {
    json!({"type": "TextBlock", "text": cut(&escape_markdown(text), MAX_TEXT), "wrap": true})
}

fn small(text: &str) -> Value {
    let text = cut(&escape_markdown(text), MAX_TEXT);
    json!({"type": "TextBlock", "text": text, "size": "Small", "isSubtle": true, "wrap": true})
}

fn list(name: &str, lines: &[String]) -> Value {
    let lines: Vec<String> = lines.iter().map(|line| format!("- {}", cut(&escape_markdown(line), MAX_LINE))).collect();
    json!({"type": "TextBlock", "text": format!("**{name}**\n\n{}", lines.join("\n")), "wrap": true})
}

#[async_trait]
impl Notifier for Teams {
    fn name(&self) -> &str {
        &self.name
    }

    fn kind(&self) -> &'static str {
        "teams"
    }

    fn traits(&self) -> Traits {
        Traits { digests: true, ..Traits::default() }
    }

    async fn send(&self, outgoing: Outgoing<'_>) -> Result<Option<String>, NotifyError> {
        let body = body(outgoing.message).to_string();
        self.http.deliver(self.http.json(&self.url, body)).await.map(|_| None)
    }

    async fn check(&self) -> Result<String, NotifyError> {
        http::connects(&self.url, self.timeout).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::preview::samples;

    #[test]
    fn a_card_says_what_and_since_when() {
        let body = body(Message::Alert(&samples::latency()));
        let card = &body["attachments"][0]["content"];
        assert_eq!(card["body"][0]["text"], "🚨 slow: gpt-4o p95 latency is 7,210 ms (limit 5,000 ms)");
        assert_eq!(card["body"][0]["color"], "Attention");
        let facts: Vec<(&str, &str)> = card["body"][1]["facts"]
            .as_array()
            .expect("facts")
            .iter()
            .map(|fact| (fact["title"].as_str().expect("title"), fact["value"].as_str().expect("value")))
            .collect();
        assert_eq!(
            facts,
            [
                ("P95 latency", "7,210 ms, limit 5,000 ms (144 %)"),
                ("Model", "gpt-4o"),
                ("Period", "last 5m"),
                ("Since", "2025-09-08 15:43:57 UTC"),
                ("Requests over 5,000 ms", "12 of 120"),
                ("Severity", "critical"),
                ("team", "search"),
            ]
        );
        assert_eq!(card["actions"][0]["url"], "https://grafana.example/d/heliometer?var-x=1&from=now-1d");
    }
}
