//! Who is believed.

use super::{PriceBook, UnpricedReason};
use crate::{
    domain::{UsdAmount, UtcMillis},
    payload::Metadata,
    usage::Usage,
};

/// Where a cost comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CostSource {
    /// Helicone's `metadata.cost`.
    Gateway,
    /// The response's own `usage.cost`.
    Provider,
    /// The price book.
    Book,
    /// Nobody knows a price.
    Unpriced,
}

impl CostSource {
    /// The value in `requests.cost_source`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::Provider => "provider",
            Self::Book => "book",
            Self::Unpriced => "unpriced",
        }
    }
}

/// What is known about a call, as far as it decides the cost.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// The provider as the gateway names it.
    pub provider: &'a str,
    /// The model as the gateway names it.
    pub model: &'a str,
    /// When it was made.
    pub at: UtcMillis,
    /// What the gateway measured.
    pub metadata: Option<&'a Metadata>,
    /// What the response says.
    pub usage: Option<&'a Usage>,
}

/// A request's cost, and what each witness said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost<'book> {
    /// USD; `None` is unpriced.
    pub amount: Option<UsdAmount>,
    /// Who says so.
    pub source: CostSource,
    /// What the gateway said, credible or not.
    pub gateway_amount: Option<UsdAmount>,
    /// What the book says, whoever is believed: where both are there, their difference is drift.
    pub book_amount: Option<UsdAmount>,
    /// Where in the book that stands.
    pub book_entry: Option<&'book str>,
    /// Why the book says nothing; `None` when it does. Where [`Self::source`] is `Unpriced`, this is why.
    pub book_unpriced: Option<UnpricedReason>,
}

/// Decides a request's cost.
///
/// The gateway's amount is credible when it is above zero, no token count beside it is negative, and it does not contradict
/// the response: an amount beside counts of zero is not, where the response tells of tokens. Helicone writes 0 also when it
/// knows no price, and a negative amount for a stream without usage.
#[must_use]
pub fn price<'book>(book: &'book PriceBook, call: &Call<'_>) -> Cost<'book> {
    let by_book = price_by_book(book, call);
    let gateway_amount = call.metadata.and_then(|metadata| metadata.cost_usd);
    let (book_amount, book_entry, book_unpriced) = match by_book {
        Ok((amount, entry)) => (Some(amount), Some(entry), None),
        Err(reason) => (None, None, Some(reason)),
    };
    let (amount, source) = if let Some(amount) = credible_gateway_amount(call) {
        (Some(amount), CostSource::Gateway)
    } else if let Some(amount) = call.usage.and_then(|usage| usage.cost_usd).filter(|amount| amount.is_positive()) {
        (Some(amount), CostSource::Provider)
    } else if book_amount.is_some() {
        (book_amount, CostSource::Book)
    } else {
        (None, CostSource::Unpriced)
    };
    Cost { amount, source, gateway_amount, book_amount, book_entry, book_unpriced }
}

fn credible_gateway_amount(call: &Call<'_>) -> Option<UsdAmount> {
    let metadata = call.metadata?;
    let amount = metadata.cost_usd.filter(|amount| amount.is_positive())?;
    let counts = [metadata.prompt_tokens, metadata.completion_tokens, metadata.total_tokens];
    let all_zero = counts.iter().any(Option::is_some) && counts.iter().flatten().all(|count| *count == 0);
    let response_tells = call.usage.is_some_and(|usage| !usage.is_nothing());
    let contradicts_itself = metadata.has_negative_tokens() || (all_zero && response_tells);
    (!contradicts_itself).then_some(amount)
}

/// The response's own counts, or else the gateway's where they are all that matters.
///
/// The gateway counts neither cached tokens nor audio nor images, and does not know the tier of service. Its counts price a
/// call only where the entry has no other price than those of input and output, so that nothing left out could change the
/// amount. Otherwise the amount would be a guess, and usually too low.
fn price_by_book<'book>(book: &'book PriceBook, call: &Call<'_>) -> Result<(UsdAmount, &'book str), UnpricedReason> {
    let of_response = call.usage.filter(|usage| !usage.is_nothing());
    let priced = |usage: &Usage| {
        book.price(call.provider, call.model, call.at, usage)
            .map(|priced| (priced.amount(), priced.entry.place()))
            .map_err(|unpriced| unpriced.reason)
    };
    if let Some(usage) = of_response {
        return priced(usage);
    }
    let entry = book.find(call.provider, call.model, call.at)?;
    let of_gateway = call.metadata.and_then(gateway_usage).ok_or(UnpricedReason::NoUsage)?;
    if !entry.rates().depends_on_input_and_output_alone() {
        return Err(UnpricedReason::GatewayCountsIncomplete);
    }
    priced(&of_gateway)
}

/// The gateway's counts when none is negative and they are not all zero.
fn gateway_usage(metadata: &Metadata) -> Option<Usage> {
    let count = |tokens: Option<i64>| tokens.and_then(|tokens| u64::try_from(tokens).ok());
    let usage = Usage {
        prompt_tokens: count(metadata.prompt_tokens),
        completion_tokens: count(metadata.completion_tokens),
        ..Usage::default()
    };
    (!metadata.has_negative_tokens() && !usage.is_nothing()).then_some(usage)
}
