//! The ingress through its socket.

mod refusals;
mod support;

use std::{collections::BTreeMap, time::Duration};

use support::{BODY, Behaviour, NEXT_SECRET, RECEIVED_AT, SECRET, client, head, read, samples, sign, start};
use tokio::io::AsyncWriteExt;

use super::{IngressStartError, start as start_ingress};
use crate::{
    domain::{Secret, SourceName},
    settings::{Settings, SourceSettings, TlsMode},
    telemetry::Health,
};

#[derive(serde::Deserialize)]
struct Sample {
    secret: String,
    signature: String,
}

#[tokio::test]
async fn every_sample_is_kept_untouched_over_tls() {
    let harness = start(Behaviour::Keep, |settings| settings.ingress.tls = TlsMode::SelfSigned).await;
    let signatures = std::fs::read(samples().join("signatures.json")).expect("signatures.json");
    let signatures: BTreeMap<String, Sample> = serde_json::from_slice(&signatures).expect("signatures by name");
    let mut kept = Vec::new();
    for (name, sample) in &signatures {
        let body = std::fs::read(samples().join(format!("webhooks/{name}.json"))).expect(name);
        let (status, text) =
            read(harness.post("/webhook", body.clone()).header("helicone-signature", &sample.signature)).await;
        // Signed by a webhook without a key: the empty secret, which cannot be configured.
        if sample.secret.is_empty() {
            assert_eq!((status, text.as_str()), (401, r#"{"error":"Invalid signature"}"#), "{name}");
            continue;
        }
        assert_eq!((status, text.as_str()), (200, r#"{"message":"Webhook received"}"#), "{name}");
        kept.push(body);
    }
    assert!(kept.len() >= 21 && signatures.contains_key("null-hmac-key"));
    let records = harness.log.records();
    assert!(records.iter().map(|record| record.body.as_ref()).eq(kept.iter().map(Vec::as_slice)), "bytes differ");
    assert!(records.iter().all(|record| !record.key.is_empty()));
}

#[tokio::test]
async fn a_record_says_when_from_whom_and_by_which_secret() {
    let harness = start(Behaviour::Keep, |_| {}).await;
    for (path, secret) in [("/webhook", SECRET), ("/webhook/default", NEXT_SECRET), ("/webhook/other", "other-secret")]
    {
        assert_eq!(harness.post_signed(path, BODY, secret).await.0, 200, "{path}");
    }
    let records = harness.log.records();
    let headers: Vec<Vec<_>> = records
        .iter()
        .map(|record| record.headers.iter().map(|h| format!("{}={}", h.name, h.value.escape_ascii())).collect())
        .collect();
    assert_eq!(headers, [["source=default", "secret=0"], ["source=default", "secret=1"], ["source=other", "secret=0"]]);
    assert!(records.iter().all(|record| record.key == "r-1" && record.timestamp == RECEIVED_AT));
    assert_eq!(harness.metric("heliometer_secret_used_total", &[("secret", "1")]), 1);
    assert_eq!(harness.metric("heliometer_webhooks_total", &[("outcome", "accepted")]), 3);
    assert_eq!(harness.metric("heliometer_in_flight_body_bytes", &[]), 0);
}

#[tokio::test]
async fn both_http_versions_and_no_content_type_are_taken() {
    let harness = start(Behaviour::Keep, |settings| settings.ingress.tls = TlsMode::SelfSigned).await;
    let signature = sign(SECRET, BODY.as_bytes()).to_uppercase();
    let request = harness.client.post(harness.url("/webhook")).header("helicone-signature", signature).body(BODY);
    let response = request.send().await.expect("an answer");
    assert_eq!((response.status().as_u16(), response.version()), (200, reqwest::Version::HTTP_2));

    let plain = start(Behaviour::Keep, |_| {}).await;
    let whole = format!("{}{BODY}", head(BODY, &format!("Content-Length: {}\r\n", BODY.len())));
    assert!(plain.raw(whole.as_bytes()).await.starts_with("HTTP/1.1 200 OK\r\n"));
    let chunked = format!("{}{:x}\r\n{BODY}\r\n0\r\n\r\n", head(BODY, "Transfer-Encoding: chunked\r\n"), BODY.len());
    assert!(plain.raw(chunked.as_bytes()).await.starts_with("HTTP/1.1 200 OK\r\n"));
    assert_eq!(plain.log.records().len(), 2);
}

#[tokio::test]
async fn a_large_body_is_verified_and_kept() {
    let harness = start(Behaviour::Keep, |_| {}).await;
    let body = format!(r#"{{"request_id":"large","request_body":"{}"}}"#, "x".repeat(3 * 1024 * 1024));
    assert_eq!(harness.post_signed("/webhook", &body, "wrong").await.0, 401);
    assert_eq!(harness.post_signed("/webhook", &body, SECRET).await.0, 200);
    let records = harness.log.records();
    assert!(records.len() == 1 && records[0].key == "large" && records[0].body == body);
}

#[tokio::test]
async fn health_is_told_part_by_part() {
    let harness = start(Behaviour::Keep, |_| {}).await;
    let get = |path| read(harness.client.get(harness.url(path)));
    assert_eq!(get("/healthz").await, (200, r#"{"status":"ok"}"#.to_owned()));
    let (status, text) = get("/readyz").await;
    assert_eq!((status, text.as_str()), (200, r#"{"parts":{"ingress":{"state":"ready"}},"ready":true}"#));
    harness.health.not_ready("store", "no server");
    let (status, text) = get("/readyz").await;
    assert!(status == 503 && text.contains(r#"{"reason":"no server","state":"not_ready"}"#), "{text}");
}

#[tokio::test]
async fn shutdown_finishes_the_request_under_way() {
    let harness = start(Behaviour::Hang, |_| {}).await;
    let request = harness.post("/webhook", BODY).header("helicone-signature", sign(SECRET, BODY.as_bytes()));
    let answer = tokio::spawn(read(request));
    harness.log.appending.notified().await;
    harness.shutdown.cancel();
    // Refused from now on; the listener is dropped a moment after the token is cancelled.
    let address = harness.ingress.local_addr;
    while tokio::net::TcpStream::connect(address).await.is_ok() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    harness.log.release.notify_one();
    assert_eq!(answer.await.expect("no panic").0, 200);
    harness.ingress.stopped().await;
    assert_eq!(harness.log.records().len(), 1);
    assert!(!harness.health.snapshot().0);
}

#[tokio::test]
async fn shutdown_does_not_wait_for_ever() {
    let harness = start(Behaviour::Hang, |settings| settings.limits.shutdown_timeout_ms = 50).await;
    let request = harness.post("/webhook", BODY).header("helicone-signature", sign(SECRET, BODY.as_bytes()));
    let answer = tokio::spawn(request.send());
    harness.log.appending.notified().await;
    harness.shutdown.cancel();
    harness.ingress.stopped().await;
    assert!(answer.await.expect("no panic").is_err(), "the connection was cut");
}

#[tokio::test]
async fn a_sender_that_hangs_up_is_still_believed() {
    let harness = start(Behaviour::Hang, |_| {}).await;
    let mut stream = harness.connect().await;
    let request = format!("{}{BODY}", head(BODY, &format!("Content-Length: {}\r\n", BODY.len())));
    stream.write_all(request.as_bytes()).await.expect("write");
    harness.log.appending.notified().await;
    drop(stream);
    while harness.metric("heliometer_connections", &[]) > 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    harness.log.release.notify_one();
    harness.shutdown.cancel();
    harness.ingress.stopped().await;
    assert_eq!(harness.log.records().len(), 1);
}

#[tokio::test]
async fn a_new_certificate_is_used_without_a_restart() {
    let harness = start(Behaviour::Keep, |settings| settings.ingress.tls = TlsMode::SelfSigned).await;
    let other = start(Behaviour::Keep, |settings| settings.ingress.tls = TlsMode::SelfSigned).await;
    let new_certificate = std::fs::read(other.data_dir.path().join("tls/cert.pem")).expect("certificate");
    for name in ["tls/key.pem", "tls/cert.pem"] {
        std::fs::copy(other.data_dir.path().join(name), harness.data_dir.path().join(name)).expect("copy");
    }
    let url = harness.url("/healthz");
    let mut attempts = 0;
    // A new client each time, since a pooled connection keeps the certificate it began with.
    while client(Some(new_certificate.clone())).get(&url).send().await.is_err() {
        attempts += 1;
        assert!(attempts < 200, "the new certificate is not used");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn connections_beyond_the_limit_wait() {
    let harness = start(Behaviour::Keep, |settings| settings.ingress.max_connections = 1).await;
    let first = harness.connect().await;
    while harness.metric("heliometer_connections", &[]) < 1 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let waiting = harness.post_signed("/webhook", BODY, SECRET);
    let waiting = tokio::time::timeout(Duration::from_millis(100), waiting);
    assert!(waiting.await.is_err() && harness.log.records().is_empty());
    drop(first);
    assert_eq!(harness.post_signed("/webhook", BODY, SECRET).await.0, 200);
}

#[tokio::test]
async fn what_cannot_be_served_does_not_start() {
    let start = async |change: fn(&mut Settings)| {
        let mut settings = Settings::default();
        settings.ingress.listen = ([127, 0, 0, 1], 0).into();
        settings.ingress.tls = TlsMode::Off;
        change(&mut settings);
        let log = std::sync::Arc::new(support::MemoryLog::default());
        let clock = std::sync::Arc::new(crate::domain::SystemClock);
        let (registry, shutdown) = (prometheus::Registry::new(), tokio_util::sync::CancellationToken::new());
        start_ingress(&settings, log, clock, Health::default(), &registry, shutdown).await
    };
    let empty = start(|settings| {
        settings.sources = vec![SourceSettings::new(SourceName::default(), vec![Secret::new("")])];
    });
    assert!(matches!(empty.await, Err(IngressStartError::EmptySecret(name)) if name.as_str() == "default"));
    let proxies = start(|settings| settings.ingress.trusted_proxies = vec!["proxy.example".to_owned()]);
    assert!(matches!(proxies.await, Err(IngressStartError::TrustedProxy(_))));
    let files = start(|settings| {
        settings.ingress.tls = TlsMode::Files { cert_file: "no-such.pem".into(), key_file: "no-such.pem".into() };
    });
    assert!(matches!(files.await, Err(IngressStartError::Tls(_))));
    let address = start(|settings| settings.ingress.listen = ([192, 0, 2, 1], 1).into());
    assert!(matches!(address.await, Err(IngressStartError::Listen { .. })));
}
