//! The usage objects of providers, and what they mean.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{domain::UsdAmount, payload::integer};

/// What a response says it used. `None`: it does not say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Input tokens, without cached ones.
    pub prompt_tokens: Option<u64>,
    /// Output tokens, with reasoning.
    pub completion_tokens: Option<u64>,
    /// Input tokens read from the provider's cache.
    pub cached_tokens: Option<u64>,
    /// Input tokens written to the provider's cache.
    pub cache_write_tokens: Option<u64>,
    /// Output tokens spent on reasoning.
    pub reasoning_tokens: Option<u64>,
    /// Cost as stated by the provider (`OpenRouter`), in USD.
    pub cost_usd: Option<UsdAmount>,
}

impl Usage {
    /// Neither input nor output is known.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.prompt_tokens.is_none() && self.completion_tokens.is_none()
    }
}

type Raw<'a> = Option<&'a RawValue>;

/// `usage` of `OpenAI`, Anthropic, Bedrock Converse and everything shaped like them.
#[derive(Default, Deserialize)]
#[serde(default)]
struct UsageObject<'a> {
    // OpenAI chat: prompt_tokens include cached ones.
    #[serde(borrow)]
    prompt_tokens: Raw<'a>,
    #[serde(borrow)]
    completion_tokens: Raw<'a>,
    #[serde(borrow)]
    prompt_tokens_details: Option<InputDetails<'a>>,
    #[serde(borrow)]
    completion_tokens_details: Option<OutputDetails<'a>>,
    // DeepSeek.
    #[serde(borrow)]
    prompt_cache_hit_tokens: Raw<'a>,
    // OpenAI responses API (input_tokens include cached ones, and details are there) and Anthropic (they do not).
    #[serde(borrow)]
    input_tokens: Raw<'a>,
    #[serde(borrow)]
    output_tokens: Raw<'a>,
    #[serde(borrow)]
    input_tokens_details: Option<InputDetails<'a>>,
    #[serde(borrow)]
    output_tokens_details: Option<OutputDetails<'a>>,
    #[serde(borrow)]
    cache_read_input_tokens: Raw<'a>,
    #[serde(borrow)]
    cache_creation_input_tokens: Raw<'a>,
    // Bedrock Converse: inputTokens exclude cached ones.
    #[serde(borrow, rename = "inputTokens")]
    bedrock_input_tokens: Raw<'a>,
    #[serde(borrow, rename = "outputTokens")]
    bedrock_output_tokens: Raw<'a>,
    #[serde(borrow, rename = "cacheReadInputTokens")]
    bedrock_cache_read_tokens: Raw<'a>,
    #[serde(borrow, rename = "cacheWriteInputTokens")]
    bedrock_cache_write_tokens: Raw<'a>,
    // OpenRouter.
    #[serde(borrow)]
    cost: Raw<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct InputDetails<'a> {
    #[serde(borrow)]
    cached_tokens: Raw<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct OutputDetails<'a> {
    #[serde(borrow)]
    reasoning_tokens: Raw<'a>,
}

/// Gemini: `promptTokenCount` includes cached tokens, thoughts are output beside the candidates.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[expect(clippy::struct_field_names, reason = "the provider's names")]
struct UsageMetadata<'a> {
    #[serde(borrow)]
    prompt_token_count: Raw<'a>,
    #[serde(borrow)]
    candidates_token_count: Raw<'a>,
    #[serde(borrow)]
    cached_content_token_count: Raw<'a>,
    #[serde(borrow)]
    thoughts_token_count: Raw<'a>,
}

fn count(raw: Raw<'_>) -> Option<u64> {
    integer(raw).and_then(|value| u64::try_from(value).ok())
}

/// Reads a `usage` object. `None` when it is null, not an object, or has none of the known counters.
pub(super) fn from_usage_object(json: &str) -> Option<Usage> {
    let object: UsageObject<'_> = serde_json::from_str(json).ok()?;
    let details_cached = |details: &Option<InputDetails<'_>>| details.as_ref().and_then(|d| count(d.cached_tokens));
    let details_reasoning =
        |details: &Option<OutputDetails<'_>>| details.as_ref().and_then(|d| count(d.reasoning_tokens));
    let cost_usd =
        object.cost.and_then(|cost| UsdAmount::parse_request_amount(cost.get()).ok()).filter(|cost| cost.is_positive());

    let usage = if object.prompt_tokens.is_some() || object.completion_tokens.is_some() {
        let cached_tokens =
            details_cached(&object.prompt_tokens_details).or_else(|| count(object.prompt_cache_hit_tokens));
        Usage {
            prompt_tokens: count(object.prompt_tokens).map(|all| all.saturating_sub(cached_tokens.unwrap_or(0))),
            completion_tokens: count(object.completion_tokens),
            cached_tokens,
            cache_write_tokens: None,
            reasoning_tokens: details_reasoning(&object.completion_tokens_details),
            cost_usd,
        }
    } else if object.input_tokens.is_some() || object.output_tokens.is_some() {
        if object.input_tokens_details.is_some() || object.output_tokens_details.is_some() {
            let cached_tokens = details_cached(&object.input_tokens_details);
            Usage {
                prompt_tokens: count(object.input_tokens).map(|all| all.saturating_sub(cached_tokens.unwrap_or(0))),
                completion_tokens: count(object.output_tokens),
                cached_tokens,
                cache_write_tokens: None,
                reasoning_tokens: details_reasoning(&object.output_tokens_details),
                cost_usd,
            }
        } else {
            Usage {
                prompt_tokens: count(object.input_tokens),
                completion_tokens: count(object.output_tokens),
                cached_tokens: count(object.cache_read_input_tokens),
                cache_write_tokens: count(object.cache_creation_input_tokens),
                reasoning_tokens: None,
                cost_usd,
            }
        }
    } else {
        Usage {
            prompt_tokens: count(object.bedrock_input_tokens),
            completion_tokens: count(object.bedrock_output_tokens),
            cached_tokens: count(object.bedrock_cache_read_tokens),
            cache_write_tokens: count(object.bedrock_cache_write_tokens),
            reasoning_tokens: None,
            cost_usd,
        }
    };
    (!usage.is_empty()).then_some(usage)
}

