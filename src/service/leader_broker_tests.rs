//! Leadership on the real broker at `KAFKA_BROKERS`.

use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
};

use super::{tests::*, *};
use crate::{event_log::KafkaLog, settings::EventLogSettings};

const PREFIX_VARIABLE: &str = "HELIOMETER_TEST_TOPIC_PREFIX";

fn connect(prefix: &str) -> Arc<dyn EventLog> {
    let brokers = std::env::var("KAFKA_BROKERS").expect("KAFKA_BROKERS; see tests/kafka/broker.sh");
    let settings = EventLogSettings {
        brokers: brokers.split(',').map(str::to_owned).collect(),
        topic_prefix: prefix.to_owned(),
        partitions: 3,
        ..EventLogSettings::default()
    };
    Arc::new(KafkaLog::connect(&settings, &Registry::new()).expect("connects"))
}

fn prefix() -> String {
    format!("test-{}.", uuid::Uuid::from_u128(rand::random()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_two_members_leads_and_the_other_follows_it() {
    let (prefix, count) = (prefix(), Count::default());
    let (first_log, second_log) = (connect(&prefix), connect(&prefix));
    assert_eq!(first_log.watermarks(Topic::Control).await.expect("reads").len(), 1, "there is one seat");
    let first = start(&first_log, Counted(count.clone()));
    count.wait_for_term(1).await;
    let second = start(&second_log, Counted(count.clone()));
    first.stop().await;
    first_log.close().await;
    count.wait_for_term(2).await;
    second.stop().await;
    second_log.close().await;
    assert_eq!(count.most(), 1);
}

/// Not a test on its own: the next one runs it in a child process and kills it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child_that_leads_until_it_is_killed() {
    let Ok(prefix) = std::env::var(PREFIX_VARIABLE) else { return };
    let count = Count::default();
    let _process = start(&connect(&prefix), Counted(count.clone()));
    count.wait_for_term(1).await;
    println!("\nleads");
    std::future::pending::<()>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_is_killed_is_replaced() {
    let prefix = prefix();
    let mut child = Command::new(std::env::current_exe().expect("is known"))
        .args(["service::leader::broker_tests::child_that_leads_until_it_is_killed", "--exact", "--nocapture"])
        .env(PREFIX_VARIABLE, &prefix)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("starts");
    let lines = BufReader::new(child.stdout.take().expect("is piped")).lines();
    let leads = tokio::task::spawn_blocking(move || lines.map_while(Result::ok).any(|line| line == "leads"));
    assert!(leads.await.expect("reads"), "the child leads");
    let (log, count) = (connect(&prefix), Count::default());
    let process = start(&log, Counted(count.clone()));
    // It has joined once the log is used; whether before or after the kill, it may only lead after.
    log.watermarks(Topic::Control).await.expect("reads");
    assert_eq!(count.terms(), 0, "the child leads");
    child.kill().expect("kills");
    child.wait().expect("ends");
    count.wait_for_term(1).await;
    process.stop().await;
    log.close().await;
}
