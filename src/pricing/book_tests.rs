//! Which entry is found, and what is refused.

use std::fs;

use super::*;
use crate::{
    domain::UtcMillis,
    settings::PricingSettings,
    usage::{ServiceTier, Usage},
};

fn at(text: &str) -> UtcMillis {
    parse_moment(text).expect(text)
}

/// A book of these files as overrides, directory and shipped: whatever is shipped is there, too, under other providers.
fn book(overrides: &str, directory: &str) -> Result<PriceBook, PricingError> {
    let place = tempfile::tempdir().expect("directory");
    let (books, own) = (place.path().join("books"), place.path().join("own.toml"));
    fs::create_dir(&books).expect("directory");
    fs::write(books.join("acme.toml"), directory).expect("write");
    fs::write(&own, overrides).expect("write");
    PriceBook::load(&PricingSettings {
        book_dir: books,
        overrides_files: vec![own.display().to_string()],
        overrides: Vec::new(),
    })
}

const ACME: &str = r#"
providers = ["ACME", "*.acme.example"]
checked = "2026-11-25"
[[prices]]
models = ["m-1", "m-1-2025"]
input = "1"
output = "1"
[[prices]]
models = ["m-*"]
input = "2"
output = "2"
[[prices]]
models = ["m-2*"]
until = "2026-01-01"
input = "3"
output = "3"
[[prices]]
models = ["m-2*"]
from = "2026-01-01"
until = "2026-07-01T12:00:00Z"
input = "4"
output = "4"
[[prices]]
models = ["m-2*"]
from = "2026-03-01"
until = "2026-04-01"
hours = ["16:30-00:30", "sat-sun 00:00-24:00"]
input = "5"
output = "5"
"#;

#[test]
fn the_rules_find_one_entry() {
    let own = r#"
        [[prices]]
        providers = ["ACME"]
        models = ["m-3"]
        from = "2026-05-01"
        input = "0.5"
        output = "0.5"
        [[prices]]
        providers = ["*"]
        models = ["m-3"]
        from = "2026-05-01"
        input = "9"
        output = "9"
        [[prices]]
        providers = ["ACME"]
        models = ["m-9*"]
        input = "0.25"
        output = "0.25"
    "#;
    let book = book(own, ACME).expect("book");
    for (what, provider, model, time, expected) in [
        ("an exact name", "ACME", "m-1", "2026-05-01", Ok("1")),
        ("in any case", "acme", "M-1", "2026-05-01", Ok("1")),
        ("by host", "https://eu.acme.example/v1", "m-1-2025", "2026-05-01", Ok("1")),
        ("by host with a port", "eu.acme.example:8443", "m-1-2025", "2026-05-01", Ok("1")),
        ("a glob", "ACME", "m-1-2026", "2026-05-01", Ok("2")),
        ("the longer glob, before", "ACME", "m-2-x", "2025-12-31T23:59:59.999Z", Ok("3")),
        ("from is included", "ACME", "m-2-x", "2026-01-01T00:00:00Z", Ok("4")),
        (
            "until is not: nothing, not the shorter glob",
            "ACME",
            "m-2-x",
            "2026-07-01T12:00:00Z",
            Err(UnpricedReason::NoPriceAtThatTime),
        ),
        ("the last millisecond", "ACME", "m-2-x", "2026-07-01T11:59:59.999Z", Ok("4")),
        ("a Monday's noon", "ACME", "m-2", "2026-03-02T12:00:00Z", Ok("4")),
        ("a Monday's night", "ACME", "m-2", "2026-03-02T16:30:00Z", Ok("5")),
        ("past midnight", "ACME", "m-2", "2026-03-03T00:29:59Z", Ok("5")),
        ("the end of the night", "ACME", "m-2", "2026-03-03T00:30:00Z", Ok("4")),
        ("a Sunday's noon", "ACME", "m-2", "2026-03-08T12:00:00Z", Ok("5")),
        ("hours of another month", "ACME", "m-2", "2026-04-05T12:00:00Z", Ok("4")),
        ("an override", "ACME", "m-3", "2026-05-01", Ok("0.5")),
        ("before the override", "ACME", "m-3", "2026-04-30", Ok("2")),
        ("an override for any provider", "OTHER", "m-3", "2026-05-01", Ok("9")),
        ("an override's glob before an exact name of the book", "ACME", "m-9", "2026-05-01", Ok("0.25")),
        ("an override knows every provider", "OTHER", "m-1", "2026-05-01", Err(UnpricedReason::UnknownModel)),
        ("no such model", "ACME", "n-1", "2026-05-01", Err(UnpricedReason::UnknownModel)),
        ("no model", "ACME", "", "2026-05-01", Err(UnpricedReason::UnknownModel)),
    ] {
        let found = book.find(provider, model, at(time)).map(|entry| {
            entry
                .rates()
                .of(ServiceTier::Default)
                .and_then(|list| list.base().get(Component::Input))
                .map(UnitPrice::to_per_million)
        });
        assert_eq!(found, expected.map(|price| Some(price.to_owned())), "{what}");
    }
}

