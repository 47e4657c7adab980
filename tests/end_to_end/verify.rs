//! `heliometer verify` finds what is wrong in the totals and mends it; samples are estimated from; old rows go and their
//! totals stay.

use std::{path::Path, process::Output};

use clickhouse::Client;
use heliometer::{
    domain::{Clock, SystemClock},
    settings::{RetentionSettings, Settings},
    store::{Database, DatabaseOptions, apply_retention},
    telemetry::Health,
};

use crate::{
    alerts::{World, request},
    harness::{Options, PATIENCE, Server},
    totals::assert_exact,
};

fn verify(server: &Server, arguments: &[&str]) -> (Option<i32>, String) {
    let Output { status, stdout, stderr } =
        server.command().arg("verify").args(arguments).output().expect("heliometer verify");
    (status.code(), format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr)))
}

/// With the service's rights, beside the running one.
async fn database(server: &Server) -> Database {
    let mut settings = Settings::default();
    settings.data_dir.0 = server.data_dir();
    let program = Path::new(env!("CARGO_BIN_EXE_heliometer"));
    Database::open(&settings, DatabaseOptions { program, join_running: true }, &Health::default())
        .await
        .expect("is there")
}

/// Writes wrong totals of every kind: too much, too little, a group of nobody, and a group taken away.
async fn spoil(client: &Client) {
    for statement in [
        "INSERT INTO model_day_rows SELECT * REPLACE (requests + 1 AS requests, version + 1 AS version) \
         FROM model_day_rows FINAL ORDER BY requests DESC LIMIT 1",
        "INSERT INTO user_month_rows SELECT * REPLACE (cost_usd / 2 AS cost_usd, version + 1 AS version) \
         FROM user_month_rows FINAL ORDER BY cost_usd DESC LIMIT 1",
        "INSERT INTO model_hour_rows SELECT * REPLACE ('nobody' AS model, version + 1 AS version) \
         FROM model_hour_rows FINAL LIMIT 1",
        "INSERT INTO user_minute_rows SELECT * REPLACE (1 AS is_deleted, version + 1 AS version) \
         FROM user_minute_rows FINAL LIMIT 1",
    ] {
        client.query(statement).execute().await.expect("is written");
    }
}

#[test]
fn wrong_totals_are_found_and_mended() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let mut server = Server::start(Options::default().with_local_storage());
    let expected = server.start_simulation(&["--rate", "0", "--count", "600", "--seed", "600"]).finish();
    server.wait_until_counted(&expected, PATIENCE);
    let (code, told) = verify(&server, &[]);
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("model_minute") && told.contains("every total is what its calls say"), "{told}");

    runtime.block_on(async { spoil(database(&server).await.client()).await });
    let (code, told) = verify(&server, &[]);
    assert_eq!(code, Some(1), "{told}");
    for part in
        ["model_day", ": requests is ", "user_month", ": cost_usd is ", "\"nobody\"", "no call belongs", "is missing"]
    {
        assert!(told.contains(part), "no {part:?} in:\n{told}");
    }
    let (code, told) = verify(&server, &["--fix"]);
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("computed again"), "{told}");
    assert_exact(&server, &expected);

    // Nobody keeps the rollups while nothing runs.
    runtime.block_on(async { spoil(database(&server).await.client()).await });
    assert!(server.stop().success());
    let day = today();
    let (code, told) = verify(&server, &["--day", &day, "--fix"]);
    assert_eq!(code, Some(0), "{told}");
    let (code, told) = verify(&server, &["--day", &day]);
    assert_eq!(code, Some(0), "{told}");
    server.start_again();
    assert_exact(&server, &expected);
}

/// Today, UTC.
fn today() -> String {
    SystemClock.now().to_string()[..10].to_owned()
}

