//! Keys and tokens by the forms that their issuers gave them.

use std::ops::Range;

use super::{before, expression};

/// Model providers and Helicone (`sk-…`, `hf_…`, `gsk_…`, `xai-…`), AWS, Google, GitHub, GitLab, Slack, Stripe, JSON Web
/// Tokens, and private keys in PEM with as much of them as is there.
pub(super) fn find(text: &[u8], push: &mut impl FnMut(Range<usize>)) {
    let key = expression!(concat!(
        // OpenAI, Anthropic, OpenRouter, Helicone: a dash within the key only after a known word.
        r"[sp]k-(?:ant|proj|svcacct|admin|or-v1|helicone)-[A-Za-z0-9_-]{16,}|sk-[A-Za-z0-9]{20,}",
        r"|hf_[A-Za-z0-9]{30,}|gsk_[A-Za-z0-9]{40,}|xai-[A-Za-z0-9]{40,}",
        r"|(?:AKIA|ASIA)[A-Z0-9]{16}|AIza[A-Za-z0-9_-]{35}",
        r"|gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{22,}|glpat-[A-Za-z0-9_-]{20,}",
        r"|xox[abeprs]-[A-Za-z0-9-]{10,}|[rs]k_(?:live|test)_[A-Za-z0-9]{16,}",
        r"|eyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}(?:\.[A-Za-z0-9_-]*)?",
        r"|-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----(?:\s*(?:Proc-Type|DEK-Info): [A-Za-z0-9,-]+)*",
        r"[A-Za-z0-9+/=\s]*(?:-----END [A-Z0-9 ]*-----)?",
    ));
    for found in key.find_iter(text) {
        let is_free = !before(text, found.start()).is_some_and(|byte| byte.is_ascii_alphanumeric());
        if is_free {
            push(found.range());
        }
    }
}
