//! Values that must never be printed.

use std::{fmt, path::Path};

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer};

/// Why a secret could not be read. Names the place, never the value.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// `env:NAME`, and NAME is not set.
    #[error("environment variable {0} is not set")]
    MissingVariable(String),
    /// `file:PATH`, and the file cannot be read.
    #[error("cannot read the secret file {path}: {source}")]
    File {
        /// The file named in the settings.
        path: String,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// An empty secret would let anyone sign.
    #[error("the secret is empty; set it to the value that the Helicone dashboard shows")]
    Empty,
}

/// A credential: wiped from memory when dropped, printed as `***`, serialized never.
#[derive(Clone)]
pub struct Secret(SecretString);

impl Secret {
    /// Takes a value as it is.
    #[must_use]
    pub fn new(value: impl Into<String>) -> Self {
        Self(SecretString::from(value.into()))
    }

    /// Reads a setting: `env:NAME`, `file:PATH`, or the value itself. Trailing line ends of a file are cut.
    ///
    /// # Errors
    /// [`SecretError`] when the place cannot be read or holds nothing.
    pub fn resolve(setting: &str) -> Result<Self, SecretError> {
        let value = if let Some(name) = setting.strip_prefix("env:") {
            std::env::var(name).map_err(|_| SecretError::MissingVariable(name.to_owned()))?
        } else if let Some(path) = setting.strip_prefix("file:") {
            std::fs::read_to_string(Path::new(path))
                .map_err(|source| SecretError::File { path: path.to_owned(), source })?
                .trim_end_matches(['\r', '\n'])
                .to_owned()
        } else {
            setting.to_owned()
        };
        if value.is_empty() {
            return Err(SecretError::Empty);
        }
        Ok(Self::new(value))
    }

    /// The value, for the one place that needs it. Do not format it.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.expose() == other.expose()
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let setting = String::deserialize(deserializer)?;
        Self::resolve(&setting).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_prints_its_value() {
        let secret = Secret::new("hunter2");
        assert_eq!(format!("{secret:?}"), "***");
    }

    #[test]
    fn reads_a_file_without_its_line_end() {
        let file = tempfile::NamedTempFile::new().expect("temporary file");
        std::fs::write(file.path(), "hunter2\n").expect("write");
        let secret = Secret::resolve(&format!("file:{}", file.path().display())).expect("readable");
        assert_eq!(secret.expose(), "hunter2");
    }

    #[test]
    fn says_which_place_is_missing() {
        let error = Secret::resolve("env:HELIOMETER_NO_SUCH_VARIABLE").expect_err("not set");
        assert_eq!(error.to_string(), "environment variable HELIOMETER_NO_SUCH_VARIABLE is not set");
        assert!(matches!(Secret::resolve(""), Err(SecretError::Empty)));
    }
}
