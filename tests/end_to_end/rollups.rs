//! Any sequence of inserts, duplicates, enrichments, corrections, moves, tombstones and crashes ends in totals that equal
//! those of a naive computation, at every grain, by model and by user.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use clickhouse::Client;
use heliometer::{
    domain::{Clock, SystemClock, UtcMillis},
    settings::RetentionSettings,
    store::{Grain, Grouping, RequestRow, Rollups, Table, write_requests},
};
use proptest::{
    prelude::*,
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::alerts::{TIMEOUT, World};

/// Each is some seconds of real engine; more by `PROPTEST_CASES`.
const CASES: u32 = 16;

/// What may happen to the calls of one source.
#[derive(Clone, Debug)]
enum Step {
    /// New calls, in one insert.
    Insert(Vec<Call>),
    /// The same message again: the same rows are written once more.
    Duplicate(prop::sample::Index),
    /// The stored object came: the same key in a later stage.
    Enrich(prop::sample::Index, Numbers),
    /// Other numbers or another group under the same key.
    Correct(prop::sample::Index, Call),
    /// To another minute: a tombstone and a row under another key.
    Move(prop::sample::Index, u32),
    /// Withdrawn.
    Tombstone(prop::sample::Index),
    /// One pass, after which all totals are right.
    Pass,
    /// The rollups run for so many milliseconds and are killed. Whether the next ones know that nobody else's statements go on,
    /// and so write only what differs.
    Crash(u8, bool),
}

#[derive(Clone, Debug)]
struct Call {
    /// Which of [`MOMENTS`], and the millisecond within its minute.
    moment: u32,
    millisecond: u16,
    model: u8,
    user: u8,
    numbers: Numbers,
    is_error: bool,
    is_test: bool,
    rate: u8,
}

#[derive(Clone, Debug)]
struct Numbers {
    cost_pico_usd: Option<u32>,
    tokens: Option<(u16, u16)>,
    latency_ms: Option<u16>,
}

/// Minutes before now: within one hour, across hours, days, a month or two, and beyond the days for which minutes by user
/// are kept.
const MOMENTS: [u32; 12] = [0, 1, 2, 59, 60, 61, 1_440, 1_500, 12_000, 20_000, 46_000, 90_000];
/// Statements of a pass that go on.
const RUNNING: &str = "SELECT toString(count()) FROM system.processes WHERE query LIKE 'INSERT INTO %'";
const RATES: [&str; 4] = ["100", "100", "50", "12.5"];

fn numbers() -> impl Strategy<Value = Numbers> {
    let tokens = prop::option::of((0..5_000_u16, 0..500_u16));
    (prop::option::of(0..1_000_000_000_u32), tokens, prop::option::of(1..40_000_u16))
        .prop_map(|(cost_pico_usd, tokens, latency_ms)| Numbers { cost_pico_usd, tokens, latency_ms })
}

fn call() -> impl Strategy<Value = Call> {
    let moment = 0..u32::try_from(MOMENTS.len()).expect("small");
    // The last second of a minute is part of it: the engine has been seen to think otherwise.
    let millisecond = prop_oneof![0..60_000_u16, 59_001..60_000_u16];
    (moment, millisecond, 0..3_u8, 0..3_u8, numbers(), any::<bool>(), prop::bool::weighted(0.1), 0..4_u8).prop_map(
        |(moment, millisecond, model, user, numbers, is_error, is_test, rate)| Call {
            moment,
            millisecond,
            model,
            user,
            numbers,
            is_error,
            is_test,
            rate,
        },
    )
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => prop::collection::vec(call(), 1..8).prop_map(Step::Insert),
        2 => any::<prop::sample::Index>().prop_map(Step::Duplicate),
        2 => (any::<prop::sample::Index>(), numbers()).prop_map(|(which, numbers)| Step::Enrich(which, numbers)),
        2 => (any::<prop::sample::Index>(), call()).prop_map(|(which, call)| Step::Correct(which, call)),
        2 => (any::<prop::sample::Index>(), 0..u32::try_from(MOMENTS.len()).expect("small"))
            .prop_map(|(which, moment)| Step::Move(which, moment)),
        1 => any::<prop::sample::Index>().prop_map(Step::Tombstone),
        2 => Just(Step::Pass),
        2 => any::<(u8, bool)>().prop_map(|(milliseconds, is_alone)| Step::Crash(milliseconds, is_alone)),
    ]
}

