//! Policies: CEL expressions on single calls, and what follows from a match.

mod expression;

use std::collections::{HashMap, HashSet};

use cel::{Context, Value, common::types::CelString};
use serde_json::{Map, json};

use super::{
    ContentsError, ContentsMetrics,
    bodies::beginning,
    pii::{PiiCounts, PiiKind},
};
use crate::{
    alert::Rule,
    helicone_api::ScoreValue,
    settings::{ContentsSettings, ContentsStore, PolicyAction, PolicySettings},
    store::RequestRow,
};
use expression::{Compiler, Expression, Language};

pub use crate::settings::PolicyAction as Action;

/// Each is evaluated on every call.
pub(super) const MAX_POLICIES: usize = 100;
const MAX_NAME_BYTES: usize = 128;
/// Of request and response, so much is shown to expressions.
pub(super) const MAX_TEXT_BYTES: usize = 64 * 1024;

const VARIABLES: [&str; 18] = [
    "cached_tokens",
    "completion_tokens",
    "cost_usd",
    "is_inefficient",
    "latency_ms",
    "model",
    "pii",
    "prompt_tokens",
    "provider",
    "reasoning_tokens",
    "request",
    "request_id",
    "response",
    "source",
    "status",
    "token_ratio",
    "total_tokens",
    "user_id",
];

/// All policies, compiled.
pub(super) struct Policies {
    policies: Vec<Policy>,
    language: Language,
}

struct Policy {
    name: String,
    when: Expression,
    consequence: Consequence,
}

enum Consequence {
    Flag,
    Alert,
    Score { name: String, value: Option<Expression> },
}

/// What is judged.
pub(super) struct Call<'a> {
    pub(super) row: &'a RequestRow,
    pub(super) request: &'a str,
    pub(super) response: &'a str,
    pub(super) pii: PiiCounts,
}

/// What policies say of a call.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) matches: Vec<String>,
    pub(super) flags: Vec<String>,
    pub(super) scores: Vec<(String, ScoreValue)>,
}

impl Policies {
    pub(super) fn compile(settings: &[PolicySettings]) -> Result<Self, ContentsError> {
        if settings.len() > MAX_POLICIES {
            return Err(ContentsError::TooManyPolicies(settings.len()));
        }
        let wrong = |policy: &str, message: String| ContentsError::Policy { policy: policy.to_owned(), message };
        let mut names = HashSet::new();
        let mut compiler = Compiler::new().map_err(|message| wrong("(all)", message))?;
        let mut policies = Vec::new();
        for policy in settings {
            let name = &policy.name;
            if name.trim().is_empty() || name.len() > MAX_NAME_BYTES || name.chars().any(char::is_control) {
                return Err(wrong(name, format!("`name` must be one line of 1 to {MAX_NAME_BYTES} bytes")));
            }
            if !names.insert(name) {
                return Err(ContentsError::DuplicatePolicy(name.clone()));
            }
            only_keys_of(policy).map_err(|message| wrong(name, message))?;
            let when = compiler.compile("when", &policy.when).map_err(|message| wrong(name, message))?;
            let consequence = match policy.action {
                PolicyAction::Flag => Consequence::Flag,
                PolicyAction::Alert => Consequence::Alert,
                PolicyAction::Score => {
                    let value = policy.value.as_ref().map(|value| compiler.compile("value", value)).transpose();
                    Consequence::Score {
                        name: policy.score.clone().unwrap_or_else(|| name.clone()),
                        value: value.map_err(|message| wrong(name, message))?,
                    }
                }
            };
            policies.push(Policy { name: name.clone(), when, consequence });
        }
        Ok(Self { policies, language: compiler.finish() })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.policies.is_empty()
    }

    fn expressions(&self) -> impl Iterator<Item = &Expression> {
        self.policies.iter().flat_map(|policy| {
            let value = match &policy.consequence {
                Consequence::Score { value, .. } => value.as_ref(),
                Consequence::Flag | Consequence::Alert => None,
            };
            [Some(&policy.when), value].into_iter().flatten()
        })
    }

    /// Whether any expression looks at `variable`.
    pub(super) fn uses(&self, variable: &str) -> bool {
        self.expressions().any(|expression| expression.uses(variable))
    }

    /// Asks every policy. One that cannot be evaluated on this call does nothing and is counted in `metrics`.
    pub(super) fn judge(&self, call: &Call<'_>, metrics: &ContentsMetrics) -> Verdict {
        let mut verdict = Verdict::default();
        if self.is_empty() {
            return verdict;
        }
        let context = self.context(call);
        for policy in &self.policies {
            match policy.when.evaluate(&context) {
                Some(Value::Bool(false)) => continue,
                Some(Value::Bool(true)) => {}
                _ => {
                    metrics.policy_failed(&policy.name);
                    continue;
                }
            }
            match &policy.consequence {
                Consequence::Flag => verdict.flags.push(policy.name.clone()),
                Consequence::Alert => {}
                Consequence::Score { name, value } => {
                    let value = match value.as_ref().map(|value| value.evaluate(&context)) {
                        None => ScoreValue::Bool(true),
                        Some(Some(Value::Bool(value))) => ScoreValue::Bool(value),
                        Some(Some(Value::Int(value))) => ScoreValue::Int(value),
                        Some(_) => {
                            metrics.policy_failed(&policy.name);
                            continue;
                        }
                    };
                    verdict.scores.push((name.clone(), value));
                }
            }
            verdict.matches.push(policy.name.clone());
        }
        verdict
    }

