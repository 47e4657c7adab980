//! Small files in the public formats.

use super::*;
use crate::pricing::{Component, load::check_book, write::book_file};

const LITELLM: &str = r#"{
  "sample_spec": {"litellm_provider": "one of many", "input_cost_per_token": 0},
  "gpt-x": {"litellm_provider": "openai", "mode": "chat", "input_cost_per_token": 1.5e-07, "output_cost_per_token": 6e-07,
    "cache_read_input_token_cost": 7.500000000000001e-08, "input_cost_per_token_flex": 7.5e-08,
    "output_cost_per_token_flex": 3e-07, "output_cost_per_reasoning_token": 6e-07,
    "search_context_cost_per_query": {"search_context_size_high": 0.01, "search_context_size_low": 0.01}},
  "gpt-x-2026": {"litellm_provider": "openai", "mode": "chat", "input_cost_per_token": 1.5e-07, "output_cost_per_token": 6e-07,
    "cache_read_input_token_cost": 7.5e-08, "input_cost_per_token_flex": 7.5e-08, "output_cost_per_token_flex": 3e-07,
    "search_context_cost_per_query": {"search_context_size_high": 0.01}},
  "claude-x": {"litellm_provider": "anthropic", "mode": "chat", "input_cost_per_token": 3e-06, "output_cost_per_token": 1.5e-05,
    "cache_creation_input_token_cost": 3.75e-06, "cache_creation_input_token_cost_above_1hr": 6e-06,
    "cache_read_input_token_cost": 3e-07, "input_cost_per_token_above_200k_tokens": 6e-06,
    "output_cost_per_token_above_200k_tokens": 2.25e-05, "cache_read_input_token_cost_above_200k_tokens": 6e-07,
    "cache_creation_input_token_cost_above_200k_tokens": 7.5e-06, "input_cost_per_token_priority": 1e-05},
  "gemini/embed-x": {"litellm_provider": "gemini", "mode": "embedding", "input_cost_per_token": 1e-07, "output_cost_per_token": 0},
  "gemini/video-x": {"litellm_provider": "gemini", "input_cost_per_token": 1e-07, "output_cost_per_token": 1e-07,
    "input_cost_per_video_token": 2e-07},
  "bedrock/us-east-1/thing": {"litellm_provider": "bedrock", "input_cost_per_token": 1e-06, "output_cost_per_token": 1e-06},
  "azure/eu/gpt-az": {"litellm_provider": "azure", "input_cost_per_token": 1e-06, "output_cost_per_token": 1e-06},
  "azure/gpt-az": {"litellm_provider": "azure", "input_cost_per_token": 1e-06, "output_cost_per_token": 1e-06},
  "azure/global/gpt-az": {"litellm_provider": "azure", "input_cost_per_token": 2e-06, "output_cost_per_token": 1e-06},
  "free-x": {"litellm_provider": "openai", "input_cost_per_token": 0, "output_cost_per_token": 0.0},
  "sora": {"litellm_provider": "openai", "output_cost_per_second": 0.1, "input_cost_per_token": 1e-06},
  "odd": {"litellm_provider": "openai", "input_cost_per_token": "cheap"},
  "elsewhere": {"litellm_provider": "somebody", "input_cost_per_token": 1e-06}
}"#;

fn price<'a>(imported: &'a Imported, model: &str, component: Component) -> Option<&'a str> {
    let entry = imported.entries.iter().find(|entry| entry.models.iter().any(|name| name == model))?;
    entry.price(component).map(String::as_str)
}

#[test]
fn litellm_is_read_from_the_text_of_its_numbers() {
    assert_eq!(ForeignFormat::detect(LITELLM), Some(ForeignFormat::LiteLlm));
    let imported = read_litellm(LITELLM).expect("JSON");
    for (model, component, expected) in [
        ("gpt-x", Component::Input, Some("0.15")),
        ("gpt-x", Component::CachedInput, Some("0.075")),
        ("gpt-x", Component::Reasoning, None),
        ("gpt-x", Component::WebSearch, Some("0.01")),
        ("claude-x", Component::CacheWrite, Some("3.75")),
        // Long prompts have no price for it: left out, not guessed.
        ("claude-x", Component::CacheWrite1h, None),
        ("embed-x", Component::Input, Some("0.1")),
        ("embed-x", Component::Output, None),
    ] {
        assert_eq!(price(&imported, model, component), expected, "{model} {}", component.key());
    }
    let same = imported.entries.iter().find(|entry| entry.models.contains(&"gpt-x".to_owned())).expect("there");
    assert_eq!(same.models, ["gpt-x", "gpt-x-2026"], "the same prices stand together");
    assert_eq!(same.service_tiers["flex"].output.as_deref(), Some("0.3"));
    let claude = imported.entries.iter().find(|entry| entry.models == ["claude-x"]).expect("there");
    assert_eq!((claude.tiers.len(), claude.tiers[0].above_prompt_tokens), (1, 200_000));
    assert_eq!(claude.tiers[0].output.as_deref(), Some("22.5"));
    assert!(claude.service_tiers.is_empty(), "priority says nothing of long prompts");
    assert_eq!(
        imported.left_out.into_iter().collect::<Vec<_>>(),
        [
            (LeftOut::Provider, 1),
            (LeftOut::Region, 2),
            (LeftOut::NoPrice, 1),
            (LeftOut::OtherUnits, 2),
            (LeftOut::BadNumber, 1),
            (LeftOut::Contradiction, 1),
            (LeftOut::PartOfEntry, 2),
        ]
    );
    assert_eq!(imported.names, 5);
}