/// The rows of one source as they should be, and every version that was written.
struct Source<'a> {
    world: &'a World,
    client: &'a Client,
    now: UtcMillis,
    valid: Vec<RequestRow>,
    withdrawn: Vec<bool>,
    rollups: Rollups,
}

impl Source<'_> {
    fn row(&self, call: &Call) -> RequestRow {
        let minutes = MOMENTS[call.moment as usize];
        let minute = self.now.0 - self.now.0 % 60_000 - i64::from(minutes) * 60_000;
        let mut row = RequestRow {
            source: "default".to_owned(),
            event_time: minute + i64::from(call.millisecond),
            received_at: self.now.0,
            user_id: ["", "ann", "bob"][call.user as usize].to_owned(),
            model: ["", "gpt-4o", "claude"][call.model as usize].to_owned(),
            provider: "OPENAI".to_owned(),
            status: if call.is_error { "error" } else { "success" }.to_owned(),
            is_test: call.is_test,
            sample_rate_percent: RATES[call.rate as usize].parse().expect("a rate"),
            version: 2 << 32,
            ..RequestRow::default()
        };
        set(&mut row, &call.numbers);
        row
    }

    async fn take(&mut self, step: &Step) {
        let which = |index: &prop::sample::Index| (!self.valid.is_empty()).then(|| index.index(self.valid.len()));
        match step {
            Step::Insert(calls) => {
                let first = self.valid.len();
                for (number, call) in calls.iter().enumerate() {
                    let row = RequestRow { request_id: format!("{}", first + number), ..self.row(call) };
                    self.valid.push(row);
                    self.withdrawn.push(false);
                }
                self.insert(self.valid[first..].to_vec()).await;
            }
            Step::Duplicate(index) => {
                let Some(index) = which(index).filter(|index| !self.withdrawn[*index]) else { return };
                self.insert(vec![self.valid[index].clone()]).await;
            }
            Step::Enrich(index, numbers) => {
                let Some(index) = which(index).filter(|index| !self.withdrawn[*index]) else { return };
                let row = &mut self.valid[index];
                set(row, numbers);
                row.version = ((row.version >> 32).max(3) << 32) | ((row.version & 0xffff_ffff) + 1);
                let enriched = row.clone();
                self.insert(vec![enriched]).await;
            }
            Step::Correct(index, call) => {
                let Some(index) = which(index).filter(|index| !self.withdrawn[*index]) else { return };
                let old = &self.valid[index];
                let new = RequestRow {
                    request_id: old.request_id.clone(),
                    event_time: old.event_time,
                    version: old.version + 1,
                    ..self.row(call)
                };
                self.valid[index] = new.clone();
                self.insert(vec![new]).await;
            }
            Step::Move(index, moment) => {
                let Some(index) = which(index).filter(|index| !self.withdrawn[*index]) else { return };
                let old = self.valid[index].clone();
                let minutes = i64::from(MOMENTS[*moment as usize]);
                let event_time = self.now.0 - self.now.0 % 60_000 - minutes * 60_000;
                let new = RequestRow { event_time, version: old.version + 1, ..old.clone() };
                let mut rows = vec![new.clone()];
                if old.event_time.div_euclid(60_000) != event_time.div_euclid(60_000) {
                    rows.push(RequestRow { is_deleted: 1, version: old.version + 1, ..old });
                }
                self.valid[index] = new;
                self.insert(rows).await;
            }
            Step::Tombstone(index) => {
                let Some(index) = which(index).filter(|index| !self.withdrawn[*index]) else { return };
                self.withdrawn[index] = true;
                let old = &self.valid[index];
                self.insert(vec![RequestRow { is_deleted: 1, version: old.version + 1, ..old.clone() }]).await;
            }
            Step::Pass => {
                self.pass().await;
                assert_equal(self).await;
            }
            Step::Crash(milliseconds, is_alone) => {
                let successor = rollups(self.world, *is_alone);
                let rollups = std::mem::replace(&mut self.rollups, successor);
                let rollups = tokio::spawn(rollups.run(CancellationToken::new()));
                tokio::time::sleep(Duration::from_millis((*milliseconds).into())).await;
                rollups.abort();
                drop(rollups.await);
                // What was sent goes on at the server, as after a kill. A real successor computes all again once that must
                // be over (store::rollup says why); this one waits for it.
                while self.world.rows(RUNNING).await != ["0"] {
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
            }
        }
    }

    async fn insert(&self, requests: Vec<RequestRow>) {
        write_requests(self.client, TIMEOUT, &requests).await.expect("inserted");
    }

    async fn pass(&mut self) {
        self.rollups.pass().await.expect("a pass");
    }
}

