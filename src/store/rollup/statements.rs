//! The SQL of a recomputation.

use std::{collections::BTreeSet, fmt::Write};

use super::{
    grain::{Grain, Grouping, Table},
    pass::Bucket,
};

/// What a table is computed from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// The deduplicated rows.
    Rows,
    /// The table of the next finer grain.
    Finer(Table),
}

/// The totals, with how each is computed from deduplicated rows called `o`. `sum` of nothing but NULLs is NULL, hence the
/// `ifNull`s. Estimates are those of Horvitz and Thompson: a call that was sent with probability p stands for 1 / p calls,
/// and adds (1 - p) / p² times its value's square to the variance (Särndal, Swensson, Wretman: Model Assisted Survey
/// Sampling, 1992, section 3.2, Bernoulli sampling).
pub(super) const TOTALS: [(&str, &str); 18] = [
    ("requests", "count()"),
    ("priced_requests", "countIf(o.cost_usd IS NOT NULL)"),
    ("cost_usd", "ifNull(sum(toDecimal128(o.cost_usd, 12)), toDecimal128(0, 12))"),
    ("prompt_tokens", "ifNull(sum(o.prompt_tokens), 0)"),
    ("completion_tokens", "ifNull(sum(o.completion_tokens), 0)"),
    ("total_tokens", "ifNull(sum(o.total_tokens), 0)"),
    ("priced_tokens", "ifNull(sumIf(o.total_tokens, o.cost_usd IS NOT NULL), 0)"),
    ("cached_tokens", "ifNull(sum(o.cached_tokens), 0)"),
    ("inefficient_requests", "countIf(o.is_inefficient)"),
    ("error_requests", "countIf(o.status = 'error')"),
    ("estimated_requests", "sum(100 / toFloat64(o.sample_rate_percent))"),
    (
        "estimated_cost_usd",
        "ifNull(sum(toDecimal128(o.cost_usd, 12) * 100 / o.sample_rate_percent), toDecimal128(0, 12))",
    ),
    ("estimated_prompt_tokens", "ifNull(sum(o.prompt_tokens * 100 / toFloat64(o.sample_rate_percent)), 0)"),
    ("estimated_completion_tokens", "ifNull(sum(o.completion_tokens * 100 / toFloat64(o.sample_rate_percent)), 0)"),
    ("estimated_total_tokens", "ifNull(sum(o.total_tokens * 100 / toFloat64(o.sample_rate_percent)), 0)"),
    (
        "requests_variance",
        "sum((100 - toFloat64(o.sample_rate_percent)) * 100 / pow(toFloat64(o.sample_rate_percent), 2))",
    ),
    (
        "cost_usd_variance",
        "ifNull(sum((100 - toFloat64(o.sample_rate_percent)) * 100 \
         / pow(toFloat64(o.sample_rate_percent), 2) * pow(toFloat64(o.cost_usd), 2)), 0)",
    ),
    (
        "total_tokens_variance",
        "ifNull(sum((100 - toFloat64(o.sample_rate_percent)) * 100 \
         / pow(toFloat64(o.sample_rate_percent), 2) * pow(toFloat64(o.total_tokens), 2)), 0)",
    ),
];

/// The sketch of latencies: from rows, and merged from those of a finer grain. It is stored as its bytes, since a sketch costs
/// some microseconds to make even where its row is only looked at and left out; `latency_quantiles` makes one when it is asked for.
pub(super) const LATENCY_SKETCH: &str = "latency_sketch";
/// What the bytes are.
pub(super) const LATENCY_TYPE: &str = "AggregateFunction(quantilesDD(0.01, 0.5, 0.95, 0.99), UInt32)";
const LATENCY_OF_ROWS: &str =
    "quantilesDDStateIf(0.01, 0.5, 0.95, 0.99)(assumeNotNull(o.latency_ms), o.latency_ms IS NOT NULL)";
const LATENCY_MERGED: &str = "quantilesDDMergeState(0.01, 0.5, 0.95, 0.99)(o.latency_quantiles)";
const NO_LATENCY: &str = "(SELECT CAST(quantilesDDStateIf(0.01, 0.5, 0.95, 0.99)(toUInt32(0), false) AS String))";

impl Origin {
    pub(super) fn table(self) -> String {
        match self {
            Self::Rows => "request_rows".to_owned(),
            Self::Finer(table) => table.rows(),
        }
    }

