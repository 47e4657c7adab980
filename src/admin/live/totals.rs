//! Totals of a range: in sum, over time, by model, by user. All of them from rollups, none from the calls.

use std::fmt::Write as _;

use clickhouse::Row;
use serde::Deserialize;

use super::{
    params::Selection,
    range::{Comparison, Grain, Segment, UserMinutes, cover},
    source::{Part, Source},
};
use crate::domain::UtcMillis;

/// Rows of a table by model or by user; a page is for looking, and SQL for the rest.
pub(super) const MAX_GROUPS: usize = 40;

/// What a page is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    All,
    Model(String),
    User(String),
}

/// Whose totals are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tables {
    ByModel,
    ByUser,
}

impl Tables {
    /// Of the rows, whose latency sketches merge exactly.
    const fn name(self, grain: Grain) -> &'static str {
        match (self, grain) {
            (Self::ByModel, Grain::Minute) => "model_minute_rows",
            (Self::ByModel, Grain::Hour) => "model_hour_rows",
            (Self::ByModel, Grain::Day) => "model_day_rows",
            (Self::ByModel, Grain::Month) => "model_month_rows",
            (Self::ByUser, Grain::Minute) => "user_minute_rows",
            (Self::ByUser, Grain::Hour) => "user_hour_rows",
            (Self::ByUser, Grain::Day) => "user_day_rows",
            (Self::ByUser, Grain::Month) => "user_month_rows",
        }
    }
}

/// Of a stretch of time, or of a group in it.
#[derive(Clone, Debug, Default, Deserialize, Row)]
pub(super) struct Totals {
    /// Which stretch, model or user.
    pub(super) name: String,
    /// The model's providers.
    pub(super) detail: String,
    pub(super) requests: u64,
    pub(super) priced_requests: u64,
    /// Exact.
    pub(super) cost_usd: String,
    pub(super) total_tokens: u64,
    pub(super) priced_tokens: u64,
    pub(super) error_requests: u64,
    /// 50th, 95th and 99th percentile; not a number where none is known.
    pub(super) latency_ms: Vec<f64>,
}

/// One bucket of the charts.
#[derive(Clone, Debug, Default, Deserialize, Row)]
pub(super) struct Bucket {
    pub(super) from_seconds: u32,
    pub(super) requests: u64,
    pub(super) error_requests: u64,
    /// Exact.
    pub(super) cost_usd: String,
    pub(super) prompt_tokens: u64,
    pub(super) completion_tokens: u64,
    pub(super) latency_ms: Vec<f64>,
    pub(super) models: Vec<String>,
    /// Of each model, exact.
    pub(super) model_costs_usd: Vec<String>,
}

/// Today and this month, each beside the same time of the one before, and the chosen range.
#[derive(Clone, Debug, Default)]
pub(super) struct Periods {
    pub(super) today: Totals,
    pub(super) yesterday: Totals,
    pub(super) month: Totals,
    pub(super) last_month: Totals,
    pub(super) range: Totals,
}

const SUMS: &str = "sum(t.requests) AS requests, sum(t.priced_requests) AS priced_requests, \
    toString(sum(t.cost_usd)) AS cost_usd, sum(t.total_tokens) AS total_tokens, sum(t.priced_tokens) AS priced_tokens, \
    sum(t.error_requests) AS error_requests";
const LATENCY: &str = "quantilesDDMerge(0.01, 0.5, 0.95, 0.99)(t.latency_quantiles) AS latency_ms";
const COLUMNS: &str =
    "bucket, requests, priced_requests, cost_usd, total_tokens, priced_tokens, error_requests, latency_quantiles";

/// Reads totals of a scope and selection.
#[derive(Clone, Copy, Debug)]
pub(super) struct TotalsOf<'a> {
    pub(super) source: &'a Source,
    pub(super) selection: &'a Selection,
    pub(super) scope: &'a Scope,
    pub(super) now: UtcMillis,
}

