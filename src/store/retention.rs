//! How long each table is kept, and how far back it is complete.
//!
//! The engine removes what is older than a table's TTL in its own time. What may have been removed must never be computed
//! again from what is left, so each table has a *horizon*, at least a day later than the TTL's, which is stored and only
//! moves forward: a longer retention that is set later does not bring rows back.

use std::{collections::HashMap, time::Duration};

use clickhouse::{Client, Row};
use serde::Deserialize;

use super::{
    StoreError,
    client::{bounded, server_time_us},
    migrations::for_cluster,
    rollup::Grouping,
};
use crate::settings::RetentionSettings;

const DAY_SECONDS: i64 = 86_400;
/// A whole day passes between the moment at which the engine may remove a row and the one before which its bucket is closed.
const MARGIN_DAYS: i64 = 2;
/// Giving a large table another TTL rewrites what it has.
const ALTER_TIMEOUT: Duration = Duration::from_secs(600);

/// Tables with a TTL from the settings, the time that it counts from, and the setting.
const TABLES: [(&str, &str, Kept); 11] = [
    (REQUESTS, "toDateTime(event_time)", |retention| retention.requests_days),
    ("inspection_rows", "toDateTime(event_time)", |retention| retention.requests_days),
    (MODEL_MINUTES, "bucket", |retention| retention.model_minute_days),
    (USER_MINUTES, "bucket", |retention| retention.user_minute_days),
    ("model_hour_rows", "bucket", |retention| retention.hour_days),
    ("user_hour_rows", "bucket", |retention| retention.hour_days),
    ("model_day_rows", "bucket", |retention| retention.day_days),
    ("user_day_rows", "bucket", |retention| retention.day_days),
    (OUTCOMES, "toDateTime(received_at)", |retention| retention.outcomes_days),
    ("dead_letter_rows", "toDateTime(received_at)", |retention| retention.dead_letters_days),
    ("dead_letter_handlings", "toDateTime(at)", |retention| retention.dead_letters_days),
];

const REQUESTS: &str = "request_rows";
const MODEL_MINUTES: &str = "model_minute_rows";
const USER_MINUTES: &str = "user_minute_rows";
const OUTCOMES: &str = "outcome_rows";

/// Days by the settings; 0 is for ever.
type Kept = fn(&RetentionSettings) -> u32;

#[derive(Row, Deserialize)]
struct TableEngine {
    name: String,
    engine_full: String,
}

/// Gives each table the TTL that `retention` says, where it has another one.
///
/// # Errors
/// [`StoreError`] when ClickHouse refuses or cannot be reached; what was changed before stays.
pub async fn apply_retention(client: &Client, retention: &RetentionSettings, cluster: &str) -> Result<(), StoreError> {
    let query = client.query("SELECT name, engine_full FROM system.tables WHERE database = currentDatabase()");
    let engines = bounded(ALTER_TIMEOUT, "reading the tables", query.fetch_all::<TableEngine>()).await?;
    let engines: HashMap<String, String> = engines.into_iter().map(|table| (table.name, table.engine_full)).collect();
    for (table, time, kept) in TABLES {
        let Some(engine) = engines.get(table) else { continue };
        let (present, wanted) = (ttl_days(engine), kept(retention));
        if present == wanted {
            continue;
        }
        if table == OUTCOMES && !are_outcomes_counted(client, wanted).await? {
            tracing::info!(
                table,
                "retention waits until the ledger has counted what is old; the next start applies it"
            );
            continue;
        }
        let shorter = [present, wanted].into_iter().filter(|days| *days > 0).min();
        if let Some(days) = shorter.filter(|_| is_origin(table)) {
            // Before a shorter time removes anything, and before a longer one makes forgotten what was removed.
            let now_us = server_time_us(client, ALTER_TIMEOUT).await?;
            store_horizon(client, ALTER_TIMEOUT, table, horizon_seconds(now_us, days)).await?;
        }
        let change = if wanted == 0 {
            format!("ALTER TABLE {table} REMOVE TTL")
        } else {
            format!("ALTER TABLE {table} MODIFY TTL {time} + toIntervalDay({wanted})")
        };
        tracing::info!(table, days = wanted, "retention changed");
        let change = for_cluster(&change, cluster)?;
        // What is stored is gone through in the background: with many calls that takes minutes, and nobody needs its end.
        let alteration = client.query(&change).with_setting("alter_sync", "0").execute();
        bounded(ALTER_TIMEOUT, &format!("changing the retention of {table}"), alteration).await?;
    }
    Ok(())
}

/// Whether outcomes that `days` would remove are counted in a checkpoint of the ledger, which a version before it did not have.
async fn are_outcomes_counted(client: &Client, days: u32) -> Result<bool, StoreError> {
    if days == 0 {
        return Ok(true);
    }
    let query = client
        .query(
            "SELECT count() FROM outcome_rows AS o \
             LEFT JOIN (SELECT log_partition, verified_offset FROM ledger_checkpoints FINAL) AS c USING (log_partition) \
             WHERE o.received_at < now() - toIntervalDay(?) AND o.log_offset >= c.verified_offset",
        )
        .bind(days);
    Ok(bounded(ALTER_TIMEOUT, "looking for old outcomes", query.fetch_one::<u64>()).await? == 0)
}

/// The days in an engine's description; 0 without a TTL.
fn ttl_days(engine: &str) -> u32 {
    let after = engine.split_once(" TTL ").and_then(|(_, ttl)| ttl.split_once("toIntervalDay("));
    after.and_then(|(_, days)| days.split_once(')')?.0.parse().ok()).unwrap_or(0)
}

