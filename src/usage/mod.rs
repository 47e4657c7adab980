//! Token usage and outcome, read from a provider's response body.
//!
//! Counters follow one convention, the gateway's: `prompt_tokens` are the input tokens without those read from or
//! written to a cache, which are counted beside it, see [`Usage`]. Providers differ; each shape has its file in
//! `counters`, with the source of what its numbers mean.
//!
//! A body goes through these hands: `body` finds out whether it is JSON or text, `response` picks the members that tell
//! something, `counters` reads them; where a stream's merged body tells nothing, `stream` goes through its chunks. Bodies
//! stay raw JSON, borrowed from the message or the stored object: a body of 30 MB costs its bytes once. Nothing here
//! fails: what cannot be read is unknown. Nothing here may quote a body.

mod body;
mod counters;
mod json;
mod reported;
mod response;
mod stream;
mod text;

pub use body::{Body, ResponseFacts, ResponseStatus, StoredObject};
pub(crate) use reported::sum;
pub use reported::{ServiceTier, Usage};
#[cfg(test)]
pub(crate) mod tests;
