//! What is refused, how, and what is kept all the same.

use std::time::Duration;

use tokio::io::AsyncWriteExt;

use super::support::{
    BODY, Behaviour, Harness, NEXT_SECRET, SECRET, head, read, read_to_close, sign, start, status_of,
};
use crate::settings::TlsMode;

#[tokio::test]
async fn a_wrong_signature_is_401_whatever_is_wrong_with_it() {
    let harness = start(Behaviour::Keep, |_| {}).await;
    // Pretty-printed, as a proxy that parses and writes JSON again might send it.
    let spaced = BODY.replace(':', ": ");
    let right = sign(SECRET, BODY.as_bytes());
    let cases: [(&str, &[&str]); 9] = [
        (BODY, &[]),
        (BODY, &[""]),
        (BODY, &[&right[..62]]),
        (BODY, &[&format!("{right}00")]),
        (BODY, &[&right.replace(|_: char| true, "z")]),
        (BODY, &[&format!("sha256={right}")]),
        (BODY, &[&right, &right]),
        (&spaced, &[&right]),
        (BODY, &[&sign("", BODY.as_bytes())]),
    ];
    for (body, signatures) in cases {
        let mut request = harness.post("/webhook", body.to_owned());
        for signature in signatures {
            request = request.header("helicone-signature", *signature);
        }
        assert_eq!(read(request).await, (401, r#"{"error":"Invalid signature"}"#.to_owned()), "{signatures:?}");
    }
    // A secret of one source signs for no other.
    assert_eq!(harness.post_signed("/webhook/other", BODY, SECRET).await.0, 401);
    assert!(harness.log.records().is_empty());
    assert_eq!(harness.metric("heliometer_signature_failures_total", &[("source", "default")]), 9);
}

#[tokio::test]
async fn signed_but_uncountable_is_400_and_kept() {
    let harness = start(Behaviour::Keep, |_| {}).await;
    let bodies = ["", "not JSON", "{\"request_id\":\"cut", "{}", "{\"request_id\":\" \"}"];
    for body in bodies {
        let (status, text) = harness.post_signed("/webhook", body, NEXT_SECRET).await;
        assert!(status == 400 && text.starts_with("{\"error\":\"the "), "{body}: {status} {text}");
    }
    let records = harness.log.records();
    assert!(records.iter().map(|record| record.body.as_ref()).eq(bodies.map(str::as_bytes)));
    assert!(records.iter().all(|record| record.key.is_empty()));
    assert_eq!(harness.metric("heliometer_webhooks_total", &[("outcome", "bad_json")]), 3);
}

#[tokio::test]
async fn wrong_paths_methods_and_types_have_their_own_answers() {
    let harness = start(Behaviour::Keep, |_| {}).await;
    for path in ["/webhook/nobody", "/webhook/%ff", "/webhook/", "/webhook/other/x", "/", "/metrics"] {
        let (status, text) = harness.post_signed(path, BODY, SECRET).await;
        assert!(status == 404 && text.starts_with("{\"error\":"), "{path}: {status} {text}");
    }
    for (method, path, allow) in
        [("GET", "/webhook", "POST"), ("DELETE", "/webhook/other", "POST"), ("POST", "/healthz", "GET,HEAD")]
    {
        let method = method.parse().expect("a method");
        let response = harness.client.request(method, harness.url(path)).send().await.expect("an answer");
        assert_eq!((response.status().as_u16(), &response.headers()["allow"]), (405, &allow.parse().expect("value")));
        assert_eq!(response.text().await.expect("text"), r#"{"error":"Method not allowed"}"#);
    }
    let post = |content_type: &'static str| {
        let request = harness.client.post(harness.url("/webhook")).body(BODY);
        read(request.header("content-type", content_type).header("helicone-signature", sign(SECRET, BODY.as_bytes())))
    };
    for refused in ["text/plain", "application/jsonp", "application/x-www-form-urlencoded", ""] {
        assert_eq!(post(refused).await.0, 415, "{refused}");
    }
    for taken in ["application/json", "Application/JSON ; charset=utf-8"] {
        assert_eq!(post(taken).await.0, 200, "{taken}");
    }
}

#[tokio::test]
async fn an_oversized_body_is_413_by_its_header_and_while_it_streams() {
    let harness = start(Behaviour::Keep, |settings| settings.ingress.max_body_bytes = 1000).await;
    // By its header: answered though no byte of it is sent.
    let answer = harness.raw(head(BODY, "Content-Length: 1001\r\n").as_bytes()).await;
    assert_eq!(status_of(&answer), "413", "{answer}");
    // The answer arrives although the sender goes on sending.
    let body = "x".repeat(200_000);
    assert_eq!(harness.post_signed("/webhook", &body, SECRET).await.0, 413);
    let chunk = format!("1f4\r\n{}\r\n", "x".repeat(500));
    let chunked = format!("{}{}", head(BODY, "Transfer-Encoding: chunked\r\n"), chunk.repeat(3));
    let answer = harness.raw(chunked.as_bytes()).await;
    assert!(status_of(&answer) == "413" && answer.contains(r#"{"error":"The body is larger than 1000 bytes"}"#));
    assert!(harness.log.records().is_empty());

    let http2 = start(Behaviour::Keep, |settings| {
        settings.ingress.tls = TlsMode::SelfSigned;
        settings.ingress.max_body_bytes = 1000;
    })
    .await;
    assert_eq!(http2.post_signed("/webhook", &body.repeat(5), SECRET).await.0, 413);
}

#[tokio::test]
async fn slow_and_incomplete_bodies_are_not_kept() {
    let harness = start(Behaviour::Keep, |settings| settings.ingress.body_timeout_ms = 100).await;
    let request = format!("{}{}", head(BODY, &format!("Content-Length: {}\r\n", BODY.len())), &BODY[..10]);
    let answer = harness.raw(request.as_bytes()).await;
    assert_eq!(status_of(&answer), "408", "{answer}");

    let harness = start(Behaviour::Keep, |_| {}).await;
    let mut stream = harness.connect().await;
    stream.write_all(request.as_bytes()).await.expect("write");
    stream.shutdown().await.expect("cut off");
    read_to_close(&mut stream).await;
    while harness.metric("heliometer_connections", &[]) > 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(harness.log.records().is_empty());
    assert_eq!(harness.metric("heliometer_in_flight_body_bytes", &[]), 0);
}

#[tokio::test]
async fn slow_headers_and_idle_connections_are_closed() {
    let harness = start(Behaviour::Keep, |settings| settings.ingress.header_timeout_ms = 100).await;
    for begun in ["", "POST /webhook HT", "POST /webhook HTTP/1.1\r\nHost: x\r\n"] {
        harness.raw(begun.as_bytes()).await;
    }
    assert!(harness.log.records().is_empty());
}

#[tokio::test]
async fn past_a_rate_429_says_when_to_come_back() {
    let harness = start(Behaviour::Keep, |settings| settings.rate_limit.per_ip_per_second = 1).await;
    let send = || harness.post("/webhook", BODY).header("helicone-signature", sign(SECRET, BODY.as_bytes())).send();
    let mut refused = None;
    // Two pass at once; a slow machine may see a few more pass while time goes by.
    for _ in 0..50 {
        let response = send().await.expect("an answer");
        if response.status().as_u16() == 429 {
            refused = Some(response);
            break;
        }
    }
    let response = refused.expect("a burst of two");
    let header = |name: &str| response.headers()[name].to_str().expect("text").to_owned();
    assert_eq!((header("ratelimit-limit").as_str(), header("ratelimit-remaining").as_str()), ("2", "0"));
    assert_eq!((header("ratelimit-reset").as_str(), header("retry-after").as_str()), ("1", "1"));
    assert_eq!(response.text().await.expect("text"), r#"{"error":"Too many requests"}"#);
    assert!(harness.metric("heliometer_rate_limited_total", &[("limit", "per_ip")]) > 0);
}

#[tokio::test]
async fn an_unsigned_flood_does_not_use_up_a_source() {
    let harness = start(Behaviour::Keep, |settings| settings.rate_limit.per_source_per_second = 1).await;
    for _ in 0..20 {
        assert_eq!(harness.post_signed("/webhook", BODY, "wrong").await.0, 401);
    }
    assert_eq!(harness.post_signed("/webhook", BODY, SECRET).await.0, 200);
    let mut limited = false;
    for _ in 0..50 {
        limited = limited || harness.post_signed("/webhook", BODY, SECRET).await.0 == 429;
    }
    assert!(limited && harness.metric("heliometer_rate_limited_total", &[("limit", "per_source")]) > 0);
    assert_eq!(harness.post_signed("/webhook/other", BODY, "other-secret").await.0, 200);
}

#[tokio::test]
async fn failed_signatures_become_429_and_right_ones_still_pass() {
    let harness = start(Behaviour::Keep, |settings| {
        settings.rate_limit.failed_signatures_per_15_minutes = 3;
        settings.ingress.trusted_proxies = vec!["127.0.0.0/8".to_owned()];
    })
    .await;
    let wrong = async |harness: &Harness, client: &str| {
        let request = harness.post("/webhook", BODY).header("helicone-signature", sign("wrong", BODY.as_bytes()));
        read(request.header("x-forwarded-for", client)).await.0
    };
    for expected in [401, 401, 401, 429, 429] {
        assert_eq!(wrong(&harness, "192.0.2.1").await, expected);
    }
    assert_eq!(wrong(&harness, "192.0.2.2").await, 401, "another client");
    let request = harness.post("/webhook", BODY).header("helicone-signature", sign(SECRET, BODY.as_bytes()));
    assert_eq!(read(request.header("x-forwarded-for", "192.0.2.1")).await.0, 200);
    assert_eq!(harness.metric("heliometer_signature_failures_total", &[]), 6);
}

#[tokio::test]
async fn what_the_log_does_not_take_is_503() {
    for (behaviour, error) in [
        (Behaviour::Fail, r#"{"error":"The webhook could not be stored"}"#),
        (Behaviour::Hang, r#"{"error":"The webhook could not be stored in time"}"#),
    ] {
        let harness = start(behaviour, |settings| settings.ingress.append_timeout_ms = 50).await;
        let request = harness.post("/webhook", BODY).header("helicone-signature", sign(SECRET, BODY.as_bytes()));
        let response = request.send().await.expect("an answer");
        assert_eq!((response.status().as_u16(), &response.headers()["retry-after"]), (503, &5.into()), "{behaviour:?}");
        assert_eq!(response.text().await.expect("text"), error, "the place of the log is not told");
    }
}

#[tokio::test]
async fn memory_that_hanging_appends_hold_is_not_given_out_again() {
    let harness = start(Behaviour::Hang, |settings| {
        settings.ingress.max_body_bytes = 2048;
        settings.ingress.max_in_flight_bytes = 2048;
        settings.ingress.append_timeout_ms = 50;
        settings.ingress.body_timeout_ms = 500;
    })
    .await;
    for expected in ["append_timeout", "append_timeout", "overloaded", "overloaded"] {
        let before = harness.metric("heliometer_webhooks_total", &[("outcome", expected)]);
        assert_eq!(harness.post_signed("/webhook", BODY, SECRET).await.0, 503);
        let after = harness.metric("heliometer_webhooks_total", &[("outcome", expected)]);
        assert_eq!(after - before, 1, "{expected}");
    }
}
