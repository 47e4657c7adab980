//! Reads the price files that others publish and gives entries of ours.
//!
//! Numbers are taken from their text, never through a float. What cannot be said in our format is left out and counted:
//! an entry that is left out leaves its model unpriced, and one that is bent to fit prices it wrongly.

mod collect;
mod genai_prices;
mod litellm;
mod providers;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use super::text::EntryText;

pub use genai_prices::read as read_genai_prices;
pub use litellm::read as read_litellm;

/// A public price file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForeignFormat {
    /// `model_prices_and_context_window.json` of `LiteLLM`.
    LiteLlm,
    /// `data.json` or `data_slim.json` of genai-prices.
    GenaiPrices,
}

impl ForeignFormat {
    /// An object of models is `LiteLLM`'s, a list of providers genai-prices'.
    #[must_use]
    pub fn detect(text: &str) -> Option<Self> {
        match text.trim_start().chars().next()? {
            '{' => Some(Self::LiteLlm),
            '[' => Some(Self::GenaiPrices),
            _ => None,
        }
    }

    /// Reads a file of this format.
    ///
    /// # Errors
    /// What the JSON parser says.
    pub fn read(self, text: &str) -> Result<Imported, serde_json::Error> {
        match self {
            Self::LiteLlm => read_litellm(text),
            Self::GenaiPrices => read_genai_prices(text),
        }
    }
}

/// Why something of a foreign file is not in ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LeftOut {
    /// A provider that Helicone has no name for.
    Provider,
    /// The price holds in one region, which a webhook does not tell.
    Region,
    /// Neither input, output nor images have a price above 0. These files write 0 for unknown, too.
    NoPrice,
    /// It is charged by the second, pixel, character or page, which no usage tells.
    OtherUnits,
    /// A number that is none, or out of range.
    BadNumber,
    /// The name is matched by a regular expression or a combination that no glob can say.
    Match,
    /// Another entry says something else of the same name, or has a glob that our rules could not tell from this one.
    Contradiction,
    /// A part of an entry: prices of a tier of service, or of long prompts, that are not whole.
    PartOfEntry,
}

impl LeftOut {
    /// For the report.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Provider => "models of providers that Helicone has no name for",
            Self::Region => "models with prices of one region, which a webhook does not tell",
            Self::NoPrice => "models without a price above 0, which may mean free or unknown",
            Self::OtherUnits => "models charged by the second, pixel, character, page or the like",
            Self::BadNumber => "models with a number that is no price",
            Self::Match => "names matched by something no glob can say",
            Self::Contradiction => "names that another entry contradicts, or whose glob could be confused with another",
            Self::PartOfEntry => "prices of tiers or parts that are not whole; their models are kept without them",
        }
    }
}

/// What a foreign file became.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Imported {
    /// Grouped: models with the same prices stand together.
    pub entries: Vec<EntryText>,
    /// How many names of models are in them.
    pub names: usize,
    /// How much was left out, and why.
    pub left_out: BTreeMap<LeftOut, usize>,
}
