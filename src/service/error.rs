//! Why the service cannot run.

use std::path::PathBuf;

use crate::{
    admin::AdminError,
    alert::AlertError,
    consumer::ConsumerError,
    contents::ContentsError,
    event_log::EventLogError,
    fetch::FetchError,
    ingress::IngressStartError,
    pricing::PricingError,
    settings::SettingsError,
    store::{StoreError, engine::EngineError},
};

/// A part that cannot start, or cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// Settings.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The data directory.
    #[error("cannot create the data directory {path}: {source}; set HELIOMETER_DATA_DIR to a directory you may write")]
    DataDir {
        /// Which directory.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The event log.
    #[error(transparent)]
    EventLog(#[from] EventLogError),
    /// The webhook listener.
    #[error(transparent)]
    Ingress(#[from] IngressStartError),
    /// The admin listener.
    #[error(transparent)]
    Admin(#[from] AdminError),
    /// ClickHouse.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The embedded engine.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// Fetching.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// The price book.
    #[error(transparent)]
    Pricing(#[from] PricingError),
    /// The consumer.
    #[error(transparent)]
    Consumer(#[from] ConsumerError),
    /// Alerts.
    #[error(transparent)]
    Alert(#[from] AlertError),
    /// Contents.
    #[error("contents: {0}")]
    Contents(#[from] ContentsError),
    /// A metric was registered twice.
    #[error("metrics cannot be set up: {0}")]
    Metrics(#[from] prometheus::Error),
    /// A part ended by itself.
    #[error("{0} has stopped; messages wait in the event log until the service runs again")]
    Stopped(&'static str),
}

impl ServiceError {
    /// 2 for what the settings can mend, 1 for everything else.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Settings(_) | Self::Fetch(_) | Self::Pricing(_) | Self::EventLog(EventLogError::Settings { .. }) => 2,
            _ => 1,
        }
    }
}
