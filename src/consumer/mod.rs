//! From the log to ClickHouse: decode → deduplicate → fetch → price and derive → batch → write → commit.
//!
//! One task owns the subscription and every partition's state, so nothing here is shared or locked. Fetches run
//! beside it, bounded in number; rows join the batch as their fetches end, in any order. An offset is committed when
//! it and every smaller one of its partition have their outcome in ClickHouse, so a crash at any point means that
//! some messages are read again, and everything before the write is a pure function of the message and of what
//! ClickHouse holds: processing them again writes the same rows under the same keys.
//!
//! A fetch that does not end in time goes on without its row: through the topic `fetch-retry`, see [`retry`]. What it
//! brings is a higher version of the same row.
//!
//! Memory is bounded by `limits.max_in_flight_records` and `limits.max_in_flight_bytes`: past them the log is not
//! read. When ClickHouse is away the batch is written again until it is back, and the log keeps the rest.

mod backoff;
mod batching;
mod bodies;
mod dead_letter;
mod decide;
mod draft;
mod error;
mod guard;
mod metrics;
mod offsets;
mod parts;
mod retry;
mod task;
mod tokens;

pub use bodies::ByIdApi;
pub use draft::{Draft, Judgement};
pub use error::ConsumerError;
pub use metrics::ConsumerMetrics;
pub use parts::ConsumerParts;
pub use retry::RetryConsumer;
pub use task::Consumer;

/// The consumer group of the topic `webhooks`.
pub const GROUP: &str = "heliometer";
/// The consumer group of the topic `fetch-retry`.
pub const RETRY_GROUP: &str = "fetch-retry";
