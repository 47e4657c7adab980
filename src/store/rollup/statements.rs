//! The SQL of a recomputation.

use std::fmt::Write;

use super::pass::Bucket;

/// How one rollup table is computed from a finer table.
pub(super) struct Recompute {
    /// For error messages.
    pub(super) doing: &'static str,
    target: &'static str,
    /// Columns that make a group, after `bucket` and `source`.
    group: &'static str,
    origin: &'static str,
    /// The bucket of an origin row.
    bucket_of: &'static str,
    /// Origin rows that can fall into buckets between `{first}` and `{last}` (unix seconds), for the primary key.
    range: &'static str,
    /// Which origin rows count at all.
    condition: &'static str,
    /// The aggregates over the origin, in the order of [`COLUMNS`].
    aggregates: &'static str,
}

const COLUMNS: &str = "requests, priced_requests, cost_usd, prompt_tokens, completion_tokens, total_tokens, priced_tokens, \
                       cached_tokens, inefficient_requests, error_requests, latency_state";

/// From deduplicated rows, called `o`. `sum` of nothing but NULLs is NULL, hence the `ifNull`s.
const FROM_ROWS: &str = "\
    count() AS requests, \
    countIf(o.cost_usd IS NOT NULL) AS priced_requests, \
    ifNull(sum(toDecimal128(o.cost_usd, 12)), toDecimal128(0, 12)) AS cost_usd, \
    ifNull(sum(o.prompt_tokens), 0) AS prompt_tokens, \
    ifNull(sum(o.completion_tokens), 0) AS completion_tokens, \
    ifNull(sum(o.total_tokens), 0) AS total_tokens, \
    ifNull(sumIf(o.total_tokens, o.cost_usd IS NOT NULL), 0) AS priced_tokens, \
    ifNull(sum(o.cached_tokens), 0) AS cached_tokens, \
    countIf(o.is_inefficient) AS inefficient_requests, \
    countIf(o.status = 'error') AS error_requests, \
    quantilesDDStateIf(0.01, 0.5, 0.95, 0.99)(assumeNotNull(o.latency_ms), o.latency_ms IS NOT NULL) AS latency_state";

/// From rows of a rollup, called `o`.
const FROM_ROLLUP: &str = "\
    sum(o.requests) AS requests, \
    sum(o.priced_requests) AS priced_requests, \
    sum(o.cost_usd) AS cost_usd, \
    sum(o.prompt_tokens) AS prompt_tokens, \
    sum(o.completion_tokens) AS completion_tokens, \
    sum(o.total_tokens) AS total_tokens, \
    sum(o.priced_tokens) AS priced_tokens, \
    sum(o.cached_tokens) AS cached_tokens, \
    sum(o.inefficient_requests) AS inefficient_requests, \
    sum(o.error_requests) AS error_requests, \
    quantilesDDMergeState(0.01, 0.5, 0.95, 0.99)(o.latency_state) AS latency_state";

/// What a group that exists contributes to its own recomputation: nothing. It makes vanished groups show up.
const NOTHING: &str = "\
    toUInt64(0), toUInt64(0), toDecimal128(0, 12), toUInt64(0), toUInt64(0), toUInt64(0), toUInt64(0), toUInt64(0), \
    toUInt64(0), toUInt64(0), quantilesDDStateIf(0.01, 0.5, 0.95, 0.99)(toUInt32(0), false)";

pub(super) const MODEL_MINUTE: Recompute = Recompute {
    doing: "recomputing minutes by model",
    target: "model_minute_rows",
    group: "model, provider",
    origin: "request_rows",
    bucket_of: "toStartOfMinute(event_time)",
    range: "event_time >= toDateTime({first}, 'UTC') AND event_time < toDateTime({last}, 'UTC') + INTERVAL 1 MINUTE",
    condition: "NOT is_test",
    aggregates: FROM_ROWS,
};

pub(super) const MODEL_DAY: Recompute = Recompute {
    doing: "recomputing days by model",
    target: "model_day_rows",
    group: "model, provider",
    origin: "model_minute_rows",
    bucket_of: "toStartOfDay(bucket)",
    range: "bucket >= toDateTime({first}, 'UTC') AND bucket < toDateTime({last}, 'UTC') + INTERVAL 1 DAY",
    condition: "true",
    aggregates: FROM_ROLLUP,
};

pub(super) const USER_HOUR: Recompute = Recompute {
    doing: "recomputing hours by user",
    target: "user_hour_rows",
    group: "user_id, model",
    origin: "request_rows",
    bucket_of: "toStartOfHour(event_time)",
    range: "event_time >= toDateTime({first}, 'UTC') AND event_time < toDateTime({last}, 'UTC') + INTERVAL 1 HOUR",
    condition: "NOT is_test",
    aggregates: FROM_ROWS,
};

pub(super) const USER_MONTH: Recompute = Recompute {
    doing: "recomputing months by user",
    target: "user_month_rows",
    group: "user_id, model",
    origin: "user_hour_rows",
    bucket_of: "toDateTime(toStartOfMonth(bucket), 'UTC')",
    range: "bucket >= toDateTime({first}, 'UTC') AND bucket < toDateTime({last}, 'UTC') + INTERVAL 1 MONTH",
    condition: "true",
    aggregates: FROM_ROLLUP,
};

impl Recompute {
    /// One statement that replaces all groups of `buckets`, which are sorted by source and start.
    pub(super) fn statement(&self, buckets: &[&Bucket], version: u64) -> String {
        let Self { target, group, origin, bucket_of, condition, aggregates, .. } = self;
        let first = buckets.iter().map(|bucket| bucket.start).min().unwrap_or(0);
        let last = buckets.iter().map(|bucket| bucket.start).max().unwrap_or(0);
        let range = self.range.replace("{first}", &first.to_string()).replace("{last}", &last.to_string());
        let wanted = tuples(buckets);
        format!(
            "INSERT INTO {target} (bucket, source, {group}, {COLUMNS}, version, is_deleted) \
             SELECT bucket_start, source, {group}, {FROM_ROLLUP}, toUInt64({version}), toUInt8(sum(o.requests) = 0) \
             FROM (\
               SELECT {bucket_of} AS bucket_start, source, {group}, {aggregates} \
               FROM {origin} AS o FINAL WHERE {range} AND (source, {bucket_of}) IN ({wanted}) AND {condition} \
               GROUP BY bucket_start, source, {group} \
               UNION ALL \
               SELECT bucket AS bucket_start, source, {group}, {NOTHING} \
               FROM {target} FINAL WHERE bucket >= toDateTime({first}, 'UTC') AND bucket <= toDateTime({last}, 'UTC') \
               AND (source, bucket) IN ({wanted}) GROUP BY bucket, source, {group}\
             ) AS o GROUP BY bucket_start, source, {group}"
        )
    }
}

/// `('source', toDateTime(1, 'UTC')), …` with quotes and `?` (the client's placeholder) escaped. Source names hold neither,
/// but a table may hold what an older version wrote.
fn tuples(buckets: &[&Bucket]) -> String {
    let mut list = String::with_capacity(buckets.len() * 48);
    for (index, bucket) in buckets.iter().enumerate() {
        let source = bucket.source.replace('\\', "\\\\").replace('\'', "\\'").replace('?', "??");
        let comma = if index == 0 { "" } else { ", " };
        // Writing to a String cannot fail.
        let _infallible = write!(list, "{comma}('{source}', toDateTime({}, 'UTC'))", bucket.start);
    }
    list
}
