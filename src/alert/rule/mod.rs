//! Rules, checked: what is measured, for whom, and from when on it is too much.

use std::{
    collections::{BTreeMap, HashSet},
    time::Duration,
};

use jiff::tz::TimeZone;

use super::AlertError;
use crate::notify::{Quantity, Severity};

mod keys;
mod parse;

/// Rules beyond this are refused: each is a query per pass.
pub const MAX_RULES: usize = 1_000;

/// One of `[[alerts.rules]]`. Deserializing checks it: a `Rule` in hand can be evaluated.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Names the rule in state, metrics and messages. Unique.
    pub name: String,
    /// How urgent its alerts are.
    pub severity: Severity,
    /// Carried into messages and tables.
    pub labels: BTreeMap<String, String>,
    /// `for`: the condition must hold this long before it fires.
    pub hold: Duration,
    /// Fewer requests than this never fire.
    pub min_requests: u64,
    /// A firing window alert is repeated this often, `None` for never. Budgets never repeat.
    pub repeat_interval: Option<Duration>,
    /// The receivers of its alerts, in place of what `[[notifiers.routes]]` say.
    pub notifiers: Option<Vec<String>>,
    /// What is measured for each group.
    pub scope: Scope,
    /// Which requests count.
    pub filter: Filter,
    /// When it is too much.
    pub condition: Condition,
}

/// When a rule's measure is too much.
#[derive(Clone, Debug)]
pub enum Condition {
    /// A total since the start of a calendar period: kinds `budget` and `usage`.
    Total(Total),
    /// A statistic over the last while: kinds `latency`, `efficiency` and `policy`.
    Window(Window),
}

/// A total against a limit, with thresholds in percent of it.
#[derive(Clone, Debug)]
pub struct Total {
    /// `budget` or `usage`.
    pub kind: &'static str,
    /// What restarts the count.
    pub period: Period,
    /// Where the calendar is read.
    pub timezone: TimeZone,
    /// The limit of every group; its unit says what is summed.
    pub limit: Quantity,
    /// Other limits for some groups, in the same unit.
    pub overrides: BTreeMap<String, Quantity>,
    /// Percent of the limit, ascending, each once.
    pub thresholds: Vec<u32>,
}

impl Total {
    /// The limit of `group`.
    #[must_use]
    pub fn limit_of(&self, group: &str) -> Quantity {
        self.overrides.get(group).copied().unwrap_or(self.limit)
    }
}

/// A statistic over a window that ends now.
#[derive(Clone, Debug)]
pub struct Window {
    /// What is computed.
    pub measure: Measure,
    /// How far back.
    pub window: Duration,
    /// The window as the settings wrote it, for messages.
    pub window_text: String,
}

/// What a window rule computes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Measure {
    /// Latency over `threshold_ms` milliseconds.
    Latency {
        /// Of all the window's requests.
        statistic: Statistic,
        /// Above this it fires.
        threshold_ms: f64,
    },
    /// The share of requests whose prompt tokens / completion tokens is above `max_token_ratio`.
    Efficiency {
        /// Above this a request is inefficient.
        max_token_ratio: f64,
        /// From this share on it fires, in percent.
        share_percent: f64,
    },
    /// Requests that the policy of the rule's name matched (`[[contents.policies]]`).
    Policy {
        /// From so many on it fires.
        min_matches: u64,
    },
}

impl Measure {
    /// The limit with its unit.
    #[must_use]
    pub const fn limit(self) -> Quantity {
        match self {
            Self::Latency { threshold_ms, .. } => Quantity::Milliseconds(threshold_ms),
            Self::Efficiency { share_percent, .. } => Quantity::Percent(share_percent),
            Self::Policy { min_matches } => Quantity::Requests(min_matches),
        }
    }

    /// Whether `value` is too much: above a latency, from a share on (so that 100 % can be reached).
    #[must_use]
    pub fn is_over(self, value: Quantity) -> bool {
        match self {
            Self::Latency { threshold_ms, .. } => value.as_f64() > threshold_ms,
            Self::Efficiency { share_percent, .. } => value.as_f64() >= share_percent,
            Self::Policy { .. } => value.has_reached(self.limit(), 100),
        }
    }
}

