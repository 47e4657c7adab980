//! A storage that is away delays no row and loses no object: what it has arrives when it is back, over restarts.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{Router, extract::State, http::StatusCode, response::IntoResponse};
use serde::Deserialize;
use serde_json::json;

use crate::{
    alerts::Receiver,
    harness::{Options, Server, client, send, wait_until},
    totals::{assert_accounted, assert_exact},
};

const CALLS: usize = 40;

#[derive(Default)]
struct Storage {
    is_up: AtomicBool,
    requests: AtomicUsize,
}

async fn storage(State(storage): State<Arc<Storage>>) -> axum::response::Response {
    storage.requests.fetch_add(1, Ordering::SeqCst);
    if !storage.is_up.load(Ordering::SeqCst) {
        return (StatusCode::SERVICE_UNAVAILABLE, "away").into_response();
    }
    let usage =
        json!({"prompt_tokens": 1248, "completion_tokens": 10, "prompt_tokens_details": {"cached_tokens": 1152}});
    json!({"request": {}, "response": {"id": "c", "usage": usage}}).to_string().into_response()
}

#[derive(Debug, Deserialize, PartialEq)]
struct Row {
    fetch_status: String,
    rows: u64,
    cost_usd: String,
    cached_tokens: Option<u64>,
}

fn rows(server: &Server) -> Vec<Row> {
    server.query(
        "SELECT fetch_status, count() AS rows, sum(cost_usd) AS cost_usd, sum(cached_tokens) AS cached_tokens \
         FROM requests GROUP BY fetch_status",
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn objects_of_a_storage_that_was_away_arrive_when_it_is_back() {
    let state = Arc::new(Storage::default());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let address = listener.local_addr().expect("an address");
    let app = Router::new().fallback(storage).with_state(state.clone());
    tokio::spawn(async move { axum::serve(listener, app).await });

    let mut server = Server::start(
        Options::default()
            .with_local_storage()
            .with("HELIOMETER__FETCH__RETRY_FIRST_DELAY_MS", 200)
            .with("HELIOMETER__FETCH__RETRY_MAX_DELAY_MS", 1_000),
    );
    let http = client();
    for number in 0..CALLS {
        let body = json!({
            "request_id": format!("call-{number}"),
            "request_response_url": format!("http://{address}/{number}?X-Amz-Expires=3600"),
            "model": "gpt-4o-2024-08-06",
            "provider": "OPENAI",
            "metadata": {"cost": 0.25, "promptTokens": 96, "completionTokens": 10, "totalTokens": 106, "latencyMs": 900},
        });
        assert!(send(&http, &server.webhook_url(), body.to_string().into()).await.is_success());
    }
    // Nothing waits for the storage: every row and every total is there, from the webhook alone.
    let calls = i64::try_from(CALLS).expect("fits");
    server.wait_until_worked_off(calls);
    let without = |status: &str| Row {
        fetch_status: status.to_owned(),
        rows: CALLS as u64,
        cost_usd: "10.000000000000".to_owned(),
        cached_tokens: None,
    };
    assert_eq!(rows(&server), [without("pending")]);
    // It is asked again and again, and the row stays as it is; so too when the process dies meanwhile.
    let asked = state.requests.load(Ordering::SeqCst);
    wait_until("the storage to be asked again", || (state.requests.load(Ordering::SeqCst) > asked).then_some(()));
    server.kill();
    server.start_again();
    assert_eq!(rows(&server), [without("pending")]);

    state.is_up.store(true, Ordering::SeqCst);
    let fetched = Row { fetch_status: "fetched".to_owned(), cached_tokens: Some(1152 * CALLS as u64), ..without("") };
    wait_until("every object", || (rows(&server) == std::slice::from_ref(&fetched)).then_some(()));
    server.wait_until_worked_off(calls);
    assert_eq!(server.count("(SELECT sum(requests) FROM model_day)"), calls);
    // And nobody is asked any more.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let asked = state.requests.load(Ordering::SeqCst);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(state.requests.load(Ordering::SeqCst), asked);
    assert!(server.stop().success());
}

const BUDGET: &str = r#"
[[alerts.rules]]
name = "everything"
kind = "budget"
period = "month"
limit_usd = 1.0
thresholds = [100]
"#;

/// A port on which nobody listens, and below those that the kernel gives to outgoing connections.
fn unused_address() -> SocketAddr {
    (21_000..32_000)
        .map(|port| SocketAddr::from(([127, 0, 0, 1], port)))
        .find(|address| std::net::TcpListener::bind(address).is_ok())
        .expect("a free port")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_storage_down_every_total_is_exact_and_with_storage_back_every_object_arrives() {
    let (slack, slack_url) = Receiver::start().await;
    let storage = unused_address();
    let options = Options { config: Some(BUDGET.to_owned()), ..Options::default() }
        .with_local_storage()
        .with("SLACK_WEBHOOK_URL", slack_url)
        .with("HELIOMETER__FETCH__RETRY_FIRST_DELAY_MS", 500)
        .with("HELIOMETER__FETCH__RETRY_MAX_DELAY_MS", 2_000);
    let (listen, url) = (storage.to_string(), format!("http://{storage}"));
    let run = |server: &Server, arguments: &[&str]| {
        let common = ["--count", "600", "--seed", "31", "--storage-url", url.as_str()];
        server.start_simulation(&[&common[..], arguments].concat()).finish()
    };
    tokio::task::block_in_place(|| {
        let mut server = Server::start(options);
        let expected = run(&server, &["--rate", "300", "--linger-seconds", "0"]);
        server.wait_until_worked_off(i64::try_from(expected.accepted).expect("fits"));
        assert_exact(&server, &expected);
        assert_accounted(&server, &expected);
        let with_url = server.count("(SELECT countIf(fetch_status NOT IN ('none', 'test')) FROM requests)");
        let of = |status: &str| server.count(&format!("(SELECT countIf(fetch_status = '{status}') FROM requests)"));
        assert_eq!((of("pending"), of("fetched")), (with_url, 0), "nothing can have been fetched");

        // The same events again, slowly, which are all duplicates: what is new is that the bucket is there meanwhile.
        let again = run(&server, &["--rate", "15", "--storage-listen", listen.as_str()]);
        wait_until("every object", || (of("pending") == 0).then_some(()));
        assert_eq!(of("fetched"), with_url);
        server.wait_until_worked_off(i64::try_from(expected.accepted + again.accepted).expect("fits"));
        assert_exact(&server, &expected);
        assert!(server.stop().success());
    });
    assert_eq!(slack.wait_for(1).await.len(), 1, "one budget is crossed, once");
}
