//! Token usage and outcome, read from a provider's response body.
//!
//! Counters follow one convention, the gateway's: `prompt_tokens` are the input tokens without those read from or
//! written to a cache, which are counted beside it. Providers differ, see [`Counters`]. Bodies stay raw JSON: only the
//! few objects that matter are looked into.

mod body;
mod counters;

pub use body::{Body, ResponseFacts, ResponseStatus, StoredObject};
pub use counters::Usage;
