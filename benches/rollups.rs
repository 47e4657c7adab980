//! What a rollup pass costs with many calls stored: `cargo bench --bench rollups -- 100000000`, or `make bench-rollups`.
//!
//! Fills an embedded engine with generated calls of 90 days (20 models and 10,000 users, some much busier than others), computes all totals, and then
//! measures passes after changes of several kinds, each with the medians of what it repeats.

#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a benchmark that cannot go on ends, and prints its figures"
)]

use std::{path::Path, sync::Arc, time::Instant};

use clickhouse::Client;
use heliometer::{
    domain::{Clock, SystemClock},
    settings::Settings,
    store::{Database, DatabaseOptions, Rollups, StoreMetrics, migrate},
    telemetry::Health,
};
use prometheus::Registry;
use tokio::sync::Notify;

const DAYS: u64 = 90;
const CALLS_PER_INSERT: u64 = 5_000_000;
const REPEATS: usize = 5;

/// A call: a number decides everything. The times are spread over `{minutes}` minutes that end `{back}` minutes ago.
const GENERATE: &str = "\
INSERT INTO request_rows (request_id, source, event_time, received_at, user_id, model, provider, prompt_tokens, \
  completion_tokens, total_tokens, cost_usd, cost_source, latency_ms, token_ratio, is_inefficient, status, fetch_status, \
  log_partition, log_offset, version, inserted_at) \
SELECT hex(number), 'default', \
  toDateTime64({base}, 3, 'UTC') - toIntervalMinute({back} + intHash64(number) % {minutes}) + toIntervalMillisecond(number % 60000) AS at, \
  at + 1, concat('user-', toString(toUInt32(10000 * pow(intHash64(number + 1) % 1000000 / 1000000, 3)))), \
  concat('model-', toString(toUInt32(20 * pow(intHash64(number + 2) % 1000000 / 1000000, 2)))), \
  'OPENAI', intHash64(number + 3) % 4000 AS prompt, intHash64(number + 4) % 800 AS completion, prompt + completion, \
  toDecimal64((prompt * 25 + completion * 100) / 10000000, 12), 'gateway', toUInt32(200 + intHash64(number + 5) % 20000), \
  prompt / greatest(completion, 1), prompt > 10 * completion, if(number % 50 = 0, 'error', 'success'), 'fetched', \
  number % 4, number, 2, now64(6) \
FROM numbers({first}, {count}) SETTINGS max_insert_threads = 2, max_execution_time = 0";

struct Bench {
    client: Client,
    rollups: Rollups,
    next: u64,
    /// The minute that is the current one throughout.
    base_seconds: i64,
}

impl Bench {
    async fn run(&self, statement: &str) {
        let client = self.client.clone().with_setting("max_execution_time", "0");
        client.query(&statement.replace('?', "??")).execute().await.expect("is executed");
    }

    /// Inserts `count` calls of the `minutes` that end `back` minutes ago.
    async fn insert(&mut self, count: u64, back: u64, minutes: u64) {
        let first = self.next;
        self.next += count;
        let values = [
            ("{base}", self.base_seconds.to_string()),
            ("{back}", back.to_string()),
            ("{minutes}", minutes.to_string()),
            ("{first}", first.to_string()),
            ("{count}", count.to_string()),
        ];
        let replaced =
            values.iter().fold(GENERATE.to_owned(), |statement, (name, value)| statement.replace(name, value));
        self.run(&replaced).await;
    }

    /// Milliseconds and minutes of a pass.
    async fn pass(&mut self) -> (f64, usize) {
        let started = Instant::now();
        let mut minutes = 0;
        loop {
            let done = self.rollups.pass().await.expect("a pass");
            if done == 0 {
                break;
            }
            minutes += done;
            // What is left, and what came meanwhile; only the last look finds nothing.
            if done < 3_000 {
                break;
            }
        }
        (started.elapsed().as_secs_f64() * 1_000.0, minutes)
    }

