//! What can stop the consumer.

use crate::{event_log::EventLogError, store::StoreError};

/// Why the consumer cannot go on. Passing failures are retried inside and never become one of these.
#[derive(Debug, thiserror::Error)]
pub enum ConsumerError {
    /// The log.
    #[error(transparent)]
    EventLog(#[from] EventLogError),
    /// ClickHouse.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A task of the consumer died; what it worked on is not committed and will be read again.
    #[error("a consumer task failed: {0}; its messages will be read again after a restart")]
    Task(#[from] tokio::task::JoinError),
}
