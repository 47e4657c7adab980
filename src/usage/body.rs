//! A response body: inline in the payload, or in the stored object.

use std::{borrow::Cow, fmt};

use serde::{Deserialize, Deserializer, de};
use serde_json::value::RawValue;

use super::{
    Usage,
    counters::{from_usage_metadata, from_usage_object},
};
use crate::{
    domain::UtcMillis,
    payload::{LossyText, integer},
};

/// What Helicone puts in place of a string of more than 10,240 UTF-16 units.
const TOO_LARGE: &str = "Body too large for webhook, please fetch the full request and response from Helicone";

/// A body as it came: JSON, JSON inside a string, or nothing of use.
#[derive(Debug)]
pub enum Body<'a> {
    /// Absent, null, `""`, `{}`, or only a model name.
    Missing,
    /// Helicone left it out for its size; the stored object has it.
    TooLarge,
    /// JSON text.
    Json(Cow<'a, str>),
    /// A string that is not JSON.
    Text,
}

impl<'a> Body<'a> {
    /// Looks at `request_body` or `response_body` of the payload.
    #[must_use]
    pub fn from_payload(raw: Option<&'a RawValue>) -> Self {
        let Some(raw) = raw else { return Self::Missing };
        let json = raw.get();
        if !json.starts_with('"') {
            return if json == "null" { Self::Missing } else { Self::Json(Cow::Borrowed(json)) };
        }
        match serde_json::from_str::<LossyText>(json) {
            Ok(LossyText(text)) if text.trim().is_empty() => Self::Missing,
            Ok(LossyText(text)) if text == TOO_LARGE => Self::TooLarge,
            Ok(LossyText(text)) if text.trim_start().starts_with(['{', '[']) => Self::Json(Cow::Owned(text)),
            _ => Self::Text,
        }
    }
}

/// How the call ended, as far as the response tells. The payload has no HTTP status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResponseStatus {
    /// A response of some shape.
    Success,
    /// The provider or the gateway answered with an error.
    Error,
    /// No response body to judge by.
    Unknown,
}

impl ResponseStatus {
    /// The value in `requests.status`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Error => "error",
            Self::Unknown => "unknown",
        }
    }
}

/// What a response body tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResponseFacts {
    /// Token counters, if it has any.
    pub usage: Option<Usage>,
    /// How the call ended.
    pub status: ResponseStatus,
    /// When the provider says it was made.
    pub created_at: Option<UtcMillis>,
}

impl ResponseFacts {
    /// What nothing tells.
    pub const UNKNOWN: Self = Self { usage: None, status: ResponseStatus::Unknown, created_at: None };
}

/// The keys of a response that matter here.
#[derive(Default)]
struct ResponseObject<'a> {
    usage: Option<&'a RawValue>,
    usage_metadata: Option<&'a RawValue>,
    x_groq: Option<&'a RawValue>,
    created: Option<&'a RawValue>,
    error: Option<&'a RawValue>,
    helicone_error: Option<&'a RawValue>,
    parse_response_error: Option<&'a RawValue>,
    /// Whether there is any key but `model`, which Helicone leaves when bodies are omitted.
    has_content: bool,
}

impl<'de> Deserialize<'de> for ResponseObject<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = ResponseObject<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a response object")
            }

            fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut object = ResponseObject::default();
                while let Some(LossyText(key)) = map.next_key()? {
                    // Borrowed and skipped, not built: a body can be tens of megabytes.
                    let value: &'de RawValue = map.next_value()?;
                    object.has_content |= key != "model";
                    match key.as_str() {
                        "usage" => object.usage = Some(value),
                        "usageMetadata" => object.usage_metadata = Some(value),
                        "x_groq" => object.x_groq = Some(value),
                        "created" => object.created = Some(value),
                        "error" => object.error = Some(value),
                        "helicone_error" => object.helicone_error = Some(value),
                        "parse_response_error" => object.parse_response_error = Some(value),
                        _ => {}
                    }
                }
                Ok(object)
            }
        }
        deserializer.deserialize_map(Visitor)
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct GroqObject<'a> {
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
}

