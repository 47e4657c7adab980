//! What the consumer is made of.

use std::{sync::Arc, time::Duration};

use clickhouse::Client;
use tokio::sync::Notify;

use super::{ByIdApi, ConsumerMetrics, Judgement};
use crate::{contents::Inspector, domain::Clock, event_log::EventLog, fetch::Fetcher, store::StoreMetrics};

/// What the consumer works with.
pub struct ConsumerParts {
    /// Where messages come from and dead letters go.
    pub log: Arc<dyn EventLog>,
    /// ClickHouse, with the database set.
    pub client: Client,
    /// One insert's or query's limit.
    pub timeout: Duration,
    /// Gets stored objects.
    pub fetcher: Arc<Fetcher>,
    /// Has bodies where storage has none.
    pub by_id: ByIdApi,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Notified after every insert.
    pub inserted: Arc<Notify>,
    /// What is inefficient.
    pub judgement: Judgement,
    /// Stores and judges bodies, where the settings say so.
    pub inspector: Option<Arc<Inspector>>,
    /// Rows wait at most this long for their batch.
    pub flush_interval: Duration,
    /// A batch of this many messages is written at once.
    pub flush_rows: usize,
    /// Messages worked on at once.
    pub max_in_flight_records: usize,
    /// Bytes of messages worked on at once.
    pub max_in_flight_bytes: usize,
    /// Request ids remembered, over all partitions.
    pub dedupe_max_ids: usize,
    /// Messages that the guard against a flood of dead letters looks at.
    pub dead_letter_window: usize,
    /// Of these, so many may be dead letters, in percent; 100 allows all.
    pub max_dead_letter_share_percent: u8,
    /// How long unfinished work is given at shutdown.
    pub shutdown_timeout: Duration,
    /// Its own metrics.
    pub metrics: ConsumerMetrics,
    /// The store's.
    pub store_metrics: StoreMetrics,
}
