//! What people said: stored as the settings say, seen by few, judged by policies.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU16, Ordering},
    },
    time::Duration,
};

use axum::{Router, body::Bytes, extract::State, http::StatusCode, http::Uri};
use serde::Deserialize;
use serde_json::json;

use crate::harness::{Options, Server, client, samples, send, wait_until};

#[derive(Debug, Deserialize, PartialEq)]
struct Content {
    request_id: String,
    request_body: String,
    response_body: String,
    request_bytes: u64,
    request_origin: String,
    response_origin: String,
    is_truncated: bool,
}

#[derive(Debug, Deserialize, PartialEq)]
struct Inspection {
    request_id: String,
    pii_email: Option<u16>,
    pii_card: Option<u16>,
    flags: Vec<String>,
    matches: Vec<String>,
}

/// Rows of a query with the rights of the user for contents.
fn contents(server: &Server) -> Vec<Content> {
    let query = "SELECT request_id, request_body, response_body, request_bytes, request_origin, response_origin, is_truncated \
                 FROM contents ORDER BY request_id SETTINGS output_format_json_quote_64bit_integers = 0";
    let output = server
        .command()
        .args(["sql", "--contents", "--format", "JSONEachRow", query])
        .output()
        .expect("heliometer sql");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).lines().map(|line| serde_json::from_str(line).expect("a row")).collect()
}

fn inspections(server: &Server) -> Vec<Inspection> {
    server.query("SELECT request_id, pii_email, pii_card, flags, matches FROM inspections ORDER BY request_id")
}

fn options(config: &str) -> Options {
    Options { config: Some(config.to_owned()), ..Options::default() }
}

fn call(id: &str, request: &serde_json::Value, response: &serde_json::Value) -> Vec<u8> {
    json!({
        "request_id": id, "request_body": request, "response_body": response, "user_id": "ann",
        "model": "gpt-4o-2024-08-06", "provider": "OPENAI",
        "metadata": {"cost": 0.25, "promptTokens": 96, "completionTokens": 10, "totalTokens": 106, "latencyMs": 900},
    })
    .to_string()
    .into_bytes()
}

