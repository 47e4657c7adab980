//! Kafka without a broker; with one under the feature `test-kafka`.

#[cfg(feature = "test-kafka")]
mod broker;
mod injected;
mod mapping;
mod tokens;
mod topic_check;
