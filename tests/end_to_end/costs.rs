//! What a call cost when the gateway does not know: the price book, Helicone's API, and what nobody knows.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use axum::{
    Router,
    extract::State,
    http::{HeaderMap, StatusCode, Uri},
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::harness::{Options, Server, client, send, wait_until};

#[derive(Clone, Debug, Deserialize, PartialEq)]
struct Row {
    request_id: String,
    cost_usd: Option<String>,
    cost_source: String,
    book_cost_usd: Option<String>,
    unpriced_reason: String,
    fetch_status: String,
}

fn costs(server: &Server) -> Vec<Row> {
    server.query(
        "SELECT request_id, cost_usd, cost_source, book_cost_usd, unpriced_reason, fetch_status FROM requests \
         ORDER BY request_id",
    )
}

fn cost(id: &str, usd: Option<&str>, source: &str, book: Option<&str>, reason: &str, fetch_status: &str) -> Row {
    Row {
        request_id: id.to_owned(),
        cost_usd: usd.map(str::to_owned),
        cost_source: source.to_owned(),
        book_cost_usd: book.map(str::to_owned),
        unpriced_reason: reason.to_owned(),
        fetch_status: fetch_status.to_owned(),
    }
}

/// A call of 1,000 prompt and 100 completion tokens, as its response tells them too.
fn call(id: &str, model: &str, gateway_cost_usd: f64) -> Vec<u8> {
    json!({
        "request_id": id, "model": model, "provider": "OPENAI", "user_id": "ann",
        "response_body": {"choices": [], "usage": {"prompt_tokens": 1000, "completion_tokens": 100}},
        "metadata": {"cost": gateway_cost_usd, "promptTokens": 1000, "completionTokens": 100, "totalTokens": 1100, "latencyMs": 9},
    })
    .to_string()
    .into_bytes()
}

const NEGOTIATED: &str = r#"
[[pricing.overrides]]
providers = ["OPENAI"]
models = ["acme-1"]
input = "2"
output = "8"
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_without_a_price_is_unpriced_until_it_is_priced_again() {
    let mut server = Server::start(Options::default());
    let http = client();
    for (id, model, gateway) in [("a", "acme-1", 0.0), ("b", "gpt-4o-2024-08-06", 0.0), ("c", "gpt-4o-2024-08-06", 0.5)]
    {
        assert_eq!(send(&http, &server.webhook_url(), call(id, model, gateway)).await, 200);
    }
    server.wait_until_worked_off(3);
    // gpt-4o-2024-08-06: 1,000 at 2.5 and 100 at 10 USD a million.
    let by_book = Some("0.003500000000");
    let priced = [
        cost("b", by_book, "book", by_book, "", "none"),
        // The gateway is believed first; what the book says stands beside it.
        cost("c", Some("0.500000000000"), "gateway", by_book, "", "none"),
    ];
    let expect = |a: Row| [vec![a], priced.to_vec()].concat();
    assert_eq!(costs(&server), expect(cost("a", None, "unpriced", None, "unknown_model", "none")));
    let coverage = "SELECT toUInt64(sum(requests)) AS requests, toUInt64(sum(priced_requests)) AS priced_requests, \
        sum(cost_usd) AS cost_usd, toUInt64(sum(total_tokens)) AS total_tokens, \
        toUInt64(sum(priced_tokens)) AS priced_tokens FROM model_day";
    let day = |priced: u64, cost: &str| json!({"requests": 3, "priced_requests": priced, "cost_usd": cost, "total_tokens": 3300, "priced_tokens": priced * 1100});
    assert_eq!(server.query::<Value>(coverage), [day(2, "0.503500000000")], "coverage is below 100 %");
    let unpriced = "SELECT model, reason, toUInt64(requests) AS requests FROM unpriced_models";
    assert_eq!(server.query::<Value>(unpriced), [json!({"model": "acme-1", "reason": "unknown_model", "requests": 1})]);
    let drift = "SELECT toUInt64(requests) AS requests, drift_usd FROM price_drift";
    assert_eq!(server.query::<Value>(drift), [json!({"requests": 1, "drift_usd": "-0.496500000000"})]);

    // A price is agreed on. Beside the running service, first only to look.
    std::fs::write(server.directory.path().join("heliometer.toml"), NEGOTIATED).expect("settings file");
    let reprice = |more: &[&str]| {
        let range = ["reprice", "--from", "2020-01-01", "--to", "2100-01-01"];
        let output = server.command().args(range).args(more).output().expect("heliometer reprice");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("UTF-8")
    };
    let looked = reprice(&["--dry-run"]);
    // 1,000 at 2 and 100 at 8 USD a million.
    assert!(looked.contains("acme-1") && looked.contains("0.002800000000") && looked.contains("1 of 3"), "{looked}");
    assert_eq!(costs(&server), expect(cost("a", None, "unpriced", None, "unknown_model", "none")));
    reprice(&[]);
    let now = Some("0.002800000000");
    assert_eq!(costs(&server), expect(cost("a", now, "book", now, "", "none")));
    wait_until("the totals to follow", || {
        (server.query::<Value>(coverage) == [day(3, "0.506300000000")]).then_some(())
    });
    assert!(reprice(&[]).contains("0 of 3"), "nothing is left to change");
    assert!(server.stop().success());
}

