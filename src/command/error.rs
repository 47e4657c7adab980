//! Why a command fails.

use crate::{
    alert::AlertError,
    pricing::PricingError,
    repricing::RepricingError,
    service::ServiceError,
    settings::SettingsError,
    store::{StoreError, engine::EngineError},
};

use super::simulate::SimulateError;

/// What is said on standard error, and the exit code.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// Settings.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The service.
    #[error(transparent)]
    Service(#[from] ServiceError),
    /// ClickHouse.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Costs could not be decided again.
    #[error(transparent)]
    Repricing(#[from] RepricingError),
    /// The embedded engine's own process.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// `simulate`
    #[error(transparent)]
    Simulate(#[from] SimulateError),
    /// The runtime.
    #[error("cannot start threads: {0}")]
    Runtime(std::io::Error),
    /// The path of this program.
    #[error("cannot find the path of this program: {0}")]
    Program(std::io::Error),
    /// Standard output.
    #[error("cannot write the output: {0}")]
    Output(#[from] std::io::Error),
    /// ClickHouse said no to a query.
    #[error("{0}")]
    Query(String),
    /// A query could not be brought to ClickHouse.
    #[error("ClickHouse cannot be reached: {0}; is `heliometer serve` running?")]
    Unreachable(String),
    /// Nobody may read contents on a server.
    #[error(
        "no user may read contents: set contents.reader_user and contents.reader_password to a user of the ClickHouse server \
         with SELECT on the tables contents and content_rows"
    )]
    NoContentsReader,
    /// Options that contradict each other.
    #[error("{0}")]
    Usage(String),
    /// A price book cannot be used.
    #[error(transparent)]
    Pricing(#[from] PricingError),
    /// A running `serve` was asked for something, and did not do it.
    #[error("{0}")]
    Serve(String),
    /// Alerts could not be evaluated, or silences not be kept.
    #[error(transparent)]
    Alerts(#[from] AlertError),
    /// A test event did not arrive.
    #[error("{0}")]
    Test(String),
}

impl CommandError {
    /// 2 for wrong usage or configuration, 1 for everything else.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Settings(_)
            | Self::Usage(_)
            | Self::Pricing(_)
            | Self::NoContentsReader
            | Self::Alerts(AlertError::Suppression(_)) => 2,
            Self::Service(error) => error.exit_code(),
            Self::Simulate(error) => error.exit_code(),
            _ => 1,
        }
    }
}