impl TotalsOf<'_> {
    fn conditions(&self) -> String {
        let mut conditions = String::new();
        if !self.selection.source.is_empty() {
            conditions.push_str(" AND source = {source:String}");
        }
        match self.scope {
            Scope::All => {}
            Scope::Model(_) => conditions.push_str(" AND model = {scope:String}"),
            Scope::User(_) => conditions.push_str(" AND user_id = {scope:String}"),
        }
        conditions
    }

    fn query(&self, text: &str) -> clickhouse::query::Query {
        let scope = match self.scope {
            Scope::All => "",
            Scope::Model(name) | Scope::User(name) => name,
        };
        self.source.query(text).param("source", &self.selection.source).param("scope", scope)
    }

    /// Rows of all segments, as a subquery.
    fn rows_of(&self, tables: Tables, segments: &[Segment], columns: &str) -> String {
        let conditions = self.conditions();
        let select = |segment: &Segment| {
            let (table, from, to) = (tables.name(segment.grain), segment.from.0 / 1_000, segment.to.0 / 1_000);
            format!(
                "SELECT {columns} FROM {table} FINAL WHERE bucket >= toDateTime({from}, 'UTC') \
                 AND bucket < toDateTime({to}, 'UTC'){conditions}"
            )
        };
        segments.iter().map(select).collect::<Vec<_>>().join(" UNION ALL ")
    }

    /// A user's totals are in the tables by user only.
    const fn tables(&self) -> Tables {
        match self.scope {
            Scope::All | Scope::Model(_) => Tables::ByModel,
            Scope::User(_) => Tables::ByUser,
        }
    }

    fn user_minutes(&self) -> UserMinutes {
        UserMinutes::of(self.source.user_minute_days, self.now)
    }

    fn range_segments(&self, tables: Tables) -> Vec<Segment> {
        match tables {
            Tables::ByModel => self.selection.range.segments(),
            Tables::ByUser => self.selection.range.kept_for_users(self.user_minutes()).segments(),
        }
    }

    /// Everything at the top of a page, by one query.
    pub(super) async fn periods(&self) -> Part<Periods> {
        let open_end = Grain::Month.next(self.now);
        let (today, month) = (Comparison::today(self.now), Comparison::month(self.now));
        let end = |to| match self.tables() {
            Tables::ByModel => to,
            Tables::ByUser => self.user_minutes().end(to),
        };
        let mut rows = String::new();
        for (name, segments) in [
            ("today", cover(today.from, open_end)),
            ("yesterday", cover(today.before.0, end(today.before.1))),
            ("month", cover(month.from, open_end)),
            ("last_month", cover(month.before.0, end(month.before.1))),
            ("range", self.range_segments(self.tables())),
        ] {
            let separator = if rows.is_empty() { "" } else { " UNION ALL " };
            let of_period = self.rows_of(self.tables(), &segments, &format!("'{name}' AS name, {COLUMNS}"));
            // Writing to a string cannot fail.
            let _ = write!(rows, "{separator}{of_period}");
        }
        let query =
            format!("SELECT t.name AS name, '' AS detail, {SUMS}, {LATENCY} FROM ({rows}) AS t GROUP BY t.name");
        let mut periods = Periods::default();
        for totals in self.source.rows::<Totals>(self.query(&query)).await? {
            let period = match totals.name.as_str() {
                "today" => &mut periods.today,
                "yesterday" => &mut periods.yesterday,
                "month" => &mut periods.month,
                "last_month" => &mut periods.last_month,
                _ => &mut periods.range,
            };
            *period = totals;
        }
        Ok(periods)
    }

    /// Totals over time, every bucket of the range up to now, also those without calls.
    pub(super) async fn series(&self) -> Part<Vec<Bucket>> {
        let tables = self.tables();
        let range = match tables {
            Tables::ByModel => self.selection.range,
            Tables::ByUser => self.selection.range.kept_for_users(self.user_minutes()),
        };
        let segment = range.series();
        let columns = format!("{COLUMNS}, model, prompt_tokens, completion_tokens");
        let rows = self.rows_of(tables, &[segment], &columns);
        let query = format!(
            "SELECT toUnixTimestamp(t.bucket) AS from_seconds, sum(t.requests) AS requests, sum(t.error_requests) AS error_requests, \
             toString(sum(t.cost_usd)) AS cost_usd, sum(t.prompt_tokens) AS prompt_tokens, \
             sum(t.completion_tokens) AS completion_tokens, {LATENCY}, \
             sumMap([toString(t.model)], [t.cost_usd]).1 AS models, \
             arrayMap(usd -> toString(usd), sumMap([toString(t.model)], [t.cost_usd]).2) AS model_costs_usd \
             FROM ({rows}) AS t GROUP BY t.bucket ORDER BY t.bucket"
        );
        let known = self.source.rows::<Bucket>(self.query(&query)).await?;
        Ok(every_bucket(known, segment, self.now))
    }

    /// The most expensive models first.
    pub(super) async fn by_model(&self) -> Part<Vec<Totals>> {
        let tables = self.tables();
        let (provider, detail) = match tables {
            Tables::ByModel => (
                "provider",
                "arrayStringConcat(arraySort(groupUniqArrayIf(toString(t.provider), t.provider != '')), ', ')",
            ),
            Tables::ByUser => ("'' AS provider", "''"),
        };
        let rows = self.rows_of(tables, &self.range_segments(tables), &format!("{COLUMNS}, model, {provider}"));
        let query = format!(
            "SELECT toString(t.model) AS name, {detail} AS detail, {SUMS}, {LATENCY} FROM ({rows}) AS t \
             GROUP BY t.model ORDER BY sum(t.cost_usd) DESC, sum(t.requests) DESC, name LIMIT {MAX_GROUPS}"
        );
        self.source.rows(self.query(&query)).await
    }

    /// The most expensive users first. Sketches are merged for those that are shown only: there may be many users.
    pub(super) async fn by_user(&self) -> Part<Vec<Totals>> {
        let segments = self.range_segments(Tables::ByUser);
        let rows = self.rows_of(Tables::ByUser, &segments, &format!("{COLUMNS}, user_id"));
        let costs = self.rows_of(Tables::ByUser, &segments, "user_id, cost_usd, requests");
        let query = format!(
            "SELECT t.user_id AS name, '' AS detail, {SUMS}, {LATENCY} FROM ({rows}) AS t \
             WHERE t.user_id IN (SELECT u.user_id FROM ({costs}) AS u GROUP BY u.user_id \
             ORDER BY sum(u.cost_usd) DESC, sum(u.requests) DESC, u.user_id LIMIT {MAX_GROUPS}) \
             GROUP BY t.user_id ORDER BY sum(t.cost_usd) DESC, sum(t.requests) DESC, name LIMIT {MAX_GROUPS}"
        );
        self.source.rows(self.query(&query)).await
    }

    /// Sources that have ever sent something.
    pub(super) async fn sources(&self) -> Part<Vec<String>> {
        let query = "SELECT DISTINCT toString(source) FROM model_month_rows ORDER BY 1 LIMIT 100";
        self.source.rows(self.source.query(query)).await
    }
}

