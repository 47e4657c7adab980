//! Every setting with its default and its unit. The README's table is made from these comments.

use std::{net::SocketAddr, path::PathBuf};

use serde::Deserialize;

use super::{AlertSettings, ClickHouseSettings, ContentsSettings, EventLogSettings, NotifierSettings};
use crate::{
    domain::{SampleRate, Secret, SourceName},
    pricing::text::EntryText,
};

/// Everything that can be set.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Where the embedded event log, the embedded ClickHouse and the certificate live. `HELIOMETER_DATA_DIR`.
    pub data_dir: DataDir,
    /// The webhook listener.
    pub ingress: IngressSettings,
    /// Metrics and the live page.
    pub admin: AdminSettings,
    /// Who may send how much.
    pub rate_limit: RateLimitSettings,
    /// Senders and their signing secrets.
    pub sources: Vec<SourceSettings>,
    /// Kafka, or the embedded log.
    pub event_log: EventLogSettings,
    /// A ClickHouse server, or the embedded engine.
    pub clickhouse: ClickHouseSettings,
    /// Fetching `request_response_url`.
    pub fetch: FetchSettings,
    /// The price book.
    pub pricing: PricingSettings,
    /// What is kept of requests and responses, and looked for in them.
    pub contents: ContentsSettings,
    /// Alert rules and their evaluation.
    pub alerts: AlertSettings,
    /// Where alerts go.
    pub notifiers: NotifierSettings,
    /// Bounds on memory and judgement.
    pub limits: LimitSettings,
    /// Logs.
    pub telemetry: TelemetrySettings,
}

/// A directory, `./data` unless set.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(transparent)]
pub struct DataDir(pub PathBuf);

impl Default for DataDir {
    fn default() -> Self {
        Self(PathBuf::from("./data"))
    }
}

impl std::ops::Deref for DataDir {
    type Target = std::path::Path;
    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

/// `[ingress]`
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct IngressSettings {
    /// Address and port of the webhook listener; port 0 takes any free one.
    pub listen: SocketAddr,
    /// `"self-signed"`, `"off"` (behind a proxy that ends TLS), or `{ cert_file = "…", key_file = "…" }`.
    pub tls: TlsMode,
    /// A larger body is answered 413. Helicone does not cut bodies, so images make them large.
    pub max_body_bytes: usize,
    /// Bodies being received at once, in bytes: bounds the memory of the ingress.
    pub max_in_flight_bytes: usize,
    /// Connections open at once; further ones wait in the kernel's queue.
    pub max_connections: usize,
    /// A body that takes longer is answered 408.
    pub body_timeout_ms: u64,
    /// Request line and headers must arrive within this.
    pub header_timeout_ms: u64,
    /// The durable append must finish within this, else 503.
    pub append_timeout_ms: u64,
    /// Networks of proxies whose `X-Forwarded-For` is believed, as CIDR; the client's IP is the first hop outside them.
    pub trusted_proxies: Vec<String>,
}

impl Default for IngressSettings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([0, 0, 0, 0], 8443)),
            tls: TlsMode::SelfSigned,
            max_body_bytes: 32 * 1024 * 1024,
            max_in_flight_bytes: 256 * 1024 * 1024,
            max_connections: 4096,
            body_timeout_ms: 30_000,
            header_timeout_ms: 10_000,
            append_timeout_ms: 10_000,
            trusted_proxies: Vec::new(),
        }
    }
}

/// How the ingress speaks TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TlsMode {
    /// A certificate made at first start and kept in the data directory.
    SelfSigned,
    /// Plain HTTP.
    Off,
    /// Files in PEM, read again when they change.
    Files {
        /// The certificate chain.
        cert_file: PathBuf,
        /// Its private key.
        key_file: PathBuf,
    },
}

impl<'de> Deserialize<'de> for TlsMode {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Files {
            cert_file: PathBuf,
            key_file: PathBuf,
        }
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Either {
            Word(String),
            Files(Files),
        }
        match Either::deserialize(deserializer) {
            Ok(Either::Word(word)) if word == "self-signed" => Ok(Self::SelfSigned),
            Ok(Either::Word(word)) if word == "off" => Ok(Self::Off),
            Ok(Either::Files(Files { cert_file, key_file })) => Ok(Self::Files { cert_file, key_file }),
            _ => Err(serde::de::Error::custom(
                "must be \"self-signed\", \"off\" or { cert_file = \"…\", key_file = \"…\" }",
            )),
        }
    }
}

/// `[admin]`
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdminSettings {
    /// Address of `/metrics`, `/healthz`, `/readyz` and the live page; port 0 takes any free one.
    pub listen: SocketAddr,
    /// Host names under which the live page is answered, beside IP addresses and `localhost`, such as a proxy's. Any other
    /// name may be an attacker's that points here.
    pub hosts: Vec<String>,
}

impl Default for AdminSettings {
    fn default() -> Self {
        Self { listen: SocketAddr::from(([127, 0, 0, 1], 9464)), hosts: Vec::new() }
    }
}

/// `[rate_limit]`: high by default, since Helicone never retries what it is told to retry later.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RateLimitSettings {
    /// Webhooks a second from one client IP (a /64 in IPv6); bursts of twice as many pass.
    pub per_ip_per_second: u32,
    /// Webhooks a second for one source; bursts of twice as many pass.
    pub per_source_per_second: u32,
    /// Wrong signatures from one client IP before they are answered 429. A right signature always passes.
    pub failed_signatures_per_15_minutes: u32,
}

impl Default for RateLimitSettings {
    fn default() -> Self {
        Self { per_ip_per_second: 10_000, per_source_per_second: 20_000, failed_signatures_per_15_minutes: 100 }
    }
}

