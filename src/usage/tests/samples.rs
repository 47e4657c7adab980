//! The stored objects of the shared samples, in place.

use std::{collections::BTreeMap, path::Path};

use super::{UNKNOWN, tokens};
use crate::{
    domain::UtcMillis,
    usage::{Body, ResponseFacts, ResponseStatus, ServiceTier, StoredObject, Usage},
};

pub(super) fn samples() -> BTreeMap<String, Vec<u8>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/samples/stored");
    let entries = std::fs::read_dir(&directory).unwrap_or_else(|error| {
        panic!("the shared samples must be beside the repository, at ../shared/samples: {error}")
    });
    entries
        .map(|entry| {
            let path = entry.expect("a readable directory").path();
            let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
            (name, std::fs::read(&path).expect("a readable sample"))
        })
        .collect()
}

pub(super) fn read(object: &[u8]) -> ResponseFacts {
    let object: StoredObject<'_> = serde_json::from_slice(object).expect("a stored object");
    ResponseFacts::read(&Body::from_payload(object.response))
}

#[test]
fn every_stored_sample_tells_what_was_worked_out_by_hand() {
    use ResponseStatus::{Error, Success, Unknown};

    let openai =
        Usage { reasoning_tokens: Some(0), prompt_audio_tokens: Some(0), completion_audio_tokens: Some(0), ..UNKNOWN };
    let default_tier = Some(ServiceTier::Default);
    let expected = BTreeMap::from([
        // 1248-1152
        (
            "openai-cached",
            (
                Some(Usage {
                    prompt_tokens: Some(96),
                    completion_tokens: Some(10),
                    cached_tokens: Some(1152),
                    service_tier: default_tier,
                    ..openai
                }),
                Success,
                Some(1_757_346_297_000),
            ),
        ),
        (
            "openai-stream",
            (
                Some(Usage {
                    prompt_tokens: Some(1248),
                    completion_tokens: Some(10),
                    cached_tokens: Some(0),
                    service_tier: default_tier,
                    ..openai
                }),
                Success,
                Some(1_757_346_066_000),
            ),
        ),
        ("openai-stream-nousage", (None, Success, None)),
        ("openai-error-429", (None, Error, None)),
        (
            "azure",
            (
                Some(Usage { prompt_tokens: Some(18), completion_tokens: Some(100), cached_tokens: Some(0), ..openai }),
                Success,
                Some(1_758_225_260_000),
            ),
        ),
        (
            "anthropic",
            (
                Some(Usage {
                    cached_tokens: Some(183),
                    cache_write_tokens: Some(50),
                    cache_write_1h_tokens: Some(0),
                    service_tier: default_tier,
                    ..tokens(9, 12)
                }),
                Success,
                None,
            ),
        ),
        (
            "anthropic-stream",
            (
                Some(Usage {
                    cached_tokens: Some(500),
                    cache_write_tokens: Some(20),
                    cache_write_1h_tokens: Some(20),
                    service_tier: default_tier,
                    ..tokens(338, 65)
                }),
                Success,
                None,
            ),
        ),
        ("bedrock-converse", (Some(tokens(30, 628)), Success, None)),
        // 100-70
        (
            "deepseek-cached",
            (Some(Usage { cached_tokens: Some(70), ..tokens(30, 50) }), Success, Some(1_758_080_205_000)),
        ),
        // 13654-13644
        ("gemini-cached", (Some(Usage { cached_tokens: Some(13_644), ..tokens(10, 87) }), Success, None)),
        ("groq-stream", (Some(tokens(47, 10)), Success, Some(1_757_991_385_000))),
        ("html-502", (None, Error, None)),
        ("no-bodies", (None, Unknown, None)),
        ("omit-both", (None, Unknown, None)),
    ]);
    let samples = samples();
    assert_eq!(
        samples.keys().map(String::as_str).collect::<Vec<_>>(),
        expected.keys().copied().collect::<Vec<_>>(),
        "each sample has its numbers here"
    );
    for (name, (usage, status, created_at)) in &expected {
        let facts = read(&samples[*name]);
        let created_at = created_at.map(UtcMillis);
        assert_eq!(facts, ResponseFacts { usage: *usage, status: *status, created_at }, "{name}");
    }
}

/// The merged bodies of streams, with their usage taken away: the chunks tell the same.
#[test]
fn what_a_merged_body_lacks_its_chunks_tell() {
    let samples = samples();
    for name in ["openai-stream", "anthropic-stream", "groq-stream"] {
        let mut object: serde_json::Value = serde_json::from_slice(&samples[name]).expect("JSON");
        let whole = super::facts(&object["response"].to_string());
        let response = object["response"].as_object_mut().expect("an object");
        response.remove("usage");
        response.remove("x_groq");
        let recovered = super::facts(&object["response"].to_string());
        assert_eq!(recovered, whole, "{name}");
    }
}
