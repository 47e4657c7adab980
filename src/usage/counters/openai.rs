//! `usage` of `OpenAI` (chat, responses, embeddings, images, transcriptions), Azure, Mistral, Groq, `DeepSeek`, xAI,
//! `OpenRouter`, Perplexity, Helicone's gateway and everything else in `OpenAI`'s shape.

use crate::{
    domain::UsdAmount,
    usage::{
        json::{Raw, count, member, members, name},
        reported::{ServiceTier, Usage, sum},
    },
};

/// What a `…_details` object tells.
#[derive(Clone, Copy, Default)]
struct Details {
    cached: Option<u64>,
    cached_audio: Option<u64>,
    cache_write: Option<u64>,
    cache_write_1h: Option<u64>,
    /// Helicone's gateway says how long writes live, and only it.
    has_write_lifetimes: bool,
    audio: Option<u64>,
    image: Option<u64>,
    reasoning: Option<u64>,
}

impl Details {
    fn read(raw: Raw<'_>) -> Self {
        let mut details = Self::default();
        let Some(raw) = raw else { return details };
        let is_whole = members(raw.get(), |key, value| {
            let value = Some(value);
            match key {
                // Perplexity's responses name the same things as Anthropic does.
                b"cached_tokens" | b"cache_read_input_tokens" => details.cached = count(value),
                b"cached_tokens_details" => details.cached_audio = count(member(value, "audio_tokens")),
                b"cache_write_tokens" | b"cache_creation_tokens" | b"cache_creation_input_tokens" => {
                    details.cache_write = count(value);
                }
                b"cache_write_details" => {
                    details.has_write_lifetimes = true;
                    details.cache_write_1h = count(member(value, "write_1h_tokens"));
                }
                b"audio_tokens" => details.audio = count(value),
                b"image_tokens" => details.image = count(value),
                b"reasoning_tokens" => details.reasoning = count(value),
                _ => {}
            }
        });
        if is_whole { details } else { Self::default() }
    }
}

/// What Helicone's gateway counts beside `prompt_tokens` and `completion_tokens`.
#[derive(Clone, Copy, Default)]
struct Modality {
    input: Option<u64>,
    cached: Option<u64>,
    output: Option<u64>,
}

impl Modality {
    fn read(raw: Raw<'_>) -> Self {
        Self {
            input: count(member(raw, "input_tokens")),
            cached: count(member(raw, "cached_tokens")),
            output: count(member(raw, "output_tokens")),
        }
    }

    fn plus(self, other: Self) -> Self {
        Self {
            input: sum(self.input, other.input),
            cached: sum(self.cached, other.cached),
            output: sum(self.output, other.output),
        }
    }
}

/// The object's members.
#[derive(Default)]
struct Counters<'a> {
    prompt: Option<u64>,
    input: Option<u64>,
    completion: Option<u64>,
    output: Option<u64>,
    total: Option<u64>,
    cached: Option<u64>,
    cache_write: Option<u64>,
    cache_write_1h: Option<u64>,
    reasoning: Option<u64>,
    prompt_details: Details,
    completion_details: Details,
    modalities: Raw<'a>,
    web_searches: Option<u64>,
    service_tier: Option<ServiceTier>,
    cost: Raw<'a>,
    cost_details: Raw<'a>,
    is_own_key: bool,
    cost_in_usd_ticks: Option<u64>,
}

/// Reads the members of an object. Sources: the API references of `OpenAI` (`CompletionUsage`, `ResponseUsage`,
/// `ImagesResponse.usage`, `TranscriptionTextDone`), `DeepSeek`, Mistral, Groq, xAI, `OpenRouter` and Perplexity.
pub(super) fn read(json: &str) -> Usage {
    let mut counters = Counters::default();
    let is_whole = members(json, |key, value| {
        let value = Some(value);
        match key {
            b"prompt_tokens" => counters.prompt = count(value),
            b"completion_tokens" => counters.completion = count(value),
            b"input_tokens" => counters.input = count(value),
            b"output_tokens" => counters.output = count(value),
            b"total_tokens" => counters.total = count(value),
            b"prompt_tokens_details" | b"input_tokens_details" | b"input_token_details" => {
                counters.prompt_details = Details::read(value);
            }
            b"completion_tokens_details" | b"output_tokens_details" | b"output_token_details" => {
                counters.completion_details = Details::read(value);
            }
            // DeepSeek; Moonshot and Together; Mistral; LiteLLM.
            b"prompt_cache_hit_tokens" | b"cached_tokens" | b"num_cached_tokens" | b"cache_read_input_tokens" => {
                counters.cached = count(value).or(counters.cached);
            }
            b"cache_creation_input_tokens" => counters.cache_write = count(value),
            b"cache_creation" => counters.cache_write_1h = count(member(value, "ephemeral_1h_input_tokens")),
            // Perplexity's deep research.
            b"reasoning_tokens" => counters.reasoning = count(value),
            b"modality_tokens" => counters.modalities = value,
            b"server_tool_use" => counters.web_searches = count(member(value, "web_search_requests")),
            b"num_search_queries" => counters.web_searches = count(value).or(counters.web_searches),
            b"service_tier" => counters.service_tier = name(value).and_then(ServiceTier::named),
            b"cost" => counters.cost = value,
            b"cost_details" => counters.cost_details = value,
            b"is_byok" => counters.is_own_key = value.is_some_and(|value| value.get() == "true"),
            b"cost_in_usd_ticks" => counters.cost_in_usd_ticks = count(value),
            _ => {}
        }
    });
    if is_whole { counters.usage() } else { Usage::default() }
}

