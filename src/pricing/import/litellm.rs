//! `model_prices_and_context_window.json` of `LiteLLM`: an object of models with prices in USD per token.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

use super::{
    Imported, LeftOut,
    collect::{Collector, Prices, ServiceTierPrices, entry, has_price, number},
    providers::PROVIDERS,
};
use crate::{
    pricing::{Component, text::EntryText},
    usage::ServiceTier,
};

/// Prices in this file are per token, ours per million.
const TOKENS: u32 = 1_000_000;

/// The entry that explains the format.
const SPECIMEN: &str = "sample_spec";

type Model<'a> = BTreeMap<String, &'a RawValue>;

/// Keys with a price, and what they are in our words. What follows in a key is read by [`suffix`].
const KEYS: [(&str, Component); 13] = [
    ("cache_creation_input_token_cost", Component::CacheWrite),
    ("cache_read_input_audio_token_cost", Component::CachedAudio),
    ("cache_read_input_token_cost", Component::CachedInput),
    ("input_cost_per_audio_token", Component::InputAudio),
    ("input_cost_per_image_token", Component::InputImage),
    ("input_cost_per_token", Component::Input),
    ("output_cost_per_audio_token", Component::OutputAudio),
    ("output_cost_per_image_token", Component::OutputImage),
    ("output_cost_per_reasoning_token", Component::Reasoning),
    ("output_cost_per_token", Component::Output),
    ("output_cost_per_image", Component::Image),
    ("input_cost_per_request", Component::Request),
    ("input_cost_per_video_token", Component::Input),
];
/// Tokens of video are counted with the other input: the price must be the same, or the model cannot be priced.
const VIDEO_KEY: &str = "input_cost_per_video_token";
/// The second name of a price that is there already.
const CACHE_HIT_KEY: &str = "input_cost_per_token_cache_hit";
/// Tools and storage, which have nothing to do with the tokens of a call.
const BESIDE_THE_CALL: [&str; 8] = [
    "search_context_cost_per_query",
    "code_interpreter_cost_per_session",
    "file_search_cost_per_1k_calls",
    "file_search_cost_per_gb_per_day",
    "vector_store_cost_per_gb_per_day",
    "computer_use_input_cost_per_1k_tokens",
    "computer_use_output_cost_per_1k_tokens",
    "google_maps_grounding_cost_per_query",
];

/// Reads a file.
///
/// # Errors
/// When it is not a JSON object of objects.
pub fn read(text: &str) -> Result<Imported, serde_json::Error> {
    let models: BTreeMap<String, &RawValue> = serde_json::from_str(text)?;
    let mut collector = Collector::default();
    for (key, raw) in models {
        if key == SPECIMEN {
            continue;
        }
        let model: Model<'_> = serde_json::from_str(raw.get())?;
        let provider = model.get("litellm_provider").map_or("", |raw| raw.get().trim_matches('"'));
        let Some(names) = PROVIDERS.iter().find(|names| names.litellm.contains(&provider)) else {
            collector.leave_out(LeftOut::Provider);
            continue;
        };
        let Some(name) = model_name(&key, provider) else {
            collector.leave_out(LeftOut::Region);
            continue;
        };
        match prices(&model) {
            Ok((prices, parts_left_out)) => {
                for _ in 0..parts_left_out {
                    collector.leave_out(LeftOut::PartOfEntry);
                }
                collector.add(names, &[name.to_owned()], &[prices]);
            }
            Err(why) => collector.leave_out(why),
        }
    }
    Ok(collector.finish())
}

/// The provider's own name of a model: without `LiteLLM`'s prefix. `None` when the key names a region.
fn model_name<'a>(key: &'a str, provider: &str) -> Option<&'a str> {
    let family = provider.split_once('-').map_or(provider, |(family, _)| family);
    let family = match family {
        "text" => "openai",
        "bedrock_converse" => "bedrock",
        "azure_text" => "azure",
        "cohere_chat" => "cohere",
        other => other,
    };
    let name = key.strip_prefix(family).and_then(|rest| rest.strip_prefix('/')).unwrap_or(key);
    let name = if family == "azure" { name.strip_prefix("global/").unwrap_or(name) } else { name };
    let has_region = matches!(family, "bedrock" | "azure") && name.contains('/');
    (!has_region).then_some(name)
}

