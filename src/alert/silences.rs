//! Silences made at run time: the table `alert_silences`.

use clickhouse::{Client, Row};
use serde::{Deserialize, Serialize};

use super::{
    AlertError,
    error::bounded,
    suppress::{MAX_SUPPRESSIONS, Matcher, Silence, Suppressions},
};
use crate::domain::UtcMillis;

/// A silence with its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredSilence {
    /// Names it.
    pub id: String,
    /// What it says.
    pub silence: Silence,
}

#[derive(Clone, Debug, Row, Serialize, Deserialize)]
struct SilenceRow {
    id: String,
    rule: String,
    group: String,
    severity: String,
    labels: Vec<(String, String)>,
    starts_at: UtcMillis,
    ends_at: UtcMillis,
    comment: String,
    version: u64,
}

impl SilenceRow {
    fn new(stored: &StoredSilence, now: UtcMillis) -> Self {
        let StoredSilence { id, silence } = stored;
        let Matcher { rule, group, severity, labels } = silence.matcher.clone();
        Self {
            id: id.clone(),
            rule: rule.unwrap_or_default(),
            group: group.unwrap_or_default(),
            severity: severity.unwrap_or_default(),
            labels: labels.into_iter().collect(),
            starts_at: silence.starts_at,
            ends_at: silence.ends_at,
            comment: silence.comment.clone(),
            version: u64::try_from(now.0).unwrap_or(0),
        }
    }

    fn into_stored(self) -> StoredSilence {
        let given = |text: String| (!text.is_empty()).then_some(text);
        let matcher = Matcher {
            rule: given(self.rule),
            group: given(self.group),
            severity: given(self.severity),
            labels: self.labels.into_iter().collect(),
        };
        let silence = Silence { matcher, starts_at: self.starts_at, ends_at: self.ends_at, comment: self.comment };
        StoredSilence { id: self.id, silence }
    }
}

/// Silences that have not ended at `now`, the next to end first.
///
/// # Errors
/// [`AlertError::ClickHouse`]
pub async fn list_silences(client: &Client, now: UtcMillis) -> Result<Vec<StoredSilence>, AlertError> {
    let query = "SELECT ?fields FROM alert_silences FINAL WHERE ends_at > fromUnixTimestamp64Milli(?, 'UTC') \
         ORDER BY ends_at, id LIMIT ?";
    let query = client.query(query).bind(now.0).bind(MAX_SUPPRESSIONS as u64);
    let rows: Vec<SilenceRow> = bounded("read silences", query.fetch_all()).await?;
    Ok(rows.into_iter().map(SilenceRow::into_stored).collect())
}

/// Keeps a silence. It holds from the next evaluation on.
///
/// # Errors
/// [`AlertError::Suppression`] for one that is none, else [`AlertError::ClickHouse`].
pub async fn add_silence(client: &Client, stored: &StoredSilence, now: UtcMillis) -> Result<(), AlertError> {
    let all = Suppressions { silences: vec![stored.silence.clone()], ..Suppressions::default() };
    all.check().map_err(AlertError::Suppression)?;
    if list_silences(client, now).await?.len() >= MAX_SUPPRESSIONS {
        return Err(AlertError::Suppression(format!("there are {MAX_SUPPRESSIONS} silences already; let some expire")));
    }
    write(client, &SilenceRow::new(stored, now)).await
}

/// Ends the silence named `id` at `now`.
///
/// # Errors
/// [`AlertError::Suppression`] when there is none, else [`AlertError::ClickHouse`].
pub async fn expire_silence(client: &Client, id: &str, now: UtcMillis) -> Result<(), AlertError> {
    let known = list_silences(client, now).await?;
    let Some(mut stored) = known.into_iter().find(|stored| stored.id == id) else {
        return Err(AlertError::Suppression(format!(
            "no silence `{id}` holds or is to come; see `heliometer silences list`"
        )));
    };
    stored.silence.ends_at = now;
    write(client, &SilenceRow::new(&stored, now)).await
}

async fn write(client: &Client, row: &SilenceRow) -> Result<(), AlertError> {
    let write = async {
        let mut insert = client.insert::<SilenceRow>("alert_silences").await?;
        insert.write(row).await?;
        insert.end().await
    };
    bounded("write a silence", write).await
}
