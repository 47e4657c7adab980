//! Which views answer a sum over a time.

use jiff::tz::TimeZone;

use super::{
    super::{
        period::Span,
        rule::{Filter, Period, Scope},
    },
    Bind, Sql,
};

const MINUTE_MS: i64 = 60_000;
pub(in crate::alert) const HOUR_MS: i64 = 3_600_000;
pub(in crate::alert) const DAY_MS: i64 = 24 * HOUR_MS;

/// Money, tokens, requests and priced requests of all rows of [`push_rows`].
pub(in crate::alert) const SUMS: &str = "toDecimal128(ifNull(sum(cost_usd), 0), 12) AS usd, toUInt64(ifNull(sum(total_tokens), 0)) AS tokens, \
     toUInt64(sum(requests)) AS reqs, toUInt64(sum(priced_requests)) AS priced";

/// A view to sum over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::alert) enum View {
    ModelMinute,
    ModelHour,
    ModelDay,
    ModelMonth,
    UserHour,
    UserDay,
    UserMonth,
    Requests,
}

/// A time that one view answers, from its start until before its end, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::alert) struct Part {
    pub(in crate::alert) view: View,
    pub(in crate::alert) start: i64,
    pub(in crate::alert) end: i64,
}

impl View {
    /// The parts of `span`, each from the coarsest view that has the columns and whose buckets do not straddle its edges.
    /// Buckets longer than `longest_ms` are not taken, as far as there are shorter ones. What lies within an hour is asked
    /// of the calls where users are asked for: their minutes are nearly as many, and kept for days only.
    pub(in crate::alert) fn cover(scope: Scope, filter: &Filter, span: &Span, longest_ms: i64) -> Vec<Part> {
        let by_user = scope == Scope::User || filter.uses(Scope::User);
        let by_provider = scope == Scope::Provider || filter.uses(Scope::Provider);
        let (month, grains): (Self, &[(Self, i64)]) = match (by_user, by_provider) {
            // No rollup knows both.
            (true, true) => (Self::Requests, &[]),
            (true, false) => (Self::UserMonth, &[(Self::UserDay, DAY_MS), (Self::UserHour, HOUR_MS)]),
            (false, _) => (
                Self::ModelMonth,
                &[(Self::ModelDay, DAY_MS), (Self::ModelHour, HOUR_MS), (Self::ModelMinute, MINUTE_MS)],
            ),
        };
        if longest_ms > DAY_MS && is_month_in_utc(span) {
            return vec![Part { view: month, start: span.start.0, end: span.end.0 }];
        }
        let finest = grains.last().map_or(0, |(_, unit)| *unit);
        let skipped = grains.iter().take_while(|(_, unit)| *unit > longest_ms.max(finest)).count();
        let mut parts = Vec::new();
        fill(&mut parts, &grains[skipped..], span.start.0, span.end.0);
        if parts.is_empty() {
            // A period that has just begun.
            parts.push(Part { view: month, start: span.start.0, end: span.end.0 });
        }
        parts
    }

    pub(in crate::alert) const fn name(self) -> &'static str {
        match self {
            Self::ModelMinute => "model_minute",
            Self::ModelHour => "model_hour",
            Self::ModelDay => "model_day",
            Self::ModelMonth => "model_month",
            Self::UserHour => "user_hour",
            Self::UserDay => "user_day",
            Self::UserMonth => "user_month",
            Self::Requests => "requests",
        }
    }

    /// How long a row's calls were made after its time, at most.
    const fn bucket_seconds(self) -> i64 {
        match self {
            Self::ModelMinute => 60,
            Self::ModelHour | Self::UserHour => 3_600,
            Self::ModelDay | Self::UserDay => 86_400,
            Self::ModelMonth | Self::UserMonth => 31 * 86_400,
            Self::Requests => 1,
        }
    }
}

/// Buckets of any length.
pub(in crate::alert) const ANY_LENGTH: i64 = i64::MAX;

fn fill(parts: &mut Vec<Part>, grains: &[(View, i64)], start: i64, end: i64) {
    if start >= end {
        return;
    }
    let Some(((view, unit), finer)) = grains.split_first() else {
        return parts.push(Part { view: View::Requests, start, end });
    };
    let first = (start + unit - 1).div_euclid(*unit) * unit;
    let last = end.div_euclid(*unit) * unit;
    if first >= last {
        return fill(parts, finer, start, end);
    }
    fill(parts, finer, start, first);
    parts.push(Part { view: *view, start: first, end: last });
    fill(parts, finer, last, end);
}

/// The rows of all parts, as a subquery with the columns `name` (what `name` gives), `t`, `bucket_seconds`, `cost_usd`,
/// `total_tokens`, `requests` and `priced_requests`. `narrow` adds conditions to each part.
pub(in crate::alert) fn push_rows(sql: &mut Sql, parts: &[Part], name: &str, narrow: impl Fn(&mut Sql)) {
    sql.push("(");
    for (index, Part { view, start, end }) in parts.iter().enumerate() {
        if index > 0 {
            sql.push(" UNION ALL ");
        }
        let seconds = view.bucket_seconds();
        let table = view.name();
        if *view == View::Requests {
            sql.push(&format!(
                "SELECT {name} AS name, toDateTime(event_time) AS t, {seconds} AS bucket_seconds, cost_usd, total_tokens, \
                 toUInt64(1) AS requests, toUInt64(cost_usd IS NOT NULL) AS priced_requests FROM {table} \
                 WHERE event_time >= fromUnixTimestamp64Milli(?, 'UTC') AND event_time < fromUnixTimestamp64Milli(?, 'UTC') \
                 AND NOT is_test"
            ));
            sql.bind(Bind::Int(*start)).bind(Bind::Int(*end));
        } else {
            sql.push(&format!(
                "SELECT {name} AS name, bucket AS t, {seconds} AS bucket_seconds, cost_usd, total_tokens, requests, \
                 priced_requests FROM {table} WHERE bucket >= toDateTime(?, 'UTC') AND bucket < toDateTime(?, 'UTC')"
            ));
            sql.bind(Bind::Int(start.div_euclid(1000))).bind(Bind::Int(end.div_euclid(1000)));
        }
        narrow(sql);
    }
    sql.push(")");
}

/// A part of a month is none, though it may start and end at midnight.
fn is_month_in_utc(span: &Span) -> bool {
    let month = Period::Month.span_at(&TimeZone::UTC, span.start);
    month.is_ok_and(|month| (month.start, month.end) == (span.start, span.end))
}
