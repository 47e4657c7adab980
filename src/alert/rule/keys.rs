//! The keys of one rule, read one by one with errors that name the key and what it takes.

use std::{collections::BTreeMap, time::Duration};

use jiff::{Span, SpanRelativeTo, Unit};
use serde_json::{Map, Value};

use super::super::AlertError;
use crate::{domain::UsdAmount, notify::Quantity};

/// A rule's table while it is read.
pub(super) struct Keys {
    rule: String,
    values: Map<String, Value>,
}

impl Keys {
    /// Takes a table. Errors call the rule by its name, or `(without a name)`.
    pub(super) fn new(values: Map<String, Value>) -> Self {
        let rule = values.get("name").and_then(Value::as_str).unwrap_or("(without a name)").to_owned();
        Self { rule, values }
    }

    /// An error about this rule.
    pub(super) fn error(&self, message: impl Into<String>) -> AlertError {
        AlertError::Rule { rule: self.rule.clone(), message: message.into() }
    }

    fn wrong(&self, key: &str, value: &Value, expected: &str) -> AlertError {
        self.error(format!("`{key}` is {value}, but must be {expected}"))
    }

    /// Refuses keys outside `known`, naming the nearest.
    pub(super) fn only(&self, kind: &str, known: &[&[&str]]) -> Result<(), AlertError> {
        let known: Vec<&str> = known.concat();
        match self.values.keys().find(|key| !known.contains(&key.as_str())) {
            None => Ok(()),
            Some(key) => Err(self.error(format!(
                "unknown key `{key}`{}; a rule of kind `{kind}` knows {}",
                suggestion(key, &known),
                known.join(", ")
            ))),
        }
    }

    /// A text that is not empty.
    pub(super) fn text(&mut self, key: &str) -> Result<Option<String>, AlertError> {
        match self.values.remove(key) {
            None => Ok(None),
            Some(Value::String(text)) if !text.trim().is_empty() => Ok(Some(text)),
            Some(other) => Err(self.wrong(key, &other, "a text that is not empty")),
        }
    }

    /// The same, and it must be there.
    pub(super) fn required_text(&mut self, key: &str) -> Result<String, AlertError> {
        self.text(key)?.ok_or_else(|| self.missing(key))
    }

    /// The error for a key that is needed.
    pub(super) fn missing(&self, key: &str) -> AlertError {
        self.error(format!("`{key}` is missing"))
    }

