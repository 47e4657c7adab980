//! Takes out what was found before a text is stored.

use std::borrow::Cow;

use super::pii::{Finding, PiiCounts, PiiKind, count, find};

/// What was taken out can bring to light what it stood beside, so the text is looked at until nothing is found. Each look
/// replaces something, and more than a few are needed for made-up texts only.
const MAX_LOOKS: usize = 8;
/// Stands for a text that still had something in it after that.
const GIVEN_UP: &str = "\"[redacted]\"";

/// A text that may be stored.
#[derive(Debug, PartialEq, Eq)]
pub struct Redacted<'a> {
    /// The text without what was found.
    pub text: Cow<'a, str>,
    /// What was taken out.
    pub counts: PiiCounts,
}

/// Replaces what is found of `kinds` in `text`. With `is_json`, JSON stays JSON: whole escapes are replaced, and a number
/// becomes a string. Afterwards nothing of `kinds` is found in it.
#[must_use]
pub fn redact<'a>(text: &'a str, is_json: bool, kinds: &[PiiKind]) -> Redacted<'a> {
    let mut redacted = Redacted { text: Cow::Borrowed(text), counts: PiiCounts::default() };
    for _ in 0..MAX_LOOKS {
        let findings = find(&redacted.text, kinds);
        if findings.is_empty() {
            return redacted;
        }
        redacted.counts = redacted.counts.plus(count(&findings));
        redacted.text = Cow::Owned(replace(&redacted.text, &findings, is_json));
    }
    if find(&redacted.text, kinds).is_empty() {
        redacted
    } else {
        Redacted { text: Cow::Borrowed(GIVEN_UP), ..redacted }
    }
}

fn replace(text: &str, findings: &[Finding], is_json: bool) -> String {
    let mut out = String::with_capacity(text.len());
    let mut json = JsonPlace::default();
    let mut copied = 0;
    for Finding { kind, range } in findings {
        // A number that was replaced as a whole may have taken the next finding with it.
        if range.start < copied {
            continue;
        }
        json.advance(&text[copied..range.start]);
        let (start, end) =
            if is_json && !json.is_in_string { number_around(text, copied, range) } else { (range.start, range.end) };
        out.push_str(&text[copied..start]);
        let quote = if is_json && !json.is_in_string { "\"" } else { "" };
        out.extend([quote, kind.placeholder(), quote]);
        json.advance(&text[range.start..end]);
        copied = end;
    }
    out.push_str(&text[copied..]);
    out
}

/// The whole JSON number that `range` is in.
fn number_around(text: &str, from: usize, range: &std::ops::Range<usize>) -> (usize, usize) {
    let is_number = |byte: &u8| byte.is_ascii_alphanumeric() || b"+-.".contains(byte);
    let bytes = text.as_bytes();
    let before = bytes[from..range.start].iter().rev().take_while(|byte| is_number(byte)).count();
    let after = bytes[range.end..].iter().take_while(|byte| is_number(byte)).count();
    (range.start - before, range.end + after)
}

/// Whether a place in JSON text is within a string.
#[derive(Default)]
struct JsonPlace {
    is_in_string: bool,
    is_escaped: bool,
}

