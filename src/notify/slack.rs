//! Slack's incoming webhooks.

use std::time::Duration;

use async_trait::async_trait;
use reqwest::{StatusCode, header};

use super::{Notification, Notifier, NotifyError, slack_blocks};
use crate::domain::Secret;

/// Slack may ask to wait; more than this is not believed.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(3600);
/// Slack's reason is a word such as `invalid_blocks`.
const MAX_REASON_BYTES: usize = 200;

/// Posts to one incoming webhook. Its URL is a credential and appears in no error.
pub struct Slack {
    http: reqwest::Client,
    url: reqwest::Url,
}

impl Slack {
    /// Prepares to post to `webhook_url`; each attempt must finish within `timeout`. Connects to nothing yet.
    ///
    /// # Errors
    /// [`NotifyError::Setup`] when the URL is not one, or TLS cannot be set up.
    pub fn new(webhook_url: &Secret, timeout: Duration) -> Result<Self, NotifyError> {
        let url = reqwest::Url::parse(webhook_url.expose())
            .ok()
            .filter(|url| matches!(url.scheme(), "https" | "http") && url.has_host())
            .ok_or_else(|| {
                NotifyError::Setup("the Slack webhook URL is not a URL; copy it again from Slack".to_owned())
            })?;
        crate::tls::install_crypto_provider();
        let http = reqwest::Client::builder()
            .timeout(timeout)
            // Slack does not redirect, and a redirect must not carry the message elsewhere.
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| NotifyError::Setup(format!("cannot set up HTTP: {}", error.without_url())))?;
        Ok(Self { http, url })
    }
}

#[async_trait]
impl Notifier for Slack {
    fn name(&self) -> &'static str {
        "slack"
    }

    async fn send(&self, notification: &Notification) -> Result<(), NotifyError> {
        let body = slack_blocks::message(notification).to_string();
        let request = self.http.post(self.url.clone()).header(header::CONTENT_TYPE, "application/json").body(body);
        let mut response = request.send().await.map_err(|error| explain(&error.without_url()))?;
        let status = response.status();
        if status.is_success() {
            return Ok(());
        }
        let retry_after = retry_after(response.headers());
        let reason = match response.chunk().await {
            Ok(Some(chunk)) => String::from_utf8_lossy(&chunk[..chunk.len().min(MAX_REASON_BYTES)])
                .chars()
                .filter(|character| !character.is_control())
                .collect(),
            _ => String::new(),
        };
        let message = format!("Slack answered {}: {reason}", status.as_u16()).trim_end_matches([':', ' ']).to_owned();
        if status == StatusCode::TOO_MANY_REQUESTS || status == StatusCode::REQUEST_TIMEOUT || status.is_server_error()
        {
            Err(NotifyError::Transient { message, retry_after })
        } else {
            Err(NotifyError::Final(message))
        }
    }
}

/// Whole seconds; Slack sends no dates here.
fn retry_after(headers: &header::HeaderMap) -> Option<Duration> {
    let seconds = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds).min(MAX_RETRY_AFTER))
}

/// Everything that happens before an answer may pass. The cause says more than reqwest's own words.
fn explain(error: &reqwest::Error) -> NotifyError {
    let mut message = if error.is_timeout() {
        "Slack did not answer in time".to_owned()
    } else if error.is_connect() {
        "cannot connect to Slack".to_owned()
    } else {
        "the request to Slack failed".to_owned()
    };
    let mut cause: Option<&dyn std::error::Error> = std::error::Error::source(error);
    while let Some(inner) = cause {
        cause = inner.source();
        if cause.is_none() {
            message = format!("{message}: {inner}");
        }
    }
    NotifyError::Transient { message, retry_after: None }
}
