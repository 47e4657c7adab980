//! Deliveries from an outbox in memory to a receiver on loopback that fails in the ways Slack does.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::Mutex,
};

use async_trait::async_trait;
use axum::{Router, extract::State, http::StatusCode, response::IntoResponse, routing::post};
use prometheus::Registry;
use serde_json::{Value, json};

use super::{
    super::{
        journal::{Details, TransitionRow},
        outbox::KnownDelivery,
        rule::Rule,
        state::{States, decide},
        transition::{GroupValue, Observation},
    },
    *,
};
use crate::{
    alert::Span,
    domain::{ManualClock, Secret, UtcMillis},
    notify::{Quantity, Slack, Traits, receivers},
    settings::NotifierSettings,
};

const NOW: UtcMillis = UtcMillis(1_757_346_297_250);

/// An outbox like the tables: final rows take a message out of it.
#[derive(Default)]
struct Memory {
    messages: Mutex<Vec<TransitionRow>>,
    /// What [`Outbox::firing`] answers.
    firing: Mutex<Vec<TransitionRow>>,
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
        self.messages.lock().expect("lock").iter().filter_map(of).collect()
    }
}

#[async_trait]
impl Outbox for Memory {
    async fn waiting(&self, _: &str, _: bool, oldest: UtcMillis) -> Result<Vec<Waiting>, AlertError> {
        let deliveries = self.deliveries.lock().expect("lock");
        let waiting = |message: &TransitionRow| {
            let row = deliveries.get(&message.transition_id);
            let known = row.map(|row| KnownDelivery {
                transition_id: row.transition_id.clone(),
                attempts: row.attempts,
                version: row.version,
                resend_at: row.resend_at,
            });
            let waits = row.is_none_or(|row| row.state == "pending") && message.at >= oldest;
            waits.then(|| Waiting { message: message.clone(), known: known.unwrap_or_default() })
        };
        Ok(self.messages.lock().expect("lock").iter().filter_map(waiting).collect())
    }

    async fn ended(&self, fingerprints: &[String]) -> Result<HashMap<String, UtcMillis>, AlertError> {
        let messages = self.messages.lock().expect("lock");
        let ends = messages.iter().filter(|row| fingerprints.contains(&row.fingerprint));
        let ends = ends.filter_map(|row| {
            let told = row.to_notification("")?;
            (told.event == Event::Resolved).then(|| (row.fingerprint.clone(), row.at))
        });
        Ok(ends.collect())
    }

    async fn thread(&self, _: &str, fingerprint: &str) -> Result<Option<String>, AlertError> {
        let deliveries = self.deliveries.lock().expect("lock");
        let of = |row: &&DeliveryRow| row.fingerprint == fingerprint && !row.thread.is_empty();
        Ok(deliveries.values().find(of).map(|row| row.thread.clone()))
    }

    async fn firing(&self, _: &str, _: UtcMillis) -> Result<Vec<TransitionRow>, AlertError> {
        Ok(self.firing.lock().expect("lock").clone())
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
        notifier: Arc::new(Slack::new("slack", &Secret::new(url), Duration::from_millis(200)).expect("a URL")),
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
    Arc::new(Memory { messages: Mutex::new(messages(users, NOW)), ..Memory::default() })
}

#[tokio::test]
async fn a_server_error_is_tried_again_and_delivered_once() {
    let (receiver, url) = Receiver::start(&[Answer::Status(500), Answer::Status(503)]).await;
    let outbox = outbox(&["ann"]);
    let registry = deliver(Arc::clone(&outbox), &url, policy(), 1).await;
    assert_eq!(outbox.outcomes(), [("sent".to_owned(), 3, String::new())]);
    assert_eq!(receiver.texts().len(), 3);
    let metrics = prometheus::TextEncoder::new().encode_to_string(&registry.gather()).expect("text");
    assert!(
        metrics.contains("heliometer_notifications_total{notifier=\"slack\",result=\"retried\",type=\"slack\"} 2"),
        "{metrics}"
    );
    assert!(
        metrics.contains("heliometer_notifications_total{notifier=\"slack\",result=\"sent\",type=\"slack\"} 1"),
        "{metrics}"
    );
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
    let outbox = Arc::new(Memory { messages: Mutex::new(messages(&["ann"], old)), ..Memory::default() });
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
        let error = Slack::new("slack", &Secret::new(url), Duration::from_secs(1)).err().expect("refused").to_string();
        assert!(!error.contains("secret"), "{error}");
    }
}