const GENAI_PRICES: &str = r#"[
  {"id": "openai", "models": [
    {"id": "a", "match": {"or": [{"equals": "a"}, {"starts_with": "a-20"}, {"regex": "^a-\\d$"}]},
     "prices": [{"prices": {"input_mtok": 10, "output_mtok": 40}},
                {"constraint": {"start_date": "2025-06-10"}, "prices": {"input_mtok": 2, "output_mtok": 8.0, "web_searches_kcount": 10}}],
     "price_variants": [{"when": {"service_tier": "flex"}, "constraint": {"start_date": "2026-10-12"}, "prices": {"input_mtok": 1, "output_mtok": 4}},
                        {"when": {"speed": "fast"}, "prices": {"input_mtok": 9}}]},
    {"id": "t", "match": {"equals": "t"}, "prices": {"input_mtok": {"base": 1.25, "tiers": [{"start": 200000, "price": 2.5}]},
      "output_mtok": 10, "cache_read_mtok": {"base": 0.125, "tiers": [{"start": 200000, "price": 0.25}]}}},
    {"id": "i", "match": {"equals": "i"}, "prices": {"input_mtok": 5, "output_mtok": 30, "cache_read_mtok": 1, "cache_image_read_mtok": 2}},
    {"id": "w", "match": {"equals": "w"}, "prices": {"audio_hours": 1}},
    {"id": "f", "match": {"equals": "f"}, "prices": {}},
    {"id": "a2", "match": {"equals": "A"}, "prices": {"input_mtok": 3, "output_mtok": 3}}]},
  {"id": "deepseek", "models": [
    {"id": "d", "match": {"equals": "d"}, "prices": [
      {"prices": {"input_mtok": 0.135, "output_mtok": 0.55}},
      {"constraint": {"start_time": "00:30:00Z", "end_time": "16:30:00Z"}, "prices": {"input_mtok": 0.27, "output_mtok": 1.1}}]}]},
  {"id": "somebody", "models": [{"id": "x", "match": {"equals": "x"}, "prices": {"input_mtok": 1}}]}
]"#;

#[test]
fn genai_prices_keep_their_dates_hours_and_tiers() {
    assert_eq!(ForeignFormat::detect(GENAI_PRICES), Some(ForeignFormat::GenaiPrices));
    let imported = read_genai_prices(GENAI_PRICES).expect("JSON");
    let dated: Vec<_> = imported.entries.iter().filter(|entry| entry.models == ["a", "a-20*"]).collect();
    assert_eq!(dated.len(), 3);
    assert_eq!((dated[0].until.as_deref(), dated[0].input.as_deref()), (Some("2025-06-10"), Some("10")));
    assert_eq!((dated[1].from.as_deref(), dated[1].output.as_deref()), (Some("2025-06-10"), Some("8")));
    assert_eq!(dated[1].per_web_search.as_deref(), Some("0.01"));
    assert!(dated[0].service_tiers.is_empty());
    assert!(dated[1].service_tiers.is_empty());
    assert_eq!((dated[1].until.as_deref(), dated[2].from.as_deref()), (Some("2026-10-12"), Some("2026-10-12")));
    assert_eq!(dated[2].service_tiers["flex"].input.as_deref(), Some("1"));

    let tiered = imported.entries.iter().find(|entry| entry.models == ["t"]).expect("there");
    let tier = &tiered.tiers[0];
    assert_eq!((tier.input.as_deref(), tier.output.as_deref()), (Some("2.5"), Some("10")), "no step is the same price");
    assert_eq!(price(&imported, "i", Component::CachedInput), None, "cached images cost something else");

    let hours: Vec<_> = imported.entries.iter().filter(|entry| entry.models == ["d"]).collect();
    assert_eq!((hours[0].hours.len(), &hours[1].hours[..]), (0, &["00:30-16:30".to_owned()][..]));
    assert_eq!(
        imported.left_out.into_iter().collect::<Vec<_>>(),
        [
            (LeftOut::Provider, 1),
            (LeftOut::NoPrice, 1),
            (LeftOut::OtherUnits, 1),
            (LeftOut::Match, 1),
            (LeftOut::Contradiction, 1),
            (LeftOut::PartOfEntry, 1),
        ]
    );
}

#[test]
fn what_is_written_is_read_again() {
    for (text, format) in [(LITELLM, ForeignFormat::LiteLlm), (GENAI_PRICES, ForeignFormat::GenaiPrices)] {
        let imported = format.read(text).expect("JSON");
        let book = book_file("a heading", &["https://example.com/\"odd\"".to_owned()], "2026-11-25", &imported.entries);
        let entries = check_book(&book, "written").unwrap_or_else(|error| panic!("{error}\n{book}"));
        assert_eq!(entries, imported.entries.len());
        let again: crate::pricing::text::BookText = {
            use figment::providers::Format;
            figment::Figment::from(figment::providers::Toml::string(&book)).extract().expect("TOML")
        };
        assert_eq!(again.prices, imported.entries);
    }
}

#[test]
fn what_is_no_price_list_is_an_error() {
    assert_eq!(ForeignFormat::detect("prices:"), None);
    assert!(read_litellm("{\"a\": 3}").is_err());
    assert!(read_genai_prices("[{\"models\": []}]").is_err());
}
