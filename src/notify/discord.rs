//! Discord's webhooks: one embed a message.

use std::{fmt::Write as _, time::Duration};

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

// Discord refuses more characters in these, 25 fields, and 6,000 characters in all. So that all together stay below that,
// texts that senders can make long are given less.
const MAX_TITLE: usize = 256;
const MAX_DESCRIPTION: usize = 4000;
const MAX_NOTES: usize = 1000;
const MAX_FIELD_NAME: usize = 100;
const MAX_FIELD_VALUE: usize = 200;
const MAX_LIST_VALUE: usize = 900;
const MAX_FOOTER: usize = 400;
const MAX_FIELDS: usize = 12;

/// Posts to one webhook. Its URL is a credential and appears in no error.
pub(super) struct Discord {
    name: String,
    http: http::Http,
    url: Url,
}

impl Discord {
    pub(super) fn new(settings: &WebhookUrlReceiver, timeout: Duration) -> Result<Self, NotifyError> {
        let url = http::url(settings.webhook_url.expose(), "webhook_url")?;
        Ok(Self { name: settings.name.clone(), http: http::Http::new("Discord", timeout)?, url })
    }
}

fn body(message: Message<'_>) -> Value {
    let mut embed = match message {
        Message::Alert(notification) => alert(notification),
        Message::Digest(digest) => catch_up(digest),
        Message::Report(report) => tell(report),
    };
    let (url, at) = match message {
        Message::Alert(notification) => (&notification.dashboard_url, notification.at),
        Message::Digest(digest) => (&digest.dashboard_url, digest.at),
        Message::Report(report) => (&report.dashboard_url, report.at),
    };
    embed["timestamp"] = json!(at.to_string());
    if !url.is_empty() {
        embed["url"] = json!(url);
    }
    // Whatever a sender wrote into a name, nobody is mentioned.
    json!({"username": "Heliometer", "embeds": [embed], "allowed_mentions": {"parse": []}})
}

fn alert(notification: &Notification) -> Value {
    let mut fields: Vec<Value> =
        wording::facts(notification).iter().map(|(name, value)| field(name, value, MAX_FIELD_VALUE, true)).collect();
    fields.truncate(MAX_FIELDS);
    let contributors = wording::contributors(&notification.contributors);
    if !contributors.is_empty() {
        fields.push(field("Top contributors", &contributors.join("\n"), MAX_LIST_VALUE, false));
    }
    let mut embed = json!({
        "title": cut(&escape_markdown(&title(notification)), MAX_TITLE),
        "color": color(notification.event, notification.severity),
        "fields": fields,
        "footer": {"text": cut(&completeness(notification), MAX_FOOTER)},
    });
    let notes = wording::notes(notification);
    if !notes.is_empty() {
        embed["description"] = json!(cut(&escape_markdown(&notes.join("\n")), MAX_NOTES));
    }
    embed
}

fn catch_up(digest: &Digest) -> Value {
    let mut text = escape_markdown(&digest.intro());
    let mut embed = json!({
        "title": cut(&digest.title(), MAX_TITLE),
        "color": digest.firing.first().map_or(GREEN, |worst| color(Event::Firing, worst.notification.severity)),
        "footer": {"text": cut(digest::WHERE_TO_LOOK, MAX_FOOTER)},
    });
    for (name, entries) in [("Still firing", &digest.firing), ("Over", &digest.ended)] {
        if entries.is_empty() {
            continue;
        }
        let mut lines: Vec<String> = entries.iter().take(digest::MAX_SHOWN).map(DigestEntry::line).collect();
        lines.extend(digest::and_more(entries));
        let lines: Vec<String> = lines.iter().map(|line| cut(&escape_markdown(line), MAX_FIELD_VALUE)).collect();
        let _ = write!(text, "\n\n**{name}** ({})\n{}", entries.len(), lines.join("\n"));
    }
    embed["description"] = json!(cut(&text, MAX_DESCRIPTION));
    embed
}

fn tell(report: &Report) -> Value {
    let Words { title, facts, lists, completeness } = Words::of(report);
    let mut text: Vec<String> =
        facts.iter().map(|(name, value)| format!("**{name}:** {}", escape_markdown(value))).collect();
    for (heading, lines) in &lists {
        text.push(format!("\n**{heading}**"));
        let line = |Line { name, text }: &Line| cut(&escape_markdown(&format!("{name}: {text}")), MAX_FIELD_VALUE);
        text.extend(lines.iter().map(line));
    }
    json!({
        "title": cut(&escape_markdown(&title), MAX_TITLE),
        "color": color(Event::Firing, Severity::Info),
        "description": cut(&text.join("\n"), MAX_DESCRIPTION),
        "footer": {"text": cut(&completeness, MAX_FOOTER)},
    })
}

fn field(name: &str, value: &str, max: usize, inline: bool) -> Value {
    let value = cut(&escape_markdown(value), max);
    // An empty value is refused.
    let value = if value.trim().is_empty() { "–".to_owned() } else { value };
    json!({"name": cut(&escape_markdown(name), MAX_FIELD_NAME), "value": value, "inline": inline})
}

const GREEN: u32 = 0x2e_b6_7d;

const fn color(event: Event, severity: Severity) -> u32 {
    match (event, severity) {
        (Event::Resolved, _) => GREEN,
        (_, Severity::Critical) => 0xe0_1e_5a,
        (_, Severity::Warning) => 0xec_b2_2e,
        (_, Severity::Info) => 0x36_c5_f0,
    }
}

#[async_trait]
impl Notifier for Discord {
    fn name(&self) -> &str {
        &self.name
    }

    fn kind(&self) -> &'static str {
        "discord"
    }

    fn traits(&self) -> Traits {
        Traits { digests: true, ..Traits::default() }
    }

    async fn send(&self, outgoing: Outgoing<'_>) -> Result<Option<String>, NotifyError> {
        let body = body(outgoing.message).to_string();
        self.http.deliver(self.http.json(&self.url, body)).await.map(|_| None)
    }

    /// Discord describes a webhook to whoever has its URL.
    async fn check(&self) -> Result<String, NotifyError> {
        let answer = self.http.deliver(self.http.get(&self.url)).await?;
        let webhook: Value = serde_json::from_str(&answer.body).unwrap_or_default();
        Ok(format!("Discord knows the webhook {}", webhook["name"].as_str().unwrap_or_default()).trim_end().to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::preview::samples;

    #[test]
    fn an_embed_says_what_and_since_when() {
        let body = body(Message::Alert(&samples::budget(80)));
        let embed = &body["embeds"][0];
        assert_eq!(embed["title"], "⚠️ day-budget: gpt-4o reached 80 % of $10.00");
        assert_eq!(embed["color"], 0xec_b2_2e);
        assert_eq!(embed["fields"][0]["name"], "Spend");
        assert_eq!(embed["fields"][0]["value"], "$8.21 of $10.00 (82 %)");
        assert_eq!(body["allowed_mentions"], json!({"parse": []}));
    }
}
