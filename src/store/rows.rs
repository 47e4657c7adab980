//! Rows as they go to ClickHouse. Field names are column names; the columns' meaning stands in `sql/`.
//!
//! Times are milliseconds since 1970 UTC (`DateTime64(3)`), money is in 10⁻¹² USD (`Decimal(18, 12)`).

#![expect(missing_docs, reason = "each field is the column of the same name, which sql/ documents")]

use clickhouse::Row;
use serde::{Deserialize, Serialize};

use crate::domain::SampleRate;

/// `request_rows`, without `inserted_at`, which the server sets.
#[derive(Clone, Debug, Default, PartialEq, Row, Serialize, Deserialize)]
pub struct RequestRow {
    pub request_id: String,
    pub source: String,
    pub event_time: i64,
    pub received_at: i64,
    pub user_id: String,
    pub model: String,
    pub provider: String,
    pub prompt_tokens: Option<u64>,
    pub completion_tokens: Option<u64>,
    pub total_tokens: Option<u64>,
    pub cached_tokens: Option<u64>,
    pub cache_write_tokens: Option<u64>,
    pub cache_write_1h_tokens: Option<u64>,
    pub reasoning_tokens: Option<u64>,
    pub prompt_audio_tokens: Option<u64>,
    pub prompt_image_tokens: Option<u64>,
    pub completion_audio_tokens: Option<u64>,
    pub completion_image_tokens: Option<u64>,
    pub cached_audio_tokens: Option<u64>,
    pub generated_images: Option<u64>,
    pub web_search_requests: Option<u64>,
    pub service_tier: String,
    pub usage_source: String,
    pub cost_usd: Option<i64>,
    pub cost_source: String,
    pub gateway_cost_usd: Option<i64>,
    pub provider_cost_usd: Option<i64>,
    pub book_cost_usd: Option<i64>,
    pub price_entry: String,
    pub unpriced_reason: String,
    pub latency_ms: Option<u32>,
    pub token_ratio: Option<f64>,
    pub is_inefficient: bool,
    pub status: String,
    pub fetch_status: String,
    pub is_test: bool,
    #[serde(with = "crate::domain::sample_rate_as_decimal")]
    pub sample_rate_percent: SampleRate,
    pub log_partition: u16,
    pub log_offset: u64,
    pub version: u64,
    pub is_deleted: u8,
}

/// `content_rows`. Holds what people said: never to be printed.
#[derive(Clone, PartialEq, Eq, Row, Serialize, Deserialize)]
pub struct ContentRow {
    pub request_id: String,
    pub source: String,
    pub event_time: i64,
    pub request_body: String,
    pub response_body: String,
    pub request_bytes: u64,
    pub response_bytes: u64,
    pub request_origin: String,
    pub response_origin: String,
    pub is_truncated: bool,
    pub redacted: Vec<String>,
    /// Seconds since 1970.
    pub expires_at: u32,
    pub version: u64,
    pub is_deleted: u8,
}

impl std::fmt::Debug for ContentRow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ContentRow").field("request_id", &self.request_id).finish_non_exhaustive()
    }
}

/// `inspection_rows`, without `inserted_at`, which the server sets.
#[derive(Clone, Debug, PartialEq, Eq, Row, Serialize, Deserialize)]
pub struct InspectionRow {
    pub request_id: String,
    pub source: String,
    pub event_time: i64,
    pub user_id: String,
    pub model: String,
    pub provider: String,
    pub pii_email: Option<u16>,
    pub pii_phone: Option<u16>,
    pub pii_card: Option<u16>,
    pub pii_iban: Option<u16>,
    pub pii_ssn: Option<u16>,
    pub pii_api_key: Option<u16>,
    pub flags: Vec<String>,
    pub matches: Vec<String>,
    pub version: u64,
    pub is_deleted: u8,
}

/// `score_rows`
#[derive(Clone, Debug, PartialEq, Eq, Row, Serialize, Deserialize)]
pub struct ScoreRow {
    pub request_id: String,
    pub source: String,
    pub event_time: i64,
    pub name: String,
    pub value: i64,
    pub is_boolean: bool,
    pub queued_at: i64,
    pub state: String,
    pub attempts: u32,
    pub error: String,
    pub at: i64,
    pub version: u64,
}

/// `outcome_rows`
#[derive(Clone, Debug, PartialEq, Eq, Row, Serialize, Deserialize)]
pub struct OutcomeRow {
    pub log_partition: u16,
    pub log_offset: u64,
    pub outcome: String,
    pub reason: String,
    pub source: String,
    pub received_at: i64,
    pub version: u64,
}

/// `dead_letter_rows`
#[derive(Clone, Debug, PartialEq, Eq, Row, Serialize, Deserialize)]
pub struct DeadLetterRow {
    pub log_partition: u16,
    pub log_offset: u64,
    pub received_at: i64,
    pub at: i64,
    pub source: String,
    pub reason: String,
    pub detail: String,
    pub body_bytes: u64,
    pub dead_letter_partition: u16,
    pub dead_letter_offset: u64,
}

/// `dead_letter_handlings`
#[derive(Clone, Debug, PartialEq, Eq, Row, Serialize, Deserialize)]
pub struct DeadLetterHandlingRow {
    pub log_partition: u16,
    pub log_offset: u64,
    pub state: String,
    pub replayed_as: String,
    pub at: i64,
}

/// `log_positions`
#[derive(Clone, Debug, PartialEq, Eq, Row, Serialize, Deserialize)]
pub struct LogPositionRow {
    pub log_partition: u16,
    pub start_offset: u64,
    pub end_offset: u64,
    pub committed_offset: u64,
    pub at: i64,
}

/// Whose `prompt_tokens` and `completion_tokens` a row has; the values of `requests.usage_source`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UsageSource {
    /// The gateway's, and the response tells none.
    Gateway,
    /// The response's, inline or stored.
    Body,
    /// The gateway's, completed by what the response tells of caches, reasoning, audio and images.
    Both,
    /// Nobody's.
    None,
}

impl UsageSource {
    const ALL: [Self; 4] = [Self::Gateway, Self::Body, Self::Both, Self::None];

    /// The value in the table.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::Body => "body",
            Self::Both => "both",
            Self::None => "none",
        }
    }

    /// From the value in the table.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|source| source.as_str() == name)
    }
}
