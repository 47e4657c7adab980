//! Whole runs against a small receiver that verifies signatures and keeps count.

use std::{
    collections::HashSet,
    sync::{Arc, LazyLock, Mutex},
    time::Duration,
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode},
    routing::post,
};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use url::Url;

use super::*;
use crate::{
    domain::{Clock, Secret, SourceName, SystemClock, UsdAmount},
    pricing::PriceBook,
    usage::{Body, ResponseFacts},
};

#[derive(Default)]
struct Seen {
    ids: HashSet<String>,
    deliveries: u64,
    duplicates: u64,
    unauthorized: u64,
    bad: u64,
    priced: u64,
    cost: UsdAmount,
    /// Refuse this many first, with 503.
    refuse: u64,
}

#[derive(Deserialize)]
struct Payload<'a> {
    request_id: Option<String>,
    #[serde(borrow)]
    metadata: Option<Metadata<'a>>,
    request_response_url: Option<String>,
    provider: Option<String>,
    model: Option<String>,
    #[serde(borrow)]
    response_body: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata<'a> {
    prompt_tokens: i64,
    #[serde(borrow)]
    cost: &'a RawValue,
}

type Shared = Arc<Mutex<Seen>>;

/// What the receiver proper would make of a body whose usage the gateway did not count.
fn by_book(provider: Option<&str>, model: Option<&str>, body: Option<&RawValue>) -> Option<UsdAmount> {
    static BOOK: LazyLock<PriceBook> = LazyLock::new(|| PriceBook::builtin().expect("book"));
    let usage = ResponseFacts::read(&Body::from_payload(body)).usage?;
    let priced = BOOK.price(provider?, model?, SystemClock.now(), &usage);
    priced.ok().map(|priced| priced.amount())
}

async fn receive(State(seen): State<Shared>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let url = {
        let mut seen = seen.lock().expect("not poisoned");
        if seen.refuse > 0 {
            seen.refuse -= 1;
            return StatusCode::SERVICE_UNAVAILABLE;
        }
        let signature = Signer::new("s3cret").expect("a key").sign(&body);
        if headers["helicone-signature"] != signature || headers["content-type"] != "application/json" {
            seen.unauthorized += 1;
            return StatusCode::UNAUTHORIZED;
        }
        let Ok(payload) = serde_json::from_slice::<Payload<'_>>(&body) else {
            seen.bad += 1;
            return StatusCode::BAD_REQUEST;
        };
        let Payload { request_id: Some(id), metadata, request_response_url, provider, model, response_body } = payload
        else {
            seen.bad += 1;
            return StatusCode::BAD_REQUEST;
        };
        seen.deliveries += 1;
        let is_test = request_response_url.as_deref().is_some_and(|url| url.contains("MOCKAWSCREDENTIAL"));
        if is_test {
            return StatusCode::OK;
        }
        if !seen.ids.insert(id) {
            seen.duplicates += 1;
            return StatusCode::OK;
        }
        if let Some(told) = metadata.filter(|told| told.prompt_tokens >= 0) {
            let mut cost = UsdAmount::parse_request_amount(told.cost.get()).expect("an amount");
            if !cost.is_positive() {
                cost = by_book(provider.as_deref(), model.as_deref(), response_body).unwrap_or_default();
            }
            seen.priced += u64::from(cost.is_positive());
            seen.cost = seen.cost + cost;
        }
        request_response_url
    };
    if let Some(url) = url {
        tokio::spawn(reqwest::get(url));
    }
    StatusCode::OK
}

async fn receiver(refuse: u64) -> (Url, Shared) {
    let seen: Shared = Arc::new(Mutex::new(Seen { refuse, ..Seen::default() }));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}/webhook", listener.local_addr().expect("bound"));
    let router = Router::new().route("/webhook", post(receive)).with_state(Arc::clone(&seen));
    tokio::spawn(async move { axum::serve(listener, router).await });
    (Url::parse(&url).expect("valid"), seen)
}

fn options(url: Url, count: u64, faults: &str) -> RunOptions {
    RunOptions {
        url,
        rate_per_second: 0,
        count,
        seed: 21,
        storage_listen: ([127, 0, 0, 1], 0).into(),
        storage_url: None,
        faults: faults.parse().expect("valid faults"),
        source: None,
        secret: Secret::new("s3cret"),
        ca_files: Vec::new(),
        concurrency: 16,
        max_attempts: 12,
        expect_requests: None,
        linger: Duration::from_secs(10),
    }
}

