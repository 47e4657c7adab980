//! Who sent what: sources, request ids and the key that makes a request countable once.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Why a name or id is refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum IdentityError {
    /// Empty, or only white space.
    #[error("must not be empty")]
    Empty,
    /// Longer than the bound for its kind, in bytes.
    #[error("is {length} bytes long; the limit is {max}")]
    TooLong {
        /// Length in bytes.
        length: usize,
        /// The bound in bytes.
        max: usize,
    },
    /// A source name stands in URLs, labels and file names.
    #[error("may hold only a-z, 0-9, '-' and '_'")]
    Characters,
}

/// Helicone's `request_id`: the identity of one LLM call within its source, 1 to 256 bytes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct RequestId(String);

impl RequestId {
    /// A UUID in practice; anything the sender may choose is bounded here.
    pub const MAX_BYTES: usize = 256;

    /// Checks and takes an id.
    ///
    /// # Errors
    /// [`IdentityError`] when it is empty or too long.
    pub fn new(text: impl Into<String>) -> Result<Self, IdentityError> {
        let text = text.into();
        if text.trim().is_empty() {
            return Err(IdentityError::Empty);
        }
        if text.len() > Self::MAX_BYTES {
            return Err(IdentityError::TooLong { length: text.len(), max: Self::MAX_BYTES });
        }
        Ok(Self(text))
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The id as text, by value.
    #[must_use]
    pub fn into_string(self) -> String {
        self.0
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The name of a configured sender: 1 to 64 of `a-z 0-9 - _`. A bounded set, hence fit for metric labels.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SourceName(std::sync::Arc<str>);

impl SourceName {
    const MAX_BYTES: usize = 64;

    /// Checks and takes a name.
    ///
    /// # Errors
    /// [`IdentityError`] when it is empty, too long or has other characters.
    pub fn new(text: &str) -> Result<Self, IdentityError> {
        if text.is_empty() {
            return Err(IdentityError::Empty);
        }
        if text.len() > Self::MAX_BYTES {
            return Err(IdentityError::TooLong { length: text.len(), max: Self::MAX_BYTES });
        }
        if !text.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_')) {
            return Err(IdentityError::Characters);
        }
        Ok(Self(text.into()))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for SourceName {
    /// The source that `HELICONE_WEBHOOK_SECRET` configures and `POST /webhook` means.
    fn default() -> Self {
        Self("default".into())
    }
}

impl TryFrom<String> for SourceName {
    type Error = IdentityError;
    fn try_from(text: String) -> Result<Self, IdentityError> {
        Self::new(&text)
    }
}

impl From<SourceName> for String {
    fn from(name: SourceName) -> Self {
        name.0.as_ref().to_owned()
    }
}

impl fmt::Display for SourceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Identifies a request among all sources in 16 bytes, so that millions of recent ones fit in memory.
///
/// The first half of SHA-256 over source, a zero byte and request id: a sender cannot craft a collision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DedupeKey([u8; 16]);

impl DedupeKey {
    /// The key of `request_id` from `source`.
    #[must_use]
    pub fn new(source: &SourceName, request_id: &str) -> Self {
        let mut hasher = Sha256::new();
        hasher.update(source.as_str().as_bytes());
        hasher.update([0]);
        hasher.update(request_id.as_bytes());
        let digest = hasher.finalize();
        let mut key = [0; 16];
        key.copy_from_slice(&digest[..16]);
        Self(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn source_names_are_label_safe() {
        assert!(SourceName::new("team-a_1").is_ok());
        for (bad, why) in
            [("", IdentityError::Empty), ("Team", IdentityError::Characters), ("a/b", IdentityError::Characters)]
        {
            assert_eq!(SourceName::new(bad), Err(why), "{bad}");
        }
    }

    #[test]
    fn the_same_id_from_two_sources_is_two_requests() {
        let (a, b) = (SourceName::default(), SourceName::new("b").expect("valid"));
        assert_ne!(DedupeKey::new(&a, "x"), DedupeKey::new(&b, "x"));
        assert_eq!(DedupeKey::new(&a, "x"), DedupeKey::new(&a, "x"));
    }
}
