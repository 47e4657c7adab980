//! `[notifiers]`: where alerts go, and which of them go where.

use std::{collections::BTreeMap, path::PathBuf};

use serde::{Deserialize, Deserializer, de};

use super::nearest_key;
use crate::domain::Secret;

/// Receivers beyond this are refused: each is a queue with a task of its own.
const MAX_RECEIVERS: usize = 50;
const MAX_ROUTES: usize = 200;
const MAX_NAME_BYTES: usize = 64;
/// The receiver that `slack_webhook_url` makes.
pub const DEFAULT_RECEIVER: &str = "slack";

/// `[notifiers]`
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NotifierSettings {
    /// Slack incoming webhook: the receiver `slack`, which gets what no route names. `SLACK_WEBHOOK_URL`.
    pub slack_webhook_url: Option<Secret>,
    /// One delivery attempt must finish within this.
    pub timeout_ms: u64,
    /// Deliveries are tried again with backoff for this long.
    pub retry_for_hours: u64,
    /// When more messages than this wait for a Slack, Teams, Discord or email receiver …
    pub digest_above_messages: usize,
    /// … for longer than this, they are sent as one digest.
    pub digest_after_seconds: u64,
    /// `[[notifiers.receivers]]`
    pub receivers: Vec<ReceiverSettings>,
    /// `[[notifiers.routes]]`
    pub routes: Vec<RouteSettings>,
}

impl Default for NotifierSettings {
    fn default() -> Self {
        Self {
            slack_webhook_url: None,
            timeout_ms: 10_000,
            retry_for_hours: 24,
            digest_above_messages: 5,
            digest_after_seconds: 180,
            receivers: Vec::new(),
            routes: Vec::new(),
        }
    }
}

/// One of `[[notifiers.receivers]]`: a name, a type, and the keys of that type.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ReceiverSettings {
    /// A Slack incoming webhook.
    Slack(WebhookUrlReceiver),
    /// A Slack app with a bot token.
    SlackBot(SlackBotReceiver),
    /// Prometheus' Alertmanager, API v2.
    Alertmanager(AlertmanagerReceiver),
    /// Anything that takes signed JSON.
    Webhook(SignedWebhookReceiver),
    /// Email by SMTP.
    Email(EmailReceiver),
    /// `PagerDuty` Events API v2.
    #[serde(rename = "pagerduty")]
    PagerDuty(PagerDutyReceiver),
    /// A Microsoft Teams workflow ("when a webhook request is received").
    Teams(WebhookUrlReceiver),
    /// A Discord webhook.
    Discord(WebhookUrlReceiver),
}

impl ReceiverSettings {
    /// The name that rules and routes use.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Slack(receiver) | Self::Teams(receiver) | Self::Discord(receiver) => &receiver.name,
            Self::SlackBot(receiver) => &receiver.name,
            Self::Alertmanager(receiver) => &receiver.name,
            Self::Webhook(receiver) => &receiver.name,
            Self::Email(receiver) => &receiver.name,
            Self::PagerDuty(receiver) => &receiver.name,
        }
    }
}

/// `slack`, `teams` and `discord`: a URL that is the whole credential.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebhookUrlReceiver {
    /// The name that rules and routes use.
    pub name: String,
    /// The URL that Slack, Teams or Discord shows.
    pub webhook_url: Secret,
}

/// `slack_bot`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SlackBotReceiver {
    /// The name that rules and routes use.
    pub name: String,
    /// Bot token (`xoxb-…`) with the scope `chat:write`.
    pub token: Secret,
    /// Channel id such as `C0123456789`, or `#name`; the bot must be a member.
    pub channel: String,
    /// Base of Slack's Web API.
    #[serde(default = "slack_api_url")]
    pub api_url: String,
}

fn slack_api_url() -> String {
    "https://slack.com/api".to_owned()
}

/// `alertmanager`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AlertmanagerReceiver {
    /// The name that rules and routes use.
    pub name: String,
    /// Every member of the cluster, such as `http://alertmanager:9093`: each gets every alert, they agree by themselves.
    pub urls: Vec<String>,
    /// Firing alerts are sent again this often, as Alertmanager expects; they end there four times this after the last.
    #[serde(default = "alertmanager_resend_seconds")]
    pub resend_every_seconds: u64,
    /// For basic authentication.
    #[serde(default)]
    pub username: Option<String>,
    /// For basic authentication.
    #[serde(default)]
    pub password: Option<Secret>,
    /// In place of user name and password.
    #[serde(default)]
    pub bearer_token: Option<Secret>,
}

const fn alertmanager_resend_seconds() -> u64 {
    60
}

/// `webhook`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignedWebhookReceiver {
    /// The name that rules and routes use.
    pub name: String,
    /// Where JSON is posted to. Kept like a secret, since it may hold one.
    pub url: Secret,
    /// Signs every body.
    pub secret: Secret,
}

/// `email`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EmailReceiver {
    /// The name that rules and routes use.
    pub name: String,
    /// The SMTP server.
    pub smtp_host: String,
    /// Its port; 587 for `"starttls"`, 465 for `"implicit"`, 25 for `"off"` unless set.
    #[serde(default)]
    pub smtp_port: Option<u16>,
    /// How the connection is encrypted.
    #[serde(default)]
    pub smtp_tls: SmtpTls,
    /// A certificate to trust beside the system's, in PEM, for a server with a private authority.
    #[serde(default)]
    pub smtp_ca_file: Option<PathBuf>,
    /// To log in with; none sends without logging in.
    #[serde(default)]
    pub username: Option<String>,
    /// To log in with.
    #[serde(default)]
    pub password: Option<Secret>,
    /// The sender, such as `Heliometer <alerts@example.org>`.
    pub from: String,
    /// The recipients.
    #[serde(deserialize_with = "one_or_more")]
    pub to: Vec<String>,
}