async fn run_to_end(options: RunOptions) -> Report {
    run(options, Arc::new(SystemClock), Arc::new(NoProgress), CancellationToken::new()).await.expect("runs")
}

#[tokio::test]
async fn the_report_equals_what_a_receiver_counts() {
    let (url, seen) = receiver(0).await;
    let faults = "duplicates=10,reorder=10,bad-signature=3,not-json=2,no-request-id=2,storage-404=5,storage-500=5";
    let report = run_to_end(options(url, 600, faults)).await;
    let seen = seen.lock().expect("not poisoned");
    let totals = &report.totals;
    assert!(report.unexpected.is_empty(), "{:?}", report.unexpected);
    assert_eq!(totals.accepted, seen.deliveries);
    assert_eq!(totals.sums.requests, seen.ids.len() as u64);
    assert_eq!((totals.duplicates, totals.bad_signatures), (seen.duplicates, seen.unauthorized));
    assert_eq!(totals.dead_letters, seen.bad);
    assert!(totals.duplicates > 20 && totals.bad_signatures > 5 && totals.dead_letters > 10, "{totals:?}");
    assert_eq!(totals.sent, totals.accepted + totals.dead_letters + totals.bad_signatures);
    assert_eq!(totals.accepted, totals.sums.requests + totals.duplicates + totals.tests);
    assert_eq!((totals.sums.priced_requests, &totals.sums.cost_usd), (seen.priced, &seen.cost.to_string()));
    assert!(seen.cost.is_positive());
    assert_eq!(totals.by_user.iter().map(|group| group.sums.requests).sum::<u64>(), totals.sums.requests);
    assert!(report.fetches.distinct > report.fetchable * 8 / 10, "{:?} of {}", report.fetches, report.fetchable);
    assert_eq!(report.fetches.refused, 0);
}

#[tokio::test]
async fn every_accepted_request_is_written_down_once() {
    let (url, seen) = receiver(0).await;
    let file = tempfile::NamedTempFile::new().expect("a file");
    let options = RunOptions {
        expect_requests: Some(file.path().to_path_buf()),
        ..options(url, 600, "duplicates=10,bad-signature=3,not-json=2,late=5,back-dated=20")
    };
    let report = run_to_end(options).await;
    let text = std::fs::read_to_string(file.path()).expect("written");
    let lines: Vec<Vec<&str>> = text.lines().skip(1).map(|line| line.split(',').collect()).collect();
    assert!(lines.iter().all(|fields| fields.len() == 12), "{text}");
    let ids: HashSet<String> = lines.iter().map(|fields| fields[0].to_owned()).collect();
    assert_eq!((ids.len(), &ids), (lines.len(), &seen.lock().expect("not poisoned").ids));
    let cost = lines.iter().filter_map(|fields| fields[5].parse::<rust_decimal::Decimal>().ok());
    assert_eq!(cost.sum::<rust_decimal::Decimal>().to_string(), report.totals.sums.cost_usd);
}

#[tokio::test]
async fn what_is_refused_for_now_is_sent_again() {
    let (url, seen) = receiver(10).await;
    let report = run_to_end(options(url, 50, "")).await;
    assert!(report.unexpected.is_empty(), "{:?}", report.unexpected);
    assert_eq!(report.retries, 10);
    assert_eq!((report.totals.sent, report.totals.uncertain), (50, 0));
    assert_eq!(report.totals.sums.requests, seen.lock().expect("not poisoned").ids.len() as u64);
}

