//! The live page without a browser: what it answers to whom, and what its SQL box can and cannot do.

use std::time::{Duration, Instant};

use futures_util::StreamExt;
use reqwest::{Client, Response, header::HeaderMap};

use crate::harness::{Options, PATIENCE, Server, client, send};

async fn started() -> Server {
    tokio::task::spawn_blocking(|| Server::start(Options::default())).await.expect("a server")
}

fn origin(server: &Server) -> String {
    server.admin_url().trim_end_matches('/').to_owned()
}

async fn get(client: &Client, server: &Server, path: &str) -> (u16, HeaderMap, String) {
    let response = client.get(format!("{}{path}", server.admin_url())).send().await.expect("an answer");
    (response.status().as_u16(), response.headers().clone(), response.text().await.expect("text"))
}

async fn post(client: &Client, server: &Server, path: &str, query: &str, origin: Option<&str>) -> Response {
    let body = url::form_urlencoded::Serializer::new(String::new()).append_pair("query", query).finish();
    let mut request = client.post(format!("{}{path}", server.admin_url())).body(body);
    request = request.header("content-type", "application/x-www-form-urlencoded");
    if let Some(origin) = origin {
        request = request.header("origin", origin);
    }
    request.send().await.expect("an answer")
}

/// Status and page of a query from the page itself.
async fn run(client: &Client, server: &Server, query: &str) -> (u16, String) {
    let response = post(client, server, "sql", query, Some(&origin(server))).await;
    (response.status().as_u16(), response.text().await.expect("text"))
}

fn call(request_id: &str) -> Vec<u8> {
    let call = r#"{"request_id":"ID","user_id":"ann <b>","model":"gpt-x","provider":"OPENAI","metadata":{"cost":0.25,"promptTokens":9,"completionTokens":3,"totalTokens":12,"latencyMs":700}}"#;
    call.replace("ID", request_id).into_bytes()
}

