//! The webhook's JSON as Helicone really sends it.
//!
//! Bodies stay borrowed raw JSON: they can be tens of megabytes, and they can hold lone surrogates
//! (`"\ud800"`) and `\u0000`, which a parser that builds Rust strings rejects. Text that must become a string
//! (ids, names) is decoded with U+FFFD in place of a lone surrogate.

pub mod headers;
mod text;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::domain::{IdentityError, PresignedUrl, RequestId, UsdAmount};
pub use text::LossyText;

/// Why a signed message cannot be counted. It becomes a dead letter with this reason.
#[derive(Debug, thiserror::Error)]
pub enum PayloadError {
    /// Not JSON, or not a JSON object with fields of the kinds Helicone sends.
    #[error("the body is not a webhook payload: {0}")]
    Json(String),
    /// No `request_id`: nothing to count it by.
    #[error("the payload has no usable request_id: it {0}")]
    RequestId(IdentityError),
    /// `request_id` is absent or null.
    #[error("the payload has no request_id")]
    NoRequestId,
}

impl PayloadError {
    /// A bounded label for metrics and the `reason` of a dead letter.
    #[must_use]
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Json(_) => "bad_json",
            Self::RequestId(_) | Self::NoRequestId => "no_request_id",
        }
    }
}

/// One webhook. Fields are absent, empty or null as the sender likes; see `docs/webhook.md`.
#[derive(Debug)]
pub struct Payload<'a> {
    /// The identity of the LLM call.
    pub request_id: RequestId,
    /// The provider request as the caller made it.
    pub request_body: Option<&'a RawValue>,
    /// The provider's answer.
    pub response_body: Option<&'a RawValue>,
    /// Who made the call, if the caller said.
    pub user_id: Option<String>,
    /// Where the whole bodies are.
    pub request_response_url: Option<PresignedUrl>,
    /// The provider's dated model name.
    pub model: Option<String>,
    /// The provider, upper case, or a custom host.
    pub provider: Option<String>,
    /// Cost, tokens and latency as the gateway measured them.
    pub metadata: Option<Metadata>,
}

/// `metadata`: what the gateway computed. Values are as sent, credible or not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Metadata {
    /// USD. 0 also when the price is unknown, negative for a stream without usage. `None`: absent or not storable.
    pub cost_usd: Option<UsdAmount>,
    /// −1 for a stream without usage. Excludes cached tokens.
    pub prompt_tokens: Option<i64>,
    /// −1 for a stream without usage.
    pub completion_tokens: Option<i64>,
    /// −2 for a stream without usage.
    pub total_tokens: Option<i64>,
    /// From request to response, in milliseconds.
    pub latency_ms: Option<i64>,
}

impl Metadata {
    /// A stream without usage: nothing that was computed from its tokens is credible.
    #[must_use]
    pub fn has_negative_tokens(&self) -> bool {
        [self.prompt_tokens, self.completion_tokens, self.total_tokens].into_iter().flatten().any(|tokens| tokens < 0)
    }
}

#[derive(Deserialize)]
struct RawPayload<'a> {
    request_id: Option<LossyText>,
    #[serde(borrow)]
    request_body: Option<&'a RawValue>,
    #[serde(borrow)]
    response_body: Option<&'a RawValue>,
    user_id: Option<LossyText>,
    request_response_url: Option<LossyText>,
    model: Option<LossyText>,
    provider: Option<LossyText>,
    #[serde(borrow)]
    metadata: Option<RawMetadata<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawMetadata<'a> {
    #[serde(borrow)]
    cost: Option<&'a RawValue>,
    #[serde(borrow)]
    prompt_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    completion_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    total_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    latency_ms: Option<&'a RawValue>,
}

impl<'a> Payload<'a> {
    /// Reads a webhook's body.
    ///
    /// # Errors
    /// [`PayloadError`] when it is not JSON of this shape or has no usable `request_id`. Odd values in the
    /// numbers of `metadata` are no error: they read as absent.
    pub fn parse(body: &'a [u8]) -> Result<Self, PayloadError> {
        let raw: RawPayload<'a> = serde_json::from_slice(body).map_err(|error| PayloadError::Json(describe(&error)))?;
        let request_id = raw.request_id.ok_or(PayloadError::NoRequestId)?;
        Ok(Self {
            request_id: RequestId::new(request_id.0).map_err(PayloadError::RequestId)?,
            request_body: raw.request_body,
            response_body: raw.response_body,
            user_id: non_empty(raw.user_id),
            request_response_url: non_empty(raw.request_response_url).and_then(|url| PresignedUrl::parse(&url)),
            model: non_empty(raw.model),
            provider: non_empty(raw.provider),
            metadata: raw.metadata.map(|metadata| Metadata {
                cost_usd: metadata.cost.and_then(|cost| UsdAmount::parse_request_amount(cost.get()).ok()),
                prompt_tokens: integer(metadata.prompt_tokens),
                completion_tokens: integer(metadata.completion_tokens),
                total_tokens: integer(metadata.total_tokens),
                latency_ms: integer(metadata.latency_ms),
            }),
        })
    }