#[tokio::test]
async fn a_self_signed_certificate_is_no_obstacle_on_loopback() {
    crate::tls::install_crypto_provider();
    let made = rcgen::generate_simple_self_signed(vec!["elsewhere.example".to_owned()]).expect("a certificate");
    let (certificate, key) = (made.cert.pem().into_bytes(), made.signing_key.serialize_pem().into_bytes());
    let tls = axum_server::tls_rustls::RustlsConfig::from_pem(certificate, key).await.expect("usable");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.set_nonblocking(true).expect("a socket");
    let url = Url::parse(&format!("https://{}", listener.local_addr().expect("bound"))).expect("valid");
    let seen = Shared::default();
    let router = Router::new().route("/webhook", post(receive)).with_state(Arc::clone(&seen));
    let server = axum_server::from_tcp_rustls(listener, tls).expect("listens");
    tokio::spawn(server.serve(router.into_make_service()));
    let report = run_to_end(RunOptions { rate_per_second: 100, ..options(url, 30, "") }).await;
    assert!(report.unexpected.is_empty(), "{:?}", report.unexpected);
    assert_eq!(report.totals.accepted, seen.lock().expect("not poisoned").deliveries);
    assert!(report.elapsed_ms >= 290, "30 events at 100 per second took {} ms", report.elapsed_ms);
}

#[tokio::test]
async fn nobody_listening_is_reported() {
    let url = Url::parse("http://127.0.0.1:1").expect("valid");
    let stop = CancellationToken::new();
    let running = tokio::spawn(run(options(url, 5, ""), Arc::new(SystemClock), Arc::new(NoProgress), stop.clone()));
    tokio::time::sleep(Duration::from_millis(400)).await;
    stop.cancel();
    let report = running.await.expect("no panic").expect("runs");
    assert_eq!(report.unexpected.into_iter().collect::<Vec<_>>(), [("no answer instead of 200".to_owned(), 5)]);
    assert_eq!((report.totals.accepted, report.totals.uncertain), (0, 0));
    assert!(report.retries >= 5);
}

#[tokio::test]
async fn another_secret_is_reported_and_not_expected() {
    let (url, _) = receiver(0).await;
    let report = run_to_end(RunOptions { secret: Secret::new("other"), ..options(url, 20, "") }).await;
    assert_eq!(report.unexpected.into_iter().collect::<Vec<_>>(), [("401 instead of 200".to_owned(), 20)]);
    assert_eq!((report.totals.sent, report.totals.accepted, report.totals.sums.requests), (20, 0, 0));
}

#[tokio::test]
async fn a_stopped_run_reports_what_was_accepted() {
    let (url, seen) = receiver(0).await;
    let stop = CancellationToken::new();
    let options = RunOptions { rate_per_second: 100, ..options(url, 1_000_000, "") };
    let running = tokio::spawn(run(options, Arc::new(SystemClock), Arc::new(NoProgress), stop.clone()));
    tokio::time::sleep(Duration::from_millis(500)).await;
    stop.cancel();
    let report = running.await.expect("no panic").expect("runs");
    assert!(report.was_stopped && report.totals.sent < 100, "{}", report.totals.sent);
    assert_eq!(report.totals.sums.requests, seen.lock().expect("not poisoned").ids.len() as u64);
}

#[tokio::test]
async fn unusable_options_are_refused() {
    let url = Url::parse("http://127.0.0.1:1").expect("valid");
    for (options, named) in [
        (options(url.clone(), 0, ""), "--count"),
        (RunOptions { concurrency: 0, ..options(url.clone(), 1, "") }, "--concurrency"),
        (RunOptions { max_attempts: 0, ..options(url, 1, "") }, "--max-attempts"),
        (options(Url::parse("ftp://host/").expect("valid"), 1, ""), "--url"),
    ] {
        let stop = CancellationToken::new();
        let error = run(options, Arc::new(SystemClock), Arc::new(NoProgress), stop).await.expect_err(named);
        assert!(error.to_string().contains(named), "{error}");
    }
}

#[test]
fn the_url_and_the_source_find_each_other() {
    let team = || Some(SourceName::new("team-a").expect("valid"));
    for (url, source, expected_url, expected_source) in [
        ("https://host:8443", None, "https://host:8443/webhook", "default"),
        ("https://host:8443/", team(), "https://host:8443/webhook/team-a", "team-a"),
        ("https://host/webhook", team(), "https://host/webhook/team-a", "team-a"),
        ("https://host/webhook/team-b", None, "https://host/webhook/team-b", "team-b"),
        ("https://host/proxied/path", team(), "https://host/proxied/path", "team-a"),
    ] {
        let (found, name) = super::run::webhook_url(&Url::parse(url).expect("valid"), source).expect("usable");
        assert_eq!((found.as_str(), name.as_str()), (expected_url, expected_source), "{url}");
    }
}
