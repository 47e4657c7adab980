//! From `[[alerts.rules]]` to [`Rule`].

use std::{collections::BTreeMap, time::Duration};

use jiff::tz::TimeZone;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use super::{
    AlertError, Condition, Filter, Measure, Period, Rule, Scope, Statistic, Total, Window,
    keys::{Keys, suggestion},
};
use crate::{
    domain::UsdAmount,
    notify::{Quantity, Severity},
};

const KINDS: [&str; 4] = ["budget", "usage", "latency", "efficiency"];
/// Named in the contract, and yet to come.
const LATER_KINDS: [&str; 8] =
    ["error_rate", "spend_spike", "no_data", "unpriced_model", "signature_failures", "dead_letters", "lag", "sql"];
const COMMON: [&str; 9] =
    ["name", "kind", "severity", "labels", "for", "min_requests", "repeat_interval", "notifiers", "match"];
const BUDGET: [&str; 5] = ["scope", "period", "timezone", "limit_usd", "thresholds"];
const USAGE: [&str; 6] = ["unit", "period", "timezone", "limit", "overrides", "thresholds"];
const LATENCY: [&str; 4] = ["statistic", "scope", "threshold_ms", "window"];
const EFFICIENCY: [&str; 4] = ["scope", "max_token_ratio", "share_percent", "window"];
/// Of `[[contents.policies]]` with `action = "alert"`; no kind of `[[alerts.rules]]`.
const POLICY: [&str; 3] = ["scope", "window", "min_matches"];

const DEFAULT_REPEAT: Duration = Duration::from_secs(4 * 3600);
/// Windows are computed from rows on every pass.
const MAX_WINDOW: Duration = Duration::from_secs(7 * 24 * 3600);
const MAX_NAME_BYTES: usize = 128;
const MAX_LABELS: usize = 32;
const MAX_THRESHOLDS: usize = 20;
const MAX_OVERRIDES: usize = 10_000;
const MAX_GLOBS: usize = 100;

impl<'de> Deserialize<'de> for Rule {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let values = Map::deserialize(deserializer)?;
        Self::from_table(values).map_err(serde::de::Error::custom)
    }
}

impl Rule {
    /// Reads and checks one rule.
    ///
    /// # Errors
    /// [`AlertError::Rule`] for the first mistake, with what is possible instead.
    pub fn from_table(values: Map<String, Value>) -> Result<Self, AlertError> {
        let mut keys = Keys::new(values);
        let name = keys.required_text("name")?;
        if name.len() > MAX_NAME_BYTES || name.chars().any(char::is_control) {
            return Err(keys.error(format!("`name` must be one line of at most {MAX_NAME_BYTES} bytes")));
        }
        let kind = keys.required_text("kind")?;
        let own: &[&str] = match kind.as_str() {
            "policy" => {
                return Err(keys.error(
                    "kind `policy` is not written here: give a policy under [[contents.policies]] action = \"alert\"",
                ));
            }
            "budget" => &BUDGET,
            "usage" => &USAGE,
            "latency" => &LATENCY,
            "efficiency" => &EFFICIENCY,
            other if LATER_KINDS.contains(&other) => {
                return Err(keys.error(format!(
                    "kind `{other}` is not available in this version; available are {}",
                    KINDS.join(", ")
                )));
            }
            other => {
                let near = suggestion(other, &KINDS);
                return Err(keys.error(format!("unknown kind `{other}`{near}; kinds are {}", KINDS.join(", "))));
            }
        };
        Self::read(keys, name, &kind, own)
    }

    /// The rule that a policy with `action = "alert"` is: how many requests it matched within a window.
    ///
    /// # Errors
    /// [`AlertError::Rule`] for the first mistake.
    pub fn of_policy(values: Map<String, Value>) -> Result<Self, AlertError> {
        let mut keys = Keys::new(values);
        let name = keys.required_text("name")?;
        Self::read(keys, name, "policy", &POLICY)
    }

