//! `kill -9` of everything, at random, under load. What was acknowledged is stored once and every total is exact.
//!
//! `HELIOMETER_CHAOS_RUNS` says how often each part is killed (2; `make chaos`: 10), `HELIOMETER_CHAOS_SEED` where the
//! seeds begin. A seed decides the load, the order of the kills and the pauses between them.

use std::{collections::BTreeMap, time::Duration};

use rand::{RngExt, SeedableRng, rngs::StdRng, seq::SliceRandom};

use crate::{
    clickhouse::ClickHouse,
    cluster::Cluster,
    harness::{Simulation, wait_until},
};

/// Messages that one disturbance may bring into the log twice: those that waited for the broker's answer, or were on
/// their way from the spool.
pub(crate) const RESENT_AT_MOST: i64 = 200;
const RATE: u64 = 250;
const LOAD_SECONDS: u64 = 36;
const FAULTS: &str =
    "duplicates=3,reorder=5,bad-signature=0.5,not-json=0.2,no-request-id=0.2,storage-404=2,storage-500=2";

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Ingress,
    Consumer,
    Leader,
    Broker,
    ClickHouse,
}

const PARTS: [Part; 5] = [Part::Ingress, Part::Consumer, Part::Leader, Part::Broker, Part::ClickHouse];

fn number_from(variable: &str, default: u64) -> u64 {
    let text = std::env::var(variable).ok().filter(|text| !text.is_empty());
    text.map_or(default, |text| text.parse().unwrap_or_else(|error| panic!("{variable}: {error}")))
}

/// `few` in CI, `many` for `make chaos`.
pub(crate) fn longer_runs(few: u64, many: u64) -> u64 {
    if number_from("HELIOMETER_CHAOS_LONG", 0) == 0 { few } else { many }
}

#[test]
fn killed_at_random_every_total_is_exact() {
    let (runs, first_seed) = (number_from("HELIOMETER_CHAOS_RUNS", 2), number_from("HELIOMETER_CHAOS_SEED", 1));
    let mut kills = BTreeMap::new();
    for seed in first_seed..first_seed + runs {
        eprintln!("seed {seed}");
        one_run(seed, &mut kills);
    }
    eprintln!("{runs} runs, every total exact; kill -9: {kills:?}");
    assert!(PARTS.iter().all(|part| kills.get(part) == Some(&runs)), "{kills:?}");
}

fn one_run(seed: u64, kills: &mut BTreeMap<Part, u64>) {
    let mut random = StdRng::seed_from_u64(seed);
    let mut cluster = Cluster::start(&["ingress", "consumer-1", "consumer-2", "alerter-1", "alerter-2"], "");
    let mut simulation = cluster.load(RATE, LOAD_SECONDS, seed, FAULTS);
    wait_until("the first rows", || (cluster.desk.count("(SELECT count() FROM requests)") > 0).then_some(()));
    let mut order = PARTS;
    order.shuffle(&mut random);
    let mut broker = None;
    for part in order {
        std::thread::sleep(Duration::from_millis(random.random_range(500..5_000)));
        let victim = kill(part, &mut cluster, &mut random, &mut simulation, &mut broker);
        cluster.tell(format!("killed {victim}"));
        *kills.entry(part).or_default() += 1;
    }
    let expected = simulation.finish();
    broker.expect("the broker was killed").join().expect("the broker comes back");
    let resent = cluster.assert_exact(&expected, 2 * RESENT_AT_MOST);
    cluster.tell(format!(
        "{} requests exact; {} deliveries uncertain, {resent} resent beyond them; the leader is {}",
        expected.sums.requests,
        expected.uncertain,
        cluster.wait_for_leader()
    ));
}

/// Kills one part, starts it again at once as a supervisor would, and says whom it met.
fn kill(
    part: Part,
    cluster: &mut Cluster,
    random: &mut StdRng,
    simulation: &mut Simulation,
    broker: &mut Option<std::thread::JoinHandle<()>>,
) -> &'static str {
    let victim = match part {
        Part::Ingress => "ingress",
        Part::Consumer => ["consumer-1", "consumer-2"][random.random_range(0..2)],
        Part::Leader => cluster.wait_for_leader(),
        Part::Broker => "the broker",
        Part::ClickHouse => "ClickHouse",
    };
    assert!(simulation.is_running(), "the load was over before {victim} was killed");
    cluster.ensure_all_run();
    match part {
        Part::Ingress | Part::Consumer | Part::Leader => {
            cluster.kill(victim);
            cluster.start_again(victim);
        }
        Part::Broker => *broker = Some(cluster.kill_broker()),
        Part::ClickHouse => ClickHouse::kill(),
    }
    victim
}
