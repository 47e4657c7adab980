//! The client of one source's API.

use std::{
    collections::BTreeMap,
    num::NonZeroU32,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use reqwest::{Method, RequestBuilder, Response, StatusCode, header::HeaderMap};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::HeliconeApiError;
use crate::domain::Secret;

/// Helicone's limits hold per this.
const LIMIT_PERIOD: Duration = Duration::from_secs(300);
/// `GET` by id is limited to 600 per period. A burst and a steady stream together must stay below.
const BY_ID: (u32, u32) = (500, 100);
/// The smallest plan's limit for everything else is 1,000 per period.
const OTHER: (u32, u32) = (800, 200);
/// An answer that holds more is not read on.
const MAX_ANSWER_BYTES: usize = 64 * 1024 * 1024;
/// The API may ask to wait; more than this is not believed.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(3600);
/// Numbers of seconds above this are times since 1970.
const EPOCH_SECONDS_FROM: u64 = 1_000_000_000;

/// A value that Helicone takes for a score: a float would be an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum ScoreValue {
    /// A whole number.
    Int(i64),
    /// Yes or no.
    Bool(bool),
}

/// What Helicone knows of a call. Bodies are raw JSON.
#[derive(Debug, Deserialize)]
pub struct KnownRequest {
    /// The request, if it is kept.
    pub request_body: Option<Box<RawValue>>,
    /// The response, if it is kept.
    pub response_body: Option<Box<RawValue>>,
}

#[derive(Deserialize)]
struct Answer {
    data: Option<KnownRequest>,
}

/// One source's API, with its key and its share of the limits.
pub struct HeliconeApi {
    http: reqwest::Client,
    base: url::Url,
    key: Secret,
    by_id: DefaultDirectRateLimiter,
    other: DefaultDirectRateLimiter,
}

impl HeliconeApi {
    /// Prepares to ask the API at `base_url`; each attempt must finish within `timeout`. Connects to nothing yet.
    ///
    /// # Errors
    /// [`HeliconeApiError::Setup`] when the URL is not one, or TLS cannot be set up.
    pub fn new(base_url: &str, key: &Secret, timeout: Duration) -> Result<Self, HeliconeApiError> {
        let base = url::Url::parse(base_url)
            .ok()
            .filter(|url| matches!(url.scheme(), "https" | "http") && url.has_host() && !url.cannot_be_a_base())
            .ok_or_else(|| {
                HeliconeApiError::Setup(format!(
                    "helicone_api_url is not an https URL such as {} or https://eu.api.helicone.ai",
                    super::DEFAULT_URL
                ))
            })?;
        crate::tls::install_crypto_provider();
        let http = reqwest::Client::builder()
            .timeout(timeout)
            // The key must not be carried elsewhere.
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("heliometer/", env!("CARGO_PKG_VERSION")))
            .gzip(true)
            .build()
            .map_err(|error| HeliconeApiError::Setup(format!("cannot set up HTTP: {}", error.without_url())))?;
        Ok(Self { http, base, key: key.clone(), by_id: limiter(BY_ID)?, other: limiter(OTHER)? })
    }

    /// Gives the call `request_id` scores: `POST /v1/request/{id}/score`, answered 201. One attempt; giving the same scores
    /// again is harmless.
    ///
    /// # Errors
    /// [`HeliconeApiError`]: `Transient` when trying again may help.
    pub async fn score(&self, request_id: &str, scores: &BTreeMap<String, ScoreValue>) -> Result<(), HeliconeApiError> {
        let body = serde_json::json!({ "scores": scores }).to_string();
        let request = self
            .request(Method::POST, &["v1", "request", request_id, "score"], "")?
            .header(reqwest::header::CONTENT_TYPE, "application/json")
            .body(body);
        self.other.until_ready().await;
        self.send(request).await.map(drop)
    }

    /// What Helicone knows of the call `request_id`, with its bodies: `GET /v1/request/{id}?includeBody=true`, which looks
    /// back 90 days. `None` when it does not know it. One attempt, at once.
    ///
    /// # Errors
    /// [`HeliconeApiError`]: `Limit` when this program's share of the API's limit is used up for the moment, `Transient` when
    /// trying again may help.
    pub async fn get_request(&self, request_id: &str) -> Result<Option<KnownRequest>, HeliconeApiError> {
        if self.by_id.check().is_err() {
            return Err(HeliconeApiError::Limit);
        }
        let answer = match self.request(Method::GET, &["v1", "request", request_id], "includeBody=true") {
            Ok(request) => self.send(request).await,
            Err(error) => Err(error),
        };
        let answer = match answer {
            Err(HeliconeApiError::UnknownRequest) => return Ok(None),
            answer => read(answer?).await?,
        };
        let answer: Answer = serde_json::from_slice(&answer).map_err(|error| {
            HeliconeApiError::Final(format!(
                "Helicone's API answered with something else than a request, at line {}, column {}",
                error.line(),
                error.column()
            ))
        })?;
        Ok(answer.data)
    }

    fn request(&self, method: Method, path: &[&str], query: &str) -> Result<RequestBuilder, HeliconeApiError> {
        if path.iter().any(|segment| matches!(*segment, "" | "." | "..")) {
            // Would lead elsewhere.
            return Err(HeliconeApiError::UnknownRequest);
        }
        let mut url = self.base.clone();
        url.path_segments_mut()
            .map_err(|()| HeliconeApiError::Setup("helicone_api_url cannot have a path".to_owned()))?
            .pop_if_empty()
            // Escaped, whatever an id holds.
            .extend(path);
        url.set_query(Some(query).filter(|query| !query.is_empty()));
        Ok(self.http.request(method, url).bearer_auth(self.key.expose()))
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response, HeliconeApiError> {
        let response = request.send().await.map_err(|error| explain(&error))?;
        let status = response.status();
        match status {
            _ if status.is_success() => Ok(response),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(HeliconeApiError::Key { status: status.as_u16() }),
            StatusCode::NOT_FOUND => Err(HeliconeApiError::UnknownRequest),
            StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT => Err(transient(&response)),
            _ if status.is_server_error() => Err(transient(&response)),
            _ => Err(HeliconeApiError::Final(format!("Helicone's API answered {}", status.as_u16()))),
        }
    }
}

