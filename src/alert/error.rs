//! Why alerting cannot do something.

use std::time::Duration;

/// What can go wrong between a rule and a recorded alert.
#[derive(Debug, thiserror::Error)]
pub enum AlertError {
    /// A rule says something it cannot.
    #[error("rule `{rule}`: {message}")]
    Rule {
        /// The rule's name, or its place when it has none.
        rule: String,
        /// What is wrong, and what is possible.
        message: String,
    },
    /// The query of a rule does not give what it must.
    #[error("rule `{rule}`: its query: {message}")]
    Query {
        /// The rule's name.
        rule: String,
        /// What is wrong.
        message: String,
    },
    /// Silences, maintenance windows or inhibitions say something they cannot.
    #[error("{0}")]
    Suppression(String),
    /// A report goes to whom it cannot.
    #[error("{0}")]
    Report(String),
    /// State is kept by rule name.
    #[error("the rule name `{0}` is used twice; every rule needs its own, since state is kept by it")]
    DuplicateRule(String),
    /// More rules than are evaluated every second within reason.
    #[error("{0} rules are configured; the limit is {max}", max = super::MAX_RULES)]
    TooManyRules(usize),
    /// A query or insert failed; it is tried again.
    #[error("cannot {doing}: {source}")]
    ClickHouse {
        /// What was being done.
        doing: &'static str,
        /// What ClickHouse said.
        source: clickhouse::error::Error,
    },
    /// Whether this process may still alert is not known, or it may not.
    #[error(transparent)]
    Leadership(#[from] crate::store::StoreError),
    /// A time outside the calendar.
    #[error("cannot place {0} ms in the rule's time zone")]
    Time(i64),
    /// A metric is registered twice.
    #[error("cannot register a metric: {0}")]
    Metrics(#[from] prometheus::Error),
    /// A notifier cannot be set up.
    #[error(transparent)]
    Notifier(#[from] crate::notify::NotifyError),
}

/// ClickHouse stops a query by itself after `clickhouse.timeout_ms`; this is for connections that hang.
const CLICKHOUSE_TIMEOUT: Duration = Duration::from_secs(60);

/// Waits for `work`, but not for ever, and says what was being done when it fails.
pub(super) async fn bounded<T>(
    doing: &'static str,
    work: impl Future<Output = Result<T, clickhouse::error::Error>>,
) -> Result<T, AlertError> {
    match tokio::time::timeout(CLICKHOUSE_TIMEOUT, work).await {
        Ok(result) => result.map_err(|source| AlertError::ClickHouse { doing, source }),
        Err(_) => Err(AlertError::ClickHouse { doing, source: clickhouse::error::Error::TimedOut }),
    }
}
