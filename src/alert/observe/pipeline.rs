//! What Heliometer says about its own work: silence, missing prices, refused webhooks, dead letters, the backlog.

use std::time::Duration;

use clickhouse::{Client, Row};
use serde::Deserialize;

use super::{
    super::{AlertError, error::bounded, period::Span, rule::Rule, transition::GroupValue},
    Bind, DOING, GROUPS_AND_ONE, Sql, group_expression, push_filter,
};
use crate::{domain::UtcMillis, notify::Quantity};

#[derive(Row, Deserialize)]
struct QuietRow {
    grp: String,
    last_seconds: i64,
    reqs: u64,
    priced: u64,
}

/// How long each group is quiet that had at least `min_requests` calls within `active_within`.
pub(super) async fn no_data(
    client: &Client,
    rule: &Rule,
    active_within: Duration,
    span: &Span,
    active: Vec<String>,
) -> Result<Vec<GroupValue>, AlertError> {
    let mut sql = Sql::default();
    sql.push(&format!(
        "SELECT {} AS grp, toInt64(toUnixTimestamp(max(bucket))) AS last_seconds, toUInt64(sum(requests)) AS reqs, \
         toUInt64(sum(priced_requests)) AS priced FROM model_minute",
        group_expression(rule.scope)
    ));
    push_minutes(&mut sql, span.end.minus(active_within), span.end);
    push_filter(&mut sql, &rule.filter);
    sql.push(" GROUP BY grp HAVING reqs >= ? OR has(?, grp) ORDER BY last_seconds, grp LIMIT ?");
    sql.bind(Bind::Int(i64::try_from(rule.min_requests.max(1)).unwrap_or(i64::MAX)));
    sql.bind(Bind::Texts(active)).bind(Bind::Int(GROUPS_AND_ONE));
    let rows: Vec<QuietRow> = bounded(DOING, sql.query(client).fetch_all()).await?;
    let quiet = |row: QuietRow| {
        // The last call came within its minute.
        let last = UtcMillis::from_seconds(row.last_seconds + 60);
        GroupValue {
            group: row.grp,
            value: Quantity::Seconds(span.end.since(last).as_secs_f64()),
            requests: row.reqs,
            priced_requests: row.priced,
            exceeding_requests: None,
            limit: None,
            note: format!(
                "The last call was made in the minute before {last}; {} calls within {} before now",
                row.reqs,
                Quantity::Seconds(active_within.as_secs_f64())
            ),
        }
    };
    Ok(rows.into_iter().map(quiet).collect())
}

/// The minutes that begin within the time: what is newer than `end` is not there yet.
pub(super) fn push_minutes(sql: &mut Sql, start: UtcMillis, end: UtcMillis) {
    sql.push(" WHERE bucket >= toDateTime(?, 'UTC') AND bucket <= toDateTime(?, 'UTC')");
    sql.bind(Bind::Int(start.0.div_euclid(1000))).bind(Bind::Int(end.0.div_euclid(1000)));
}

#[derive(Row, Deserialize)]
struct UnpricedRow {
    grp: String,
    reqs: u64,
    priced: u64,
}

/// Models with requests without a price.
pub(super) async fn unpriced(client: &Client, rule: &Rule, span: &Span) -> Result<Vec<GroupValue>, AlertError> {
    let mut sql = Sql::default();
    sql.push(&format!(
        "SELECT {} AS grp, toUInt64(sum(requests)) AS reqs, toUInt64(sum(priced_requests)) AS priced FROM model_minute",
        group_expression(rule.scope)
    ));
    push_minutes(&mut sql, span.start, span.end);
    push_filter(&mut sql, &rule.filter);
    sql.push(" GROUP BY grp HAVING reqs > priced ORDER BY reqs - priced DESC, grp LIMIT ?");
    sql.bind(Bind::Int(GROUPS_AND_ONE));
    let rows: Vec<UnpricedRow> = bounded(DOING, sql.query(client).fetch_all()).await?;
    let group = |row: UnpricedRow| {
        let unpriced = row.reqs.saturating_sub(row.priced);
        GroupValue {
            group: row.grp,
            value: Quantity::Requests(unpriced),
            requests: row.reqs,
            priced_requests: row.priced,
            exceeding_requests: Some(unpriced),
            limit: None,
            note: "Add a price (docs/pricing.md), then run heliometer reprice".to_owned(),
        }
    };
    Ok(rows.into_iter().map(group).collect())
}

