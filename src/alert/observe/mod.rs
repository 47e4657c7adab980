//! One query per rule. SQL is put together from constants; everything else is bound.

use clickhouse::{Client, query::Query};

use super::{
    AlertError,
    period::Span,
    rule::{Condition, Filter, Measure, Rule, Scope, Window},
    transition::{GroupValue, Observation},
};
use crate::domain::UtcMillis;

mod forecast;
mod own_query;
mod pipeline;
mod requests;
mod spike;
mod total;
mod view;

pub(super) use forecast::{SpendOf, courses, forecasts};
pub(super) use own_query::rows;
pub(super) use pipeline::{Backlog, lag};
pub(super) use view::{ANY_LENGTH, HOUR_MS, Part, SUMS, View, push_rows};

/// What every query here is doing, for errors.
const DOING: &str = "evaluate an alert rule";

/// Groups looked at per rule, those with the highest values first.
pub(super) const MAX_GROUPS: usize = 10_000;
/// One more tells that there are more.
const GROUPS_AND_ONE: i64 = 10_001;
/// A request counts in a window when it *ended* in it; it began at most this much earlier.
const LONGEST_REQUEST: std::time::Duration = std::time::Duration::from_secs(3600);

/// A call may be 7 days older than its webhook (`consumer::draft`), and its stored object a day younger.
const OLDEST_JUDGED: std::time::Duration = std::time::Duration::from_secs(8 * 24 * 3600);

/// An event may be this much ahead of the clock here.
const CLOCK_TOLERANCE: std::time::Duration = std::time::Duration::from_secs(60);

/// A value to bind.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Bind {
    Text(String),
    Texts(Vec<String>),
    Int(i64),
    Float(f64),
}

/// A query and what is bound to its question marks, in order.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Sql {
    pub(super) text: String,
    pub(super) binds: Vec<Bind>,
}

impl Sql {
    pub(super) fn push(&mut self, text: &str) -> &mut Self {
        self.text.push_str(text);
        self
    }

    pub(super) fn bind(&mut self, value: Bind) -> &mut Self {
        self.binds.push(value);
        self
    }

    /// Ready to be sent.
    pub(super) fn query(self, client: &Client) -> Query {
        self.binds.into_iter().fold(client.query(&self.text), |query, bind| match bind {
            Bind::Text(text) => query.bind(text),
            Bind::Texts(texts) => query.bind(texts),
            Bind::Int(number) => query.bind(number),
            Bind::Float(number) => query.bind(number),
        })
    }
}

/// The group's name; the same text for all requests.
pub(super) fn group_expression(scope: Scope) -> String {
    scope.column().map_or_else(|| "''".to_owned(), |column| format!("toString({column})"))
}

/// ` AND (model LIKE ? OR model LIKE ?)`
pub(super) fn push_filter(sql: &mut Sql, filter: &Filter) {
    for (scope, globs) in &filter.0 {
        let Some(column) = scope.column() else { continue };
        let alternatives = vec![format!("{column} LIKE ?"); globs.len()].join(" OR ");
        sql.push(&format!(" AND ({alternatives})"));
        for glob in globs {
            sql.bind(Bind::Text(glob_to_like(glob)));
        }
    }
}

/// `gpt-4o*` as `gpt-4o%`. In `LIKE`, `\`, `%` and `_` of the text itself are escaped.
fn glob_to_like(glob: &str) -> String {
    let mut pattern = String::with_capacity(glob.len());
    for character in glob.chars() {
        match character {
            '*' => pattern.push('%'),
            '?' => pattern.push('_'),
            '%' | '_' | '\\' => pattern.extend(['\\', character]),
            other => pattern.push(other),
        }
    }
    pattern
}

/// Where answers come from.
#[derive(Clone, Copy)]
pub struct Engine<'a> {
    /// The database, with the service's rights.
    pub client: &'a Client,
    /// The same with the reader's rights, for queries of the settings.
    pub reader: Option<&'a Client>,
}

/// What a rule measures now. `active` are its groups that are pending or firing: they are looked at whatever their value.
pub(super) async fn observe(
    engine: Engine<'_>,
    rule: &Rule,
    span: Span,
    active: Vec<String>,
) -> Result<Observation, AlertError> {
    let client = engine.client;
    let mut groups: Vec<GroupValue> = match &rule.condition {
        Condition::Total(sum) => total::groups(client, rule, sum, &span, active).await?,
        Condition::Window(window) => match &window.measure {
            Measure::Latency { .. }
            | Measure::Efficiency { .. }
            | Measure::Policy { .. }
            | Measure::ErrorRate { .. } => requests::groups(client, rule, window, &span).await?,
            Measure::SpendSpike(spike) => spike::groups(client, rule, spike, &span).await?,
            Measure::NoData { active_within, .. } => {
                pipeline::no_data(client, rule, *active_within, &span, active).await?
            }
            Measure::UnpricedModel { .. } => pipeline::unpriced(client, rule, &span).await?,
            Measure::SignatureFailures { .. } => {
                pipeline::counted(client, rule, &span, &pipeline::SIGNATURE_FAILURES).await?
            }
            Measure::DeadLetters { .. } => pipeline::counted(client, rule, &span, &pipeline::DEAD_LETTERS).await?,
            Measure::Lag { .. } => {
                pipeline::lag(client, span.end).await?.map(Backlog::into_group).into_iter().collect()
            }
            Measure::Sql { query, .. } => own_query::groups(engine.reader, &rule.name, query).await?,
        },
    };
    let cut = groups.len() > MAX_GROUPS;
    groups.truncate(MAX_GROUPS);
    Ok(Observation { span, groups, cut })
}

/// Rows of `inspection_rows` that were written within the window, of calls that are not history.
pub(super) fn push_judged(sql: &mut Sql, span: &Span) {
    sql.push(
        " WHERE inserted_at >= fromUnixTimestamp64Milli(?, 'UTC') \
         AND event_time >= fromUnixTimestamp64Milli(?, 'UTC') AND NOT is_deleted",
    );
    sql.bind(Bind::Int(span.start.0)).bind(Bind::Int(span.start.minus(OLDEST_JUDGED).0));
}

/// Requests that ended within the window: a slow one begins long before anyone can know that it is slow.
pub(super) fn push_window(sql: &mut Sql, span: &Span) {
    sql.push(
        " WHERE event_time >= fromUnixTimestamp64Milli(?, 'UTC') AND event_time < fromUnixTimestamp64Milli(?, 'UTC') \
         AND toUnixTimestamp64Milli(event_time) + toInt64(ifNull(latency_ms, 0)) >= ? AND NOT is_test",
    );
    sql.bind(Bind::Int(span.start.minus(LONGEST_REQUEST).0));
    sql.bind(Bind::Int(span.end.plus(CLOCK_TOLERANCE).0)).bind(Bind::Int(span.start.0));
}

/// The window that ends at `now`.
pub(super) fn window_span(window: &Window, now: UtcMillis) -> Span {
    Span { start: now.minus(window.window), end: now, label: window.label() }
}

#[cfg(test)]
mod tests;