    /// One of some words.
    pub(super) fn word<T: Copy>(&mut self, key: &str, words: &[(&str, T)]) -> Result<Option<T>, AlertError> {
        let Some(text) = self.text(key)? else { return Ok(None) };
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
            return Ok(Some(*value));
        }
        let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        Err(self.error(format!("`{key}` is `{text}`{}; it is one of {}", suggestion(&text, &known), known.join(", "))))
    }

    /// A count of 0 or more.
    pub(super) fn count(&mut self, key: &str) -> Result<Option<u64>, AlertError> {
        match self.values.remove(key) {
            None => Ok(None),
            Some(value) => {
                value.as_u64().map(Some).ok_or_else(|| self.wrong(key, &value, "a whole number of 0 or more"))
            }
        }
    }

    /// A number above 0.
    pub(super) fn positive(&mut self, key: &str) -> Result<Option<f64>, AlertError> {
        match self.values.remove(key) {
            None => Ok(None),
            Some(value) => match value.as_f64() {
                Some(number) if number > 0.0 && number.is_finite() => Ok(Some(number)),
                _ => Err(self.wrong(key, &value, "a number above 0")),
            },
        }
    }

    /// Any number.
    pub(super) fn number(&mut self, key: &str) -> Result<Option<f64>, AlertError> {
        match self.values.remove(key) {
            None => Ok(None),
            Some(value) => match value.as_f64().filter(|number| number.is_finite()) {
                Some(number) => Ok(Some(number)),
                None => Err(self.wrong(key, &value, "a number")),
            },
        }
    }

    /// `true` or `false`.
    pub(super) fn switch(&mut self, key: &str) -> Result<Option<bool>, AlertError> {
        match self.values.remove(key) {
            None => Ok(None),
            Some(Value::Bool(switch)) => Ok(Some(switch)),
            Some(other) => Err(self.wrong(key, &other, "true or false")),
        }
    }

    /// An amount of `unit` above 0. Money is read from the shortest decimal text of the number, hence exactly as written.
    pub(super) fn quantity(&mut self, key: &str, unit: Quantity) -> Result<Option<Quantity>, AlertError> {
        match self.values.remove(key) {
            None => Ok(None),
            Some(value) => self.to_quantity(key, &value, unit).map(Some),
        }
    }

    fn to_quantity(&self, key: &str, value: &Value, unit: Quantity) -> Result<Quantity, AlertError> {
        let text = match value {
            Value::Number(number) => number.to_string(),
            Value::String(text) => text.clone(),
            _ => String::new(),
        };
        let quantity = quantity_of(&text, unit);
        quantity.ok_or_else(|| {
            let expected =
                if matches!(unit, Quantity::Usd(_)) { "an amount above 0" } else { "a whole number above 0" };
            self.wrong(key, value, expected)
        })
    }

    /// `{ "user-123" = 500.0 }`
    pub(super) fn quantities(&mut self, key: &str, unit: Quantity) -> Result<BTreeMap<String, Quantity>, AlertError> {
        self.table(key)?
            .into_iter()
            .map(|(name, value)| {
                let quantity = self.to_quantity(&format!("{key}.{name}"), &value, unit)?;
                Ok((name, quantity))
            })
            .collect()
    }

    /// A table of anything; empty when it is absent.
    pub(super) fn table(&mut self, key: &str) -> Result<Map<String, Value>, AlertError> {
        match self.values.remove(key) {
            None => Ok(Map::new()),
            Some(Value::Object(table)) => Ok(table),
            Some(other) => Err(self.wrong(key, &other, "a table")),
        }
    }

    /// A list of anything, `None` when it is absent.
    pub(super) fn list(&mut self, key: &str) -> Result<Option<Vec<Value>>, AlertError> {
        match self.values.remove(key) {
            None => Ok(None),
            Some(Value::Array(list)) => Ok(Some(list)),
            Some(other) => Err(self.wrong(key, &other, "a list")),
        }
    }

    /// `"90s"`, `"5m"`, `"1h30m"`, `"7d"`, or 0.
    pub(super) fn duration(&mut self, key: &str) -> Result<Option<(Duration, String)>, AlertError> {
        let expected = "a duration such as \"90s\", \"5m\", \"1h\" or \"7d\"";
        match self.values.remove(key) {
            None => Ok(None),
            Some(Value::Number(number)) if number.as_u64() == Some(0) => Ok(Some((Duration::ZERO, "0s".to_owned()))),
            Some(Value::String(text)) => match parse_duration(&text) {
                Some(duration) => Ok(Some((duration, text))),
                None => Err(self.wrong(key, &Value::String(text), expected)),
            },
            Some(other) => Err(self.wrong(key, &other, expected)),
        }
    }
}

/// An amount of `unit` above 0 from its decimal text; `None` for anything else.
pub(in crate::alert) fn quantity_of(text: &str, unit: Quantity) -> Option<Quantity> {
    let amount = text.parse::<UsdAmount>().ok().filter(|amount| amount.is_positive())?;
    let whole = || {
        let is_whole = amount.pico_usd() % 1_000_000_000_000 == 0;
        u64::try_from(amount.pico_usd() / 1_000_000_000_000).ok().filter(|_| is_whole)
    };
    match unit {
        Quantity::Usd(_) => Some(Quantity::Usd(amount)),
        Quantity::Requests(_) => whole().map(Quantity::Requests),
        _ => whole().map(Quantity::Tokens),
    }
}

/// `90s`, `5m`, `1h30m`, `7d` or `0`; `None` for anything else.
pub(crate) fn parse_duration(text: &str) -> Option<Duration> {
    if text.trim() == "0" {
        return Some(Duration::ZERO);
    }
    let span: Span = text.trim().parse().ok()?;
    if span.get_months() != 0 || span.get_years() != 0 {
        return None;
    }
    let milliseconds = span.total((Unit::Millisecond, SpanRelativeTo::days_are_24_hours())).ok()?;
    Duration::try_from_secs_f64(milliseconds / 1000.0).ok()
}

/// `, did you mean …?` or nothing.
pub(super) fn suggestion(text: &str, known: &[&str]) -> String {
    known
        .iter()
        .map(|word| (strsim::damerau_levenshtein(word, text), *word))
        .filter(|(distance, word)| *distance <= word.len().max(text.len()) / 2)
        .min()
        .map(|(_, word)| format!(", did you mean `{word}`?"))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_people_write_them() {
        for (text, seconds) in
            [("90s", 90), ("5m", 300), ("1h", 3600), ("1h30m", 5400), ("7d", 604_800), ("0", 0), ("0s", 0)]
        {
            assert_eq!(parse_duration(text), Some(Duration::from_secs(seconds)), "{text}");
        }
        assert_eq!(parse_duration("250ms"), Some(Duration::from_millis(250)));
        for text in ["", "5", "-5m", "1 month", "soon"] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }
}