/// Storage that has nothing, and Helicone's API that has some of it.
#[derive(Default)]
struct Helicone {
    asked: AtomicUsize,
}

async fn helicone(State(helicone): State<Arc<Helicone>>, uri: Uri, headers: HeaderMap) -> Response {
    let known = match uri.path() {
        "/v1/request/known" => true,
        // In trouble at first.
        "/v1/request/later" => helicone.asked.fetch_add(1, Ordering::SeqCst) > 0,
        "/v1/request/unknown" => return StatusCode::NOT_FOUND.into_response(),
        path if path.starts_with("/bucket/") => return StatusCode::NOT_FOUND.into_response(),
        _ => return StatusCode::BAD_REQUEST.into_response(),
    };
    if headers.get("authorization").is_none_or(|value| value != "Bearer key") || uri.query() != Some("includeBody=true")
    {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    if !known {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    let usage =
        json!({"prompt_tokens": 1000, "completion_tokens": 100, "prompt_tokens_details": {"cached_tokens": 400}});
    let data = json!({"request_id": "x", "request_body": {}, "response_body": {"choices": [], "usage": usage}});
    json!({"data": data, "error": null}).to_string().into_response()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_that_storage_does_not_have_come_from_helicones_api() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let address = listener.local_addr().expect("an address");
    let app = Router::new().fallback(helicone).with_state(Arc::new(Helicone::default()));
    tokio::spawn(async move { axum::serve(listener, app).await });
    let config = format!(
        "[[sources]]\nname = \"default\"\nsecrets = [\"{}\"]\nhelicone_api_url = \"http://{address}\"\nhelicone_api_key = \"key\"\n",
        crate::harness::SECRET
    );
    let server = Server::start(
        Options { config: Some(config), ..Options::default() }
            .with_local_storage()
            .with("HELIOMETER__FETCH__RETRY_FIRST_DELAY_MS", 200),
    );
    let http = client();
    let too_large = "Body too large for webhook, please fetch the full request and response from Helicone";
    for (id, body) in [
        ("known", json!(too_large)),
        ("later", json!(too_large)),
        ("unknown", json!(too_large)),
        // Tells by itself: nobody is asked, or it would be answered 400.
        ("told", json!({"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 1}})),
    ] {
        let call = json!({
            "request_id": id, "model": "gpt-4o-2024-08-06", "provider": "OPENAI", "response_body": body,
            "request_response_url": format!("http://{address}/bucket/{id}?X-Amz-Expires=3600"),
        });
        assert_eq!(send(&http, &server.webhook_url(), call.to_string().into()).await, 200);
    }
    // 600 at 2.5, 400 cached at 1.25 and 100 at 10 USD a million; told: 1 at 2.5 and 1 at 10.
    let (known, told) = (Some("0.003000000000"), Some("0.000012500000"));
    let expected = [
        cost("known", known, "book", known, "", "helicone_api"),
        cost("later", known, "book", known, "", "helicone_api"),
        cost("told", told, "book", told, "", "not_found"),
        cost("unknown", None, "unpriced", None, "no_usage", "not_found"),
    ];
    wait_until("the bodies", || (costs(&server) == expected).then_some(()));
}