/// Reads Gemini's `usageMetadata`.
pub(super) fn from_usage_metadata(json: &str) -> Option<Usage> {
    let object: UsageMetadata<'_> = serde_json::from_str(json).ok()?;
    let cached_tokens = count(object.cached_content_token_count);
    let reasoning_tokens = count(object.thoughts_token_count);
    let candidates = count(object.candidates_token_count);
    let usage = Usage {
        prompt_tokens: count(object.prompt_token_count).map(|all| all.saturating_sub(cached_tokens.unwrap_or(0))),
        completion_tokens: match (candidates, reasoning_tokens) {
            (None, None) => None,
            (candidates, thoughts) => Some(candidates.unwrap_or(0).saturating_add(thoughts.unwrap_or(0))),
        },
        cached_tokens,
        cache_write_tokens: None,
        reasoning_tokens,
        cost_usd: None,
    };
    (!usage.is_empty()).then_some(usage)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(prompt: u64, completion: u64) -> Usage {
        Usage { prompt_tokens: Some(prompt), completion_tokens: Some(completion), ..Usage::default() }
    }

    #[test]
    fn each_providers_convention_becomes_ours() {
        for (what, json, expected) in [
            (
                "OpenAI chat",
                r#"{"prompt_tokens":1248,"completion_tokens":10,"prompt_tokens_details":{"cached_tokens":1152},"completion_tokens_details":{"reasoning_tokens":4}}"#,
                Usage { cached_tokens: Some(1152), reasoning_tokens: Some(4), ..usage(96, 10) },
            ),
            (
                "OpenAI responses",
                r#"{"input_tokens":75,"input_tokens_details":{"cached_tokens":25},"output_tokens":1186,"output_tokens_details":{"reasoning_tokens":1024}}"#,
                Usage { cached_tokens: Some(25), reasoning_tokens: Some(1024), ..usage(50, 1186) },
            ),
            (
                "Anthropic",
                r#"{"input_tokens":9,"cache_creation_input_tokens":50,"cache_read_input_tokens":183,"output_tokens":12}"#,
                Usage { cached_tokens: Some(183), cache_write_tokens: Some(50), ..usage(9, 12) },
            ),
            (
                "DeepSeek",
                r#"{"prompt_tokens":100,"completion_tokens":50,"prompt_cache_hit_tokens":70}"#,
                Usage { cached_tokens: Some(70), ..usage(30, 50) },
            ),
            ("Bedrock Converse", r#"{"inputTokens":30,"outputTokens":628}"#, usage(30, 628)),
            (
                "OpenRouter",
                r#"{"prompt_tokens":1,"completion_tokens":2,"cost":0.00014}"#,
                Usage { cost_usd: Some(UsdAmount::from_pico_usd(140_000_000)), ..usage(1, 2) },
            ),
            ("null details", r#"{"prompt_tokens":1,"completion_tokens":2,"prompt_tokens_details":null}"#, usage(1, 2)),
        ] {
            assert_eq!(from_usage_object(json), Some(expected), "{what}");
        }
        assert_eq!(
            from_usage_metadata(
                r#"{"promptTokenCount":100,"candidatesTokenCount":7,"thoughtsTokenCount":3,"cachedContentTokenCount":90}"#
            ),
            Some(Usage { cached_tokens: Some(90), reasoning_tokens: Some(3), ..usage(10, 10) })
        );
    }

    #[test]
    fn what_is_not_usage_is_none() {
        for json in ["null", "{}", "[]", "3", r#"{"prompt_tokens":-1,"completion_tokens":-1}"#, r#"{"other":1}"#] {
            assert_eq!(from_usage_object(json), None, "{json}");
            assert_eq!(from_usage_metadata(json), None, "{json}");
        }
    }
}