    fn read(mut keys: Keys, name: String, kind: &str, own: &[&str]) -> Result<Self, AlertError> {
        keys.only(kind, &[&COMMON, own])?;

        let severity =
            keys.word("severity", &Severity::ALL.map(|severity| (severity.word(), severity)))?.unwrap_or_default();
        let labels = labels(&mut keys)?;
        let hold = keys.duration("for")?.map_or(Duration::ZERO, |(duration, _)| duration);
        let min_requests = keys.count("min_requests")?.unwrap_or(1);
        let repeat_interval = keys.duration("repeat_interval")?.map_or(DEFAULT_REPEAT, |(duration, _)| duration);
        let notifiers = notifiers(&mut keys)?;
        let filter = filter(&mut keys)?;
        let (scope, condition) = match kind {
            "budget" => budget(&mut keys)?,
            "usage" => usage(&mut keys)?,
            "latency" => latency(&mut keys)?,
            "policy" => policy(&mut keys)?,
            _ => efficiency(&mut keys)?,
        };
        Ok(Self {
            name,
            severity,
            labels,
            hold,
            min_requests,
            repeat_interval: Some(repeat_interval).filter(|interval| !interval.is_zero()),
            notifiers,
            scope,
            filter,
            condition,
        })
    }
}

fn budget(keys: &mut Keys) -> Result<(Scope, Condition), AlertError> {
    let scope = scope(keys, Scope::All)?;
    let limit = keys.quantity("limit_usd", Quantity::Usd(UsdAmount::ZERO))?.ok_or_else(|| keys.missing("limit_usd"))?;
    let total = Total {
        kind: "budget",
        period: keys.word("period", &Period::ALL)?.unwrap_or(Period::Month),
        timezone: timezone(keys)?,
        limit,
        overrides: BTreeMap::new(),
        thresholds: thresholds(keys, &[50, 80, 100])?,
    };
    Ok((scope, Condition::Total(total)))
}

fn usage(keys: &mut Keys) -> Result<(Scope, Condition), AlertError> {
    let units =
        [("usd", Quantity::Usd(UsdAmount::ZERO)), ("tokens", Quantity::Tokens(0)), ("requests", Quantity::Requests(0))];
    let unit = keys.word("unit", &units)?.ok_or_else(|| keys.missing("unit"))?;
    let limit = keys.quantity("limit", unit)?.ok_or_else(|| keys.missing("limit"))?;
    let overrides = keys.quantities("overrides", unit)?;
    if overrides.len() > MAX_OVERRIDES {
        return Err(keys.error(format!("`overrides` has more than {MAX_OVERRIDES} users")));
    }
    let total = Total {
        kind: "usage",
        period: keys.word("period", &Period::ALL)?.unwrap_or(Period::Month),
        timezone: timezone(keys)?,
        limit,
        overrides,
        thresholds: thresholds(keys, &[80, 100])?,
    };
    Ok((Scope::User, Condition::Total(total)))
}

fn latency(keys: &mut Keys) -> Result<(Scope, Condition), AlertError> {
    let statistic = keys.word("statistic", &Statistic::ALL)?.unwrap_or(Statistic::P95);
    let threshold_ms = keys.positive("threshold_ms")?.ok_or_else(|| keys.missing("threshold_ms"))?;
    let scope = scope(keys, Scope::Model)?;
    let (window, window_text) = window(keys, Duration::from_secs(300), "5m")?;
    let measure = Measure::Latency { statistic, threshold_ms };
    Ok((scope, Condition::Window(Window { measure, window, window_text })))
}

fn efficiency(keys: &mut Keys) -> Result<(Scope, Condition), AlertError> {
    let max_token_ratio = keys.positive("max_token_ratio")?.unwrap_or(10.0);
    let share_percent = keys.positive("share_percent")?.unwrap_or(20.0);
    if share_percent > 100.0 {
        return Err(keys.error("`share_percent` is above 100"));
    }
    let scope = scope(keys, Scope::Model)?;
    let (window, window_text) = window(keys, Duration::from_secs(3600), "1h")?;
    let measure = Measure::Efficiency { max_token_ratio, share_percent };
    Ok((scope, Condition::Window(Window { measure, window, window_text })))
}

fn policy(keys: &mut Keys) -> Result<(Scope, Condition), AlertError> {
    let min_matches = keys.count("min_matches")?.unwrap_or(1);
    if min_matches == 0 {
        return Err(keys.error("`min_matches` must be at least 1"));
    }
    let scope = scope(keys, Scope::All)?;
    let (window, window_text) = window(keys, Duration::from_secs(300), "5m")?;
    Ok((scope, Condition::Window(Window { measure: Measure::Policy { min_matches }, window, window_text })))
}

