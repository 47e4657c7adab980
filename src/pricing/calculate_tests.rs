//! Arithmetic to the last digit, and what is refused rather than guessed.

use proptest::prelude::*;

use super::*;
use crate::usage::{ServiceTier, Usage};

/// A book with one model `m` of one provider `P`.
fn rates(lines: &str) -> Vec<Entry> {
    let text = format!("providers = [\"P\"]\n[[prices]]\nmodels = [\"m\"]\n{lines}\n");
    load::read_book(&text, "test.toml").expect("book")
}

fn usage(json: &str) -> Usage {
    serde_json::from_str(json).expect(json)
}

fn total(entries: &[Entry], used: &Usage) -> Result<String, (UnpricedReason, Option<Component>)> {
    calculate::calculate(entries[0].rates(), used).map(|calculation| calculation.total.to_string())
}

const EVERYTHING: &str = r#"
input = "2"
cached_input = "0.5"
cached_audio = "3"
cache_write = "2.5"
cache_write_1h = "4"
input_audio = "40"
input_image = "same"
output = "8"
reasoning = "9"
output_audio = "80"
output_image = "30"
per_request = "0.001"
per_image = "0.04"
per_web_search = "0.01"
"#;

#[test]
fn every_part_is_charged_once() {
    let everything = rates(EVERYTHING);
    let used = usage(
        r#"{"prompt_tokens":100,"prompt_audio_tokens":10,"prompt_image_tokens":20,"cached_tokens":50,"cached_audio_tokens":5,
            "cache_write_tokens":30,"cache_write_1h_tokens":12,"completion_tokens":60,"reasoning_tokens":11,
            "completion_audio_tokens":7,"completion_image_tokens":3,"generated_images":2,"web_search_requests":4}"#,
    );
    // Millionths: 70 × 2 + 45 × 0.5 + 5 × 3 + 18 × 2.5 + 12 × 4 + 10 × 40 + 20 × 2 + 39 × 8 + 11 × 9 + 7 × 80 + 3 × 30
    //   = 140 + 22.5 + 15 + 45 + 48 + 400 + 40 + 312 + 99 + 560 + 90 = 1771.5; and 0.001 + 0.08 + 0.04.
    assert_eq!(total(&everything, &used), Ok("0.122771500000".to_owned()));
}

const PLAIN: &str = "input = \"1\"\noutput = \"2\"";
const EMBEDDING: &str = "input = \"1\"";
const SONAR: &str = "input = \"1\"\noutput = \"2\"\nper_request = \"unknown\"";

/// What is told, the prices, the usage, and the sum or why there is none.
type Row = (&'static str, &'static str, &'static str, Result<&'static str, (UnpricedReason, Option<Component>)>);

