//! Writes book files: what `heliometer prices import` makes.

use std::fmt::Write;

use super::{
    Component,
    text::{EntryText, ServiceTierText, TierText},
};

/// A name that TOML reads as it is.
fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for letter in text.chars() {
        match letter {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            control if control.is_control() => {
                let _infallible = write!(quoted, "\\u{:04X}", control as u32);
            }
            letter => quoted.push(letter),
        }
    }
    quoted.push('"');
    quoted
}

fn list(texts: &[String]) -> String {
    texts.iter().map(|text| quoted(text)).collect::<Vec<_>>().join(", ")
}

/// Writes a list over several lines when it is long.
fn push_list(out: &mut String, key: &str, texts: &[String]) {
    let one_line = format!("{key} = [{}]\n", list(texts));
    if one_line.len() <= 120 {
        out.push_str(&one_line);
        return;
    }
    let _infallible = writeln!(out, "{key} = [");
    for text in texts {
        let _infallible = writeln!(out, "    {},", quoted(text));
    }
    out.push_str("]\n");
}

/// Writes entries as a book file.
#[must_use]
pub fn book_file(heading: &str, sources: &[String], checked: &str, entries: &[EntryText]) -> String {
    let mut out = String::new();
    for line in heading.lines() {
        let _infallible = writeln!(out, "# {line}");
    }
    push_list(&mut out, "sources", sources);
    let _infallible = writeln!(out, "checked = {}", quoted(checked));
    for entry in entries {
        push_entry(&mut out, entry);
    }
    out
}

fn push_entry(out: &mut String, entry: &EntryText) {
    out.push_str("\n[[prices]]\n");
    if !entry.providers.is_empty() {
        push_list(out, "providers", &entry.providers);
    }
    push_list(out, "models", &entry.models);
    for (key, value) in [("from", &entry.from), ("until", &entry.until)] {
        if let Some(value) = value {
            let _infallible = writeln!(out, "{key} = {}", quoted(value));
        }
    }
    if !entry.hours.is_empty() {
        push_list(out, "hours", &entry.hours);
    }
    if !entry.note.is_empty() {
        let _infallible = writeln!(out, "note = {}", quoted(&entry.note));
    }
    for component in Component::ALL {
        if let Some(price) = entry.price(component) {
            let _infallible = writeln!(out, "{} = {}", component.key(), quoted(price));
        }
    }
    if !entry.tiers.is_empty() {
        let _infallible = writeln!(out, "tiers = {}", tiers(&entry.tiers));
    }
    for (name, service_tier) in &entry.service_tiers {
        let _infallible = writeln!(out, "service_tiers.{name} = {}", service_tier_table(service_tier));
    }
}

fn tiers(tiers: &[TierText]) -> String {
    let tables: Vec<String> = tiers
        .iter()
        .map(|tier| {
            let prices = inline_prices(&|component| tier.price(component));
            format!("{{ above_prompt_tokens = {}, {prices} }}", tier.above_prompt_tokens)
        })
        .collect();
    format!("[{}]", tables.join(", "))
}

fn service_tier_table(service_tier: &ServiceTierText) -> String {
    let mut table = format!("{{ {}", inline_prices(&|component| service_tier.price(component)));
    if let Some(columns) = &service_tier.tiers {
        let _infallible = write!(table, ", tiers = {}", tiers(columns));
    }
    table.push_str(" }");
    table
}

fn inline_prices<'a>(price: &dyn Fn(Component) -> Option<&'a String>) -> String {
    let prices: Vec<String> = Component::ALL
        .into_iter()
        .filter_map(|component| Some(format!("{} = {}", component.key(), quoted(price(component)?))))
        .collect();
    prices.join(", ")
}
