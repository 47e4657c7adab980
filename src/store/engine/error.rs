//! What can go wrong with the embedded engine.

use std::path::PathBuf;

/// Why the embedded engine is not there.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// `libchdb.so` was not found.
    #[error(
        "the embedded ClickHouse engine is not installed (looked in: {looked_in}). \
         Run `make engine` to fetch it, set clickhouse.engine_library, or set clickhouse.url to use a server"
    )]
    LibraryMissing {
        /// Comma-separated paths.
        looked_in: String,
    },
    /// The port belongs to someone else.
    #[error("port {port} is taken; set {key} to another port, or to 0 for any free one")]
    PortTaken {
        /// The port.
        port: u16,
        /// The settings key that names it.
        key: &'static str,
    },
    /// A file or process operation failed.
    #[error("{doing}: {source}")]
    Io {
        /// What was being done.
        doing: String,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The child never answered.
    #[error("the embedded ClickHouse engine does not come up; the last words in {log} are: {last_words}")]
    NotReady {
        /// The engine's log.
        log: PathBuf,
        /// The log's last line.
        last_words: String,
    },
    /// The engine's built-in user can do more than boot.
    #[error(
        "the embedded engine lets its user `default` read files of this machine; it was stopped. \
         This version of the engine is not the pinned one: run `make engine`"
    )]
    OpenToAnyone,
    /// The library cannot be loaded or lacks a function.
    #[error("cannot load {path}: {message}; run `make engine` again, it needs x86-64 with AVX2 and glibc")]
    Load {
        /// The library.
        path: PathBuf,
        /// What the loader said.
        message: String,
    },
    /// The engine ended with an error.
    #[error("the engine stopped: {0}")]
    Stopped(String),
    /// Randomness for the passwords.
    #[error("the system gave no randomness for a password: {0}")]
    Randomness(String),
}

impl EngineError {
    /// Wraps an I/O error with what was being done.
    pub(super) fn io(doing: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let doing = doing.into();
        move |source| Self::Io { doing, source }
    }
}