fn limiter((steady, burst): (u32, u32)) -> Result<DefaultDirectRateLimiter, HeliconeApiError> {
    let quota = Quota::with_period(LIMIT_PERIOD / steady).zip(NonZeroU32::new(burst));
    let (quota, burst) = quota.ok_or_else(|| HeliconeApiError::Setup("the rate limit is zero".to_owned()))?;
    Ok(RateLimiter::direct(quota.allow_burst(burst)))
}

/// Reads an answer up to its bound.
async fn read(mut response: Response) -> Result<Vec<u8>, HeliconeApiError> {
    let mut answer = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| explain(&error))? {
        if answer.len() + chunk.len() > MAX_ANSWER_BYTES {
            return Err(HeliconeApiError::Final(format!(
                "the answer of Helicone's API has more than {MAX_ANSWER_BYTES} bytes"
            )));
        }
        answer.extend_from_slice(&chunk);
    }
    Ok(answer)
}

fn transient(response: &Response) -> HeliconeApiError {
    HeliconeApiError::Transient {
        message: format!("Helicone's API answered {}", response.status().as_u16()),
        retry_after: retry_after(response.headers(), SystemTime::now()),
    }
}

/// `Retry-After`, else `RateLimit-Reset`, in seconds, or seconds since 1970.
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let seconds = ["retry-after", "ratelimit-reset", "x-ratelimit-reset"]
        .into_iter()
        .find_map(|name| headers.get(name)?.to_str().ok()?.trim().parse::<u64>().ok())?;
    let wait = if seconds >= EPOCH_SECONDS_FROM {
        Duration::from_secs(seconds).saturating_sub(now.duration_since(UNIX_EPOCH).unwrap_or_default())
    } else {
        Duration::from_secs(seconds)
    };
    Some(wait.min(MAX_RETRY_AFTER))
}

fn explain(error: &reqwest::Error) -> HeliconeApiError {
    let message = if error.is_timeout() {
        "Helicone's API did not answer in time"
    } else if error.is_connect() {
        "cannot connect to Helicone's API; check sources.helicone_api_url and the network"
    } else {
        "the request to Helicone's API failed"
    };
    HeliconeApiError::Transient { message: message.to_owned(), retry_after: None }
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;
