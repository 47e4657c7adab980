//! A row in the making: what the payload tells, to be finished by what the stored object tells.

use std::{sync::Arc, time::Duration};

use crate::{
    domain::{PresignedUrl, SampleRate, SourceName, UsdAmount, UtcMillis},
    event_log::Position,
    fetch::FetchStatus,
    payload::{Metadata, Payload},
    pricing::{self, PriceBook},
    store::RequestRow,
    usage::{Body, ResponseFacts, ResponseStatus, ServiceTier, StoredObject},
};

use super::tokens::Tokens;

/// A body's own creation time counts when it lies within this before receipt.
const PLAUSIBLE_AGE: Duration = Duration::from_secs(7 * 24 * 3600);

/// How far a row has come, by which its versions are ordered: a redelivery that fetches less must not replace what was
/// fetched the first time, in whatever order they are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    /// The stored object is still to come.
    Pending = 1,
    /// There is no stored object to be had.
    WithoutObject = 2,
    /// With its stored object.
    Enriched = 3,
}

impl Stage {
    const fn of(fetch_status: FetchStatus) -> Self {
        match fetch_status {
            FetchStatus::Fetched | FetchStatus::HeliconeApi => Self::Enriched,
            FetchStatus::Pending => Self::Pending,
            _ => Self::WithoutObject,
        }
    }

    /// The row's `version`. The low half is left to corrections, each of which adds 1 to the version it corrects: they
    /// outlive a redelivery, and a later stage outlives them.
    const fn version(self) -> u64 {
        (self as u64) << 32
    }
}

/// What rows are judged by: what counts as inefficient, and what calls cost.
#[derive(Clone, Debug)]
pub struct Judgement {
    /// `limits.max_token_ratio`
    pub max_token_ratio: f64,
    /// The price book.
    pub prices: Arc<PriceBook>,
}

/// Everything a row needs from its payload. Holds no body, so that many can wait for their fetches.
#[derive(Clone, Debug)]
pub struct Draft {
    position: Position,
    source: SourceName,
    received_at: UtcMillis,
    event_time: UtcMillis,
    request_id: String,
    user_id: String,
    model: String,
    provider: String,
    metadata: Option<Metadata>,
    facts: ResponseFacts,
    is_test: bool,
    sample_rate: SampleRate,
    url: Option<PresignedUrl>,
}

impl Draft {
    /// Takes what the payload tells. `event_time` is part of the row's key, so it comes from the message alone, never
    /// from what is fetched.
    #[must_use]
    pub fn new(
        position: Position,
        source: SourceName,
        received_at: UtcMillis,
        sample_rate: SampleRate,
        payload: Payload<'_>,
    ) -> Self {
        let facts = ResponseFacts::read(&Body::from_payload(payload.response_body));
        let event_time = facts
            .created_at
            .filter(|created| *created <= received_at && received_at.since(*created) <= PLAUSIBLE_AGE)
            .unwrap_or(received_at);
        Self {
            is_test: payload.is_test(),
            sample_rate,
            position,
            source,
            received_at,
            event_time,
            request_id: payload.request_id.into_string(),
            user_id: payload.user_id.unwrap_or_default(),
            model: payload.model.unwrap_or_default(),
            provider: payload.provider.unwrap_or_default(),
            metadata: payload.metadata,
            facts,
            url: payload.request_response_url,
        }
    }

    /// Where the message stands in the log.
    #[must_use]
    pub const fn position(&self) -> Position {
        self.position
    }

    /// The sender's id of the call.
    #[must_use]
    pub fn request_id(&self) -> &str {
        &self.request_id
    }

    /// The sender.
    #[must_use]
    pub const fn source(&self) -> &SourceName {
        &self.source
    }

    /// When the webhook was received.
    #[must_use]
    pub const fn received_at(&self) -> UtcMillis {
        self.received_at
    }

    /// Helicone's test button.
    #[must_use]
    pub const fn is_test(&self) -> bool {
        self.is_test
    }

    /// The object to fetch, if there is one.
    #[must_use]
    pub const fn url(&self) -> Option<&PresignedUrl> {
        self.url.as_ref()
    }

