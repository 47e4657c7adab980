//! Fetches against a real HTTP server that behaves badly: what each comes to, how often it was asked, and what it cost.

use std::{
    io::Write,
    sync::{
        LazyLock,
        atomic::{AtomicUsize, Ordering},
    },
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::State,
    http::{HeaderMap, StatusCode, Uri},
    response::{IntoResponse, Response},
};
use flate2::{Compression, write::GzEncoder};
use prometheus::Registry;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::domain::SystemClock;

const OBJECT: &[u8] = br#"{"response":{}}"#;
const MAX_OBJECT_BYTES: usize = 1024 * 1024;

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).expect("compress");
    encoder.finish().expect("compress")
}

/// 64 MiB in 64 KiB.
static BOMB: LazyLock<Vec<u8>> = LazyLock::new(|| gzip(&vec![b' '; 64 * MAX_OBJECT_BYTES]));

fn encoded(encoding: &'static str, bytes: Vec<u8>) -> Response {
    let mut headers = HeaderMap::new();
    headers.insert("content-encoding", encoding.parse().expect("a value"));
    (headers, Bytes::from(bytes)).into_response()
}

fn redirect(status: StatusCode, location: &str) -> Response {
    (status, [("location", location.to_owned())]).into_response()
}

/// Answers by path; `number` counts the requests from 1.
async fn storage(State(requests): State<Arc<AtomicUsize>>, uri: Uri) -> Response {
    let number = requests.fetch_add(1, Ordering::SeqCst) + 1;
    match uri.path() {
        "/500-then-object" if number == 1 => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        "/gzip" | "/500-then-object" => encoded("gzip", gzip(OBJECT)),
        // zstd's frame of OBJECT, uncompressed inside: magic, one-byte size, one raw and last block.
        "/zstd" => encoded("zstd", [&[0x28, 0xB5, 0x2F, 0xFD, 0x20, 15, 0x79, 0, 0][..], OBJECT].concat()),
        "/plain" => Bytes::from_static(OBJECT).into_response(),
        "/429" => (StatusCode::TOO_MANY_REQUESTS, [("retry-after", "0")]).into_response(),
        "/429-later" => (StatusCode::TOO_MANY_REQUESTS, [("retry-after", "3600")]).into_response(),
        "/500" => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        "/403" => StatusCode::FORBIDDEN.into_response(),
        "/redirect-here" => redirect(StatusCode::TEMPORARY_REDIRECT, "/plain"),
        "/redirect-inside" => redirect(StatusCode::FOUND, "http://169.254.169.254/latest/meta-data"),
        "/redirect-name-inside" => redirect(StatusCode::FOUND, "http://localhost:1/"),
        "/redirect-nowhere" => StatusCode::FOUND.into_response(),
        "/redirect-for-ever" => redirect(StatusCode::FOUND, "/redirect-for-ever"),
        "/bomb" => encoded("gzip", BOMB.clone()),
        "/not-gzip" => encoded("gzip", OBJECT.to_vec()),
        "/hang" => std::future::pending().await,
        "/drip" => Response::new(Body::from_stream(futures_util::stream::unfold((), |()| async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            Some((Ok::<_, std::convert::Infallible>(Bytes::from_static(b" ")), ()))
        }))),
        _ => StatusCode::NOT_FOUND.into_response(),
    }
}

/// The storage's address, and how often it was asked.
async fn start_storage() -> (std::net::SocketAddr, Arc<AtomicUsize>) {
    start_storage_at("127.0.0.1").await
}

async fn start_storage_at(ip: &str) -> (std::net::SocketAddr, Arc<AtomicUsize>) {
    let requests = Arc::new(AtomicUsize::new(0));
    let listener = tokio::net::TcpListener::bind((ip, 0)).await.expect("bind");
    let address = listener.local_addr().expect("address");
    let app = Router::new().fallback(storage).with_state(requests.clone());
    tokio::spawn(async move { axum::serve(listener, app).await });
    (address, requests)
}