impl ResponseFacts {
    /// Reads what there is. Anything unreadable reads as unknown: a body never makes a call uncountable.
    #[must_use]
    pub fn read(body: &Body<'_>) -> Self {
        let json = match body {
            Body::Missing | Body::TooLarge => return Self::UNKNOWN,
            Body::Text => return Self { status: ResponseStatus::Success, ..Self::UNKNOWN },
            Body::Json(json) => json,
        };
        let Ok(object) = serde_json::from_str::<ResponseObject<'_>>(json) else {
            return Self { status: ResponseStatus::Success, ..Self::UNKNOWN };
        };
        let present = |raw: Option<&RawValue>| raw.is_some_and(|raw| raw.get() != "null");
        let is_error = present(object.error) || present(object.helicone_error) || present(object.parse_response_error);
        Self {
            usage: object
                .usage
                .and_then(|usage| from_usage_object(usage.get()))
                .or_else(|| object.usage_metadata.and_then(|usage| from_usage_metadata(usage.get())))
                .or_else(|| {
                    let groq: GroqObject<'_> = serde_json::from_str(object.x_groq?.get()).ok()?;
                    from_usage_object(groq.usage?.get())
                }),
            status: if is_error {
                ResponseStatus::Error
            } else if object.has_content {
                ResponseStatus::Success
            } else {
                ResponseStatus::Unknown
            },
            created_at: integer(object.created).filter(|seconds| *seconds > 0).map(UtcMillis::from_seconds),
        }
    }
}

/// The object at `request_response_url`: `{"request": …, "response": …}`.
#[derive(Debug, Deserialize)]
pub struct StoredObject<'a> {
    /// The provider's answer.
    #[serde(borrow)]
    pub response: Option<&'a RawValue>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(json: &str) -> ResponseFacts {
        let raw: Box<RawValue> = serde_json::from_str(json).expect("JSON");
        ResponseFacts::read(&Body::from_payload(Some(&raw)))
    }

    #[test]
    fn status_is_told_by_the_body() {
        for (json, status) in [
            ("null", ResponseStatus::Unknown),
            ("\"\"", ResponseStatus::Unknown),
            ("{}", ResponseStatus::Unknown),
            (r#"{"model":"gpt-4o"}"#, ResponseStatus::Unknown),
            (
                r#""Body too large for webhook, please fetch the full request and response from Helicone""#,
                ResponseStatus::Unknown,
            ),
            (r#"{"b":2}"#, ResponseStatus::Success),
            (r#""plain text""#, ResponseStatus::Success),
            ("[1]", ResponseStatus::Success),
            (r#"{"error":null,"choices":[]}"#, ResponseStatus::Success),
            (r#"{"error":{"message":"x"}}"#, ResponseStatus::Error),
            (r#"{"error":"HTML response detected:","html_response":"<html>"}"#, ResponseStatus::Error),
            (r#"{"helicone_error":"x","parse_response_error":"y"}"#, ResponseStatus::Error),
        ] {
            assert_eq!(facts(json).status, status, "{json}");
        }
    }

    #[test]
    fn a_body_inside_a_string_counts_like_an_object() {
        let expected = Usage { prompt_tokens: Some(13), completion_tokens: Some(17), ..Usage::default() };
        let text = r#"{"created":5,"usage":{"prompt_tokens":13,"completion_tokens":17}}"#;
        let quoted = serde_json::to_string(text).expect("JSON");
        for json in [text, &quoted] {
            assert_eq!(facts(json).usage, Some(expected));
            assert_eq!(facts(json).created_at, Some(UtcMillis(5_000)));
        }
    }

    #[test]
    fn odd_keys_and_values_do_no_harm() {
        let json =
            r#"{"\ud800":1,"usage":[],"created":"x","x_groq":3,"usage":{"prompt_tokens":1,"completion_tokens":1}}"#;
        assert_eq!(facts(json).usage.and_then(|usage| usage.prompt_tokens), Some(1));
    }
}