/// A table of things that are counted.
pub(super) struct Counted {
    table: &'static str,
    time: &'static str,
    count: &'static str,
    note: &'static str,
}

pub(super) const SIGNATURE_FAILURES: Counted = Counted {
    table: "signature_failure_rows",
    time: "minute",
    count: "sum(failures)",
    note: "Helicone's signing key and the source's secrets differ, or somebody else is sending",
};
pub(super) const DEAD_LETTERS: Counted = Counted {
    table: "dead_letter_rows",
    time: "at",
    count: "count()",
    note: "heliometer dead-letters list shows them; they can be replayed",
};

#[derive(Row, Deserialize)]
struct CountRow {
    grp: String,
    counted: u64,
}

/// How much of it came within the window.
pub(super) async fn counted(
    client: &Client,
    rule: &Rule,
    span: &Span,
    what: &Counted,
) -> Result<Vec<GroupValue>, AlertError> {
    let mut sql = Sql::default();
    let (group, Counted { table, time, count, note }) = (group_expression(rule.scope), what);
    sql.push(&format!(
        "SELECT {group} AS grp, toUInt64({count}) AS counted FROM {table} FINAL \
         WHERE {time} >= toDateTime(?, 'UTC') AND {time} <= toDateTime(?, 'UTC')"
    ));
    sql.bind(Bind::Int(span.start.0.div_euclid(1000))).bind(Bind::Int(span.end.0.div_euclid(1000)));
    push_filter(&mut sql, &rule.filter);
    sql.push(" GROUP BY grp HAVING counted > 0 ORDER BY counted DESC, grp LIMIT ?").bind(Bind::Int(GROUPS_AND_ONE));
    let rows: Vec<CountRow> = bounded(DOING, sql.query(client).fetch_all()).await?;
    let group = |row: CountRow| GroupValue {
        group: row.grp,
        value: Quantity::counted(row.counted),
        requests: row.counted,
        priced_requests: 0,
        exceeding_requests: None,
        limit: None,
        note: (*note).to_owned(),
    };
    Ok(rows.into_iter().map(group).collect())
}

/// Messages that wait to be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::alert) struct Backlog {
    /// How many.
    pub(in crate::alert) messages: u64,
    /// How old the oldest may be: it came after the newest that has its outcome.
    pub(in crate::alert) oldest_at_most: Duration,
}

impl Backlog {
    /// For messages: what is not in the numbers yet.
    pub(in crate::alert) fn note(&self) -> String {
        let age = Quantity::Seconds(self.oldest_at_most.as_secs_f64());
        format!("Not in these numbers yet: {} messages, the oldest received at most {age} ago", self.messages)
    }

    pub(super) fn into_group(self) -> GroupValue {
        GroupValue {
            group: String::new(),
            value: Quantity::Seconds(self.oldest_at_most.as_secs_f64()),
            requests: self.messages,
            priced_requests: 0,
            exceeding_requests: None,
            limit: None,
            note: format!("{} messages wait to be stored, the oldest at most that long", self.messages),
        }
    }
}

#[derive(Row, Deserialize)]
struct BacklogRow {
    messages: u64,
    /// Milliseconds since 1970.
    done_at: i64,
}

/// What waits to be stored at `now`; `None` when nothing does.
pub(in crate::alert) async fn lag(client: &Client, now: UtcMillis) -> Result<Option<Backlog>, AlertError> {
    // Positions are written once a second, when they change.
    let query = "SELECT toUInt64(sum(waiting)) AS messages, \
             toInt64(min(if(done.at = 0, seen, done.at))) AS done_at \
         FROM (SELECT log_partition, toUInt64(end_offset - committed_offset) AS waiting, committed_offset, \
                 toUnixTimestamp64Milli(at) AS seen \
             FROM log_positions FINAL WHERE end_offset > committed_offset) AS positions \
         LEFT JOIN (SELECT log_partition, max(toUnixTimestamp64Milli(received_at)) AS at FROM outcome_rows \
             WHERE (log_partition, log_offset) IN (SELECT log_partition, committed_offset - 1 FROM log_positions FINAL \
                 WHERE end_offset > committed_offset AND committed_offset > 0) \
             GROUP BY log_partition) AS done ON done.log_partition = positions.log_partition";
    let row: BacklogRow = bounded("measure the backlog", client.query(query).fetch_one()).await?;
    Ok((row.messages > 0)
        .then(|| Backlog { messages: row.messages, oldest_at_most: now.since(UtcMillis(row.done_at)) }))
}
