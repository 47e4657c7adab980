//! Compares totals with a computation from the deduplicated rows alone, whatever they were computed from.

use std::{fmt::Write, time::Duration};

use clickhouse::{Client, Row};
use serde::{Deserialize, Serialize};

use super::{
    grain::{Grain, Table},
    statements::{LATENCY_SKETCH, LATENCY_TYPE, Origin, TOTALS},
};
use crate::store::{StoreError, client::bounded};

/// Differences told of one comparison; there may be more.
const MAX_DIFFERENCES: usize = 1_000;
/// A month of a busy installation takes its time. Also the server's own limit for the statement.
const TIMEOUT: Duration = Duration::from_secs(900);

/// A group whose stored totals are not what its rows say.
#[derive(Clone, Debug, PartialEq, Eq, Row, Deserialize)]
pub struct Difference {
    /// The bucket, in seconds since 1970.
    pub start: u32,
    /// The sender.
    pub source: String,
    /// The first column of the group.
    pub first: String,
    /// The second column of the group.
    pub second: String,
    /// Names of the totals that differ, with what the rows say and what is stored.
    pub totals: Vec<(String, String, String)>,
    /// The rows make this group.
    pub is_expected: bool,
    /// The table has this group.
    pub is_stored: bool,
}

/// What came of comparing one table over a time.
#[derive(Clone, Debug, Default)]
pub struct Comparison {
    /// Groups in the table.
    pub groups: u64,
    /// The first of those that differ, of those that should not be there, and of those that are missing.
    pub differences: Vec<Difference>,
}

/// Compares `table` from `from` to before `to`, both starts of its buckets in seconds since 1970.
///
/// # Errors
/// [`StoreError`] when ClickHouse cannot be asked.
pub async fn compare(client: &Client, table: Table, from: u32, to: u32) -> Result<Comparison, StoreError> {
    let doing = format!("comparing {}", table.view());
    let client = client.clone().with_setting("max_execution_time", TIMEOUT.as_secs().to_string());
    let count = format!(
        "SELECT count() FROM {} FINAL WHERE bucket >= toDateTime({from}, 'UTC') AND bucket < toDateTime({to}, 'UTC')",
        table.rows()
    );
    let groups = bounded(TIMEOUT, &doing, client.query(&count).fetch_one::<u64>()).await?;
    let statement = statement(table, from, to);
    let differences = bounded(TIMEOUT, &doing, client.query(&statement).fetch_all::<Difference>()).await?;
    Ok(Comparison { groups, differences })
}

/// Rows of both sides under one key; each side has at most one.
fn statement(table: Table, from: u32, to: u32) -> String {
    let [first, second] = table.grouping.columns();
    let mut stored = String::with_capacity(1_024);
    let mut compared = String::with_capacity(4_096);
    for (name, _) in TOTALS {
        // Writing to a String cannot fail.
        let _infallible = write!(stored, "{name}, ");
        let (expected, found) = (format!("sumIf(b.{name}, b.side = 0)"), format!("sumIf(b.{name}, b.side = 1)"));
        let differs = if is_float(name) {
            // Sums of floating-point numbers depend on their order.
            format!("abs({expected} - {found}) > 1e-9 * greatest(abs({expected}), abs({found}), 1)")
        } else {
            format!("{expected} != {found}")
        };
        let _infallible = write!(compared, "('{name}', toString({expected}), toString({found}), toUInt8({differs})), ");
    }
    let percentiles = |side: u8| {
        format!(
            "arrayMap(x -> if(isNaN(x), -1, round(x, 3)), \
             anyIf(finalizeAggregation(CAST(b.{LATENCY_SKETCH} AS {LATENCY_TYPE})), b.side = {side}))"
        )
    };
    let (expected, found) = (percentiles(0), percentiles(1));
    let start = table.grain.start_of("o.event_time");
    format!(
        "SELECT toUnixTimestamp(b.bucket) AS start, toString(b.source) AS source, toString(b.{first}) AS first, \
         toString(b.{second}) AS second, \
         arrayMap(x -> (x.1, x.2, x.3), arrayFilter(x -> x.4 = 1, [{compared}\
         ('latency', toString({expected}), toString({found}), toUInt8({expected} != {found}))])) AS totals, \
         max(b.side = 0) = 1 AS is_expected, max(b.side = 1) = 1 AS is_stored \
         FROM (\
           SELECT toUInt8(0) AS side, {start} AS bucket, o.source AS source, o.{first} AS {first}, o.{second} AS {second}, \
             {totals} \
           FROM request_rows AS o FINAL \
           WHERE o.event_time >= {since} AND o.event_time < {until} AND {condition} \
           GROUP BY bucket, source, {first}, {second} \
           UNION ALL \
           SELECT toUInt8(1) AS side, bucket, source, {first}, {second}, {stored}{LATENCY_SKETCH} \
           FROM {rows} FINAL WHERE bucket >= toDateTime({from}, 'UTC') AND bucket < toDateTime({to}, 'UTC')\
         ) AS b GROUP BY b.bucket, b.source, b.{first}, b.{second} \
         HAVING is_expected != is_stored OR notEmpty(totals) \
         ORDER BY b.bucket, b.source, b.{first}, b.{second} LIMIT {MAX_DIFFERENCES} \
         SETTINGS do_not_merge_across_partitions_select_final = 1",
        since = Origin::Rows.moment(from),
        until = Origin::Rows.moment(to),
        totals = Origin::Rows.totals(),
        condition = Origin::Rows.condition(),
        rows = table.rows(),
    )
}

fn is_float(name: &str) -> bool {
    name != "estimated_cost_usd" && (name.starts_with("estimated_") || name.ends_with("_variance"))
}

#[derive(Row, Serialize)]
struct RequestedMinute {
    source: String,
    bucket: u32,
}

/// Asks whoever keeps the rollups to compute the buckets of these differences again, at every grain.
///
/// # Errors
/// [`StoreError`] when they are not known to be written; asking again is harmless.
pub async fn request_recomputation(
    client: &Client,
    timeout: Duration,
    differences: &[Difference],
) -> Result<(), StoreError> {
    let write = async {
        let mut insert = client.insert::<RequestedMinute>("recompute_requests").await?;
        for difference in differences {
            let bucket = Grain::Minute.start(difference.start);
            insert.write(&RequestedMinute { source: difference.source.clone(), bucket }).await?;
        }
        insert.end().await
    };
    bounded(timeout, "asking for recomputation", write).await
}
