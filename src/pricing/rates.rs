//! The prices of one model: what each part of a call costs.

use std::collections::BTreeMap;

use super::UnitPrice;
use crate::usage::ServiceTier;

/// A part of a call that has a price of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Component {
    /// Input tokens, neither audio, image nor cached.
    Input,
    /// Input tokens read from the cache.
    CachedInput,
    /// Of these, audio.
    CachedAudio,
    /// Input tokens written to the cache for its shortest time.
    CacheWrite,
    /// Input tokens written to the cache for an hour.
    CacheWrite1h,
    /// Audio in the input.
    InputAudio,
    /// Images in the input.
    InputImage,
    /// Output tokens.
    Output,
    /// Reasoning, where it is not charged as output.
    Reasoning,
    /// Audio in the output.
    OutputAudio,
    /// Images in the output, charged by token.
    OutputImage,
    /// The call itself.
    Request,
    /// Images made, charged by piece.
    Image,
    /// Searches of the web.
    WebSearch,
}

impl Component {
    /// All of them, in the order `explain` prints them.
    pub const ALL: [Self; 14] = [
        Self::Input,
        Self::CachedInput,
        Self::CachedAudio,
        Self::CacheWrite,
        Self::CacheWrite1h,
        Self::InputAudio,
        Self::InputImage,
        Self::Output,
        Self::Reasoning,
        Self::OutputAudio,
        Self::OutputImage,
        Self::Request,
        Self::Image,
        Self::WebSearch,
    ];

    /// The key in a book file.
    #[must_use]
    pub const fn key(self) -> &'static str {
        match self {
            Self::Input => "input",
            Self::CachedInput => "cached_input",
            Self::CachedAudio => "cached_audio",
            Self::CacheWrite => "cache_write",
            Self::CacheWrite1h => "cache_write_1h",
            Self::InputAudio => "input_audio",
            Self::InputImage => "input_image",
            Self::Output => "output",
            Self::Reasoning => "reasoning",
            Self::OutputAudio => "output_audio",
            Self::OutputImage => "output_image",
            Self::Request => "per_request",
            Self::Image => "per_image",
            Self::WebSearch => "per_web_search",
        }
    }

    /// Priced in USD per million; the others in USD each.
    #[must_use]
    pub const fn is_tokens(self) -> bool {
        !matches!(self, Self::Request | Self::Image | Self::WebSearch)
    }

    /// What the word `same` stands for.
    #[must_use]
    pub const fn same_as(self) -> Option<Self> {
        match self {
            Self::CachedInput | Self::CacheWrite | Self::InputAudio | Self::InputImage => Some(Self::Input),
            Self::CachedAudio => Some(Self::CachedInput),
            Self::CacheWrite1h => Some(Self::CacheWrite),
            Self::Reasoning | Self::OutputAudio | Self::OutputImage => Some(Self::Output),
            Self::Input | Self::Output | Self::Request | Self::Image | Self::WebSearch => None,
        }
    }
}

/// One column of a price list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PriceColumn {
    prices: [Option<UnitPrice>; Component::ALL.len()],
    /// There is a fee for the call, but nothing tells how much.
    request_is_unknown: bool,
}

impl PriceColumn {
    /// The price of a part; `None` is unknown, which is not free.
    #[must_use]
    pub const fn get(&self, component: Component) -> Option<UnitPrice> {
        self.prices[component as usize]
    }

    pub(super) const fn set(&mut self, component: Component, price: Option<UnitPrice>) {
        self.prices[component as usize] = price;
    }

    pub(super) const fn set_request_unknown(&mut self) {
        self.request_is_unknown = true;
    }

    /// Whether each call costs a fee that nobody tells: it cannot be priced by the book.
    #[must_use]
    pub const fn is_request_unknown(&self) -> bool {
        self.request_is_unknown
    }

    /// Every part that has a price.
    pub fn iter(&self) -> impl Iterator<Item = (Component, UnitPrice)> + '_ {
        Component::ALL.into_iter().filter_map(|component| Some((component, self.get(component)?)))
    }
}

/// A price list with the columns for long prompts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TieredPrices {
    /// What holds up to the first tier.
    pub(super) base: PriceColumn,
    /// Ascending by the number of input tokens above which the whole call is charged so.
    pub(super) tiers: Vec<(u64, PriceColumn)>,
}

impl TieredPrices {
    /// The column for a call with so many input tokens, and the limit it is above.
    #[must_use]
    pub fn column(&self, all_prompt_tokens: u64) -> (&PriceColumn, Option<u64>) {
        self.tiers
            .iter()
            .rev()
            .find(|(above, _)| all_prompt_tokens > *above)
            .map_or((&self.base, None), |(above, column)| (column, Some(*above)))
    }

    /// The column of short prompts.
    #[must_use]
    pub const fn base(&self) -> &PriceColumn {
        &self.base
    }

    /// The limits and columns of longer prompts.
    #[must_use]
    pub fn tiers(&self) -> &[(u64, PriceColumn)] {
        &self.tiers
    }
}

/// Tiers of service that can have prices beside the usual ones, by their names in a book file.
pub(super) const PRICED_TIERS: [ServiceTier; 4] =
    [ServiceTier::Flex, ServiceTier::Priority, ServiceTier::Batch, ServiceTier::Fast];

/// Everything one entry of a book says about money.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rates {
    pub(super) standard: TieredPrices,
    pub(super) service_tiers: BTreeMap<ServiceTier, TieredPrices>,
}

impl Rates {
    /// The list for a service tier; `None` when the book has none.
    #[must_use]
    pub fn of(&self, service_tier: ServiceTier) -> Option<&TieredPrices> {
        match service_tier {
            ServiceTier::Default => Some(&self.standard),
            other => self.service_tiers.get(&other),
        }
    }

    /// Tiers of service that have prices of their own.
    pub fn service_tiers(&self) -> impl Iterator<Item = ServiceTier> + '_ {
        self.service_tiers.keys().copied()
    }

    /// Whether input and output tokens alone decide the cost: there is no cache, no audio, no tier of service, nothing
    /// per piece that could change it.
    #[must_use]
    pub fn depends_on_input_and_output_alone(&self) -> bool {
        self.service_tiers.is_empty()
            && !self.standard.base.is_request_unknown()
            && self.standard.base.iter().all(|(component, _)| matches!(component, Component::Input | Component::Output))
    }
}
