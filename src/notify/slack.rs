//! Slack's incoming webhooks.

use std::time::Duration;

use async_trait::async_trait;
use reqwest::Url;

use super::{Notifier, NotifyError, Outgoing, Traits, http, slack_blocks};
use crate::domain::Secret;

/// Posts to one incoming webhook. Its URL is a credential and appears in no error.
pub struct Slack {
    name: String,
    http: http::Http,
    url: Url,
    timeout: Duration,
}

impl Slack {
    /// Prepares to post to `webhook_url`; each attempt must finish within `timeout`. Connects to nothing yet.
    ///
    /// # Errors
    /// [`NotifyError::Setup`] when the URL is not one, or TLS cannot be set up.
    pub fn new(name: &str, webhook_url: &Secret, timeout: Duration) -> Result<Self, NotifyError> {
        let url = http::url(webhook_url.expose(), "the Slack webhook URL")?;
        Ok(Self { name: name.to_owned(), http: http::Http::new("Slack", timeout)?, url, timeout })
    }
}

#[async_trait]
impl Notifier for Slack {
    fn name(&self) -> &str {
        &self.name
    }

    fn kind(&self) -> &'static str {
        "slack"
    }

    fn traits(&self) -> Traits {
        Traits { digests: true, ..Traits::default() }
    }

    async fn send(&self, outgoing: Outgoing<'_>) -> Result<Option<String>, NotifyError> {
        let body = slack_blocks::body(outgoing.message).to_string();
        self.http.deliver(self.http.json(&self.url, body)).await.map(|_| None)
    }

    async fn check(&self) -> Result<String, NotifyError> {
        http::connects(&self.url, self.timeout).await
    }
}
