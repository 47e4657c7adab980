//! Helicone's API: what it takes back about a call, and what it still knows of one.
//!
//! Calls are bounded in time, in size of the answer, and in number, so that this program stays below the API's limits
//! rather than running into them. What fails for a moment can be asked again after the time that the answer says. The key
//! is in no error and no log, nor is the URL, whose host may be private.

mod client;
mod error;

pub use client::{HeliconeApi, KnownRequest, ScoreValue};
pub use error::HeliconeApiError;

/// Helicone's own API in the US. Europe's is `https://eu.api.helicone.ai`.
pub const DEFAULT_URL: &str = "https://api.helicone.ai";
