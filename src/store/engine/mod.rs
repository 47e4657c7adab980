//! The embedded ClickHouse: the real engine and its own HTTP server, in a child process.
//!
//! `libchdb.so` is ClickHouse as a library. It is loaded only in a child (the hidden command `heliometer engine`,
//! see [`child`]), never in the service itself, where its threads and signal handling would misbehave. To every
//! client the child is a ClickHouse server on loopback.
//!
//! Ownership: [`EmbeddedEngine`] owns a supervisor task; the task owns the child and the write end of the child's
//! standard input. That pipe is the child's life line: when the task drops it, or when the whole service dies, by
//! `kill -9` too, the child reads end-of-file, shuts the engine down cleanly and exits. So it is never orphaned.
//! A child that exits by itself or stops answering is started again with backoff, on the same ports.
//!
//! Rights: the service has a user with a password, readers have one that can only `SELECT` from the database; those of
//! `[[clickhouse.readers]]` see the rows of their own sources. The
//! engine's boot query runs as `default`, which has a quota of exactly the boot query's statements: afterwards that
//! user can read nothing, in particular not the machine's files.

pub mod child;
mod config;
mod error;
mod library;
mod readers;
mod supervisor;

pub use config::{Credentials, Endpoint};
pub use error::EngineError;
pub use library::find_library;
pub use supervisor::{EmbeddedEngine, EngineOptions};