/// A statement with the service's rights, which no command gives.
fn as_service(server: &Server, statement: &str) {
    let directory = server.data_dir().join("clickhouse");
    let read = |name: &str| -> BTreeMap<String, serde_json::Value> {
        serde_json::from_slice(&std::fs::read(directory.join(name)).expect("a file")).expect("JSON")
    };
    let password = read("credentials.json")["service_password"].as_str().expect("a password").to_owned();
    let url = format!("http://127.0.0.1:{}/?database=heliometer", read("endpoint.json")["http_port"]);
    let statement = statement.to_owned();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async move {
            let request = client().post(url).header("X-ClickHouse-User", "heliometer");
            let answer = request.header("X-ClickHouse-Key", password).body(statement).send().await.expect("an answer");
            assert!(answer.status().is_success(), "{}", answer.text().await.expect("a text"));
        });
    })
    .join()
    .expect("the statement");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_are_redacted_expire_and_are_open_to_few() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let address = listener.local_addr().expect("an address");
    let stored =
        json!({"request": {"q": "stored bob@example.com"}, "response": {"a": "4111 1111 1111 1111"}}).to_string();
    let storage = Router::new().fallback(move || std::future::ready(stored.clone()));
    tokio::spawn(async move { axum::serve(listener, storage).await });
    let config = "[contents]\nstore = \"full\"\nretention_days = 1\n[[contents.policies]]\nname = \"mail\"\n\
                  when = \"pii.email > 0 && request.contains('example')\"\naction = \"flag\"\n";
    let mut server = Server::start(options(config).with_local_storage());
    let http = client();
    let url = server.webhook_url();
    let inline = call("inline", &json!({"q": "mail\nann@example.com", "n": 4_111_111_111_111_111_u64}), &json!("fine"));
    assert_eq!(send(&http, &url, inline.clone()).await, 200);
    // The same message again changes nothing.
    assert_eq!(send(&http, &url, inline).await, 200);
    let mut fetched: serde_json::Value =
        serde_json::from_slice(&call("stored", &json!({"q": "inline"}), &json!({}))).expect("JSON");
    fetched["request_response_url"] = json!(format!("http://{address}/o?X-Amz-Expires=3600"));
    assert_eq!(send(&http, &url, fetched.to_string().into()).await, 200);
    server.wait_until_worked_off(3);

    let inline_request = r#"{"n":"[card]","q":"mail\n[email]"}"#;
    let content = |id: &str, request: &str, response: &str, bytes, origin: &str| Content {
        request_id: id.to_owned(),
        request_body: request.to_owned(),
        response_body: response.to_owned(),
        request_bytes: bytes,
        request_origin: origin.to_owned(),
        response_origin: origin.to_owned(),
        is_truncated: false,
    };
    let expected = [
        content("inline", inline_request, "fine", 50, "inline"),
        content("stored", r#"{"q":"stored [email]"}"#, r#"{"a":"[card]"}"#, 30, "stored"),
    ];
    assert_eq!(contents(&server), expected);
    let inspection = |id: &str| Inspection {
        request_id: id.to_owned(),
        pii_email: Some(1),
        pii_card: Some(1),
        flags: vec!["mail".to_owned()],
        matches: vec!["mail".to_owned()],
    };
    assert_eq!(inspections(&server), [inspection("inline"), inspection("stored")]);

    // Every way that the reader might try.
    for query in [
        "SELECT * FROM contents",
        "SELECT request_body FROM content_rows",
        "SELECT count() FROM content_rows",
        "SELECT count() FROM contents WHERE request_body LIKE '%a%'",
        "SELECT * FROM requests JOIN content_rows USING request_id",
        "SELECT * FROM mergeTreeIndex('heliometer', 'content_rows')",
        "SELECT request_body FROM loop('heliometer', 'content_rows') LIMIT 1",
        "SELECT * FROM remote('127.0.0.1:9000', 'heliometer', 'content_rows', 'reader', '')",
        "DESCRIBE content_rows",
    ] {
        let output = server.sql(query);
        assert!(!output.status.success(), "{query} gives {}", String::from_utf8_lossy(&output.stdout));
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(error.contains("ACCESS_DENIED"), "{query}: {error}");
    }
    // Tables that the reader may not see are left out here, so the column is unknown.
    for pattern in ["^content", "^(content|inspection)_rows$"] {
        let output = server.sql(&format!("SELECT request_body FROM merge('heliometer', '{pattern}')"));
        assert!(!output.status.success(), "{pattern} gives {}", String::from_utf8_lossy(&output.stdout));
    }
    assert!(server.sql("SELECT * FROM scores").status.success(), "without any text, so open");
    // And the user for contents reads only.
    let drop_table = server.command().args(["sql", "--contents", "TRUNCATE TABLE content_rows"]).output().expect("sql");
    assert!(!drop_table.status.success());

    // Nothing that was said is in the service's own files: not before redaction, and not in its log.
    assert!(!server.log().contains("ann@example.com"));

    as_service(
        &server,
        "INSERT INTO content_rows (request_id, source, event_time, request_body, expires_at, version) \
         VALUES ('old', 'default', now64(3), 'expired', now() - 60, 1)",
    );
    assert_eq!(contents(&server), expected, "what has expired is not shown");
    as_service(&server, "OPTIMIZE TABLE content_rows FINAL");
    as_service(
        &server,
        "SELECT throwIf(count() != 2), throwIf(min(expires_at - toDateTime(event_time)) != 86400) FROM content_rows FINAL",
    );
    let reader = String::from_utf8(server.command().args(["doctor"]).output().expect("doctor").stdout).expect("UTF-8");
    assert!(reader.contains("bodies are stored up to 1048576 bytes each; policies: 1"), "{reader}");
    assert!(server.stop().success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn off_stores_nothing_and_truncated_stores_the_beginning_of_every_sample() {
    let mut server = Server::start(Options::default());
    let http = client();
    let body = call("a", &json!({"q": "ann@example.com"}), &json!({"a": "b"}));
    assert_eq!(send(&http, &server.webhook_url(), body).await, 200);
    server.wait_until_worked_off(1);
    assert_eq!(contents(&server), []);
    assert_eq!(inspections(&server), []);
    assert!(server.stop().success());

    server.set("HELIOMETER__CONTENTS__STORE", "truncated");
    server.set("HELIOMETER__CONTENTS__TRUNCATE_BYTES", 64);
    server.start_again();
    let mut sent = 0;
    let mut names: Vec<_> = std::fs::read_dir(samples().join("webhooks"))
        .expect("samples")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .collect();
    names.sort();
    for path in names {
        let body = std::fs::read(&path).expect("a sample");
        if send(&http, &server.webhook_url(), body).await == 200 {
            sent += 1;
        }
    }
    assert!(sent > 10, "{sent} samples");
    server.wait_until_worked_off(sent + 1);
    let rows = contents(&server);
    assert!(rows.len() > 5 && rows.iter().any(|row| row.is_truncated), "{rows:#?}");
    for row in &rows {
        assert!(row.request_body.len() <= 64 && row.response_body.len() <= 64, "{row:?}");
    }
    let calls = server.count("(SELECT count() FROM requests WHERE NOT is_test)");
    // The first one came before anything was looked for.
    assert_eq!(server.count("(SELECT count() FROM inspections)"), calls - 1);
    assert_eq!(server.count("(SELECT count() FROM inspections WHERE pii_email IS NULL)"), 0);
    assert!(server.stop().success());
}

/// Stands for Slack and for Helicone's API.
#[derive(Default)]
struct Receiver {
    status: AtomicU16,
    received: Mutex<Vec<(String, String)>>,
}

impl Receiver {
    fn received(&self) -> Vec<(String, String)> {
        self.received.lock().expect("lock").clone()
    }
}

async fn receive(State(receiver): State<Arc<Receiver>>, uri: Uri, body: Bytes) -> (StatusCode, &'static str) {
    let status = StatusCode::from_u16(receiver.status.load(Ordering::SeqCst)).expect("a status");
    receiver.received.lock().expect("lock").push((uri.to_string(), String::from_utf8_lossy(&body).into_owned()));
    (status, "ok")
}

async fn start_receiver(status: u16) -> (Arc<Receiver>, String) {
    let receiver = Arc::new(Receiver::default());
    receiver.status.store(status, Ordering::SeqCst);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let app = Router::new().fallback(receive).with_state(receiver.clone());
    tokio::spawn(async move { axum::serve(listener, app).await });
    (receiver, url)
}

const POLICIES: &str = r#"
[[contents.policies]]
name = "card-leak"
when = "pii.card > 0"
action = "alert"
severity = "critical"
scope = "user"

[[contents.policies]]
name = "refused"
when = "response.lowerAscii().contains(\"i cannot\")"
action = "score"

[[contents.policies]]
name = "words"
when = "true"
action = "score"
score = "request-size"
value = "size(request)"
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn policies_alert_once_and_scores_survive_a_restart() {
    let (slack, slack_url) = start_receiver(200).await;
    let (api, api_url) = start_receiver(503).await;
    let options = options(POLICIES)
        .with("SLACK_WEBHOOK_URL", format!("{slack_url}/services/x"))
        .with("HELICONE_API_KEY", "sk-helicone-test")
        .with("HELIOMETER__ALERTS__EVALUATE_EVERY_MS", 200);
    // The API's address is a source's setting, so the source is named in the file.
    let source = format!(
        "[[sources]]\nname = \"default\"\nsecrets = [\"{}\"]\nhelicone_api_url = \"{api_url}\"\n",
        crate::harness::SECRET
    );
    let options = Options { config: Some(format!("{source}{POLICIES}")), ..options };
    let mut server = Server::start(options);
    let http = client();
    for (id, request) in [("a", "pay 4111 1111 1111 1111"), ("b", "pay 5555-5555-5555-4444"), ("c", "hello")] {
        let body = call(id, &json!({"q": request}), &json!({"a": "I cannot do that"}));
        assert_eq!(send(&http, &server.webhook_url(), body).await, 200);
    }
    server.wait_until_worked_off(3);
    wait_until("an alert", || (!slack.received().is_empty()).then_some(()));
    let (_, message) = slack.received()[0].clone();
    assert!(message.contains("card-leak") && message.contains("ann"), "{message}");
    assert!(!message.contains("4111"), "{message}");
    // Helicone is away. The program is killed, and the API is back before it runs again.
    wait_until("the API to be asked", || (!api.received().is_empty()).then_some(()));
    assert_eq!(server.count("(SELECT count() FROM scores WHERE state = 'pending')"), 6);
    server.kill();
    api.received.lock().expect("lock").clear();
    api.status.store(201, Ordering::SeqCst);
    server.start_again();
    wait_until("every score to be sent", || {
        (server.count("(SELECT count() FROM scores WHERE state = 'sent')") == 6).then_some(())
    });
    let mut sent = api.received();
    sent.sort();
    let expected = [("a", 31), ("b", 31), ("c", 13)].map(|(id, size)| {
        let scores = json!({"scores": {"refused": true, "request-size": size}});
        (format!("/v1/request/{id}/score"), scores.to_string())
    });
    assert_eq!(sent, expected, "each call once");
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(api.received().len(), 3, "and never again");
    // One message for both calls, also over the restart.
    assert_eq!(slack.received().len(), 1, "{:#?}", slack.received());
    assert_eq!(server.count("(SELECT count() FROM alerts WHERE rule = 'card-leak' AND state = 'firing')"), 1);
    // Nothing was to be stored.
    assert_eq!(contents(&server), []);
    assert!(!server.log().contains("sk-helicone-test"), "the key is a secret");
    assert!(server.stop().success());

    // Nobody can receive scores: that is a mistake in the settings, not a silence.
    server.set("HELICONE_API_KEY", "");
    let output = server.command().arg("serve").output().expect("serve");
    assert!(!output.status.success());
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(error.contains("HELICONE_API_KEY"), "{error}");
}

/// The inline bodies stand until the object is there, and what it shows is not missed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_that_comes_late_replaces_what_was_inline() {
    let is_up = Arc::new(AtomicU16::new(503));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let address = listener.local_addr().expect("an address");
    let status = is_up.clone();
    let storage = Router::new().fallback(move || {
        let object = json!({"request": {"q": "from storage"}, "response": {"a": "ann@example.com"}}).to_string();
        let status = StatusCode::from_u16(status.load(Ordering::SeqCst)).expect("a status");
        std::future::ready((status, object))
    });
    tokio::spawn(async move { axum::serve(listener, storage).await });
    let mut server = Server::start(
        options("contents = \"full\"")
            .with_local_storage()
            .with("HELIOMETER__FETCH__RETRY_FIRST_DELAY_MS", 200)
            .with("HELIOMETER__FETCH__RETRY_MAX_DELAY_MS", 1_000),
    );
    let notice = "Body too large for webhook, please fetch the full request and response from Helicone";
    let mut body: serde_json::Value =
        serde_json::from_slice(&call("late", &json!({"q": "inline"}), &json!(notice))).expect("JSON");
    body["request_response_url"] = json!(format!("http://{address}/o?X-Amz-Expires=3600"));
    assert_eq!(send(&client(), &server.webhook_url(), body.to_string().into()).await, 200);
    server.wait_until_worked_off(1);
    let rows = contents(&server);
    assert_eq!(rows.len(), 1);
    assert_eq!((rows[0].request_body.as_str(), rows[0].request_origin.as_str()), (r#"{"q":"inline"}"#, "inline"));
    assert_eq!((rows[0].response_body.as_str(), rows[0].response_origin.as_str()), ("", "too_large"));
    assert_eq!(inspections(&server)[0].pii_email, Some(0));
    is_up.store(200, Ordering::SeqCst);
    wait_until("the stored bodies", || {
        let rows = contents(&server);
        let is_stored =
            rows[0].request_body == r#"{"q":"from storage"}"# && rows[0].response_body == r#"{"a":"[email]"}"#;
        (rows.len() == 1 && is_stored).then_some(())
    });
    assert_eq!(inspections(&server)[0].pii_email, Some(1));
    assert!(server.stop().success());
}
