//! Ollama's own API, which counts at the top of the body.

use crate::usage::{
    json::{Raw, count},
    reported::Usage,
};

/// `prompt_eval_count` and `eval_count`. Source: <https://github.com/ollama/ollama/blob/main/docs/api.md>.
pub(in crate::usage) fn from_eval_counts(prompt: Raw<'_>, completion: Raw<'_>) -> Option<Usage> {
    Usage { prompt_tokens: count(prompt), completion_tokens: count(completion), ..Usage::default() }.known()
}
