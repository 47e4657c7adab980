//! Which prices are a call's.
//!
//! The rules, in this order:
//! 1. Overrides of the settings go before the files of `pricing.book_dir`, and these before what is shipped.
//! 2. Among entries of one kind, the more specific name of the model wins: an exact name over a glob, the longer text
//!    before the first `*`, the longer text in all. Then the more specific name of the provider.
//! 3. Of the entries with that name, the one that holds at the time of the call is taken; one that holds only at some
//!    hours before one that holds all day. If none does, rule 1 goes on with the next kind.
//!
//! Two entries of one kind that these rules cannot tell apart are an error when the book is read. Nothing is guessed: a
//! provider that no entry names has no prices, whatever its model is called.

use std::{
    cmp::Reverse,
    collections::{HashMap, HashSet},
};

use sha2::{Digest, Sha256};

use super::{
    Calculation, Entry, Pattern, PricingError, UnpricedReason, calculate,
    pattern::{Specificity, most_specific_first},
};
use crate::{
    domain::{UsdAmount, UtcMillis},
    usage::Usage,
};

/// Everything known about prices.
#[derive(Debug)]
pub struct PriceBook {
    layers: Vec<Layer>,
    revision: String,
}

/// Entries of one kind, ready to be searched.
#[derive(Debug, Default)]
struct Layer {
    entries: Vec<Entry>,
    /// By the exact name of the model, in lower case: the most specific provider first.
    exact: HashMap<String, Vec<Candidate>>,
    /// The most specific first.
    globs: Vec<(Pattern, Candidate)>,
    exact_providers: HashSet<String>,
    provider_globs: Vec<Pattern>,
}

/// An entry under one of its providers' names.
#[derive(Clone, Debug)]
struct Candidate {
    provider: Pattern,
    entry: usize,
}

/// A price that was found.
#[derive(Debug)]
pub struct Priced<'book> {
    /// Where it stands.
    pub entry: &'book Entry,
    /// How it came about.
    pub calculation: Calculation,
}

impl Priced<'_> {
    /// What the call costs.
    #[must_use]
    pub const fn amount(&self) -> UsdAmount {
        self.calculation.total
    }
}

/// Why there is none.
#[derive(Clone, Copy, Debug)]
pub struct Unpriced<'book> {
    /// In one word, for tables and metrics.
    pub reason: UnpricedReason,
    /// The part of the call to blame.
    pub component: Option<super::Component>,
    /// The entry that would have been used.
    pub entry: Option<&'book Entry>,
}

impl PriceBook {
    /// A book without prices.
    #[must_use]
    pub const fn empty() -> Self {
        Self { layers: Vec::new(), revision: String::new() }
    }

    /// Puts entries in order. The first layer goes before the others.
    pub(super) fn from_layers(
        layers: Vec<Vec<Entry>>,
        revision_of: impl IntoIterator<Item = String>,
    ) -> Result<Self, PricingError> {
        let mut hash = Sha256::new();
        for text in revision_of {
            hash.update(text.as_bytes());
        }
        let mut revision = hex::encode(hash.finalize());
        revision.truncate(12);
        Ok(Self { layers: layers.into_iter().map(Layer::new).collect::<Result<_, _>>()?, revision })
    }

    /// Names the content: another content has another revision.
    #[must_use]
    pub fn revision(&self) -> &str {
        &self.revision
    }

    /// Every entry, those that go before first.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.layers.iter().flat_map(|layer| &layer.entries)
    }

    /// Finds the entry for a call.
    ///
    /// # Errors
    /// Why there is none.
    pub fn find(&self, provider: &str, model: &str, at: UtcMillis) -> Result<&Entry, UnpricedReason> {
        let (provider, model) = (normalize_provider(provider), model.trim().to_lowercase());
        let mut reason = UnpricedReason::UnknownProvider;
        for layer in &self.layers {
            let names = layer.by_name(&provider, &model);
            // The first that holds; entries with hours go before those without.
            let entry = names
                .iter()
                .filter(|entry| entry.validity.contains(at))
                .min_by_key(|entry| Reverse(entry.validity.has_hours()));
            if let Some(entry) = entry {
                return Ok(entry);
            }
            if !names.is_empty() {
                reason = UnpricedReason::NoPriceAtThatTime;
            } else if reason == UnpricedReason::UnknownProvider && layer.knows_provider(&provider) {
                reason = UnpricedReason::UnknownModel;
            }
        }
        Err(reason)
    }

    /// What a call costs by the book.
    ///
    /// # Errors
    /// Why the book does not tell.
    pub fn price(&self, provider: &str, model: &str, at: UtcMillis, usage: &Usage) -> Result<Priced<'_>, Unpriced<'_>> {
        let entry =
            self.find(provider, model, at).map_err(|reason| Unpriced { reason, component: None, entry: None })?;
        match calculate::calculate(&entry.rates, usage) {
            Ok(calculation) => Ok(Priced { entry, calculation }),
            Err((reason, component)) => Err(Unpriced { reason, component, entry: Some(entry) }),
        }
    }
}

