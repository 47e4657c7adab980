//! One pass.

use std::{
    cmp::Reverse,
    collections::{BTreeSet, HashMap, HashSet},
    time::Duration,
};

use clickhouse::{Client, Row};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::{
    CLOCK_SKEW,
    grain::{Grain, Grouping, Table, coarser},
    statements::{Groups, Origin, Writes, buckets_per_statement, replace},
};
use crate::{
    crash_point::crash_point,
    store::{
        Horizons, StoreError, Term,
        client::{bounded, server_time_us},
    },
};

/// Minutes that one pass recomputes, the newest first: a correction of a whole year must not keep the present waiting.
const MINUTES_PER_PASS: usize = 3_000;
/// Up to so many minutes, coarser buckets are computed for the groups of these minutes only. Of more, that would be most
/// groups anyway.
const MINUTES_WITH_OWN_GROUPS: usize = 120;
/// The name of these rollups in `rollup_passes`. Its number changes when there are more tables or columns: under a new name
/// nothing was computed yet, so everything is.
const NAME: &str = "totals-3";

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
    /// Microseconds since 1970, one per insert; below zero for what `verify` asked for.
    inserts: Vec<i64>,
}

/// What one pass hands to the next.
#[derive(Debug)]
pub(super) struct Pass {
    client: Client,
    timeout: Duration,
    overlap: Duration,
    horizons: Horizons,
    /// Loaded from `rollup_passes` by the first pass.
    progress: Option<Progress>,
    /// Inserts within the overlap that are in the rollups or in the backlog, by minute.
    seen: HashMap<Bucket, HashSet<i64>>,
    /// Minutes that are known to be touched and not recomputed yet. They are behind the stored watermark, so that a crash
    /// finds them again.
    backlog: BTreeSet<Bucket>,
    /// Of these, the ones that `verify` asked for: all of their groups are computed again, whatever the minute says.
    asked: BTreeSet<Bucket>,
    term: Option<Term>,
    /// Nobody else's statements are feared at the start.
    is_alone: bool,
    recheck: Option<Recheck>,
}

/// What is to be computed again once no statement can be under way any more that nobody waits for: of a predecessor, or of a
/// pass that failed. Until then and by then, everything is written, so that what such a statement may still write has the lower
/// version.
#[derive(Clone, Copy, Debug)]
struct Recheck {
    at: Instant,
    /// Microseconds since 1970, by the server's clock.
    since_us: i64,
}

/// How far the rollups have come.
#[derive(Clone, Copy, Debug)]
struct Progress {
    /// Rows that were inserted before this are in the rollups, or in the backlog. Microseconds since 1970, by the server's
    /// clock.
    watermark_us: i64,
    last_version: u64,
    /// All that was inserted before this watermark is in the rollups, at every grain and in this version or a lower one.
    stored: StoredProgress,
}

#[derive(Clone, Copy, Debug, Default, Row, Deserialize)]
struct StoredProgress {
    watermark_us: i64,
    last_version: u64,
}

/// What a pass did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Done {
    /// Minutes recomputed.
    pub(super) minutes: usize,
    /// Minutes left to the next passes.
    pub(super) backlog: usize,
    /// Minutes that were touched though their rows may have been removed by retention; left as they are.
    pub(super) closed: usize,
}

impl Pass {
    pub(super) fn new(client: Client, timeout: Duration, overlap: Duration, horizons: Horizons) -> Self {
        Self {
            client,
            timeout,
            overlap,
            horizons,
            progress: None,
            seen: HashMap::new(),
            backlog: BTreeSet::new(),
            asked: BTreeSet::new(),
            term: None,
            is_alone: false,
            recheck: None,
        }
    }

    pub(super) fn fence(&mut self, term: Term) {
        self.term = Some(term);
    }

