//! Why Helicone's API did not do what it was asked.

use std::time::Duration;

/// A failed call. Never holds a key, a URL or a body.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeliconeApiError {
    /// May work later.
    #[error("{message}")]
    Transient {
        /// What happened.
        message: String,
        /// The API asked to wait this long.
        retry_after: Option<Duration>,
    },
    /// More would go beyond the API's limit.
    #[error("this program's share of the limit of Helicone's API is used up for the moment")]
    Limit,
    /// The key is not taken.
    #[error(
        "Helicone's API answered {status}: the API key is wrong or may not do this; create one in its dashboard (Settings → API Keys)"
    )]
    Key {
        /// 401 or 403.
        status: u16,
    },
    /// Helicone does not know the call.
    #[error("Helicone's API does not know the request")]
    UnknownRequest,
    /// Will not work, however often it is tried.
    #[error("{0}")]
    Final(String),
    /// The client cannot be set up.
    #[error("{0}")]
    Setup(String),
}