/// The steps of window alerts: those of `over` begin at `at`, the others of `known` end.
fn window_steps(states: &mut States, over: &[&str], at: UtcMillis) -> Vec<TransitionRow> {
    let table = json!({"name": "slow", "kind": "latency", "threshold_ms": 1000, "window": "5m"});
    let rule: Rule = serde_json::from_value(table).expect("a rule");
    let group = |model: &&str| GroupValue {
        group: (*model).to_owned(),
        value: Quantity::Milliseconds(2_000.0),
        requests: 10,
        priced_requests: 10,
        exceeding_requests: Some(10),
        limit: None,
        note: String::new(),
    };
    let span = Span { start: at, end: at, label: "last 5m".to_owned() };
    let observation = Observation { span, groups: over.iter().map(group).collect(), cut: false };
    let steps = decide(states, &rule, &observation, at);
    for step in &steps {
        states.apply(step);
    }
    steps.iter().map(|step| TransitionRow::new(step, Some(&rule), &Details::default())).collect()
}

/// A delivery to `notifier` under way.
struct Running {
    outbox: Arc<Memory>,
    clock: Arc<ManualClock>,
    wake: Arc<Notify>,
    shutdown: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl Running {
    fn start(notifier: Arc<dyn Notifier>, policy: DeliveryPolicy) -> Self {
        let (outbox, clock) = (Arc::<Memory>::default(), Arc::new(ManualClock::at(NOW)));
        let (wake, shutdown) = (Arc::new(Notify::new()), CancellationToken::new());
        let delivery = Delivery {
            outbox: Arc::<Memory>::clone(&outbox),
            notifier,
            policy,
            clock: Arc::<ManualClock>::clone(&clock),
            metrics: AlertMetrics::new(&Registry::new()).expect("metrics"),
            dashboard_url: String::new(),
            wake: Arc::clone(&wake),
        };
        let task = tokio::spawn(delivery.run(shutdown.clone()));
        Self { outbox, clock, wake, shutdown, task }
    }

    fn add(&self, rows: Vec<TransitionRow>) {
        self.outbox.messages.lock().expect("lock").extend(rows);
        self.wake.notify_one();
    }

    async fn until(&self, what: &str, is_so: impl Fn(&[(String, u32, String)]) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !is_so(&self.outbox.outcomes()) {
            assert!(Instant::now() < deadline, "waited in vain for {what}: {:?}", self.outbox.outcomes());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn stop(self) {
        self.shutdown.cancel();
        self.task.await.expect("no panic");
    }
}

/// One receiver of the settings.
fn receiver(table: &Value) -> Arc<dyn Notifier> {
    let receivers_settings = serde_json::from_value(json!([table])).expect("settings");
    let settings = NotifierSettings { receivers: receivers_settings, timeout_ms: 2_000, ..NotifierSettings::default() };
    receivers(&settings).expect("a receiver").remove(0)
}

#[tokio::test]
async fn after_an_hour_without_slack_there_is_one_digest_and_nothing_is_lost() {
    let (slack, url) = Receiver::start(&vec![Answer::Status(503); 10_000]).await;
    let policy = DeliveryPolicy { min_interval: Duration::from_millis(1), ..policy() };
    let running =
        Running::start(Arc::new(Slack::new("slack", &Secret::new(url), Duration::from_secs(2)).expect("URL")), policy);
    let mut states = States::default();
    let mut decided = 0;
    // One new slow model every six minutes of the hour; the first two become fast again.
    let models = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"];
    for minute in 0..60_i64 {
        let over = &models[if minute < 40 { 0 } else { 2 }..=usize::try_from(minute / 6).expect("small")];
        let rows = window_steps(&mut states, over, running.clock.now());
        decided += rows.len();
        running.add(rows);
        running.clock.advance(Duration::from_secs(60));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(decided, 12, "ten begin, two end");
    running.until("an attempt at each", |outcomes| outcomes.len() == decided).await;
    assert!(running.outbox.outcomes().iter().all(|(state, ..)| state == "pending"));
    let before = slack.texts().len();
    slack.script.lock().expect("lock").clear();
    running.until("all of them", |outcomes| outcomes.iter().all(|(state, ..)| state == "sent")).await;
    // What is decided from now on is a message of its own again.
    let later = window_steps(&mut states, &models[3..], running.clock.now());
    running.add(later);
    running.until("the next", |outcomes| outcomes.len() == decided + 1 && outcomes[decided].0 == "sent").await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    let texts = slack.texts();
    // An attempt that was under way when Slack came back still failed.
    let texts: Vec<&String> = texts[before..].iter().rev().take(2).rev().collect();
    assert_eq!(texts[0], "⚠️ Catching up: 10 alerts, 8 still firing");
    assert!(texts[1].starts_with("✅ slow: c has no requests any more"), "{}", texts[1]);
    let deliveries = running.outbox.deliveries.lock().expect("lock").clone();
    let in_digest = deliveries.values().filter(|row| row.digest.starts_with("digest-")).count();
    assert_eq!((deliveries.len(), in_digest), (13, 12));
    let posted = slack
        .received
        .lock()
        .expect("lock")
        .iter()
        .filter(|(_, message)| message.to_string().contains("Catching up"))
        .count();
    assert!(posted > 1, "the digest is what was tried while Slack was away");
    running.stop().await;
}

#[tokio::test]
async fn a_digest_that_is_refused_is_sent_as_what_it_was_made_of() {
    let (slack, url) = Receiver::start(&[Answer::Status(400)]).await;
    let policy =
        DeliveryPolicy { digest_after: Duration::ZERO, digest_above: 2, min_interval: Duration::ZERO, ..policy() };
    let running =
        Running::start(Arc::new(Slack::new("slack", &Secret::new(url), Duration::from_secs(2)).expect("URL")), policy);
    running.add(messages(&["ann", "bob", "cy"], NOW));
    running.until("all", |outcomes| outcomes.len() == 3 && outcomes.iter().all(|(state, ..)| state == "sent")).await;
    assert_eq!(slack.texts().len(), 4);
    running.stop().await;
}

/// Slack's Web API: checks what Slack does, and numbers the messages.
#[derive(Clone, Default)]
struct WebApi {
    posted: Arc<Mutex<Vec<Value>>>,
    refusals: Arc<Mutex<VecDeque<&'static str>>>,
}

impl WebApi {
    async fn start(refusals: &[&'static str]) -> (Self, String) {
        let api = Self { refusals: Arc::new(Mutex::new(refusals.iter().copied().collect())), ..Self::default() };
        let app = Router::new()
            .route(
                "/api/chat.postMessage",
                post(|state, headers, body: String| std::future::ready(Self::post_message(state, &headers, &body))),
            )
            .with_state(api.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let url = format!("http://{}/api", listener.local_addr().expect("address"));
        tokio::spawn(async move { axum::serve(listener, app).await });
        (api, url)
    }

    fn post_message(State(api): State<Self>, headers: &axum::http::HeaderMap, body: &str) -> axum::response::Response {
        if headers["authorization"] != "Bearer xoxb-secret" {
            return json!({"ok": false, "error": "invalid_auth"}).to_string().into_response();
        }
        if let Some(refusal) = api.refusals.lock().expect("lock").pop_front() {
            let answer = json!({"ok": false, "error": refusal}).to_string();
            return ([("retry-after", "0")], answer).into_response();
        }
        let message: Value = serde_json::from_str(body).expect("JSON");
        assert!(message["blocks"].as_array().expect("blocks").len() <= 50 && message["text"].is_string());
        let mut posted = api.posted.lock().expect("lock");
        posted.push(message);
        json!({"ok": true, "channel": "C1", "ts": format!("1757346297.{:06}", posted.len())})
            .to_string()
            .into_response()
    }
}

#[tokio::test]
async fn the_end_of_an_alert_answers_its_first_message() {
    let (slack, url) = WebApi::start(&["ratelimited"]).await;
    let bot = json!({"type": "slack_bot", "name": "bot", "token": "xoxb-secret", "channel": "C1", "api_url": url});
    let running = Running::start(receiver(&bot), policy());
    let mut states = States::default();
    let all_sent = |count: usize| {
        move |outcomes: &[(String, u32, String)]| {
            outcomes.len() == count && outcomes.iter().all(|(state, ..)| state == "sent")
        }
    };
    running.add(window_steps(&mut states, &["a", "b"], NOW));
    running.until("both begin", all_sent(2)).await;
    assert_eq!(running.outbox.outcomes()[0].1, 2, "Slack was too busy at first");
    running.add(window_steps(&mut states, &["a"], NOW.plus(Duration::from_secs(60))));
    running.until("one ends", all_sent(3)).await;
    let posted = slack.posted.lock().expect("lock").clone();
    let threads: Vec<&Value> = posted.iter().map(|message| &message["thread_ts"]).collect();
    assert_eq!(threads, [&Value::Null, &Value::Null, &json!("1757346297.000002")]);
    assert_eq!(posted[2]["reply_broadcast"], true, "the channel sees that it is over");
    assert!(posted.iter().all(|message| message["channel"] == "C1"));
    running.stop().await;
}

#[tokio::test]
async fn what_slack_refuses_for_good_says_what_to_do() {
    let (_slack, url) = WebApi::start(&["channel_not_found"]).await;
    let bot = json!({"type": "slack_bot", "name": "bot", "token": "xoxb-secret", "channel": "C1", "api_url": url});
    let running = Running::start(receiver(&bot), policy());
    running.add(messages(&["ann"], NOW));
    running.until("a refusal", |outcomes| outcomes.iter().any(|(state, ..)| state == "failed")).await;
    assert!(running.outbox.outcomes()[0].2.contains("/invite the bot"), "{:?}", running.outbox.outcomes());
    running.stop().await;
    let mut wrong = bot;
    wrong["token"] = json!("xoxb-wrong");
    let running = Running::start(receiver(&wrong), policy());
    running.add(messages(&["ann"], NOW));
    running.until("a refusal", |outcomes| outcomes.iter().any(|(state, ..)| state == "failed")).await;
    let error = running.outbox.outcomes().remove(0).2;
    assert!(error.contains("invalid_auth") && !error.contains("xoxb"), "{error}");
    running.stop().await;
}

/// Counts how often it is told that alerts still fire.
struct Forgetful(Mutex<Vec<Vec<String>>>);

#[async_trait]
impl Notifier for Forgetful {
    fn name(&self) -> &'static str {
        "forgetful"
    }

    fn kind(&self) -> &'static str {
        "alertmanager"
    }

    fn traits(&self) -> Traits {
        Traits { needs_every_end: true, resend_every: Some(Duration::from_millis(40)), ..Traits::default() }
    }

    async fn send(&self, _: Outgoing<'_>) -> Result<Option<String>, NotifyError> {
        Ok(None)
    }

    async fn send_again(&self, firing: &[Notification], _: UtcMillis) -> Result<(), NotifyError> {
        self.0.lock().expect("lock").push(firing.iter().map(|alert| alert.group.clone()).collect());
        Ok(())
    }

    async fn check(&self) -> Result<String, NotifyError> {
        Ok(String::new())
    }
}

#[tokio::test]
async fn firing_alerts_are_said_again_as_long_as_they_fire() {
    let forgetful = Arc::new(Forgetful(Mutex::default()));
    let running = Running::start(Arc::<Forgetful>::clone(&forgetful), policy());
    let firing = window_steps(&mut States::default(), &["a", "b"], NOW);
    *running.outbox.firing.lock().expect("lock") = firing;
    let said = || forgetful.0.lock().expect("lock").clone();
    while said().len() < 3 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(said().iter().all(|groups| groups == &["a", "b"]));
    running.outbox.firing.lock().expect("lock").clear();
    tokio::time::sleep(Duration::from_millis(60)).await;
    let count = said().len();
    tokio::time::sleep(Duration::from_millis(120)).await;
    assert_eq!(said().len(), count, "nothing fires any more");
    running.stop().await;
}
