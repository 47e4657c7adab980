//! An ingress on a free port, with a log that a test can look into or break.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use hmac::{Hmac, KeyInit, Mac};
use prometheus::Registry;
use sha2::Sha256;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::Notify,
};
use tokio_util::sync::CancellationToken;

use crate::{
    domain::{ManualClock, Secret, SourceName, SystemClock, UtcMillis},
    event_log::{
        EventLog, EventLogError, NewRecord, Offset, Partition, Position, ReadLimits, Record, Subscription, Topic,
        Watermarks,
    },
    ingress::{Intervals, RunningIngress, start_with},
    settings::{Settings, SourceSettings, TlsMode},
    telemetry::Health,
};

pub(super) const SECRET: &str = "5f9d3c0a7e1b4d2f8a6c9e0b1d3f5a7c2e4b6d8f0a1c3e5b7d9f1a2b4c6d8e0f";
pub(super) const NEXT_SECRET: &str = "the-secret-after-rotation";
pub(super) const BODY: &str = r#"{"request_id":"r-1","request_body":{}}"#;
pub(super) const RECEIVED_AT: UtcMillis = UtcMillis(1_757_346_297_250);

/// What the log does with an append.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Behaviour {
    #[default]
    Keep,
    Fail,
    /// Waits for [`MemoryLog::release`], then keeps.
    Hang,
}

#[derive(Default)]
pub(super) struct MemoryLog {
    behaviour: Behaviour,
    records: Mutex<Vec<(Topic, NewRecord)>>,
    pub(super) appending: Notify,
    pub(super) release: Notify,
}

impl MemoryLog {
    pub(super) fn records(&self) -> Vec<NewRecord> {
        let records = self.records.lock().expect("no panic under the lock");
        assert!(records.iter().all(|(topic, _)| *topic == Topic::Webhooks));
        records.iter().map(|(_, record)| record.clone()).collect()
    }
}

#[async_trait]
impl EventLog for MemoryLog {
    async fn append(&self, topic: Topic, record: NewRecord) -> Result<Position, EventLogError> {
        self.appending.notify_one();
        match self.behaviour {
            Behaviour::Keep => {}
            Behaviour::Fail => return Err(EventLogError::DiskFull { path: "/secret/place".into() }),
            Behaviour::Hang => self.release.notified().await,
        }
        self.records.lock().expect("no panic under the lock").push((topic, record));
        Ok(Position { topic, partition: Partition(0), offset: Offset(0) })
    }

    async fn subscribe(&self, _: Topic, _: &str, _: ReadLimits) -> Result<Box<dyn Subscription>, EventLogError> {
        Err(EventLogError::Closed)
    }

    async fn watermarks(&self, _: Topic) -> Result<Vec<Watermarks>, EventLogError> {
        Err(EventLogError::Closed)
    }

    async fn read(&self, _: Position) -> Result<Option<Record>, EventLogError> {
        Err(EventLogError::Closed)
    }

    async fn enforce_retention(&self, _: UtcMillis) -> Result<(), EventLogError> {
        Ok(())
    }

    async fn close(&self) {}
}

pub(super) struct Harness {
    pub(super) ingress: RunningIngress,
    pub(super) log: Arc<MemoryLog>,
    pub(super) health: Health,
    pub(super) registry: Registry,
    pub(super) shutdown: CancellationToken,
    pub(super) client: reqwest::Client,
    pub(super) data_dir: tempfile::TempDir,
}

