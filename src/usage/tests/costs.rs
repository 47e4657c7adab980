//! What every body costs: read as a response, priced by the shipped book, against sums worked out by hand.

use std::collections::BTreeSet;

use super::{Case, cases, facts, samples};
use crate::{
    pricing::{Call, Cost, CostSource, PriceBook, UnpricedReason, parse_moment, price, text::EntryText},
    settings::PricingSettings,
    usage::Usage,
};

fn builtin() -> PriceBook {
    PriceBook::builtin().expect("the shipped book")
}

fn cost_of<'book>(book: &'book PriceBook, case: &Case, usage: Option<&Usage>) -> Cost<'book> {
    let at = parse_moment(case.at).expect(case.at);
    price(book, &Call { provider: case.provider, model: case.model, at, metadata: None, usage })
}

#[test]
fn every_body_costs_what_was_worked_out_by_hand() {
    let book = builtin();
    for case in cases() {
        let about = format!("{} {} at {}: {} ({})", case.provider, case.model, case.at, case.name, case.how);
        assert!(case.cost.is_some() != case.unpriced.is_some(), "either a cost or why there is none: {about}");
        let usage = facts(case.body).usage;
        let found = cost_of(&book, case, usage.as_ref());
        let by_book = found.book_amount.map(|amount| amount.to_string());
        assert_eq!((by_book.as_deref(), found.book_unpriced), (case.cost, case.unpriced), "{about}");
        // What the provider states goes before the book, which goes before nothing.
        let stated = case.usage.and_then(|usage| usage.cost_usd);
        let (amount, source) = match (stated, found.book_amount) {
            (Some(stated), _) => (Some(stated), CostSource::Provider),
            (None, Some(by_book)) => (Some(by_book), CostSource::Book),
            (None, None) => (None, CostSource::Unpriced),
        };
        assert_eq!((found.amount, found.source), (amount, source), "{about}");
    }
}

#[test]
fn every_provider_has_three_bodies_with_a_cost() {
    let has_cost = |case: &&Case| case.cost.is_some() || case.usage.is_some_and(|usage| usage.cost_usd.is_some());
    for provider in [
        "OPENAI",
        "AZURE",
        "ANTHROPIC",
        "GOOGLE",
        "VERTEX",
        "BEDROCK",
        "MISTRAL",
        "GROQ",
        "DEEPSEEK",
        "X",
        "COHERE",
        "OPENROUTER",
        "TOGETHER",
        "FIREWORKS",
        "PERPLEXITY",
    ] {
        let bodies = cases().filter(has_cost).filter(|case| case.provider == provider).count();
        assert!(bodies >= 3, "{provider}: {bodies}");
    }
    for (provider, api) in [("OPENAI", "responses:"), ("BEDROCK", "Converse"), ("BEDROCK", "invoke:")] {
        let of_api = |case: &&Case| case.provider == provider && case.name.starts_with(api);
        let bodies = cases().filter(has_cost).filter(of_api).count();
        assert!(bodies >= 3, "{provider} {api}: {bodies}");
    }
    let chats = cases().filter(|case| case.provider == "OPENAI" && !case.name.starts_with("responses:"));
    assert!(chats.filter(has_cost).count() >= 3);
    // What has no price by default: see `a_price_of_ones_own_goes_before_none`.
    assert!(cases().filter(|case| case.provider == "OLLAMA").all(|case| case.cost.is_none()));
    let reasons: BTreeSet<_> = cases().filter_map(|case| case.unpriced).collect();
    for reason in [
        UnpricedReason::NoUsage,
        UnpricedReason::UnknownProvider,
        UnpricedReason::UnknownModel,
        UnpricedReason::NoPriceForComponent,
        UnpricedReason::NoPriceForServiceTier,
    ] {
        assert!(reasons.contains(&reason), "{reason:?}");
    }
}

