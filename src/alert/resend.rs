//! Sending messages again by hand: their deliveries go back into the outbox, and whoever leads takes them from there.

use std::collections::HashSet;

use clickhouse::Client;
use serde::{Deserialize, Serialize};

use super::{
    AlertError,
    error::bounded,
    journal::Journal,
    outbox::{DeliveryRow, Outbox},
};
use crate::{domain::UtcMillis, settings::NotifierSettings};

/// Deliveries sent again by one request.
const MAX_DELIVERIES: usize = 1000;
/// Ids, or beginnings of such, in one request.
const MAX_IDS: usize = 200;
/// A shorter beginning of an id could mean several.
const MIN_ID_CHARS: usize = 8;

/// The body of `POST /notifications/resend`: which deliveries are meant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ResendRequest {
    /// Those about these steps of alerts: `transition_id` of the view `notifications`, or its first 8 characters or more.
    pub ids: Vec<String>,
    /// Those that were given up, with [`Self::since`].
    pub failed: bool,
    /// … since then.
    pub since: Option<UtcMillis>,
    /// Only those to this receiver.
    pub notifier: Option<String>,
    /// Only count them.
    pub dry_run: bool,
}

/// The answer to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resent {
    /// Deliveries that were meant.
    pub matched: u64,
    /// Of these, sent again from now on; 0 in a dry run.
    pub resent: u64,
    /// Of these, those that are tried anyway.
    pub already_waiting: u64,
    /// Of these, those to receivers that the settings no longer know.
    pub unknown_receiver: u64,
}

impl ResendRequest {
    /// Whether it says clearly what it means.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub fn check(&self) -> Result<(), &'static str> {
        if self.failed != self.ids.is_empty() {
            return Err("say which notifications: by ids, or all that failed since a time, but not both");
        }
        if self.failed != self.since.is_some() {
            return Err("`failed` and `since` go together");
        }
        if self.ids.len() > MAX_IDS {
            return Err("at most 200 ids at once");
        }
        let is_id = |id: &String| {
            id.len() >= MIN_ID_CHARS && id.len() <= 64 && id.chars().all(|character| character.is_ascii_hexdigit())
        };
        if !self.ids.iter().all(is_id) {
            return Err("an id is at least 8 hexadecimal digits, as `heliometer notifications list` shows it");
        }
        Ok(())
    }
}

/// Puts deliveries back into the outbox.
pub struct Resender {
    journal: Journal,
    receivers: HashSet<String>,
}

impl std::fmt::Debug for Resender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Resender").finish_non_exhaustive()
    }
}

impl Resender {
    /// `client`'s default database holds the outbox.
    #[must_use]
    pub fn new(client: &Client, notifiers: &NotifierSettings) -> Self {
        Self { journal: Journal::new(client), receivers: notifiers.names().map(str::to_owned).collect() }
    }

    /// Sends again what `request` means.
    ///
    /// # Errors
    /// [`AlertError`] when ClickHouse fails; nothing is sent again then.
    pub async fn resend(&self, request: &ResendRequest, now: UtcMillis) -> Result<Resent, AlertError> {
        let query = "SELECT ?fields FROM alert_deliveries FINAL \
             WHERE (? = '' OR notifier = ?) AND if(?, state = 'failed' AND at >= fromUnixTimestamp64Milli(?, 'UTC'), \
                arrayExists(id -> startsWith(transition_id, id), ?)) \
             ORDER BY at LIMIT ?";
        let notifier = request.notifier.as_deref().unwrap_or_default();
        let ids: Vec<String> = request.ids.iter().map(|id| id.to_ascii_lowercase()).collect();
        let query = self
            .journal
            .client
            .query(query)
            .bind(notifier)
            .bind(notifier)
            .bind(request.failed)
            .bind(request.since.unwrap_or_default().0)
            .bind(ids)
            .bind(MAX_DELIVERIES);
        let rows: Vec<DeliveryRow> = bounded("read deliveries", query.fetch_all()).await?;
        let mut resent = Resent { matched: rows.len() as u64, ..Resent::default() };
        let (pending, done): (Vec<_>, Vec<_>) = rows.into_iter().partition(|row| row.state == "pending");
        resent.already_waiting = pending.len() as u64;
        let (known, unknown): (Vec<_>, Vec<_>) =
            done.into_iter().partition(|row| self.receivers.contains(&row.notifier));
        resent.unknown_receiver = unknown.len() as u64;
        if !request.dry_run && !known.is_empty() {
            let again: Vec<DeliveryRow> = known.into_iter().map(|row| row.asked_again(now)).collect();
            self.journal.record_deliveries(&again).await?;
            resent.resent = again.len() as u64;
        }
        tracing::info!(dry_run = request.dry_run, ?resent, "notifications asked for again");
        Ok(resent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_says_clearly_what_it_means() {
        for (json, is_clear) in [
            (r#"{"ids":["0123abcd"]}"#, true),
            (r#"{"ids":["0123abcd"],"notifier":"ops"}"#, true),
            (r#"{"failed":true,"since":1}"#, true),
            (r#"{"failed":true}"#, false),
            (r#"{"since":1}"#, false),
            ("{}", false),
            (r#"{"ids":["0123abcd"],"failed":true,"since":1}"#, false),
            (r#"{"ids":["0123abcd"],"since":1}"#, false),
            (r#"{"ids":["0123"]}"#, false),
            (r#"{"ids":["0123abcd'"]}"#, false),
        ] {
            let request: ResendRequest = serde_json::from_str(json).expect(json);
            assert_eq!(request.check().is_ok(), is_clear, "{json}");
        }
        assert!(serde_json::from_str::<ResendRequest>(r#"{"failde":true}"#).is_err());
    }
}
