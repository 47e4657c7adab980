//! Why alerting cannot do something.

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

impl AlertError {
    /// For `map_err` on what the `clickhouse` crate returns.
    pub(super) fn while_doing(doing: &'static str) -> impl FnOnce(clickhouse::error::Error) -> Self {
        move |source| Self::ClickHouse { doing, source }
    }
}