    pub(super) const fn time(self) -> &'static str {
        match self {
            Self::Rows => "event_time",
            Self::Finer(_) => "bucket",
        }
    }

    /// A time in seconds since 1970 as a value of the type of [`Self::time`]. Of a part whose calls were all made within the
    /// last second before a `DateTime`, ClickHouse 26.7 says that none is before it, and leaves it out.
    pub(super) fn moment(self, seconds: u32) -> String {
        match self {
            Self::Rows => format!("toDateTime64({seconds}, 3, 'UTC')"),
            Self::Finer(_) => format!("toDateTime({seconds}, 'UTC')"),
        }
    }

    pub(super) const fn condition(self) -> &'static str {
        match self {
            Self::Rows => "NOT o.is_test",
            Self::Finer(_) => "true",
        }
    }

    /// Each total, named, over rows of the origin called `o`.
    pub(super) fn totals(self) -> String {
        let mut list = String::with_capacity(2_048);
        for (name, of_rows) in TOTALS {
            // Writing to a String cannot fail.
            let _infallible = match self {
                Self::Rows => write!(list, "{of_rows} AS {name}, "),
                Self::Finer(_) => write!(list, "sum(o.{name}) AS {name}, "),
            };
        }
        let latency = match self {
            Self::Rows => LATENCY_OF_ROWS,
            Self::Finer(_) => LATENCY_MERGED,
        };
        let _infallible = write!(list, "CAST({latency} AS String) AS {LATENCY_SKETCH}");
        list
    }

    /// The grain of the buckets in its primary key.
    const fn grain(self) -> Grain {
        match self {
            Self::Rows => Grain::Minute,
            Self::Finer(table) => table.grain,
        }
    }

    /// Totals are filtered by their sorting key alone, which no version changes; so before versions are merged.
    const fn filter(self) -> &'static str {
        match self {
            Self::Rows => "WHERE",
            Self::Finer(_) => "PREWHERE",
        }
    }

    /// The condition on its rows, called `o`, that these buckets of `grain` are made of: the range leads to the right
    /// partitions, the key to the right granules.
    fn within(self, grain: Grain, buckets: &[&Bucket]) -> String {
        let starts = || buckets.iter().map(|bucket| bucket.start);
        let (first, last) = (starts().min().unwrap_or(0), starts().max().unwrap_or(0));
        let key = match self {
            Self::Rows => "(o.source, toStartOfMinute(o.event_time))",
            Self::Finer(_) => "(o.source, o.bucket)",
        };
        format!(
            "o.{time} >= {from} AND o.{time} < {until} AND {key} IN ({keys})",
            time = self.time(),
            from = self.moment(first),
            until = self.moment(grain.next(last)),
            keys = keys(buckets.iter().flat_map(|bucket| origin_starts(grain, self.grain(), bucket))),
        )
    }
}

/// How many buckets of `table` one statement computes: bounds its size, and the memory of its groups, each of which has a
/// sketch of some 3 KiB. Models are few in any bucket; users may be a hundred thousand in a month.
pub(super) const fn buckets_per_statement(table: Table, origin: Origin) -> usize {
    match (table.grouping, table.grain, origin) {
        (Grouping::Model, Grain::Minute, _) => 2_000,
        // Of 60 minutes, whether their totals or their rows.
        (Grouping::Model, Grain::Hour, _) => 33,
        (Grouping::Model, Grain::Day, Origin::Finer(_)) => 80,
        (Grouping::Model, Grain::Month, Origin::Finer(_)) => 60,
        (Grouping::User, Grain::Minute, _) => 500,
        (Grouping::User, Grain::Hour, _) => 16,
        (Grouping::User, Grain::Day, Origin::Finer(_)) => 4,
        // Never asked for from the rows.
        (_, Grain::Day | Grain::Month, _) => 1,
    }
}

/// Which groups of its buckets a recomputation is about.
#[derive(Clone, Debug)]
pub(super) enum Groups {
    /// All of them.
    All,
    /// Those that meet a condition on the columns of a group.
    Condition(String),
}

impl Groups {
    /// Those for which rows above `version` were written to these buckets of the tables of `grouping`. One that vanished from
    /// there got a tombstone, which is a row too.
    pub(super) fn written_above(version: u64, grouping: Grouping, written: &[(Grain, &BTreeSet<Bucket>)]) -> Self {
        let [first, second] = grouping.columns();
        let mut union = String::with_capacity(1_024);
        for (grain, buckets) in written.iter().filter(|(_, buckets)| !buckets.is_empty()) {
            let table = Table { grouping, grain: *grain };
            let _infallible = write!(
                union,
                "{}SELECT source, {first}, {second} FROM {} AS o WHERE {} AND version > {version}",
                if union.is_empty() { "" } else { " UNION ALL " },
                table.rows(),
                Origin::Finer(table).within(table.grain, &buckets.iter().collect::<Vec<_>>())
            );
        }
        Self::Condition(format!(" AND (source, {first}, {second}) IN ({union})"))
    }

