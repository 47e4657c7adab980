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
        execute(database, &format!("ALTER TABLE {rows} DROP COLUMN latency_quantiles")).await;
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

async fn percentiles(database: &Database, columns: &str, from: &str) -> Vec<(u64, f64, f64)> {
    let query = format!("SELECT requests, {columns} FROM {from} ORDER BY 2, 3");
    database.client().query(&query).fetch_all().await.expect("an answer")
}

#[tokio::test(flavor = "multi_thread")]
async fn sketches_of_the_version_before_are_converted_also_by_several_at_once() {
    let directory = tempfile::tempdir().expect("a directory");
    let database = fresh_database(&directory).await;
    as_before_sketch_bytes(&database).await;
    let mut before = Vec::new();
    for table in Table::all() {
        let columns = [1, 3].map(|index| format!("round(finalizeAggregation(latency_state)[{index}], 1)")).join(", ");
        before.push(percentiles(&database, &columns, &format!("{} FINAL", table.rows())).await);
    }
    assert!(before.iter().all(|groups| groups.len() == 100 && groups[0].1 > 5_000.0));

    // Every consumer and alerter migrates when it starts.
    let migrate = || migrate(database.client(), "", &SystemClock);
    let (one, two, three) = tokio::join!(migrate(), migrate(), migrate());
    for applied in [one, two, three] {
        assert_eq!(applied.expect("migrated"), ["0012_sketch_bytes.sql"]);
    }
    for (table, before) in Table::all().zip(before) {
        let columns = "assumeNotNull(latency_p50_ms), assumeNotNull(latency_p99_ms)";
        assert_eq!(percentiles(&database, columns, &table.view()).await, before, "{}", table.view());
    }
    assert!(migrate().await.expect("nothing to do").is_empty());
    database.close().await;
}