/// Which latency of a window counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Statistic {
    /// Any request over the threshold; grouped, never one message per request.
    Each,
    /// The median.
    P50,
    /// The 95th percentile.
    P95,
    /// The 99th percentile.
    P99,
    /// The mean.
    Avg,
    /// The slowest.
    Max,
}

impl Statistic {
    pub(super) const ALL: [(&'static str, Self); 6] = [
        ("each", Self::Each),
        ("p50", Self::P50),
        ("p95", Self::P95),
        ("p99", Self::P99),
        ("avg", Self::Avg),
        ("max", Self::Max),
    ];
}

/// What a rule is applied to, one by one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Everything together.
    All,
    /// Every model.
    Model,
    /// Every user.
    User,
    /// Every provider.
    Provider,
    /// Every source.
    Source,
}

impl Scope {
    pub(super) const ALL: [(&'static str, Self); 5] = [
        ("all", Self::All),
        ("model", Self::Model),
        ("user", Self::User),
        ("provider", Self::Provider),
        ("source", Self::Source),
    ];

    /// The word in settings, tables and messages.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Model => "model",
            Self::User => "user",
            Self::Provider => "provider",
            Self::Source => "source",
        }
    }

    /// The column of the views, `None` for everything together.
    #[must_use]
    pub const fn column(self) -> Option<&'static str> {
        match self {
            Self::All => None,
            Self::Model => Some("model"),
            Self::User => Some("user_id"),
            Self::Provider => Some("provider"),
            Self::Source => Some("source"),
        }
    }
}

/// Globs (`*`, `?`) by column; a request counts when every named column matches one of its globs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter(pub Vec<(Scope, Vec<String>)>);

impl Filter {
    /// Whether it looks at this column.
    #[must_use]
    pub fn uses(&self, scope: Scope) -> bool {
        self.0.iter().any(|(column, _)| *column == scope)
    }
}

/// What restarts a count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Period {
    /// The clock hour.
    Hour,
    /// The calendar day.
    Day,
    /// Monday to Sunday.
    Week,
    /// The calendar month.
    Month,
}

impl Period {
    pub(super) const ALL: [(&'static str, Self); 4] =
        [("hour", Self::Hour), ("day", Self::Day), ("week", Self::Week), ("month", Self::Month)];

    /// The word in settings and messages.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
        }
    }
}

impl Rule {
    /// The rule's kind as the settings write it.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match &self.condition {
            Condition::Total(total) => total.kind,
            Condition::Window(Window { measure: Measure::Latency { .. }, .. }) => "latency",
            Condition::Window(Window { measure: Measure::Efficiency { .. }, .. }) => "efficiency",
            Condition::Window(Window { measure: Measure::Policy { .. }, .. }) => "policy",
        }
    }

    /// What is measured, in words.
    #[must_use]
    pub fn measure_words(&self) -> String {
        match &self.condition {
            Condition::Total(total) => match total.limit {
                Quantity::Usd(_) => "spend".to_owned(),
                _ => "used".to_owned(),
            },
            Condition::Window(Window { measure, .. }) => match measure {
                Measure::Latency { statistic: Statistic::Each | Statistic::Max, .. } => "slowest request".to_owned(),
                Measure::Latency { statistic: Statistic::Avg, .. } => "average latency".to_owned(),
                Measure::Latency { statistic: Statistic::P50, .. } => "p50 latency".to_owned(),
                Measure::Latency { statistic: Statistic::P95, .. } => "p95 latency".to_owned(),
                Measure::Latency { statistic: Statistic::P99, .. } => "p99 latency".to_owned(),
                Measure::Efficiency { max_token_ratio, .. } => {
                    format!("share of requests over a token ratio of {max_token_ratio}")
                }
                Measure::Policy { .. } => "requests that the policy matched".to_owned(),
            },
        }
    }
}

/// Checks what single rules cannot know: that their names differ.
///
/// # Errors
/// [`AlertError::DuplicateRule`] or [`AlertError::TooManyRules`].
pub fn check_rules(rules: &[Rule]) -> Result<(), AlertError> {
    if rules.len() > MAX_RULES {
        return Err(AlertError::TooManyRules(rules.len()));
    }
    let mut names = HashSet::new();
    match rules.iter().find(|rule| !names.insert(rule.name.as_str())) {
        Some(twice) => Err(AlertError::DuplicateRule(twice.name.clone())),
        None => Ok(()),
    }
}
