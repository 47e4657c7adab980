//! `kill -9` of everything, at random, under load, from outside and from within, while events come twice, late, out of
//! order and with wrong dates. Afterwards every row and every total is compared with the ground truth.
//!
//! See `kills` for how much of it there is, and for what a seed decides.

use std::{collections::VecDeque, thread::JoinHandle, time::Duration};

use rand::seq::SliceRandom;

use crate::{
    clickhouse::ClickHouse,
    cluster::{Cluster, role},
    ground_truth::GroundTruth,
    harness::wait_until,
    kills::{Amount, Kills, number_from},
    totals::{assert_exact, extra_duplicates},
};

/// Messages that one disturbance may bring into the log twice: those that waited for the broker's answer, or were on
/// their way from the spool.
pub(crate) const RESENT_AT_MOST: i64 = 200;
/// What piled up is worked off by a program without optimisation on a shared machine.
const CATCH_UP: Duration = Duration::from_secs(600);

/// `few` in CI, `many` for `make chaos`.
pub(crate) fn longer_runs(few: u64, many: u64) -> u64 {
    if number_from("HELIOMETER_CHAOS_LONG", 0) == 0 { few } else { many }
}

const NAMES: [&str; 5] = ["ingress", "consumer-1", "consumer-2", "alerter-1", "alerter-2"];
const LEADER: &str = "leader";
const BROKER: &str = "broker";
const CLICKHOUSE: &str = "ClickHouse";
/// Who is killed from outside: each once before anybody is again.
const PARTS: [&str; 6] = ["ingress", "consumer-1", "consumer-2", LEADER, BROKER, CLICKHOUSE];

/// What of each role may be the end, and how likely each time that it is reached.
const INGRESS_POINTS: [(&str, f64); 2] = [("ingress-appended", 0.002), ("spool-delivered", 0.3)];
const CONSUMER_POINTS: [(&str, f64); 4] =
    [("fetch-deferred", 0.5), ("consumer-inserted", 0.3), ("consumer-written", 0.3), ("retry-written", 0.5)];
const ALERTER_POINTS: [(&str, f64); 2] = [("rollup-statement", 0.1), ("rollup-progress", 0.3)];

fn points(name: &'static str) -> &'static [(&'static str, f64)] {
    match role(name) {
        "ingress" => &INGRESS_POINTS,
        "consumer" => &CONSUMER_POINTS,
        _ => &ALERTER_POINTS,
    }
}

struct Chaos {
    cluster: Cluster,
    kills: Kills,
    order: VecDeque<&'static str>,
    broker: Option<JoinHandle<()>>,
}

#[test]
fn killed_at_random_over_kafka_nothing_is_lost_or_counted_twice() {
    let amount = Amount::from_environment(14, 15_000, 250);
    // A dead consumer is missed sooner, so that what it held does not wait through the next kills.
    let cluster = Cluster::start(&NAMES, "[event_log.properties]\n\"session.timeout.ms\" = \"6000\"\n");
    cluster.tell(format!("seed {}, {} kills over {} events", amount.seed, amount.kills, amount.events));
    let requests = cluster.desk.directory.path().join("requests.csv");
    let kills = Kills::new(&amount, &requests);
    let mut chaos = Chaos { cluster, kills, order: VecDeque::new(), broker: None };
    let arguments = amount.arguments(&requests);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let mut simulation = chaos.cluster.desk.start_simulation_to(&chaos.cluster.webhook_url(), &arguments);
    while simulation.is_running() {
        std::thread::sleep(Duration::from_millis(20));
        chaos.raise_the_crashed();
        if chaos.kills.is_due() {
            chaos.kill_next();
        }
    }
    let expected = simulation.finish();
    let Chaos { mut cluster, kills, broker, .. } = chaos;
    if let Some(broker) = broker {
        broker.join().expect("the broker comes back");
    }
    // The last lives have nothing to fear.
    for name in NAMES {
        cluster.kill(name);
        cluster.start_again(name);
    }
    wait_until("ClickHouse to answer", || cluster.desk.sql("SELECT 1").status.success().then_some(()));
    cluster.wait_until_whole();
    let findings = GroundTruth::read(&requests).compare(&cluster.desk, &expected, CATCH_UP);
    let logs = NAMES.map(|name| cluster.log(name)).concat();
    cluster.tell(format!(
        "{} events sent, {} accepted; {}\n{findings}",
        amount.events,
        expected.accepted,
        kills.summary(&logs)
    ));
    findings.assert_exact();
    kills.assert_wanted(&logs, &PARTS, &[&INGRESS_POINTS[..], &CONSUMER_POINTS, &ALERTER_POINTS].concat());
    assert_exact(&cluster.desk, &expected);
    let resent = i64::try_from(kills.count()).expect("few") * RESENT_AT_MOST;
    let resent = extra_duplicates(&cluster.desk, &expected, resent);
    cluster.tell(format!("{} deliveries uncertain, {resent} resent beyond them", expected.uncertain));
    GroundTruth::read(&requests).assert_finds_lies(&cluster.desk);
}

impl Chaos {
    /// Starts whoever ended at a crash point, as a supervisor would.
    fn raise_the_crashed(&mut self) {
        for name in self.cluster.crashed() {
            self.kills.crashed();
            self.cluster.tell(format!("{name} killed itself: {}", self.kills));
            self.start_again(name);
        }
    }

    fn start_again(&mut self, name: &'static str) {
        let fate = self.kills.fate(points(name));
        self.cluster.start_again_with(name, &fate);
    }

    /// Kills the next one from outside, starts it again at once, and says whom it met.
    fn kill_next(&mut self) {
        let part = self.next_part();
        match part {
            BROKER => {
                if let Some(broker) = self.broker.replace(self.cluster.kill_broker()) {
                    broker.join().expect("the broker came back");
                }
            }
            CLICKHOUSE => ClickHouse::kill(),
            name => {
                let Some(name) = (if name == LEADER { self.cluster.leader() } else { Some(name) }) else {
                    // Nobody leads yet: the others first.
                    self.order.push_back(LEADER);
                    return;
                };
                self.cluster.kill(name);
                self.start_again(name);
            }
        }
        self.kills.killed(part);
        self.cluster.tell(format!("killed {part}: {}", self.kills));
    }

    fn next_part(&mut self) -> &'static str {
        let is_broker_away = self.broker.as_ref().is_some_and(|broker| !broker.is_finished());
        loop {
            if self.order.is_empty() {
                let mut order = PARTS;
                order.shuffle(&mut self.kills.random);
                self.order.extend(order);
            }
            match self.order.pop_front() {
                Some(BROKER) if is_broker_away => {}
                Some(part) => return part,
                None => {}
            }
        }
    }
}
