//! Bodies of every provider against numbers worked out by hand from the provider's documentation, to the last digit.
//!
//! A case has the provider and model as Helicone sends them, and what the call costs by the shipped price book: the sum is
//! written out, from prices in USD per million tokens to millionths of a USD. None of it was copied from what the program
//! says.

mod anthropic;
mod bedrock;
mod costs;
mod google;
mod openai;
mod openai_shaped;
mod others;
mod properties;
mod samples;
mod size;

use serde_json::value::RawValue;

use super::{Body, ResponseFacts, ResponseStatus, Usage};
use crate::{
    domain::{UsdAmount, UtcMillis},
    pricing::UnpricedReason,
};

/// One body and what it tells.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Case {
    /// What is special about it.
    pub(crate) name: &'static str,
    /// As in the payload.
    pub(crate) provider: &'static str,
    /// As in the payload.
    pub(crate) model: &'static str,
    /// The response body.
    pub(crate) body: &'static str,
    /// How the numbers were worked out: the counts, then the cost.
    pub(crate) how: &'static str,
    /// Every counter.
    pub(crate) usage: Option<Usage>,
    /// How the call ended.
    pub(crate) status: ResponseStatus,
    /// Milliseconds since 1970.
    pub(crate) created_at: Option<i64>,
    /// When the call was made, as far as prices go.
    pub(crate) at: &'static str,
    /// USD by the shipped book. `None`: it does not tell.
    pub(crate) cost: Option<&'static str>,
    /// Why it does not.
    pub(crate) unpriced: Option<UnpricedReason>,
}

/// What most cases share.
const CASE: Case = Case {
    name: "",
    provider: "",
    model: "",
    body: "",
    how: "as told",
    usage: None,
    status: ResponseStatus::Success,
    created_at: None,
    at: "2026-11-01",
    cost: None,
    unpriced: None,
};

/// A usage of which nothing is known.
const UNKNOWN: Usage = Usage {
    prompt_tokens: None,
    completion_tokens: None,
    cached_tokens: None,
    cache_write_tokens: None,
    cache_write_1h_tokens: None,
    reasoning_tokens: None,
    prompt_audio_tokens: None,
    prompt_image_tokens: None,
    cached_audio_tokens: None,
    completion_audio_tokens: None,
    completion_image_tokens: None,
    generated_images: None,
    web_search_requests: None,
    service_tier: None,
    cost_usd: None,
};

/// Input without cached tokens, and output.
const fn tokens(prompt: u64, completion: u64) -> Usage {
    Usage { prompt_tokens: Some(prompt), completion_tokens: Some(completion), ..UNKNOWN }
}

/// In units of 10⁻¹² USD.
const fn usd(pico_usd: i128) -> UsdAmount {
    UsdAmount::from_pico_usd(pico_usd)
}

/// Every case there is.
pub(crate) fn cases() -> impl Iterator<Item = &'static Case> {
    [openai::CASES, openai_shaped::CASES, anthropic::CASES, google::CASES, bedrock::CASES, others::CASES]
        .into_iter()
        .flatten()
}

fn facts(json: &str) -> ResponseFacts {
    let raw: &RawValue = serde_json::from_str(json).expect("the body of a case is JSON");
    ResponseFacts::read(&Body::from_payload(Some(raw)))
}

fn check(what: &str, case: &Case, facts: &ResponseFacts) {
    let about = format!("{} {}: {} ({what}; {})", case.provider, case.model, case.name, case.how);
    assert_eq!(facts.usage, case.usage, "{about}");
    assert_eq!(facts.status, case.status, "{about}");
    assert_eq!(facts.created_at, case.created_at.map(UtcMillis), "{about}");
}

#[test]
fn every_body_tells_what_was_worked_out_by_hand() {
    for case in cases() {
        check("as it is", case, &facts(case.body));
    }
}

#[test]
fn a_body_inside_a_string_tells_the_same() {
    for case in cases().filter(|case| !case.body.starts_with('"')) {
        let quoted = serde_json::to_string(case.body).expect("JSON");
        check("in a string", case, &facts(&quoted));
        let pretty: serde_json::Value = serde_json::from_str(case.body).expect("JSON");
        let quoted = serde_json::to_string(&format!("\n{pretty:#}\n")).expect("JSON");
        check("in a string, on many lines", case, &facts(&quoted));
    }
}

#[test]
fn every_provider_has_three_bodies_of_its_own() {
    for provider in [
        "OPENAI",
        "AZURE",
        "ANTHROPIC",
        "GOOGLE",
        "VERTEX",
        "BEDROCK",
        "MISTRAL",
        "GROQ",
        "DEEPSEEK",
        "X",
        "COHERE",
        "OPENROUTER",
        "OLLAMA",
        "TOGETHER",
        "FIREWORKS",
        "PERPLEXITY",
    ] {
        let bodies = cases().filter(|case| case.provider == provider && case.usage.is_some()).count();
        assert!(bodies >= 3, "{provider}: {bodies}");
    }
    for api in ["responses:", "Converse", "invoke:"] {
        let bodies = cases().filter(|case| case.name.starts_with(api)).count();
        assert!(bodies >= 3, "{api}: {bodies}");
    }
    let mut names: Vec<_> = cases().map(|case| (case.provider, case.model, case.name)).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), cases().count(), "a case is known by its provider, model and name");
}

/// The parts of each count are in it, and every stated amount can be stored.
#[test]
fn parts_are_no_larger_than_their_whole() {
    for case in cases() {
        let Some(usage) = case.usage else { continue };
        for (part, whole) in [
            (usage.cache_write_1h_tokens, usage.cache_write_tokens),
            (usage.reasoning_tokens, usage.completion_tokens),
            (usage.prompt_audio_tokens, usage.prompt_tokens),
            (usage.prompt_image_tokens, usage.prompt_tokens),
            (usage.cached_audio_tokens, usage.cached_tokens),
            (usage.completion_audio_tokens, usage.completion_tokens),
            (usage.completion_image_tokens, usage.completion_tokens),
        ] {
            assert!(part <= whole, "{}: {part:?} of {whole:?}", case.name);
        }
    }
}
