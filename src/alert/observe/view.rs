//! Which view answers a total.

use jiff::tz::TimeZone;

use super::{
    super::{
        period::Span,
        rule::{Filter, Period, Scope},
    },
    Bind, Sql,
};

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;

/// A view to sum over, with the name of its time column and how one row counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::alert) enum View {
    ModelMinute,
    ModelDay,
    UserHour,
    UserMonth,
    Requests,
}

impl View {
    /// The coarsest view that has the columns and whose buckets do not straddle the period's edges.
    pub(in crate::alert) fn for_total(scope: Scope, filter: &Filter, period: Period, span: &Span) -> Self {
        let by_user = scope == Scope::User || filter.uses(Scope::User);
        let by_provider = scope == Scope::Provider || filter.uses(Scope::Provider);
        let whole = |unit: i64| span.start.0 % unit == 0 && span.end.0 % unit == 0;
        match (by_user, by_provider) {
            (true, false) if period == Period::Month && is_month_in_utc(span) => Self::UserMonth,
            (true, false) if whole(HOUR_MS) => Self::UserHour,
            (false, _) if whole(DAY_MS) => Self::ModelDay,
            (false, _) if whole(60_000) => Self::ModelMinute,
            // No rollup knows both users and providers, or starts within a minute.
            _ => Self::Requests,
        }
    }

    pub(in crate::alert) const fn name(self) -> &'static str {
        match self {
            Self::ModelMinute => "model_minute",
            Self::ModelDay => "model_day",
            Self::UserHour => "user_hour",
            Self::UserMonth => "user_month",
            Self::Requests => "requests",
        }
    }

    /// Expressions for money, tokens, requests and priced requests of all rows of a group.
    pub(in crate::alert) const fn sums(self) -> &'static str {
        match self {
            Self::Requests => {
                "toDecimal128(ifNull(sum(cost_usd), 0), 12) AS usd, toUInt64(ifNull(sum(total_tokens), 0)) AS tokens, \
                 toUInt64(count()) AS reqs, toUInt64(count(cost_usd)) AS priced"
            }
            _ => {
                "toDecimal128(ifNull(sum(cost_usd), 0), 12) AS usd, toUInt64(ifNull(sum(total_tokens), 0)) AS tokens, \
                 toUInt64(sum(requests)) AS reqs, toUInt64(sum(priced_requests)) AS priced"
            }
        }
    }

    /// Bounds the time to `span`.
    pub(in crate::alert) fn during(self, sql: &mut Sql, span: &Span) {
        if self == Self::Requests {
            sql.push(
                " WHERE event_time >= fromUnixTimestamp64Milli(?, 'UTC') \
                 AND event_time < fromUnixTimestamp64Milli(?, 'UTC') AND NOT is_test",
            );
            sql.bind(Bind::Int(span.start.0)).bind(Bind::Int(span.end.0));
        } else {
            sql.push(" WHERE bucket >= toDateTime(?, 'UTC') AND bucket < toDateTime(?, 'UTC')");
            sql.bind(Bind::Int(span.start.0.div_euclid(1000))).bind(Bind::Int(span.end.0.div_euclid(1000)));
        }
    }
}

/// A part of a month is none, though it may start and end at midnight.
fn is_month_in_utc(span: &Span) -> bool {
    let month = Period::Month.span_at(&TimeZone::UTC, span.start);
    month.is_ok_and(|month| (month.start, month.end) == (span.start, span.end))
}
