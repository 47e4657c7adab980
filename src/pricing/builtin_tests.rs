//! The shipped prices: every file is read, and they agree with what is known from elsewhere.

use std::collections::{BTreeMap, BTreeSet};

use super::{builtin::BUILTIN, *};
use crate::{domain::UtcMillis, usage::ServiceTier};

const NOW: UtcMillis = UtcMillis(1_795_000_000_000);

fn cost(provider: &str, model: &str, at: UtcMillis, usage: &str) -> Result<String, UnpricedReason> {
    let book = PriceBook::builtin().expect("book");
    let used = serde_json::from_str(usage).expect(usage);
    book.price(provider, model, at, &used).map(|priced| priced.amount().to_string()).map_err(|unpriced| unpriced.reason)
}

#[test]
fn every_file_is_shipped_and_says_where_it_comes_from() {
    let directory = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/prices")).expect("prices/");
    let files: BTreeSet<String> =
        directory.map(|file| file.expect("file").file_name().to_string_lossy().into_owned()).collect();
    let shipped: BTreeSet<String> = BUILTIN.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(files, shipped);
    for (name, text) in BUILTIN {
        assert!(text.contains("\nchecked = \"20"), "{name} does not say when it was checked");
        assert!(text.contains("\nsources = [") || *name == "ollama.toml", "{name} names no source");
        load::check_book(text, name).unwrap_or_else(|error| panic!("{error}"));
    }
}

#[test]
fn many_providers_and_models_have_prices() {
    let book = PriceBook::builtin().expect("book");
    let mut models: BTreeMap<String, usize> = BTreeMap::new();
    for entry in book.entries() {
        let file = entry.place().split(':').next().unwrap_or_default().to_owned();
        *models.entry(file).or_default() += entry.models().len();
    }
    assert!(models.len() >= 15, "{models:?}");
    assert!(models.values().sum::<usize>() > 600, "{models:?}");
}

/// What is cached never costs more than what is not, and nothing costs more for being written to the cache than 2.5 times.
/// A slip of the point in a price would show here.
#[test]
fn prices_of_one_entry_fit_each_other() {
    let book = PriceBook::builtin().expect("book");
    for entry in book.entries() {
        let lists = [ServiceTier::Default].into_iter().chain(entry.rates().service_tiers());
        for list in lists.filter_map(|tier| entry.rates().of(tier)) {
            for column in std::iter::once(list.base()).chain(list.tiers().iter().map(|(_, column)| column)) {
                let per_thousand = |component: Component| column.get(component).and_then(|price| price.times(1000));
                let place = entry.place();
                let Some(input) = per_thousand(Component::Input) else { continue };
                if let Some(cached) = per_thousand(Component::CachedInput) {
                    assert!(cached <= input, "{place}: cached above input");
                }
                for component in [Component::CacheWrite, Component::CacheWrite1h] {
                    if let Some(write) = per_thousand(component) {
                        assert!(write * 2 <= input * 5, "{place}: {} above 2.5 times input", component.key());
                    }
                }
                if let Some(output) = per_thousand(Component::Output) {
                    assert!(output >= input / 2 && output <= input * 20, "{place}: output does not fit input");
                }
                assert!(input < 1_000_000_000_000_000 * 200, "{place}: input above 200 USD per million");
            }
        }
    }
}

/// Sums worked out by hand from the usage of real responses. `gateway` is what Helicone's code said of the same call: where
/// it is another, the note says why.
#[test]
fn the_samples_cost_what_their_prices_say() {
    let september = parse_moment("2025-09-15").expect("date");
    for (what, provider, model, at, usage, by_book, gateway) in [
        (
            "338 × 0.8 + 500 × 0.08 + 20 × 1.6 (an hour) + 65 × 4",
            "ANTHROPIC",
            "claude-3-5-haiku-20241022",
            NOW,
            r#"{"prompt_tokens":338,"cached_tokens":500,"cache_write_tokens":20,"cache_write_1h_tokens":20,"completion_tokens":65,"service_tier":"standard"}"#,
            "0.000602400000",
            "0.000602400000",
        ),
        (
            "9 × 3 + 183 × 0.3 + 50 × 3.75 + 12 × 15",
            "ANTHROPIC",
            "claude-3-5-sonnet-20241022",
            NOW,
            r#"{"prompt_tokens":9,"cached_tokens":183,"cache_write_tokens":50,"cache_write_1h_tokens":0,"completion_tokens":12}"#,
            "0.000449400000",
            "0.000449400000",
        ),
        (
            "18 × 2 + 100 × 8",
            "AZURE",
            "gpt-4.1-2025-04-14",
            NOW,
            r#"{"prompt_tokens":18,"cached_tokens":0,"completion_tokens":100,"reasoning_tokens":0}"#,
            "0.000836000000",
            "0.000836000000",
        ),
        (
            "30 × 3 + 628 × 15; Helicone reads no usage here",
            "AWS",
            "anthropic.claude-3-5-sonnet-20241022-v2",
            NOW,
            r#"{"prompt_tokens":30,"completion_tokens":628}"#,
            "0.009510000000",
            "0.000000000000",
        ),
        (
            "30 × 0.56 + 70 × 0.07 + 50 × 1.68",
            "DEEPSEEK",
            "deepseek-chat",
            september,
            r#"{"prompt_tokens":30,"cached_tokens":70,"completion_tokens":50}"#,
            "0.000105700000",
            "0.000105700000",
        ),
        (
            "10 × 0.1 + 13644 × 0.025 + 87 × 0.4; Helicone charges cached tokens in full",
            "GOOGLE",
            "gemini-2.0-flash-001",
            NOW,
            r#"{"prompt_tokens":10,"cached_tokens":13644,"completion_tokens":87}"#,
            "0.000376900000",
            "0.001400200000",
        ),
        (
            "47 × 0.59 + 10 × 0.79",
            "GROQ",
            "llama-3.3-70b-versatile",
            NOW,
            r#"{"prompt_tokens":47,"completion_tokens":10}"#,
            "0.000035630000",
            "0.000035630000",
        ),
        (
            "96 × 2.5 + 1152 × 1.25 + 10 × 10; Helicone takes 0.125 for cached tokens",
            "OPENAI",
            "gpt-4o-2024-08-06",
            NOW,
            r#"{"prompt_tokens":96,"cached_tokens":1152,"completion_tokens":10,"reasoning_tokens":0}"#,
            "0.001780000000",
            "0.000484000000",
        ),
        (
            "1248 × 2.5 + 10 × 10",
            "OPENAI",
            "gpt-4o-2024-08-06",
            NOW,
            r#"{"prompt_tokens":1248,"cached_tokens":0,"completion_tokens":10}"#,
            "0.003220000000",
            "0.003220000000",
        ),
        (
            "10 × 2.5 + 5 × 10",
            "OPENAI",
            "gpt-4o-2024-08-06",
            NOW,
            r#"{"prompt_tokens":10,"completion_tokens":5}"#,
            "0.000075000000",
            "0.000075000000",
        ),
    ] {
        assert_eq!(cost(provider, model, at, usage), Ok(by_book.to_owned()), "{provider} {model}: {what}");
        assert_eq!(by_book == gateway, !what.contains("Helicone"), "{provider} {model}: {what}");
    }
}