/// Encryption of an SMTP connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SmtpTls {
    /// Begins in the clear and must change to TLS before anything is said.
    #[default]
    Starttls,
    /// TLS from the first byte.
    Implicit,
    /// In the clear, for a relay on the same machine.
    Off,
}

/// `pagerduty`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PagerDutyReceiver {
    /// The name that rules and routes use.
    pub name: String,
    /// Integration key of a service ("Events API v2").
    pub routing_key: Secret,
    /// Base of the Events API; Europe: `https://events.eu.pagerduty.com`.
    #[serde(default = "pagerduty_api_url")]
    pub api_url: String,
}

fn pagerduty_api_url() -> String {
    "https://events.pagerduty.com".to_owned()
}

/// One of `[[notifiers.routes]]`, looked at in their order. What is left out matches everything.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RouteSettings {
    /// Names of rules, as globs.
    #[serde(default, deserialize_with = "one_or_more")]
    pub rules: Vec<String>,
    /// `"info"`, `"warning"` or `"critical"`.
    #[serde(default, deserialize_with = "one_or_more")]
    pub severity: Vec<String>,
    /// Labels that the rule must have, with globs for their values.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Where they go; an empty list sends them nowhere.
    #[serde(deserialize_with = "one_or_more")]
    pub receivers: Vec<String>,
    /// Whether later routes are looked at too.
    #[serde(default, rename = "continue")]
    pub goes_on: bool,
}

fn one_or_more<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either {
        One(String),
        Some(Vec<String>),
    }
    match Either::deserialize(deserializer) {
        Ok(Either::One(text)) => Ok(vec![text]),
        Ok(Either::Some(texts)) => Ok(texts),
        Err(_) => Err(de::Error::custom("must be a text or a list of texts")),
    }
}

impl NotifierSettings {
    /// Every name that rules and routes may use. `slack` always is one: its URL may come with the environment.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let others = self.receivers.iter().map(ReceiverSettings::name).filter(|name| *name != DEFAULT_RECEIVER);
        std::iter::once(DEFAULT_RECEIVER).chain(others)
    }

    /// What is wrong with a receiver's name that a rule or route uses.
    ///
    /// # Errors
    /// The unknown name, the nearest, and all others.
    pub fn check_name(&self, name: &str) -> Result<(), String> {
        let known: Vec<&str> = self.names().collect();
        if known.contains(&name) {
            return Ok(());
        }
        let near = nearest_key(name, &known).map(|near| format!(", did you mean `{near}`?")).unwrap_or_default();
        Err(format!("unknown receiver `{name}`{near}; receivers are {}", known.join(", ")))
    }

    /// Checks what types alone cannot. Returns the key and what is wrong.
    pub(super) fn check(&self) -> Result<(), (String, String)> {
        let wrong = |key: &str, message: &str| Err((format!("notifiers.{key}"), message.to_owned()));
        if self.timeout_ms == 0 {
            return wrong("timeout_ms", "must be at least 1");
        }
        if self.retry_for_hours == 0 || self.retry_for_hours > 24 * 30 {
            return wrong("retry_for_hours", "must be between 1 and 720");
        }
        if self.receivers.len() > MAX_RECEIVERS {
            return wrong("receivers", &format!("there are more than {MAX_RECEIVERS}"));
        }
        if self.routes.len() > MAX_ROUTES {
            return wrong("routes", &format!("there are more than {MAX_ROUTES}"));
        }
        let mut names = std::collections::HashSet::new();
        for receiver in &self.receivers {
            let name = receiver.name();
            let key = format!("receivers.{name}");
            let is_name = |character: char| character.is_ascii_alphanumeric() || matches!(character, '-' | '_' | '.');
            if name.is_empty() || name.len() > MAX_NAME_BYTES || !name.chars().all(is_name) {
                return wrong(
                    "receivers.name",
                    &format!("`{name}` must be 1 to {MAX_NAME_BYTES} of a-z, A-Z, 0-9, '-', '_' and '.'"),
                );
            }
            if !names.insert(name) {
                return wrong(&key, "the name is used twice");
            }
            if name == DEFAULT_RECEIVER && self.slack_webhook_url.is_some() {
                return wrong(
                    &key,
                    "slack_webhook_url (or SLACK_WEBHOOK_URL) already makes the receiver `slack`; choose another name",
                );
            }
            // Building one connects to nothing, and says what is wrong with its addresses.
            crate::notify::check(receiver).or_else(|message| wrong(&key, &message))?;
        }
        for (index, route) in self.routes.iter().enumerate() {
            let key = format!("routes.{index}");
            for name in &route.receivers {
                self.check_name(name).or_else(|message| wrong(&format!("{key}.receivers"), &message))?;
            }
            let severities = crate::notify::Severity::ALL.map(crate::notify::Severity::word);
            if let Some(word) = route.severity.iter().find(|word| !severities.contains(&word.as_str())) {
                let near = nearest_key(word, &severities);
                let near = near.map(|near| format!(", did you mean `{near}`?")).unwrap_or_default();
                return wrong(
                    &format!("{key}.severity"),
                    &format!("`{word}` is none{near}; there are {}", severities.join(", ")),
                );
            }
        }
        Ok(())
    }
}
