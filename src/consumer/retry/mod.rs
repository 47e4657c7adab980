//! Stored objects that could not be had at once: the topic `fetch-retry`.
//!
//! A row does not wait for its object longer than a few seconds. Then the webhook itself is appended to `fetch-retry`,
//! with a time before which it is of no use to ask again, and the row is written from the webhook alone. The
//! [`RetryConsumer`] reads the topic, lets each record wait for its turn (see [`waiting`]), asks once, and either writes
//! the row again, in a higher version, or appends the record once more with a later time. So a record is committed
//! when its object is in ClickHouse, or will never be, or a later record of the topic stands for it.
//!
//! Everything in the row's key comes from the webhook and from where it stood in the log, so asking twice is harmless:
//! after a crash, after a rebalance, or because the webhook was delivered again.
//!
//! Records behind a full waiting room are not read until there is room again, which is after
//! `fetch.retry_max_delay_ms` at the latest.

mod deferral;
mod task;
mod waiting;

pub(super) use deferral::{Deferral, defer};
pub use task::RetryConsumer;
