//! Getting tokens from a token server in this process.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::IntoResponse,
    routing::post,
};
use rdkafka::ClientContext as _;

use super::super::{context::Reports, oauth::Tokens};
use crate::{
    domain::{Clock as _, Secret, SystemClock},
    event_log::EventLogError,
    settings::{EventLogSettings, SaslMechanism, SecurityProtocol},
};

const CLIENT_SECRET: &str = "hunter 2+~";
const TOKEN: &str = "header.claims.signature";

/// What the token server answers next; `{n}` is the number of the request.
#[derive(Clone)]
struct Script {
    answers: Arc<Vec<(u16, String)>>,
    asked: Arc<AtomicUsize>,
}

async fn answer(State(script): State<Script>, headers: HeaderMap, body: String) -> impl IntoResponse {
    let number = script.asked.fetch_add(1, Ordering::SeqCst);
    // "helio meter:hunter 2+~", form-encoded where it must be, in Base64.
    assert_eq!(headers["authorization"], "Basic aGVsaW8lMjBtZXRlcjpodW50ZXIlMjAyJTJCfg==");
    assert_eq!(headers["content-type"], "application/x-www-form-urlencoded");
    assert_eq!(body, "grant_type=client_credentials&scope=kafka%20produce");
    let (status, text) = &script.answers[number.min(script.answers.len() - 1)];
    let location = [("location", "http://127.0.0.1:9/elsewhere")];
    (StatusCode::from_u16(*status).expect("a status"), location, text.replace("{n}", &number.to_string()))
}

