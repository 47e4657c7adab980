//! From a finished row and its bodies to what is stored of them.

use std::{collections::HashSet, sync::Arc};

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{
    ContentsError, ContentsMetrics,
    bodies::{Bodies, BodyText, Origin, beginning},
    pii::{self, PiiCounts, PiiKind},
    policy::{Call, Policies},
    redact::redact,
};
use crate::{
    domain::{Clock, UtcMillis},
    fetch::{FetchStatus, Object},
    helicone_api::ScoreValue,
    settings::{ContentsSettings, ContentsStore, PolicyAction, SourceSettings},
    store::{ContentRow, InspectionRow, RequestRow, ScoreRow},
};

/// Looked at beyond `max_body_bytes`, so that the cut goes through nothing that would have been found. Longer than
/// everything but keys and tokens, which are found by their beginning.
const EDGE_BYTES: usize = 4096;
/// Text of all calls that waits for its insert. Two of the largest bodies must fit.
const WAITING_TEXT_KIB: usize = 64 * 1024;
const DAY_MS: i64 = 24 * 3_600_000;

/// Judges calls by the section `contents` of the settings.
pub struct Inspector {
    store: ContentsStore,
    kept_bytes: usize,
    max_body_bytes: usize,
    retention_days: u32,
    redact: Vec<PiiKind>,
    is_detecting: bool,
    policies: Policies,
    /// Sources whose scores can be sent.
    scored_sources: HashSet<String>,
    /// One call at a time for each processor.
    places: Semaphore,
    waiting_text_kib: Arc<Semaphore>,
    clock: Arc<dyn Clock>,
    metrics: ContentsMetrics,
}

/// What is to be written beside a call's row.
#[derive(Debug, Default)]
pub struct Inspected {
    /// Its bodies.
    pub content: Option<ContentRow>,
    /// What was found.
    pub inspection: Option<InspectionRow>,
    /// Its scores.
    pub scores: Vec<ScoreRow>,
    /// Room for the text, to be given back when it is written.
    pub room: Option<OwnedSemaphorePermit>,
}

impl Inspector {
    /// `None` when nothing is to be stored or judged.
    ///
    /// # Errors
    /// [`ContentsError`] for settings that cannot be used.
    pub fn new(
        settings: &ContentsSettings,
        sources: &[SourceSettings],
        clock: Arc<dyn Clock>,
        metrics: ContentsMetrics,
    ) -> Result<Option<Arc<Self>>, ContentsError> {
        super::check(settings)?;
        let policies = Policies::compile(&settings.policies)?;
        let is_storing = settings.store != ContentsStore::Off;
        let is_detecting = settings.detect_pii.unwrap_or(is_storing || policies.uses("pii"));
        if !is_storing && !is_detecting && policies.is_empty() {
            return Ok(None);
        }
        let scored_sources: HashSet<String> =
            super::scores::sources_with_keys(sources).map(|source| source.name.to_string()).collect();
        let scoring = settings.policies.iter().find(|policy| policy.action == PolicyAction::Score);
        if let Some(policy) = scoring.filter(|_| scored_sources.is_empty()) {
            return Err(ContentsError::NoApiKey(policy.name.clone()));
        }
        let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Ok(Some(Arc::new(Self {
            store: settings.store,
            kept_bytes: match settings.store {
                ContentsStore::Off => 0,
                ContentsStore::Truncated => settings.truncate_bytes.min(settings.max_body_bytes),
                ContentsStore::Full => settings.max_body_bytes,
            },
            max_body_bytes: settings.max_body_bytes,
            retention_days: settings.retention_days,
            redact: if is_storing { settings.redact.clone() } else { Vec::new() },
            is_detecting,
            policies,
            scored_sources,
            places: Semaphore::new(processors),
            waiting_text_kib: Arc::new(Semaphore::new(WAITING_TEXT_KIB)),
            clock,
            metrics,
        })))
    }

    /// Judges the call of `row`, whose webhook was `webhook`. `object` is its stored object, where there is one. Waits while
    /// too much text waits for its insert, and never fails: what cannot be judged is stored without.
    pub async fn inspect(self: &Arc<Self>, row: &RequestRow, webhook: Bytes, object: Option<Object>) -> Inspected {
        if row.is_test {
            return Inspected::default();
        }
        let Ok(_place) = self.places.acquire().await else { return Inspected::default() };
        let (inspector, judged) = (Arc::clone(self), row.clone());
        // Megabytes of text take a while, and webhooks are answered by the same threads.
        let judge = move || inspector.judge(&judged, &webhook, object.as_deref());
        let Ok(mut inspected) = tokio::task::spawn_blocking(judge).await else {
            self.metrics.failed();
            tracing::error!(request_id = row.request_id, "a call could not be inspected and is stored without");
            return Inspected::default();
        };
        if let Some(content) = &inspected.content {
            let kib = (content.request_body.len() + content.response_body.len()).div_ceil(1024).min(WAITING_TEXT_KIB);
            let room = Arc::clone(&self.waiting_text_kib).acquire_many_owned(u32::try_from(kib).unwrap_or(u32::MAX));
            inspected.room = room.await.ok();
        }
        inspected
    }