/// One of `[[sources]]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceSettings {
    /// The name in `POST /webhook/{source}`, in tables and in metrics.
    pub name: SourceName,
    /// Any of these may have signed; two while rotating.
    pub secrets: Vec<Secret>,
    /// Percent of its calls that the source sends, above 0: the sample rate of its webhook at Helicone. Totals then have
    /// estimates beside what was counted.
    #[serde(default)]
    pub sample_rate_percent: SampleRate,
    /// Hosts from which stored bodies may be fetched, as globs such as `*.amazonaws.com`; none allows any.
    #[serde(default)]
    pub fetch_hosts: Vec<String>,
    /// Whether `http://` URLs are accepted from this source; as `fetch.allow_http` says unless set.
    #[serde(default)]
    pub fetch_allow_http: Option<bool>,
    /// Base of the source's Helicone API; `https://api.helicone.ai` unless set.
    #[serde(default)]
    pub helicone_api_url: Option<String>,
    /// Its key. `HELICONE_API_KEY` for the source `default`.
    #[serde(default)]
    pub helicone_api_key: Option<Secret>,
}

impl SourceSettings {
    /// A source with everything else at its default.
    #[must_use]
    pub const fn new(name: SourceName, secrets: Vec<Secret>) -> Self {
        Self {
            name,
            secrets,
            sample_rate_percent: SampleRate::ALL,
            fetch_hosts: Vec::new(),
            fetch_allow_http: None,
            helicone_api_url: None,
            helicone_api_key: None,
        }
    }
}

/// `[fetch]`
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FetchSettings {
    /// Fetch at all. Off, everything comes from the payload.
    pub enabled: bool,
    /// Accept `http://` URLs (a self-hosted Helicone with `MinIO`).
    pub allow_http: bool,
    /// Private or loopback networks that may be fetched from, as CIDR.
    pub allow_private_cidrs: Vec<String>,
    /// Fetches at once.
    pub max_concurrent: usize,
    /// Fetches at once from one host.
    pub max_concurrent_per_host: usize,
    /// Bytes of objects in memory at once, over all fetches.
    pub max_in_flight_bytes: usize,
    /// Attempts per object.
    pub max_attempts: u32,
    /// One attempt must finish within this.
    pub attempt_timeout_ms: u64,
    /// All attempts together must finish within this; then the row is written from the payload alone, and the object is
    /// asked for again later.
    pub total_timeout_ms: u64,
    /// Later attempts, which no row waits for, must finish within this.
    pub retry_timeout_ms: u64,
    /// The first later attempt comes within this, the next within twice this and so on, at random.
    pub retry_first_delay_ms: u64,
    /// No later attempt waits longer for its turn.
    pub retry_max_delay_ms: u64,
    /// An object is read up to this size after decompression.
    pub max_object_bytes: usize,
}

impl Default for FetchSettings {
    fn default() -> Self {
        Self {
            enabled: true,
            allow_http: false,
            allow_private_cidrs: Vec::new(),
            max_concurrent: 64,
            max_concurrent_per_host: 48,
            max_in_flight_bytes: 256 * 1024 * 1024,
            max_attempts: 3,
            attempt_timeout_ms: 1_500,
            total_timeout_ms: 2_500,
            retry_timeout_ms: 30_000,
            retry_first_delay_ms: 10_000,
            retry_max_delay_ms: 300_000,
            max_object_bytes: 64 * 1024 * 1024,
        }
    }
}

/// `[pricing]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PricingSettings {
    /// A directory with book files (`*.toml`) that go before those shipped, or in the place of one of the same name; empty:
    /// none.
    pub book_dir: PathBuf,
    /// Book files with negotiated prices, which go before all others; `*` stands for any text in a file's name.
    pub overrides_files: Vec<String>,
    /// `[[pricing.overrides]]`: negotiated prices, as entries of a book file.
    pub overrides: Vec<EntryText>,
}

/// `[limits]`
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LimitSettings {
    /// Records being worked on at once by the consumer.
    pub max_in_flight_records: usize,
    /// Bytes of records being worked on at once by the consumer.
    pub max_in_flight_bytes: usize,
    /// Recent request ids kept in memory, in all; older ones are looked up in ClickHouse.
    pub dedupe_max_ids: usize,
    /// A request is inefficient when prompt tokens / completion tokens is above this.
    pub max_token_ratio: f64,
    /// When more of the last [`Self::dead_letter_window`] messages than this would become dead letters, in percent, the
    /// consumer stops before the topic is emptied into them; 100 never stops it.
    pub max_dead_letter_share_percent: u8,
    /// How many of the last messages are looked at for that; of fewer, any share passes.
    pub dead_letter_window: usize,
    /// At shutdown, unfinished work is given this long.
    pub shutdown_timeout_ms: u64,
}

impl Default for LimitSettings {
    fn default() -> Self {
        Self {
            max_in_flight_records: 20_000,
            max_in_flight_bytes: 256 * 1024 * 1024,
            dedupe_max_ids: 2_000_000,
            max_token_ratio: 10.0,
            max_dead_letter_share_percent: 50,
            dead_letter_window: 10_000,
            shutdown_timeout_ms: 20_000,
        }
    }
}

/// `[telemetry]`
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TelemetrySettings {
    /// `"auto"` (pretty on a terminal, JSON elsewhere), `"json"` or `"pretty"`.
    pub log_format: LogFormat,
    /// A filter such as `info` or `heliometer=debug`.
    pub log_filter: String,
}

impl Default for TelemetrySettings {
    fn default() -> Self {
        Self { log_format: LogFormat::Auto, log_filter: "info".to_owned() }
    }
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Pretty on a terminal, JSON elsewhere.
    #[default]
    Auto,
    /// One JSON object a line.
    Json,
    /// For people.
    Pretty,
}
