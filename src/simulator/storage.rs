//! The bucket: an HTTP server that makes each object again when it is asked for.

use std::{
    io::{self, Write},
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::State,
    http::{Method, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use flate2::{Compression, write::GzEncoder};
use futures_util::stream;
use serde::{Deserialize, Serialize};
use tokio::{
    net::TcpListener,
    sync::Semaphore,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;

use super::{Plan, SimulatorError, faults::StorageFault, number_set::NumberSet, plan::StoredObject};
use crate::domain::Clock;

/// How long a slow object takes before its first byte.
const SLOW: Duration = Duration::from_secs(3);
/// Objects being made at once; further requests wait.
const MAX_CONCURRENT: usize = 256;

/// How often the storage server was asked, and what it said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FetchCounts {
    /// Objects given whole.
    pub served: u64,
    /// Different objects given whole.
    pub distinct: u64,
    /// 403 for a wrong, missing or expired signature or an unknown path. Not a fault of the plan: look at the receiver.
    pub refused: u64,
    /// 404, 403 and 500 and broken connections that the plan wanted.
    pub faults: u64,
}

struct Ledger {
    counts: FetchCounts,
    served: NumberSet,
    failed_once: NumberSet,
    in_flight: u64,
    last_activity: Instant,
}

struct Shared {
    plan: Arc<Plan>,
    clock: Arc<dyn Clock>,
    permits: Semaphore,
    ledger: Mutex<Ledger>,
}

impl Shared {
    fn with_ledger<T>(&self, action: impl FnOnce(&mut Ledger) -> T) -> T {
        // Counters stay usable whatever happened to another request.
        action(&mut self.ledger.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// An address that is ours, before anyone knows it.
#[derive(Debug)]
pub(super) struct BoundStorage {
    listener: TcpListener,
    /// With the port that was chosen.
    pub(super) address: SocketAddr,
}

impl BoundStorage {
    pub(super) async fn bind(address: SocketAddr) -> Result<Self, SimulatorError> {
        let fail = |source| SimulatorError::StorageListen { address, source };
        let listener = TcpListener::bind(address).await.map_err(fail)?;
        let address = listener.local_addr().map_err(fail)?;
        Ok(Self { listener, address })
    }

    /// Serves the plan's objects until the handle is dropped.
    pub(super) fn serve(self, plan: Arc<Plan>, clock: Arc<dyn Clock>) -> Storage {
        let count = plan.count();
        let shared = Arc::new(Shared {
            plan,
            clock,
            permits: Semaphore::new(MAX_CONCURRENT),
            ledger: Mutex::new(Ledger {
                counts: FetchCounts::default(),
                served: NumberSet::new(count),
                failed_once: NumberSet::new(count),
                in_flight: 0,
                last_activity: Instant::now(),
            }),
        });
        let router = Router::new().fallback(answer).with_state(Arc::clone(&shared));
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        // The only failure of `serve` would be the listener's, and that retries by itself.
        tokio::spawn(async move {
            tokio::select! {
                _ = axum::serve(self.listener, router) => {}
                () = stopped.cancelled() => {}
            }
        });
        Storage { shared, _stop: stop.drop_guard() }
    }
}

/// A running storage server; dropping it ends it.
pub(super) struct Storage {
    shared: Arc<Shared>,
    _stop: tokio_util::sync::DropGuard,
}

impl Storage {
    pub(super) fn counts(&self) -> FetchCounts {
        self.shared.with_ledger(|ledger| ledger.counts)
    }

    /// Waits until `expected` different objects were fetched, nobody fetched for `quiet`, or `at_most` has passed.
    pub(super) async fn linger(&self, expected: u64, quiet: Duration, at_most: Duration) {
        let start = Instant::now();
        while start.elapsed() < at_most {
            let is_done = self.shared.with_ledger(|ledger| {
                ledger.counts.distinct >= expected
                    || (ledger.in_flight == 0 && ledger.last_activity.max(start).elapsed() >= quiet)
            });
            if is_done {
                return;
            }
            sleep(Duration::from_millis(25)).await;
        }
    }
}

/// Counts a request as in flight until its answer is ready, also when the client hangs up before.
struct InFlight<'a>(&'a Shared);

impl<'a> InFlight<'a> {
    fn new(shared: &'a Shared) -> Self {
        shared.with_ledger(|ledger| {
            ledger.in_flight += 1;
            ledger.last_activity = Instant::now();
        });
        Self(shared)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.with_ledger(|ledger| {
            ledger.in_flight = ledger.in_flight.saturating_sub(1);
            ledger.last_activity = Instant::now();
        });
    }
}

async fn answer(State(shared): State<Arc<Shared>>, method: Method, uri: Uri) -> Response {
    if method != Method::GET {
        return StatusCode::METHOD_NOT_ALLOWED.into_response();
    }
    let _in_flight = InFlight::new(&shared);
    let Ok(_permit) = shared.permits.acquire().await else {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    };
    let object = shared.plan.stored_object(uri.path(), uri.query().unwrap_or_default(), shared.clock.now());
    let StoredObject::Found { number, json, fault } = object else {
        shared.with_ledger(|ledger| ledger.counts.refused += 1);
        return error(StatusCode::FORBIDDEN, "SignatureDoesNotMatch");
    };
    let fails = match fault {
        Some(StorageFault::NotFound) => Some(StatusCode::NOT_FOUND),
        Some(StorageFault::Forbidden) => Some(StatusCode::FORBIDDEN),
        Some(StorageFault::ErrorOnce) if shared.with_ledger(|ledger| ledger.failed_once.insert(number)) => {
            Some(StatusCode::INTERNAL_SERVER_ERROR)
        }
        _ => None,
    };
    if let Some(status) = fails {
        shared.with_ledger(|ledger| ledger.counts.faults += 1);
        return error(status, status.canonical_reason().unwrap_or("Error"));
    }
    let Ok(compressed) = gzip(json.as_bytes()) else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    if fault == Some(StorageFault::Slow) {
        sleep(SLOW).await;
    }
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CONTENT_ENCODING, "gzip")];
    if fault == Some(StorageFault::Reset) {
        shared.with_ledger(|ledger| ledger.counts.faults += 1);
        let length = [(header::CONTENT_LENGTH, compressed.len().to_string())];
        return (headers, length, broken_body(&compressed)).into_response();
    }
    shared.with_ledger(|ledger| {
        ledger.counts.served += 1;
        ledger.served.insert(number);
        ledger.counts.distinct = ledger.served.len();
    });
    (headers, compressed).into_response()
}

/// Half of the bytes that were promised, then an error, on which the server closes the connection.
fn broken_body(bytes: &[u8]) -> Body {
    let half = Bytes::copy_from_slice(&bytes[..bytes.len() / 2]);
    Body::from_stream(stream::iter([Ok(half), Err(io::Error::from(io::ErrorKind::ConnectionReset))]))
}

/// In the XML of S3.
fn error(status: StatusCode, code: &str) -> Response {
    let xml = format!(r#"<?xml version="1.0" encoding="UTF-8"?><Error><Code>{code}</Code></Error>"#);
    (status, [(header::CONTENT_TYPE, "application/xml")], xml).into_response()
}

fn gzip(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(bytes.len() / 2), Compression::fast());
    encoder.write_all(bytes)?;
    encoder.finish()
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::{
        super::plan::{
            Plan,
            tests::{NOW, plan},
        },
        *,
    };
    use crate::domain::ManualClock;

    async fn start(faults: &str) -> (Storage, Arc<Plan>, String) {
        let bound = BoundStorage::bind(([127, 0, 0, 1], 0).into()).await.expect("a free port");
        let base = format!("http://{}", bound.address);
        let plan = Arc::new(plan(6, 50, faults));
        (bound.serve(Arc::clone(&plan), Arc::new(ManualClock::at(NOW))), plan, base)
    }

    /// The path and query of event `number`'s object.
    fn object(plan: &Plan, number: u64) -> String {
        let event = plan.event(number, NOW);
        let body = std::str::from_utf8(&event.body).expect("UTF-8");
        let start = body.find("/request-response-storage").expect("has an object");
        body[start..start + body[start..].find('"').expect("ends")].to_owned()
    }

    async fn get(url: &str) -> reqwest::Result<(u16, Option<String>, Vec<u8>)> {
        crate::tls::install_crypto_provider();
        let client = reqwest::Client::builder().no_gzip().no_proxy().tls_danger_accept_invalid_certs(true).build()?;
        let answer = client.get(url).send().await?;
        let encoding =
            answer.headers().get("content-encoding").and_then(|value| value.to_str().ok().map(str::to_owned));
        Ok((answer.status().as_u16(), encoding, answer.bytes().await?.to_vec()))
    }

    #[tokio::test]
    async fn serves_gzip_to_whom_the_url_was_signed_for() {
        let (storage, plan, base) = start("").await;
        let path = object(&plan, 1);
        let (status, encoding, body) = get(&format!("{base}{path}")).await.expect("answers");
        assert_eq!((status, encoding.as_deref()), (200, Some("gzip")));
        let mut json = String::new();
        flate2::read::GzDecoder::new(body.as_slice()).read_to_string(&mut json).expect("gzip");
        assert!(json.starts_with("{\"request\":") && json.contains(",\"response\":"), "{json}");
        for bad in [path.replace("X-Amz-Signature=", "X-Amz-Signature=f"), path.split('?').next().expect("path").into()]
        {
            assert_eq!(get(&format!("{base}{bad}")).await.expect("answers").0, 403, "{bad}");
        }
        assert_eq!(storage.counts(), FetchCounts { served: 1, distinct: 1, refused: 2, faults: 0 });
    }

    #[tokio::test]
    async fn faults_happen_as_asked() {
        for (faults, first, second) in
            [("storage-404=100", 404, 404), ("storage-403=100", 403, 403), ("storage-500=100", 500, 200)]
        {
            let (_storage, plan, base) = start(faults).await;
            let url = format!("{base}{}", object(&plan, 1));
            assert_eq!(get(&url).await.expect("answers").0, first, "{faults}");
            assert_eq!(get(&url).await.expect("answers").0, second, "{faults}");
        }
        let (storage, plan, base) = start("storage-reset=100").await;
        assert!(get(&format!("{base}{}", object(&plan, 1))).await.is_err(), "half an object is an error");
        assert_eq!(storage.counts(), FetchCounts { faults: 1, ..FetchCounts::default() });
    }

    #[tokio::test]
    async fn lingers_until_all_is_fetched_or_quiet() {
        let (storage, plan, base) = start("").await;
        let minute = Duration::from_secs(60);
        get(&format!("{base}{}", object(&plan, 1))).await.expect("answers");
        storage.linger(1, minute, minute).await;
        storage.linger(2, Duration::from_millis(50), minute).await;
        storage.linger(2, minute, Duration::from_millis(50)).await;
    }
}
