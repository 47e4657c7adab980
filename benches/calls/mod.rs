//! An embedded engine with many generated calls of 90 days, of 20 models and 10,000 users, some much busier than others.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use clickhouse::Client;
use heliometer::{
    domain::{Clock, SystemClock},
    settings::Settings,
    store::{Database, DatabaseOptions, Rollups, StoreMetrics, migrate},
    telemetry::Health,
};
use prometheus::Registry;
use tokio::sync::Notify;

pub(crate) const DAYS: u64 = 90;
const CALLS_PER_INSERT: u64 = 5_000_000;

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

/// The engine, and what fills it.
pub(crate) struct Calls {
    pub(crate) client: Client,
    pub(crate) rollups: Rollups,
    pub(crate) database: Database,
    /// How many were made.
    pub(crate) count: u64,
    /// The minute that is the current one throughout.
    base_seconds: i64,
}

impl Calls {
    /// Starts the engine on the directory, which may hold calls of an earlier run. Each statement may take `timeout`, after
    /// twice of which an insert is not looked for any more.
    pub(crate) async fn open(data_dir: &Path, timeout: Duration) -> Self {
        let mut settings = Settings::default();
        settings.data_dir.0 = data_dir.to_path_buf();
        (settings.clickhouse.http_port, settings.clickhouse.tcp_port) = (0, 0);
        let program = Path::new(env!("CARGO_BIN_EXE_heliometer"));
        let options = DatabaseOptions { program, join_running: false };
        let database = Database::open(&settings, options, &Health::default()).await.expect("an engine");
        migrate(database.client(), "", &SystemClock).await.expect("a schema");
        let metrics = StoreMetrics::new(&Registry::new()).expect("metrics");
        let client = database.client().clone();
        let retention = &settings.clickhouse.retention;
        let (rollups, _) = Rollups::new(&client, timeout, retention, metrics, Arc::new(Notify::new()));
        let rollups = rollups.alone();
        let now_seconds = SystemClock.now().0 / 1_000;
        let count = client.query("SELECT count() FROM request_rows").fetch_one().await.expect("a count");
        Self { client, rollups, database, count, base_seconds: now_seconds - now_seconds % 60 }
    }

    pub(crate) async fn run(&self, statement: &str) {
        let client = self.client.clone().with_setting("max_execution_time", "0");
        client.query(&statement.replace('?', "??")).execute().await.expect("is executed");
    }

    /// Inserts `count` calls of the `minutes` that end `back` minutes ago.
    pub(crate) async fn insert(&mut self, count: u64, back: u64, minutes: u64) {
        let first = self.count;
        self.count += count;
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

    /// Until there are `calls` of 90 days, the newest of them of this minute, and their totals.
    pub(crate) async fn fill(data_dir: &Path, calls: u64) {
        // From scratch, a statement may take long.
        let mut filled = Self::open(data_dir, Duration::from_secs(600)).await;
        let started = Instant::now();
        while filled.count < calls {
            let count = CALLS_PER_INSERT.min(calls - filled.count);
            filled.insert(count, 0, DAYS * 1_440).await;
        }
        // Since an earlier run, as many a minute as then.
        let newest = "SELECT toUnixTimestamp(toStartOfMinute(max(event_time))) FROM request_rows";
        let newest: u32 = filled.client.query(newest).fetch_one().await.expect("a time");
        let missing = u64::try_from((filled.base_seconds - i64::from(newest)) / 60).unwrap_or(0);
        filled.insert(missing * calls / (DAYS * 1_440), 0, missing.max(1)).await;
        println!("{} calls of {DAYS} days generated in {:.0} s", filled.count, started.elapsed().as_secs_f64());
        let (time_ms, minutes) = filled.pass().await;
        println!("totals of {minutes} minutes computed in {:.0} s", time_ms / 1_000.0);
        filled.close().await;
    }

    /// Milliseconds and minutes of a pass.
    pub(crate) async fn pass(&mut self) -> (f64, usize) {
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

    pub(crate) async fn close(self) {
        drop((self.client, self.rollups));
        self.database.close().await;
    }
}

/// Of a statement, unless the settings say otherwise.
pub(crate) fn usual_timeout() -> Duration {
    Settings::default().clickhouse.timeout()
}

/// A program on its own has nobody else to start these.
pub(crate) fn runtime() -> tokio::runtime::Runtime {
    heliometer::tls::install_crypto_provider();
    tokio::runtime::Runtime::new().expect("a runtime")
}

/// Where `HELIOMETER_BENCH_DIR` says, so that calls of another run serve again; else a directory that ends with the program.
pub(crate) fn directory() -> (PathBuf, Option<tempfile::TempDir>) {
    if let Some(path) = std::env::var_os("HELIOMETER_BENCH_DIR") {
        return (path.into(), None);
    }
    let temporary = tempfile::tempdir().expect("a directory");
    (temporary.path().to_path_buf(), Some(temporary))
}

/// How many calls the arguments ask for.
pub(crate) fn asked(otherwise: u64) -> u64 {
    std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(otherwise)
}