#[test]
fn a_sampled_source_is_estimated_beside_what_was_counted() {
    let config = format!(
        "[[sources]]\nname = \"sampled\"\nsecrets = [\"{}\"]\nsample_rate_percent = 25\n",
        crate::harness::SECRET
    );
    let server = Server::start(Options { config: Some(config), ..Options::default() }.with_local_storage());
    let url = format!("{}/sampled", server.webhook_url());
    let expected = server.start_simulation_to(&url, &["--rate", "0", "--count", "200", "--seed", "25"]).finish();
    server.wait_until_counted(&expected, PATIENCE);
    assert_exact(&server, &expected);
    // Each call stands for four; the variance of a count is (1 - p) / p² = 12 a call.
    for view in
        ["model_minute", "model_hour", "model_day", "model_month", "user_minute", "user_hour", "user_day", "user_month"]
    {
        let wrong = server.count(&format!(
            "(SELECT countIf(source != 'sampled' OR estimated_requests != 4 * requests OR estimated_cost_usd != 4 * cost_usd \
             OR estimated_total_tokens != 4 * total_tokens \
             OR abs(pow(estimated_requests_standard_error, 2) - 12 * requests) > 1e-6 \
             OR (cost_usd > 0) != (estimated_cost_usd_standard_error > 0)) FROM {view})"
        ));
        assert_eq!(wrong, 0, "{view}");
        assert!(server.count(&format!("(SELECT count() FROM {view})")) > 0, "{view}");
    }
    assert_eq!(server.count("(SELECT countIf(sample_rate_percent != 25) FROM requests)"), 0);
    let (code, told) = verify(&server, &[]);
    assert_eq!(code, Some(0), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn totals_outlive_the_rows_that_retention_removes() {
    const DAY_MS: i64 = 86_400_000;
    let world = World::start().await;
    let client = world.database.client();
    let now = SystemClock.now();
    let days_ago = |days: i64, id: &str| {
        let mut row = request(id, "ann", Some(1_000_000_000_000), now);
        row.event_time -= days * DAY_MS;
        row
    };
    world.insert(vec![days_ago(30, "old"), days_ago(30, "older"), days_ago(1, "young")]).await;
    let total = "SELECT toString(sum(requests)) FROM model_month";
    let eventually = |query: &'static str, wanted: &'static str| {
        let world = &world;
        async move {
            for _ in 0..600 {
                if world.rows(query).await == [wanted] {
                    return;
                }
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
            panic!("{query}: {:?} instead of {wanted}", world.rows(query).await);
        }
    };
    eventually(total, "3").await;

    let short = RetentionSettings { requests_days: 20, ..RetentionSettings::default() };
    apply_retention(client, &short, "").await.expect("is applied");
    let ttl = "SELECT toString(countIf(engine_full LIKE '%TTL toDateTime(event_time) + toIntervalDay(20)%')) \
               FROM system.tables WHERE database = currentDatabase() AND name = 'request_rows'";
    assert_eq!(world.rows(ttl).await, ["1"]);
    client.query("OPTIMIZE TABLE request_rows FINAL").execute().await.expect("TTL");
    eventually("SELECT toString(count()) FROM requests", "1").await;

    // Longer again: what was removed does not come back, and a straggler must not replace totals by what is left.
    apply_retention(client, &RetentionSettings::default(), "").await.expect("is applied");
    let mut straggler = days_ago(30, "straggler");
    straggler.version += 1;
    world.insert(vec![straggler, days_ago(0, "now")]).await;
    eventually(total, "4").await;
    assert_eq!(world.rows("SELECT toString(sum(requests)) FROM model_minute").await, ["4"]);
    world.stop().await;
}

#[test]
fn a_day_without_calls_is_said() {
    let server = Server::start(Options::default());
    let (code, told) = verify(&server, &[]);
    assert_eq!((code, told.trim()), (Some(0), "there are no calls to compare with"));
    let (code, told) = verify(&server, &["--day", "1900-01-01"]);
    assert_eq!(code, Some(2), "{told}");
}
