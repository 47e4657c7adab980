//! ClickHouse: the schema, the rows, the rollups, and the embedded engine.
//!
//! Every write here can be repeated without changing a total: rows replace rows with the same key, rollups replace
//! rollups. So a crash anywhere is answered by doing it again.

mod client;
mod dead_letters;
pub mod engine;
mod error;
mod ids;
mod ledger;
mod metrics;
mod migrations;
mod retention;
mod rollup;
mod rows;
mod term;
mod writer;

pub use client::{Database, DatabaseOptions, Reader};
pub(crate) use client::{bounded, server_client, server_time_us};
pub use dead_letters::{PendingDeadLetter, RecentOutcome, pending_dead_letters, recent_outcomes};
pub use error::StoreError;
pub use ids::{FirstSeen, RecentIds, have_keys_moved};
pub use ledger::{Ledger, LedgerAudit, LedgerMetrics, LogReset, OffsetRange, PartitionAudit, audit_ledger};
pub use metrics::StoreMetrics;
pub use migrations::{AppliedMigration, migrate, pending};
pub use retention::{Horizons, apply_retention};
pub use rollup::{Comparison, Difference, Grain, Grouping, Rollups, Table, compare, request_recomputation};
pub use rows::{
    ContentRow, DeadLetterHandlingRow, DeadLetterRow, InspectionRow, LogPositionRow, OutcomeRow, RequestRow, ScoreRow,
    UsageSource,
};
pub use term::Term;
pub use writer::{Batch, write_batch, write_handlings, write_positions, write_requests, write_scores};
