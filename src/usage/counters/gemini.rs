//! `usageMetadata` of Gemini, at Google AI and at Vertex AI.

use crate::usage::{
    json::{Raw, count, elements, member, members, name, present},
    reported::{ServiceTier, Usage, sum},
};

/// Tokens by modality: `[{"modality": "AUDIO", "tokenCount": 3}, …]`.
#[derive(Clone, Copy, Default)]
struct Modalities {
    audio: Option<u64>,
    image: Option<u64>,
}

impl Modalities {
    fn read(raw: Raw<'_>) -> Self {
        let mut modalities = Self::default();
        let Some(raw) = raw else { return modalities };
        elements(raw.get(), |element| {
            let tokens = count(member(Some(element), "tokenCount"));
            match name(member(Some(element), "modality")) {
                Some("AUDIO") => modalities.audio = sum(modalities.audio, tokens),
                Some("IMAGE") => modalities.image = sum(modalities.image, tokens),
                _ => {}
            }
        });
        modalities
    }
}

/// Reads `usageMetadata`. Sources: <https://ai.google.dev/api/generate-content#UsageMetadata> and Vertex AI's
/// `GenerateContentResponse.UsageMetadata`:
/// - `promptTokenCount` has the cached tokens in it; `toolUsePromptTokenCount` is input beside it;
/// - `thoughtsTokenCount` is output beside `candidatesTokenCount` (`responseTokenCount` in the live API), unless
///   `totalTokenCount` is the sum of prompt and candidates alone: some models have counted thoughts as candidates.
pub(in crate::usage) fn from_usage_metadata(raw: Raw<'_>) -> Option<Usage> {
    let mut usage = Usage::default();
    let (mut prompt, mut tool_prompt, mut candidates, mut total) = (None, None, None, None);
    let (mut prompt_details, mut tool_details) = (Modalities::default(), Modalities::default());
    let (mut cache_details, mut output_details) = (Modalities::default(), Modalities::default());
    let is_whole = members(raw?.get(), |key, value| {
        let value = Some(value);
        match key {
            b"promptTokenCount" => prompt = count(value),
            b"toolUsePromptTokenCount" => tool_prompt = count(value),
            b"candidatesTokenCount" | b"responseTokenCount" => candidates = count(value),
            b"totalTokenCount" => total = count(value),
            b"cachedContentTokenCount" => usage.cached_tokens = count(value),
            b"thoughtsTokenCount" => usage.reasoning_tokens = count(value),
            b"promptTokensDetails" => prompt_details = Modalities::read(value),
            b"toolUsePromptTokensDetails" => tool_details = Modalities::read(value),
            b"cacheTokensDetails" => cache_details = Modalities::read(value),
            b"candidatesTokensDetails" | b"responseTokensDetails" => output_details = Modalities::read(value),
            b"trafficType" | b"serviceTier" => usage.service_tier = name(value).and_then(ServiceTier::named),
            _ => {}
        }
    });
    if !is_whole {
        return None;
    }
    usage.prompt_tokens = sum(prompt.map(|all| all.saturating_sub(usage.cached_tokens.unwrap_or(0))), tool_prompt);
    let thoughts_inside = match (total, candidates) {
        (Some(total), Some(candidates)) => {
            sum(prompt, tool_prompt).map(|all| all.saturating_add(candidates)) == Some(total)
        }
        _ => false,
    };
    usage.completion_tokens = if thoughts_inside { candidates } else { sum(candidates, usage.reasoning_tokens) };
    let uncached = |all: Option<u64>, cached: Option<u64>, tool: Option<u64>| {
        sum(all.map(|all| all.saturating_sub(cached.unwrap_or(0))), tool)
    };
    usage.prompt_audio_tokens = uncached(prompt_details.audio, cache_details.audio, tool_details.audio);
    usage.prompt_image_tokens = uncached(prompt_details.image, cache_details.image, tool_details.image);
    usage.cached_audio_tokens = cache_details.audio;
    usage.completion_audio_tokens = output_details.audio;
    usage.completion_image_tokens = output_details.image;
    // A tier alone tells nothing of use.
    (Usage { service_tier: None, ..usage } != Usage::default()).then_some(usage)
}

/// Reads `predictions` of Vertex AI's prediction endpoints: embeddings with their token counts, or Imagen's images,
/// which are charged by the piece.
pub(in crate::usage) fn from_predictions(raw: Raw<'_>) -> Option<Usage> {
    let mut usage = Usage::default();
    elements(raw?.get(), |prediction| {
        members(prediction.get(), |key, value| match key {
            b"embeddings" => {
                let tokens = count(member(member(Some(value), "statistics"), "token_count"));
                usage.prompt_tokens = sum(usage.prompt_tokens, tokens);
            }
            b"bytesBase64Encoded" | b"gcsUri" if present(Some(value)) => {
                usage.generated_images = sum(usage.generated_images, Some(1));
            }
            _ => {}
        });
    });
    usage.known()
}