impl JsonPlace {
    fn advance(&mut self, text: &str) {
        for byte in text.bytes() {
            match byte {
                _ if self.is_escaped => self.is_escaped = false,
                b'\\' if self.is_in_string => self.is_escaped = true,
                b'"' => self.is_in_string = !self.is_in_string,
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::value::RawValue;

    use super::*;

    #[test]
    fn what_is_found_is_replaced_and_nothing_else() {
        for (text, expected) in [
            (r#"{"a":"mail ann@example.com now"}"#, r#"{"a":"mail [email] now"}"#),
            (r#"{"a":"x\nann@example.com\ty"}"#, r#"{"a":"x\n[email]\ty"}"#),
            (r#"{"a":"ann\u0040example.com"}"#, r#"{"a":"[email]"}"#),
            (r#"{"a":"{\"m\":\"\\nann@example.com\"}"}"#, r#"{"a":"{\"m\":\"\\n[email]\"}"}"#),
            (r#"{"card":4111111111111111,"n":1}"#, r#"{"card":"[card]","n":1}"#),
            (r"[-4111111111111111]", r#"["[card]"]"#),
            (r#"{"4111-1111-1111-1111":"sk-proj-abcdefghijklmnopqrst"}"#, r#"{"[card]":"[api_key]"}"#),
            (
                r#"{"k":"-----BEGIN PRIVATE KEY-----\nMIIE\nabc=\n-----END PRIVATE KEY-----\n"}"#,
                r#"{"k":"[api_key]\n"}"#,
            ),
            (r#"{"a":"\ud800 \u0000 ann@example.com"}"#, r#"{"a":"\ud800 \u0000 [email]"}"#),
            ("{}", "{}"),
        ] {
            let redacted = redact(text, true, &PiiKind::ALL);
            assert_eq!(redacted.text, expected);
            assert!(serde_json::from_str::<&RawValue>(&redacted.text).is_ok(), "{}", redacted.text);
        }
    }

    #[test]
    fn plain_text_gets_no_quotes_and_only_what_is_asked_for_goes() {
        let text = "call +49 30 1234567 or pay 4111 1111 1111 1111";
        let redacted = redact(text, false, &[PiiKind::Card]);
        assert_eq!(redacted.text, "call +49 30 1234567 or pay [card]");
        assert_eq!((redacted.counts.of(PiiKind::Card), redacted.counts.of(PiiKind::Phone)), (1, 0));
    }

    /// Pieces that match, nearly match, or meet others to make something that matches.
    fn piece() -> impl Strategy<Value = String> {
        prop_oneof![
            prop::sample::select(vec![
                "ann@example.com",
                "a@b",
                "@",
                ".com",
                "+49 30 12345678",
                "+1",
                "212-555-0123",
                "(212) 555-0123",
                "4111 1111 1111 1111",
                "4111-1111-1111-1111",
                "378282246310005",
                "4111",
                "1111",
                "DE89 3704 0044 0532 0130 00",
                "DE89370400440532013000",
                "123-45-6789",
                "sk-ant-api03-abcdefghijklmnop",
                "sk-",
                "AKIAIOSFODNN7EXAMPLE",
                "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.abc",
                "-----BEGIN PRIVATE KEY-----",
                "\n",
                "\t",
                "\"",
                "\\",
                "\\n",
                "\\u0040",
                "-",
                " ",
                ".",
                "+",
                "0",
                "é",
                "😀",
            ])
            .prop_map(ToOwned::to_owned),
            "[ -~]{0,6}",
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

        /// Strings, JSON within strings, keys and numbers of all pieces: what comes out is JSON with nothing in it.
        #[test]
        fn redacted_json_is_json_without_anything_to_find(
            pieces in prop::collection::vec(piece(), 0..12),
            nested in 0_usize..3,
            number in prop::sample::select(vec!["4111111111111111", "-378282246310005", "1e9", "0.4111111111111111", "5105105105105100.0"]),
        ) {
            let mut inner = serde_json::Value::String(pieces.concat());
            for _ in 0..nested {
                inner = serde_json::Value::String(serde_json::json!({ "v": inner }).to_string());
            }
            let key = serde_json::to_string(&pieces.concat()).expect("JSON");
            let text = format!("{{{key}:[{inner},{number}]}}");
            let redacted = redact(&text, true, &PiiKind::ALL);
            prop_assert!(find(&redacted.text, &PiiKind::ALL).is_empty(), "{}", redacted.text);
            let parsed = serde_json::from_str::<serde_json::Value>(&redacted.text);
            prop_assert!(parsed.is_ok(), "{text}\n{}", redacted.text);
            // JSON within the strings stays JSON as well.
            let mut value = parsed.expect("JSON").as_object().and_then(|map| map.values().next().cloned()).expect("a value")[0].clone();
            for _ in 0..nested {
                let text = value.as_str().expect("a string").to_owned();
                let inner = serde_json::from_str::<serde_json::Value>(&text);
                prop_assert!(inner.is_ok(), "{text}");
                value = inner.expect("JSON")["v"].clone();
            }
        }

        #[test]
        fn redacted_text_has_nothing_to_find(pieces in prop::collection::vec(piece(), 0..16)) {
            let text = pieces.concat();
            let redacted = redact(&text, false, &PiiKind::ALL);
            prop_assert!(find(&redacted.text, &PiiKind::ALL).is_empty(), "{text}\n{}", redacted.text);
        }
    }
}