    pub(super) fn assume_alone(&mut self) {
        self.is_alone = true;
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

    /// Recomputes what was touched.
    pub(super) async fn run(&mut self) -> Result<Done, StoreError> {
        let result = self.recompute_touched().await;
        if let (Err(_), Some(progress)) = (&result, self.progress) {
            // Its last statement may go on at the server.
            let since_us = progress.watermark_us.saturating_sub(self.overlap_us());
            self.recheck_from(self.recheck.map_or(since_us, |recheck| recheck.since_us.min(since_us)));
        }
        result
    }

    fn recheck_from(&mut self, since_us: i64) {
        self.recheck = Some(Recheck { at: Instant::now() + self.timeout * 3, since_us });
    }

    fn overlap_us(&self) -> i64 {
        i64::try_from(self.overlap.as_micros()).unwrap_or(i64::MAX)
    }

    async fn recompute_touched(&mut self) -> Result<Done, StoreError> {
        let (mut progress, is_first) = match self.progress {
            Some(progress) => (progress, false),
            None => (self.load_progress().await?, true),
        };
        // The server's clock sets inserted_at, so the watermark must be the server's too.
        let now_us = server_time_us(&self.client, self.timeout).await?;
        self.horizons.advance(&self.client, self.timeout, now_us).await?;
        let overlap_us = self.overlap_us();
        let mut since_us = progress.watermark_us.saturating_sub(overlap_us).max(0);
        if is_first {
            progress.last_version = self.version_above_all(progress.last_version, now_us).await?;
            if !self.is_alone {
                // A group that a predecessor's last statements saw vanished after they had begun, so not long ago.
                self.recheck_from(since_us.max(now_us.saturating_sub(overlap_us)));
            }
        }
        let rechecked = self.recheck.filter(|recheck| recheck.at <= Instant::now());
        if let Some(recheck) = rechecked {
            progress.last_version = self.version_above_all(progress.last_version, now_us).await?;
            since_us = since_us.min(recheck.since_us);
            self.seen.clear();
        }
        let mut touched = self.touched_since(since_us).await?;
        for (bucket, inserts) in &touched {
            let seen = self.seen.get(bucket);
            let mut unseen = inserts.iter().filter(|insert| seen.is_none_or(|seen| !seen.contains(*insert))).peekable();
            if unseen.peek().is_some() {
                self.backlog.insert(bucket.clone());
            }
            if unseen.any(|insert_us| *insert_us < 0) {
                self.asked.insert(bucket.clone());
            }
        }
        let known = self.backlog.len();
        self.backlog.retain(|bucket| !self.horizons.are_rows_gone(bucket.start));
        let closed = known - self.backlog.len();
        let turn = self.turn(progress.stored.watermark_us == 0);
        if !turn.is_empty() {
            let version = progress.last_version.saturating_add(1).max(u64::try_from(now_us).unwrap_or(0));
            progress.last_version = version;
            self.recompute(&turn, progress.stored.last_version, version).await?;
            self.backlog.retain(|bucket| !turn.contains(bucket));
            self.asked.retain(|bucket| !turn.contains(bucket));
            // What is in the backlog was inserted behind the stored watermark, which therefore stays.
            if self.backlog.is_empty() {
                progress.stored = StoredProgress { watermark_us: now_us, last_version: version };
                crash_point!(RollupProgress);
                self.store_progress(progress.stored).await?;
            }
        }
        // With nothing to do it moves in memory only: a restart looks at a longer past once, which is cheaper than a write
        // every second.
        self.progress = Some(Progress { watermark_us: now_us, ..progress });
        let next_since_us = now_us.saturating_sub(overlap_us);
        touched.retain(|_, inserts| {
            inserts.retain(|insert_us| insert_us.abs() >= next_since_us);
            !inserts.is_empty()
        });
        self.seen = touched;
        if rechecked.is_some() {
            self.recheck = None;
        }
        Ok(Done { minutes: turn.len(), backlog: self.backlog.len(), closed })
    }

    /// What this pass recomputes. The very first one everything, since coarse buckets are whole only once all of their finer
    /// ones are there.
    fn turn(&self, is_from_scratch: bool) -> BTreeSet<Bucket> {
        if is_from_scratch || self.backlog.len() <= MINUTES_PER_PASS {
            return self.backlog.clone();
        }
        let mut newest: Vec<&Bucket> = self.backlog.iter().collect();
        newest.sort_unstable_by_key(|bucket| Reverse(bucket.start));
        newest.into_iter().take(MINUTES_PER_PASS).cloned().collect()
    }

    /// What is computed from the rows tells which groups have changed: those written there above the version of the stored
    /// progress, in this pass or in one that did not come to its end. Coarser buckets are computed for them only.
    async fn recompute(&self, minutes: &BTreeSet<Bucket>, stored_version: u64, version: u64) -> Result<(), StoreError> {
        for grouping in Grouping::ALL {
            let table = |grain: Grain| Table { grouping, grain };
            let finer = |grain: Grain| grain.finer().map_or(Origin::Rows, |finer| Origin::Finer(table(finer)));
            let are_minutes_gone = |start| self.horizons.are_minutes_gone(grouping, start);
            let kept: BTreeSet<Bucket> =
                minutes.iter().filter(|minute| !are_minutes_gone(minute.start)).cloned().collect();
            let (old, young): (BTreeSet<Bucket>, BTreeSet<Bucket>) =
                coarser(minutes, Grain::Hour).into_iter().partition(|hour| are_minutes_gone(hour.start));
            let is_small = minutes.len() <= MINUTES_WITH_OWN_GROUPS && minutes.is_disjoint(&self.asked);
            let groups = if is_small {
                Groups::written_above(stored_version, grouping, &[(Grain::Minute, &kept), (Grain::Hour, &old)])
            } else {
                Groups::All
            };
            // Of minutes every group is computed: they are short.
            self.replace(table(Grain::Minute), Origin::Rows, &kept, |_| Groups::All, version).await?;
            let touched = |hours: &[&Bucket]| {
                if is_small { Groups::touched(table(Grain::Hour), hours, minutes) } else { Groups::All }
            };
            self.replace(table(Grain::Hour), Origin::Rows, &old, touched, version).await?;
            let coarse = [
                (Grain::Hour, young),
                (Grain::Day, coarser(minutes, Grain::Day)),
                (Grain::Month, coarser(minutes, Grain::Month)),
            ];
            for (grain, buckets) in coarse {
                self.replace(table(grain), finer(grain), &buckets, |_| groups.clone(), version).await?;
            }
        }
        Ok(())
    }

    async fn replace(
        &self,
        table: Table,
        origin: Origin,
        buckets: &BTreeSet<Bucket>,
        groups: impl Fn(&[&Bucket]) -> Groups,
        version: u64,
    ) -> Result<(), StoreError> {
        let writes = if self.recheck.is_some() { Writes::Everything } else { Writes::Differences };
        let doing = format!("recomputing {}", table.view());
        let buckets: Vec<&Bucket> = buckets.iter().collect();
        for chunk in buckets.chunks(buckets_per_statement(table, origin)) {
            // After the version was chosen: see the module.
            self.ensure_current().await?;
            crash_point!(RollupStatement);
            let statement = replace(table, origin, chunk, &groups(chunk), writes, version);
            bounded(self.timeout, &doing, self.client.query(&statement).execute()).await?;
        }
        Ok(())
    }

    async fn touched_since(&self, since_us: i64) -> Result<HashMap<Bucket, HashSet<i64>>, StoreError> {
        let query = self
            .client
            .query(
                "SELECT toString(source) AS source, start, groupUniqArray(insert_us) AS inserts FROM (\
                   SELECT source, toUnixTimestamp(toStartOfMinute(event_time)) AS start, \
                     toUnixTimestamp64Micro(inserted_at) AS insert_us \
                   FROM request_rows WHERE inserted_at >= fromUnixTimestamp64Micro(?) \
                   GROUP BY source, start, insert_us \
                   UNION ALL \
                   SELECT source, toUnixTimestamp(bucket), -toUnixTimestamp64Micro(inserted_at) \
                   FROM recompute_requests WHERE inserted_at >= fromUnixTimestamp64Micro(?)\
                 ) GROUP BY source, start",
            )
            .bind(since_us)
            .bind(since_us);
        let rows = bounded(self.timeout, "finding touched minutes", query.fetch_all::<TouchedRow>()).await?;
        Ok(rows
            .into_iter()
            .map(|row| (Bucket { source: row.source, start: row.start }, row.inserts.into_iter().collect()))
            .collect())
    }

    /// A version that no predecessor has used or may still use.
    async fn version_above_all(&self, last_version: u64, now_us: i64) -> Result<u64, StoreError> {
        // A pass writes the hours of models before anything coarser, and minutes unless they are old; if nothing of models
        // differed, its version was that of its time, and the skew is above it.
        let query = self.client.query(
            "SELECT max(version) FROM (SELECT version FROM model_minute_rows UNION ALL SELECT version FROM model_hour_rows)",
        );
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
        let stored = bounded(self.timeout, "reading rollup_passes", query.fetch_optional::<StoredProgress>()).await?;
        let stored = stored.unwrap_or_default();
        Ok(Progress { watermark_us: stored.watermark_us, last_version: stored.last_version, stored })
    }

    async fn store_progress(&self, progress: StoredProgress) -> Result<(), StoreError> {
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
