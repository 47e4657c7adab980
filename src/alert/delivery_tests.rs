//! Deliveries from an outbox in memory to a receiver on loopback that fails in the ways Slack does.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Mutex,
};

use axum::{Router, extract::State, http::StatusCode, response::IntoResponse, routing::post};
use prometheus::Registry;
use serde_json::{Value, json};

use super::{
    super::{
        journal::Details,
        rule::Rule,
        state::{States, decide},
        transition::{GroupValue, Observation},
    },
    *,
};
use crate::{
    alert::Span,
    domain::{ManualClock, Secret},
    notify::{Quantity, Slack},
};

const NOW: UtcMillis = UtcMillis(1_757_346_297_250);

/// An outbox like the tables: final rows take a message out of it.
#[derive(Default)]
struct Memory {
    messages: Vec<TransitionRow>,
    deliveries: Mutex<BTreeMap<String, DeliveryRow>>,
    /// Inserts that fail before one works.
    failing_inserts: Mutex<u32>,
}

impl Memory {
    fn outcomes(&self) -> Vec<(String, u32, String)> {
        let deliveries = self.deliveries.lock().expect("lock");
        let of = |row: &TransitionRow| {
            let row = deliveries.get(&row.transition_id)?;
            Some((row.state.clone(), row.attempts, row.error.clone()))
        };
        self.messages.iter().filter_map(of).collect()
    }
}

#[async_trait]
impl Outbox for Memory {
    async fn attempts(&self, _: &str) -> Result<Vec<(String, u32)>, AlertError> {
        let deliveries = self.deliveries.lock().expect("lock");
        Ok(deliveries.values().map(|row| (row.transition_id.clone(), row.attempts)).collect())
    }

    async fn waiting(&self, _: &str, oldest: UtcMillis) -> Result<Vec<TransitionRow>, AlertError> {
        let deliveries = self.deliveries.lock().expect("lock");
        let is_final = |id: &str| deliveries.get(id).is_some_and(|row| row.state != "pending");
        let waits = |row: &&TransitionRow| row.at >= oldest && !is_final(&row.transition_id);
        Ok(self.messages.iter().filter(waits).cloned().collect())
    }

    async fn may_send(&self) -> Result<(), AlertError> {
        Ok(())
    }

    async fn record_deliveries(&self, rows: &[DeliveryRow]) -> Result<(), AlertError> {
        let mut failing = self.failing_inserts.lock().expect("lock");
        if *failing > 0 {
            *failing -= 1;
            let source = clickhouse::error::Error::TimedOut;
            return Err(AlertError::ClickHouse { doing: "record deliveries", source });
        }
        let mut deliveries = self.deliveries.lock().expect("lock");
        deliveries.extend(rows.iter().map(|row| (row.transition_id.clone(), row.clone())));
        Ok(())
    }
}

/// What the receiver does with the next request.
#[derive(Clone, Copy)]
enum Answer {
    Status(u16),
    RetryAfter(u64),
    Silence,
}

#[derive(Clone, Default)]
struct Receiver {
    script: Arc<Mutex<VecDeque<Answer>>>,
    received: Arc<Mutex<Vec<(Instant, Value)>>>,
}

