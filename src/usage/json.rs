//! Looking into JSON without building it: members and elements are borrowed slices of the text they stand in, so that
//! an image inside a body costs nothing but the walk over its bytes.

use std::{borrow::Cow, fmt};

use serde::{Deserialize, Deserializer, de};
use serde_json::value::RawValue;

use crate::{domain::UtcMillis, payload::integer};

/// A value that may be absent.
pub(super) type Raw<'a> = Option<&'a RawValue>;

/// 2^53: no count of anything, and beyond it a JavaScript sender no longer tells neighbouring integers apart.
const MAX_COUNT: u64 = 1 << 53;

/// A key as bytes: the text of a key may have lone surrogates, which is no reason to refuse the object.
struct Key<'a>(Cow<'a, [u8]>);

impl<'de> Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Key<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }

            fn visit_borrowed_bytes<E: de::Error>(self, key: &'de [u8]) -> Result<Self::Value, E> {
                Ok(Key(Cow::Borrowed(key)))
            }

            fn visit_bytes<E: de::Error>(self, key: &[u8]) -> Result<Self::Value, E> {
                Ok(Key(Cow::Owned(key.to_vec())))
            }
        }
        deserializer.deserialize_bytes(Visitor)
    }
}

struct Members<F>(F);

impl<'de, F: FnMut(&[u8], &'de RawValue)> de::Visitor<'de> for Members<F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: de::MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        while let Some(Key(key)) = map.next_key()? {
            (self.0)(&key, map.next_value()?);
        }
        Ok(())
    }
}

/// Shows each member of a JSON object, in order. False when the text is not one whole object: what was shown by then is
/// not to be relied on.
pub(super) fn members<'a>(json: &'a str, visit: impl FnMut(&[u8], &'a RawValue)) -> bool {
    let mut deserializer = serde_json::Deserializer::from_str(json);
    deserializer.deserialize_map(Members(visit)).is_ok() && deserializer.end().is_ok()
}

struct Elements<F>(F);

impl<'de, F: FnMut(&'de RawValue)> de::Visitor<'de> for Elements<F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: de::SeqAccess<'de>>(mut self, mut seq: A) -> Result<(), A::Error> {
        while let Some(element) = seq.next_element()? {
            (self.0)(element);
        }
        Ok(())
    }
}

/// Shows each element of a JSON array, in order. False when the text is not one whole array.
pub(super) fn elements<'a>(json: &'a str, visit: impl FnMut(&'a RawValue)) -> bool {
    let mut deserializer = serde_json::Deserializer::from_str(json);
    deserializer.deserialize_seq(Elements(visit)).is_ok() && deserializer.end().is_ok()
}

/// One member of an object.
pub(super) fn member<'a>(json: Raw<'a>, name: &str) -> Raw<'a> {
    let mut found = None;
    let is_whole = members(json?.get(), |key, value| {
        if key == name.as_bytes() {
            found = Some(value);
        }
    });
    found.filter(|_| is_whole)
}

/// There, and not null.
pub(super) fn present(raw: Raw<'_>) -> bool {
    raw.is_some_and(|raw| raw.get() != "null")
}

/// A whole number from 0 to 2^53; anything else reads as unknown.
pub(super) fn count(raw: Raw<'_>) -> Option<u64> {
    u64::try_from(integer(raw)?).ok().filter(|count| *count <= MAX_COUNT)
}

/// A short string without escapes, such as a name from a list.
pub(super) fn name(raw: Raw<'_>) -> Option<&str> {
    let name = raw?.get().strip_prefix('"')?.strip_suffix('"')?;
    (!name.contains('\\')).then_some(name)
}

/// Unix seconds (`OpenAI`'s `created` and `created_at`), or a string in RFC 3339 (Gemini's `createTime`, Ollama's
/// `created_at`).
pub(super) fn time(raw: Raw<'_>) -> Option<UtcMillis> {
    let time = match name(raw) {
        Some(text) => UtcMillis(text.parse::<jiff::Timestamp>().ok()?.as_millisecond()),
        None => UtcMillis::from_seconds(integer(raw)?),
    };
    Some(time).filter(|time| time.0 > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(json: &str) -> &RawValue {
        serde_json::from_str(json).expect("JSON")
    }

    #[test]
    fn members_borrow_from_the_text() {
        let text = format!(r#"{{"\ud800":0,"image":"{}","n":3}}"#, "A".repeat(1000));
        let mut seen = Vec::new();
        assert!(members(&text, |key, value| seen.push((key.to_vec(), value))));
        assert_eq!(seen.len(), 3);
        for (_, value) in &seen {
            assert!(text.as_bytes().as_ptr_range().contains(&value.get().as_ptr()), "a slice of the text");
        }
        assert!(!members("[1]", |_, _| {}));
        assert!(!members(r#"{"a":1}x"#, |_, _| {}));
        assert!(!members(r#"{"a":1"#, |_, _| {}));
        assert!(!elements("[1,", |_| {}));
    }

    #[test]
    fn what_cannot_be_a_count_is_unknown() {
        for (json, expected) in [
            ("0", Some(0)),
            ("12.0", Some(12)),
            ("1e3", Some(1000)),
            ("9007199254740992", Some(MAX_COUNT)),
            ("9007199254740993", None),
            ("1e300", None),
            ("-1", None),
            ("1.5", None),
            ("\"12\"", None),
            ("null", None),
            ("[]", None),
        ] {
            assert_eq!(count(Some(raw(json))), expected, "{json}");
        }
    }

    #[test]
    fn times_of_both_kinds() {
        for (json, expected) in [
            ("1757346297", Some(1_757_346_297_000)),
            ("1757346297.0", Some(1_757_346_297_000)),
            ("\"2025-09-08T15:44:57.250Z\"", Some(1_757_346_297_250)),
            ("\"2025-09-08T17:44:57.250123456+02:00\"", Some(1_757_346_297_250)),
            ("\"yesterday\"", None),
            ("-5", None),
            ("0", None),
        ] {
            assert_eq!(time(Some(raw(json))), expected.map(UtcMillis), "{json}");
        }
    }
}
