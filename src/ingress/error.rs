//! Why a webhook is refused: one enum that knows its status, metric label, log level and headers.

use std::{net::SocketAddr, time::Duration};

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use tracing::Level;

use super::{limits::LimitExceeded, tls::TlsError};
use crate::{domain::SourceName, event_log::EventLogError, payload::PayloadError};

/// Why the ingress cannot start.
#[derive(Debug, thiserror::Error)]
pub enum IngressStartError {
    /// The address is taken, not local, or needs rights.
    #[error("cannot listen on ingress.listen = {address}: {source}")]
    Listen {
        /// The address from the settings.
        address: SocketAddr,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The certificate or its key cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Not an IP address or network.
    #[error("ingress.trusted_proxies: {0:?} is not a network such as 10.0.0.0/8")]
    TrustedProxy(String),
    /// With an empty secret anyone could sign.
    #[error("source {0} has no secret, or an empty one; set it to the value that the Helicone dashboard shows")]
    EmptySecret(SourceName),
    /// A metric of this name is registered already: the ingress was started twice on one registry.
    #[error("cannot register the metrics of the ingress: {0}")]
    Metrics(#[from] prometheus::Error),
}

/// Why a request is not answered 200. Messages never quote a body, a secret, a signature or a query.
#[derive(Debug, thiserror::Error)]
pub(super) enum IngressError {
    /// No such path.
    #[error("Not found")]
    UnknownPath,
    /// No such source is configured.
    #[error("Unknown source")]
    UnknownSource,
    /// The path exists, for another method.
    #[error("Method not allowed")]
    MethodNotAllowed,
    /// Helicone sends JSON and nothing else.
    #[error("Content-Type must be application/json")]
    ContentType,
    /// Declared or sent more than is taken.
    #[error("The body is larger than {max_bytes} bytes")]
    BodyTooLarge {
        /// `ingress.max_body_bytes`.
        max_bytes: usize,
    },
    /// Missing, malformed, repeated or wrong: the sender learns no more than that.
    #[error("Invalid signature")]
    InvalidSignature,
    /// Too much from one client or source.
    #[error("Too many requests")]
    RateLimited(#[from] LimitExceeded),
    /// The body did not arrive in time.
    #[error("The body did not arrive in time")]
    BodyTimeout,
    /// The connection ended before the body did.
    #[error("The body is incomplete")]
    BodyCutOff,
    /// Signed and kept, but not countable.
    #[error(transparent)]
    Uncountable(PayloadError),
    /// `ingress.max_in_flight_bytes` is used up by bodies that are being received or stored.
    #[error("Too many webhooks at once")]
    OutOfMemoryBudget,
    /// The log refused the record.
    #[error("The webhook could not be stored")]
    Append(#[source] EventLogError),
    /// The log did not answer within `ingress.append_timeout_ms`. The record may still become durable.
    #[error("The webhook could not be stored in time")]
    AppendTimeout,
    /// A task of ours died.
    #[error("Internal error")]
    Internal,
}

/// What a sender is told to wait before it tries a 503 again, in seconds.
const RETRY_AFTER_SECONDS: u64 = 5;

impl IngressError {
    pub(super) const fn status(&self) -> StatusCode {
        match self {
            Self::UnknownPath | Self::UnknownSource => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::ContentType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::BodyTooLarge { .. } | Self::Append(EventLogError::RecordTooLarge { .. }) => {
                StatusCode::PAYLOAD_TOO_LARGE
            }
            Self::InvalidSignature => StatusCode::UNAUTHORIZED,
            Self::RateLimited(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::BodyTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::BodyCutOff | Self::Uncountable(_) => StatusCode::BAD_REQUEST,
            Self::OutOfMemoryBudget | Self::Append(_) | Self::AppendTimeout => StatusCode::SERVICE_UNAVAILABLE,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// The bounded `outcome` label of `heliometer_webhooks_total`.
    pub(super) const fn outcome(&self) -> &'static str {
        match self {
            Self::UnknownPath => "unknown_path",
            Self::UnknownSource => "unknown_source",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::ContentType => "content_type",
            Self::BodyTooLarge { .. } => "too_large",
            Self::InvalidSignature => "invalid_signature",
            Self::RateLimited(_) => "rate_limited",
            Self::BodyTimeout => "body_timeout",
            Self::BodyCutOff => "body_cut_off",
            Self::Uncountable(error) => error.label(),
            Self::OutOfMemoryBudget => "overloaded",
            Self::Append(_) => "append_failed",
            Self::AppendTimeout => "append_timeout",
            Self::Internal => "internal",
        }
    }

    pub(super) const fn level(&self) -> Level {
        match self {
            // Scanners knock on every open port.
            Self::UnknownPath | Self::MethodNotAllowed => Level::DEBUG,
            // Helicone does not retry: these lose an event that was meant for us.
            Self::OutOfMemoryBudget | Self::Append(_) | Self::AppendTimeout | Self::Internal => Level::ERROR,
            _ => Level::WARN,
        }
    }
}

impl IntoResponse for IngressError {
    fn into_response(self) -> Response {
        let status = self.status();
        let mut response = json_response(status, &serde_json::json!({ "error": self.to_string() }));
        let headers = response.headers_mut();
        if let Self::RateLimited(limit) = &self {
            let reset = seconds_rounded_up(limit.retry_after);
            headers.insert(header::RETRY_AFTER, reset.into());
            headers.insert("ratelimit-limit", limit.burst.into());
            headers.insert("ratelimit-remaining", 0.into());
            headers.insert("ratelimit-reset", reset.into());
        } else if status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, RETRY_AFTER_SECONDS.into());
        }
        response
    }
}

/// `body` as the answer.
pub(super) fn json_response(status: StatusCode, body: &serde_json::Value) -> Response {
    let mut response = (status, body.to_string()).into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// At least 1: "retry after 0 seconds" invites a tight loop.
fn seconds_rounded_up(duration: Duration) -> u64 {
    (duration.as_secs() + u64::from(duration.subsec_nanos() > 0)).max(1)
}