/// A storage that sends these bytes for every request and closes, hard if `resets`.
async fn start_raw_storage(answer: &'static [u8], resets: bool) -> (std::net::SocketAddr, Arc<AtomicUsize>) {
    let requests = Arc::new(AtomicUsize::new(0));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let (address, counted) = (listener.local_addr().expect("address"), requests.clone());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::SeqCst);
            let mut request = [0; 4096];
            if stream.read(&mut request).await.is_ok() && stream.write_all(answer).await.is_ok() && resets {
                stream.set_zero_linger().expect("set");
            }
        }
    });
    (address, requests)
}

fn settings() -> FetchSettings {
    FetchSettings {
        allow_http: true,
        allow_private_cidrs: vec!["127.0.0.0/8".to_owned()],
        max_object_bytes: MAX_OBJECT_BYTES,
        attempt_timeout_ms: 200,
        total_timeout_ms: 5_000,
        ..FetchSettings::default()
    }
}

fn fetcher(settings: FetchSettings, sources: &[SourceSettings]) -> Fetcher {
    crate::tls::install_crypto_provider();
    let metrics = FetchMetrics::new(&Registry::new()).expect("metrics");
    Fetcher::new(settings, sources, Arc::new(SystemClock), metrics, 1).expect("a fetcher")
}

async fn fetch(fetcher: &Fetcher, url: &str) -> Fetched {
    let (source, url) = (SourceName::default(), PresignedUrl::parse(url).expect("a URL"));
    fetcher.fetch(Wanted { source: &source, url: &url, received_at: SystemClock.now() }).await
}

#[tokio::test]
async fn every_kind_of_storage_ends_as_designed() {
    LazyLock::force(&BOMB);
    for (path, status, attempts) in [
        ("/gzip", FetchStatus::Fetched, 1),
        ("/zstd", FetchStatus::Fetched, 1),
        ("/plain", FetchStatus::Fetched, 1),
        ("/500-then-object", FetchStatus::Fetched, 2),
        ("/500", FetchStatus::Pending, 3),
        ("/429", FetchStatus::Pending, 3),
        // It would be too late for the row.
        ("/429-later", FetchStatus::Pending, 1),
        ("/403", FetchStatus::Expired, 1),
        ("/404", FetchStatus::NotFound, 1),
        ("/redirect-here", FetchStatus::Fetched, 2),
        ("/redirect-inside", FetchStatus::Refused, 1),
        ("/redirect-nowhere", FetchStatus::Failed, 1),
        ("/redirect-for-ever", FetchStatus::Refused, 4),
        ("/bomb", FetchStatus::TooLarge, 1),
        ("/not-gzip", FetchStatus::Pending, 3),
        ("/hang", FetchStatus::Pending, 3),
        ("/drip", FetchStatus::Pending, 3),
    ] {
        let (address, requests) = start_storage().await;
        let fetcher = fetcher(settings(), &[]);
        let found = fetch(&fetcher, &format!("http://{address}{path}?X-Amz-Signature=s")).await;
        assert_eq!(found.status(), status, "{path}");
        if let Fetched::Object(object) = found {
            assert_eq!(&*object, OBJECT, "{path}");
        }
        assert_eq!(requests.load(Ordering::SeqCst), attempts, "{path}");
        // Nothing of it is held any more.
        let all = fetcher.settings.max_in_flight_bytes / 1024;
        assert_eq!(fetcher.attempts.memory_kib.available_permits(), all, "{path}");
    }
}

