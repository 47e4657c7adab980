//! Who is believed, and what is kept beside.

use super::*;
use crate::{
    domain::{UsdAmount, UtcMillis},
    payload::Metadata,
    usage::Usage,
};

const AT: UtcMillis = UtcMillis(1_790_000_000_000);

const fn usd(pico_usd: i128) -> UsdAmount {
    UsdAmount::from_pico_usd(pico_usd)
}

fn metadata((pico_usd, prompt, completion): Told) -> Metadata {
    Metadata {
        cost_usd: Some(usd(pico_usd)),
        prompt_tokens: Some(prompt),
        completion_tokens: Some(completion),
        total_tokens: Some(prompt + completion),
        latency_ms: None,
    }
}

fn usage((prompt, completion, stated): Used) -> Usage {
    let cost_usd = (stated > 0).then_some(usd(stated));
    Usage { prompt_tokens: Some(prompt), completion_tokens: Some(completion), cost_usd, ..Usage::default() }
}

/// By the gateway: cost in 10⁻¹² USD, prompt tokens, completion tokens.
type Told = (i128, i64, i64);

/// By the response: prompt tokens, completion tokens, cost in 10⁻¹² USD, or 0 where it states none.
type Used = (u64, u64, i128);

/// What is told, the model, the gateway, the response; the amount and whose it is; the book's amount or why there is none.
type Row = (
    &'static str,
    &'static str,
    Option<Told>,
    Option<Used>,
    Option<i128>,
    CostSource,
    Option<i128>,
    Option<UnpricedReason>,
);

/// gpt-4o by the book: 10 × 2.5 + 5 × 10 millionths.
const BY_BOOK: Option<i128> = Some(75_000_000);
/// gpt-4o by the book: 1 × 2.5 + 1 × 10 millionths.
const ONE_ONE: Option<i128> = Some(12_500_000);
/// gpt-4 has no cache, so that the gateway's counts are all there is: 10 × 30 + 5 × 60 millionths.
const BY_COUNTS: Option<i128> = Some(600_000_000);

const ROWS: &[Row] = &[
    ("gateway", "gpt-4o", Some((5, 10, 5)), Some((10, 5, 0)), Some(5), CostSource::Gateway, BY_BOOK, None),
    (
        "gateway without a body",
        "gpt-4o",
        Some((5, 10, 5)),
        None,
        Some(5),
        CostSource::Gateway,
        None,
        Some(UnpricedReason::GatewayCountsIncomplete),
    ),
    (
        "gateway beside zeros, no body",
        "gpt-4o",
        Some((5, 0, 0)),
        None,
        Some(5),
        CostSource::Gateway,
        None,
        Some(UnpricedReason::NoUsage),
    ),
    (
        "gateway beside zeros, but the body tells",
        "gpt-4o",
        Some((5, 0, 0)),
        Some((10, 5, 0)),
        BY_BOOK,
        CostSource::Book,
        BY_BOOK,
        None,
    ),
    (
        "gateway beside negative counts",
        "gpt-4o",
        Some((5, -1, -1)),
        Some((10, 5, 0)),
        BY_BOOK,
        CostSource::Book,
        BY_BOOK,
        None,
    ),
    ("gateway knows no price", "gpt-4o", Some((0, 10, 5)), Some((10, 5, 0)), BY_BOOK, CostSource::Book, BY_BOOK, None),
    (
        "a negative amount",
        "gpt-4o",
        Some((-12_500_000, -1, -1)),
        None,
        None,
        CostSource::Unpriced,
        None,
        Some(UnpricedReason::NoUsage),
    ),
    (
        "the provider states it",
        "gpt-4o",
        Some((0, 1, 1)),
        Some((1, 1, 7)),
        Some(7),
        CostSource::Provider,
        ONE_ONE,
        None,
    ),
    (
        "only the gateway's counts, and they are all",
        "gpt-4",
        Some((0, 10, 5)),
        None,
        BY_COUNTS,
        CostSource::Book,
        BY_COUNTS,
        None,
    ),
    (
        "only the gateway's counts, and they are not all",
        "gpt-4o",
        Some((0, 10, 5)),
        None,
        None,
        CostSource::Unpriced,
        None,
        Some(UnpricedReason::GatewayCountsIncomplete),
    ),
    (
        "a body that tells zeros",
        "gpt-4o",
        Some((0, 0, 0)),
        Some((0, 0, 0)),
        None,
        CostSource::Unpriced,
        None,
        Some(UnpricedReason::NoUsage),
    ),
    (
        "a model nobody knows",
        "gpt-99",
        Some((0, 10, 5)),
        Some((10, 5, 0)),
        None,
        CostSource::Unpriced,
        None,
        Some(UnpricedReason::UnknownModel),
    ),
    ("nothing", "", None, None, None, CostSource::Unpriced, None, Some(UnpricedReason::UnknownModel)),
];

#[test]
fn who_is_believed() {
    let book = PriceBook::builtin().expect("book");
    for (what, model, told, used, amount, source, book_amount, reason) in ROWS {
        let (metadata, usage) = (told.map(metadata), used.map(usage));
        let (amount, book_amount) = (amount.map(usd), book_amount.map(usd));
        let call = Call { provider: "OPENAI", model, at: AT, metadata: metadata.as_ref(), usage: usage.as_ref() };
        let gateway_amount = metadata.and_then(|metadata| metadata.cost_usd);
        let found = price(&book, &call);
        assert_eq!(found.book_entry.is_some(), book_amount.is_some(), "{what}");
        let book_entry = found.book_entry;
        let expected =
            Cost { amount, source: *source, gateway_amount, book_amount, book_entry, book_unpriced: *reason };
        assert_eq!(found, expected, "{what}");
    }
}

#[test]
fn an_unpriced_call_never_costs_zero() {
    let book = PriceBook::builtin().expect("book");
    let (metadata, usage) = (metadata((0, 10, 5)), usage((10, 5, 0)));
    let call = Call { provider: "OLLAMA", model: "llama3.3", at: AT, metadata: Some(&metadata), usage: Some(&usage) };
    let cost = price(&book, &call);
    assert_eq!((cost.amount, cost.source, cost.book_amount), (None, CostSource::Unpriced, None));
    assert!(cost.book_unpriced.is_some());
}
