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

fn told(pico_usd: i128, prompt: i64, completion: i64) -> Metadata {
    Metadata {
        cost_usd: Some(usd(pico_usd)),
        prompt_tokens: Some(prompt),
        completion_tokens: Some(completion),
        total_tokens: Some(prompt + completion),
        latency_ms: None,
    }
}

fn used(prompt: u64, completion: u64) -> Usage {
    Usage { prompt_tokens: Some(prompt), completion_tokens: Some(completion), ..Usage::default() }
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn who_is_believed() {
    let book = PriceBook::builtin().expect("book");
    let pico = |pico_usd| Some(usd(pico_usd));
    let told = |pico_usd, prompt, completion| Some(told(pico_usd, prompt, completion));
    let stated = Some(Usage { cost_usd: pico(7), ..used(1, 1) });
    let used = |prompt, completion| Some(used(prompt, completion));
    // gpt-4o by the book: 10 × 2.5 + 5 × 10 millionths. gpt-4 has no cache, so that the gateway's counts are all there is.
    let (by_book, one_one) = (pico(75_000_000), pico(12_500_000));
    let by_counts = pico(600_000_000);
    for (what, model, metadata, usage, amount, source, book_amount, reason) in [
        ("gateway", "gpt-4o", told(5, 10, 5), used(10, 5), pico(5), CostSource::Gateway, by_book, None),
        (
            "gateway without a body",
            "gpt-4o",
            told(5, 10, 5),
            None,
            pico(5),
            CostSource::Gateway,
            None,
            Some(UnpricedReason::GatewayCountsIncomplete),
        ),
        (
            "gateway beside zeros, no body",
            "gpt-4o",
            told(5, 0, 0),
            None,
            pico(5),
            CostSource::Gateway,
            None,
            Some(UnpricedReason::NoUsage),
        ),
        (
            "gateway beside zeros, but the body tells",
            "gpt-4o",
            told(5, 0, 0),
            used(10, 5),
            by_book,
            CostSource::Book,
            by_book,
            None,
        ),
        (
            "gateway beside negative counts",
            "gpt-4o",
            told(5, -1, -1),
            used(10, 5),
            by_book,
            CostSource::Book,
            by_book,
            None,
        ),
        ("gateway knows no price", "gpt-4o", told(0, 10, 5), used(10, 5), by_book, CostSource::Book, by_book, None),
        (
            "a negative amount",
            "gpt-4o",
            told(-12_500_000, -1, -1),
            None,
            None,
            CostSource::Unpriced,
            None,
            Some(UnpricedReason::NoUsage),
        ),
        ("the provider states it", "gpt-4o", told(0, 1, 1), stated, pico(7), CostSource::Provider, one_one, None),
        (
            "only the gateway's counts, and they are all",
            "gpt-4",
            told(0, 10, 5),
            None,
            by_counts,
            CostSource::Book,
            by_counts,
            None,
        ),
        (
            "only the gateway's counts, and they are not all",
            "gpt-4o",
            told(0, 10, 5),
            None,
            None,
            CostSource::Unpriced,
            None,
            Some(UnpricedReason::GatewayCountsIncomplete),
        ),
        (
            "a body that tells zeros",
            "gpt-4o",
            told(0, 0, 0),
            used(0, 0),
            None,
            CostSource::Unpriced,
            None,
            Some(UnpricedReason::NoUsage),
        ),
        (
            "a model nobody knows",
            "gpt-99",
            told(0, 10, 5),
            used(10, 5),
            None,
            CostSource::Unpriced,
            None,
            Some(UnpricedReason::UnknownModel),
        ),
        ("nothing", "", None, None, None, CostSource::Unpriced, None, Some(UnpricedReason::UnknownModel)),
    ] {
        let call = Call { provider: "OPENAI", model, at: AT, metadata: metadata.as_ref(), usage: usage.as_ref() };
        let gateway_amount = metadata.and_then(|metadata| metadata.cost_usd);
        let found = price(&book, &call);
        assert_eq!(found.book_entry.is_some(), book_amount.is_some(), "{what}");
        let book_entry = found.book_entry;
        let expected = Cost { amount, source, gateway_amount, book_amount, book_entry, book_unpriced: reason };
        assert_eq!(found, expected, "{what}");
    }
}

#[test]
fn an_unpriced_call_never_costs_zero() {
    let book = PriceBook::builtin().expect("book");
    let (metadata, usage) = (told(0, 10, 5), used(10, 5));
    let call = Call { provider: "OLLAMA", model: "llama3.3", at: AT, metadata: Some(&metadata), usage: Some(&usage) };
    let cost = price(&book, &call);
    assert_eq!((cost.amount, cost.source, cost.book_amount), (None, CostSource::Unpriced, None));
    assert!(cost.book_unpriced.is_some());
}
