//! Fetches against a real HTTP server that behaves badly.

use std::{
    io::Write,
    sync::atomic::{AtomicUsize, Ordering},
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

use super::*;
use crate::domain::SystemClock;

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).expect("compress");
    encoder.finish().expect("compress")
}

/// Answers by path and counts requests.
async fn storage(State(requests): State<Arc<AtomicUsize>>, uri: Uri) -> Response {
    let number = requests.fetch_add(1, Ordering::SeqCst) + 1;
    let gzipped = |bytes: &[u8]| {
        let mut headers = HeaderMap::new();
        headers.insert("content-encoding", "gzip".parse().expect("a value"));
        (headers, Bytes::from(gzip(bytes))).into_response()
    };
    match uri.path() {
        "/500-then-object" if number == 1 => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        "/object" | "/500-then-object" => gzipped(br#"{"response":{}}"#),
        "/plain" => r#"{"response":{}}"#.into_response(),
        "/429" => (StatusCode::TOO_MANY_REQUESTS, [("retry-after", "0")]).into_response(),
        "/403" => StatusCode::FORBIDDEN.into_response(),
        "/redirect" => (StatusCode::FOUND, [("location", "http://169.254.169.254/")]).into_response(),
        "/bomb" => gzipped(&vec![b' '; 4 * 1024 * 1024]),
        "/hang" => std::future::pending().await,
        "/drip" => Response::new(Body::from_stream(futures_util::stream::unfold((), |()| async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            Some((Ok::<_, std::convert::Infallible>(Bytes::from_static(b" ")), ()))
        }))),
        _ => StatusCode::NOT_FOUND.into_response(),
    }
}

#[tokio::test]
async fn every_kind_of_storage_ends_as_designed() {
    crate::tls::install_crypto_provider();
    for (path, status, attempts) in [
        ("/object", FetchStatus::Fetched, 1),
        ("/plain", FetchStatus::Fetched, 1),
        ("/500-then-object", FetchStatus::Fetched, 2),
        ("/429", FetchStatus::Pending, 3),
        ("/403", FetchStatus::Expired, 1),
        ("/404", FetchStatus::NotFound, 1),
        ("/redirect", FetchStatus::Refused, 1),
        ("/bomb", FetchStatus::TooLarge, 1),
        ("/hang", FetchStatus::Pending, 3),
        ("/drip", FetchStatus::Pending, 3),
    ] {
        let requests = Arc::new(AtomicUsize::new(0));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let address = listener.local_addr().expect("address");
        let app = Router::new().fallback(storage).with_state(requests.clone());
        let server = tokio::spawn(async move { axum::serve(listener, app).await });
        let settings = FetchSettings {
            allow_http: true,
            allow_private_cidrs: vec!["127.0.0.0/8".to_owned()],
            max_object_bytes: 1024 * 1024,
            attempt_timeout_ms: 150,
            total_timeout_ms: 5_000,
            ..FetchSettings::default()
        };
        let metrics = FetchMetrics::new(&Registry::new()).expect("metrics");
        let fetcher = Fetcher::new(settings, Arc::new(SystemClock), metrics, 1).expect("a fetcher");
        let url = PresignedUrl::parse(&format!("http://{address}{path}?X-Amz-Signature=s")).expect("a URL");
        let found = fetcher.fetch(&url, SystemClock.now()).await;
        assert_eq!(found.status(), status, "{path}");
        if let Fetched::Object(object) = found {
            assert_eq!(object, br#"{"response":{}}"#, "{path}");
        }
        assert_eq!(requests.load(Ordering::SeqCst), attempts, "{path}");
        server.abort();
    }
}

#[tokio::test]
async fn a_name_that_resolves_inside_is_refused_and_an_old_url_not_tried() {
    crate::tls::install_crypto_provider();
    let settings = FetchSettings { allow_http: true, ..FetchSettings::default() };
    let metrics = FetchMetrics::new(&Registry::new()).expect("metrics");
    let fetcher = Fetcher::new(settings, Arc::new(SystemClock), metrics, 1).expect("a fetcher");
    let now = SystemClock.now();
    let inside = PresignedUrl::parse("http://localhost:1/x").expect("a URL");
    assert_eq!(fetcher.fetch(&inside, now).await.status(), FetchStatus::Refused);
    let old = PresignedUrl::parse("https://s3/x?X-Amz-Date=20200101T000000Z&X-Amz-Expires=60").expect("a URL");
    assert_eq!(fetcher.fetch(&old, now).await.status(), FetchStatus::Expired);
}
