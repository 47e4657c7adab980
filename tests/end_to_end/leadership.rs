//! One leader at a time, as ClickHouse sees it.

use heliometer::{
    domain::{Clock, SystemClock},
    settings::RetentionSettings,
    store::{Rollups, StoreError, Term},
};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::{
    alerts::{Receiver, TIMEOUT, World, request, stop},
    harness::PATIENCE,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deposed_leader_writes_and_sends_nothing() {
    let (slack, url) = Receiver::start().await;
    let world = World::start().await;
    let client = world.database.client();
    let begin = async || Term::begin(client, TIMEOUT).await.expect("begins");
    let rules = json!([{"name": "budget", "kind": "budget", "period": "day", "limit_usd": 1.0, "thresholds": [100]}]);

    let first = begin().await;
    assert!(first.follows_clean_end(), "nobody was before");
    first.ensure_current().await.expect("stands");
    // Loaded and running while its term ends.
    let alerter = world.run(world.alerter(&rules, &url).fenced_by(first.clone()));
    let second = begin().await;
    assert!(!second.follows_clean_end(), "the first has not said that it ended");
    assert!(!first.is_lost(), "it does not know yet");
    world.insert(vec![request("1", "ann", Some(2_000_000_000_000), SystemClock.now())]).await;
    tokio::time::timeout(PATIENCE, first.lost()).await.expect("it asks before it records");
    assert!(matches!(first.ensure_current().await, Err(StoreError::Deposed)));
    stop(alerter).await;
    assert_eq!(world.rows("SELECT toString(count()) FROM alert_transitions").await, ["0"]);

    // Everything is new to it, so it has something to write, asks, and ends by itself.
    let metrics = world.metrics.clone();
    let (rollups, _) = Rollups::new(client, TIMEOUT, &RetentionSettings::default(), metrics, world.inserted.clone());
    let run = rollups.fenced_by(first.clone()).run(CancellationToken::new());
    tokio::time::timeout(PATIENCE, run).await.expect("a deposed one ends");

    let alerter = world.run(world.alerter(&rules, &url).fenced_by(second.clone()));
    assert_eq!(slack.wait_for(1).await.len(), 1);
    stop(alerter).await;
    // The end of an older term changes nothing.
    first.end().await.expect("is written");
    second.ensure_current().await.expect("stands");
    assert!(!begin().await.follows_clean_end());
    let last = begin().await;
    last.end().await.expect("is written");
    assert!(begin().await.follows_clean_end());
    assert_eq!(slack.texts().len(), 1);
    world.stop().await;
}
