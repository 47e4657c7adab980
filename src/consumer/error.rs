//! What can stop the consumer.

use crate::{event_log::EventLogError, helicone_api::HeliconeApiError, store::StoreError};

/// Why the consumer cannot go on. Passing failures are retried inside and never become one of these.
#[derive(Debug, thiserror::Error)]
pub enum ConsumerError {
    /// The log.
    #[error(transparent)]
    EventLog(#[from] EventLogError),
    /// ClickHouse.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Most messages cannot be understood, which is rarely their fault.
    #[error(
        "stopped before partition {partition}, offset {offset}: more than {max_share_percent} % of the last {window} messages \
         could not be understood (last reason: {reason}), and going on would make dead letters of them all. Nothing is lost: \
         messages wait in the event log. If this began with a release, go back to the one before; see what the messages lack \
         with `heliometer dead-letters list`. To go on all the same, raise limits.max_dead_letter_share_percent (100 is off)"
    )]
    TooManyDeadLetters {
        /// Partition of the first message left in the log.
        partition: u16,
        /// Its offset.
        offset: u64,
        /// What is wrong with it: `bad_json` or `no_request_id`.
        reason: &'static str,
        /// `limits.max_dead_letter_share_percent`
        max_share_percent: u8,
        /// `limits.dead_letter_window`
        window: usize,
    },
    /// A source's API cannot be set up.
    #[error("source {source_name}: {error}")]
    HeliconeApi {
        /// Which source.
        source_name: String,
        /// Why.
        error: HeliconeApiError,
    },
    /// A metric was registered twice.
    #[error("metrics cannot be set up: {0}")]
    Metrics(prometheus::Error),
    /// A task of the consumer died; what it worked on is not committed and will be read again.
    #[error("a consumer task failed: {0}; its messages will be read again after a restart")]
    Task(#[from] tokio::task::JoinError),
}
