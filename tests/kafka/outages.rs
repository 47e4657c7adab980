//! The broker or ClickHouse away for long, under load.

use std::time::{Duration, Instant};

use crate::{
    chaos::{RESENT_AT_MOST, longer_runs},
    clickhouse::ClickHouse,
    cluster::Cluster,
    harness::wait_until,
};

const MIB: u64 = 1024 * 1024;

#[test]
fn every_webhook_is_taken_while_the_broker_is_away() {
    const RATE: u64 = 200;
    let outage = Duration::from_secs(longer_runs(25, 60));
    let mut cluster = Cluster::start(&["ingress", "consumer-1", "consumer-2", "alerter-1"], "");
    let mut simulation = cluster.load(RATE, outage.as_secs() + 20, 3, "duplicates=3,reorder=5");
    std::thread::sleep(Duration::from_secs(4));
    let waiting =
        |cluster: &Cluster| cluster.metric("ingress", "heliometer_spool_records").expect("the ingress answers");
    assert!(waiting(&cluster) < 1.0, "the broker takes them first");
    let begun = Instant::now();
    cluster.broker.stop();
    cluster.tell("the broker has stopped");
    let mut deepest = 0.0_f64;
    while begun.elapsed() < outage {
        std::thread::sleep(Duration::from_millis(500));
        deepest = deepest.max(waiting(&cluster));
    }
    assert!(simulation.is_running(), "the load was over before the broker came back");
    cluster.tell(format!("{deepest} webhooks wait in the spool"));
    cluster.broker.start();
    cluster.tell("the broker is back");
    wait_until("the spool to drain", || (waiting(&cluster) < 1.0).then_some(()));
    cluster.tell("the spool is drained");
    let (expected, report) = simulation.finish_with_report();
    assert!(!report.contains("retried"), "the sender had to send again:\n{report}");
    assert_eq!((expected.accepted, expected.uncertain), (expected.sent, 0), "every webhook is answered 200, once");
    #[expect(clippy::cast_precision_loss, reason = "a small number")]
    let taken_meanwhile = (RATE * outage.as_secs()) as f64;
    assert!(deepest > taken_meanwhile * 0.7, "of {taken_meanwhile} webhooks only {deepest} were in the spool");
    let resent = cluster.assert_exact(&expected, RESENT_AT_MOST);
    let total = |metric: &str| cluster.metric("ingress", metric).unwrap_or_default();
    let (spooled, drained) = (total("heliometer_spooled_total"), total("heliometer_spool_drained_total"));
    assert!((spooled - drained).abs() < 0.5, "{spooled} spooled, {drained} drained");
    cluster.tell(format!("{} webhooks answered 200, {spooled} through the spool, {resent} resent", expected.accepted));
}

const CONSUMERS: [&str; 2] = ["consumer-1", "consumer-2"];

#[test]
fn a_consumer_keeps_its_memory_bound_while_clickhouse_is_away() {
    const RATE: u64 = 600;
    /// Of one consumer: records being worked on, and read ahead in its two partitions.
    const IN_FLIGHT_BYTES: u64 = 4 * MIB;
    const READ_AHEAD_BYTES: u64 = 2 * MIB;
    /// What a record takes beside its bytes while it is worked on: parsed, as a row, in the batch on its way. And what
    /// allocators keep: with that 54 MiB were seen. What waits in the log would be twice this bound and more.
    const BOUND_BYTES: u64 = 4 * (IN_FLIGHT_BYTES + READ_AHEAD_BYTES) + 48 * MIB;
    let outage = Duration::from_secs(longer_runs(30, 60));
    let config = format!(
        "[limits]\nmax_in_flight_bytes = {IN_FLIGHT_BYTES}\n\
         [event_log.properties]\n\"queued.max.messages.kbytes\" = \"{}\"\n",
        READ_AHEAD_BYTES / 1024 / 2
    );
    let mut cluster = Cluster::start(&["ingress", "consumer-1", "consumer-2", "alerter-1"], &config);
    let mut simulation = cluster.load(RATE, outage.as_secs() + 20, 4, "duplicates=3,reorder=5");
    std::thread::sleep(Duration::from_secs(8));
    // Without the program's own pages, which are read as they are needed.
    let before = CONSUMERS.map(|name| cluster.memory_bytes(name, "RssAnon"));
    let begun = Instant::now();
    ClickHouse::pause();
    cluster.tell("ClickHouse is stopped");
    let (mut is_paused, mut most_in_flight) = (true, [0.0_f64; 2]);
    while begun.elapsed() < outage {
        std::thread::sleep(Duration::from_millis(500));
        if is_paused && begun.elapsed() > outage / 3 {
            cluster.clickhouse.kill_for_good();
            cluster.tell("ClickHouse is killed");
            is_paused = false;
            // Whoever starts now waits for it.
            cluster.kill("alerter-1");
            cluster.start_again("alerter-1");
        }
        for (most, name) in most_in_flight.iter_mut().zip(CONSUMERS) {
            let now = cluster.metric(name, "heliometer_consumer_in_flight_bytes").expect("the consumer answers");
            *most = most.max(now);
        }
    }
    assert!(simulation.is_running(), "the load was over before ClickHouse came back");
    cluster.ensure_all_run();
    let sum = |metric: &str| CONSUMERS.map(|name| cluster.metric(name, metric).unwrap_or_default()).iter().sum::<f64>();
    let (lag, in_flight) = (sum("heliometer_log_lag_records"), sum("heliometer_consumer_in_flight_records"));
    cluster.tell(format!("in flight at most {most_in_flight:?} bytes, {in_flight} of {lag} records behind"));
    assert!(lag > 2.0 * in_flight, "the log keeps what the consumers do not take");
    cluster.clickhouse.start_again();
    cluster.tell("ClickHouse is back");
    let expected = simulation.finish();
    assert_eq!((expected.accepted, expected.uncertain), (expected.sent, 0), "no sender notices");
    cluster.assert_exact(&expected, 0);
    for ((name, before), in_flight) in CONSUMERS.into_iter().zip(before).zip(most_in_flight) {
        let peak = cluster.memory_bytes(name, "VmHWM") - cluster.memory_bytes(name, "RssFile");
        cluster.tell(format!("{name}: {} MiB before, {} MiB at most", before / MIB, peak / MIB));
        #[expect(clippy::cast_precision_loss, reason = "a small number")]
        let limit = IN_FLIGHT_BYTES as f64;
        assert!(in_flight >= limit, "{name} never came to its limit: {in_flight} bytes in flight");
        assert!(peak < before + BOUND_BYTES, "{name} took {} MiB more", (peak - before) / MIB);
    }
    cluster.tell(format!("{} requests exact", expected.sums.requests));
}
