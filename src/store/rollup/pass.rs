//! One pass.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    time::Duration,
};

use tokio::time::Instant;

use clickhouse::{Client, Row};
use serde::{Deserialize, Serialize};

use super::{
    CLOCK_SKEW,
    statements::{self, Recompute},
};
use crate::{
    crash_point::crash_point,
    store::{StoreError, Term, client::bounded},
};

/// Buckets recomputed by one statement: bounds the statement's size and memory.
const BUCKETS_PER_STATEMENT: usize = 2_000;
/// The name of these rollups in `rollup_passes`. Its number changes when the totals get another column: under a new name
/// nothing was computed yet, so everything is.
const NAME: &str = "totals-2";

/// A bucket of one source: its start in seconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Row, Serialize, Deserialize)]
pub(super) struct Bucket {
    pub(super) source: String,
    pub(super) start: u32,
}

#[derive(Row, Deserialize)]
struct TouchedRow {
    source: String,
    start: u32,
    /// Microseconds since 1970, one per insert.
    inserts: Vec<i64>,
}

/// What one pass hands to the next.
#[derive(Debug)]
pub(super) struct Pass {
    client: Client,
    timeout: Duration,
    overlap: Duration,
    /// Loaded from `rollup_passes` by the first pass.
    progress: Option<Progress>,
    /// Inserts within the overlap that are in the rollups, by minute.
    seen: HashMap<Bucket, HashSet<i64>>,
    term: Option<Term>,
    recheck: Option<Recheck>,
}

/// What is to be computed again once no predecessor's statement can be under way any more.
#[derive(Clone, Copy, Debug)]
struct Recheck {
    at: Instant,
    /// Microseconds since 1970, by the server's clock.
    since_us: i64,
}

/// How far the rollups have come.
#[derive(Clone, Copy, Debug, Row, Deserialize)]
struct Progress {
    /// Microseconds since 1970, by the server's clock.
    watermark_us: i64,
    last_version: u64,
}

impl Pass {
    pub(super) fn new(client: Client, timeout: Duration, overlap: Duration) -> Self {
        Self { client, timeout, overlap, progress: None, seen: HashMap::new(), term: None, recheck: None }
    }

    pub(super) fn fence(&mut self, term: Term) {
        self.term = Some(term);
    }

    /// Whether nothing may be written any more.
    pub(super) fn is_deposed(&self) -> bool {
        self.term.as_ref().is_some_and(Term::is_lost)
    }

    async fn ensure_current(&self) -> Result<(), StoreError> {
        match &self.term {
            Some(term) => term.ensure_current().await,
            None => Ok(()),
        }
    }

    /// Recomputes what was touched; returns how many minutes that were.
    pub(super) async fn run(&mut self) -> Result<usize, StoreError> {
        let (mut progress, is_first) = match self.progress {
            Some(progress) => (progress, false),
            None => (self.load_progress().await?, true),
        };
        let now_us = self.server_time_us().await?;
        let overlap_us = i64::try_from(self.overlap.as_micros()).unwrap_or(i64::MAX);
        let mut since_us = progress.watermark_us.saturating_sub(overlap_us).max(0);
        if is_first {
            progress.last_version = self.version_above_all(progress.last_version, now_us).await?;
            self.recheck = Some(Recheck { at: Instant::now() + self.timeout * 2, since_us });
        }
        let rechecked = self.recheck.filter(|recheck| recheck.at <= Instant::now());
        if let Some(recheck) = rechecked {
            progress.last_version = self.version_above_all(progress.last_version, now_us).await?;
            since_us = since_us.min(recheck.since_us);
            self.seen.clear();
        }
        let touched = self.touched_since(since_us).await?;
        let dirty: BTreeSet<Bucket> = touched
            .iter()
            .filter(|(bucket, inserts)| self.seen.get(*bucket).is_none_or(|seen| !inserts.is_subset(seen)))
            .map(|(bucket, _)| bucket.clone())
            .collect();
        self.progress = Some(if dirty.is_empty() {
            // In memory only: a restart looks at a longer past once, which is cheaper than a write every second.
            Progress { watermark_us: now_us, ..progress }
        } else {
            let version = progress.last_version.saturating_add(1).max(u64::try_from(now_us).unwrap_or(0));
            self.recompute(&dirty, version).await?;
            let progress = Progress { watermark_us: now_us, last_version: version };
            crash_point!(RollupProgress);
            self.store_progress(progress).await?;
            progress
        });
        self.seen = touched;
        if rechecked.is_some() {
            self.recheck = None;
        }
        Ok(dirty.len())
    }

