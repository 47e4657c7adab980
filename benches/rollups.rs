//! What a rollup pass costs with many calls stored: `cargo bench --bench rollups -- 100000000`, or `make bench-rollups`.
//!
//! Fills an embedded engine with generated calls, computes all totals, and then measures passes after changes of several
//! kinds, each with the medians of what it repeats. `HELIOMETER_BENCH_DIR` names a directory to keep the calls in.

#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a benchmark that cannot go on ends, and prints its figures"
)]

mod calls;

use calls::{Calls, usual_timeout};

const REPEATS: usize = 5;

/// The median of several passes, each after an insert.
async fn measure(calls: &mut Calls, what: &str, count: u64, back: u64, minutes: u64) {
    let mut times = Vec::new();
    let mut touched = 0;
    for _ in 0..REPEATS {
        calls.insert(count, back, minutes).await;
        let (time, minutes) = calls.pass().await;
        times.push(time);
        touched = minutes;
    }
    times.sort_by(f64::total_cmp);
    println!("{what:<58} {touched:>6} minutes {:>9.0} ms", times[REPEATS / 2]);
}

fn main() {
    calls::runtime().block_on(bench(calls::asked(10_000_000)));
}

async fn bench(count: u64) {
    let (directory, _temporary) = calls::directory();
    Calls::fill(&directory, count).await;
    let mut calls = Calls::open(&directory, usual_timeout()).await;
    // What was inserted before is not looked for any more.
    tokio::time::sleep(3 * usual_timeout()).await;
    calls.pass().await;

    measure(&mut calls, "one call of the current minute", 1, 0, 1).await;
    measure(&mut calls, "1,000 calls of the current minute", 1_000, 0, 1).await;
    measure(&mut calls, "one late call, of 40 days ago", 1, 40 * 1_440, 1).await;
    measure(&mut calls, "101 late calls, scattered over three weeks", 101, 1_440, 21 * 1_440).await;
    measure(&mut calls, "100,000 calls of one hour (a second pass of them)", 100_000, 2_880, 60).await;
    calls.insert(1_000_000, 0, 1).await;
    let (time, minutes) = calls.pass().await;
    println!("{:<58} {minutes:>6} minutes {time:>9.0} ms", "one minute with a million calls");
    measure(&mut calls, "one more call of that minute", 1, 0, 1).await;
    let mut times = Vec::new();
    for _ in 0..REPEATS {
        times.push(calls.pass().await.0);
    }
    times.sort_by(f64::total_cmp);
    println!("{:<58} {:>6} minutes {:>9.0} ms", "nothing", 0, times[REPEATS / 2]);
    let sizes: Vec<(String, u64, u64)> = calls
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
    calls.close().await;
}