fn scope(keys: &mut Keys, default: Scope) -> Result<Scope, AlertError> {
    match keys.text("scope")? {
        None => Ok(default),
        Some(word) if word.starts_with("property:") => {
            Err(keys.error("scope `property:…` is not available in this version"))
        }
        Some(word) => {
            let known: Vec<&str> = Scope::ALL.iter().map(|(word, _)| *word).collect();
            let found = Scope::ALL.iter().find(|(known, _)| *known == word).map(|(_, scope)| *scope);
            found.ok_or_else(|| {
                let near = suggestion(&word, &known);
                keys.error(format!("`scope` is `{word}`{near}; it is one of {}", known.join(", ")))
            })
        }
    }
}

fn window(keys: &mut Keys, default: Duration, default_text: &str) -> Result<(Duration, String), AlertError> {
    let (window, text) = keys.duration("window")?.unwrap_or_else(|| (default, default_text.to_owned()));
    if window < Duration::from_secs(1) || window > MAX_WINDOW {
        return Err(keys.error("`window` must be between 1s and 7d"));
    }
    Ok((window, text))
}

fn timezone(keys: &mut Keys) -> Result<TimeZone, AlertError> {
    match keys.text("timezone")? {
        None => Ok(TimeZone::UTC),
        Some(name) => TimeZone::get(&name).map_err(|_| {
            keys.error(format!(
                "`timezone` is `{name}`, which is no IANA time zone such as \"UTC\" or \"Europe/Berlin\""
            ))
        }),
    }
}

fn thresholds(keys: &mut Keys, default: &[u32]) -> Result<Vec<u32>, AlertError> {
    let Some(list) = keys.list("thresholds")? else { return Ok(default.to_vec()) };
    let percent = |value: &Value| match value.as_u64() {
        Some(percent @ 1..=10_000) => u32::try_from(percent).ok(),
        _ => None,
    };
    let thresholds: Option<std::collections::BTreeSet<u32>> = list.iter().map(percent).collect();
    match thresholds {
        Some(thresholds) if !thresholds.is_empty() && thresholds.len() <= MAX_THRESHOLDS => {
            Ok(thresholds.into_iter().collect())
        }
        _ => Err(keys.error(format!("`thresholds` must be 1 to {MAX_THRESHOLDS} whole percents between 1 and 10000"))),
    }
}

/// Which names there are is known to all the settings together, and checked there.
fn notifiers(keys: &mut Keys) -> Result<Option<Vec<String>>, AlertError> {
    let Some(list) = keys.list("notifiers")? else { return Ok(None) };
    let mut notifiers: Vec<String> = Vec::new();
    for value in list {
        let Some(name) = value.as_str() else {
            return Err(keys.error(format!("`notifiers` has {value}, but must be a list of names of receivers")));
        };
        if !notifiers.iter().any(|known| known == name) {
            notifiers.push(name.to_owned());
        }
    }
    Ok(Some(notifiers))
}

fn labels(keys: &mut Keys) -> Result<BTreeMap<String, String>, AlertError> {
    let table = keys.table("labels")?;
    if table.len() > MAX_LABELS {
        return Err(keys.error(format!("`labels` has more than {MAX_LABELS} entries")));
    }
    table
        .into_iter()
        .map(|(name, value)| match value {
            Value::String(text) => Ok((name, text)),
            other => Err(keys.error(format!("`labels.{name}` is {other}, but must be a text"))),
        })
        .collect()
}

/// `match = { model = "gpt-4o*", user = ["ann", "bob"] }`
fn filter(keys: &mut Keys) -> Result<Filter, AlertError> {
    let columns = ["model", "user", "provider", "source"];
    let mut filter = Filter::default();
    for (column, value) in keys.table("match")? {
        let scope = Scope::ALL.iter().find(|(word, scope)| *word == column && *scope != Scope::All);
        let Some((_, scope)) = scope else {
            let near = suggestion(&column, &columns);
            return Err(keys.error(format!("unknown key `match.{column}`{near}; it knows {}", columns.join(", "))));
        };
        let globs: Option<Vec<String>> = match value {
            Value::String(glob) => Some(vec![glob]),
            Value::Array(list) if !list.is_empty() && list.len() <= MAX_GLOBS => {
                list.into_iter().map(|glob| glob.as_str().map(str::to_owned)).collect()
            }
            _ => None,
        };
        let globs = globs.ok_or_else(|| {
            keys.error(format!("`match.{column}` must be a glob or a list of 1 to {MAX_GLOBS} globs"))
        })?;
        filter.0.push((*scope, globs));
    }
    Ok(filter)
}

#[cfg(test)]
#[path = "parse_tests.rs"]
mod tests;
