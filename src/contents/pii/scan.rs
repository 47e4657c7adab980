//! JSON text as the detectors see it: escapes resolved, at the price of a map back to the text.

use std::{borrow::Cow, ops::Range};

/// A run of bytes of the text that became others.
#[derive(Clone, Copy, Debug)]
struct Token {
    scanned: usize,
    text: usize,
    text_len: usize,
}

/// A text without its escapes. Each escape has become one byte: what it stands for if that is ASCII, else a blank. JSON
/// inside JSON escapes its escapes, so any number of backslashes before `n`, `"` or `u0040` is one escape here. That is
/// more than JSON says (`C:\\new` has none), which at worst ends a word too early.
///
/// A token always covers whole escapes of the text, so replacing one leaves valid JSON.
pub(super) struct Scanned<'a> {
    bytes: Cow<'a, [u8]>,
    tokens: Vec<Token>,
}

impl<'a> Scanned<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        let raw = text.as_bytes();
        let Some(first) = raw.iter().position(|byte| *byte == b'\\') else {
            return Self { bytes: Cow::Borrowed(raw), tokens: Vec::new() };
        };
        let mut bytes = Vec::with_capacity(raw.len());
        let mut tokens = Vec::new();
        bytes.extend_from_slice(&raw[..first]);
        let mut at = first;
        while let Some(byte) = raw.get(at) {
            if *byte != b'\\' {
                bytes.push(*byte);
                at += 1;
                continue;
            }
            let backslashes = raw[at..].iter().take_while(|byte| **byte == b'\\').count();
            let after = at + backslashes;
            let (resolved, length) = match raw.get(after) {
                Some(b'n' | b'r') => (b'\n', 1),
                Some(b't' | b'b' | b'f') => (b' ', 1),
                Some(quote @ (b'"' | b'/')) => (*quote, 1),
                Some(b'u') => unicode(raw.get(after + 1..after + 5)).map_or((b'\\', 0), |byte| (byte, 5)),
                _ => (b'\\', 0),
            };
            tokens.push(Token { scanned: bytes.len(), text: at, text_len: backslashes + length });
            bytes.push(resolved);
            at = after + length;
        }
        Self { bytes: Cow::Owned(bytes), tokens }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Where a range of [`Self::bytes`] stands in the text.
    pub(super) fn in_text(&self, range: &Range<usize>) -> Range<usize> {
        let (start, _) = self.byte_in_text(range.start);
        let (last, length) = self.byte_in_text(range.end.saturating_sub(1).max(range.start));
        start..last + length
    }

    /// Where one byte begins in the text, and how long it is there.
    fn byte_in_text(&self, scanned: usize) -> (usize, usize) {
        let after = self.tokens.partition_point(|token| token.scanned <= scanned);
        match after.checked_sub(1).and_then(|index| self.tokens.get(index)) {
            None => (scanned, 1),
            Some(token) if token.scanned == scanned => (token.text, token.text_len),
            Some(token) => (token.text + token.text_len + (scanned - token.scanned - 1), 1),
        }
    }
}

/// What `\uXXXX` stands for, as far as detectors care: ASCII, or a blank.
fn unicode(digits: Option<&[u8]>) -> Option<u8> {
    let digits = std::str::from_utf8(digits?).ok()?;
    if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    let code = u32::from_str_radix(digits, 16).ok()?;
    Some(u8::try_from(code).ok().filter(u8::is_ascii_graphic).unwrap_or(b' '))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_become_one_byte_each_and_are_found_again() {
        for (text, scanned, of, expected) in [
            (r"plain a", "plain a", 6..7, "a"),
            (r"\na@b", "\na@b", 1..4, "a@b"),
            (r"\\na@b", "\na@b", 1..4, "a@b"),
            (r"a\u0040b", "a@b", 0..3, r"a\u0040b"),
            (r"a\\u0040b", "a@b", 0..3, r"a\\u0040b"),
            (r"1\u00a02", "1 2", 0..3, r"1\u00a02"),
            (r"\ud83d\ude00x", "  x", 2..3, "x"),
            (r#"{\"k\":\"v\"}"#, r#"{"k":"v"}"#, 6..7, "v"),
            (r#"\\\"v"#, "\"v", 1..2, "v"),
            (r"C:\dir", r"C:\dir", 3..6, "dir"),
            (r"\u12", r"\u12", 1..4, "u12"),
            ("x\\", "x\\", 0..2, "x\\"),
            ("é\\té", "é é", 2..3, r"\t"),
        ] {
            let result = Scanned::new(text);
            assert_eq!(String::from_utf8_lossy(result.bytes()), scanned, "{text}");
            assert_eq!(&text[result.in_text(&of)], expected, "{text}");
        }
    }
}
