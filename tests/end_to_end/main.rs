//! The real program, end to end: real HTTPS, the real event log, the real ClickHouse engine, real processes that are
//! really killed. Nothing here is mocked; what stands in for Slack and for object storage speaks HTTP.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test that cannot go on fails, and says why"
)]

// Once is enough for what asks ClickHouse or looks at pages, whatever the log is: this, and others below.
#[cfg(not(feature = "test-kafka"))]
mod access;
mod alert_rules;
mod alerts;
mod bad_input;
#[cfg(not(feature = "test-kafka"))]
mod browser;
mod chaos;
mod commands;
mod contents;
mod costs;
#[cfg(not(feature = "test-kafka"))]
mod dashboards;
mod dead_letters;
#[cfg(not(feature = "test-kafka"))]
mod documented;
mod duplicates;
mod exactness;
mod fetch_retry;
mod ground_truth;
mod harness;
mod kills;
mod leadership;
// It takes the embedded log's files apart.
#[cfg(not(feature = "test-kafka"))]
mod ledger;
mod live_page;
#[cfg(not(feature = "test-kafka"))]
mod migrations;
mod receivers;
mod reports;
mod restarts;
// No event goes through the log in these.
#[cfg(not(feature = "test-kafka"))]
mod rollups;
mod samples;
// Neither does one in these.
#[cfg(not(feature = "test-kafka"))]
mod scenarios;
mod slack;
mod storage_faults;
mod tools;
mod totals;
mod verify;
