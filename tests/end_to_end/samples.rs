//! Helicone's real payloads: accepted or refused as they should be, and each stored row field by field against values
//! that were worked out by hand from the payload.

use std::{collections::BTreeMap, io::Write, sync::Arc};

use axum::{Router, extract::Path, http::StatusCode, response::IntoResponse, routing::get};
use flate2::{Compression, write::GzEncoder};
use serde::Deserialize;

use crate::harness::{Options, Server, client, samples, send};

#[derive(Debug, Deserialize, PartialEq)]
struct Row {
    request_id: String,
    source: String,
    user_id: String,
    model: String,
    provider: String,
    prompt_tokens: Option<u64>,
    completion_tokens: Option<u64>,
    total_tokens: Option<u64>,
    cached_tokens: Option<u64>,
    cache_write_tokens: Option<u64>,
    reasoning_tokens: Option<u64>,
    cost_usd: Option<String>,
    cost_source: String,
    latency_ms: Option<u32>,
    token_ratio: Option<f64>,
    is_inefficient: bool,
    status: String,
    fetch_status: String,
    is_test: bool,
    is_event_time_receipt: bool,
}

/// One line of the table: tokens are (prompt, completion, total), cache is (read, written).
struct Expected {
    sample: &'static str,
    /// `/webhook` or `/webhook/{source}`; three samples share a `request_id`, so they come from three sources.
    source: &'static str,
    request_id: &'static str,
    user_id: &'static str,
    model: &'static str,
    provider: &'static str,
    tokens: (Option<u64>, Option<u64>, Option<u64>),
    cache: (Option<u64>, Option<u64>),
    reasoning: Option<u64>,
    cost: Option<&'static str>,
    /// Who says so, where there is a cost.
    cost_source: &'static str,
    latency_ms: Option<u32>,
    ratio: Option<f64>,
    status: &'static str,
    has_url: bool,
    is_test: bool,
}

const BASE: Expected = Expected {
    sample: "",
    source: "default",
    request_id: "",
    user_id: "",
    model: "",
    provider: "",
    tokens: (None, None, None),
    cache: (None, None),
    reasoning: None,
    cost: None,
    cost_source: "gateway",
    latency_ms: None,
    ratio: None,
    status: "success",
    has_url: false,
    is_test: false,
};

/// What most samples have: a URL, a user, and 930 ms.
const USUAL: Expected = Expected { user_id: "user-123", latency_ms: Some(930), has_url: true, ..BASE };

const fn tokens(prompt: u64, completion: u64, total: u64) -> (Option<u64>, Option<u64>, Option<u64>) {
    (Some(prompt), Some(completion), Some(total))
}

