//! From `[[alerts.rules]]` to [`Rule`].

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use super::{
    AlertError, Filter, Rule, Scope,
    keys::{Keys, suggestion},
    kinds::{KINDS, Kind, POLICY},
};
use crate::notify::Severity;

/// Keys of every kind.
const COMMON: [&str; 8] = ["name", "kind", "severity", "labels", "for", "min_requests", "repeat_interval", "notifiers"];

const DEFAULT_REPEAT: Duration = Duration::from_secs(4 * 3600);
pub(in crate::alert) const MAX_NAME_BYTES: usize = 128;
const MAX_LABELS: usize = 32;
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
        if kind == POLICY.name {
            return Err(keys.error(
                "kind `policy` is not written here: give a policy under [[contents.policies]] action = \"alert\"",
            ));
        }
        if let Some(kind) = KINDS.iter().find(|known| known.name == kind) {
            return Self::read(keys, name, kind);
        }
        let known = KINDS.map(|kind| kind.name);
        let near = suggestion(&kind, &known);
        Err(keys.error(format!("unknown kind `{kind}`{near}; kinds are {}", known.join(", "))))
    }

    /// The rule that a policy with `action = "alert"` is: how many requests it matched within a window.
    ///
    /// # Errors
    /// [`AlertError::Rule`] for the first mistake.
    pub fn of_policy(values: Map<String, Value>) -> Result<Self, AlertError> {
        let mut keys = Keys::new(values);
        let name = keys.required_text("name")?;
        Self::read(keys, name, &POLICY)
    }

    fn read(mut keys: Keys, name: String, kind: &Kind) -> Result<Self, AlertError> {
        keys.only(kind.name, &[&COMMON, kind.keys])?;

        let severity =
            keys.word("severity", &Severity::ALL.map(|severity| (severity.word(), severity)))?.unwrap_or_default();
        let labels = labels(&mut keys)?;
        let duration = |keys: &mut Keys, key: &str, default: Duration| {
            Ok::<_, AlertError>(keys.duration(key)?.map_or(default, |(duration, _)| duration))
        };
        let hold = duration(&mut keys, "for", kind.hold)?;
        let keep_firing_for = duration(&mut keys, "keep_firing_for", Duration::ZERO)?;
        let repeat_interval = duration(&mut keys, "repeat_interval", DEFAULT_REPEAT)?;
        let min_requests = keys.count("min_requests")?.unwrap_or(kind.min_requests);
        let notifiers = notifiers(&mut keys)?;
        let filter = filter(&mut keys, kind.filters)?;
        let (scope, condition) = (kind.read)(&mut keys)?;
        Ok(Self {
            name,
            severity,
            labels,
            hold,
            keep_firing_for,
            min_requests,
            repeat_interval: Some(repeat_interval).filter(|interval| !interval.is_zero()),
            notifiers,
            scope,
            filter,
            condition,
        })
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
fn filter(keys: &mut Keys, columns: &[&str]) -> Result<Filter, AlertError> {
    let mut filter = Filter::default();
    for (column, value) in keys.table("match")? {
        let scope = Scope::ALL.iter().find(|(word, _)| *word == column && columns.contains(word));
        let Some((_, scope)) = scope else {
            let near = suggestion(&column, columns);
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