impl Layer {
    fn new(entries: Vec<Entry>) -> Result<Self, PricingError> {
        let mut layer = Self::default();
        for (index, entry) in entries.iter().enumerate() {
            for provider in entry.providers.iter() {
                let candidate = Candidate { provider: provider.clone(), entry: index };
                for model in &entry.models {
                    if model.is_exact() {
                        layer.exact.entry(model.as_str().to_owned()).or_default().push(candidate.clone());
                    } else {
                        layer.globs.push((model.clone(), candidate.clone()));
                    }
                }
                if provider.is_exact() {
                    layer.exact_providers.insert(provider.as_str().to_owned());
                } else if !layer.provider_globs.iter().any(|known| known.as_str() == provider.as_str()) {
                    layer.provider_globs.push(provider.clone());
                }
            }
        }
        layer.entries = entries;
        for candidates in layer.exact.values_mut() {
            candidates.sort_by(|a, b| most_specific_first(&a.provider, &b.provider));
        }
        layer.globs.sort_by(|(a, x), (b, y)| {
            most_specific_first(a, b).then_with(|| most_specific_first(&x.provider, &y.provider))
        });
        layer.check()?;
        Ok(layer)
    }

    /// Refuses two entries that would both be right.
    fn check(&self) -> Result<(), PricingError> {
        for (model, candidates) in &self.exact {
            for (index, one) in candidates.iter().enumerate() {
                for other in &candidates[index + 1..] {
                    self.check_pair(model, one, other)?;
                }
            }
        }
        for (index, (model, one)) in self.globs.iter().enumerate() {
            let rivals = self.globs[index + 1..]
                .iter()
                .take_while(|(other, _)| other.specificity() == model.specificity())
                .filter(|(other, _)| other.overlaps(model));
            for (_, other) in rivals {
                self.check_pair(model.as_str(), one, other)?;
            }
        }
        Ok(())
    }

    fn check_pair(&self, model: &str, one: &Candidate, other: &Candidate) -> Result<(), PricingError> {
        let (Some(first), Some(second)) = (self.entries.get(one.entry), self.entries.get(other.entry)) else {
            return Ok(());
        };
        let same_right = one.provider.specificity() == other.provider.specificity()
            && one.provider.overlaps(&other.provider)
            && first.validity.conflicts_with(&second.validity);
        // An entry may name a model or provider in more than one way: that is no contradiction.
        if same_right && one.entry != other.entry {
            let (first, second) = if one.entry < other.entry { (first, second) } else { (second, first) };
            return Err(PricingError::Ambiguous {
                first: first.place.clone(),
                second: second.place.clone(),
                model: model.to_owned(),
            });
        }
        Ok(())
    }

    fn knows_provider(&self, provider: &str) -> bool {
        self.exact_providers.contains(provider) || self.provider_globs.iter().any(|glob| glob.matches(provider))
    }

    /// The entries under the most specific name, whenever they hold.
    fn by_name(&self, provider: &str, model: &str) -> Vec<&Entry> {
        let exact = self.exact.get(model).into_iter().flatten();
        let exact = exact.filter(|candidate| candidate.provider.matches(provider)).map(|candidate| (None, candidate));
        let globs = self
            .globs
            .iter()
            .filter(|(glob, candidate)| glob.matches(model) && candidate.provider.matches(provider))
            .map(|(glob, candidate)| (Some(glob.specificity()), candidate));
        let mut best: Option<(Option<Specificity>, Specificity)> = None;
        let mut entries = Vec::new();
        for (model, candidate) in exact.chain(globs) {
            let rank = (model, candidate.provider.specificity());
            if *best.get_or_insert(rank) != rank {
                break;
            }
            entries.extend(self.entries.get(candidate.entry));
        }
        entries
    }
}

/// Helicone names a provider in upper case, or by the host of the URL that was called, sometimes with the scheme.
fn normalize_provider(provider: &str) -> String {
    let provider = provider.trim().to_lowercase();
    let host = provider.split_once("://").map_or(provider.as_str(), |(_, rest)| rest);
    host.split(['/', ':']).next().unwrap_or_default().to_owned()
}
