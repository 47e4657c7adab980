//! Rules, checked: what is measured, for whom, and from when on it is too much.

use std::{
    collections::{BTreeMap, HashSet},
    path::PathBuf,
    time::Duration,
};

use jiff::tz::TimeZone;

use super::AlertError;
use crate::notify::{Quantity, Severity};

mod keys;
mod kinds;
mod measure;
mod parse;

pub(crate) use keys::parse_duration;
pub(super) use keys::quantity_of;
pub use measure::{Measure, Spike, Statistic};
pub(super) use parse::MAX_NAME_BYTES;

/// Rules beyond this are refused: each is a query per pass.
pub const MAX_RULES: usize = 1_000;

/// One of `[[alerts.rules]]`. Deserializing checks it: a `Rule` in hand can be evaluated.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// Names the rule in state, metrics and messages. Unique.
    pub name: String,
    /// How urgent its alerts are.
    pub severity: Severity,
    /// Carried into messages and tables.
    pub labels: BTreeMap<String, String>,
    /// `for`: the condition must hold this long before it fires.
    pub hold: Duration,
    /// Once firing, it ends only after the condition was gone for this long; for windows.
    pub keep_firing_for: Duration,
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
#[derive(Clone, Debug, PartialEq)]
pub enum Condition {
    /// A total since the start of a calendar period: kinds `budget` and `usage`.
    Total(Total),
    /// What holds now or over the last while: all other kinds.
    Window(Window),
}

/// A total against a limit, with thresholds in percent of it.
#[derive(Clone, Debug, PartialEq)]
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
    /// Where more of them are read from, again and again.
    pub limit_source: Option<LimitSource>,
    /// Percent of the limit, ascending, each once.
    pub thresholds: Vec<u32>,
    /// Whether it is told when the period is on its way beyond the limit.
    pub forecast: bool,
}

/// Where limits of single users are read from. Those written in the rule go before them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LimitSource {
    /// A CSV file: a user and a limit a line.
    File(PathBuf),
    /// A query that gives columns `user_id` and `limit`.
    Query(String),
}

impl Total {
    /// The limit of `group`.
    #[must_use]
    pub fn limit_of(&self, group: &str) -> Quantity {
        self.overrides.get(group).copied().unwrap_or(self.limit)
    }
}

/// A statistic over a window that ends now.
#[derive(Clone, Debug, PartialEq)]
pub struct Window {
    /// What is computed.
    pub measure: Measure,
    /// How far back.
    pub window: Duration,
    /// The window as the settings wrote it, for messages; empty for what is as it is now.
    pub window_text: String,
}

impl Window {
    /// For people: `last 5m`, or `now`.
    #[must_use]
    pub fn label(&self) -> String {
        if self.window_text.is_empty() { "now".to_owned() } else { format!("last {}", self.window_text) }
    }
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
    /// Every combination of the labels that a query gives; of kind `sql` alone.
    Labels,
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
            Self::Labels => "labels",
        }
    }

    /// The column of the views, `None` for everything together.
    #[must_use]
    pub const fn column(self) -> Option<&'static str> {
        match self {
            Self::All | Self::Labels => None,
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
            Condition::Window(window) => window.measure.kind(),
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
            Condition::Window(window) => window.measure.words(),
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
