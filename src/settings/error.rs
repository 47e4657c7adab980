//! Why the settings cannot be used, with what to do about it.

/// A mistake in the settings. All of these end the program with exit code 2.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// A key that no section has.
    #[error("{place}: unknown key `{key}`{suggestion}; known keys here: {known}")]
    UnknownKey {
        /// File or environment.
        place: String,
        /// The dotted path of the key.
        key: String,
        /// `, did you mean …?` or nothing.
        suggestion: String,
        /// Comma-separated.
        known: String,
    },
    /// A value of the wrong type or outside its range.
    #[error("{place}: {key}: {message}")]
    Value {
        /// File or environment.
        place: String,
        /// The dotted path of the key.
        key: String,
        /// What is wrong with it.
        message: String,
    },
    /// The file named on the command line or in `HELIOMETER_CONFIG` is not there.
    #[error("settings file {0} does not exist; leave --config and HELIOMETER_CONFIG out to run on defaults")]
    MissingFile(String),
    /// No source can be verified.
    #[error(
        "no webhook secret is set. Copy the signing key from the Helicone dashboard (Settings → Webhooks) and run\n  \
         export HELICONE_WEBHOOK_SECRET=…\nor name sources with secrets in heliometer.toml under [[sources]]"
    )]
    NoSecret,
    /// Two sources of one name.
    #[error("sources: the name `{0}` is used twice")]
    DuplicateSource(String),
    /// A secret could not be read.
    #[error("{key}: {source}")]
    Secret {
        /// Where the secret was wanted.
        key: String,
        /// Why it could not be read.
        source: crate::domain::SecretError,
    },
}