#[test]
fn a_known_model_of_an_unknown_provider_has_no_price() {
    let book = PriceBook::builtin().expect("book");
    for provider in ["NOBODY", "", "api.openai.com.evil.example", "MYOPENAI"] {
        let found = book.find(provider, "gpt-4o", at("2026-05-01")).map(Entry::place);
        assert_eq!(found, Err(UnpricedReason::UnknownProvider), "{provider}");
    }
}

#[test]
fn a_file_takes_the_place_of_a_shipped_one_of_its_name() {
    let place = tempfile::tempdir().expect("directory");
    let mine = "providers = [\"OPENAI\"]\n[[prices]]\nmodels = [\"gpt-mine\"]\ninput = \"1\"\noutput = \"1\"\n";
    fs::write(place.path().join("openai.toml"), mine).expect("write");
    let settings = PricingSettings { book_dir: place.path().to_path_buf(), ..PricingSettings::default() };
    let book = PriceBook::load(&settings).expect("book");
    assert!(book.find("OPENAI", "gpt-mine", at("2026-05-01")).is_ok());
    let found = book.find("OPENAI", "gpt-4o", at("2026-05-01")).map(Entry::place);
    assert_eq!(found, Err(UnpricedReason::UnknownModel));
    assert!(book.find("ANTHROPIC", "claude-3-5-sonnet-20241022", at("2026-05-01")).is_ok());
    assert_ne!(book.revision(), PriceBook::builtin().expect("book").revision());
}

#[test]
fn overrides_come_from_the_settings_too() {
    let entry = text::EntryText {
        providers: vec!["OLLAMA".to_owned()],
        models: vec!["llama3*".to_owned()],
        input: Some("0.1".to_owned()),
        output: Some("0".to_owned()),
        ..text::EntryText::default()
    };
    let settings = PricingSettings { overrides: vec![entry], ..PricingSettings::default() };
    let book = PriceBook::load(&settings).expect("book");
    let used = Usage { prompt_tokens: Some(1_000_000), completion_tokens: Some(5), ..Usage::default() };
    let priced = book.price("OLLAMA", "llama3.3", at("2026-05-01"), &used).expect("priced");
    assert_eq!(priced.amount().to_string(), "0.100000000000");
}