#[rustfmt::skip]
const EXPECTED: [Expected; 21] = [
    Expected { sample: "anthropic", request_id: "00000000-0000-4000-8000-000000000003", user_id: "", model: "claude-3-5-sonnet-20241022", provider: "ANTHROPIC",
        tokens: tokens(9, 12, 21), cache: (Some(183), Some(50)), cost: Some("0.000449400000"), ratio: Some(0.75), ..USUAL },
    Expected { sample: "anthropic-stream", request_id: "00000000-0000-4000-8000-000000000004", model: "claude-3-5-haiku-20241022", provider: "ANTHROPIC",
        tokens: tokens(338, 65, 403), cache: (Some(500), Some(20)), cost: Some("0.000602400000"), ratio: Some(5.2), ..USUAL },
    Expected { sample: "azure", request_id: "00000000-0000-4000-8000-000000000005", model: "gpt-4.1-2025-04-14", provider: "AZURE",
        tokens: tokens(18, 100, 118), cache: (Some(0), None), reasoning: Some(0), cost: Some("0.000836000000"), ratio: Some(0.18), ..USUAL },
    Expected { sample: "bedrock-converse", request_id: "00000000-0000-4000-8000-000000000013", model: "anthropic.claude-3-5-sonnet-20241022-v2", provider: "AWS",
        tokens: tokens(30, 628, 658), cost: Some("0.009510000000"), cost_source: "book", ratio: Some(30.0 / 628.0), ..USUAL },
    Expected { sample: "deepseek-cached", request_id: "00000000-0000-4000-8000-000000000009", model: "deepseek-chat", provider: "DEEPSEEK",
        tokens: tokens(30, 50, 80), cache: (Some(70), None), cost: Some("0.000105700000"), ratio: Some(0.6), ..USUAL },
    Expected { sample: "gemini-cached", request_id: "00000000-0000-4000-8000-000000000012", model: "gemini-2.0-flash-001", provider: "GOOGLE",
        tokens: tokens(10, 87, 97), cache: (Some(13644), None), cost: Some("0.001400200000"), ratio: Some(10.0 / 87.0), ..USUAL },
    Expected { sample: "groq-stream", request_id: "00000000-0000-4000-8000-000000000008", model: "llama-3.3-70b-versatile", provider: "GROQ",
        tokens: tokens(47, 10, 57), cost: Some("0.000035630000"), ratio: Some(4.7), ..USUAL },
    Expected { sample: "html-502", request_id: "00000000-0000-4000-8000-000000000018", model: "gpt-4o", provider: "OPENAI",
        tokens: tokens(0, 0, 0), status: "error", ..USUAL },
    Expected { sample: "includeData-false", request_id: "550e8400-e29b-41d4-a716-446655440000", user_id: "user-123", ..BASE },
    Expected { sample: "no-bodies", request_id: "00000000-0000-4000-8000-000000000020", provider: "OPENAI", latency_ms: None, status: "unknown", ..USUAL },
    Expected { sample: "object-50k-not-truncated", request_id: "o", ..BASE },
    Expected { sample: "omit-both", request_id: "00000000-0000-4000-8000-000000000021", model: "gpt-4o-2024-08-06", provider: "OPENAI",
        tokens: tokens(10, 5, 15), cost: Some("0.000075000000"), ratio: Some(2.0), status: "unknown", ..USUAL },
    Expected { sample: "openai-cached", request_id: "00000000-0000-4000-8000-000000000001", model: "gpt-4o-2024-08-06", provider: "OPENAI",
        tokens: tokens(96, 10, 106), cache: (Some(1152), None), reasoning: Some(0), cost: Some("0.000484000000"), ratio: Some(9.6), ..USUAL },
    Expected { sample: "openai-error-429", request_id: "00000000-0000-4000-8000-000000000017", model: "gpt-4o", provider: "OPENAI",
        tokens: tokens(0, 0, 0), status: "error", ..USUAL },
    Expected { sample: "openai-stream", request_id: "00000000-0000-4000-8000-000000000002", model: "gpt-4o-2024-08-06", provider: "OPENAI",
        tokens: tokens(1248, 10, 1258), cache: (Some(0), None), reasoning: Some(0), cost: Some("0.003220000000"), ratio: Some(124.8), ..USUAL },
    Expected { sample: "openai-stream-nousage", request_id: "00000000-0000-4000-8000-000000000015", model: "gpt-4o-2024-08-06", provider: "OPENAI", ..USUAL },
    Expected { sample: "string-10240", request_id: "s", ..BASE },
    Expected { sample: "string-10241", source: "second", request_id: "s", ..BASE },
    Expected { sample: "test-button", request_id: "4db66a1a-e38a-4372-8d31-8cdcb0814f5a", user_id: "", model: "gpt-4o-2024-08-06", provider: "OPENAI",
        tokens: tokens(13, 17, 30), cache: (Some(0), None), reasoning: Some(0), cost: Some("0.000202500000"), ratio: Some(13.0 / 17.0), is_test: true, ..USUAL },
    Expected { sample: "tiny-cost", source: "second", request_id: "550e8400-e29b-41d4-a716-446655440000", user_id: "user-123", model: "gpt-4o", provider: "OPENAI",
        tokens: tokens(1, 0, 1), cost: Some("0.000000150000"), latency_ms: Some(3), ..BASE },
    Expected { sample: "unicode", request_id: "u", user_id: "usér-😀", ..BASE },
];

