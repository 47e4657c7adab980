//! `data.json` of genai-prices: a list of providers with models and prices in USD per million tokens.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    Imported, LeftOut,
    collect::{Collector, Prices, ServiceTierPrices, entry, has_price, number},
    providers::PROVIDERS,
};
use crate::{
    pricing::{Component, rates::PRICED_TIERS, text::EntryText},
    usage::ServiceTier,
};

#[derive(Deserialize)]
struct Provider<'a> {
    id: String,
    #[serde(borrow, default)]
    models: Vec<Model<'a>>,
}

#[derive(Deserialize)]
struct Model<'a> {
    #[serde(rename = "match")]
    name_match: Match,
    #[serde(borrow)]
    prices: ModelPrices<'a>,
    #[serde(borrow, default)]
    price_variants: Option<Vec<Variant<'a>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Match {
    Equals(String),
    StartsWith(String),
    EndsWith(String),
    Contains(String),
    Or(Vec<Match>),
    #[serde(untagged)]
    Other(serde::de::IgnoredAny),
}

/// A list of prices, or several with conditions. Raw, since untagged enums do not keep the text of numbers.
#[derive(Deserialize)]
#[serde(transparent)]
struct ModelPrices<'a>(#[serde(borrow)] &'a RawValue);

type PriceList<'a> = BTreeMap<String, &'a RawValue>;

#[derive(Deserialize)]
struct Conditional<'a> {
    #[serde(default)]
    constraint: Option<Constraint>,
    #[serde(borrow)]
    prices: PriceList<'a>,
}

#[derive(Default, Deserialize)]
struct Constraint {
    start_date: Option<String>,
    start_time: Option<String>,
    end_time: Option<String>,
}

#[derive(Deserialize)]
struct Variant<'a> {
    when: BTreeMap<String, String>,
    #[serde(borrow)]
    prices: PriceList<'a>,
    #[serde(default)]
    constraint: Option<Constraint>,
}

#[derive(Deserialize)]
struct Tiered<'a> {
    #[serde(borrow)]
    base: &'a RawValue,
    #[serde(borrow)]
    tiers: Vec<Tier<'a>>,
}

#[derive(Deserialize)]
struct Tier<'a> {
    start: u64,
    #[serde(borrow)]
    price: &'a RawValue,
}

/// Reads a file.
///
/// # Errors
/// When it is not a JSON list of providers.
pub fn read(text: &str) -> Result<Imported, serde_json::Error> {
    let providers: Vec<Provider<'_>> = serde_json::from_str(text)?;
    let mut collector = Collector::default();
    for provider in &providers {
        let known = PROVIDERS.iter().find(|names| names.genai_prices.contains(&provider.id.as_str()));
        for model in &provider.models {
            let Some(names) = known else {
                collector.leave_out(LeftOut::Provider);
                continue;
            };
            let mut globs = Vec::new();
            for _ in 0..globs_of(&model.name_match, &mut globs) {
                collector.leave_out(LeftOut::Match);
            }
            match entries_of(model)? {
                Ok((entries, parts_left_out)) => {
                    for _ in 0..parts_left_out {
                        collector.leave_out(LeftOut::PartOfEntry);
                    }
                    collector.add(names, &globs, &entries);
                }
                Err(why) => collector.leave_out(why),
            }
        }
    }
    Ok(collector.finish())
}

/// Adds the names as globs and returns how many cannot be said so.
fn globs_of(name_match: &Match, globs: &mut Vec<String>) -> usize {
    match name_match {
        Match::Equals(name) => globs.push(name.clone()),
        Match::StartsWith(start) => globs.push(format!("{start}*")),
        Match::EndsWith(end) => globs.push(format!("*{end}")),
        Match::Contains(part) => globs.push(format!("*{part}*")),
        Match::Or(matches) => return matches.iter().map(|one| globs_of(one, globs)).sum(),
        Match::Other(_) => return 1,
    }
    0
}