#[test]
fn a_mistake_names_its_place_and_the_way_out() {
    let entry = |lines: &str| format!("providers = [\"ACME\"]\n[[prices]]\nmodels = [\"a\"]\n{lines}\n");
    for (text, expected) in [
        (entry("inptu = \"1\""), vec!["test.toml: entry 1", "unknown key `inptu`", "did you mean `input`?"]),
        ("provider = [\"A\"]".to_owned(), vec!["test.toml: unknown key `provider`", "did you mean `providers`?"]),
        (entry("input = 2.5"), vec!["entry 1", "input", "written as text"]),
        (entry("input = \"2,5\""), vec!["entry 1 (a): input = \"2,5\" is not a decimal number"]),
        (entry("input = \"-1\""), vec!["is negative"]),
        (entry("output = \"1\"\ninput = \"same\""), vec!["input = \"same\"", "of its own"]),
        (entry("output = \"1\"\ncached_input = \"same\""), vec!["cached_input = \"same\" needs a price for input"]),
        (entry(""), vec!["has no price at all"]),
        (entry("input = \"1\"\nfrom = \"yesterday\""), vec!["from = \"yesterday\" is no date"]),
        (entry("input = \"1\"\nfrom = \"2026-01-02\"\nuntil = \"2026-01-02\""), vec!["until must be later"]),
        (entry("input = \"1\"\nhours = [\"25:00-26:00\"]"), vec!["hours: `25:00-26:00`"]),
        (entry("input = \"1\"\nhours = [\"mon-fri 22:00-02:00\"]"), vec!["hours: `mon-fri 22:00-02:00`"]),
        (entry("input = \"1\"\nservice_tiers.slow = { input = \"1\" }"), vec!["service_tiers.slow: no such tier"]),
        (
            entry("input = \"1\"\noutput = \"1\"\ntiers = [{ above_prompt_tokens = 5, input = \"2\" }]"),
            vec!["tiers above 5 tokens has no price for output"],
        ),
        (entry("input = \"1\"\ntiers = [{ input = \"2\" }]"), vec!["tiers need above_prompt_tokens"]),
        (
            entry(
                "input = \"1\"\ntiers = [{ above_prompt_tokens = 5, input = \"2\" }]\nservice_tiers.flex = { input = \"1\" }",
            ),
            vec!["service_tiers.flex says nothing of long prompts"],
        ),
        (
            entry("input = \"1\"\n[[prices]]\nmodels = [\"A\"]\ninput = \"2\""),
            vec!["entry 1 (a) and test.toml: entry 2 (A)", "`a`", "exclude each other"],
        ),
        (
            entry(
                "input = \"1\"\n[[prices]]\nmodels = [\"a*c\"]\ninput = \"2\"\n[[prices]]\nmodels = [\"ab*\"]\ninput = \"3\"\n[[prices]]\nmodels = [\"a*b\"]\ninput = \"4\"\n[[prices]]\nmodels = [\"a*b\", \"q\"]\ninput = \"4\"",
            ),
            vec!["entry 4", "entry 5"],
        ),
        ("providers = [\"ACME\"]\n[[prices]]\ninput = \"1\"\n".to_owned(), vec!["names no models"]),
        ("[[prices]]\nmodels = [\"a\"]\ninput = \"1\"\n".to_owned(), vec!["names no providers"]),
        ("providers = [\"A?\"]\n".to_owned(), vec!["`A?` has a `?`"]),
        ("checked = \"soon\"\n".to_owned(), vec!["checked = \"soon\""]),
        ("prices = [".to_owned(), vec!["test.toml"]),
    ] {
        let message = load::check_book(&text, "test.toml").expect_err(&text).to_string();
        for part in expected {
            assert!(message.contains(part), "{text}\n{message}\nlacks {part}");
        }
    }
}

#[test]
fn dates_and_hours_that_exclude_each_other_are_no_contradiction() {
    let dates = "providers = [\"A\"]\n[[prices]]\nmodels = [\"a\"]\nuntil = \"2026-01-01\"\ninput = \"1\"\n\
        [[prices]]\nmodels = [\"a\"]\nfrom = \"2026-01-01\"\ninput = \"2\"\n";
    let hours = "providers = [\"A\"]\n[[prices]]\nmodels = [\"a\"]\nhours = [\"mon-fri 00:00-12:00\"]\ninput = \"1\"\n\
        [[prices]]\nmodels = [\"a\"]\nhours = [\"sat-sun 00:00-12:00\", \"12:00-24:00\"]\ninput = \"2\"\n";
    for text in [dates, hours] {
        assert_eq!(load::check_book(text, "test.toml").map_err(|error| error.to_string()), Ok(2));
    }
}

#[test]
fn a_file_that_is_not_there_is_an_error() {
    for files in ["/nowhere/x.toml", "/nowhere/*.toml"] {
        let settings = PricingSettings { overrides_files: vec![files.to_owned()], ..PricingSettings::default() };
        let message = PriceBook::load(&settings).expect_err(files).to_string();
        assert!(message.contains("/nowhere"), "{message}");
    }
    let place = tempfile::tempdir().expect("directory");
    let none = place.path().join("*.toml").display().to_string();
    let settings = PricingSettings { overrides_files: vec![none.clone()], ..PricingSettings::default() };
    assert!(matches!(PriceBook::load(&settings), Err(PricingError::NoSuchFiles(pattern)) if pattern == none));
}