#[test]
fn models_are_found_under_the_names_that_responses_give() {
    use UnpricedReason::{NoPriceAtThatTime, NoPriceForComponent, UnknownModel};

    let million = r#"{"prompt_tokens":1000,"completion_tokens":1000}"#;
    for (provider, model, at, expected) in [
        ("OPENAI", "gpt-4o-mini-2024-07-18", NOW, Ok("0.000750000000")),
        ("OPENAI", "o4-mini-2025-04-16", NOW, Ok("0.005500000000")),
        ("OPENAI", "ft:gpt-4o-mini-2024-07-18:acme::9XyZ", NOW, Ok("0.001500000000")),
        ("OPENAI", "ft:gpt-9:acme::9XyZ", NOW, Err(UnknownModel)),
        ("api.openai.com", "gpt-4o", NOW, Ok("0.012500000000")),
        ("https://eastus.openai.azure.com", "gpt-4.1-2025-04-14", NOW, Ok("0.010000000000")),
        ("ANTHROPIC", "claude-3-5-haiku-20241022", NOW, Ok("0.004800000000")),
        ("AWS", "us.anthropic.claude-3-5-sonnet-20241022-v2:0", NOW, Ok("0.018000000000")),
        ("BEDROCK", "anthropic.claude-3-5-sonnet-20241022-v2:0", NOW, Ok("0.018000000000")),
        ("GOOGLE", "gemini-2.5-pro", NOW, Ok("0.011250000000")),
        ("VERTEX", "gemini-2.5-pro", NOW, Ok("0.011250000000")),
        ("MISTRAL", "mistral-small-2503", NOW, Ok("0.000400000000")),
        ("X", "grok-4-0709", NOW, Ok("0.018000000000")),
        ("XAI", "grok-4-0709", NOW, Ok("0.018000000000")),
        ("COHERE", "command-r-08-2024", NOW, Ok("0.000750000000")),
        ("TOGETHER", "openai/gpt-oss-120b", NOW, Ok("0.000750000000")),
        ("FIREWORKS", "accounts/fireworks/models/deepseek-v3-0324", NOW, Ok("0.001800000000")),
        ("OPENROUTER", "openai/gpt-4o", NOW, Ok("0.012500000000")),
        ("PERPLEXITY", "sonar", NOW, Err(NoPriceForComponent)),
        ("DEEPSEEK", "deepseek-chat", NOW, Err(NoPriceAtThatTime)),
        ("DEEPSEEK", "deepseek-chat", UtcMillis(1_767_200_000_000), Ok("0.000700000000")),
    ] {
        assert_eq!(cost(provider, model, at, million), expected.map(str::to_owned), "{provider} {model}");
    }
}

#[test]
fn deepseek_costs_twice_as_much_at_peak_hours() {
    let used = r#"{"prompt_tokens":1000000,"completion_tokens":0}"#;
    for (time, expected) in [
        ("2026-11-25T01:00:00Z", Ok("0.300000000000")),
        ("2026-11-25T05:00:00Z", Ok("0.150000000000")),
        ("2026-11-25T09:59:59Z", Ok("0.300000000000")),
        ("2026-11-25T10:00:00Z", Ok("0.150000000000")),
        ("2026-11-28T01:00:00Z", Ok("0.150000000000")),
        ("2026-10-01T01:00:00Z", Err(UnpricedReason::NoPriceAtThatTime)),
        ("2026-10-01T05:00:00Z", Ok("0.150000000000")),
    ] {
        let at = parse_moment(time).expect(time);
        assert_eq!(cost("DEEPSEEK", "deepseek-flash", at, used), expected.map(str::to_owned), "{time}");
    }
}

/// A thousand look-ups of names that match nothing, the worst case, in the unoptimised build.
#[test]
fn a_name_is_looked_up_quickly() {
    let book = PriceBook::builtin().expect("book");
    let begin = std::time::Instant::now();
    for number in 0..1000 {
        let model = format!("unknown-model-{number}");
        assert!(book.find("OPENAI", &model, NOW).is_err());
    }
    assert!(begin.elapsed().as_millis() < 1000, "{:?}", begin.elapsed());
}