type Entries = Result<(Vec<EntryText>, usize), LeftOut>;

fn entries_of(model: &Model<'_>) -> Result<Entries, serde_json::Error> {
    let raw = model.prices.0.get();
    let conditionals: Vec<Conditional<'_>> = if raw.starts_with('[') {
        serde_json::from_str(raw)?
    } else {
        vec![Conditional { constraint: None, prices: serde_json::from_str(raw)? }]
    };
    Ok(dated_entries(&conditionals, model.price_variants.as_deref().unwrap_or_default()))
}

/// Of several lists, the last whose condition holds counts: each date ends what came before it, and hours belong to the date
/// before them. Variants have dates of their own, so that a list falls into parts with different variants.
fn dated_entries(conditionals: &[Conditional<'_>], variants: &[Variant<'_>]) -> Entries {
    let mut entries: Vec<EntryText> = Vec::new();
    let mut parts_left_out = variants.iter().filter(|variant| variant.service_tier().is_none()).count();
    let mut from: Option<String> = None;
    for (index, conditional) in conditionals.iter().enumerate() {
        let hours = hours_of(conditional.constraint.as_ref());
        let start_of = |conditional: &Conditional<'_>| conditional.constraint.as_ref()?.start_date.clone();
        from = start_of(conditional).or(from);
        let until = conditionals.get(index + 1..).unwrap_or_default().iter().find_map(start_of);
        let (base, tiers) = lists(&conditional.prices)?;
        if !has_price(&base) {
            return Err(LeftOut::NoPrice);
        }
        let variants = if hours.is_none() { variants } else { &[] };
        let mut starts = vec![from.clone()];
        starts.extend(variants.iter().filter_map(|variant| variant.constraint.as_ref()?.start_date.clone()).map(Some));
        starts.sort();
        starts.dedup();
        // `None` sorts before every date; dates in ISO 8601 sort as text.
        starts.retain(|start| *start >= from && (start.is_none() || until.is_none() || *start < until));
        for (part, start) in starts.iter().enumerate() {
            let service_tiers = service_tiers(variants, start.as_deref())?;
            let (mut entry, parts) = entry(base.clone(), &tiers, service_tiers)?;
            parts_left_out += parts;
            entry.from.clone_from(start);
            entry.until = starts.get(part + 1).cloned().unwrap_or_else(|| until.clone());
            entry.hours = hours.clone().into_iter().collect();
            entries.push(entry);
        }
    }
    Ok((entries, parts_left_out))
}

fn hours_of(constraint: Option<&Constraint>) -> Option<String> {
    let constraint = constraint?;
    // `00:30:00Z` becomes `00:30`.
    let clock = |text: &Option<String>| text.as_deref().and_then(|text| text.get(..5)).map(str::to_owned);
    Some(format!("{}-{}", clock(&constraint.start_time)?, clock(&constraint.end_time)?))
}

/// The prices of other tiers of service at a date: of several variants, the first that holds counts.
fn service_tiers(variants: &[Variant<'_>], at: Option<&str>) -> Result<BTreeMap<String, ServiceTierPrices>, LeftOut> {
    let mut service_tiers = BTreeMap::new();
    for variant in variants {
        let start = variant.constraint.as_ref().and_then(|constraint| constraint.start_date.as_deref());
        let Some(tier) = variant.service_tier().filter(|_| start.is_none() || start <= at) else { continue };
        let (base, tiers) = lists(&variant.prices)?;
        // In this file, a price without tiers is the same for long prompts.
        service_tiers.entry(tier.as_str().to_owned()).or_insert(ServiceTierPrices { base, tiers: Some(tiers) });
    }
    Ok(service_tiers)
}

impl Variant<'_> {
    /// The tier that it is for. `None` when it depends on what no usage tells, or on the time of the day.
    fn service_tier(&self) -> Option<ServiceTier> {
        let mut when = self.when.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        let (Some(("service_tier" | "processing", word)), None) = (when.next(), when.next()) else { return None };
        let has_hours = self.constraint.as_ref().is_some_and(|constraint| constraint.start_time.is_some());
        PRICED_TIERS.into_iter().find(|tier| tier.as_str() == word && !has_hours)
    }
}