    /// Counts what matched.
    pub(super) fn count(&self, verdict: &Verdict, metrics: &ContentsMetrics) {
        for policy in self.policies.iter().filter(|policy| verdict.matches.contains(&policy.name)) {
            let action = match policy.consequence {
                Consequence::Flag => PolicyAction::Flag,
                Consequence::Alert => PolicyAction::Alert,
                Consequence::Score { .. } => PolicyAction::Score,
            };
            metrics.policy_matched(&policy.name, action);
        }
    }

    fn context<'v>(&self, call: &'v Call<'_>) -> Context<'v, 'v> {
        let mut context = self.language.context();
        // Not copied.
        let text = |value: &'v str| Box::new(CelString::from(value));
        let Call { row, request, response, pii } = call;
        for (name, value) in [
            ("request_id", &row.request_id),
            ("source", &row.source),
            ("user_id", &row.user_id),
            ("model", &row.model),
            ("provider", &row.provider),
            ("status", &row.status),
        ] {
            context.add_variable_as_val(name, text(value));
        }
        context.add_variable_as_val("request", text(beginning(request, MAX_TEXT_BYTES)));
        context.add_variable_as_val("response", text(beginning(response, MAX_TEXT_BYTES)));
        let count = |count: Option<u64>| {
            count.map_or(Value::Null, |count| Value::Int(i64::try_from(count).unwrap_or(i64::MAX)))
        };
        for (name, tokens) in [
            ("prompt_tokens", row.prompt_tokens),
            ("completion_tokens", row.completion_tokens),
            ("total_tokens", row.total_tokens),
            ("cached_tokens", row.cached_tokens),
            ("reasoning_tokens", row.reasoning_tokens),
            ("latency_ms", row.latency_ms.map(u64::from)),
        ] {
            context.add_variable_from_value(name, count(tokens));
        }
        // For judging, not for accounting.
        #[expect(clippy::cast_precision_loss, reason = "an expression compares it with a limit")]
        let cost_usd = row.cost_usd.map(|pico_usd| pico_usd as f64 / 1e12);
        for (name, number) in [("cost_usd", cost_usd), ("token_ratio", row.token_ratio)] {
            context.add_variable_from_value(name, number.map_or(Value::Null, Value::Float));
        }
        context.add_variable_from_value("is_inefficient", row.is_inefficient);
        let pii: HashMap<String, i64> =
            PiiKind::ALL.into_iter().map(|kind| (kind.as_str().to_owned(), i64::from(pii.of(kind)))).collect();
        context.add_variable_from_value("pii", pii);
        context
    }
}

/// Keys of another action would do nothing.
fn only_keys_of(policy: &PolicySettings) -> Result<(), String> {
    let PolicySettings { severity, scope, window, min_matches, score, value, .. } = policy;
    let alert = [
        ("severity", severity.is_some()),
        ("scope", scope.is_some()),
        ("window", window.is_some()),
        ("min_matches", min_matches.is_some()),
    ];
    let scores = [("score", score.is_some()), ("value", value.is_some())];
    for (keys, action) in [(&alert[..], PolicyAction::Alert), (&scores[..], PolicyAction::Score)] {
        if policy.action != action
            && let Some((key, _)) = keys.iter().find(|(_, is_set)| *is_set)
        {
            return Err(format!("`{key}` is for action = \"{}\" only", action.as_str()));
        }
    }
    match score {
        Some(score) if score.trim().is_empty() || score.len() > MAX_NAME_BYTES => {
            Err(format!("`score` must have 1 to {MAX_NAME_BYTES} bytes"))
        }
        _ => Ok(()),
    }
}

/// The alert rules that policies with `action = "alert"` are.
///
/// # Errors
/// [`ContentsError::Policy`] for the first key that a rule cannot have.
pub fn alert_rules(settings: &ContentsSettings) -> Result<Vec<Rule>, ContentsError> {
    let alerting = settings.policies.iter().filter(|policy| policy.action == PolicyAction::Alert);
    alerting
        .map(|policy| {
            let mut keys = Map::new();
            keys.insert("name".to_owned(), json!(policy.name));
            for (key, value) in [("severity", &policy.severity), ("scope", &policy.scope), ("window", &policy.window)] {
                if let Some(value) = value {
                    keys.insert(key.to_owned(), json!(value));
                }
            }
            if let Some(min_matches) = policy.min_matches {
                keys.insert("min_matches".to_owned(), json!(min_matches));
            }
            Rule::of_policy(keys).map_err(|error| ContentsError::Policy {
                policy: policy.name.clone(),
                message: match error {
                    crate::alert::AlertError::Rule { message, .. } => message,
                    other => other.to_string(),
                },
            })
        })
        .collect()
}

/// Checks the section `contents` of the settings.
///
/// # Errors
/// [`ContentsError`] for the first mistake found.
pub fn check(settings: &ContentsSettings) -> Result<(), ContentsError> {
    let ranges = [
        ("truncate_bytes", settings.truncate_bytes as u64, 1, 1024 * 1024),
        // Text of the longest must fit into what may wait for its insert.
        ("max_body_bytes", settings.max_body_bytes as u64, 1024, 16 * 1024 * 1024),
        ("retention_days", settings.retention_days.into(), 1, 3650),
    ];
    for (key, value, least, most) in ranges {
        if value < least || value > most {
            return Err(ContentsError::Range { key, least, most });
        }
    }
    let policies = Policies::compile(&settings.policies)?;
    alert_rules(settings)?;
    if settings.detect_pii == Some(false) {
        if policies.uses("pii") {
            return Err(ContentsError::NeedsDetection("policies with `pii`"));
        }
        if settings.store != ContentsStore::Off && !settings.redact.is_empty() {
            return Err(ContentsError::NeedsDetection("the types in `redact`"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