    /// The median of several passes, each after an insert.
    async fn measure(&mut self, what: &str, count: u64, back: u64, minutes: u64) {
        let mut times = Vec::new();
        let mut touched = 0;
        for _ in 0..REPEATS {
            self.insert(count, back, minutes).await;
            let (time, minutes) = self.pass().await;
            times.push(time);
            touched = minutes;
        }
        times.sort_by(f64::total_cmp);
        println!("{what:<58} {touched:>6} minutes {:>9.0} ms", times[REPEATS / 2]);
    }
}

fn main() {
    let calls = std::env::args().skip(1).find_map(|argument| argument.parse::<u64>().ok()).unwrap_or(10_000_000);
    heliometer::tls::install_crypto_provider();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(bench(calls));
}

async fn bench(calls: u64) {
    let directory = tempfile::tempdir().expect("a directory");
    let mut settings = Settings::default();
    settings.data_dir.0 = directory.path().to_path_buf();
    (settings.clickhouse.http_port, settings.clickhouse.tcp_port) = (0, 0);
    // From scratch, a statement may take long.
    settings.clickhouse.timeout_ms = 600_000;
    let program = Path::new(env!("CARGO_BIN_EXE_heliometer"));
    let options = DatabaseOptions { program, join_running: false };
    let database = Database::open(&settings, options, &Health::default()).await.expect("an engine");
    migrate(database.client(), "", &SystemClock).await.expect("a schema");
    let metrics = StoreMetrics::new(&Registry::new()).expect("metrics");
    let (client, timeout) = (database.client().clone(), settings.clickhouse.timeout());
    let (rollups, _) = Rollups::new(&client, timeout, &settings.clickhouse.retention, metrics, Arc::new(Notify::new()));
    let now_seconds = SystemClock.now().0 / 1_000;
    let mut bench = Bench { client, rollups, next: 0, base_seconds: now_seconds - now_seconds % 60 };

    let started = Instant::now();
    while bench.next < calls {
        let count = CALLS_PER_INSERT.min(calls - bench.next);
        bench.insert(count, 60, DAYS * 1_440).await;
    }
    println!("{calls} calls of {DAYS} days generated in {:.0} s", started.elapsed().as_secs_f64());
    let (time, minutes) = bench.pass().await;
    println!("{:<58} {minutes:>6} minutes {time:>9.0} ms", "every total from scratch");
    let settled = Instant::now();
    bench.run("OPTIMIZE TABLE request_rows").await;
    println!("merged in {:.0} s", settled.elapsed().as_secs_f64());

    bench.measure("one call of the current minute", 1, 0, 1).await;
    bench.measure("1,000 calls of the current minute", 1_000, 0, 1).await;
    bench.measure("one late call, of 40 days ago", 1, 40 * 1_440, 1).await;
    bench.measure("101 late calls, scattered over three weeks", 101, 1_440, 21 * 1_440).await;
    bench.measure("100,000 calls of one hour (a second pass of them)", 100_000, 2_880, 60).await;
    bench.insert(1_000_000, 0, 1).await;
    let (time, minutes) = bench.pass().await;
    println!("{:<58} {minutes:>6} minutes {time:>9.0} ms", "one minute with a million calls");
    bench.measure("one more call of that minute", 1, 0, 1).await;
    let mut times = Vec::new();
    for _ in 0..REPEATS {
        times.push(bench.pass().await.0);
    }
    times.sort_by(f64::total_cmp);
    println!("{:<58} {:>6} minutes {:>9.0} ms", "nothing", 0, times[REPEATS / 2]);
    let sizes: Vec<(String, u64, u64)> = bench
        .client
        .query(
            "SELECT table, sum(rows), sum(bytes_on_disk) FROM system.parts WHERE active AND database = currentDatabase() \
             AND (table LIKE 'model_%' OR table LIKE 'user_%' OR table = 'request_rows') GROUP BY table ORDER BY table",
        )
        .fetch_all()
        .await
        .expect("sizes");
    for (table, rows, bytes) in sizes {
        println!("{table:<20} {rows:>12} rows {:>8} MiB", bytes / 1024 / 1024);
    }
    drop(bench);
    database.close().await;
}