fn rollups(world: &World, is_alone: bool) -> Rollups {
    let (metrics, inserted) = (world.metrics.clone(), Arc::new(Notify::new()));
    let client = world.database.client();
    let rollups = Rollups::new(client, TIMEOUT, &RetentionSettings::default(), metrics, inserted).0;
    if is_alone { rollups.alone() } else { rollups }
}

fn set(row: &mut RequestRow, numbers: &Numbers) {
    row.cost_usd = numbers.cost_pico_usd.map(i64::from);
    row.prompt_tokens = numbers.tokens.map(|(prompt, _)| prompt.into());
    row.completion_tokens = numbers.tokens.map(|(_, completion)| completion.into());
    row.total_tokens = numbers.tokens.map(|(prompt, completion)| u64::from(prompt) + u64::from(completion));
    row.latency_ms = numbers.latency_ms.map(u32::from);
}

/// Totals of a group, with what is exact as text and what is estimated as numbers.
#[derive(Clone, Debug, Default, PartialEq)]
struct Totals {
    counted: [i128; 7],
    /// Requests, their standard error, cost and its standard error, total tokens and their standard error.
    estimated: [f64; 6],
    latencies_ms: Vec<u32>,
}

type Key = (u32, String, String);

#[expect(clippy::cast_precision_loss, reason = "numbers of a test")]
fn naive(source: &Source<'_>, table: Table) -> BTreeMap<Key, Totals> {
    let mut groups: BTreeMap<Key, Totals> = BTreeMap::new();
    for (row, _) in source.valid.iter().zip(&source.withdrawn).filter(|(row, withdrawn)| !**withdrawn && !row.is_test) {
        let second = u32::try_from(row.event_time.div_euclid(1_000)).expect("after 1970");
        let group = match table.grouping {
            Grouping::Model => (row.model.clone(), row.provider.clone()),
            Grouping::User => (row.user_id.clone(), row.model.clone()),
        };
        let totals = groups.entry((table.grain.start(second), group.0, group.1)).or_default();
        let tokens = row.total_tokens.unwrap_or(0);
        let priced = row.cost_usd.is_some();
        for (sum, value) in totals.counted.iter_mut().zip([
            1,
            i128::from(priced),
            i128::from(row.cost_usd.unwrap_or(0)),
            i128::from(row.prompt_tokens.unwrap_or(0)),
            i128::from(row.completion_tokens.unwrap_or(0)),
            i128::from(if priced { tokens } else { 0 }),
            i128::from(row.status == "error"),
        ]) {
            *sum += value;
        }
        let p: f64 = row.sample_rate_percent.to_string().parse::<f64>().expect("a number") / 100.0;
        let usd = row.cost_usd.unwrap_or(0) as f64 / 1e12;
        for (index, value) in [1.0, usd, tokens as f64].into_iter().enumerate() {
            totals.estimated[2 * index] += value / p;
            totals.estimated[2 * index + 1] += (1.0 - p) / (p * p) * value * value;
        }
        totals.latencies_ms.extend(row.latency_ms);
    }
    for totals in groups.values_mut() {
        for index in [1, 3, 5] {
            totals.estimated[index] = totals.estimated[index].sqrt();
        }
        totals.latencies_ms.sort_unstable();
    }
    groups
}

#[derive(Debug, clickhouse::Row, serde::Deserialize)]
struct Found {
    start: u32,
    first: String,
    second: String,
    counted: Vec<i128>,
    estimated: Vec<f64>,
    p50: Option<f64>,
    p95: Option<f64>,
    p99: Option<f64>,
}

