//! What a response reports of its use, in one convention for all providers.

use serde::{Deserialize, Deserializer};

use crate::domain::UsdAmount;

/// What a response says it used. `None`: it does not say.
///
/// Every count is in tokens but the last two. Each token is in exactly one of [`prompt_tokens`](Self::prompt_tokens),
/// [`completion_tokens`](Self::completion_tokens), [`cached_tokens`](Self::cached_tokens) and
/// [`cache_write_tokens`](Self::cache_write_tokens); all other counts are parts of one of these four.
///
/// As JSON, which people write for `prices explain`, a misspelt name is an error, and the cost cannot be stated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Usage {
    /// Input, without what was read from or written to the provider's cache. Audio and images are in it.
    pub prompt_tokens: Option<u64>,
    /// Output. Reasoning, audio and images are in it.
    pub completion_tokens: Option<u64>,
    /// Input read from the provider's cache.
    pub cached_tokens: Option<u64>,
    /// Input written to the provider's cache, to live there for 5 minutes or for an hour.
    pub cache_write_tokens: Option<u64>,
    /// The part of [`cache_write_tokens`](Self::cache_write_tokens) that lives for an hour. The rest lives 5 minutes.
    pub cache_write_1h_tokens: Option<u64>,
    /// The part of [`completion_tokens`](Self::completion_tokens) spent on reasoning.
    pub reasoning_tokens: Option<u64>,
    /// The part of [`prompt_tokens`](Self::prompt_tokens) that is audio.
    pub prompt_audio_tokens: Option<u64>,
    /// The part of [`prompt_tokens`](Self::prompt_tokens) that is images.
    pub prompt_image_tokens: Option<u64>,
    /// The part of [`cached_tokens`](Self::cached_tokens) that is audio.
    pub cached_audio_tokens: Option<u64>,
    /// The part of [`completion_tokens`](Self::completion_tokens) that is audio.
    pub completion_audio_tokens: Option<u64>,
    /// The part of [`completion_tokens`](Self::completion_tokens) that is images.
    pub completion_image_tokens: Option<u64>,
    /// Images made by an endpoint that counts no tokens.
    pub generated_images: Option<u64>,
    /// Web searches that the provider made and charges beside the tokens.
    pub web_search_requests: Option<u64>,
    /// Which of the provider's price lists applies.
    #[serde(deserialize_with = "tier_named")]
    pub service_tier: Option<ServiceTier>,
    /// Cost as stated by the provider, in USD: above zero.
    #[serde(skip)]
    pub cost_usd: Option<UsdAmount>,
}

/// The price list by which a request is charged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ServiceTier {
    /// The list that holds unless another was asked for.
    Default,
    /// Slower and cheaper.
    Flex,
    /// Faster and dearer.
    Priority,
    /// Answered within a day, at a discount.
    Batch,
    /// A model's fast mode (Anthropic's `speed`).
    Fast,
    /// Any other, such as reserved capacity: its price cannot be told from token counts and public prices.
    Other,
}

impl ServiceTier {
    /// The provider's name for it: `service_tier` of `OpenAI` (`default`, `flex`, `priority`, `scale`), Anthropic
    /// (`standard`, `priority`, `batch`) and Groq (`on_demand`, `flex`, `performance`), `serviceTier.type` of Bedrock
    /// (`default`, `priority`, `flex`, `reserved`), `trafficType` of Vertex AI (`ON_DEMAND`, `ON_DEMAND_PRIORITY`,
    /// `ON_DEMAND_FLEX`, `PROVISIONED_THROUGHPUT`), in whatever case. `auto` is what was asked for, not what was served:
    /// unknown.
    pub(super) fn named(name: &str) -> Option<Self> {
        Some(match name.to_ascii_lowercase().as_str() {
            "" | "auto" | "traffic_type_unspecified" | "unspecified" => return None,
            "default" | "standard" | "standard_only" | "on_demand" => Self::Default,
            "flex" | "on_demand_flex" => Self::Flex,
            "priority" | "on_demand_priority" => Self::Priority,
            "batch" => Self::Batch,
            "fast" => Self::Fast,
            _ => Self::Other,
        })
    }
}

impl ServiceTier {
    const ALL: [Self; 6] = [Self::Default, Self::Flex, Self::Priority, Self::Batch, Self::Fast, Self::Other];

    /// The value in `requests.service_tier`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Flex => "flex",
            Self::Priority => "priority",
            Self::Batch => "batch",
            Self::Fast => "fast",
            Self::Other => "other",
        }
    }

    /// From the value in `requests.service_tier`.
    #[must_use]
    pub fn labelled(label: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|tier| tier.as_str() == label)
    }
}

fn tier_named<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<ServiceTier>, D::Error> {
    Ok(ServiceTier::named(&String::deserialize(deserializer)?))
}

impl Usage {
    /// Nothing is told to have been used that could cost money: not a free call, but one of which too little is known.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
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

    /// All input tokens: those read from and written to the cache as well. Tiers of long prompts go by these.
    #[must_use]
    pub fn all_prompt_tokens(&self) -> u64 {
        [self.prompt_tokens, self.cached_tokens, self.cache_write_tokens]
            .into_iter()
            .flatten()
            .fold(0, u64::saturating_add)
    }

