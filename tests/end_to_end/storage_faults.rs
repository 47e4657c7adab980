//! A storage that does everything wrong, one call for each: every row is there, with what became of its object, after as
//! many attempts as designed, in bounded memory.

use std::{
    io::Write,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use flate2::{Compression, write::GzEncoder};
use serde::Deserialize;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::harness::{Options, Server, client, memory_bytes, send, wait_until};

const MAX_OBJECT_BYTES: usize = 1024 * 1024;

#[derive(Clone, Copy, Debug)]
enum Fault {
    None,
    Status(u16),
    RetryAfter(&'static str),
    Redirect(&'static str),
    Bomb,
    Hang,
    Drip,
    /// These bytes, and then a reset if so.
    Raw(&'static [u8], bool),
    /// A name instead of the address, which resolves to an address that is not allowed.
    NameInside,
}

/// Each has a server of its own, so that none is left alone for another's sake: attempts, `fetch_status`.
const FAULTS: [(&str, Fault, usize, &str); 16] = [
    ("none", Fault::None, 1, "fetched"),
    ("429 that says when", Fault::RetryAfter("0"), 3, "pending"),
    ("429 that says too late", Fault::RetryAfter("3600"), 1, "pending"),
    ("500", Fault::Status(500), 3, "pending"),
    ("503", Fault::Status(503), 3, "pending"),
    ("403", Fault::Status(403), 1, "expired"),
    ("404", Fault::Status(404), 1, "not_found"),
    ("redirects without end", Fault::Redirect("/again"), 4, "refused"),
    ("redirect to the metadata service", Fault::Redirect("http://169.254.169.254/latest/meta-data"), 1, "refused"),
    ("gzip bomb", Fault::Bomb, 1, "too_large"),
    ("hangs", Fault::Hang, 3, "pending"),
    ("drips", Fault::Drip, 3, "pending"),
    ("reset in the middle", Fault::Raw(b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{\"re", true), 3, "pending"),
    ("shorter than it says", Fault::Raw(b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{\"re", false), 3, "pending"),
    ("not what it should be", Fault::Raw(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\n<html>", false), 1, "invalid"),
    ("a name that resolves inside", Fault::NameInside, 0, "refused"),
];

async fn answer(State((fault, requests, bomb)): State<(Fault, Arc<AtomicUsize>, Bytes)>) -> Response {
    requests.fetch_add(1, Ordering::SeqCst);
    match fault {
        Fault::Status(status) => StatusCode::from_u16(status).expect("a status").into_response(),
        Fault::RetryAfter(after) => (StatusCode::TOO_MANY_REQUESTS, [("retry-after", after)]).into_response(),
        Fault::Redirect(to) => (StatusCode::FOUND, [("location", to)]).into_response(),
        Fault::Bomb => ([("content-encoding", "gzip")], bomb).into_response(),
        Fault::Hang => std::future::pending().await,
        Fault::Drip => Response::new(Body::from_stream(futures_util::stream::unfold((), |()| async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            Some((Ok::<_, std::convert::Infallible>(Bytes::from_static(b" ")), ()))
        }))),
        Fault::None | Fault::Raw(..) | Fault::NameInside => {
            json!({"request": {}, "response": {"choices": []}}).to_string().into_response()
        }
    }
}

/// A server with this fault: its address, and how often it was asked.
async fn start(fault: Fault, bomb: Bytes) -> (SocketAddr, Arc<AtomicUsize>) {
    let requests = Arc::new(AtomicUsize::new(0));
    // Only this address may be fetched from, so that the name `localhost` may not.
    let listener = tokio::net::TcpListener::bind("127.0.0.2:0").await.expect("binds");
    let (address, counted) = (listener.local_addr().expect("an address"), requests.clone());
    if let Fault::Raw(bytes, resets) = fault {
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::SeqCst);
                let mut request = [0; 4096];
                if stream.read(&mut request).await.is_ok() && stream.write_all(bytes).await.is_ok() && resets {
                    stream.set_zero_linger().expect("set");
                }
            }
        });
    } else {
        let app = Router::new().fallback(answer).with_state((fault, counted, bomb));
        tokio::spawn(async move { axum::serve(listener, app).await });
    }
    (address, requests)
}

#[derive(Debug, Deserialize, PartialEq)]
struct Row {
    request_id: String,
    fetch_status: String,
    cost_usd: String,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_fault_ends_as_designed_and_its_row_is_there() {
    // 256 MiB in 256 KiB.
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    let spaces = vec![b' '; 1 << 20];
    for _ in 0..256 {
        encoder.write_all(&spaces).expect("compresses");
    }
    let bomb = Bytes::from(encoder.finish().expect("compresses"));
    let server = Server::start(
        Options::default()
            .with("HELIOMETER__FETCH__ALLOW_HTTP", "true")
            .with("HELIOMETER__FETCH__ALLOW_PRIVATE_CIDRS", "[\"127.0.0.2/32\"]")
            .with("HELIOMETER__FETCH__MAX_OBJECT_BYTES", MAX_OBJECT_BYTES)
            .with("HELIOMETER__FETCH__ATTEMPT_TIMEOUT_MS", 500)
            // What is put off stays so: the attempts that are counted are those for the row.
            .with("HELIOMETER__FETCH__RETRY_FIRST_DELAY_MS", 86_400_000)
            .with("HELIOMETER__FETCH__RETRY_MAX_DELAY_MS", 86_400_000),
    );
    let (http, mut storages, mut expected) = (client(), Vec::new(), Vec::new());
    for (number, (what, fault, attempts, status)) in FAULTS.into_iter().enumerate() {
        let (address, requests) = start(fault, bomb.clone()).await;
        let host = match fault {
            Fault::NameInside => format!("localhost:{}", address.port()),
            _ => address.to_string(),
        };
        let id = format!("{number:02}");
        let call = json!({
            "request_id": id, "model": "gpt-4o-2024-08-06", "provider": "OPENAI",
            "request_response_url": format!("http://{host}/{number}?X-Amz-Expires=86400&X-Amz-Signature=secret"),
            "metadata": {"cost": 0.25, "promptTokens": 96, "completionTokens": 10, "totalTokens": 106, "latencyMs": 9},
        });
        assert_eq!(send(&http, &server.webhook_url(), call.to_string().into()).await, 200, "{what}");
        storages.push((what, attempts, requests));
        expected.push(Row { request_id: id, fetch_status: status.to_owned(), cost_usd: "0.250000000000".to_owned() });
    }
    let rows = || server.query::<Row>("SELECT request_id, fetch_status, cost_usd FROM requests ORDER BY request_id");
    wait_until("every row", || (rows().len() == FAULTS.len()).then_some(()));
    assert_eq!(rows(), expected);
    for (what, attempts, requests) in storages {
        assert_eq!(requests.load(Ordering::SeqCst), attempts, "{what}");
    }
    let peak = memory_bytes(server.pid(), "VmHWM") >> 20;
    println!("peak memory of the service: {peak} MiB");
    assert!(peak < 128, "{peak} MiB: the bomb has 256");
    assert!(!server.log().contains("X-Amz-Signature"), "a credential is in the log");
}