    /// Helicone's "test" button: acknowledged and counted, kept out of spend and alerts.
    #[must_use]
    pub fn is_test(&self) -> bool {
        self.request_response_url.as_ref().is_some_and(PresignedUrl::is_test_button)
    }
}

/// The position and kind of a JSON error. Never a piece of the body.
fn describe(error: &serde_json::Error) -> String {
    use serde_json::error::Category;
    let kind = match error.classify() {
        Category::Eof => "it is cut off",
        Category::Syntax => "it is not valid JSON",
        Category::Data => "a field has a value of the wrong type",
        Category::Io => "it could not be read",
    };
    format!("{kind} at line {}, column {}", error.line(), error.column())
}

fn non_empty(text: Option<LossyText>) -> Option<String> {
    text.map(|text| text.0).filter(|text| !text.is_empty())
}

/// A whole JSON number, also when written as `12.0` or `1.2e3`; anything else reads as absent.
pub(crate) fn integer(raw: Option<&RawValue>) -> Option<i64> {
    let text = raw?.get();
    if let Ok(value) = text.parse() {
        return Some(value);
    }
    let value: f64 = text.parse().ok()?;
    // 2^53: beyond it a double no longer tells neighbouring integers apart.
    #[expect(clippy::cast_possible_truncation, reason = "checked to be whole and within 2^53")]
    (value.fract() == 0.0 && value.abs() <= 9_007_199_254_740_992.0).then_some(value as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lone_surrogates_and_nul_pass_through() {
        let body = br#"{"request_id":"u","request_body":{"t":"\u0000 \ud800"},"user_id":"a\ud800b"}"#;
        let payload = Payload::parse(body).expect("a payload");
        assert_eq!(payload.request_body.map(RawValue::get), Some(r#"{"t":"\u0000 \ud800"}"#));
        assert_eq!(payload.user_id.as_deref(), Some("a\u{FFFD}b"));
    }

    #[test]
    fn nulls_and_empties_read_as_absent() {
        let body =
            br#"{"request_id":"x","user_id":"","model":null,"provider":"","metadata":null,"request_response_url":""}"#;
        let payload = Payload::parse(body).expect("a payload");
        assert!(payload.user_id.is_none() && payload.model.is_none() && payload.provider.is_none());
        assert!(payload.metadata.is_none() && payload.request_response_url.is_none());
    }

    #[test]
    fn odd_numbers_read_as_absent_and_whole_floats_as_integers() {
        let body = br#"{"request_id":"x","metadata":{"cost":"a","promptTokens":1.5,"completionTokens":12.0,"totalTokens":{},"latencyMs":1e3}}"#;
        let metadata = Payload::parse(body).expect("a payload").metadata.expect("metadata");
        let expected = Metadata { completion_tokens: Some(12), latency_ms: Some(1000), ..Metadata::default() };
        assert_eq!(metadata, expected);
    }

    #[test]
    fn what_cannot_be_counted_is_refused_without_quoting_it() {
        for (body, label) in [
            ("", "bad_json"),
            ("{\"request_id\":\"secret", "bad_json"),
            ("[]", "bad_json"),
            ("\"text\"", "bad_json"),
            ("{}", "no_request_id"),
            ("{\"request_id\":null}", "no_request_id"),
            ("{\"request_id\":\" \"}", "no_request_id"),
            ("{\"request_id\":{}}", "bad_json"),
            ("\u{FEFF}{}", "bad_json"),
        ] {
            let error = Payload::parse(body.as_bytes()).expect_err(body);
            assert_eq!(error.label(), label, "{body}");
            assert!(!error.to_string().contains("secret"), "{error}");
        }
        assert_eq!(Payload::parse(b"{\"request_id\":\"\xff\"}").expect_err("not UTF-8").label(), "bad_json");
    }
}
