//! The usage objects of providers, and what they mean: one file for each shape.

mod anthropic;
mod bedrock;
mod cohere;
mod gemini;
mod ollama;
mod openai;

pub(super) use bedrock::{Titan, from_invocation_metrics, from_llama};
pub(super) use cohere::from_meta;
pub(super) use gemini::{from_predictions, from_usage_metadata};
pub(super) use ollama::from_eval_counts;

use super::{
    json::{Raw, members},
    reported::Usage,
};

/// Reads a `usage` object, of whatever provider: its keys tell the shape. `None` when it is null, not an object, or has
/// none of the known counters.
pub(super) fn from_usage_object(raw: Raw<'_>) -> Option<Usage> {
    let json = raw?.get();
    let (mut has_prompt, mut is_anthropic, mut is_bedrock, mut is_cohere) = (false, false, false, false);
    let is_object = members(json, |key, _| match key {
        b"prompt_tokens" | b"completion_tokens" => has_prompt = true,
        b"cache_read_input_tokens"
        | b"cache_creation_input_tokens"
        | b"cache_creation"
        | b"server_tool_use"
        | b"iterations" => is_anthropic = true,
        b"inputTokens" | b"outputTokens" => is_bedrock = true,
        b"billed_units" | b"tokens" => is_cohere = true,
        _ => {}
    });
    if !is_object {
        return None;
    }
    let usage = if has_prompt {
        openai::read(json)
    } else if is_anthropic {
        anthropic::read(json)
    } else if is_bedrock {
        bedrock::read(json)
    } else if is_cohere {
        cohere::read(json)
    } else {
        openai::read(json)
    };
    usage.known()
}
