//! Whatever comes is read: nothing panics, and nothing is taken for usage that is none.

use proptest::prelude::*;
use serde_json::{Value, value::RawValue};

use super::{cases, facts};
use crate::usage::{Body, ResponseFacts, ResponseStatus, StoredObject};

/// Keys and texts that mean something, and some that do not.
fn word() -> impl Strategy<Value = String> {
    prop_oneof![
        prop::sample::select(vec![
            "usage",
            "usageMetadata",
            "prompt_tokens",
            "completion_tokens",
            "prompt_tokens_details",
            "cached_tokens",
            "input_tokens",
            "output_tokens",
            "cache_creation",
            "iterations",
            "inputTokens",
            "billed_units",
            "response",
            "message",
            "delta",
            "metadata",
            "type",
            "message_start",
            "streamed_data",
            "bedrock_events",
            "data",
            "url",
            "output",
            "created",
            "created_at",
            "error",
            "cost",
            "modality_tokens",
            "predictions",
            "results",
            "data: {\"usage\":{\"prompt_tokens\":1}}\n",
            "compaction",
            "web_search_call",
            "promptTokensDetails",
        ])
        .prop_map(str::to_owned),
        any::<String>(),
    ]
}

fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        word().prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 64, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
            prop::collection::vec((word(), inner), 0..8)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn any_json_is_read(value in json()) {
        let text = value.to_string();
        let plain = facts(&text);
        let quoted = facts(&serde_json::to_string(&text).expect("JSON"));
        if value.is_object() && value.as_object().is_some_and(|object| !object.contains_key("streamed_data")) {
            prop_assert_eq!(plain, quoted);
        }
    }

    #[test]
    fn any_text_is_read(text in any::<String>()) {
        facts(&serde_json::to_string(&text).expect("JSON"));
        facts(&serde_json::to_string(&format!("data: {text}")).expect("JSON"));
        facts(&serde_json::to_string(&format!("{{{text}")).expect("JSON"));
    }

    #[test]
    fn any_escaped_text_is_read(units in prop::collection::vec(any::<u16>(), 0..40)) {
        use std::fmt::Write;
        let mut literal = "\"{".to_owned();
        for unit in units {
            write!(literal, "\\u{unit:04x}").expect("a string takes everything");
        }
        literal.push('"');
        facts(&literal);
        facts(&format!("{{\"streamed_data\":{literal},{literal}:1}}"));
    }
}

/// Cut anywhere, a body is unknown or tells less, and an object that holds it is refused, not misread.
#[test]
fn truncated_bodies_are_read() {
    for case in cases() {
        for (cut, _) in case.body.char_indices() {
            let part = &case.body[..cut];
            let facts = facts(&serde_json::to_string(part).expect("JSON"));
            if case.status == ResponseStatus::Success {
                assert_ne!(facts.status, ResponseStatus::Error, "{}: cut at {cut}", case.name);
            }
            let object = format!("{{\"request\":{{}},\"response\":{part}");
            assert!(serde_json::from_str::<StoredObject<'_>>(&object).is_err(), "{}: cut at {cut}", case.name);
        }
    }
}

#[test]
fn no_part_of_a_body_is_taken_for_another() {
    // What a model writes, or a caller asks, is never usage.
    for json in [
        r#"{"choices":[{"message":{"content":"x","usage":{"prompt_tokens":1,"completion_tokens":2}}}]}"#,
        r#"{"content":[{"type":"text","text":"data: {\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":2}}"}]}"#,
        r#"{"message":{"usage":{"input_tokens":1,"output_tokens":2}}}"#,
        r#"{"results":[{"tokenCount":3}],"data":[{"id":1}]}"#,
    ] {
        assert_eq!(facts(json).usage, None, "{json}");
    }
}

#[test]
fn deep_nesting_is_unknown() {
    for (open, close) in [("[", "]"), ("{\"usage\":", "}"), ("{\"response\":", "}")] {
        let deep = format!("{}1{}", open.repeat(200), close.repeat(200));
        let raw: Result<&RawValue, _> = serde_json::from_str(&deep);
        let facts = raw.map_or(ResponseFacts::UNKNOWN, |raw| ResponseFacts::read(&Body::from_payload(Some(raw))));
        assert_eq!(facts.usage, None);
    }
}
