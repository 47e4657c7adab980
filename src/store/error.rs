//! What can go wrong with ClickHouse.

use super::engine::EngineError;

/// Why ClickHouse did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The server refused, or could not be reached.
    #[error("ClickHouse failed while {doing}: {message}")]
    ClickHouse {
        /// What was being done.
        doing: String,
        /// What the server or the client said.
        message: String,
    },
    /// No answer in time.
    #[error("ClickHouse did not answer within {seconds} s while {doing}")]
    Timeout {
        /// What was being done.
        doing: String,
        /// How long it was given.
        seconds: u64,
    },
    /// Another process leads now.
    #[error("another process keeps the rollups and sends the alerts of this database now")]
    Deposed,
    /// A migration that cannot be carried out on a cluster.
    #[error("the statement `{statement}` has a form that clickhouse.cluster does not know; use a release that does")]
    NotForCluster {
        /// Its first line.
        statement: String,
    },
    /// The embedded engine.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// A migration that was applied is no longer the same file.
    #[error(
        "migration {name} was changed after it had been applied here; restore the file and put the change into a new one"
    )]
    ChangedMigration {
        /// The file.
        name: String,
    },
    /// The database is newer than this program.
    #[error("the database has migration {name}, which this version of heliometer does not know; upgrade heliometer")]
    NewerDatabase {
        /// The file.
        name: String,
    },
}

impl StoreError {
    /// Wraps a client error with what was being done. ClickHouse's messages name tables and values of the query, which
    /// never hold bodies or secrets.
    pub(crate) fn clickhouse(doing: impl Into<String>) -> impl FnOnce(clickhouse::error::Error) -> Self {
        let doing = doing.into();
        move |error| Self::ClickHouse { doing, message: error.to_string().chars().take(1_000).collect() }
    }

    /// A bounded label for metrics.
    #[must_use]
    pub const fn label(&self) -> &'static str {
        match self {
            Self::ClickHouse { .. } => "clickhouse",
            Self::Timeout { .. } => "timeout",
            Self::Deposed => "deposed",
            Self::Engine(_) => "engine",
            Self::ChangedMigration { .. } | Self::NewerDatabase { .. } | Self::NotForCluster { .. } => "migration",
        }
    }
}
