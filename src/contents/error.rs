//! Why contents cannot be judged as the settings say.

/// A mistake in the section `contents` of the settings.
#[derive(Debug, thiserror::Error)]
pub enum ContentsError {
    /// A policy says something it cannot.
    #[error("policies: `{policy}`: {message}")]
    Policy {
        /// The policy's name.
        policy: String,
        /// What is wrong, where, and what is possible.
        message: String,
    },
    /// State and tables tell policies by name.
    #[error("policies: the name `{0}` is used twice; every policy needs its own, also among alert rules")]
    DuplicatePolicy(String),
    /// More policies than can be evaluated on every call within reason.
    #[error("policies: {0} are configured; the limit is {max}", max = super::policy::MAX_POLICIES)]
    TooManyPolicies(usize),
    /// A number outside its range.
    #[error("{key} must be between {least} and {most}")]
    Range {
        /// The key within the section.
        key: &'static str,
        /// The least value.
        least: u64,
        /// The greatest value.
        most: u64,
    },
    /// What is not looked for cannot be replaced or judged.
    #[error("detect_pii = false contradicts {0}, which need it; leave detect_pii out")]
    NeedsDetection(&'static str),
    /// A score goes nowhere.
    #[error(
        "policies: `{0}` gives scores, but no source has an API key. Create one in the Helicone dashboard (Settings → API \
         Keys) and set HELICONE_API_KEY for the source `default`, or sources.helicone_api_key"
    )]
    NoApiKey(String),
    /// The client of Helicone's API cannot be set up.
    #[error("source `{source_name}`: {error}")]
    Api {
        /// Whose API.
        source_name: String,
        /// What is wrong.
        error: crate::helicone_api::HeliconeApiError,
    },
    /// A metric is registered twice.
    #[error("cannot register a metric: {0}")]
    Metrics(#[from] prometheus::Error),
}