impl Counters<'_> {
    fn usage(&self) -> Usage {
        let mut usage = Usage {
            prompt_tokens: self.prompt.or(self.input),
            completion_tokens: self.completion.or(self.output),
            cached_tokens: self.prompt_details.cached.or(self.cached),
            cache_write_tokens: self.prompt_details.cache_write.or(self.cache_write),
            cache_write_1h_tokens: self.prompt_details.cache_write_1h.or(self.cache_write_1h),
            reasoning_tokens: self.completion_details.reasoning.or(self.reasoning),
            prompt_audio_tokens: self.prompt_details.audio,
            prompt_image_tokens: self.prompt_details.image,
            cached_audio_tokens: self.prompt_details.cached_audio,
            completion_audio_tokens: self.completion_details.audio,
            completion_image_tokens: self.completion_details.image,
            generated_images: None,
            web_search_requests: self.web_searches,
            service_tier: self.service_tier,
            cost_usd: self.cost_usd(),
        };
        self.put_reasoning_inside(&mut usage);
        self.take_cache_out(&mut usage);
        self.put_modalities_inside(&mut usage);
        let limit =
            |part: &mut Option<u64>, whole: Option<u64>| *part = part.map(|part| part.min(whole.unwrap_or(part)));
        limit(&mut usage.prompt_audio_tokens, usage.prompt_tokens);
        limit(&mut usage.prompt_image_tokens, usage.prompt_tokens);
        limit(&mut usage.completion_audio_tokens, usage.completion_tokens);
        limit(&mut usage.completion_image_tokens, usage.completion_tokens);
        limit(&mut usage.cache_write_1h_tokens, usage.cache_write_tokens);
        usage
    }

    /// Reasoning is part of `completion_tokens` at `OpenAI`, `DeepSeek`, Groq and in xAI's responses API. In xAI's chat
    /// API, and at Vertex AI's `OpenAI`-shaped endpoint, it stands beside: `total_tokens` is then the sum of all three
    /// (<https://docs.cloud.google.com/vertex-ai/generative-ai/docs/partner-models/grok/capabilities/reasoning>). So the
    /// sum decides, whoever the provider is; and a part larger than its whole is none (Perplexity's deep research).
    fn put_reasoning_inside(&self, usage: &mut Usage) {
        let (Some(completion), Some(reasoning)) = (usage.completion_tokens, usage.reasoning_tokens) else { return };
        let all_three = usage.prompt_tokens.map(|prompt| prompt.saturating_add(completion).saturating_add(reasoning));
        let is_beside = reasoning > completion || (self.total.is_some() && self.total == all_three);
        if is_beside {
            usage.completion_tokens = Some(completion.saturating_add(reasoning));
        }
    }

    /// `prompt_tokens` has the tokens read from and written to the cache in it, at `OpenAI` and at `OpenRouter`
    /// (<https://openrouter.ai/docs/use-cases/usage-accounting>). Helicone's gateway leaves what is written beside it
    /// (its `mapModelUsageToOpenAI`), and some translators of Anthropic's usage what is read as well: then the parts can
    /// be more than the whole.
    fn take_cache_out(&self, usage: &mut Usage) {
        let is_gateway = self.prompt_details.has_write_lifetimes || self.modalities.is_some();
        let written_inside = if is_gateway { None } else { usage.cache_write_tokens };
        let inside = sum(usage.cached_tokens, written_inside).unwrap_or(0);
        usage.prompt_tokens = usage.prompt_tokens.map(|all| all.checked_sub(inside).unwrap_or(all));
        usage.prompt_audio_tokens =
            usage.prompt_audio_tokens.map(|audio| audio.saturating_sub(usage.cached_audio_tokens.unwrap_or(0)));
    }

    /// Helicone's gateway counts audio, images, video and files beside `prompt_tokens` and `completion_tokens` (its
    /// `mapModelUsageToOpenAI`).
    fn put_modalities_inside(&self, usage: &mut Usage) {
        if self.modalities.is_none() {
            return;
        }
        let modality = |name| Modality::read(member(self.modalities, name));
        let (audio, image) = (modality("audio"), modality("image"));
        let all = audio.plus(image).plus(modality("video")).plus(modality("file"));
        usage.prompt_tokens = sum(usage.prompt_tokens, all.input);
        usage.cached_tokens = sum(usage.cached_tokens, all.cached);
        usage.completion_tokens = sum(usage.completion_tokens, all.output);
        usage.prompt_audio_tokens = audio.input.or(usage.prompt_audio_tokens);
        usage.cached_audio_tokens = audio.cached.or(usage.cached_audio_tokens);
        usage.completion_audio_tokens = audio.output.or(usage.completion_audio_tokens);
        usage.prompt_image_tokens = image.input.or(usage.prompt_image_tokens);
        usage.completion_image_tokens = image.output.or(usage.completion_image_tokens);
    }

    /// `OpenRouter`'s `cost` is what it charges in USD credits; with the caller's own key that is only its fee, and the
    /// provider charges `cost_details.upstream_inference_cost` besides. Perplexity's `cost` is an object with a
    /// `total_cost`. xAI counts in ticks of 10⁻¹⁰ USD (<https://docs.x.ai/developers/cost-tracking>).
    fn cost_usd(&self) -> Option<UsdAmount> {
        let amount = |raw: Raw<'_>| UsdAmount::parse_request_amount(raw?.get()).ok();
        let mut cost = amount(self.cost).or_else(|| amount(member(self.cost, "total_cost")));
        if self.is_own_key {
            let upstream = amount(member(self.cost_details, "upstream_inference_cost"))?;
            cost = Some(cost.unwrap_or_default() + upstream);
        }
        let ticks = self.cost_in_usd_ticks.map(|ticks| UsdAmount::from_pico_usd(i128::from(ticks) * 100));
        cost.or(ticks).filter(|cost| cost.is_positive() && cost.to_decimal64().is_some())
    }
}