async fn server(answers: &[(u16, &str)]) -> (EventLogSettings, Script) {
    let script = Script {
        answers: Arc::new(answers.iter().map(|(status, text)| (*status, (*text).to_owned())).collect()),
        asked: Arc::default(),
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let url = format!("http://{}/token?tenant=private", listener.local_addr().expect("has one"));
    let app = Router::new().route("/token", post(answer)).with_state(script.clone());
    tokio::spawn(async move { axum::serve(listener, app).await });
    (settings(&url), script)
}

fn settings(url: &str) -> EventLogSettings {
    EventLogSettings {
        brokers: vec!["127.0.0.1:9".to_owned()],
        security_protocol: SecurityProtocol::SaslSsl,
        sasl_mechanism: Some(SaslMechanism::OauthBearer),
        oauth_token_url: Some(url.parse().expect("a URL")),
        oauth_client_id: Some("helio meter".to_owned()),
        oauth_client_secret: Some(Secret::new(CLIENT_SECRET)),
        oauth_scope: Some("kafka produce".to_owned()),
        ..EventLogSettings::default()
    }
}

fn start(settings: &EventLogSettings) -> Reports {
    let counter = prometheus::IntCounterVec::new(prometheus::Opts::new("errors", "errors"), &["error"]);
    Reports::new(counter.expect("is right"), Tokens::start(settings).expect("is right"))
}

/// As librdkafka's thread asks.
async fn ask(reports: &Reports) -> Result<(String, String, i64), String> {
    let reports = reports.clone();
    let asking = tokio::task::spawn_blocking(move || {
        reports
            .generate_oauth_token(None)
            .map(|token| (token.token, token.principal_name, token.lifetime_ms))
            .map_err(|error| error.to_string())
    });
    asking.await.expect("finishes")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_share_one_token_until_it_is_renewed() {
    let token = r#"{"access_token":"token-{n}","token_type":"bearer","expires_in":3,"scope":"kafka"}"#;
    let (settings, script) = server(&[(200, token)]).await;
    let reports = start(&settings);
    let before = SystemClock.now().0;
    for _ in 0..3 {
        let (token, principal, lifetime_ms) = ask(&reports).await.expect("there is one");
        assert_eq!((token.as_str(), principal.as_str()), ("token-0", "helio meter"));
        assert!((before..before + 3_500).contains(&(lifetime_ms - 3_000 + 500)), "{lifetime_ms} at {before}");
    }
    assert_eq!(script.asked.load(Ordering::SeqCst), 1);
    // Before it ends.
    let renewed = async {
        while ask(&reports).await.expect("there is one at any time").0 == "token-0" {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), renewed).await.expect("is renewed");
    // Nobody is left to need one.
    drop(reports);
    tokio::time::sleep(Duration::from_millis(100)).await;
    let asked = script.asked.load(Ordering::SeqCst);
    tokio::time::sleep(Duration::from_millis(3_500)).await;
    assert_eq!(script.asked.load(Ordering::SeqCst), asked);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_stumbles_is_asked_again_at_once() {
    let token = format!(r#"{{"access_token":"{TOKEN}","expires_in":"60"}}"#);
    let (settings, script) = server(&[(503, "restarting"), (200, &token)]).await;
    assert_eq!(ask(&start(&settings)).await.expect("comes").0, TOKEN);
    assert_eq!(script.asked.load(Ordering::SeqCst), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_refused_says_what_to_do_and_quotes_nothing() {
    let large = format!(r#"{{"access_token":"{}"}}"#, "x".repeat(70_000));
    let cases = [
        (
            401,
            r#"{"error":"invalid_client","error_description":"hunter 2+~"}"#,
            "401 invalid_client; check event_log.oauth_cl",
        ),
        (401, "hunter 2+~", "401; check event_log.oauth_client_id and oauth_client_secret"),
        (400, r#"{"error":"invalid_scope"}"#, "check event_log.oauth_scope"),
        (400, r#"{"error":"unauthorized_client"}"#, "allow this client the client credentials grant"),
        (400, r#"{"error":"hunter 2+~"}"#, "answered 400; check the oauth_… settings"),
        (404, "", "check event_log.oauth_token_url"),
        (302, "", "redirects are not followed"),
        (500, "hunter 2+~", "look at the token server"),
        (200, "<html>hunter 2+~</html>", "is not that of an OAuth token endpoint"),
        (200, r#"{"expires_in":60}"#, "holds no access_token"),
        (200, r#"{"access_token":"header.claims.signature","token_type":"mac"}"#, "is no bearer token"),
        (200, r#"{"access_token":"header.claims.signature","expires_in":0}"#, "has expired already"),
        (200, r#"{"access_token":"header.claims.signature","expires_in":-1}"#, "a wrong expires_in"),
        (200, r#"{"access_token":"header.claims.signature\u0001"}"#, "characters that no token has"),
        (200, &large, "is over 65536 bytes"),
    ];
    for (status, text, expected) in cases {
        let (settings, _) = server(&[(status, text)]).await;
        let error = ask(&start(&settings)).await.expect_err(expected);
        assert!(error.starts_with("event log storage failed while getting a token for Kafka: "), "{error}");
        assert!(error.contains(expected), "{status} {text}: {error}");
        for private in [CLIENT_SECRET, TOKEN, "private", "elsewhere"] {
            assert!(!error.contains(private), "{error}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_away_is_named_within_the_time_allowed() {
    let reports = start(&settings("http://127.0.0.1:9/token?tenant=private"));
    let error = ask(&reports).await.expect_err("nobody listens");
    assert!(error.contains("check that event_log.oauth_token_url (127.0.0.1) can be reached"), "{error}");
    assert!(!error.contains("private"), "{error}");
}

#[test]
fn settings_that_lack_something_name_it() {
    let right = settings("https://login.example.org/token");
    let with = |change: fn(&mut EventLogSettings)| {
        let mut settings = right.clone();
        change(&mut settings);
        settings
    };
    let check = |settings: &EventLogSettings| super::super::config::admin(settings);
    for url in ["https://login.example.org/token", "http://127.0.0.1:8080/t", "http://[::1]/t", "http://localhost/t"] {
        check(&settings(url)).expect(url);
    }
    let cases: [(EventLogSettings, &str); 10] = [
        (with(|s| s.oauth_token_url = None), "event_log.oauth_token_url: is needed"),
        (settings("http://login.example.org/token"), "event_log.oauth_token_url: must be https://"),
        (settings("https://me:hunter2@login.example.org/"), "event_log.oauth_token_url: must be https://"),
        (with(|s| s.oauth_client_id = None), "event_log.oauth_client_id: is needed"),
        (with(|s| s.oauth_client_secret = None), "event_log.oauth_client_secret: is needed"),
        (with(|s| s.oauth_ca_file = Some("no/such/file".into())), "event_log.oauth_ca_file: is not there"),
        (with(|s| s.sasl_password = Some(Secret::new("hunter2"))), "event_log.sasl_password: is not used with OAUTH"),
        (with(|s| s.sasl_mechanism = Some(SaslMechanism::Plain)), "event_log.oauth_token_url: is used with"),
        (with(|s| s.security_protocol = SecurityProtocol::Ssl), "event_log.security_protocol"),
        (
            with(|s| drop(s.properties.insert("sasl.oauthbearer.config".to_owned(), Secret::new("hunter2")))),
            "event_log.properties.\"sasl.oauthbearer.config\": may not be set",
        ),
    ];
    for (settings, expected) in cases {
        let error = check(&settings).expect_err(expected);
        assert!(matches!(error, EventLogError::Settings { .. }), "{error:?}");
        assert!(error.to_string().starts_with(expected) && !error.to_string().contains("hunter2"), "{error}");
    }
}
