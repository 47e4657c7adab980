//! JSON strings that may hold lone surrogates.

use std::fmt;

use serde::{Deserialize, Deserializer, de};

/// A JSON string in which a lone surrogate has become U+FFFD.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LossyText(pub String);

impl<'de> Deserialize<'de> for LossyText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Asked for bytes, serde_json hands lone surrogates over in WTF-8 instead of refusing them.
        deserializer.deserialize_bytes(Visitor)
    }
}

struct Visitor;

impl de::Visitor<'_> for Visitor {
    type Value = LossyText;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<LossyText, E> {
        match std::str::from_utf8(bytes) {
            Ok(text) => Ok(LossyText(text.to_owned())),
            Err(_) if is_wtf8(bytes) => Ok(LossyText(replace_surrogates(bytes))),
            Err(_) => Err(E::custom("a string is not UTF-8")),
        }
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<LossyText, E> {
        Ok(LossyText(text.to_owned()))
    }
}

/// Whether the bytes would be UTF-8 without their encoded surrogates (`ED A0..BF xx`).
fn is_wtf8(bytes: &[u8]) -> bool {
    std::str::from_utf8(&replace_surrogates_bytes(bytes)).is_ok()
}

fn replace_surrogates(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&replace_surrogates_bytes(bytes)).into_owned()
}

fn replace_surrogates_bytes(bytes: &[u8]) -> Vec<u8> {
    let mut replaced = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((&first, tail)) = rest.split_first() {
        if let [0xED, 0xA0..=0xBF, 0x80..=0xBF, after @ ..] = rest {
            replaced.extend_from_slice("\u{FFFD}".as_bytes());
            rest = after;
        } else {
            replaced.push(first);
            rest = tail;
        }
    }
    replaced
}
