use std::sync::{Arc, Mutex};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap as Headers, Uri},
};

use super::*;

type HeaderPairs = &'static [(&'static str, &'static str)];

/// What was asked, and what is answered one after the other; the last answer stays.
#[derive(Default)]
struct Api {
    asked: Mutex<Vec<(String, String, String)>>,
    answers: Mutex<Vec<(u16, HeaderPairs, String)>>,
}

async fn answer(
    State(api): State<Arc<Api>>,
    uri: Uri,
    headers: Headers,
    body: Bytes,
) -> (axum::http::StatusCode, axum::http::HeaderMap, String) {
    let authorization =
        headers.get("authorization").and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    let text = String::from_utf8_lossy(&body).into_owned();
    api.asked.lock().expect("lock").push((uri.to_string(), authorization, text));
    let mut answers = api.answers.lock().expect("lock");
    let (status, headers, body) = if answers.len() > 1 { answers.remove(0) } else { answers[0].clone() };
    let mut map = axum::http::HeaderMap::new();
    for (name, value) in headers {
        map.insert(*name, value.parse().expect("a value"));
    }
    (axum::http::StatusCode::from_u16(status).expect("a status"), map, body)
}

type Answers<'a> = &'a [(u16, HeaderPairs, &'a str)];

async fn api(answers: Answers<'_>) -> (Arc<Api>, HeliconeApi) {
    let api = Arc::new(Api::default());
    *api.answers.lock().expect("lock") =
        answers.iter().map(|(status, headers, body)| (*status, *headers, (*body).to_owned())).collect();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let app = Router::new().fallback(answer).with_state(api.clone());
    tokio::spawn(async move { axum::serve(listener, app).await });
    let client = HeliconeApi::new(&url, &Secret::new("sk-helicone-secret"), Duration::from_secs(5)).expect("a client");
    (api, client)
}

#[tokio::test]
async fn scores_are_posted_as_the_api_takes_them() {
    let (api, client) = api(&[(201, &[], r#"{"data":null,"error":null}"#)]).await;
    let scores =
        BTreeMap::from([("quality".to_owned(), ScoreValue::Int(-3)), ("safe".to_owned(), ScoreValue::Bool(true))]);
    client.score("a/b ?", &scores).await.expect("is taken");
    let asked = api.asked.lock().expect("lock").clone();
    assert_eq!(
        asked,
        [(
            "/v1/request/a%2Fb%20%3F/score".to_owned(),
            "Bearer sk-helicone-secret".to_owned(),
            r#"{"scores":{"quality":-3,"safe":true}}"#.to_owned(),
        )]
    );
}

#[tokio::test]
async fn each_answer_says_whether_to_try_again() {
    let wait = |seconds| Some(Duration::from_secs(seconds));
    let transient = |status: u16, retry_after| HeliconeApiError::Transient {
        message: format!("Helicone's API answered {status}"),
        retry_after,
    };
    let cases: [(u16, HeaderPairs, HeliconeApiError); 8] = [
        (429, &[("Retry-After", "7")], transient(429, wait(7))),
        (429, &[("RateLimit-Reset", "11")], transient(429, wait(11))),
        (429, &[("RateLimit-Reset", "99999")], transient(429, wait(3600))),
        (503, &[], transient(503, None)),
        (401, &[], HeliconeApiError::Key { status: 401 }),
        (404, &[], HeliconeApiError::UnknownRequest),
        (400, &[], HeliconeApiError::Final("Helicone's API answered 400".to_owned())),
        (
            302,
            &[("Location", "http://elsewhere.example/")],
            HeliconeApiError::Final("Helicone's API answered 302".to_owned()),
        ),
    ];
    for (status, headers, expected) in cases {
        let (_api, client) = api(&[(status, headers, "secret body")]).await;
        let error = client.score("x", &BTreeMap::new()).await.expect_err("is refused");
        assert_eq!(error, expected);
        assert!(!error.to_string().contains("secret"), "{error}");
    }
}

#[test]
fn a_reset_can_be_a_time() {
    let now = UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    let headers = HeaderMap::from_iter([(
        reqwest::header::HeaderName::from_static("ratelimit-reset"),
        "1800000042".parse().expect("a value"),
    )]);
    assert_eq!(retry_after(&headers, now), Some(Duration::from_secs(42)));
}

#[tokio::test]
async fn bodies_come_raw_and_trouble_is_told_from_the_end() {
    let found =
        r#"{"data":{"request_id":"x","request_body":{"a":"\ud800"},"response_body":null,"cost":1},"error":null}"#;
    let (api, client) = api(&[(503, &[], ""), (200, &[], found)]).await;
    assert!(matches!(client.get_request("x").await, Err(HeliconeApiError::Transient { .. })));
    let request = client.get_request("x").await.expect("answers").expect("is known");
    assert_eq!(request.request_body.expect("a body").get(), r#"{"a":"\ud800"}"#);
    assert!(request.response_body.is_none());
    let asked = api.asked.lock().expect("lock").clone();
    assert_eq!(asked.iter().map(|(uri, ..)| uri.as_str()).collect::<Vec<_>>(), ["/v1/request/x?includeBody=true"; 2]);
}

#[tokio::test]
async fn an_unknown_request_is_none_and_nonsense_an_error() {
    for (status, body) in [(404, ""), (200, r#"{"data":null,"error":"not found"}"#)] {
        let (_api, client) = api(&[(status, &[], body)]).await;
        assert!(client.get_request("x").await.expect("answers").is_none());
        assert!(client.get_request("..").await.expect("is not asked").is_none());
    }
    let (_api, client) = api(&[(200, &[], "<html>secret</html>")]).await;
    let error = client.get_request("x").await.expect_err("is no JSON").to_string();
    assert!(error.contains("line 1") && !error.contains("secret"), "{error}");
    let (api, client) = api_busy().await;
    assert!(matches!(client.get_request("x").await, Err(HeliconeApiError::Transient { .. })));
    assert_eq!(api.asked.lock().expect("lock").len(), 1);
}

async fn api_busy() -> (Arc<Api>, HeliconeApi) {
    api(&[(429, &[("Retry-After", "300")], "")]).await
}

#[test]
fn limits_stay_below_the_apis() {
    assert!(BY_ID.0 + BY_ID.1 <= 600);
    assert!(OTHER.0 + OTHER.1 <= 1_000);
    for url in ["", "api.helicone.ai", "ftp://x", "mailto:x"] {
        let result = HeliconeApi::new(url, &Secret::new("k"), Duration::from_secs(1));
        assert!(matches!(result, Err(HeliconeApiError::Setup(_))), "{url}");
    }
}
