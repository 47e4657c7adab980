//! A Helicone that can be told what to send: signed webhooks of realistic shape, the storage server for their bodies,
//! and the exact totals that a correct receiver must show afterwards.
//!
//! Event *i* of seed *s* is always the same event, so nothing is remembered: the object's path carries the request id,
//! the request id carries the event number, and the body is made again when it is fetched. Only `created` and
//! `X-Amz-Date` come from a [`Clock`](crate::domain::Clock).
//!
//! `catalog` (models, prices, users) → `event` (facts) → `bodies`, `payload` (bytes) → `plan` → `schedule` → `send`
//! → `run`, with `storage` beside it and `expect` for the totals. `expect` shares no code with the receiver on purpose.

mod bodies;
mod catalog;
mod client;
mod error;
mod event;
mod expect;
mod expect_requests;
mod faults;
mod number_set;
mod payload;
mod plan;
mod random;
mod run;
#[cfg(test)]
mod run_tests;
mod schedule;
mod send;
mod storage;

pub use error::SimulatorError;
pub use expect::{CallStatus, CountedRequest, Expectation, ExpectedTotals, ModelSums, Sums, UserSums};
pub use faults::Faults;
pub use payload::Signer;
pub use plan::{Plan, PlanOptions, SimulatedEvent};
pub use run::{NoProgress, Progress, ProgressSink, Report, RunOptions, run};
pub use storage::FetchCounts;
