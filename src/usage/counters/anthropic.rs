//! `usage` of Anthropic's messages, also at Bedrock (invoke) and Vertex AI.

use crate::usage::{
    json::{Raw, count, elements, member, members, name},
    reported::{ServiceTier, Usage, sum},
};

/// Reads the members of an object. `input_tokens` stand beside what is read from and written to the cache.
/// Source: <https://docs.claude.com/en/docs/build-with-claude/prompt-caching>.
///
/// Compaction at a token threshold is a sampling step of its own, which is charged, and which the counts at the top leave
/// out: `iterations` has them (Anthropic's documentation of the beta `compact-2026-01-12`).
pub(super) fn read(json: &str) -> Usage {
    let mut usage = Usage::default();
    let mut iterations = None;
    let mut is_fast = false;
    let is_whole = members(json, |key, value| {
        let value = Some(value);
        match key {
            b"server_tool_use" => usage.web_search_requests = count(member(value, "web_search_requests")),
            b"service_tier" => usage.service_tier = name(value).and_then(ServiceTier::named),
            // A model's fast mode has a price list of its own.
            b"speed" => is_fast = name(value) == Some("fast"),
            b"iterations" => iterations = value,
            _ => count_tokens(&mut usage, key, value),
        }
    });
    if !is_whole {
        return Usage::default();
    }
    if is_fast {
        usage.service_tier = Some(ServiceTier::Fast);
    }
    add_compactions(&mut usage, iterations);
    usage
}

fn count_tokens(usage: &mut Usage, key: &[u8], value: Raw<'_>) {
    match key {
        b"input_tokens" => usage.prompt_tokens = count(value),
        b"output_tokens" => usage.completion_tokens = count(value),
        b"cache_read_input_tokens" => usage.cached_tokens = count(value),
        b"cache_creation_input_tokens" => usage.cache_write_tokens = count(value),
        b"cache_creation" => usage.cache_write_1h_tokens = count(member(value, "ephemeral_1h_input_tokens")),
        b"output_tokens_details" => {
            let details = |name| count(member(value, name));
            usage.reasoning_tokens = details("thinking_tokens").or_else(|| details("reasoning_tokens"));
        }
        _ => {}
    }
}

fn add_compactions(usage: &mut Usage, iterations: Raw<'_>) {
    let Some(iterations) = iterations else { return };
    let mut added = *usage;
    let is_whole = elements(iterations.get(), |iteration| {
        if name(member(Some(iteration), "type")) != Some("compaction") {
            return;
        }
        let mut step = Usage::default();
        members(iteration.get(), |key, value| count_tokens(&mut step, key, Some(value)));
        added.prompt_tokens = sum(added.prompt_tokens, step.prompt_tokens);
        added.completion_tokens = sum(added.completion_tokens, step.completion_tokens);
        added.cached_tokens = sum(added.cached_tokens, step.cached_tokens);
        added.cache_write_tokens = sum(added.cache_write_tokens, step.cache_write_tokens);
        added.cache_write_1h_tokens = sum(added.cache_write_1h_tokens, step.cache_write_1h_tokens);
    });
    if is_whole {
        *usage = added;
    }
}
