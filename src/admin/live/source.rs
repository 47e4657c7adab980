//! Where the pages' numbers come from: ClickHouse, with the reader's rights, within bounds.

use std::time::Duration;

use clickhouse::{Client, RowOwned, RowRead, query::Query};
use prometheus::{Histogram, HistogramOpts, IntCounterVec, Opts, Registry};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::query_error::QueryError;
use crate::store::Reader;

/// Of one query. The page says so where a number is missing.
const QUERY_TIMEOUT: Duration = Duration::from_secs(5);
/// Pages that are computed at once; others wait.
const PAGES_AT_ONCE: usize = 4;
const PAGE_WAIT: Duration = Duration::from_secs(10);

/// Rows, or what to say in their place.
pub(super) type Part<T> = Result<T, String>;

/// What the live page measures.
#[derive(Clone, Debug)]
pub(super) struct LiveMetrics {
    queries: IntCounterVec,
    query_seconds: Histogram,
    pub(super) clients: prometheus::IntGauge,
}

impl LiveMetrics {
    pub(super) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let metrics = Self {
            queries: IntCounterVec::new(
                Opts::new("heliometer_live_page_queries_total", "Queries for the live page."),
                &["result"],
            )?,
            query_seconds: Histogram::with_opts(
                HistogramOpts::new("heliometer_live_page_query_seconds", "Time of one query for the live page.")
                    .buckets(vec![0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0]),
            )?,
            clients: prometheus::IntGauge::new("heliometer_live_page_clients", "Open pages that are kept up to date.")?,
        };
        registry.register(Box::new(metrics.queries.clone()))?;
        registry.register(Box::new(metrics.query_seconds.clone()))?;
        registry.register(Box::new(metrics.clients.clone()))?;
        Ok(metrics)
    }

    pub(super) fn asked(&self, result: &str, elapsed: Duration) {
        self.queries.with_label_values(&[result]).inc();
        self.query_seconds.observe(elapsed.as_secs_f64());
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Source {
    client: Client,
    /// `clickhouse.retention.user_minute_days`
    pub(super) user_minute_days: u32,
    pages: Semaphore,
    metrics: LiveMetrics,
}

impl Source {
    pub(super) fn new(reader: &Reader, user_minute_days: u32, metrics: LiveMetrics) -> Self {
        let seconds = QUERY_TIMEOUT.as_secs().to_string();
        let client = reader.client().with_setting("max_execution_time", seconds);
        Self { client, user_minute_days, pages: Semaphore::new(PAGES_AT_ONCE), metrics }
    }

    /// Leave to compute one page; `None` when too many are computed for too long.
    pub(super) async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        tokio::time::timeout(PAGE_WAIT, self.pages.acquire()).await.ok()?.ok()
    }

    pub(super) fn query(&self, text: &str) -> Query {
        // The driver's own placeholder is not used: parameters are bound by ClickHouse.
        self.client.query(&text.replace('?', "??"))
    }

    /// All rows; queries have a `LIMIT`, or answer by a number of buckets that is bounded.
    pub(super) async fn rows<T: RowOwned + RowRead>(&self, query: Query) -> Part<Vec<T>> {
        let begun = tokio::time::Instant::now();
        let (label, rows) = match tokio::time::timeout(QUERY_TIMEOUT, Box::pin(query.fetch_all::<T>())).await {
            Ok(Ok(rows)) => ("answered", Ok(rows)),
            Ok(Err(error)) => ("failed", Err(QueryError::parse(&error.to_string()).message)),
            Err(_) => ("timed_out", Err(format!("ClickHouse did not answer within {} s", QUERY_TIMEOUT.as_secs()))),
        };
        self.metrics.asked(label, begun.elapsed());
        rows
    }
}
