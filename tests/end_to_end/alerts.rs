//! Alerts on the real engine: rows in, one Slack message out, and none twice.

use std::{
    path::Path,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use axum::{Router, routing::post};
use heliometer::{
    alert::{AlertMetrics, Alerter, DeliveryPolicy, Rule},
    domain::{Clock, Secret, SystemClock, UtcMillis},
    settings::{AlertSettings, NotifierSettings, RetentionSettings, Settings},
    store::{Batch, Database, DatabaseOptions, RequestRow, Rollups, StoreMetrics, migrate, write_batch},
    telemetry::Health,
};
use prometheus::Registry;
use serde_json::{Value, json};
use tokio::{
    sync::{Notify, watch},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

pub(crate) const TIMEOUT: Duration = Duration::from_secs(30);

/// Slack, as far as we need it.
#[derive(Clone, Default)]
pub(crate) struct Receiver(Arc<Mutex<Vec<String>>>);

impl Receiver {
    pub(crate) async fn start() -> (Self, String) {
        let receiver = Self::default();
        let texts = Arc::clone(&receiver.0);
        let receive = move |body: String| async move {
            let message: Value = serde_json::from_str(&body).expect("JSON");
            texts.lock().expect("lock").push(message["text"].as_str().expect("text").to_owned());
        };
        let app = Router::new().route("/services/x", post(receive));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let url = format!("http://{}/services/x", listener.local_addr().expect("address"));
        tokio::spawn(async move { axum::serve(listener, app).await });
        (receiver, url)
    }

    pub(crate) fn texts(&self) -> Vec<String> {
        self.0.lock().expect("lock").clone()
    }

    pub(crate) async fn wait_for(&self, count: usize) -> Vec<String> {
        let deadline = Instant::now() + Duration::from_secs(20);
        while self.texts().len() < count && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.texts()
    }
}

/// An engine of its own with the whole schema, in an empty directory.
pub(crate) async fn fresh_database(directory: &tempfile::TempDir) -> Database {
    let mut settings = Settings::default();
    settings.data_dir.0 = directory.path().to_path_buf();
    settings.clickhouse.http_port = 0;
    settings.clickhouse.tcp_port = 0;
    let program = Path::new(env!("CARGO_BIN_EXE_heliometer"));
    let database =
        match Database::open(&settings, DatabaseOptions { program, join_running: false }, &Health::default()).await {
            Ok(database) => database,
            Err(error) => {
                let log = std::fs::read_to_string(directory.path().join("clickhouse/engine.log")).unwrap_or_default();
                panic!("{error}\nengine.log: {log}");
            }
        };
    migrate(database.client(), "", &SystemClock).await.expect("migrations");
    database
}

pub(crate) struct World {
    pub(crate) database: Database,
    pub(crate) metrics: StoreMetrics,
    pub(crate) inserted: Arc<Notify>,
    rolled_up: watch::Receiver<u64>,
    rollups: JoinHandle<()>,
    shutdown: CancellationToken,
    _directory: tempfile::TempDir,
}

impl World {
    pub(crate) async fn start() -> Self {
        let mut world = Self::without_rollups().await;
        let (rollups, rolled_up) = Rollups::new(
            world.database.client(),
            TIMEOUT,
            &RetentionSettings::default(),
            world.metrics.clone(),
            Arc::clone(&world.inserted),
        );
        world.rolled_up = rolled_up;
        world.rollups = tokio::spawn(rollups.run(world.shutdown.clone()));
        world
    }

    pub(crate) async fn without_rollups() -> Self {
        let directory = tempfile::tempdir().expect("directory");
        let database = fresh_database(&directory).await;
        let metrics = StoreMetrics::new(&Registry::new()).expect("metrics");
        Self {
            database,
            metrics,
            inserted: Arc::new(Notify::new()),
            rolled_up: watch::channel(0).1,
            rollups: tokio::spawn(async {}),
            shutdown: CancellationToken::new(),
            _directory: directory,
        }
    }

    pub(crate) async fn insert(&self, requests: Vec<RequestRow>) {
        let batch = Batch { requests, ..Batch::default() };
        write_batch(self.database.client(), TIMEOUT, &batch, &self.metrics).await.expect("inserted");
        self.inserted.notify_one();
    }

    /// An alerter that runs until the token is cancelled.
    fn alert(&self, rules: &Value, slack_url: &str) -> (CancellationToken, JoinHandle<()>) {
        self.run(self.alerter(rules, slack_url))
    }

    pub(crate) fn run(&self, alerter: Alerter) -> (CancellationToken, JoinHandle<()>) {
        let stop = CancellationToken::new();
        let task = tokio::spawn(alerter.run(stop.clone(), self.rolled_up.clone()));
        (stop, task)
    }

    pub(crate) fn alerter(&self, rules: &Value, slack_url: &str) -> Alerter {
        let rules: Vec<Rule> = serde_json::from_value(rules.clone()).expect("valid rules");
        let settings = AlertSettings { evaluate_every_ms: 100, rules, ..AlertSettings::default() };
        let slack_webhook_url = (!slack_url.is_empty()).then(|| Secret::new(slack_url));
        let notifiers = NotifierSettings { slack_webhook_url, ..NotifierSettings::default() };
        let policy = DeliveryPolicy { min_interval: Duration::from_millis(10), ..DeliveryPolicy::default() };
        let client = self.database.client();
        let metrics = AlertMetrics::new(&Registry::new()).expect("metrics");
        Alerter::new(client, &settings, &notifiers, Arc::new(SystemClock), metrics)
            .expect("an alerter")
            .with_policy(policy)
    }

    pub(crate) async fn rows(&self, query: &str) -> Vec<String> {
        self.database.client().query(query).fetch_all().await.expect("a query")
    }

    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        self.rollups.await.expect("no panic");
        self.database.close().await;
    }
}

pub(crate) async fn stop((token, task): (CancellationToken, JoinHandle<()>)) {
    token.cancel();
    task.await.expect("no panic");
}

pub(crate) fn request(id: &str, user: &str, pico_usd: Option<i64>, at: UtcMillis) -> RequestRow {
    RequestRow {
        request_id: id.to_owned(),
        source: "default".to_owned(),
        event_time: at.0,
        received_at: at.0,
        user_id: user.to_owned(),
        model: "gpt-4o-2024-08-06".to_owned(),
        provider: "OPENAI".to_owned(),
        prompt_tokens: Some(1_000),
        completion_tokens: Some(500),
        total_tokens: Some(1_500),
        cost_usd: pico_usd,
        cost_source: "gateway".to_owned(),
        latency_ms: Some(900),
        token_ratio: Some(2.0),
        status: "success".to_owned(),
        fetch_status: "fetched".to_owned(),
        version: 1,
        ..RequestRow::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_budget_is_said_once_also_after_a_restart() {
    let (slack, url) = Receiver::start().await;
    let world = World::start().await;
    let rules = json!([
        {"name": "user-month", "kind": "usage", "unit": "usd", "limit": 1.0, "overrides": {"vip": 100}},
        {"name": "model-month", "kind": "budget", "scope": "model", "match": {"model": "gpt-4o*"}, "limit_usd": 1000},
        {"name": "all-month", "kind": "budget", "limit_usd": 1000, "timezone": "Asia/Kathmandu"},
        {"name": "provider-by-user", "kind": "budget", "scope": "user", "match": {"provider": "OPEN*"}, "limit_usd": 1000},
        {"name": "tokens", "kind": "usage", "unit": "tokens", "limit": 1_000_000},
    ]);
    let now = SystemClock.now();
    let first = world.alert(&rules, &url);
    world.insert(vec![request("1", "ann", Some(790_000_000_000), now), request("2", "bob", Some(1), now)]).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(slack.texts(), Vec::<String>::new(), "below every threshold");

    // Over 80 and 100 % at once; a test of the button, an unpriced request and last year's do not count.
    let mut old = request("4", "bob", Some(900_000_000_000_000), now);
    old.event_time -= 366 * 24 * 3_600_000;
    let mut button = request("5", "bob", Some(900_000_000_000_000), now);
    button.is_test = true;
    world
        .insert(vec![request("3", "ann", Some(230_000_000_000), now), request("6", "ann", None, now), old, button])
        .await;
    let texts = slack.wait_for(1).await;
    assert_eq!(texts.len(), 1, "{texts:?}");
    assert!(texts[0].contains("user-month: ann reached 100 % of $1.00, $1.02 of $1.00, month "), "{texts:?}");

    // The same rows again change nothing, nor does a restart.
    world.insert(vec![request("3", "ann", Some(230_000_000_000), now)]).await;
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    stop(first).await;
    let second = world.alert(&rules, &url);
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert_eq!(slack.texts().len(), 1, "{:?}", slack.texts());

    // While ann is over, bob's crossing is said on its own, and nobody's too.
    world
        .insert(vec![request("7", "bob", Some(850_000_000_000), now), request("8", "", Some(2_000_000_000_000), now)])
        .await;
    let mut texts = slack.wait_for(3).await;
    texts.sort();
    assert_eq!(texts.len(), 3, "{texts:?}");
    assert!(texts[0].contains("(no user) reached 100 %") && texts[2].contains("bob reached 80 %"), "{texts:?}");
    stop(second).await;

    assert_eq!(
        world
            .rows(
                "SELECT concat(`group`, ' ', toString(threshold), ' ', state, ' ', toString(assumeNotNull(value_usd))) FROM alerts \
                   ORDER BY `group`, threshold"
            )
            .await,
        [" 80 firing 2", " 100 firing 2", "ann 80 firing 1.02", "ann 100 firing 1.02", "bob 80 firing 0.850000000001"]
    );
    assert_eq!(
        world.rows("SELECT concat(notifier, ' ', state, ' ', toString(attempts), error) FROM notifications").await,
        ["slack sent 1", "slack sent 1", "slack sent 1"]
    );
    assert_eq!(
        world
            .rows(
                "SELECT JSONExtractRaw(details, 'contributors') FROM alert_transitions WHERE `group` = 'ann' AND notify"
            )
            .await,
        [r#"[{"what":"model","name":"gpt-4o-2024-08-06","amount":"$1.02 (and 1 unpriced)"}]"#]
    );
    assert_eq!(
        world
            .rows("SELECT DISTINCT concat(user_id, ' ', toString(assumeNotNull(limit_usd))) FROM user_month WHERE user_id = 'ann'")
            .await,
        ["ann 1"]
    );
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn windows_fire_and_resolve() {
    let (slack, url) = Receiver::start().await;
    let world = World::start().await;
    let rules = json!([
        {"name": "each", "kind": "latency", "statistic": "each", "threshold_ms": 5000, "window": "4s"},
        {"name": "p95", "kind": "latency", "statistic": "p95", "threshold_ms": 5000, "window": "4s", "min_requests": 50},
        {"name": "avg", "kind": "latency", "statistic": "avg", "scope": "user", "threshold_ms": 60_000},
        {"name": "ratio", "kind": "efficiency", "share_percent": 20, "window": "4s", "scope": "all"},
    ]);
    let now = SystemClock.now();
    let mut slow = Vec::new();
    for (id, latency) in [("1", 7_000), ("2", 9_000), ("3", 100), ("4", 4_000)] {
        let began = now.minus(Duration::from_millis(u64::from(latency)));
        slow.push(RequestRow { latency_ms: Some(latency), ..request(id, "ann", Some(1), began) });
    }
    slow[2].token_ratio = Some(25.0);
    // Slow as well, but it ended an hour ago.
    let old = now.minus(Duration::from_secs(3600));
    slow.push(RequestRow { latency_ms: Some(60_000), ..request("5", "ann", Some(1), old) });
    world.insert(slow).await;
    let running = world.alert(&rules, &url);
    let mut texts = slack.wait_for(4).await;
    stop(running).await;
    texts.sort();
    assert_eq!(texts.len(), 4, "{texts:?}");
    assert!(texts[0].contains("each: gpt-4o-2024-08-06 slowest request is 9,000 ms (limit 5,000 ms)"), "{texts:?}");
    assert!(texts[1].contains("ratio: 25 % of requests over a token ratio of 10"), "{texts:?}");
    assert!(texts[2].contains("each: gpt-4o-2024-08-06 has no requests any more, after"), "{texts:?}");
    assert!(texts[3].contains("ratio: no requests any more, after"), "{texts:?}");
    let contributors = world
        .rows(
            "SELECT JSONExtractRaw(details, 'contributors') FROM alert_transitions \
               WHERE rule = 'each' AND state = 'firing' AND exceeding_requests = 2 AND requests = 4",
        )
        .await;
    assert_eq!(contributors.len(), 1);
    assert!(
        contributors[0].starts_with(r#"[{"what":"request","name":"2","amount":"9,000 ms by ann"},"#),
        "{contributors:?}"
    );
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_fired_without_slack_is_recorded_and_sent_once_slack_is_there() {
    let (slack, url) = Receiver::start().await;
    let world = World::start().await;
    // The window stays over its limit for the whole test, so its alert is firing across the restart.
    let rules = json!([
        {"name": "b", "kind": "budget", "period": "month", "limit_usd": 1.0},
        {"name": "slow", "kind": "latency", "statistic": "max", "threshold_ms": 800, "window": "1h"},
    ]);
    let running = world.alert(&rules, "");
    world.insert(vec![request("1", "ann", Some(600_000_000_000), SystemClock.now())]).await;
    let recorded = "SELECT concat(rule, ' ', state) FROM alerts ORDER BY rule, at";
    let deadline = Instant::now() + Duration::from_secs(20);
    while world.rows(recorded).await.len() < 2 && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    stop(running).await;
    assert_eq!(world.rows(recorded).await, ["b firing", "slow firing"]);
    let running = world.alert(&rules, &url);
    assert_eq!(slack.wait_for(2).await.len(), 2);
    tokio::time::sleep(Duration::from_secs(1)).await;
    stop(running).await;
    assert_eq!(slack.texts().len(), 2, "{:?}", slack.texts());
    assert_eq!(world.rows(recorded).await, ["b firing", "slow firing"]);
    // A rule that is gone ends its alert, silently.
    let running = world.alert(&json!([rules[0]]), &url);
    tokio::time::sleep(Duration::from_secs(1)).await;
    stop(running).await;
    assert_eq!(world.rows(recorded).await, ["b firing", "slow firing", "slow resolved"]);
    assert_eq!(slack.texts().len(), 2, "{:?}", slack.texts());
    world.stop().await;
}
