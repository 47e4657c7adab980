//! From a webhook to Slack.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Instant,
};

use axum::{Router, body::Bytes, extract::State, http::StatusCode, routing::post};
use tokio::sync::Mutex;

use crate::harness::{Options, PATIENCE, Server, client, send};

/// Keeps what was posted to it, as Slack would show it.
#[derive(Clone, Default)]
pub(crate) struct Slack {
    messages: Arc<Mutex<Vec<(Instant, serde_json::Value)>>>,
    is_away: Arc<AtomicBool>,
    refused: Arc<AtomicUsize>,
}

async fn receive(State(slack): State<Slack>, body: Bytes) -> (StatusCode, &'static str) {
    if slack.is_away.load(Ordering::Relaxed) {
        slack.refused.fetch_add(1, Ordering::Relaxed);
        return (StatusCode::SERVICE_UNAVAILABLE, "away");
    }
    let message = serde_json::from_slice(&body).expect("Slack takes JSON");
    slack.messages.lock().await.push((Instant::now(), message));
    (StatusCode::OK, "ok")
}

impl Slack {
    /// What was posted so far.
    pub(crate) async fn posted(&self) -> Vec<serde_json::Value> {
        self.messages.lock().await.iter().map(|(_, message)| message.clone()).collect()
    }
}

#[cfg(not(feature = "test-kafka"))]
impl Slack {
    /// From now on it takes nothing, or everything again.
    pub(crate) fn go(&self, is_away: bool) {
        self.is_away.store(is_away, Ordering::Relaxed);
    }

    /// How many posts it did not take.
    pub(crate) fn refused(&self) -> usize {
        self.refused.load(Ordering::Relaxed)
    }

    /// Where the links of all messages so far lead, decoded as a browser does.
    pub(crate) async fn links(&self) -> Vec<url::Url> {
        let link = regex::Regex::new(r"<(https?://[^|>]+)\|Open the dashboard>").expect("an expression");
        let messages = self.posted().await;
        let texts = messages.iter().flat_map(|message| message["blocks"].as_array().cloned().unwrap_or_default());
        let texts = texts.filter_map(|block| block["text"]["text"].as_str().map(|text| text.replace("&amp;", "&")));
        texts.filter_map(|text| Some(link.captures(&text)?[1].parse().expect("a URL"))).collect()
    }
}

pub(crate) async fn start_slack() -> (Slack, String) {
    let slack = Slack::default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let url = format!("http://{}/services/T/B/secret-part", listener.local_addr().expect("address"));
    let app = Router::new().route("/services/T/B/secret-part", post(receive)).with_state(slack.clone());
    tokio::spawn(async move { axum::serve(listener, app).await });
    (slack, url)
}

const RULES: &str = r#"
[[alerts.rules]]
name = "model-budget"
kind = "budget"
scope = "model"
period = "month"
limit_usd = 1.0
thresholds = [80, 100]

[[alerts.rules]]
name = "user-budget"
kind = "budget"
scope = "user"
period = "month"
limit_usd = 10.0
thresholds = [80, 100]

[[alerts.rules]]
name = "slow"
kind = "latency"
statistic = "each"
scope = "model"
threshold_ms = 60000
window = "5m"
"#;

fn call(id: &str, user: &str, model: &str, cost_usd: f64, latency_ms: u64) -> Vec<u8> {
    serde_json::json!({
        "request_id": id, "request_body": {}, "response_body": {"choices": []}, "user_id": user,
        "model": model, "provider": "OPENAI",
        "metadata": {"cost": cost_usd, "promptTokens": 10, "completionTokens": 5, "totalTokens": 15, "latencyMs": latency_ms},
    })
    .to_string()
    .into_bytes()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crossed_budget_reaches_slack_once() {
    let (slack, url) = start_slack().await;
    let options = Options { config: Some(RULES.to_owned()), ..Options::default() }.with("SLACK_WEBHOOK_URL", url);
    let mut server = tokio::task::spawn_blocking(|| Server::start(options)).await.expect("a server");
    let client = client();

    assert_eq!(send(&client, &server.webhook_url(), call("a", "ann", "gpt-x", 0.79, 100)).await, 200);
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    assert!(slack.messages.lock().await.is_empty(), "79 % of the budget is no alert");

    let sent = Instant::now();
    assert_eq!(send(&client, &server.webhook_url(), call("b", "ann", "gpt-x", 0.02, 100)).await, 200);
    let arrived = wait_for(&slack, 1).await;
    println!("from the webhook to Slack: {} ms", (arrived[0].0 - sent).as_millis());
    let text = arrived[0].1.to_string();
    assert!(text.contains("model-budget") && text.contains("gpt-x") && text.contains("80"), "{text}");

    // Another model and another user have budgets of their own, also while the first alert still stands.
    assert_eq!(send(&client, &server.webhook_url(), call("c", "bob", "gpt-y", 9.0, 100)).await, 200);
    let arrived = wait_for(&slack, 3).await;
    let all: String = arrived.iter().map(|(_, message)| message.to_string()).collect();
    assert!(all.contains("gpt-y") && all.contains("bob") && all.contains("user-budget"), "{all}");

    assert_eq!(send(&client, &server.webhook_url(), call("d", "ann", "gpt-z", 0.01, 61_000)).await, 200);
    let arrived = wait_for(&slack, 4).await;
    let text = arrived[3].1.to_string();
    assert!(text.contains("slow") && text.contains("gpt-z"), "{text}");

    // A restart decides everything again from what is stored, and tells nobody twice.
    server = tokio::task::spawn_blocking(move || {
        server.kill();
        server.start_again();
        server
    })
    .await
    .expect("a server");
    assert_eq!(send(&client, &server.webhook_url(), call("e", "ann", "gpt-x", 0.001, 100)).await, 200);
    tokio::time::sleep(std::time::Duration::from_secs(4)).await;
    let messages = slack.messages.lock().await.clone();
    assert_eq!(messages.len(), 4, "{messages:#?}");

    let server = tokio::task::spawn_blocking(move || {
        assert_eq!(server.count("(SELECT countIf(state = 'sent') FROM notifications)"), 4);
        assert!(!server.log().contains("secret-part"), "the Slack URL is a secret");
        server
    })
    .await
    .expect("a server");
    drop(server);
}

async fn wait_for(slack: &Slack, count: usize) -> Vec<(Instant, serde_json::Value)> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let messages = slack.messages.lock().await.clone();
        if messages.len() >= count {
            return messages;
        }
        assert!(Instant::now() < deadline, "{} of {count} messages: {messages:#?}", messages.len());
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}