#[test]
fn every_stored_sample_costs_what_was_worked_out_by_hand() {
    let book = builtin();
    let samples = samples::samples();
    let rows = [
        (
            "openai-cached",
            "OPENAI",
            "gpt-4o-2024-08-06",
            "96 × 2.5 + 1152 × 1.25 + 10 × 10 = 1780",
            Ok("0.001780000000"),
        ),
        ("openai-stream", "OPENAI", "gpt-4o-2024-08-06", "1248 × 2.5 + 10 × 10 = 3220", Ok("0.003220000000")),
        ("openai-stream-nousage", "OPENAI", "gpt-4o-2024-08-06", "", Err(UnpricedReason::NoUsage)),
        ("openai-error-429", "OPENAI", "gpt-4o", "", Err(UnpricedReason::NoUsage)),
        ("azure", "AZURE", "gpt-4.1-2025-04-14", "18 × 2 + 100 × 8 = 836", Ok("0.000836000000")),
        (
            "anthropic",
            "ANTHROPIC",
            "claude-3-5-sonnet-20241022",
            "9 × 3 + 183 × 0.3 + 50 × 3.75 + 12 × 15 = 27 + 54.9 + 187.5 + 180 = 449.4",
            Ok("0.000449400000"),
        ),
        (
            "anthropic-stream",
            "ANTHROPIC",
            "claude-3-5-haiku-20241022",
            "338 × 0.8 + 500 × 0.08 + 20 × 1.6 + 65 × 4 = 270.4 + 40 + 32 + 260 = 602.4",
            Ok("0.000602400000"),
        ),
        (
            "bedrock-converse",
            "AWS",
            "anthropic.claude-3-5-sonnet-20241022-v2",
            "30 × 3 + 628 × 15 = 90 + 9420 = 9510",
            Ok("0.009510000000"),
        ),
        (
            "deepseek-cached",
            "DEEPSEEK",
            "deepseek-chat",
            "30 × 0.56 + 70 × 0.07 + 50 × 1.68 = 16.8 + 4.9 + 84 = 105.7",
            Ok("0.000105700000"),
        ),
        (
            "gemini-cached",
            "GOOGLE",
            "gemini-2.0-flash-001",
            "10 × 0.1 + 13644 × 0.025 + 87 × 0.4 = 1 + 341.1 + 34.8 = 376.9",
            Ok("0.000376900000"),
        ),
        (
            "groq-stream",
            "GROQ",
            "llama-3.3-70b-versatile",
            "47 × 0.59 + 10 × 0.79 = 27.73 + 7.9 = 35.63",
            Ok("0.000035630000"),
        ),
        ("html-502", "OPENAI", "gpt-4o", "", Err(UnpricedReason::NoUsage)),
        ("no-bodies", "OPENAI", "", "", Err(UnpricedReason::UnknownModel)),
        ("omit-both", "OPENAI", "gpt-4o-2024-08-06", "", Err(UnpricedReason::NoUsage)),
    ];
    let named: BTreeSet<_> = rows.iter().map(|(name, ..)| *name).collect();
    assert_eq!(named, samples.keys().map(String::as_str).collect(), "each sample has its cost here");
    for (name, provider, model, how, expected) in rows {
        let usage = samples::read(&samples[name]).usage;
        // When the samples were made: DeepSeek's prices are of those days.
        let at = parse_moment("2025-09-15").expect("date");
        let found = price(&book, &Call { provider, model, at, metadata: None, usage: usage.as_ref() });
        let by_book = match (found.amount, found.book_unpriced) {
            (Some(amount), _) => Ok(amount.to_string()),
            (None, reason) => Err(reason.expect("a reason")),
        };
        assert_eq!(by_book, expected.map(str::to_owned), "{name}: {how}");
    }
}

/// Models on machines of one's own, and images by the piece: nobody knows a price until the settings tell one.
#[test]
fn a_price_of_ones_own_goes_before_none() {
    let text = |price: &str| Some(price.to_owned());
    let entry = |provider: &str, model: &str| EntryText {
        providers: vec![provider.to_owned()],
        models: vec![model.to_owned()],
        ..EntryText::default()
    };
    let overrides = vec![
        EntryText { input: text("0.1"), output: text("0.2"), ..entry("OLLAMA", "*") },
        EntryText { input: text("0.01"), ..entry("OLLAMA", "nomic-embed-text") },
        EntryText { per_image: text("0.04"), ..entry("OPENAI", "dall-e-3") },
    ];
    let settings = PricingSettings { overrides, ..PricingSettings::default() };
    let book = PriceBook::load(&settings).expect("book");
    for (model, name, how, expected) in [
        ("llama3.2", "chat", "26 × 0.1 + 298 × 0.2 = 2.6 + 59.6 = 62.2 millionths", Ok("0.000062200000")),
        ("mistral", "stream of lines", "11 × 0.1 + 18 × 0.2 = 1.1 + 3.6 = 4.7 millionths", Ok("0.000004700000")),
        ("nomic-embed-text", "embeddings", "8 × 0.01 = 0.08 millionths", Ok("0.000000080000")),
        (
            "qwen2.5:7b",
            "generate, from a full cache",
            "12 tokens of output, but of the input nothing is told",
            Err(UnpricedReason::NoUsage),
        ),
        ("dall-e-3", "images by the piece", "2 × 0.04", Ok("0.080000000000")),
    ] {
        let mut found = cases().filter(|case| case.model == model && case.name == name);
        let case = found.next().expect(name);
        let usage = facts(case.body).usage;
        let cost = cost_of(&book, case, usage.as_ref());
        let by_book = match (cost.amount, cost.book_unpriced) {
            (Some(amount), _) => Ok(amount.to_string()),
            (None, reason) => Err(reason.expect("a reason")),
        };
        assert_eq!(by_book, expected.map(str::to_owned), "{model}, {name}: {how}");
        let source = if expected.is_ok() { CostSource::Book } else { CostSource::Unpriced };
        assert_eq!(cost.source, source, "{model}, {name}");
    }
}