/// Whether others are computed from it.
fn is_origin(table: &str) -> bool {
    [REQUESTS, MODEL_MINUTES, USER_MINUTES].contains(&table)
}

/// Seconds since 1970 before which rows kept for `days` may have been removed.
fn horizon_seconds(now_us: i64, days: u32) -> i64 {
    let today = now_us.div_euclid(1_000_000).div_euclid(DAY_SECONDS);
    (today - i64::from(days) + MARGIN_DAYS) * DAY_SECONDS
}

async fn store_horizon(client: &Client, timeout: Duration, table: &str, seconds: i64) -> Result<(), StoreError> {
    let query = client
        .query("INSERT INTO retention_horizons (name, horizon) SELECT ?, fromUnixTimestamp64Milli(?, 'UTC')")
        .bind(table)
        .bind(seconds * 1_000);
    bounded(timeout, "writing retention_horizons", query.execute()).await
}

/// How far back the tables that others are computed from are complete.
#[derive(Clone, Debug, Default)]
pub struct Horizons {
    retention: RetentionSettings,
    /// Seconds since 1970 by table.
    known: HashMap<String, i64>,
}

#[derive(Row, Deserialize)]
struct HorizonRow {
    name: String,
    seconds: i64,
}

impl Horizons {
    /// Those that follow from `retention`, and from what was stored.
    #[must_use]
    pub fn new(retention: &RetentionSettings) -> Self {
        Self { retention: retention.clone(), known: HashMap::new() }
    }

    /// Moves them to `now_us`, microseconds since 1970 by the server's clock, and stores those that moved.
    ///
    /// # Errors
    /// [`StoreError`] when ClickHouse cannot be asked. Nothing may be recomputed then.
    pub async fn advance(&mut self, client: &Client, timeout: Duration, now_us: i64) -> Result<(), StoreError> {
        for (table, seconds) in self.read(client, timeout, now_us).await? {
            store_horizon(client, timeout, table, seconds).await?;
            self.known.insert(table.to_owned(), seconds);
        }
        Ok(())
    }

    /// As [`Self::advance`], without storing: for who only reads.
    ///
    /// # Errors
    /// [`StoreError`] when ClickHouse cannot be asked.
    pub async fn look(&mut self, client: &Client, timeout: Duration, now_us: i64) -> Result<(), StoreError> {
        for (table, seconds) in self.read(client, timeout, now_us).await? {
            self.known.insert(table.to_owned(), seconds);
        }
        Ok(())
    }

    /// Those that have moved.
    async fn read(
        &mut self,
        client: &Client,
        timeout: Duration,
        now_us: i64,
    ) -> Result<Vec<(&'static str, i64)>, StoreError> {
        // Every time: `migrate` may have shortened the retention meanwhile.
        let query = client.query(
            "SELECT toString(name) AS name, toInt64(toUnixTimestamp(toDateTime(max(horizon)))) AS seconds \
             FROM retention_horizons GROUP BY name",
        );
        let rows = bounded(timeout, "reading retention_horizons", query.fetch_all::<HorizonRow>()).await?;
        self.known = rows.into_iter().map(|row| (row.name, row.seconds)).collect();
        let moved = TABLES.into_iter().filter(|(table, ..)| is_origin(table)).filter_map(|(table, _, kept)| {
            let days = kept(&self.retention);
            let seconds = horizon_seconds(now_us, days);
            (days > 0 && self.known.get(table).is_none_or(|known| *known < seconds)).then_some((table, seconds))
        });
        Ok(moved.collect())
    }

    /// Whether rows of the bucket that starts at `start`, in seconds since 1970, may have been removed.
    #[must_use]
    pub fn are_rows_gone(&self, start: u32) -> bool {
        self.is_gone(REQUESTS, start)
    }

    /// Likewise the totals by minute.
    #[must_use]
    pub fn are_minutes_gone(&self, grouping: Grouping, start: u32) -> bool {
        let table = match grouping {
            Grouping::Model => MODEL_MINUTES,
            Grouping::User => USER_MINUTES,
        };
        self.is_gone(table, start)
    }

    fn is_gone(&self, table: &str, start: u32) -> bool {
        self.known.get(table).is_some_and(|horizon| i64::from(start) < *horizon)
    }

    /// Seconds since 1970 from which on the rows are complete; 0 when nothing was ever removed.
    #[must_use]
    pub fn rows_since(&self) -> i64 {
        self.known.get(REQUESTS).copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_days_are_read_from_the_engine() {
        let engine = "ReplacingMergeTree(version, is_deleted) PARTITION BY toYYYYMM(event_time) ORDER BY (source) \
                      TTL toDateTime(event_time) + toIntervalDay(400) SETTINGS index_granularity = 8192";
        assert_eq!(ttl_days(engine), 400);
        assert_eq!(ttl_days("MergeTree ORDER BY x SETTINGS index_granularity = 8192"), 0);
    }

    #[test]
    fn a_horizon_is_a_day_behind_what_the_engine_removes() {
        let now_us = 1_795_384_998_250_000;
        let removed_before = now_us / 1_000_000 - 400 * DAY_SECONDS;
        let horizon = horizon_seconds(now_us, 400);
        assert!(horizon - removed_before >= DAY_SECONDS && horizon - removed_before < 2 * DAY_SECONDS + 1);
        assert_eq!(horizon % DAY_SECONDS, 0);
    }
}