    fn judge(&self, row: &RequestRow, webhook: &[u8], object: Option<&[u8]>) -> Inspected {
        let bodies = Bodies::of(webhook, object);
        let (request, response) = (self.look_at(&bodies.request), self.look_at(&bodies.response));
        let pii = request.pii.plus(response.pii);
        let call = Call { row, request: &bodies.request.text, response: &bodies.response.text, pii };
        let verdict = self.policies.judge(&call, &self.metrics);
        // Such a row gets a higher version, which is judged and counted then.
        let is_final = row.fetch_status != FetchStatus::Pending.as_str();
        if is_final {
            self.metrics.found(pii);
            self.policies.count(&verdict, &self.metrics);
        }
        let has_text = [&bodies.request, &bodies.response].iter().any(|body| body.origin != Origin::Missing);
        let content = (self.store != ContentsStore::Off && has_text).then(|| ContentRow {
            request_id: row.request_id.clone(),
            source: row.source.clone(),
            event_time: row.event_time,
            request_bytes: bodies.request.text.len() as u64,
            response_bytes: bodies.response.text.len() as u64,
            request_origin: bodies.request.origin.as_str().to_owned(),
            response_origin: bodies.response.origin.as_str().to_owned(),
            is_truncated: request.is_truncated || response.is_truncated,
            request_body: request.kept,
            response_body: response.kept,
            redacted: self.redact.iter().map(|kind| kind.as_str().to_owned()).collect(),
            expires_at: self.expires_at(row),
            version: row.version,
            is_deleted: 0,
        });
        let scores = if is_final && self.scored_sources.contains(&row.source) { verdict.scores } else { Vec::new() };
        let scores = scores.into_iter().map(|(name, value)| score_row(row, name, value, self.clock.now())).collect();
        let count = |kind| self.is_detecting.then(|| u16::try_from(pii.of(kind)).unwrap_or(u16::MAX));
        let inspection = InspectionRow {
            request_id: row.request_id.clone(),
            source: row.source.clone(),
            event_time: row.event_time,
            user_id: row.user_id.clone(),
            model: row.model.clone(),
            provider: row.provider.clone(),
            pii_email: count(PiiKind::Email),
            pii_phone: count(PiiKind::Phone),
            pii_card: count(PiiKind::Card),
            pii_iban: count(PiiKind::Iban),
            pii_ssn: count(PiiKind::Ssn),
            pii_api_key: count(PiiKind::ApiKey),
            flags: verdict.flags,
            matches: verdict.matches,
            version: row.version,
            is_deleted: 0,
        };
        let is_inspected = self.is_detecting || !self.policies.is_empty();
        Inspected { content, inspection: is_inspected.then_some(inspection), scores, room: None }
    }

    /// Counts what is in a body, and makes of it what may be stored.
    fn look_at(&self, body: &BodyText<'_>) -> LookedAt {
        let text = &*body.text;
        let seen = beginning(text, self.max_body_bytes.saturating_add(EDGE_BYTES));
        let redacted = redact(seen, body.is_json, &self.redact);
        let mut pii = redacted.counts;
        if self.is_detecting {
            let others: Vec<PiiKind> = PiiKind::ALL.into_iter().filter(|kind| !self.redact.contains(kind)).collect();
            pii = pii.plus(pii::count(&pii::find(seen, &others)));
        }
        // What was cut off at the edge may have been half of something.
        let whole =
            if seen.len() == text.len() { redacted.text.len() } else { redacted.text.len().saturating_sub(EDGE_BYTES) };
        let kept = beginning(&redacted.text, whole.min(self.kept_bytes));
        LookedAt {
            is_truncated: kept.len() < redacted.text.len() || seen.len() < text.len(),
            kept: kept.to_owned(),
            pii,
        }
    }

    /// From the receipt on, so that a redelivery expires with the first.
    fn expires_at(&self, row: &RequestRow) -> u32 {
        let at = row.received_at.saturating_add(i64::from(self.retention_days) * DAY_MS);
        u32::try_from(at.div_euclid(1000).max(0)).unwrap_or(u32::MAX)
    }
}

struct LookedAt {
    kept: String,
    is_truncated: bool,
    pii: PiiCounts,
}

fn score_row(row: &RequestRow, name: String, value: ScoreValue, now: UtcMillis) -> ScoreRow {
    let (value, is_boolean) = match value {
        ScoreValue::Int(value) => (value, false),
        ScoreValue::Bool(value) => (i64::from(value), true),
    };
    ScoreRow {
        request_id: row.request_id.clone(),
        source: row.source.clone(),
        event_time: row.event_time,
        name,
        value,
        is_boolean,
        queued_at: now.0,
        state: super::scores::PENDING.to_owned(),
        attempts: 0,
        error: String::new(),
        at: now.0,
        version: row.version,
    }
}

#[cfg(test)]
#[path = "inspector_tests.rs"]
mod tests;