/// With empty buckets in the gaps, none of them in the future.
fn every_bucket(known: Vec<Bucket>, segment: Segment, now: UtcMillis) -> Vec<Bucket> {
    let mut known = known.into_iter().peekable();
    std::iter::successors(Some(segment.from), |at| Some(segment.grain.next(*at)))
        .take_while(|at| *at < segment.to && *at <= now)
        .map(|at| {
            let from_seconds = u32::try_from(at.0 / 1_000).unwrap_or(u32::MAX);
            known
                .next_if(|known| known.from_seconds == from_seconds)
                .unwrap_or_else(|| Bucket { from_seconds, ..Bucket::default() })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_are_filled_and_the_future_is_left_out() {
        let bucket = |from_seconds, requests| Bucket { from_seconds, requests, ..Bucket::default() };
        let segment = Segment { grain: Grain::Minute, from: UtcMillis(0), to: UtcMillis(600_000) };
        let all = every_bucket(vec![bucket(60, 5), bucket(180, 7)], segment, UtcMillis(240_500));
        let told: Vec<(u32, u64)> = all.iter().map(|bucket| (bucket.from_seconds, bucket.requests)).collect();
        assert_eq!(told, [(0, 0), (60, 5), (120, 0), (180, 7), (240, 0)]);
    }
}
