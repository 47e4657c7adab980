//! Counts times prices, exactly, rounded once.

use super::{Component, PriceColumn, Rates, UnitPrice, UnpricedReason};
use crate::{
    domain::UsdAmount,
    usage::{ServiceTier, Usage},
};

/// One line of a calculation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line {
    /// What is charged.
    pub component: Component,
    /// How many tokens or pieces.
    pub count: u64,
    /// The price of one.
    pub price: UnitPrice,
}

/// How an amount came about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Calculation {
    /// Parts with a count above zero.
    pub lines: Vec<Line>,
    /// The tier that the prompt's length put the call in: it has more input tokens than this.
    pub above_prompt_tokens: Option<u64>,
    /// The sum, rounded half to even to 10⁻¹² USD.
    pub total: UsdAmount,
}

/// Why there is no amount, and which part of the call is to blame.
pub(super) type Refusal = (UnpricedReason, Option<Component>);

/// From 10⁻¹⁸ to 10⁻¹² USD.
const ATTO_PER_PICO: u128 = 1_000_000;

/// Works out what a call costs.
///
/// # Errors
/// Whatever would be a guess: an unknown count of something that costs money, a count without a price, parts that are
/// more than their whole.
pub(super) fn calculate(rates: &Rates, usage: &Usage) -> Result<Calculation, Refusal> {
    let prices = rates
        .of(usage.service_tier.unwrap_or(ServiceTier::Default))
        .ok_or((UnpricedReason::NoPriceForServiceTier, None))?;
    let (column, above_prompt_tokens) = prices.column(usage.all_prompt_tokens());
    if usage.is_nothing() {
        return Err((UnpricedReason::NoUsage, None));
    }
    if column.is_request_unknown() {
        return Err((UnpricedReason::NoPriceForComponent, Some(Component::Request)));
    }
    let mut lines = Vec::with_capacity(4);
    let mut atto_usd: u128 = 0;
    for (component, count) in counts(column, usage)? {
        if count == 0 {
            continue;
        }
        let price = column.get(component).ok_or((UnpricedReason::NoPriceForComponent, Some(component)))?;
        let line = Line { component, count, price };
        atto_usd = price
            .times(count)
            .and_then(|amount| atto_usd.checked_add(amount))
            .ok_or((UnpricedReason::OutOfRange, Some(component)))?;
        lines.push(line);
    }
    let total = round(atto_usd).ok_or((UnpricedReason::OutOfRange, None))?;
    Ok(Calculation { lines, above_prompt_tokens, total })
}

/// How much of each part was used. Parts are taken out of their wholes, since a whole is charged once.
fn counts(column: &PriceColumn, usage: &Usage) -> Result<[(Component, u64); Component::ALL.len()], Refusal> {
    let known = |count: Option<u64>| count.unwrap_or(0);
    // Unknown is zero only where nothing would be charged: an embedding has no output.
    let whole = |count: Option<u64>, component: Component| match (count, column.get(component)) {
        (None, Some(price)) if price.times(1) != Some(0) => Err((UnpricedReason::NoUsage, Some(component))),
        (count, _) => Ok(known(count)),
    };
    let without = |whole: u64, parts: &[u64], component: Component| {
        parts
            .iter()
            .try_fold(whole, |rest, part| rest.checked_sub(*part))
            .ok_or((UnpricedReason::InconsistentUsage, Some(component)))
    };
    let (input_audio, input_image) = (known(usage.prompt_audio_tokens), known(usage.prompt_image_tokens));
    let (cached_audio, write_1h) = (known(usage.cached_audio_tokens), known(usage.cache_write_1h_tokens));
    let (output_audio, output_image) = (known(usage.completion_audio_tokens), known(usage.completion_image_tokens));
    // Reasoning is output, unless the book has a price of its own for it.
    let reasoning = if column.get(Component::Reasoning).is_some() { known(usage.reasoning_tokens) } else { 0 };

    let prompt = whole(usage.prompt_tokens, Component::Input)?;
    let completion = whole(usage.completion_tokens, Component::Output)?;
    Ok([
        (Component::Input, without(prompt, &[input_audio, input_image], Component::Input)?),
        (Component::CachedInput, without(known(usage.cached_tokens), &[cached_audio], Component::CachedInput)?),
        (Component::CachedAudio, cached_audio),
        (Component::CacheWrite, without(known(usage.cache_write_tokens), &[write_1h], Component::CacheWrite)?),
        (Component::CacheWrite1h, write_1h),
        (Component::InputAudio, input_audio),
        (Component::InputImage, input_image),
        (Component::Output, without(completion, &[reasoning, output_audio, output_image], Component::Output)?),
        (Component::Reasoning, reasoning),
        (Component::OutputAudio, output_audio),
        (Component::OutputImage, output_image),
        (Component::Request, u64::from(column.get(Component::Request).is_some())),
        (Component::Image, known(usage.generated_images)),
        (Component::WebSearch, known(usage.web_search_requests)),
    ])
}

/// Half to even; `None` when a request's column cannot hold it.
fn round(atto_usd: u128) -> Option<UsdAmount> {
    let (whole, rest) = (atto_usd / ATTO_PER_PICO, atto_usd % ATTO_PER_PICO);
    let half = ATTO_PER_PICO / 2;
    let up = rest > half || (rest == half && whole % 2 == 1);
    let amount = UsdAmount::from_pico_usd(i128::try_from(whole + u128::from(up)).ok()?);
    amount.to_decimal64().map(|_| amount)
}
