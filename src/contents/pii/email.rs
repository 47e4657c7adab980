//! E-mail addresses.

use std::ops::Range;

use super::expression;

/// Last labels that are file endings and no top-level domains: `icon@2x.png`, `a@b.js`.
const FILE_ENDINGS: [&str; 19] = [
    "png", "jpg", "jpeg", "gif", "svg", "webp", "ico", "css", "js", "json", "jsx", "ts", "tsx", "html", "htm", "xml",
    "yml", "yaml", "lock",
];

/// The common form of RFC 5321 addresses: no quoted local part, no address literal, a domain of two labels or more.
pub(super) fn find(text: &[u8], push: &mut impl FnMut(Range<usize>)) {
    let address = expression!(r"[A-Za-z0-9._%+'-]+@(?:[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?\.)+[A-Za-z]{2,24}");
    for found in address.find_iter(text) {
        let skipped = found.as_bytes().iter().take_while(|byte| !byte.is_ascii_alphanumeric()).count();
        let range = found.start() + skipped..found.end();
        if is_address(text, &range) {
            push(range);
        }
    }
}

fn is_address(text: &[u8], range: &Range<usize>) -> bool {
    let address = &text[range.clone()];
    let Some(at) = address.iter().position(|byte| *byte == b'@') else { return false };
    let label = address.rsplit(|byte| *byte == b'.').next().unwrap_or_default();
    let is_file = FILE_ENDINGS.iter().any(|ending| label.eq_ignore_ascii_case(ending.as_bytes()));
    let next = text.get(range.end);
    // `package@1.0.beta3` and a second `@` are something else.
    let is_over = !next.is_some_and(|byte| byte.is_ascii_digit() || *byte == b'@');
    // An SSH address of a repository, `git@host.example:path`.
    let is_repository = &address[..at] == b"git" && matches!(next, Some(b':' | b'/'));
    at > 0 && is_over && !is_file && !is_repository
}