    /// Neither input nor output is known.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.prompt_tokens.is_none() && self.completion_tokens.is_none()
    }

    /// Both input and output are known.
    pub(super) const fn is_complete(&self) -> bool {
        self.prompt_tokens.is_some() && self.completion_tokens.is_some()
    }

    /// Input and output are both given as nothing, which no call uses.
    pub(super) fn is_zero(&self) -> bool {
        self.prompt_tokens == Some(0)
            && self.completion_tokens == Some(0)
            && sum(self.cached_tokens, self.cache_write_tokens).unwrap_or(0) == 0
    }

    /// Something is known.
    pub(super) fn known(self) -> Option<Self> {
        (self != Self::default()).then_some(self)
    }

    /// What two reports of one stream tell together. Reports are cumulative: a later one that has both input and output
    /// replaces an earlier one (`OpenAI`, Gemini), and one that has only output completes it (Anthropic's
    /// `message_delta` after `message_start`).
    pub(super) fn followed_by(self, later: Self) -> Self {
        let mut merged = later;
        if !later.is_complete() {
            if later.prompt_tokens.is_none() {
                merged.prompt_tokens = self.prompt_tokens;
                merged.prompt_audio_tokens = later.prompt_audio_tokens.or(self.prompt_audio_tokens);
                merged.prompt_image_tokens = later.prompt_image_tokens.or(self.prompt_image_tokens);
                merged.cached_tokens = later.cached_tokens.or(self.cached_tokens);
                merged.cached_audio_tokens = later.cached_audio_tokens.or(self.cached_audio_tokens);
                merged.cache_write_tokens = later.cache_write_tokens.or(self.cache_write_tokens);
            }
            if later.completion_tokens.is_none() {
                merged.completion_tokens = self.completion_tokens;
                merged.reasoning_tokens = later.reasoning_tokens.or(self.reasoning_tokens);
                merged.completion_audio_tokens = later.completion_audio_tokens.or(self.completion_audio_tokens);
                merged.completion_image_tokens = later.completion_image_tokens.or(self.completion_image_tokens);
            }
            merged.generated_images = later.generated_images.or(self.generated_images);
        }
        if merged.cache_write_tokens == self.cache_write_tokens {
            // Anthropic tells the lifetimes in message_start only.
            merged.cache_write_1h_tokens = later.cache_write_1h_tokens.or(self.cache_write_1h_tokens);
        }
        merged.web_search_requests = later.web_search_requests.or(self.web_search_requests);
        merged.service_tier = later.service_tier.or(self.service_tier);
        merged.cost_usd = later.cost_usd.or(self.cost_usd);
        merged
    }
}

/// Of what is known; `None` when nothing is.
pub(crate) fn sum(a: Option<u64>, b: Option<u64>) -> Option<u64> {
    match (a, b) {
        (None, None) => None,
        (a, b) => Some(a.unwrap_or(0).saturating_add(b.unwrap_or(0))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_complete_report_of_a_stream_counts() {
        let start = Usage {
            prompt_tokens: Some(338),
            cached_tokens: Some(500),
            cache_write_tokens: Some(20),
            cache_write_1h_tokens: Some(20),
            service_tier: Some(ServiceTier::Default),
            ..Usage::default()
        };
        let delta = Usage { completion_tokens: Some(65), ..Usage::default() };
        let merged = Usage { completion_tokens: Some(65), ..start };
        assert_eq!(start.followed_by(delta), merged);

        let whole = Usage { cache_write_1h_tokens: None, service_tier: None, ..merged };
        assert_eq!(start.followed_by(whole), merged);

        let without_cache = Usage { prompt_tokens: Some(9), completion_tokens: Some(2), ..Usage::default() };
        let expected = Usage { service_tier: Some(ServiceTier::Default), ..without_cache };
        assert_eq!(start.followed_by(without_cache), expected, "nothing of an earlier count stays beside a later one");
    }

    #[test]
    fn a_tier_is_told_by_its_name() {
        for (name, tier) in [
            ("standard", Some(ServiceTier::Default)),
            ("ON_DEMAND", Some(ServiceTier::Default)),
            ("flex", Some(ServiceTier::Flex)),
            ("ON_DEMAND_PRIORITY", Some(ServiceTier::Priority)),
            ("batch", Some(ServiceTier::Batch)),
            ("FLEX", Some(ServiceTier::Flex)),
            ("fast", Some(ServiceTier::Fast)),
            ("scale", Some(ServiceTier::Other)),
            ("PROVISIONED_THROUGHPUT", Some(ServiceTier::Other)),
            ("auto", None),
        ] {
            assert_eq!(ServiceTier::named(name), tier, "{name}");
        }
    }

    #[test]
    fn a_tier_is_found_by_the_label_in_the_table() {
        for (tier, label) in [
            (ServiceTier::Default, "default"),
            (ServiceTier::Flex, "flex"),
            (ServiceTier::Priority, "priority"),
            (ServiceTier::Batch, "batch"),
            (ServiceTier::Fast, "fast"),
            (ServiceTier::Other, "other"),
        ] {
            assert_eq!((tier.as_str(), ServiceTier::labelled(label)), (label, Some(tier)));
        }
        assert_eq!(ServiceTier::labelled(""), None);
    }
}
