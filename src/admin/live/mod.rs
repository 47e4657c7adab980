//! The live page: spend, tokens and latency by model and user, alerts, budgets, requests, the pipeline, and a SQL box.
//!
//! Pages are HTML that is complete without a script; a script draws charts from their tables and, told by server-sent
//! events that something changed, asks for the page again and puts its new parts in place. Every number comes from
//! ClickHouse with the reader's rights, by queries of totals within bounds. Nothing is changed, and nothing is kept.

mod alerts;
mod assets;
mod calls;
mod guard;
mod pages;
mod params;
mod pipeline;
mod pulse;
mod query_error;
mod range;
mod source;
mod sql_box;
mod totals;
mod view;

use std::{
    sync::{Arc, OnceLock},
    time::Instant,
};

use axum::{
    Router,
    extract::DefaultBodyLimit,
    middleware,
    routing::{get, post},
};
use prometheus::Registry;
use tokio_util::sync::CancellationToken;

use super::Admin;
use crate::{settings::Settings, store::Reader};
use pulse::Pulses;
use source::{LiveMetrics, Source};
use sql_box::SqlBox;

/// What the pages need.
#[derive(Debug)]
pub(super) struct Live {
    /// Names beside IP addresses and `localhost` under which pages are answered.
    hosts: Vec<String>,
    /// Whether the reader is a user of its own, not the service's.
    is_reader: bool,
    user_minute_days: u32,
    started: Instant,
    metrics: LiveMetrics,
    pulses: Arc<Pulses>,
    /// Set once ClickHouse is up; until then pages say so.
    database: OnceLock<Connected>,
}

#[derive(Debug)]
struct Connected {
    source: Arc<Source>,
    sql: SqlBox,
}

impl Live {
    /// Registers its metrics. Cancelling `shutdown` ends the events.
    pub(super) fn new(
        settings: &Settings,
        registry: &Registry,
        shutdown: CancellationToken,
    ) -> Result<Self, prometheus::Error> {
        let metrics = LiveMetrics::new(registry)?;
        Ok(Self {
            hosts: settings.admin.hosts.clone(),
            is_reader: settings.clickhouse.is_embedded() || !settings.clickhouse.reader_user.is_empty(),
            user_minute_days: settings.clickhouse.retention.user_minute_days,
            started: Instant::now(),
            pulses: Arc::new(Pulses::new(metrics.clients.clone(), shutdown)),
            metrics,
            database: OnceLock::new(),
        })
    }

    /// Lets the pages read.
    pub(super) fn connect(&self, reader: &Reader) -> Result<(), reqwest::Error> {
        let source = Arc::new(Source::new(reader, self.user_minute_days, self.metrics.clone()));
        let sql = SqlBox::new(reader, self.is_reader, self.metrics.clone())?;
        if self.database.set(Connected { source: Arc::clone(&source), sql }).is_ok() {
            let pulses = Arc::clone(&self.pulses);
            tokio::spawn(async move { pulses.run(&source).await });
        }
        Ok(())
    }
}

/// All routes of the page.
pub(super) fn routes(admin: &Arc<Admin>) -> Router<Arc<Admin>> {
    Router::new()
        .route("/", get(pages::overview))
        .route("/model", get(pages::model))
        .route("/user", get(pages::user))
        .route("/requests", get(pages::requests))
        .route("/alerts", get(pages::alerts))
        .route("/pipeline", get(pages::pipeline))
        .route("/sql", get(pages::sql).post(pages::run_sql))
        .route("/sql.csv", post(pages::download_sql))
        .route("/events", get(pages::events))
        .route("/assets/{revision}/{name}", get(assets::asset))
        // Encoded as a form, a byte of a query is three.
        .layer(DefaultBodyLimit::max(4 * sql_box::MAX_QUERY_BYTES))
        .layer(middleware::from_fn_with_state(Arc::clone(admin), guard::own_host))
}