    async fn recompute(&self, minutes: &BTreeSet<Bucket>, version: u64) -> Result<(), StoreError> {
        let plan: [(&Recompute, BTreeSet<Bucket>); 4] = [
            (&statements::MODEL_MINUTE, minutes.clone()),
            (&statements::MODEL_DAY, coarser(minutes, start_of_day)),
            (&statements::USER_HOUR, coarser(minutes, |minute| minute - minute % 3_600)),
            (&statements::USER_MONTH, coarser(minutes, start_of_month)),
        ];
        for (recompute, buckets) in &plan {
            let buckets: Vec<&Bucket> = buckets.iter().collect();
            for chunk in buckets.chunks(BUCKETS_PER_STATEMENT) {
                let statement = recompute.statement(chunk, version);
                // After the version was chosen: see the module.
                self.ensure_current().await?;
                crash_point!(RollupStatement);
                bounded(self.timeout, recompute.doing, self.client.query(&statement).execute()).await?;
            }
        }
        Ok(())
    }

    async fn touched_since(&self, since_us: i64) -> Result<HashMap<Bucket, HashSet<i64>>, StoreError> {
        let query = self
            .client
            .query(
                "SELECT toString(source) AS source, toUnixTimestamp(toStartOfMinute(event_time)) AS start, \
                 groupUniqArray(toUnixTimestamp64Micro(inserted_at)) AS inserts \
                 FROM request_rows WHERE inserted_at >= fromUnixTimestamp64Micro(?) GROUP BY source, start",
            )
            .bind(since_us);
        let rows = bounded(self.timeout, "finding touched minutes", query.fetch_all::<TouchedRow>()).await?;
        Ok(rows
            .into_iter()
            .map(|row| (Bucket { source: row.source, start: row.start }, row.inserts.into_iter().collect()))
            .collect())
    }

    async fn server_time_us(&self) -> Result<i64, StoreError> {
        // The server's clock sets inserted_at, so the watermark must be the server's too.
        let query = self.client.query("SELECT toUnixTimestamp64Micro(now64(6))");
        bounded(self.timeout, "reading the server's time", query.fetch_one::<i64>()).await
    }

    /// A version that no predecessor has used or may still use.
    async fn version_above_all(&self, last_version: u64, now_us: i64) -> Result<u64, StoreError> {
        // A pass writes the minutes first, so no table has a higher one.
        let query = self.client.query("SELECT max(version) FROM model_minute_rows");
        let used = bounded(self.timeout, "reading the newest version", query.fetch_one::<u64>()).await?;
        let skew_us = i64::try_from(CLOCK_SKEW.as_micros()).unwrap_or(0);
        Ok(last_version.max(used).max(u64::try_from(now_us.saturating_add(skew_us)).unwrap_or(0)))
    }

    async fn load_progress(&self) -> Result<Progress, StoreError> {
        let query = self
            .client
            .query(
                "SELECT toUnixTimestamp64Micro(toDateTime64(watermark, 6)) AS watermark_us, last_version \
                 FROM rollup_passes FINAL WHERE name = ?",
            )
            .bind(NAME);
        let stored = bounded(self.timeout, "reading rollup_passes", query.fetch_optional::<Progress>()).await?;
        Ok(stored.unwrap_or(Progress { watermark_us: 0, last_version: 0 }))
    }

    async fn store_progress(&self, progress: Progress) -> Result<(), StoreError> {
        let query = self
            .client
            .query(
                "INSERT INTO rollup_passes (name, watermark, last_version, at) \
                 SELECT ?, fromUnixTimestamp64Micro(?), ?, now64(3)",
            )
            .bind(NAME)
            .bind(progress.watermark_us)
            .bind(progress.last_version);
        bounded(self.timeout, "writing rollup_passes", query.execute()).await
    }
}

fn coarser(minutes: &BTreeSet<Bucket>, start: impl Fn(u32) -> u32) -> BTreeSet<Bucket> {
    minutes.iter().map(|minute| Bucket { source: minute.source.clone(), start: start(minute.start) }).collect()
}

const fn start_of_day(seconds: u32) -> u32 {
    seconds - seconds % 86_400
}

fn start_of_month(seconds: u32) -> u32 {
    let day = start_of_day(seconds);
    let day_of_month = jiff::Timestamp::from_second(i64::from(day))
        .map_or(1, |timestamp| timestamp.to_zoned(jiff::tz::TimeZone::UTC).day());
    day - u32::try_from(i32::from(day_of_month) - 1).unwrap_or(0) * 86_400
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn months_start_on_their_first() {
        for (at, month) in [
            ("2026-11-21T23:59:59Z", "2026-11-01T00:00:00Z"),
            ("2024-02-29T00:00:00Z", "2024-02-01T00:00:00Z"),
            ("2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z"),
        ] {
            let seconds = |text: &str| {
                u32::try_from(text.parse::<jiff::Timestamp>().expect("a time").as_second()).expect("after 1970")
            };
            assert_eq!(start_of_month(seconds(at)), seconds(month), "{at}");
        }
    }
}