/// Source `default` with two secrets and `other` with one, plain HTTP unless changed.
pub(super) async fn start(behaviour: Behaviour, change: impl FnOnce(&mut Settings)) -> Harness {
    let data_dir = tempfile::tempdir().expect("temporary directory");
    let mut settings = Settings::default();
    settings.data_dir.0 = data_dir.path().to_owned();
    settings.ingress.listen = ([127, 0, 0, 1], 0).into();
    settings.ingress.tls = TlsMode::Off;
    settings.limits.shutdown_timeout_ms = 5_000;
    let source = |name, secrets: &[&str]| {
        SourceSettings::new(SourceName::new(name).expect("a name"), secrets.iter().copied().map(Secret::new).collect())
    };
    settings.sources = vec![source("default", &[SECRET, NEXT_SECRET]), source("other", &["other-secret"])];
    change(&mut settings);

    let log = Arc::new(MemoryLog { behaviour, ..MemoryLog::default() });
    let (health, registry, shutdown) = (Health::default(), Registry::new(), CancellationToken::new());
    let intervals = Intervals { certificate: Duration::from_millis(20), limiters: Duration::from_millis(20) };
    // A certificate must be valid by the clock of the TLS client, which cannot be turned.
    let clock: Arc<dyn crate::domain::Clock> = match settings.ingress.tls {
        TlsMode::Off => Arc::new(ManualClock::at(RECEIVED_AT)),
        _ => Arc::new(SystemClock),
    };
    let ingress = start_with(&settings, log.clone(), clock, health.clone(), &registry, shutdown.clone(), intervals)
        .await
        .expect("the ingress starts");
    let client = client(ingress.tls.then(|| std::fs::read(data_dir.path().join("tls/cert.pem")).expect("certificate")));
    Harness { ingress, log, health, registry, shutdown, client, data_dir }
}

/// A client that trusts one certificate and nothing else.
pub(super) fn client(certificate_pem: Option<Vec<u8>>) -> reqwest::Client {
    // The second test to get here finds it installed.
    crate::tls::install_crypto_provider();
    let roots = certificate_pem.map(|pem| reqwest::Certificate::from_pem(&pem).expect("a certificate"));
    reqwest::Client::builder().tls_certs_only(roots).no_proxy().build().expect("a client")
}

impl Harness {
    pub(super) fn url(&self, path: &str) -> String {
        let scheme = if self.ingress.tls { "https" } else { "http" };
        format!("{scheme}://{}{path}", self.ingress.local_addr)
    }

    pub(super) fn post(&self, path: &str, body: impl Into<reqwest::Body>) -> reqwest::RequestBuilder {
        self.client.post(self.url(path)).header("content-type", "application/json").body(body)
    }

    /// The status and body of `BODY`-like content signed with `secret`.
    pub(super) async fn post_signed(&self, path: &str, body: &str, secret: &str) -> (u16, String) {
        read(self.post(path, body.to_owned()).header("helicone-signature", sign(secret, body.as_bytes()))).await
    }

    /// Writes `request` as it is and reads what comes until the server closes.
    pub(super) async fn raw(&self, request: &[u8]) -> String {
        let mut stream = self.connect().await;
        stream.write_all(request).await.expect("write");
        read_to_close(&mut stream).await
    }

    pub(super) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.ingress.local_addr).await.expect("connect")
    }

    /// The value of a counter or gauge, summed over the labels not named.
    #[expect(clippy::cast_possible_truncation, reason = "these count whole things")]
    pub(super) fn metric(&self, name: &str, labels: &[(&str, &str)]) -> i64 {
        let families = self.registry.gather();
        let family = families.iter().find(|family| family.name() == name);
        let sum: f64 = family
            .into_iter()
            .flat_map(prometheus::proto::MetricFamily::get_metric)
            .filter(|metric| {
                labels.iter().all(|(name, value)| {
                    metric.get_label().iter().any(|label| label.name() == *name && label.value() == *value)
                })
            })
            .map(|metric| metric.get_counter().get_value() + metric.get_gauge().get_value())
            .sum();
        sum as i64
    }
}

pub(super) async fn read(request: reqwest::RequestBuilder) -> (u16, String) {
    let response = request.send().await.expect("an answer");
    (response.status().as_u16(), response.text().await.expect("a body"))
}

pub(super) async fn read_to_close(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut answer))
        .await
        .expect("the server closes")
        .expect("readable");
    String::from_utf8(answer).expect("text")
}

/// The status of a raw HTTP/1.1 answer.
pub(super) fn status_of(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or("no answer")
}

/// A raw request head with a right signature over `body`.
pub(super) fn head(body: &str, more: &str) -> String {
    let signature = sign(SECRET, body.as_bytes());
    format!(
        "POST /webhook HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nConnection: close\r\n\
         Helicone-Signature: {signature}\r\n{more}\r\n"
    )
}

pub(super) fn sign(secret: &str, body: &[u8]) -> String {
    let mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("any length").chain_update(body);
    hex::encode(mac.finalize().into_bytes())
}

/// `samples/` beside the checkout.
pub(super) fn samples() -> PathBuf {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/samples");
    assert!(path.is_dir(), "this test needs the samples at {}", path.display());
    path
}