impl Expected {
    /// The row, with `fetch_status` for those that have a URL that is fetched.
    fn row(&self, fetch_status: &str) -> Row {
        let text = str::to_owned;
        Row {
            request_id: text(self.request_id),
            source: text(self.source),
            user_id: text(self.user_id),
            model: text(self.model),
            provider: text(self.provider),
            prompt_tokens: self.tokens.0,
            completion_tokens: self.tokens.1,
            total_tokens: self.tokens.2,
            cached_tokens: self.cache.0,
            cache_write_tokens: self.cache.1,
            reasoning_tokens: self.reasoning,
            cost_usd: self.cost.map(text),
            cost_source: text(if self.cost.is_some() { self.cost_source } else { "unpriced" }),
            latency_ms: self.latency_ms,
            token_ratio: self.ratio,
            is_inefficient: self.ratio.is_some_and(|ratio| ratio > 10.0),
            status: text(self.status),
            fetch_status: text(match (self.is_test, self.has_url) {
                (true, _) => "test",
                (false, true) => fetch_status,
                (false, false) => "none",
            }),
            is_test: self.is_test,
            // The bodies' own times are more than seven days before receipt; only the test button's may still be near.
            is_event_time_receipt: true,
        }
    }
}

const ROWS: &str = "SELECT request_id, source, user_id, model, provider, prompt_tokens, completion_tokens, total_tokens, \
    cached_tokens, cache_write_tokens, reasoning_tokens, cost_usd, cost_source, latency_ms, token_ratio, is_inefficient, \
    status, fetch_status, is_test, (event_time = received_at OR (is_test AND event_time = toDateTime(1795298598)))::Bool AS is_event_time_receipt FROM requests ORDER BY source, request_id";

const CONFIG: &str = "[[sources]]\nname = \"second\"\nsecrets = [\"rotated-out\", \"env:HELICONE_WEBHOOK_SECRET\"]\n";

fn rows(server: &Server) -> BTreeMap<(String, String), Row> {
    server.query::<Row>(ROWS).into_iter().map(|row| ((row.source.clone(), row.request_id.clone()), row)).collect()
}

#[derive(Deserialize)]
struct Signed {
    secret: String,
    signature: String,
}

#[tokio::test(flavor = "multi_thread")]
async fn every_sample_is_stored_as_worked_out_by_hand() {
    let options =
        Options { config: Some(CONFIG.to_owned()), ..Options::default() }.with("HELIOMETER__FETCH__ENABLED", "false");
    let server = tokio::task::spawn_blocking(|| Server::start(options)).await.expect("a server");
    let (client, url) = (client(), server.webhook_url());
    let signatures = std::fs::read(samples().join("signatures.json")).expect("signatures.json");
    let signatures: BTreeMap<String, Signed> = serde_json::from_slice(&signatures).expect("signatures");
    for (name, signed) in &signatures {
        let body = std::fs::read(samples().join(format!("webhooks/{name}.json"))).expect("a sample");
        let expected = EXPECTED.iter().find(|expected| expected.sample == name);
        let source = expected.map_or("default", |expected| expected.source);
        let response = client
            .post(format!("{url}/{source}"))
            .header("Content-Type", "application/json")
            .header("Helicone-Signature", &signed.signature)
            .body(body)
            .send()
            .await
            .expect("an answer");
        // A webhook without a key is signed with the empty string, which anyone could do.
        let status = if signed.secret.is_empty() { 401 } else { 200 };
        assert_eq!(response.status().as_u16(), status, "{name}");
        assert_eq!(expected.is_some(), status == 200, "{name} is in the table exactly if it is accepted");
    }
    tokio::task::spawn_blocking(move || {
        server.wait_until_worked_off(i64::try_from(EXPECTED.len()).expect("few"));
        let rows = rows(&server);
        for expected in &EXPECTED {
            let key = (expected.source.to_owned(), expected.request_id.to_owned());
            assert_eq!(rows.get(&key), Some(&expected.row("disabled")), "{}", expected.sample);
        }
        assert_eq!(rows.len(), EXPECTED.len());
        assert_eq!(server.count("(SELECT sum(requests) FROM model_day)"), 20, "all but the test");
        assert_eq!(server.count("(SELECT sum(messages) FROM outcomes WHERE outcome = 'test')"), 1);
        assert_eq!(server.count("(SELECT count() FROM dead_letters)"), 0);
    })
    .await
    .expect("checked");
}