    /// Those of these buckets of `table` that may have changed since they were computed from the rows, because some of their
    /// minutes were touched: a group that has gained a call, or has another version of one, has a row in these minutes; one
    /// that has only lost calls has fewer than are stored.
    pub(super) fn touched(table: Table, buckets: &[&Bucket], minutes: &BTreeSet<Bucket>) -> Self {
        let [first, second] = table.grouping.columns();
        let is_within = |minute: &Bucket, bucket: &Bucket| {
            minute.source == bucket.source && table.grain.start(minute.start) == bucket.start
        };
        let minutes: Vec<&Bucket> =
            minutes.iter().filter(|minute| buckets.iter().any(|bucket| is_within(minute, bucket))).collect();
        Self::Condition(format!(
            " AND (source, {first}, {second}) IN (\
               SELECT source, {first}, {second} FROM request_rows AS o WHERE {touched} \
               UNION ALL \
               SELECT source, {first}, {second} FROM (\
                 SELECT {start} AS start, source, {first}, {second}, toInt64(count()) AS requests \
                 FROM request_rows AS o FINAL WHERE {counted} AND {condition} GROUP BY start, source, {first}, {second} \
                 UNION ALL \
                 SELECT bucket, source, {first}, {second}, -toInt64(requests) FROM {rows} AS o FINAL PREWHERE {stored}\
               ) GROUP BY start, source, {first}, {second} HAVING sum(requests) != 0)",
            touched = Origin::Rows.within(Grain::Minute, &minutes),
            start = table.grain.start_of("o.event_time"),
            counted = Origin::Rows.within(table.grain, buckets),
            condition = Origin::Rows.condition(),
            rows = table.rows(),
            stored = Origin::Finer(table).within(table.grain, buckets),
        ))
    }

    fn condition(&self) -> &str {
        match self {
            Self::All => "",
            Self::Condition(condition) => condition,
        }
    }
}

/// Which groups of its buckets a recomputation writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Writes {
    /// All it is about, so that nothing of a lower version can win, whenever it becomes visible.
    Everything,
    /// Those whose stored totals are others. What was written is then what has changed.
    Differences,
}

/// Computes `buckets` of `table` from `origin`, and writes the totals in `version`: of groups that nothing makes up any more, a
/// tombstone.
pub(super) fn replace(
    table: Table,
    origin: Origin,
    buckets: &[&Bucket],
    groups: &Groups,
    writes: Writes,
    version: u64,
) -> String {
    let [first_column, second_column] = table.grouping.columns();
    let (mut columns, mut values, mut differs) =
        (String::with_capacity(512), String::with_capacity(1_024), String::with_capacity(2_048));
    for name in TOTALS.iter().map(|(name, _)| *name).chain([LATENCY_SKETCH]) {
        let computed = format!("anyIf(b.{name}, b.side = 0)");
        // Writing to a String cannot fail.
        let _infallible = write!(columns, "{name}, ");
        let _infallible = match name {
            LATENCY_SKETCH => write!(values, "if(min(b.side) = 0, {computed}, {NO_LATENCY}), "),
            _ => write!(values, "{computed}, "),
        };
        let _infallible = write!(differs, " OR {computed} != anyIf(b.{name}, b.side = 1)");
    }
    // Each side has at most one row of a group.
    format!(
        "INSERT INTO {target} (bucket, source, {first_column}, {second_column}, {columns}version, is_deleted) \
         SELECT b.start, b.source, b.{first_column}, b.{second_column}, {values}toUInt64({version}), min(b.side) \
         FROM (\
           SELECT toUInt8(0) AS side, {start} AS start, o.source AS source, o.{first_column} AS {first_column}, \
             o.{second_column} AS {second_column}, {totals} \
           FROM {origin_table} AS o FINAL {filter} {within} AND {condition}{groups} \
           GROUP BY start, source, {first_column}, {second_column} \
           UNION ALL \
           SELECT toUInt8(1) AS side, bucket AS start, source, {first_column}, {second_column}, {stored_columns} \
           FROM {target} AS o FINAL PREWHERE {stored}{groups}\
         ) AS b GROUP BY b.start, b.source, b.{first_column}, b.{second_column}{having} \
         SETTINGS do_not_merge_across_partitions_select_final = 1",
        target = table.rows(),
        start = table.grain.start_of(&format!("o.{}", origin.time())),
        totals = origin.totals(),
        origin_table = origin.table(),
        filter = origin.filter(),
        within = origin.within(table.grain, buckets),
        condition = origin.condition(),
        groups = groups.condition(),
        stored_columns = columns.trim_end_matches(", "),
        stored = Origin::Finer(table).within(table.grain, buckets),
        having = match writes {
            Writes::Everything => String::new(),
            Writes::Differences => format!(" HAVING count() = 1{differs}"),
        },
    )
}

/// The buckets of `finer` that make up one of `grain`.
fn origin_starts(grain: Grain, finer: Grain, bucket: &Bucket) -> impl Iterator<Item = (&str, u32)> {
    let end = grain.next(bucket.start);
    let starts = std::iter::successors(Some(bucket.start), move |start| Some(finer.next(*start)));
    starts.take_while(move |start| *start < end).map(|start| (bucket.source.as_str(), start))
}

/// `('source', 1), …` in seconds since 1970: of thousands of function calls instead of numbers, most of a statement's time is
/// their analysis.
fn keys<'a>(buckets: impl Iterator<Item = (&'a str, u32)>) -> String {
    let mut list = String::with_capacity(4_096);
    for (source, start) in buckets {
        let comma = if list.is_empty() { "" } else { ", " };
        let _infallible = write!(list, "{comma}({}, {start})", text_literal(source));
    }
    list
}

/// With quotes and `?` (the client's placeholder) escaped. Source names hold neither, but a table may hold what an older
/// version wrote.
pub(super) fn text_literal(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'").replace('?', "??"))
}
