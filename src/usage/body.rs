//! A response body: inline in the payload, or in the stored object.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    reported::Usage,
    response::Response,
    stream::{Stream, last_usage_in_frames},
    text::StringLiteral,
};
use crate::domain::UtcMillis;

/// The literal of what Helicone puts in place of a string of more than 10,240 UTF-16 units.
const TOO_LARGE: &str = r#""Body too large for webhook, please fetch the full request and response from Helicone""#;

/// A body as it came: JSON, text that may hold JSON, or nothing of use. Borrowed: nothing of it is copied.
#[derive(Clone, Copy, Debug)]
pub enum Body<'a> {
    /// Absent, null, `""`, `{}`, or only a model name.
    Missing,
    /// Helicone left it out for its size; the stored object has it.
    TooLarge,
    /// JSON text.
    Json(&'a str),
    /// The literal of a JSON string that holds JSON or a stream of it: it begins like one.
    Quoted(&'a str),
    /// A string that is neither.
    Text,
}

impl<'a> Body<'a> {
    /// Looks at `request_body` or `response_body` of the payload.
    #[must_use]
    pub fn from_payload(raw: Option<&'a RawValue>) -> Self {
        let Some(json) = raw.map(RawValue::get) else { return Self::Missing };
        let Some(text) = StringLiteral::of(json) else {
            return if json == "null" { Self::Missing } else { Self::Json(json) };
        };
        if json == TOO_LARGE {
            return Self::TooLarge;
        }
        let start = text.start(6);
        if start.is_empty() {
            Self::Missing
        } else if ["{", "[", ":", "data:", "event:", "id:", "retry:"].iter().any(|begin| start.starts_with(begin)) {
            Self::Quoted(json)
        } else {
            Self::Text
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

impl ResponseFacts {
    /// Reads what there is. Anything unreadable reads as unknown: a body never makes a call uncountable.
    #[must_use]
    pub fn read(body: &Body<'_>) -> Self {
        match *body {
            Body::Missing | Body::TooLarge => Self::UNKNOWN,
            Body::Text => Self::NOTHING_TOLD,
            Body::Json(json) => Self::of_json(json).unwrap_or(Self::NOTHING_TOLD),
            Body::Quoted(json) => StringLiteral::of(json).map_or(Self::NOTHING_TOLD, Self::of_text),
        }
    }

    /// A response that tells nothing.
    const NOTHING_TOLD: Self = Self { status: ResponseStatus::Success, ..Self::UNKNOWN };

    /// `None` when it is not one whole object or array.
    fn of_json(json: &str) -> Option<Self> {
        if json.starts_with('[') {
            let stream = Stream::of_array(json);
            return stream.has_chunks.then(|| Self::of_stream(&stream));
        }
        let response = Response::parse(json)?;
        Some(Self {
            usage: usage(&response),
            status: if response.is_error() {
                ResponseStatus::Error
            } else if response.has_content {
                ResponseStatus::Success
            } else {
                ResponseStatus::Unknown
            },
            created_at: response.created_at(),
        })
    }

    /// JSON in a string is unescaped, but for its long strings; a stream in a string is read line by line.
    fn of_text(text: StringLiteral<'_>) -> Self {
        if text.start(1).starts_with(['{', '[']) {
            let skimmed = text.skimmed();
            let skimmed = skimmed.trim();
            // The one long string that tells something, cut while skimming.
            let has_cut_stream = Response::parse(skimmed)
                .and_then(|response| response.streamed_data)
                .is_some_and(|streamed_data| streamed_data.get().starts_with('"'));
            let facts = if has_cut_stream { Self::of_json(text.unescaped().trim()) } else { Self::of_json(skimmed) };
            if let Some(facts) = facts {
                return facts;
            }
        }
        Self::of_stream(&Stream::of_text(text))
    }

    fn of_stream(stream: &Stream) -> Self {
        Self {
            usage: stream.usage(),
            status: if stream.has_error { ResponseStatus::Error } else { ResponseStatus::Success },
            created_at: stream.created_at,
        }
    }
}

/// What the merged body says, unless its chunks tell more: where it has no whole usage, and where Helicone's own merging
/// loses some.
/// - A Bedrock stream is rewritten without the cache, and with 0 for what is not known.
/// - Of Anthropic's last usage it takes the output alone: what server tools and compaction add to the input is lost.
fn usage(response: &Response<'_>) -> Option<Usage> {
    let is_bedrock = response.bedrock_events.is_some();
    let merged = response.usage().filter(|usage| !is_bedrock || !usage.is_zero());
    let is_whole = merged.is_some_and(|usage| usage.is_complete());
    if is_whole && !is_bedrock && !has_added_input(response.streamed_data) {
        return merged;
    }
    let from_chunks = |raw: Option<&RawValue>| Stream::of(raw?).usage().filter(|usage| !usage.is_empty());
    let streamed = from_chunks(response.bedrock_events).or_else(|| from_chunks(response.streamed_data));
    let framed = || response.streamed_data.filter(|_| is_bedrock).and_then(last_usage_in_frames);
    streamed
        .filter(Usage::is_complete)
        .or_else(framed)
        .or(merged)
        .or(streamed)
        .or_else(|| response.invocation_metrics())
}

/// Whether raw events mention what adds to the input after the start of a message.
fn has_added_input(streamed_data: Option<&RawValue>) -> bool {
    streamed_data
        .and_then(|raw| StringLiteral::of(raw.get()))
        .is_some_and(|text| ["server_tool_use", "compaction"].into_iter().any(|name| text.escaped().contains(name)))
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
