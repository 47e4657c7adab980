//! Cohere: `usage` of version 2 of its API, `meta` of version 1.

use crate::usage::{
    json::{Raw, count, member},
    reported::Usage,
};

/// Reads `{"billed_units": {…}, "tokens": {…}}`. What is billed counts: `tokens` has Cohere's own preamble in it, which
/// is not charged (<https://docs.cohere.com/v2/docs/how-does-cohere-pricing-work>). `cached_tokens` are of `tokens` too,
/// and there is no price of their own, so they are left alone.
fn read_members(raw: Raw<'_>) -> Usage {
    let counts = |name| {
        let units = member(raw, name);
        let usage = Usage {
            prompt_tokens: count(member(units, "input_tokens")),
            completion_tokens: count(member(units, "output_tokens")),
            ..Usage::default()
        };
        (!usage.is_empty()).then_some(usage)
    };
    counts("billed_units").or_else(|| counts("tokens")).unwrap_or_default()
}

/// Reads the `usage` object of version 2.
pub(super) fn read(json: &str) -> Usage {
    read_members(serde_json::from_str(json).ok())
}

/// Reads the `meta` object of version 1.
pub(in crate::usage) fn from_meta(raw: Raw<'_>) -> Option<Usage> {
    read_members(raw).known()
}
