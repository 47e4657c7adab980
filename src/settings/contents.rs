//! `[contents]`: what is kept of requests and responses, and what is looked for in them.

use std::fmt;

use serde::{Deserialize, Deserializer, de};

use crate::{contents::pii::PiiKind, domain::Secret};

/// `[contents]`, or `contents = "off" | "truncated" | "full"` alone.
#[derive(Clone, Debug, Deserialize)]
#[serde(remote = "Self", default, deny_unknown_fields)]
pub struct ContentsSettings {
    /// Whether bodies are stored: `"off"`, `"truncated"` to `truncate_bytes`, or `"full"` up to `max_body_bytes`.
    pub store: ContentsStore,
    /// With `"truncated"`, so much of request and response each, in bytes.
    pub truncate_bytes: usize,
    /// No more than this of a body is looked at or stored, in bytes.
    pub max_body_bytes: usize,
    /// Bodies are removed this long after receipt, in days.
    pub retention_days: u32,
    /// Types that are replaced before storage; `true` for all, `false` for none.
    #[serde(deserialize_with = "kinds")]
    pub redact: Vec<PiiKind>,
    /// Whether personal data is counted by type. By default as soon as bodies are stored or a policy uses `pii`.
    pub detect_pii: Option<bool>,
    /// User of a ClickHouse server that may read the view `contents`, for `heliometer sql --contents`; the embedded engine
    /// makes its own.
    pub reader_user: String,
    /// Password of that user.
    pub reader_password: Option<Secret>,
    /// `[[contents.policies]]`
    pub policies: Vec<PolicySettings>,
}

impl Default for ContentsSettings {
    fn default() -> Self {
        Self {
            store: ContentsStore::Off,
            truncate_bytes: 2048,
            max_body_bytes: 1024 * 1024,
            retention_days: 30,
            redact: PiiKind::ALL.to_vec(),
            detect_pii: None,
            reader_user: String::new(),
            reader_password: None,
            policies: Vec::new(),
        }
    }
}

/// What is kept of bodies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ContentsStore {
    /// Nothing.
    #[default]
    Off,
    /// The beginning of each.
    Truncated,
    /// All of them, within bounds.
    Full,
}

/// A judgement of single calls: one of `[[contents.policies]]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicySettings {
    /// Names it in tables, metrics and alerts. Unique, also among alert rules.
    pub name: String,
    /// A CEL expression that is true for calls it is about.
    pub when: String,
    /// What happens then.
    pub action: PolicyAction,
    /// For `alert`: `"info"`, `"warning"` (the default) or `"critical"`.
    #[serde(default)]
    pub severity: Option<String>,
    /// For `alert`: what is counted and alerted one by one: `"all"` (the default), `"model"`, `"user"`, `"provider"` or
    /// `"source"`.
    #[serde(default)]
    pub scope: Option<String>,
    /// For `alert`: matches within this are counted, such as `"5m"` (the default).
    #[serde(default)]
    pub window: Option<String>,
    /// For `alert`: from so many calls within the window on; 1 by default.
    #[serde(default)]
    pub min_matches: Option<u64>,
    /// For `score`: the score's name at Helicone; the policy's name by default.
    #[serde(default)]
    pub score: Option<String>,
    /// For `score`: a CEL expression for its value, an int or a bool; `true` by default.
    #[serde(default)]
    pub value: Option<String>,
}

/// What a policy does with a call that it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PolicyAction {
    /// Names the policy in `inspections.flags`.
    Flag,
    /// Raises an alert, one for all matches within a window.
    Alert,
    /// Gives the call a score at Helicone.
    Score,
}

impl PolicyAction {
    /// The word in settings and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Flag => "flag",
            Self::Alert => "alert",
            Self::Score => "score",
        }
    }
}

impl<'de> Deserialize<'de> for ContentsSettings {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = ContentsSettings;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("\"off\", \"truncated\", \"full\" or a table")
            }

            fn visit_str<E: de::Error>(self, word: &str) -> Result<ContentsSettings, E> {
                let store = ContentsStore::deserialize(de::value::StrDeserializer::new(word))?;
                Ok(ContentsSettings { store, ..ContentsSettings::default() })
            }

            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<ContentsSettings, A::Error> {
                // The derived one.
                ContentsSettings::deserialize(de::value::MapAccessDeserializer::new(map))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

fn kinds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<PiiKind>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either {
        All(bool),
        Some(Vec<PiiKind>),
    }
    match Either::deserialize(deserializer) {
        Ok(Either::All(true)) => Ok(PiiKind::ALL.to_vec()),
        Ok(Either::All(false)) => Ok(Vec::new()),
        // In one order, each once.
        Ok(Either::Some(kinds)) => Ok(PiiKind::ALL.into_iter().filter(|kind| kinds.contains(kind)).collect()),
        Err(_) => {
            let known = PiiKind::ALL.map(|kind| format!("\"{}\"", kind.as_str())).join(", ");
            Err(de::Error::custom(format!("must be true, false or a list of {known}")))
        }
    }
}
