//! Gathers entries: one price for a name, the same prices together.

use std::collections::{BTreeMap, HashMap};

use super::{Imported, LeftOut, providers::Names};
use crate::pricing::{
    Component, Pattern, normalize_foreign_price,
    text::{EntryText, ServiceTierText, TierText},
};

/// Collects what a file says.
#[derive(Default)]
pub(super) struct Collector {
    entries: Vec<EntryText>,
    /// Names already taken by a provider, with what is said of them.
    taken: HashMap<(&'static str, String), Vec<EntryText>>,
    globs: HashMap<&'static str, Vec<Pattern>>,
    left_out: BTreeMap<LeftOut, usize>,
    names: usize,
}

impl Collector {
    pub(super) fn leave_out(&mut self, why: LeftOut) {
        *self.left_out.entry(why).or_default() += 1;
    }

    /// Takes prices (without names) for some names of a provider: all that hold at one time or another.
    pub(super) fn add(&mut self, provider: &Names, names: &[String], prices: &[EntryText]) {
        let Some(first) = provider.ours.first() else { return };
        let mut fresh = Vec::new();
        for name in names {
            let Ok(pattern) = Pattern::new(name) else {
                self.leave_out(LeftOut::Match);
                continue;
            };
            let key = (*first, pattern.as_str().to_owned());
            if let Some(known) = self.taken.get(&key) {
                if known != prices {
                    self.leave_out(LeftOut::Contradiction);
                }
                continue;
            }
            if !pattern.is_exact() {
                let globs = self.globs.entry(first).or_default();
                // The rules could not tell which of the two is meant.
                let rivals = globs.iter().filter(|other| other.specificity() == pattern.specificity());
                if rivals.into_iter().any(|other| other.overlaps(&pattern)) {
                    self.leave_out(LeftOut::Contradiction);
                    continue;
                }
                globs.push(pattern);
            }
            self.taken.insert(key, prices.to_vec());
            fresh.push(name.clone());
        }
        if fresh.is_empty() {
            return;
        }
        self.names += fresh.len();
        let providers: Vec<String> = provider.ours.iter().map(|&name| name.to_owned()).collect();
        for prices in prices {
            let entry = EntryText { providers: providers.clone(), models: Vec::new(), ..prices.clone() };
            let same =
                self.entries.iter_mut().find(|other| EntryText { models: Vec::new(), ..(*other).clone() } == entry);
            match same {
                Some(other) => other.models.extend(fresh.iter().cloned()),
                None => self.entries.push(EntryText { models: fresh.clone(), ..entry }),
            }
        }
    }

    pub(super) fn finish(self) -> Imported {
        Imported { entries: self.entries, names: self.names, left_out: self.left_out }
    }
}

/// One list of prices by component, as numbers of a foreign file became text of ours.
pub(super) type Prices = BTreeMap<Component, String>;

/// Prices of another tier of service.
#[derive(Default)]
pub(super) struct ServiceTierPrices {
    pub(super) base: Prices,
    /// For long prompts. `None`: the file does not say; empty: they cost the same.
    pub(super) tiers: Option<BTreeMap<u64, Prices>>,
}

/// A number of the file in our units; `None` when it is 0, which these files also write for unknown.
pub(super) fn number(text: &str, factor: u32) -> Result<Option<String>, LeftOut> {
    let price = normalize_foreign_price(text, factor).map_err(|_| LeftOut::BadNumber)?;
    Ok((price != "0").then_some(price))
}

/// Whether anything would be charged.
pub(super) fn has_price(prices: &Prices) -> bool {
    [Component::Input, Component::Output, Component::Image, Component::Request]
        .into_iter()
        .any(|component| prices.contains_key(&component))
}

/// Puts lists into an entry. What a longer prompt's list does not have is taken out of the shorter one's, too: it is then
/// unpriced, and not guessed. `Err` when that is input or output.
pub(super) fn entry(
    mut base: Prices,
    tiers: &BTreeMap<u64, Prices>,
    service_tiers: BTreeMap<String, ServiceTierPrices>,
) -> Result<(EntryText, usize), LeftOut> {
    let mut parts_left_out = 0;
    for component in Component::ALL.into_iter().filter(|component| component.is_tokens()) {
        if base.contains_key(&component) && tiers.values().any(|tier| !tier.contains_key(&component)) {
            if matches!(component, Component::Input | Component::Output) {
                return Err(LeftOut::OtherUnits);
            }
            base.remove(&component);
            parts_left_out += 1;
        }
    }
    let mut entry = EntryText::default();
    for (component, price) in &base {
        *entry.price_mut(*component) = Some(price.clone());
    }
    entry.tiers = tier_texts(tiers);
    for (name, ServiceTierPrices { base: prices, tiers: columns }) in service_tiers {
        let is_whole = |column: &Prices| prices.keys().all(|component| column.contains_key(component));
        let is_usable = columns.as_ref().map_or(tiers.is_empty(), |columns| columns.values().all(is_whole));
        if prices.is_empty() || !is_usable {
            parts_left_out += 1;
            continue;
        }
        let mut text = ServiceTierText::default();
        for (component, price) in &prices {
            *text.price_mut(*component) = Some(price.clone());
        }
        text.tiers = columns.filter(|columns| !columns.is_empty() || !tiers.is_empty()).as_ref().map(tier_texts);
        entry.service_tiers.insert(name, text);
    }
    Ok((entry, parts_left_out))
}

fn tier_texts(tiers: &BTreeMap<u64, Prices>) -> Vec<TierText> {
    tiers
        .iter()
        .map(|(above, prices)| {
            let mut text = TierText { above_prompt_tokens: *above, ..TierText::default() };
            for (component, price) in prices {
                *text.price_mut(*component) = Some(price.clone());
            }
            text
        })
        .collect()
}
