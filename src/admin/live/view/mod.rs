//! HTML. Everything is escaped by `maud`; no style and no script is in it, so the content security policy can forbid both.

mod alerts;
mod budgets;
mod charts;
pub(super) mod format;
mod frame;
mod overview;
mod pipeline;
mod requests;
mod sql;
mod tables;
mod tiles;

pub(super) use alerts::{AlertsView, alerts_page};
pub(super) use frame::{Frame, Page, message};
pub(super) use overview::{Overview, overview};
pub(super) use pipeline::{PipelineView, pipeline_page};
pub(super) use requests::{RequestsView, requests_page};
pub(super) use sql::{EXAMPLES, SqlView, sql_page};
