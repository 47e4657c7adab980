//! Messages as Slack would show them, as one HTML page: so that people can read every message before it wakes anybody.

use maud::{DOCTYPE, Markup, html};
use serde_json::Value;

use super::{Message, Notification, slack_blocks};

mod mrkdwn;
pub mod samples;

const STYLE: &str = include_str!("style.css");

/// A message with a line above it that says when it is sent.
pub struct Example {
    /// In which situation.
    pub caption: String,
    /// The body that is posted to Slack.
    pub body: Value,
}

impl Example {
    /// What is posted to Slack.
    #[must_use]
    pub fn of(caption: &str, message: Message<'_>) -> Self {
        Self { caption: caption.to_owned(), body: slack_blocks::body(message) }
    }
}

/// A message of every kind.
#[must_use]
pub fn typical() -> Vec<Example> {
    let alert = |caption: &str, notification: &Notification| Example::of(caption, Message::Alert(notification));
    vec![
        alert("A model has used 80 % of its day's budget", &samples::budget(80)),
        alert("… and 100 %", &samples::budget(100)),
        alert("A model is slow", &samples::latency()),
        alert("… and fast again", &samples::resolved()),
        alert("A policy matched: card numbers in a user's prompts", &samples::policy()),
        alert("A budget is on its way beyond its limit", &samples::forecast()),
        alert("Errors of a provider", &samples::errors()),
        alert("Spend that is unusual for the hour", &samples::spike()),
        alert("A source fell silent", &samples::quiet()),
        alert("… and is heard of again", &samples::heard_again()),
        alert("A model without a price", &samples::unpriced()),
        alert("Webhooks with a wrong signature", &samples::signatures()),
        alert("A backlog", &samples::behind()),
        alert("A query of one's own", &samples::own_query()),
        Example::of("Slack was away for an hour", Message::Digest(&samples::digest())),
        Example::of("A day is over", Message::Report(&samples::report())),
    ]
}

/// The page.
#[must_use]
pub fn page(examples: &[Example]) -> String {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                title { "Heliometer's messages in Slack" }
                style { (maud::PreEscaped(STYLE)) }
            }
            body {
                h1 { "Heliometer's messages in Slack" }
                @for example in examples {
                    p.caption { (example.caption) }
                    (message(&example.body))
                    p.fallback { "In the notification: " (mrkdwn::html(text_of(&example.body))) }
                }
            }
        }
    }
    .into_string()
}

fn message(body: &Value) -> Markup {
    html! {
        div.message {
            div.avatar { "☀" }
            div.content {
                div.sender { b { "Heliometer" } span.app { "APP" } }
                @for block in body["blocks"].as_array().map(Vec::as_slice).unwrap_or_default() { (one(block)) }
            }
        }
    }
}

fn one(block: &Value) -> Markup {
    match block["type"].as_str().unwrap_or_default() {
        "header" => html! { div.header { (text_of(&block["text"])) } },
        "section" => html! { div.section { (mrkdwn::html(text_of(&block["text"]))) } },
        "context" => html! {
            div.context {
                @for element in block["elements"].as_array().map(Vec::as_slice).unwrap_or_default() {
                    (mrkdwn::html(text_of(element)))
                }
            }
        },
        other => html! { div.section { "(a block of type " (other) " is not shown here)" } },
    }
}

fn text_of(object: &Value) -> &str {
    object["text"].as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_message_is_shown_with_all_its_words() {
        let page = page(&typical());
        for words in [
            "⚠️ day-budget: gpt-4o reached 80 % of $10.00",
            "🚨 day-budget: gpt-4o reached 100 % of $10.00",
            "<b>$8.21</b> of <b>$10.00</b> spend for model <code>gpt-4o</code>",
            "✅ slow: gpt-4o is back within its limit after 18 min",
            "🚨 card-leak: the policy matched 3 requests of bob@example.org",
            "🚨 Catching up: 7 alerts, 6 still firing",
            "<a href=\"https://grafana.example/d/heliometer?var-x=1&amp;from=now-1d\">Open the dashboard</a>",
        ] {
            assert!(page.contains(words), "{words} is not in\n{page}");
        }
        assert!(!page.contains("is not shown here"));
    }
}
