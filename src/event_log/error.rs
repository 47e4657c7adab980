//! What can go wrong in the event log.

use std::path::PathBuf;

/// Why the event log did not do what it was asked.
#[derive(Clone, Debug, thiserror::Error)]
pub enum EventLogError {
    /// The record is larger than the log takes.
    #[error("a record of {size_bytes} bytes is over the log's limit of {max_bytes}; raise event_log.max_record_bytes")]
    RecordTooLarge {
        /// Size of the refused record.
        size_bytes: usize,
        /// The limit.
        max_bytes: usize,
    },
    /// Not durable within the time allowed, or too many appends are waiting.
    #[error(
        "the event log did not take the record in time; check the disk (or broker) and heliometer_event_log_* metrics"
    )]
    Overloaded,
    /// A setting cannot be.
    #[error("event_log.{key}: {message}")]
    Settings {
        /// Which setting, without its section.
        key: String,
        /// What is wrong and what to do; never a secret.
        message: String,
    },
    /// The log was closed, at shutdown.
    #[error("the event log is closed")]
    Closed,
    /// The disk is full or past its bound.
    #[error(
        "the event log at {path} has no room left: free disk space or raise event_log.max_disk_bytes (of the \
         spool: event_log.spool_max_disk_bytes)"
    )]
    DiskFull {
        /// Where the log lives.
        path: PathBuf,
    },
    /// Reading or writing failed.
    #[error("event log storage failed while {doing}: {message}")]
    Storage {
        /// What was being done.
        doing: &'static str,
        /// What the storage said.
        message: String,
    },
    /// What was read is not what was written.
    #[error("event log record {partition}/{offset} is damaged: {message}")]
    Corrupt {
        /// The partition.
        partition: u16,
        /// The offset within it.
        offset: u64,
        /// What is wrong.
        message: String,
    },
}

impl EventLogError {
    /// A bounded label for metrics.
    #[must_use]
    pub const fn label(&self) -> &'static str {
        match self {
            Self::RecordTooLarge { .. } => "record_too_large",
            Self::Overloaded => "overloaded",
            Self::Settings { .. } => "settings",
            Self::Closed => "closed",
            Self::DiskFull { .. } => "disk_full",
            Self::Storage { .. } => "storage",
            Self::Corrupt { .. } => "corrupt",
        }
    }
}
