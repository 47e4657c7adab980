//! What all receivers over HTTP share: one request, bounded, and what its answer means for the next attempt.

use std::time::Duration;

use reqwest::{StatusCode, Url, header};

use super::NotifyError;

/// A receiver may ask to wait; more than this is not believed.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(3600);
/// Answers are a word, or a small JSON object.
const MAX_ANSWER_BYTES: usize = 16 * 1024;
/// Of an answer that says no, this much is shown.
const MAX_REASON_CHARS: usize = 200;

/// A client for one service. URLs may be credentials, so they appear in no error.
pub(super) struct Http {
    client: reqwest::Client,
    /// Its name in errors.
    service: &'static str,
}

/// What was answered.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) retry_after: Option<Duration>,
    pub(super) body: String,
}

impl Http {
    /// Each request must be answered within `timeout`. Connects to nothing yet.
    pub(super) fn new(service: &'static str, timeout: Duration) -> Result<Self, NotifyError> {
        crate::tls::install_crypto_provider();
        let client = reqwest::Client::builder()
            .timeout(timeout)
            // None of these services redirects, and a redirect must not carry the message elsewhere.
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("heliometer/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| NotifyError::Setup(format!("cannot set up HTTP: {}", error.without_url())))?;
        Ok(Self { client, service })
    }

    /// A POST of JSON, to be given further headers.
    pub(super) fn json(&self, url: &Url, body: String) -> reqwest::RequestBuilder {
        self.client.post(url.clone()).header(header::CONTENT_TYPE, "application/json").body(body)
    }

    /// A GET.
    pub(super) fn get(&self, url: &Url) -> reqwest::RequestBuilder {
        self.client.get(url.clone())
    }

    /// Sends it, whatever is answered.
    pub(super) async fn ask(&self, request: reqwest::RequestBuilder) -> Result<Answer, NotifyError> {
        let mut response = request.send().await.map_err(|error| self.explain(&error.without_url()))?;
        let status = response.status();
        let retry_after = retry_after(response.headers());
        let mut body = Vec::new();
        while body.len() < MAX_ANSWER_BYTES {
            match response.chunk().await {
                Ok(Some(chunk)) => body.extend_from_slice(&chunk[..chunk.len().min(MAX_ANSWER_BYTES - body.len())]),
                Ok(None) => break,
                // The status says enough.
                Err(_) if !status.is_success() => break,
                Err(error) => return Err(self.explain(&error.without_url())),
            }
        }
        Ok(Answer { status, retry_after, body: String::from_utf8_lossy(&body).into_owned() })
    }

    /// Sends it; anything but success is an error.
    pub(super) async fn deliver(&self, request: reqwest::RequestBuilder) -> Result<Answer, NotifyError> {
        let answer = self.ask(request).await?;
        if answer.status.is_success() {
            return Ok(answer);
        }
        let status = answer.status;
        let message = format!("{} answered {}: {}", self.service, status.as_u16(), reason(&answer.body));
        let message = message.trim_end_matches([':', ' ']).to_owned();
        if status == StatusCode::TOO_MANY_REQUESTS || status == StatusCode::REQUEST_TIMEOUT || status.is_server_error()
        {
            Err(NotifyError::Transient { message, retry_after: answer.retry_after })
        } else {
            Err(NotifyError::Final(message))
        }
    }

    /// Everything that happens before an answer may pass. The cause says more than reqwest's own words.
    fn explain(&self, error: &reqwest::Error) -> NotifyError {
        let service = self.service;
        let mut message = if error.is_timeout() {
            format!("{service} did not answer in time")
        } else if error.is_connect() {
            format!("cannot connect to {service}")
        } else {
            format!("the request to {service} failed")
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
}

/// Whether a connection to the host of `url` can be had, which tells nobody anything.
pub(super) async fn connects(url: &Url, timeout: Duration) -> Result<String, NotifyError> {
    let host = url.host_str().unwrap_or_default().to_owned();
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let port = url.port_or_known_default().unwrap_or(443);
    match tokio::time::timeout(timeout, tokio::net::TcpStream::connect((bare, port))).await {
        Ok(Ok(_)) => Ok(format!("messages go to {host}")),
        Ok(Err(error)) => Err(transient(format!("cannot connect to {host}: {error}"))),
        Err(_) => Err(transient(format!("cannot connect to {host} within {} s", timeout.as_secs()))),
    }
}

/// An http(s) URL. `what` names it in the error, which does not show it.
pub(super) fn url(text: &str, what: &str) -> Result<Url, NotifyError> {
    Url::parse(text)
        .ok()
        .filter(|url| matches!(url.scheme(), "https" | "http") && url.has_host())
        .ok_or_else(|| NotifyError::Setup(format!("{what} is not an http(s) URL; copy it again")))
}

/// `base` with `path` behind what path it has.
pub(super) fn below(base: &str, path: &str, what: &str) -> Result<Url, NotifyError> {
    url(&format!("{}/{path}", base.trim_end_matches('/')), what)
}

pub(super) const fn transient(message: String) -> NotifyError {
    NotifyError::Transient { message, retry_after: None }
}

/// Seconds, of which some services send fractions; none sends dates.
fn retry_after(headers: &header::HeaderMap) -> Option<Duration> {
    let seconds: f64 = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Duration::try_from_secs_f64(seconds.ceil()).ok().map(|wait| wait.min(MAX_RETRY_AFTER))
}

fn reason(body: &str) -> String {
    body.chars().filter(|character| !character.is_control()).take(MAX_REASON_CHARS).collect()
}