const ROWS: &[Row] = &[
    ("nothing", PLAIN, "{}", Err((UnpricedReason::NoUsage, None))),
    ("all zero", PLAIN, r#"{"prompt_tokens":0,"completion_tokens":0}"#, Err((UnpricedReason::NoUsage, None))),
    ("only input", PLAIN, r#"{"prompt_tokens":1}"#, Err((UnpricedReason::NoUsage, Some(Component::Output)))),
    ("only output", PLAIN, r#"{"completion_tokens":1}"#, Err((UnpricedReason::NoUsage, Some(Component::Input)))),
    ("no output to pay for", EMBEDDING, r#"{"prompt_tokens":1}"#, Ok("0.000001000000")),
    (
        "output without a price",
        EMBEDDING,
        r#"{"prompt_tokens":1,"completion_tokens":1}"#,
        Err((UnpricedReason::NoPriceForComponent, Some(Component::Output))),
    ),
    (
        "cached",
        PLAIN,
        r#"{"prompt_tokens":1,"completion_tokens":1,"cached_tokens":1}"#,
        Err((UnpricedReason::NoPriceForComponent, Some(Component::CachedInput))),
    ),
    ("cached, none", PLAIN, r#"{"prompt_tokens":1,"completion_tokens":1,"cached_tokens":0}"#, Ok("0.000003000000")),
    (
        "cache write",
        PLAIN,
        r#"{"prompt_tokens":1,"completion_tokens":1,"cache_write_tokens":1}"#,
        Err((UnpricedReason::NoPriceForComponent, Some(Component::CacheWrite))),
    ),
    (
        "for an hour",
        PLAIN,
        r#"{"prompt_tokens":1,"completion_tokens":1,"cache_write_tokens":1,"cache_write_1h_tokens":1}"#,
        Err((UnpricedReason::NoPriceForComponent, Some(Component::CacheWrite1h))),
    ),
    (
        "audio",
        PLAIN,
        r#"{"prompt_tokens":1,"completion_tokens":1,"prompt_audio_tokens":1}"#,
        Err((UnpricedReason::NoPriceForComponent, Some(Component::InputAudio))),
    ),
    (
        "images",
        PLAIN,
        r#"{"prompt_tokens":1,"completion_tokens":1,"generated_images":1}"#,
        Err((UnpricedReason::NoPriceForComponent, Some(Component::Image))),
    ),
    (
        "searches",
        PLAIN,
        r#"{"prompt_tokens":1,"completion_tokens":1,"web_search_requests":1}"#,
        Err((UnpricedReason::NoPriceForComponent, Some(Component::WebSearch))),
    ),
    (
        "reasoning is output",
        PLAIN,
        r#"{"prompt_tokens":1,"completion_tokens":5,"reasoning_tokens":4}"#,
        Ok("0.000011000000"),
    ),
    (
        "more audio than input",
        PLAIN,
        r#"{"prompt_tokens":1,"completion_tokens":1,"prompt_audio_tokens":2}"#,
        Err((UnpricedReason::InconsistentUsage, Some(Component::Input))),
    ),
    (
        "another tier",
        PLAIN,
        r#"{"prompt_tokens":1,"completion_tokens":1,"service_tier":"priority"}"#,
        Err((UnpricedReason::NoPriceForServiceTier, None)),
    ),
    (
        "an unknown tier",
        PLAIN,
        r#"{"prompt_tokens":1,"completion_tokens":1,"service_tier":"scale"}"#,
        Err((UnpricedReason::NoPriceForServiceTier, None)),
    ),
    (
        "the usual tier",
        PLAIN,
        r#"{"prompt_tokens":1,"completion_tokens":1,"service_tier":"default"}"#,
        Ok("0.000003000000"),
    ),
    (
        "an unknown fee",
        SONAR,
        r#"{"prompt_tokens":1,"completion_tokens":1}"#,
        Err((UnpricedReason::NoPriceForComponent, Some(Component::Request))),
    ),
    (
        "more than a column holds",
        PLAIN,
        r#"{"prompt_tokens":1000000000000,"completion_tokens":1}"#,
        Err((UnpricedReason::OutOfRange, None)),
    ),
    (
        "the largest that it holds",
        PLAIN,
        r#"{"prompt_tokens":999999999999,"completion_tokens":0}"#,
        Ok("999999.999999000000"),
    ),
];

#[test]
fn what_would_be_a_guess_is_refused() {
    for (what, prices, json, expected) in ROWS {
        assert_eq!(total(&rates(prices), &usage(json)), expected.map(str::to_owned), "{what}");
    }
}

#[test]
fn a_sum_is_rounded_once_and_half_to_even() {
    // In 10⁻¹² USD a token: 0.5, 1.5, and 0.25 each, whose parts alone would round to nothing.
    for (lines, prompt, completion, expected) in [
        ("input = \"0.0000005\"\noutput = \"0\"", 1, 0, "0.000000000000"),
        ("input = \"0.0000015\"\noutput = \"0\"", 1, 0, "0.000000000002"),
        ("input = \"0.00000025\"\noutput = \"0.00000025\"", 1, 1, "0.000000000000"),
        ("input = \"0.00000025\"\noutput = \"0.0000005\"", 1, 1, "0.000000000001"),
        ("input = \"0.000000000001\"\noutput = \"0\"", 1_500_000, 0, "0.000000000002"),
        ("input = \"0.000000000001\"\noutput = \"0\"", 1_500_001, 0, "0.000000000002"),
        ("input = \"0.000000000001\"\noutput = \"0\"", 500_000, 0, "0.000000000000"),
        ("input = \"0.000000000001\"\noutput = \"0\"", 500_001, 0, "0.000000000001"),
    ] {
        let used = Usage { prompt_tokens: Some(prompt), completion_tokens: Some(completion), ..Usage::default() };
        assert_eq!(total(&rates(lines), &used), Ok(expected.to_owned()), "{lines} {prompt} {completion}");
    }
}

#[test]
fn a_long_prompt_changes_the_price_of_the_whole_call() {
    let tiered = rates(
        "input = \"1\"\ncached_input = \"0.1\"\ncache_write = \"2\"\noutput = \"10\"\n\
         tiers = [{ above_prompt_tokens = 1000, input = \"2\", cached_input = \"0.2\", cache_write = \"4\", output = \"15\" }, \
                  { above_prompt_tokens = 5000, input = \"3\", cached_input = \"same\", cache_write = \"6\", output = \"20\" }]\n\
         service_tiers.flex = { input = \"0.5\", cached_input = \"0.05\", output = \"5\", tiers = [] }\n\
         service_tiers.batch = { input = \"0.5\", output = \"5\", tiers = [{ above_prompt_tokens = 1000, input = \"1\", output = \"7.5\" }] }",
    );
    // The one output token costs 10, 15 or 20 millionths.
    for (prompt, cached, written, tier, expected) in [
        (1000, 0, 0, "", Ok("0.001010000000")),
        (1001, 0, 0, "", Ok("0.002017000000")),
        // Cached and written tokens count, too.
        (500, 400, 101, "", Ok("0.001499000000")),
        (500, 400, 100, "", Ok("0.000750000000")),
        (5001, 0, 0, "", Ok("0.015023000000")),
        (1, 5000, 0, "", Ok("0.015023000000")),
        (1001, 0, 0, "flex", Ok("0.000505500000")),
        (1001, 0, 0, "batch", Ok("0.001008500000")),
        (1000, 0, 0, "batch", Ok("0.000505000000")),
        (1, 1, 0, "batch", Err((UnpricedReason::NoPriceForComponent, Some(Component::CachedInput)))),
    ] {
        let used = Usage {
            prompt_tokens: Some(prompt),
            cached_tokens: Some(cached),
            cache_write_tokens: Some(written),
            completion_tokens: Some(1),
            service_tier: ServiceTier::labelled(tier),
            ..Usage::default()
        };
        assert_eq!(total(&tiered, &used), expected.map(str::to_owned), "{prompt} {cached} {written} {tier}");
    }
}

proptest! {
    /// Whatever is counted: no panic, never negative, and more of anything never costs less.
    #[test]
    fn more_never_costs_less(
        counts in prop::array::uniform13(prop::option::of(prop_oneof![0_u64..5_000, any::<u64>()])),
        more in 0_usize..13,
        by in 1_u64..1_000,
        tier in 0_usize..5,
    ) {
        let everything = rates(EVERYTHING);
        let used = |counts: [Option<u64>; 13]| Usage {
            prompt_tokens: counts[0],
            prompt_audio_tokens: counts[1],
            prompt_image_tokens: counts[2],
            cached_tokens: counts[3],
            cached_audio_tokens: counts[4],
            cache_write_tokens: counts[5],
            cache_write_1h_tokens: counts[6],
            completion_tokens: counts[7],
            reasoning_tokens: counts[8],
            completion_audio_tokens: counts[9],
            completion_image_tokens: counts[10],
            generated_images: counts[11],
            web_search_requests: counts[12],
            cost_usd: None,
            service_tier: [None, Some(ServiceTier::Flex), Some(ServiceTier::Priority), Some(ServiceTier::Batch), Some(ServiceTier::Other)][tier],
        };
        let before = calculate::calculate(everything[0].rates(), &used(counts));
        let mut larger = counts;
        // Wholes and pieces; of a part, more makes less of the rest.
        let whole = [0, 3, 5, 7, 11, 12][more % 6];
        larger[whole] = Some(counts[whole].unwrap_or(0).saturating_add(by));
        let after = calculate::calculate(everything[0].rates(), &used(larger));
        if let Ok(before) = &before {
            prop_assert!(before.total >= crate::domain::UsdAmount::ZERO);
        }
        if let (Ok(before), Ok(after)) = (before, after) {
            prop_assert!(after.total >= before.total);
        }
    }

    /// Twice as much costs twice as much, where nothing is rounded.
    #[test]
    fn twice_as_much_costs_twice_as_much(prompt in 0_u64..1_000_000, completion in 1_u64..1_000_000, factor in 2_u64..9) {
        let plain = rates("input = \"0.15\"\noutput = \"0.6\"");
        let amount = |prompt, completion| {
            let used =
                Usage { prompt_tokens: Some(prompt), completion_tokens: Some(completion), ..Usage::default() };
            calculate::calculate(plain[0].rates(), &used).map(|calculation| calculation.total.pico_usd())
        };
        let (once, often) = (amount(prompt, completion), amount(prompt * factor, completion * factor));
        prop_assert_eq!(once.map(|pico| pico * i128::from(factor)), often);
    }
}