async fn found(source: &Source<'_>, table: Table) -> HashMap<Key, Found> {
    let [first, second] = table.grouping.columns();
    let query = format!(
        "SELECT toUnixTimestamp(bucket) AS start, toString({first}) AS first, toString({second}) AS second, \
         [toInt128(requests), toInt128(priced_requests), toInt128(cost_usd * 1000000000000), toInt128(prompt_tokens), \
          toInt128(completion_tokens), toInt128(priced_tokens), toInt128(error_requests)] AS counted, \
         [estimated_requests, estimated_requests_standard_error, toFloat64(estimated_cost_usd), \
          estimated_cost_usd_standard_error, estimated_total_tokens, estimated_total_tokens_standard_error] AS estimated, \
         latency_p50_ms AS p50, latency_p95_ms AS p95, latency_p99_ms AS p99 FROM {}",
        table.view()
    );
    let rows: Vec<Found> = source.client.query(&query).fetch_all().await.expect("a query");
    rows.into_iter().map(|row| ((row.start, row.first.clone(), row.second.clone()), row)).collect()
}

/// Within 1 % of one of the values next to the rank, and 0.05 ms of rounding.
#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small")]
fn is_percentile(sorted_ms: &[u32], percentile: f64, found: Option<f64>) -> bool {
    let Some(found) = found else { return sorted_ms.is_empty() };
    let rank = percentile * (sorted_ms.len() as f64 - 1.0);
    let near = |index: f64| f64::from(sorted_ms[index as usize]);
    let (low, high) = (near(rank.floor()), near(rank.ceil()));
    found >= low * 0.99 - 0.06 && found <= high * 1.01 + 0.06
}

async fn assert_equal(source: &Source<'_>) {
    // Minutes by user are gone where retention says so, and their hours come from the rows.
    let user_minutes_since = (source.now.0 / 1_000 - 8 * 86_400).div_euclid(86_400) * 86_400;
    for table in Table::all() {
        let mut expected = naive(source, table);
        let mut found = found(source, table).await;
        if (table.grouping, table.grain) == (Grouping::User, Grain::Minute) {
            expected.retain(|(start, ..), _| i64::from(*start) >= user_minutes_since);
            found.retain(|(start, ..), _| i64::from(*start) >= user_minutes_since);
        }
        let view = table.view();
        for (key, totals) in &expected {
            let Some(row) = found.get(key) else { panic!("{view} has no {key:?}") };
            assert_eq!(row.counted, totals.counted, "{view} {key:?}");
            for (found, expected) in row.estimated.iter().zip(totals.estimated) {
                assert!(
                    (found - expected).abs() <= 1e-9 * expected.abs().max(1.0),
                    "{view} {key:?}: {row:?} {totals:?}"
                );
            }
            for (percentile, found) in [(0.5, row.p50), (0.95, row.p95), (0.99, row.p99)] {
                assert!(is_percentile(&totals.latencies_ms, percentile, found), "{view} {key:?}: {row:?} {totals:?}");
            }
        }
        let ghosts: Vec<&Key> = found.keys().filter(|key| !expected.contains_key(*key)).collect();
        assert!(ghosts.is_empty(), "{view} has groups that are no more: {ghosts:?}");
    }
}

/// So that no pass sees the cases before.
async fn empty_all_tables(client: &Client) {
    let totals = Table::all().map(Table::rows);
    let others = ["request_rows", "rollup_passes", "recompute_requests"].map(ToOwned::to_owned);
    for table in totals.chain(others) {
        client.query(&format!("TRUNCATE TABLE {table}")).execute().await.expect("is emptied");
    }
}

#[test]
fn any_sequence_ends_in_the_totals_of_a_naive_computation() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let world = runtime.block_on(World::without_rollups());
    let config = Config { cases: CASES, failure_persistence: None, max_shrink_iters: 40, ..Config::default() };
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(config.cases);
    let seed = TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]);
    let mut runner = TestRunner::new_with_rng(Config { cases, ..config }, seed);
    let result = runner.run(&prop::collection::vec(step(), 4..16), |steps| {
        let mut source = Source {
            world: &world,
            client: world.database.client(),
            now: SystemClock.now(),
            valid: Vec::new(),
            withdrawn: Vec::new(),
            rollups: rollups(&world, true),
        };
        runtime.block_on(async {
            empty_all_tables(source.client).await;
            for step in &steps {
                source.take(step).await;
            }
            source.pass().await;
            assert_equal(&source).await;
        });
        Ok(())
    });
    runtime.block_on(world.stop());
    if let Err(error) = result {
        panic!("{error}");
    }
}
