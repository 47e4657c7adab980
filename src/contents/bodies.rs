//! Where the two bodies of a call are: in the stored object, in the webhook, or nowhere.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{payload::LossyText, usage::Body};

/// Raw JSON longer than this is not the notice that Helicone puts in place of a large body.
const LONGEST_NOTICE_BYTES: usize = 200;

/// At most `max_bytes` of a text, and no part of a character.
pub(super) fn beginning(text: &str, max_bytes: usize) -> &str {
    let mut end = max_bytes.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// One body as text, borrowed unless it came as a JSON string.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct BodyText<'a> {
    pub(super) text: Cow<'a, str>,
    pub(super) is_json: bool,
    pub(super) origin: Origin,
}

/// Where a body is from; the values of `contents.request_origin`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    Stored,
    Inline,
    TooLarge,
    Missing,
}

impl Origin {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Stored => "stored",
            Self::Inline => "inline",
            Self::TooLarge => "too_large",
            Self::Missing => "missing",
        }
    }
}

/// Both bodies of a call.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Bodies<'a> {
    pub(super) request: BodyText<'a>,
    pub(super) response: BodyText<'a>,
}

#[derive(Default, Deserialize)]
struct Webhook<'a> {
    #[serde(borrow)]
    request_body: Option<&'a RawValue>,
    #[serde(borrow)]
    response_body: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
struct StoredObject<'a> {
    #[serde(borrow)]
    request: Option<&'a RawValue>,
    #[serde(borrow)]
    response: Option<&'a RawValue>,
}

impl<'a> Bodies<'a> {
    /// Each body from the stored object if it has it, else from the webhook. What cannot be read has none.
    pub(super) fn of(webhook: &'a [u8], object: Option<&'a [u8]>) -> Self {
        let inline: Webhook<'a> = serde_json::from_slice(webhook).unwrap_or_default();
        let stored: StoredObject<'a> =
            object.and_then(|object| serde_json::from_slice(object).ok()).unwrap_or_default();
        Self {
            request: BodyText::of(stored.request, inline.request_body),
            response: BodyText::of(stored.response, inline.response_body),
        }
    }
}

impl<'a> BodyText<'a> {
    fn of(stored: Option<&'a RawValue>, inline: Option<&'a RawValue>) -> Self {
        let stored = Self::read(stored, Origin::Stored);
        if stored.origin == Origin::Stored { stored } else { Self::read(inline, Origin::Inline) }
    }

    fn read(raw: Option<&'a RawValue>, origin: Origin) -> Self {
        let nothing = |origin| Self { text: Cow::Borrowed(""), is_json: false, origin };
        let Some(raw) = raw.filter(|raw| raw.get() != "null") else { return nothing(Origin::Missing) };
        let json = raw.get();
        if !json.starts_with('"') {
            return Self { text: Cow::Borrowed(json), is_json: true, origin };
        }
        if json.len() <= LONGEST_NOTICE_BYTES && matches!(Body::from_payload(Some(raw)), Body::TooLarge) {
            return nothing(Origin::TooLarge);
        }
        match serde_json::from_str::<LossyText>(json) {
            Ok(LossyText(text)) if !text.trim().is_empty() => {
                let is_json = text.trim_start().starts_with(['{', '[']);
                Self { text: Cow::Owned(text), is_json, origin }
            }
            _ => nothing(Origin::Missing),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_body_comes_from_the_best_place() {
        let notice = "Body too large for webhook, please fetch the full request and response from Helicone";
        let webhook = format!(r#"{{"request_id":"x","request_body":{{"a":1}},"response_body":"{notice}"}}"#);
        let both = r#"{"request":{"b":2},"response":"{\"c\":\ud800}"}"#;
        for (webhook, object, request, response) in [
            (webhook.as_str(), None, (r#"{"a":1}"#, Origin::Inline), ("", Origin::TooLarge)),
            (&webhook, Some(both), (r#"{"b":2}"#, Origin::Stored), ("{\"c\":\u{FFFD}}", Origin::Stored)),
            (&webhook, Some(r#"{"response":{"c":3}}"#), (r#"{"a":1}"#, Origin::Inline), (r#"{"c":3}"#, Origin::Stored)),
            (&webhook, Some("<html>"), (r#"{"a":1}"#, Origin::Inline), ("", Origin::TooLarge)),
            (r#"{"request_body":"","response_body":null}"#, None, ("", Origin::Missing), ("", Origin::Missing)),
            (r#"{"request_body":"plain \ud800"}"#, None, ("plain \u{FFFD}", Origin::Inline), ("", Origin::Missing)),
        ] {
            let bodies = Bodies::of(webhook.as_bytes(), object.map(str::as_bytes));
            assert_eq!((&*bodies.request.text, bodies.request.origin), request, "{webhook} {object:?}");
            assert_eq!((&*bodies.response.text, bodies.response.origin), response, "{webhook} {object:?}");
        }
    }
}
