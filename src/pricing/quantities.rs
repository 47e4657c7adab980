//! What a call used, as far as it costs money.

use serde::{Deserialize, Deserializer};

use crate::usage::{self, Usage};

/// Counts of one call. `None`: the response does not say.
///
/// Prompt and cached tokens are beside each other, as everywhere in Heliometer; audio and image tokens are parts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Quantities {
    /// Input tokens, without those read from or written to the cache.
    pub prompt_tokens: Option<u64>,
    /// Of these, audio.
    pub prompt_audio_tokens: Option<u64>,
    /// Of these, images.
    pub prompt_image_tokens: Option<u64>,
    /// Input tokens read from the cache.
    pub cached_tokens: Option<u64>,
    /// Of these, audio.
    pub cached_audio_tokens: Option<u64>,
    /// Input tokens written to the cache, for whatever time.
    pub cache_write_tokens: Option<u64>,
    /// Of these, for an hour.
    pub cache_write_1h_tokens: Option<u64>,
    /// Output tokens, with reasoning, audio and images.
    pub completion_tokens: Option<u64>,
    /// Of these, reasoning.
    pub reasoning_tokens: Option<u64>,
    /// Of these, audio.
    pub completion_audio_tokens: Option<u64>,
    /// Of these, images.
    pub completion_image_tokens: Option<u64>,
    /// Images made.
    pub generated_images: Option<u64>,
    /// Searches of the web that the provider made.
    pub web_search_requests: Option<u64>,
    /// How the provider says it served the call.
    pub service_tier: ServiceTier,
}

impl Quantities {
    /// Nothing is known to have been used: not a free call, but one whose usage is not told.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        [
            self.prompt_tokens,
            self.cached_tokens,
            self.cache_write_tokens,
            self.completion_tokens,
            self.generated_images,
            self.web_search_requests,
        ]
        .into_iter()
        .all(|count| count.unwrap_or(0) == 0)
    }

    /// All input tokens, by which tiers are chosen.
    #[must_use]
    pub fn all_prompt_tokens(&self) -> u64 {
        [self.prompt_tokens, self.cached_tokens, self.cache_write_tokens]
            .into_iter()
            .flatten()
            .fold(0, u64::saturating_add)
    }
}

impl From<&Usage> for Quantities {
    fn from(usage: &Usage) -> Self {
        Self {
            prompt_tokens: usage.prompt_tokens,
            prompt_audio_tokens: usage.prompt_audio_tokens,
            prompt_image_tokens: usage.prompt_image_tokens,
            cached_tokens: usage.cached_tokens,
            cached_audio_tokens: usage.cached_audio_tokens,
            cache_write_tokens: usage.cache_write_tokens,
            cache_write_1h_tokens: usage.cache_write_1h_tokens,
            completion_tokens: usage.completion_tokens,
            reasoning_tokens: usage.reasoning_tokens,
            completion_audio_tokens: usage.completion_audio_tokens,
            completion_image_tokens: usage.completion_image_tokens,
            generated_images: usage.generated_images,
            web_search_requests: usage.web_search_requests,
            service_tier: match usage.service_tier {
                None | Some(usage::ServiceTier::Default) => ServiceTier::Standard,
                Some(usage::ServiceTier::Flex) => ServiceTier::Flex,
                Some(usage::ServiceTier::Priority) => ServiceTier::Priority,
                Some(usage::ServiceTier::Batch) => ServiceTier::Batch,
                Some(usage::ServiceTier::Other) => ServiceTier::Other,
            },
        }
    }
}

/// How fast and how surely a provider serves a call, by which prices differ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ServiceTier {
    /// The usual one, or the response does not say.
    #[default]
    Standard,
    /// Slower and cheaper.
    Flex,
    /// Faster and dearer.
    Priority,
    /// Within a day, cheaper.
    Batch,
    /// A word that no book knows a price for.
    Other,
}

impl ServiceTier {
    /// Those a book can have prices for beside the standard ones.
    pub const PRICED: [Self; 3] = [Self::Flex, Self::Priority, Self::Batch];

    /// Reads the provider's word: `default` and `on_demand` are the usual tier.
    #[must_use]
    pub fn parse(word: &str) -> Self {
        match word.to_ascii_lowercase().as_str() {
            "" | "default" | "standard" | "on_demand" => Self::Standard,
            "flex" => Self::Flex,
            "priority" => Self::Priority,
            "batch" => Self::Batch,
            _ => Self::Other,
        }
    }

    /// As files and `explain` have it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Standard => "standard",
            Self::Flex => "flex",
            Self::Priority => "priority",
            Self::Batch => "batch",
            Self::Other => "other",
        }
    }
}

impl<'de> Deserialize<'de> for ServiceTier {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self::parse(&String::deserialize(deserializer)?))
    }
}