#[tokio::test]
async fn broken_connections_and_lengths_are_tried_again() {
    for (what, answer, resets) in [
        ("too short", &b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"response\""[..], false),
        ("reset in the middle", b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"response\"", true),
        ("no HTTP", b"SSH-2.0-OpenSSH_9.2\r\n", false),
        ("nothing", b"", false),
    ] {
        let (address, requests) = start_raw_storage(answer, resets).await;
        let found = fetch(&fetcher(settings(), &[]), &format!("http://{address}/x")).await;
        assert_eq!((found.status(), requests.load(Ordering::SeqCst)), (FetchStatus::Pending, 3), "{what}");
    }
    // Longer than it says: what it said is all there is.
    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 15\r\n\r\n{\"response\":{}} and more";
    let (address, _) = start_raw_storage(answer, false).await;
    assert_eq!(fetch(&fetcher(settings(), &[]), &format!("http://{address}/x")).await.status(), FetchStatus::Fetched);
}

#[tokio::test]
async fn a_name_that_resolves_inside_is_refused_and_an_old_url_not_tried() {
    let inside = fetcher(FetchSettings { allow_http: true, ..FetchSettings::default() }, &[]);
    assert_eq!(fetch(&inside, "http://localhost:1/x").await.status(), FetchStatus::Refused);
    let old = "https://s3/x?X-Amz-Date=20200101T000000Z&X-Amz-Expires=60";
    assert_eq!(fetch(&inside, old).await.status(), FetchStatus::Expired);
    // So is the name that a storage sends us to, which only its resolution betrays.
    let (address, requests) = start_storage_at("127.0.0.2").await;
    let only_there = FetchSettings { allow_private_cidrs: vec!["127.0.0.2/32".to_owned()], ..settings() };
    let sent = fetch(&fetcher(only_there, &[]), &format!("http://{address}/redirect-name-inside")).await;
    assert_eq!((sent.status(), requests.load(Ordering::SeqCst)), (FetchStatus::Refused, 1));
}

#[tokio::test]
async fn a_source_is_fetched_from_its_own_hosts_alone() {
    let (address, requests) = start_storage().await;
    let source = |hosts: &[&str], allow_http| SourceSettings {
        fetch_hosts: hosts.iter().copied().map(str::to_owned).collect(),
        fetch_allow_http: allow_http,
        ..SourceSettings::new(SourceName::default(), Vec::new())
    };
    for (source, status) in [
        (source(&["*.amazonaws.com"], None), FetchStatus::Refused),
        (source(&[], Some(false)), FetchStatus::Refused),
        (source(&["127.0.0.*"], None), FetchStatus::Fetched),
    ] {
        let found =
            fetch(&fetcher(settings(), std::slice::from_ref(&source)), &format!("http://{address}/plain")).await;
        assert_eq!(found.status(), status, "{source:?}");
    }
    assert_eq!(requests.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_host_that_is_down_is_left_alone() {
    let (address, requests) = start_storage().await;
    let fetcher = fetcher(FetchSettings { max_attempts: 1, ..settings() }, &[]);
    for _ in 0..40 {
        assert_eq!(fetch(&fetcher, &format!("http://{address}/500")).await.status(), FetchStatus::Pending);
    }
    let asked = requests.load(Ordering::SeqCst);
    assert!((10..20).contains(&asked), "asked {asked} times");
    // It tells those who ask when to come back.
    let found = fetch(&fetcher, &format!("http://{address}/plain")).await;
    assert!(matches!(found, Fetched::NotNow { retry_after: Some(_) }), "{found:?}");
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    assert_eq!(fetch(&fetcher, &format!("http://{address}/plain")).await.status(), FetchStatus::Fetched);
}

#[tokio::test]
async fn objects_share_a_bounded_memory() {
    let (address, _) = start_storage().await;
    let tight = FetchSettings { max_in_flight_bytes: MAX_OBJECT_BYTES, max_attempts: 1, ..settings() };
    let fetcher = fetcher(tight, &[]);
    let mut held = Vec::new();
    // Each takes 64 KiB at least, so sixteen fit.
    for _ in 0..16 {
        held.push(fetch(&fetcher, &format!("http://{address}/plain")).await);
    }
    assert!(held.iter().all(|found| found.status() == FetchStatus::Fetched));
    assert_eq!(fetch(&fetcher, &format!("http://{address}/plain")).await.status(), FetchStatus::Pending);
    held.pop();
    assert_eq!(fetch(&fetcher, &format!("http://{address}/plain")).await.status(), FetchStatus::Fetched);
}