impl Receiver {
    /// Answers by `script`, then always 200. Returns itself and its URL.
    async fn start(script: &[Answer]) -> (Self, String) {
        let receiver = Self { script: Arc::new(Mutex::new(script.iter().copied().collect())), ..Self::default() };
        let app = Router::new().route("/services/T0/B0/secret", post(Self::receive)).with_state(receiver.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let url = format!("http://{}/services/T0/B0/secret", listener.local_addr().expect("address"));
        tokio::spawn(async move { axum::serve(listener, app).await });
        (receiver, url)
    }

    async fn receive(State(receiver): State<Self>, body: String) -> axum::response::Response {
        let message = serde_json::from_str(&body).expect("JSON");
        receiver.received.lock().expect("lock").push((Instant::now(), message));
        let answer = receiver.script.lock().expect("lock").pop_front().unwrap_or(Answer::Status(200));
        match answer {
            Answer::Status(status) => (StatusCode::from_u16(status).expect("a status"), "reason").into_response(),
            Answer::RetryAfter(seconds) => {
                (StatusCode::TOO_MANY_REQUESTS, [("retry-after", seconds.to_string())]).into_response()
            }
            Answer::Silence => std::future::pending().await,
        }
    }

    fn texts(&self) -> Vec<String> {
        let received = self.received.lock().expect("lock");
        received.iter().map(|(_, message)| message["text"].as_str().expect("text").to_owned()).collect()
    }

    fn gap(&self, index: usize) -> Duration {
        let received = self.received.lock().expect("lock");
        received[index + 1].0.duration_since(received[index].0)
    }
}

fn messages(users: &[&str], at: UtcMillis) -> Vec<TransitionRow> {
    let table = json!({"name": "u", "kind": "usage", "unit": "requests", "limit": 10, "thresholds": [100]});
    let rule: Rule = serde_json::from_value(table).expect("a rule");
    let group = |user: &&str| GroupValue {
        group: (*user).to_owned(),
        value: Quantity::Requests(10),
        requests: 10,
        priced_requests: 10,
        exceeding_requests: None,
        limit: None,
        note: String::new(),
    };
    let span = Span { start: at, end: at.plus(Duration::from_secs(3600)), label: "hour".to_owned() };
    let observation = Observation { span, groups: users.iter().map(group).collect(), cut: false };
    decide(&States::default(), &rule, &observation, at)
        .iter()
        .map(|transition| TransitionRow::new(transition, Some(&rule), &Details::default()))
        .collect()
}

fn policy() -> DeliveryPolicy {
    DeliveryPolicy {
        min_interval: Duration::from_millis(20),
        first_backoff: Duration::from_millis(10),
        max_backoff: Duration::from_millis(40),
        poll_every: Duration::from_millis(50),
        ..DeliveryPolicy::default()
    }
}

/// Delivers until `sent` outcomes are final, or two seconds pass.
async fn deliver(outbox: Arc<Memory>, url: &str, policy: DeliveryPolicy, finals: usize) -> Registry {
    let registry = Registry::new();
    let delivery = Delivery {
        outbox: Arc::<Memory>::clone(&outbox),
        notifier: Arc::new(Slack::new(&Secret::new(url), Duration::from_millis(200)).expect("a URL")),
        policy,
        clock: Arc::new(ManualClock::at(NOW)),
        metrics: AlertMetrics::new(&registry).expect("metrics"),
        dashboard_url: String::new(),
        wake: Arc::new(Notify::new()),
    };
    let shutdown = CancellationToken::new();
    let task = tokio::spawn(delivery.run(shutdown.clone()));
    let deadline = Instant::now() + Duration::from_secs(5);
    while Instant::now() < deadline
        && outbox.outcomes().iter().filter(|(state, ..)| state != "pending").count() < finals
    {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // Would anything be sent twice?
    tokio::time::sleep(Duration::from_millis(120)).await;
    shutdown.cancel();
    task.await.expect("no panic");
    registry
}

fn outbox(users: &[&str]) -> Arc<Memory> {
    Arc::new(Memory { messages: messages(users, NOW), ..Memory::default() })
}

#[tokio::test]
async fn a_server_error_is_tried_again_and_delivered_once() {
    let (receiver, url) = Receiver::start(&[Answer::Status(500), Answer::Status(503)]).await;
    let outbox = outbox(&["ann"]);
    let registry = deliver(Arc::clone(&outbox), &url, policy(), 1).await;
    assert_eq!(outbox.outcomes(), [("sent".to_owned(), 3, String::new())]);
    assert_eq!(receiver.texts().len(), 3);
    let metrics = prometheus::TextEncoder::new().encode_to_string(&registry.gather()).expect("text");
    assert!(metrics.contains("heliometer_notifications_total{notifier=\"slack\",result=\"retried\"} 2"), "{metrics}");
    assert!(metrics.contains("heliometer_notifications_total{notifier=\"slack\",result=\"sent\"} 1"), "{metrics}");
}

#[tokio::test]
async fn every_alert_has_a_message_of_its_own_at_a_bounded_rate() {
    let (receiver, url) = Receiver::start(&[]).await;
    let outbox = outbox(&["ann", "bob", "cy"]);
    let started = Instant::now();
    deliver(Arc::clone(&outbox), &url, policy(), 3).await;
    let texts = receiver.texts();
    assert_eq!(texts.len(), 3);
    for (text, user) in texts.iter().zip(["ann", "bob", "cy"]) {
        assert!(text.contains(user), "{text}");
    }
    assert!(started.elapsed() >= Duration::from_millis(40));
    assert!(receiver.gap(0) >= Duration::from_millis(15) && receiver.gap(1) >= Duration::from_millis(15));
}

#[tokio::test]
async fn retry_after_is_honoured() {
    let (receiver, url) = Receiver::start(&[Answer::RetryAfter(1)]).await;
    let outbox = outbox(&["ann"]);
    deliver(Arc::clone(&outbox), &url, policy(), 1).await;
    assert_eq!(outbox.outcomes(), [("sent".to_owned(), 2, String::new())]);
    assert!(receiver.gap(0) >= Duration::from_millis(990), "{:?}", receiver.gap(0));
}

#[tokio::test]
async fn what_cannot_work_is_final_and_holds_nobody_up() {
    let (receiver, url) = Receiver::start(&[Answer::Status(404)]).await;
    let outbox = outbox(&["ann", "bob"]);
    deliver(Arc::clone(&outbox), &url, policy(), 2).await;
    let failed = ("failed".to_owned(), 1, "Slack answered 404: reason".to_owned());
    assert_eq!(outbox.outcomes(), [failed, ("sent".to_owned(), 1, String::new())]);
    assert_eq!(receiver.texts().len(), 2);
}

#[tokio::test]
async fn silence_is_a_timeout_and_errors_never_hold_the_url() {
    let (_receiver, url) = Receiver::start(&[Answer::Silence; 50]).await;
    let silent = outbox(&["ann"]);
    deliver(Arc::clone(&silent), &url, policy(), 0).await;
    let refused = outbox(&["ann"]);
    // A port that nothing listens on.
    let port = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bind").local_addr().expect("address").port();
    let dead = format!("http://127.0.0.1:{port}/services/T0/B0/secret");
    deliver(Arc::clone(&refused), &dead, policy(), 0).await;
    let mut errors = silent.outcomes();
    errors.extend(refused.outcomes());
    assert!(errors[0].2.contains("did not answer in time"), "{errors:?}");
    assert!(errors[1].2.contains("cannot connect to Slack"), "{errors:?}");
    for (state, _, error) in errors {
        assert_eq!(state, "pending");
        assert!(!error.contains("secret") && !error.contains("127.0.0.1"), "{error}");
    }
}

#[tokio::test]
async fn a_poisoned_message_lets_others_pass() {
    let (receiver, url) = Receiver::start(&[Answer::Status(500); 5]).await;
    let outbox = outbox(&["ann", "bob"]);
    deliver(Arc::clone(&outbox), &url, policy(), 2).await;
    let texts = receiver.texts();
    let first_words: Vec<bool> = texts.iter().map(|text| text.contains("ann")).collect();
    assert_eq!(first_words, [true, true, true, true, true, false, true], "{texts:?}");
}

#[tokio::test]
async fn what_is_too_old_is_given_up_and_recorded() {
    let (receiver, url) = Receiver::start(&[]).await;
    let old = NOW.minus(Duration::from_secs(25 * 3600));
    let outbox = Arc::new(Memory { messages: messages(&["ann"], old), ..Memory::default() });
    deliver(Arc::clone(&outbox), &url, policy(), 1).await;
    assert_eq!(receiver.texts().len(), 0);
    assert_eq!(outbox.outcomes(), [("failed".to_owned(), 0, "given up: not delivered within 86400 s".to_owned())]);
}

#[tokio::test]
async fn nothing_is_sent_twice_while_outcomes_cannot_be_recorded() {
    let (receiver, url) = Receiver::start(&[]).await;
    let outbox = outbox(&["ann"]);
    *outbox.failing_inserts.lock().expect("lock") = 5;
    deliver(Arc::clone(&outbox), &url, policy(), 1).await;
    assert_eq!(receiver.texts().len(), 1);
    assert_eq!(outbox.outcomes(), [("sent".to_owned(), 1, String::new())]);
}

#[test]
fn backoff_grows_to_its_bound_and_is_spread() {
    let policy = DeliveryPolicy::default();
    let mut rng = StdRng::seed_from_u64(7);
    for failures in 1..100 {
        let most = Duration::from_secs(1_u64 << (failures - 1).min(9)).min(policy.max_backoff);
        let waits: Vec<Duration> = (0..50).map(|_| policy.backoff(failures, &mut rng)).collect();
        assert!(waits.iter().all(|wait| *wait <= most), "{failures}");
        assert!(waits.iter().any(|wait| *wait < most / 2) && waits.iter().any(|wait| *wait > most / 2));
    }
}

#[test]
fn a_url_that_is_none_is_not_shown() {
    for url in ["not a url secret", "ftp://host/secret", ""] {
        let error = Slack::new(&Secret::new(url), Duration::from_secs(1)).err().expect("refused").to_string();
        assert!(!error.contains("secret"), "{error}");
    }
}