/// Until the page has all of it: a pass writes the models' totals before the users'.
async fn wait_for_page(client: &Client, server: &Server, path: &str, texts: &[&str]) -> String {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let (status, _, page) = get(client, server, path).await;
        assert_eq!(status, 200, "{page}");
        // A busy machine's queries may be out of time for once.
        let is_whole = !page.contains("Could not be read");
        if is_whole && texts.iter().all(|text| page.contains(text)) {
            return page;
        }
        assert!(Instant::now() < deadline, "{path} lacks one of {texts:?}: {page}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_show_what_was_received_and_let_nothing_else_in() {
    let server = started().await;
    let client = client();
    assert_eq!(send(&client, &server.webhook_url(), call("a")).await, 200);
    let page = wait_for_page(&client, &server, "", &["gpt-x", "exactly 0.25 USD", "ann &lt;b&gt;", "OPENAI"]).await;
    assert!(!page.contains("<b>ann") && !page.contains("style=\"") && !page.contains("onclick"), "{page}");
    for (path, texts) in [
        ("model?name=gpt-x&range=1h", &["Model gpt-x", "/user?name=ann+%3Cb%3E&amp;range=1h", "$0.25"][..]),
        ("user?name=ann+%3Cb%3E&range=month", &["User ann &lt;b&gt;", "/model?name=gpt-x&amp;range=month"]),
        ("requests?model=gpt-x&min_cost=0.2&min_latency=700&status=unknown", &["700 ms", "unknown"]),
        ("requests?model=gpt-x&min_cost=0.3", &["No such requests in this range"]),
        ("requests?model=it%27s", &["No such requests in this range", "value=\"it's\""]),
        ("alerts", &["No alert fires, and none waits.", "Nothing yet."]),
        ("pipeline", &["in flight", "Uptime", "consumer"]),
        ("sql?example=outcomes", &["FROM outcomes"]),
        ("?range=24h&source=default", &["gpt-x"]),
        ("?range=90d&source=other", &["No requests in this range."]),
        ("?from=2026-01-01T00:00&to=nonsense", &["Times are written like"]),
    ] {
        wait_for_page(&client, &server, path, texts).await;
    }

    for path in ["", "requests", "alerts", "pipeline", "sql", "model?name=x", "user?name=x", "metrics", "nowhere"] {
        let (_, headers, _) = get(&client, &server, path).await;
        let policy = headers["content-security-policy"].to_str().expect("text");
        assert!(policy.starts_with("default-src 'none'; script-src 'self'; style-src 'self'"), "{path}: {policy}");
        assert!(!policy.contains("unsafe") && !policy.contains("http") && !policy.contains('*'), "{path}: {policy}");
        assert_eq!(headers["cache-control"], "no-store", "{path}");
        assert_eq!(headers["x-content-type-options"], "nosniff", "{path}");
    }
    let assets: Vec<&str> = page.split('"').filter_map(|text| text.strip_prefix("/assets/")).collect();
    assert!(assets.len() >= 5, "{assets:?}");
    for asset in assets {
        let (status, headers, _) = get(&client, &server, &format!("assets/{asset}")).await;
        assert_eq!(status, 200, "{asset}");
        assert_eq!(headers["cache-control"], "public, max-age=31536000, immutable", "{asset}");
    }
    assert_eq!(get(&client, &server, "assets/0000000000000000/style.css").await.0, 404);

    for (path, host, expected) in [
        ("", "attacker.example", 421),
        ("sql", "attacker.example:9464", 421),
        ("events", "attacker.example", 421),
        ("", "localhost:1", 200),
        // Prometheus asks under whatever name it knows.
        ("metrics", "heliometer.internal", 200),
    ] {
        let request = client.get(format!("{}{path}", server.admin_url())).header("host", host);
        assert_eq!(request.send().await.expect("an answer").status().as_u16(), expected, "{host} /{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sql_box_reads_within_bounds_and_says_kindly_what_is_wrong() {
    let server = started().await;
    let client = client();
    assert_eq!(send(&client, &server.webhook_url(), call("a")).await, 200);
    // The newest requests have it before today's total, which is asked for below.
    wait_for_page(&client, &server, "", &["exactly 0.25 USD"]).await;

    let own = origin(&server);
    for (from, expected) in
        [(None, 403), (Some("https://attacker.example"), 403), (Some("null"), 403), (Some(own.as_str()), 200)]
    {
        for path in ["sql", "sql.csv"] {
            let response = post(&client, &server, path, "SELECT 1", from).await;
            assert_eq!(response.status().as_u16(), expected, "{path} {from:?}");
        }
    }
    // A link that somebody was sent runs nothing.
    let (_, _, page) = get(&client, &server, "sql?query=SELECT+12345").await;
    assert!(!page.contains("12345"), "{page}");

    for (query, told) in [
        ("SELECT model, cost_usd FROM model_day WHERE model = 'gpt-x';", &["gpt-x", "0.25", "1 row"][..]),
        (
            "SELECT toDecimal128('0.000000000001', 12) AS a, 18446744073709551615 AS b, NULL AS c",
            &["0.000000000001", "18446744073709551615", "NULL"],
        ),
        ("SELECT number FROM numbers(100000)", &["The first 1,000 rows; there are more."]),
        ("SELECT repeat('x', 10000) FROM numbers(1000)", &["there are more."]),
        ("DESCRIBE model_day", &["Sum of the known costs in USD"]),
        ("SELECT nothing FROM model_day", &["nothing", "DESCRIBE and the view's name show its columns"]),
        ("SELECT 1 FROM model_dy", &["model_dy", "The views that there are"]),
        ("SELEKT 1", &["Syntax error near", "At line 1, column 8."]),
        ("", &["The query is empty."]),
        ("SELECT 1 FORMAT Pretty", &["leave out FORMAT"]),
        ("SELECT * FROM contents", &["The page may only read, and no bodies."]),
        ("INSERT INTO request_rows (request_id) VALUES ('x')", &["The page may only read, and no bodies."]),
        ("DROP TABLE request_rows", &["The page may only read, and no bodies."]),
        ("SELECT * FROM url('http://127.0.0.1:1/', CSV, 'a String')", &["The page may only read, and no bodies."]),
        ("SELECT * FROM file('/etc/passwd', LineAsString)", &["The page may only read, and no bodies."]),
    ] {
        let (status, page) = run(&client, &server, query).await;
        assert_eq!(status, 200, "{query}: {page}");
        for text in told {
            assert!(page.contains(text), "{query} lacks {text}: {page}");
        }
        assert!(!page.contains("DB::Exception") && !page.contains("Expected one of"), "{query}: {page}");
    }
    assert_eq!(server.count("(SELECT count() FROM requests)"), 1);
    assert_eq!(run(&client, &server, &"x".repeat(40_000)).await.0, 413);

    let begun = Instant::now();
    let (_, page) = run(&client, &server, "SELECT sum(sipHash64(number)) FROM numbers(100000000000000)").await;
    assert!(page.contains("Ask for a shorter range of time"), "{page}");
    assert!(begun.elapsed() < Duration::from_secs(30), "it took {:?}", begun.elapsed());

    let csv = post(&client, &server, "sql.csv", "SELECT number AS a, 'x,y' AS b FROM numbers(3000)", Some(&own)).await;
    assert_eq!(csv.headers()["content-type"], "text/csv; charset=utf-8");
    assert_eq!(csv.headers()["content-disposition"], "attachment; filename=\"heliometer.csv\"");
    let csv = csv.text().await.expect("text");
    assert!(csv.starts_with("\"a\",\"b\"\n0,\"x,y\"\n") && csv.lines().count() == 3_001, "{}", &csv[..100]);
    let response = post(&client, &server, "sql.csv", "SELECT number FROM numbers(2000000)", Some(&own)).await;
    assert_eq!(response.status().as_u16(), 400);
    assert!(response.text().await.expect("text").contains("Add a LIMIT"));
}

#[tokio::test(flavor = "multi_thread")]
async fn events_tell_of_changes_and_end_with_the_server() {
    let mut server = started().await;
    let client = client();
    let events = client.get(format!("{}events", server.admin_url())).send().await.expect("events");
    assert_eq!(events.headers()["content-type"], "text/event-stream");
    assert_eq!(events.headers()["cache-control"], "no-cache");
    let mut events = events.bytes_stream();
    let mut until = async |wanted: &str| {
        let (mut heard, begun) = (String::new(), Instant::now());
        while !heard.contains(wanted) {
            // Keep-alives come for ever.
            assert!(begun.elapsed() < PATIENCE, "no {wanted} in {heard}");
            let chunk = tokio::time::timeout(PATIENCE, events.next()).await.expect("an event");
            heard += &String::from_utf8_lossy(&chunk.expect("open").expect("a chunk"));
        }
    };
    until(r#""requests":"0""#).await;
    assert_eq!(send(&client, &server.webhook_url(), call("a")).await, 200);
    until(r#""requests":"1","revision":"#).await;
    let (_, _, metrics) = get(&client, &server, "metrics").await;
    assert!(metrics.contains("heliometer_live_page_clients 1"), "{metrics}");

    let begun = Instant::now();
    let stopped = tokio::task::spawn_blocking(move || server.stop());
    let ends = async { while let Some(Ok(_)) = events.next().await {} };
    tokio::time::timeout(PATIENCE, ends).await.expect("the stream ends");
    assert!(stopped.await.expect("stops").success());
    assert!(begun.elapsed() < PATIENCE);
}
