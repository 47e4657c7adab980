//! Amazon Bedrock: Converse and Nova's `usage`, and the counts of models that are invoked in their own words.

use crate::usage::{
    json::{Raw, count, elements, member, members, name},
    reported::{Usage, sum},
};

/// Reads Converse's `usage`, and Nova's when invoked. `inputTokens` stand beside what is read from and written to the
/// cache. Sources: <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_TokenUsage.html>,
/// <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_CacheDetail.html>; the names that end in `Count`
/// are those of Nova and of Converse's first release of caching.
pub(super) fn read(json: &str) -> Usage {
    let mut usage = Usage::default();
    let is_whole = members(json, |key, value| {
        let value = Some(value);
        match key {
            b"inputTokens" => usage.prompt_tokens = count(value),
            b"outputTokens" => usage.completion_tokens = count(value),
            b"cacheReadInputTokens" | b"cacheReadInputTokenCount" => {
                usage.cached_tokens = count(value).or(usage.cached_tokens);
            }
            b"cacheWriteInputTokens" | b"cacheWriteInputTokenCount" => {
                usage.cache_write_tokens = count(value).or(usage.cache_write_tokens);
            }
            b"cacheDetails" => usage.cache_write_1h_tokens = hour_writes(value),
            _ => {}
        }
    });
    if is_whole { usage } else { Usage::default() }
}

/// Of `[{"ttl": "1h", "inputTokens": 3}, {"ttl": "5m", …}]`.
fn hour_writes(raw: Raw<'_>) -> Option<u64> {
    let mut hour = None;
    let is_whole = elements(raw?.get(), |detail| {
        let tokens = count(member(Some(detail), "inputTokens"));
        let is_hour = name(member(Some(detail), "ttl")) == Some("1h");
        hour = sum(hour, if is_hour { tokens } else { tokens.map(|_| 0) });
    });
    hour.filter(|_| is_whole)
}

/// Reads `amazon-bedrock-invocationMetrics`, which Bedrock puts into the last chunk of every stream of an invoked model.
pub(in crate::usage) fn from_invocation_metrics(raw: Raw<'_>) -> Option<Usage> {
    let mut usage = Usage::default();
    let is_whole = members(raw?.get(), |key, value| {
        let value = Some(value);
        match key {
            b"inputTokenCount" => usage.prompt_tokens = count(value),
            b"outputTokenCount" => usage.completion_tokens = count(value),
            b"cacheReadInputTokenCount" => usage.cached_tokens = count(value),
            b"cacheWriteInputTokenCount" => usage.cache_write_tokens = count(value),
            _ => {}
        }
    });
    usage.known().filter(|_| is_whole)
}

/// Counts of Amazon Titan, at the top of the body. Source:
/// <https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-titan-text.html>.
#[derive(Clone, Copy, Default)]
pub(in crate::usage) struct Titan<'a> {
    /// `inputTextTokenCount`, also of embeddings.
    pub(in crate::usage) input: Raw<'a>,
    /// `results`: `[{"tokenCount": 3, …}]`.
    pub(in crate::usage) results: Raw<'a>,
    /// `totalOutputTextTokenCount` of a stream's chunk, cumulative.
    pub(in crate::usage) total_output: Raw<'a>,
}

impl Titan<'_> {
    /// `None` unless it is a body of Titan's: other providers have `results` too.
    pub(in crate::usage) fn usage(self) -> Option<Usage> {
        let mut output = count(self.total_output);
        if self.input.is_some()
            && let Some(results) = self.results
        {
            elements(results.get(), |result| output = sum(output, count(member(Some(result), "tokenCount"))));
        }
        Usage { prompt_tokens: count(self.input), completion_tokens: output, ..Usage::default() }.known()
    }
}

/// Meta's Llama at Bedrock: `prompt_token_count`, `generation_token_count` at the top of the body. Source:
/// <https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-meta.html>.
pub(in crate::usage) fn from_llama(prompt: Raw<'_>, generation: Raw<'_>) -> Option<Usage> {
    Usage { prompt_tokens: count(prompt), completion_tokens: count(generation), ..Usage::default() }.known()
}