    /// Nothing tells of the response: its body was left out of the webhook, and is no more than a notice there.
    #[must_use]
    pub fn lacks_response(&self) -> bool {
        !self.is_test && self.facts.usage.is_none() && self.facts.status == ResponseStatus::Unknown
    }

    /// The finished row. The stored object fills in what the payload does not tell; an unreadable one changes nothing.
    #[must_use]
    pub fn finish(self, fetch_status: FetchStatus, object: Option<&[u8]>, judgement: &Judgement) -> RequestRow {
        let stored = object.map(|object| {
            serde_json::from_slice::<StoredObject<'_>>(object)
                .map(|object| ResponseFacts::read(&Body::from_payload(object.response)))
        });
        let (fetch_status, stored) = match stored {
            Some(Ok(facts)) => (fetch_status, facts),
            Some(Err(_)) => (FetchStatus::Invalid, ResponseFacts::UNKNOWN),
            None => (fetch_status, ResponseFacts::UNKNOWN),
        };
        let usage = self.facts.usage.or(stored.usage);
        let status = if self.facts.status == ResponseStatus::Unknown { stored.status } else { self.facts.status };
        let tokens = Tokens::decide(self.metadata.as_ref(), usage.as_ref());
        let used = tokens.complete(usage);
        let cost = pricing::price(
            &judgement.prices,
            &pricing::Call {
                provider: &self.provider,
                model: &self.model,
                at: self.event_time,
                metadata: self.metadata.as_ref(),
                usage: used.as_ref(),
            },
        );
        let token_ratio = tokens.ratio();
        let usage = usage.unwrap_or_default();
        RequestRow {
            request_id: self.request_id,
            source: self.source.into(),
            event_time: self.event_time.0,
            received_at: self.received_at.0,
            user_id: self.user_id,
            model: self.model,
            provider: self.provider,
            prompt_tokens: tokens.prompt,
            completion_tokens: tokens.completion,
            total_tokens: tokens.total,
            cached_tokens: usage.cached_tokens,
            cache_write_tokens: usage.cache_write_tokens,
            cache_write_1h_tokens: usage.cache_write_1h_tokens,
            reasoning_tokens: usage.reasoning_tokens,
            prompt_audio_tokens: usage.prompt_audio_tokens,
            prompt_image_tokens: usage.prompt_image_tokens,
            completion_audio_tokens: usage.completion_audio_tokens,
            completion_image_tokens: usage.completion_image_tokens,
            cached_audio_tokens: usage.cached_audio_tokens,
            generated_images: usage.generated_images,
            web_search_requests: usage.web_search_requests,
            service_tier: usage.service_tier.map_or("", ServiceTier::as_str).to_owned(),
            usage_source: tokens.source.as_str().to_owned(),
            cost_usd: cost.amount.and_then(UsdAmount::to_decimal64),
            cost_source: cost.source.as_str().to_owned(),
            gateway_cost_usd: cost.gateway_amount.and_then(UsdAmount::to_decimal64),
            provider_cost_usd: usage.cost_usd.and_then(UsdAmount::to_decimal64),
            book_cost_usd: cost.book_amount.and_then(UsdAmount::to_decimal64),
            price_entry: cost.book_entry.unwrap_or_default().to_owned(),
            unpriced_reason: cost.book_unpriced.map_or("", pricing::UnpricedReason::as_str).to_owned(),
            latency_ms: self
                .metadata
                .and_then(|metadata| metadata.latency_ms)
                .and_then(|latency_ms| u32::try_from(latency_ms).ok())
                .filter(|latency_ms| *latency_ms > 0),
            token_ratio,
            is_inefficient: token_ratio.is_some_and(|ratio| ratio > judgement.max_token_ratio),
            status: status.as_str().to_owned(),
            fetch_status: fetch_status.as_str().to_owned(),
            is_test: self.is_test,
            sample_rate_percent: self.sample_rate,
            log_partition: self.position.partition.0,
            log_offset: self.position.offset.0,
            version: Stage::of(fetch_status).version(),
            is_deleted: 0,
        }
    }
}