/// Serves the stored objects as S3 does: gzip-encoded, by the request's id.
async fn start_storage() -> std::net::SocketAddr {
    let mut objects = BTreeMap::new();
    for entry in std::fs::read_dir(samples().join("stored")).expect("stored samples") {
        let path = entry.expect("an entry").path();
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(&std::fs::read(&path).expect("an object")).expect("compress");
        let name = path.file_stem().and_then(|name| name.to_str()).expect("a name").to_owned();
        objects.insert(name, encoder.finish().expect("compress"));
    }
    let objects = Arc::new(objects);
    let serve = move |Path(name): Path<String>| {
        let objects = objects.clone();
        async move {
            match objects.get(&name) {
                Some(object) => ([("content-type", "application/json"), ("content-encoding", "gzip")], object.clone())
                    .into_response(),
                None => StatusCode::NOT_FOUND.into_response(),
            }
        }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let address = listener.local_addr().expect("address");
    tokio::spawn(async move { axum::serve(listener, Router::new().route("/{name}", get(serve))).await });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn the_stored_objects_are_fetched_and_change_no_number() {
    let storage = start_storage().await;
    let server =
        tokio::task::spawn_blocking(|| Server::start(Options::default().with_local_storage())).await.expect("a server");
    let (client, url) = (client(), server.webhook_url());
    let with_url: Vec<&Expected> = EXPECTED.iter().filter(|expected| expected.has_url && !expected.is_test).collect();
    for expected in &with_url {
        let body =
            std::fs::read_to_string(samples().join(format!("webhooks/{}.json", expected.sample))).expect("a sample");
        let start = body.find("https://s3.us-west-2").expect("a URL");
        let end = start + body[start..].find('"').expect("its end");
        let local = format!("http://{storage}/{}?X-Amz-Signature=mock", expected.sample);
        let body = format!("{}{local}{}", &body[..start], &body[end..]).into_bytes();
        assert_eq!(send(&client, &url, body).await, 200, "{}", expected.sample);
    }

    // One whose body was too large for the webhook and whose metadata lacks usage: only the stored object has it.
    let large = format!(
        r#"{{"request_id":"large","request_body":"","response_body":"Body too large for webhook, please fetch the full request and response from Helicone","request_response_url":"http://{storage}/openai-cached","model":"m"}}"#
    );
    assert_eq!(send(&client, &url, large.into_bytes()).await, 200);
    let gone = format!(r#"{{"request_id":"gone","request_response_url":"http://{storage}/nothing"}}"#).into_bytes();
    assert_eq!(send(&client, &url, gone).await, 200);

    tokio::task::spawn_blocking(move || {
        server.wait_until_worked_off(i64::try_from(with_url.len()).expect("few") + 2);
        let mut rows = rows(&server);
        for expected in with_url {
            let row = rows.remove(&("default".to_owned(), expected.request_id.to_owned()));
            assert_eq!(row, Some(expected.row("fetched")), "{}", expected.sample);
        }
        let large = rows.remove(&("default".to_owned(), "large".to_owned())).expect("stored");
        let counts = (large.prompt_tokens, large.completion_tokens, large.cached_tokens);
        assert_eq!(counts, (Some(96), Some(10), Some(1152)));
        assert_eq!((large.status.as_str(), large.cost_usd), ("success", None));
        let gone = rows.remove(&("default".to_owned(), "gone".to_owned())).expect("stored");
        assert_eq!((gone.fetch_status.as_str(), gone.status.as_str()), ("not_found", "unknown"));
        assert!(rows.is_empty(), "{rows:?}");
    })
    .await
    .expect("checked");
}
