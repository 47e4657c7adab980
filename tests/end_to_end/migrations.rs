//! What an upgrade does with stored data.

use heliometer::{
    domain::SystemClock,
    store::{Database, Table, migrate},
};

use crate::alerts::fresh_database;

const SKETCH: &str = "AggregateFunction(quantilesDD(0.01, 0.5, 0.95, 0.99), UInt32)";

async fn execute(database: &Database, statement: &str) {
    database.client().query(statement).execute().await.unwrap_or_else(|error| panic!("{statement}: {error}"));
}

/// Tables as they were before `0012_sketch_bytes.sql`, with totals in them.
async fn as_before_sketch_bytes(database: &Database) {
    for table in Table::all() {
        let rows = table.rows();
        execute(database, &format!("ALTER TABLE {rows} DROP COLUMN latency_state")).await;
        execute(database, &format!("ALTER TABLE {rows} DROP COLUMN latency_sketch")).await;
        execute(database, &format!("ALTER TABLE {rows} ADD COLUMN latency_state {SKETCH} AFTER cached_tokens")).await;
        let [first, second] = table.grouping.columns();
        execute(
            database,
            &format!(
                "INSERT INTO {rows} (bucket, source, {first}, {second}, requests, latency_state, version) \
                 SELECT toDateTime('2031-09-08 10:00:00', 'UTC'), 'default', toString(number % 100), 'gpt-4o', count(), \
                 quantilesDDState(0.01, 0.5, 0.95, 0.99)(toUInt32(1000 + number)), 1 FROM numbers(10000) GROUP BY number % 100"
            ),
        )
        .await;
    }
    execute(database, "ALTER TABLE schema_migrations DELETE WHERE version >= 12 SETTINGS mutations_sync = 2").await;
}

async fn percentiles(database: &Database, table: Table) -> Vec<(u64, Option<f64>, Option<f64>)> {
    let query = format!("SELECT requests, latency_p50_ms, latency_p99_ms FROM {} ORDER BY 2, 3", table.view());
    database.client().query(&query).fetch_all().await.expect("a view")
}

#[tokio::test(flavor = "multi_thread")]
async fn sketches_of_the_version_before_are_converted() {
    let directory = tempfile::tempdir().expect("a directory");
    let database = fresh_database(&directory).await;
    as_before_sketch_bytes(&database).await;
    let mut before = Vec::new();
    for table in Table::all() {
        before.push(percentiles(&database, table).await);
    }
    assert!(before.iter().all(|groups| groups.len() == 100 && groups[0].1.is_some_and(|p50_ms| p50_ms > 5_000.0)));

    let applied = migrate(database.client(), "", &SystemClock).await.expect("migrated");
    assert_eq!(applied, ["0012_sketch_bytes.sql", "0013_sketches.sql"]);
    for (table, before) in Table::all().zip(before) {
        assert_eq!(percentiles(&database, table).await, before, "{}", table.view());
    }
    assert!(migrate(database.client(), "", &SystemClock).await.expect("nothing to do").is_empty());
    database.close().await;
}
