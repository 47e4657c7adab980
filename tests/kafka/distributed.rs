//! Roles in processes of their own, undisturbed and in a rebalance storm.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use rand::{RngExt, SeedableRng, rngs::StdRng};

use crate::{
    chaos::{RESENT_AT_MOST, longer_runs},
    cluster::Cluster,
    totals::assert_twenty_thousand_are_exact,
};

#[test]
fn twenty_thousand_events_are_exact_over_two_consumers() {
    let mut cluster = Cluster::start(&["ingress", "consumer-1", "consumer-2", "alerter-1"], "");
    assert_twenty_thousand_are_exact(&cluster.desk, &cluster.webhook_url());
    for consumer in ["consumer-1", "consumer-2"] {
        let share = cluster.metric(consumer, "heliometer_outcomes_total").unwrap_or_default();
        cluster.tell(format!("{consumer} decided {share} messages"));
        assert!(share > 2_000.0, "{consumer} had no share of the work");
    }
    cluster.stop_all();
}

/// Partitions that a consumer was given, from its log: the partition's number each time.
fn assignments(cluster: &Cluster, consumer: &str) -> Vec<String> {
    let log = cluster.log(consumer);
    let assigned = log.lines().filter(|line| line.contains("partition assigned"));
    assigned
        .filter_map(|line| Some(line.split("\"partition\":").nth(1)?.split(['}', ',']).next()?.to_owned()))
        .collect()
}

#[test]
fn a_storm_of_rebalances_changes_no_total() {
    const CONSUMERS: [&str; 4] = ["consumer-1", "consumer-2", "consumer-3", "consumer-4"];
    const SEED: u64 = 5;
    const PARTITIONS: usize = 8;
    let mut cluster = Cluster::start(
        &["ingress", "consumer-1", "consumer-2", "consumer-3", "consumer-4", "alerter-1"],
        // A dead member is missed sooner, so that the partitions move more often.
        &format!("[event_log]\npartitions = {PARTITIONS}\n[event_log.properties]\n\"session.timeout.ms\" = \"6000\"\n"),
    );
    let (mut random, seconds) = (StdRng::seed_from_u64(SEED), longer_runs(40, 120));
    let mut simulation = cluster.load(300, seconds + 5, SEED, "duplicates=5,reorder=5");
    let (mut stopped, mut killed, end) = (0, 0, Instant::now() + Duration::from_secs(seconds));
    while Instant::now() < end {
        std::thread::sleep(Duration::from_millis(random.random_range(500..3_000)));
        assert!(simulation.is_running(), "the load was over before the storm");
        cluster.ensure_all_run();
        let running = cluster.running("consumer");
        let away: Vec<&str> = CONSUMERS.into_iter().filter(|name| !running.contains(name)).collect();
        // Two to four of them.
        if away.len() == 2 || (away.len() == 1 && random.random_bool(0.5)) {
            let name = away[random.random_range(0..away.len())];
            cluster.start_again(CONSUMERS.into_iter().find(|known| *known == name).expect("is known"));
            cluster.tell(format!("{name} joins"));
            continue;
        }
        let name = running[random.random_range(0..running.len())];
        if random.random_bool(0.5) {
            cluster.stop(name);
            stopped += 1;
            cluster.tell(format!("{name} was stopped"));
        } else {
            cluster.kill(name);
            killed += 1;
            cluster.tell(format!("{name} was killed"));
        }
    }
    for name in CONSUMERS {
        if !cluster.running("consumer").contains(&name) {
            cluster.start_again(name);
        }
    }
    let expected = simulation.finish();
    let resent = cluster.assert_exact(&expected, RESENT_AT_MOST);
    let (mut moves, mut owners) = (0, BTreeMap::<String, BTreeSet<&str>>::new());
    for name in CONSUMERS {
        for partition in assignments(&cluster, name) {
            moves += 1;
            owners.entry(partition).or_default().insert(name);
        }
    }
    let shared = owners.values().filter(|owners| owners.len() > 1).count();
    cluster.tell(format!(
        "{} requests exact; {stopped} stopped, {killed} killed, {moves} assignments, {shared} of {PARTITIONS} partitions \
         had several owners, {resent} resent",
        expected.sums.requests,
    ));
    assert!(stopped >= 2 && killed >= 2, "no storm");
    assert!(moves >= 20 && shared >= 4, "the partitions hardly moved");
}
