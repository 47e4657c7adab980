//! Messages as they were told, to be looked at again.

use clickhouse::Client;

use super::{
    AlertError,
    error::bounded,
    journal::{Told, TransitionRow},
};
use crate::{domain::UtcMillis, notify::Message};

/// A message that was told, or is to be.
pub struct RecordedMessage {
    /// When it was decided.
    pub at: UtcMillis,
    told: Told,
}

impl std::fmt::Debug for RecordedMessage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RecordedMessage").field("at", &self.at).finish_non_exhaustive()
    }
}

impl RecordedMessage {
    /// What it says.
    #[must_use]
    pub fn message(&self) -> Message<'_> {
        self.told.message()
    }
}

/// The first `limit` messages that were decided since `since`, oldest first. Those that a newer version wrote are left out.
///
/// # Errors
/// [`AlertError`] when ClickHouse does not answer.
pub async fn recorded_messages(
    client: &Client,
    since: UtcMillis,
    limit: u32,
    dashboard_url: &str,
) -> Result<Vec<RecordedMessage>, AlertError> {
    let query = "SELECT ?fields FROM alert_transitions WHERE notify AND at >= fromUnixTimestamp64Milli(?, 'UTC') \
         ORDER BY at, rule, `group`, revision, transition_id LIMIT 1 BY transition_id LIMIT ?";
    let query = client.query(query).bind(since.0).bind(limit);
    let rows: Vec<TransitionRow> = bounded("read what was told", query.fetch_all()).await?;
    let told = |row: TransitionRow| Some(RecordedMessage { at: row.at, told: row.told(dashboard_url)? });
    Ok(rows.into_iter().filter_map(told).collect())
}
