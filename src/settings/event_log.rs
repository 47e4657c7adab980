//! The settings of the event log, embedded or in Kafka.

use std::{collections::BTreeMap, path::PathBuf};

use serde::Deserialize;
use url::Url;

use crate::domain::Secret;

/// `[event_log]`
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EventLogSettings {
    /// Kafka brokers as `host:port`; none means the embedded log.
    pub brokers: Vec<String>,
    /// Partitions of each topic but `control`, which has one; fixed once the topic exists.
    pub partitions: u16,
    /// Segments of the embedded log are deleted once consumed and older than this; Kafka's topics are made with it.
    pub retention_hours: u64,
    /// A segment of the embedded log is closed at this size.
    pub segment_bytes: u64,
    /// The embedded log refuses records (503) past this size on disk.
    pub max_disk_bytes: u64,
    /// Larger records are refused.
    pub max_record_bytes: usize,
    /// Kafka: begins the name of every topic and consumer group.
    pub topic_prefix: String,
    /// Kafka: replicas of a topic that is made; -1 takes the broker's default.
    pub replication_factor: i32,
    /// Kafka: a record that is not acknowledged within this is given up; keep it below `ingress.append_timeout_ms`.
    pub delivery_timeout_ms: u64,
    /// Kafka: a webhook that is not acknowledged within this goes to the spool on this machine's disk; keep it well
    /// below `ingress.append_timeout_ms`.
    pub spool_after_ms: u64,
    /// Kafka: the spool refuses webhooks (503) past this size on disk.
    pub spool_max_disk_bytes: u64,
    /// Kafka: a name of this process that survives its restart (static membership), so that a restart within the
    /// session timeout moves no partitions. Each process needs its own.
    pub instance_id: Option<String>,
    /// Kafka: `"plaintext"`, `"ssl"`, `"sasl_plaintext"` or `"sasl_ssl"`.
    pub security_protocol: SecurityProtocol,
    /// Kafka: `"PLAIN"`, `"SCRAM-SHA-256"`, `"SCRAM-SHA-512"` or `"OAUTHBEARER"`.
    pub sasl_mechanism: Option<SaslMechanism>,
    /// Kafka: SASL user.
    pub sasl_username: Option<String>,
    /// Kafka: SASL password.
    pub sasl_password: Option<Secret>,
    /// Kafka with `"OAUTHBEARER"`: where tokens come from, by OAuth 2.0's client credentials grant; `https`, or `http`
    /// on this machine.
    pub oauth_token_url: Option<Url>,
    /// Kafka with `"OAUTHBEARER"`: the client that tokens are asked for.
    pub oauth_client_id: Option<String>,
    /// Kafka with `"OAUTHBEARER"`: that client's secret.
    pub oauth_client_secret: Option<Secret>,
    /// Kafka with `"OAUTHBEARER"`: what tokens are asked to allow, words with spaces between; the server's default
    /// unless set.
    pub oauth_scope: Option<String>,
    /// Kafka with `"OAUTHBEARER"`: certificates to trust at `oauth_token_url` beside the system's own, in PEM.
    pub oauth_ca_file: Option<PathBuf>,
    /// Kafka: certificates to trust, in PEM; the system's own unless set.
    pub ssl_ca_file: Option<PathBuf>,
    /// Kafka: any other property of librdkafka by its own name, for example `"client.rack" = "a"`. Values are treated
    /// as secrets: `env:NAME` and `file:PATH` work, and none is ever printed.
    pub properties: BTreeMap<String, Secret>,
}

impl Default for EventLogSettings {
    fn default() -> Self {
        Self {
            brokers: Vec::new(),
            partitions: 4,
            retention_hours: 72,
            segment_bytes: 256 * 1024 * 1024,
            max_disk_bytes: 64 * 1024 * 1024 * 1024,
            max_record_bytes: 64 * 1024 * 1024,
            topic_prefix: "heliometer.".to_owned(),
            replication_factor: -1,
            delivery_timeout_ms: 8_000,
            spool_after_ms: 2_000,
            spool_max_disk_bytes: 16 * 1024 * 1024 * 1024,
            instance_id: None,
            security_protocol: SecurityProtocol::Plaintext,
            sasl_mechanism: None,
            sasl_username: None,
            sasl_password: None,
            oauth_token_url: None,
            oauth_client_id: None,
            oauth_client_secret: None,
            oauth_scope: None,
            oauth_ca_file: None,
            ssl_ca_file: None,
            properties: BTreeMap::new(),
        }
    }
}

/// How Kafka's brokers are spoken to.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum SecurityProtocol {
    /// Neither encrypted nor authenticated.
    #[default]
    Plaintext,
    /// TLS.
    Ssl,
    /// A user without encryption.
    SaslPlaintext,
    /// A user over TLS.
    SaslSsl,
}

impl SecurityProtocol {
    /// As settings and librdkafka spell it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Plaintext => "plaintext",
            Self::Ssl => "ssl",
            Self::SaslPlaintext => "sasl_plaintext",
            Self::SaslSsl => "sasl_ssl",
        }
    }

    /// Whether a user is named to the broker.
    #[must_use]
    pub const fn has_sasl(self) -> bool {
        matches!(self, Self::SaslPlaintext | Self::SaslSsl)
    }
}

/// How a user proves to be one.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
pub enum SaslMechanism {
    /// The password itself: over TLS only.
    #[serde(rename = "PLAIN")]
    Plain,
    /// A salted challenge with SHA-256.
    #[serde(rename = "SCRAM-SHA-256")]
    ScramSha256,
    /// A salted challenge with SHA-512.
    #[serde(rename = "SCRAM-SHA-512")]
    ScramSha512,
    /// A token, for which `oauth_token_url` is asked.
    #[serde(rename = "OAUTHBEARER")]
    OauthBearer,
}

impl SaslMechanism {
    /// As settings and librdkafka spell it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
            Self::OauthBearer => "OAUTHBEARER",
        }
    }
}
