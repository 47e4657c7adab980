//! Whose token counts are believed.

use crate::{
    payload::Metadata,
    store::UsageSource,
    usage::{Usage, sum},
};

/// A request's tokens; `None` is unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tokens {
    pub(super) prompt: Option<u64>,
    pub(super) completion: Option<u64>,
    pub(super) total: Option<u64>,
    pub(super) source: UsageSource,
}

impl Tokens {
    /// The gateway's counts when none is negative and there are any; else the body's; else the gateway's that can be.
    pub(super) fn decide(metadata: Option<&Metadata>, usage: Option<&Usage>) -> Self {
        let counts = |tokens: Option<i64>| tokens.and_then(|tokens| u64::try_from(tokens).ok());
        let (prompt, completion, total) = metadata.map_or((None, None, None), |metadata| {
            let (prompt, completion) = (counts(metadata.prompt_tokens), counts(metadata.completion_tokens));
            (prompt, completion, counts(metadata.total_tokens).or_else(|| sum(prompt, completion)))
        });
        let is_credible = metadata.is_some_and(|metadata| !metadata.has_negative_tokens())
            && sum(prompt, completion).is_some_and(|tokens| tokens > 0);
        match usage {
            Some(usage) if !is_credible => Self {
                prompt: usage.prompt_tokens,
                completion: usage.completion_tokens,
                total: sum(usage.prompt_tokens, usage.completion_tokens),
                source: UsageSource::Body,
            },
            usage => {
                let source = match usage {
                    Some(_) => UsageSource::Both,
                    None if prompt.is_none() && completion.is_none() => UsageSource::None,
                    None => UsageSource::Gateway,
                };
                Self { prompt, completion, total, source }
            }
        }
    }

    /// Prompt tokens per completion token.
    #[expect(clippy::cast_precision_loss, reason = "a ratio of token counts")]
    pub(super) fn ratio(self) -> Option<f64> {
        match (self.prompt, self.completion) {
            (Some(prompt), Some(completion)) if completion > 0 => Some(prompt as f64 / completion as f64),
            _ => None,
        }
    }

    /// What the row says was used: these counts, and of the response what the gateway does not count. The price book works
    /// on this, so that a row can be priced again from itself.
    pub(super) fn complete(self, usage: Option<Usage>) -> Option<Usage> {
        usage.map(|usage| Usage { prompt_tokens: self.prompt, completion_tokens: self.completion, ..usage })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whose_tokens_count() {
        let metadata = |prompt: i64, completion: i64, total: i64| Metadata {
            prompt_tokens: Some(prompt),
            completion_tokens: Some(completion),
            total_tokens: Some(total),
            ..Metadata::default()
        };
        let body = Usage { prompt_tokens: Some(30), completion_tokens: Some(628), ..Usage::default() };
        let images = Usage { generated_images: Some(2), ..Usage::default() };
        let tokens = |prompt, completion, total, source| Tokens { prompt, completion, total, source };
        let (of_body, nothing) = ((Some(30), Some(628), Some(658)), (None, None, None));
        for (what, metadata, usage, (prompt, completion, total), source) in [
            ("gateway", Some(metadata(9, 12, 21)), None, (Some(9), Some(12), Some(21)), UsageSource::Gateway),
            ("gateway first", Some(metadata(9, 12, 21)), Some(body), (Some(9), Some(12), Some(21)), UsageSource::Both),
            ("zeros, body knows", Some(metadata(0, 0, 0)), Some(body), of_body, UsageSource::Body),
            ("zeros, nobody knows", Some(metadata(0, 0, 0)), None, (Some(0), Some(0), Some(0)), UsageSource::Gateway),
            ("negative, body knows", Some(metadata(-1, -1, -2)), Some(body), of_body, UsageSource::Body),
            ("negative, nobody knows", Some(metadata(-1, -1, -2)), None, nothing, UsageSource::None),
            ("no tokens at all", Some(metadata(0, 0, 0)), Some(images), nothing, UsageSource::Body),
            ("no metadata", None, Some(body), of_body, UsageSource::Body),
            ("nothing", None, None, nothing, UsageSource::None),
        ] {
            let found = Tokens::decide(metadata.as_ref(), usage.as_ref());
            assert_eq!(found, tokens(prompt, completion, total, source), "{what}");
        }
    }

    #[test]
    fn the_response_completes_what_the_gateway_counts() {
        let usage = Usage { prompt_tokens: Some(8), cached_tokens: Some(1152), ..Usage::default() };
        let gateway = Metadata { prompt_tokens: Some(96), completion_tokens: Some(10), ..Metadata::default() };
        let tokens = Tokens::decide(Some(&gateway), Some(&usage));
        let expected = Usage { prompt_tokens: Some(96), completion_tokens: Some(10), ..usage };
        assert_eq!(tokens.complete(Some(usage)), Some(expected));
        assert_eq!(tokens.complete(None), None);
    }
}
