//! Slack's Web API with a bot token: messages about one alert form a thread.

use std::time::Duration;

use async_trait::async_trait;
use reqwest::Url;
use serde::Deserialize;
use serde_json::json;

use super::{Event, Message, Notifier, NotifyError, Outgoing, Traits, http, slack_blocks};
use crate::{domain::Secret, settings::SlackBotReceiver};

/// Posts to one channel.
pub(super) struct SlackBot {
    name: String,
    http: http::Http,
    token: Secret,
    channel: String,
    post_message: Url,
    auth_test: Url,
}

/// What every method answers, nearly always with status 200.
#[derive(Deserialize)]
struct Reply {
    ok: bool,
    #[serde(default)]
    error: String,
    #[serde(default)]
    ts: String,
    #[serde(default)]
    team: String,
    #[serde(default)]
    user: String,
}

impl SlackBot {
    pub(super) fn new(settings: &SlackBotReceiver, timeout: Duration) -> Result<Self, NotifyError> {
        if settings.channel.trim().is_empty() {
            return Err(NotifyError::Setup("channel is empty; it is an id such as C0123456789, or #name".to_owned()));
        }
        Ok(Self {
            name: settings.name.clone(),
            http: http::Http::new("Slack", timeout)?,
            token: settings.token.clone(),
            channel: settings.channel.clone(),
            post_message: http::below(&settings.api_url, "chat.postMessage", "api_url")?,
            auth_test: http::below(&settings.api_url, "auth.test", "api_url")?,
        })
    }

    async fn call(&self, method: &Url, body: &serde_json::Value) -> Result<Reply, NotifyError> {
        let request = self.http.json(method, body.to_string()).bearer_auth(self.token.expose());
        let answer = self.http.deliver(request).await?;
        let reply: Reply = serde_json::from_str(&answer.body)
            .map_err(|_| http::transient("Slack answered something that is not its API's JSON".to_owned()))?;
        if reply.ok { Ok(reply) } else { Err(explain(&reply.error, answer.retry_after)) }
    }
}

/// What Slack's word means for the next attempt, and for people.
fn explain(error: &str, retry_after: Option<Duration>) -> NotifyError {
    let word: String = error.chars().filter(|character| !character.is_control()).take(80).collect();
    let advice = match error {
        "ratelimited"
        | "rate_limited"
        | "message_limit_exceeded"
        | "internal_error"
        | "fatal_error"
        | "service_unavailable"
        | "request_timeout"
        | "team_added_to_org" => {
            return NotifyError::Transient { message: format!("Slack answered {word}"), retry_after };
        }
        "invalid_auth" | "not_authed" | "account_inactive" | "token_revoked" | "token_expired" => {
            ": install the app again in Slack, and put its new bot token into `token`"
        }
        "missing_scope" | "no_permission" | "not_allowed_token_type" => {
            ": give the app the bot scope chat:write and install it again"
        }
        "channel_not_found" | "not_in_channel" => {
            ": correct `channel` (its id is in the channel's details), and /invite the bot into it"
        }
        "is_archived" => ": the channel is archived; choose another in `channel`",
        _ => "",
    };
    NotifyError::Final(format!("Slack refused: {word}{advice}"))
}

#[async_trait]
impl Notifier for SlackBot {
    fn name(&self) -> &str {
        &self.name
    }

    fn kind(&self) -> &'static str {
        "slack_bot"
    }

    fn traits(&self) -> Traits {
        Traits { digests: true, threads: true, ..Traits::default() }
    }

    async fn send(&self, outgoing: Outgoing<'_>) -> Result<Option<String>, NotifyError> {
        let mut body = slack_blocks::body(outgoing.message);
        body["channel"] = json!(self.channel);
        body["unfurl_links"] = json!(false);
        if let Some(thread) = outgoing.thread {
            body["thread_ts"] = json!(thread);
            // An end is good news for the whole channel; a repetition only for those who follow the thread.
            let is_end = matches!(outgoing.message, Message::Alert(alert) if alert.event == Event::Resolved);
            body["reply_broadcast"] = json!(is_end);
        }
        let reply = self.call(&self.post_message, &body).await?;
        // A thread is named by the message that began it.
        Ok(Some(outgoing.thread.map_or(reply.ts, str::to_owned)).filter(|ts| !ts.is_empty()))
    }

    async fn check(&self) -> Result<String, NotifyError> {
        let reply = self.call(&self.auth_test, &json!({})).await?;
        Ok(format!("bot {} of {}, messages go to {}", reply.user, reply.team, self.channel))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_say_what_to_do_and_overload_is_tried_again() {
        for (word, is_transient, expected) in [
            ("ratelimited", true, "Slack answered ratelimited"),
            ("internal_error", true, "Slack answered internal_error"),
            ("invalid_auth", false, "put its new bot token into `token`"),
            ("channel_not_found", false, "/invite the bot"),
            ("not_in_channel", false, "/invite the bot"),
            ("missing_scope", false, "chat:write"),
            ("is_archived", false, "archived"),
            ("invalid_blocks", false, "Slack refused: invalid_blocks"),
        ] {
            let error = explain(word, Some(Duration::from_secs(7)));
            let asked = match &error {
                NotifyError::Transient { retry_after, .. } => *retry_after,
                _ => None,
            };
            assert_eq!(asked.is_some(), is_transient, "{word}");
            assert!(error.to_string().contains(expected), "{error}");
        }
    }
}