fn component_of(key: &str) -> Option<(Component, bool)> {
    let per_thousand = true;
    Some(match key {
        "input_mtok" => (Component::Input, false),
        "output_mtok" => (Component::Output, false),
        "cache_read_mtok" => (Component::CachedInput, false),
        "cache_audio_read_mtok" => (Component::CachedAudio, false),
        "cache_write_mtok" => (Component::CacheWrite, false),
        "cache_write_1h_mtok" => (Component::CacheWrite1h, false),
        "input_audio_mtok" => (Component::InputAudio, false),
        "input_image_mtok" => (Component::InputImage, false),
        "output_audio_mtok" => (Component::OutputAudio, false),
        "output_image_mtok" => (Component::OutputImage, false),
        "output_reasoning_mtok" => (Component::Reasoning, false),
        "requests_kcount" => (Component::Request, per_thousand),
        "web_searches_kcount" => (Component::WebSearch, per_thousand),
        _ => return None,
    })
}

/// The list of short prompts and those of longer ones. Here, a price without tiers is the same for all.
fn lists(prices: &PriceList<'_>) -> Result<(Prices, BTreeMap<u64, Prices>), LeftOut> {
    let mut base = Prices::new();
    let mut steps: BTreeMap<Component, BTreeMap<u64, String>> = BTreeMap::new();
    let mut cached_input_is_mixed = false;
    for (key, raw) in prices {
        if raw.get() == "null" {
            continue;
        }
        let Some((component, per_thousand)) = component_of(key) else {
            match key.as_str() {
                // A search of stored files, which no usage tells and which has nothing to do with tokens.
                "storage_searches_kcount" => continue,
                // Cached images have another price than cached text, and no usage tells them apart.
                "cache_image_read_mtok" => {
                    cached_input_is_mixed = true;
                    continue;
                }
                _ => return Err(LeftOut::OtherUnits),
            }
        };
        let read = |raw: &RawValue| if per_thousand { per_piece(raw.get()) } else { number(raw.get(), 1) };
        if raw.get().starts_with('{') {
            let tiered: Tiered<'_> = serde_json::from_str(raw.get()).map_err(|_| LeftOut::BadNumber)?;
            if let Some(price) = read(tiered.base)? {
                base.insert(component, price);
            }
            for tier in tiered.tiers {
                if let Some(price) = read(tier.price)? {
                    steps.entry(component).or_default().insert(tier.start, price);
                }
            }
        } else if let Some(price) = read(raw)? {
            base.insert(component, price);
        }
    }
    if cached_input_is_mixed {
        base.remove(&Component::CachedInput);
        steps.remove(&Component::CachedInput);
    }
    let limits: std::collections::BTreeSet<u64> = steps.values().flat_map(|steps| steps.keys().copied()).collect();
    let column = |above: u64| {
        base.iter()
            .filter(|(component, _)| component.is_tokens())
            .map(|(component, price)| {
                let step = steps.get(component).and_then(|steps| steps.range(..=above).next_back());
                (*component, step.map_or(price, |(_, price)| price).clone())
            })
            .collect()
    };
    let tiers = limits.into_iter().map(|above| (above, column(above))).collect();
    Ok((base, tiers))
}

/// From USD per thousand to USD each, by moving the point.
fn per_piece(text: &str) -> Result<Option<String>, LeftOut> {
    let Some(price) = number(text, 1)? else { return Ok(None) };
    let (whole, fraction) = price.split_once('.').unwrap_or((&price, ""));
    let digits = format!("{whole:0>4}");
    let (whole, thousandths) = digits.split_at(digits.len() - 3);
    number(&format!("{whole}.{thousandths}{fraction}"), 1)
}