fn prices(model: &Model<'_>) -> Result<(EntryText, usize), LeftOut> {
    let mut base = Prices::new();
    let mut tiers: BTreeMap<u64, Prices> = BTreeMap::new();
    let mut service_tiers: BTreeMap<String, ServiceTierPrices> = BTreeMap::new();
    let mut video = None;
    for (key, raw) in model {
        let is_beside = BESIDE_THE_CALL.contains(&key.as_str()) || key == CACHE_HIT_KEY;
        if is_beside || !(key.contains("cost") || key.contains("pricing")) || raw.get() == "null" {
            continue;
        }
        let Some((component, suffix)) = component_of(key) else {
            // 0 by the second, for instance, is no price by the second.
            if number(raw.get(), 1).is_ok_and(|price| price.is_none()) {
                continue;
            }
            // A longer time in the cache than our columns have, or another tier of service: a part, not the whole.
            if KEYS.iter().any(|(known, _)| key.starts_with(known)) {
                continue;
            }
            return Err(LeftOut::OtherUnits);
        };
        let factor = if component.is_tokens() { TOKENS } else { 1 };
        let Some(price) = number(raw.get(), factor)? else { continue };
        if key == VIDEO_KEY {
            video = Some(price);
            continue;
        }
        let list = match (suffix.service_tier, suffix.above) {
            (None, None) => &mut base,
            (None, Some(above)) => tiers.entry(above).or_default(),
            (Some(tier), None) => &mut service_tiers.entry(tier.as_str().to_owned()).or_default().base,
            (Some(tier), Some(above)) => {
                let prices = service_tiers.entry(tier.as_str().to_owned()).or_default();
                prices.tiers.get_or_insert_default().entry(above).or_default()
            }
        };
        list.insert(component, price);
    }
    // Charged as output: no price of its own.
    if base.get(&Component::Reasoning) == base.get(&Component::Output) {
        base.remove(&Component::Reasoning);
    }
    if let Some(price) = web_search_price(model) {
        base.insert(Component::WebSearch, price);
    }
    if !has_price(&base) {
        return Err(LeftOut::NoPrice);
    }
    if video.is_some() && video.as_ref() != base.get(&Component::Input) {
        return Err(LeftOut::OtherUnits);
    }
    entry(base, &tiers, service_tiers)
}

/// The price of a search where it does not depend on the size of the context, which no usage tells.
fn web_search_price(model: &Model<'_>) -> Option<String> {
    let sizes: BTreeMap<String, &RawValue> =
        serde_json::from_str(model.get("search_context_cost_per_query")?.get()).ok()?;
    let mut prices: Vec<String> =
        sizes.values().map(|raw| number(raw.get(), 1).ok().flatten()).collect::<Option<_>>()?;
    prices.dedup();
    match prices.as_slice() {
        [one] => Some(one.clone()),
        _ => None,
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Suffix {
    above: Option<u64>,
    service_tier: Option<ServiceTier>,
}

fn component_of(key: &str) -> Option<(Component, Suffix)> {
    KEYS.iter().find_map(|(known, component)| {
        let rest = key.strip_prefix(known)?;
        let (component, rest) = match (component, rest.strip_prefix("_above_1hr")) {
            (Component::CacheWrite, Some(rest)) => (Component::CacheWrite1h, rest),
            (component, _) => (*component, rest),
        };
        Some((component, suffix(rest)?))
    })
}

/// Reads `_above_200k_tokens` and `_priority`, `_flex`, `_batches` in this order.
fn suffix(mut rest: &str) -> Option<Suffix> {
    let mut suffix = Suffix::default();
    if let Some(number) = rest.strip_prefix("_above_") {
        let (thousands, after) = number.split_once("k_tokens")?;
        suffix.above = Some(thousands.parse::<u64>().ok()?.checked_mul(1000)?);
        rest = after;
    }
    suffix.service_tier = match rest {
        "" => None,
        "_priority" => Some(ServiceTier::Priority),
        "_flex" => Some(ServiceTier::Flex),
        "_batches" => Some(ServiceTier::Batch),
        _ => return None,
    };
    Some(suffix)
}
