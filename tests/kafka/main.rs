//! A Kafka broker of its own, which is stopped and killed, or lets nobody in without credentials (`secure`), and several
//! processes that share the work over it. All of it is real: the broker, ClickHouse, the processes and the signals.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test that cannot go on fails, and says why; a long one says what it did"
)]

mod broker;
mod chaos;
mod clickhouse;
mod cluster;
mod distributed;
#[path = "../end_to_end/ground_truth/mod.rs"]
mod ground_truth;
#[expect(dead_code, reason = "the end-to-end tests use all of it")]
#[path = "../end_to_end/harness.rs"]
mod harness;
#[path = "../end_to_end/kills.rs"]
mod kills;
mod log;
mod outages;
mod secure;
#[path = "../end_to_end/totals.rs"]
mod totals;
