//! `kill -9` of the one process and of its engine, from outside and from within, while events come twice, late, out of
//! order and with wrong dates. Afterwards every row and every total is compared with the ground truth.

use std::{
    os::unix::process::ExitStatusExt,
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;
use rand::RngExt;

use crate::{
    ground_truth::GroundTruth,
    harness::{Options, Server, engine_pid, send_signal, wait_until},
    kills::{Amount, Kills},
    totals::{assert_exact, extra_duplicates},
};

/// What of the whole program may be the end, and how likely each time that it is reached.
const POINTS: [(&str, f64); 7] = [
    ("ingress-appended", 0.002),
    ("fetch-deferred", 0.5),
    ("consumer-inserted", 0.5),
    ("consumer-written", 0.5),
    ("retry-written", 0.5),
    ("rollup-statement", 0.15),
    ("rollup-progress", 0.5),
];
/// What piled up is worked off by a program without optimisation on a shared machine.
const CATCH_UP: Duration = Duration::from_secs(600);

#[test]
fn killed_at_random_embedded_nothing_is_lost_or_counted_twice() {
    let amount = Amount::from_environment(8, 12_000, 500);
    let mut server = Server::start(
        Options::default()
            .with_local_storage()
            .with("HELIOMETER__RATE_LIMIT__FAILED_SIGNATURES_PER_15_MINUTES", 1_000_000),
    );
    server.keep_port();
    eprintln!("seed {}, {} kills over {} events", amount.seed, amount.kills, amount.events);
    let begun = Instant::now();
    let requests = server.directory.path().join("requests.csv");
    let mut kills = Kills::new(&amount, &requests);
    let arguments = amount.arguments(&requests);
    let mut simulation = server.start_simulation(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    while simulation.is_running() {
        std::thread::sleep(Duration::from_millis(20));
        if let Some(status) = server.has_ended() {
            crashed(&server, &mut kills, status);
            start_again(&mut server, &mut kills);
        } else if kills.is_due() {
            kill_something(&mut server, &mut kills);
        } else {
            continue;
        }
        eprintln!("{:6.1} s  {kills}", begun.elapsed().as_secs_f64());
    }
    let expected = simulation.finish();
    // The last life has nothing to fear.
    if server.has_ended().map(|status| crashed(&server, &mut kills, status)).is_none() {
        server.stop();
    }
    server.set("HELIOMETER_CRASH_POINTS", "");
    server.start_again();
    let findings = GroundTruth::read(&requests).compare(&server, &expected, CATCH_UP);
    eprintln!(
        "{} events sent, {} accepted, in {:.0} s; {}\n{findings}",
        amount.events,
        expected.accepted,
        begun.elapsed().as_secs_f64(),
        kills.summary(&server.log())
    );
    findings.assert_exact();
    kills.assert_wanted(&server.log(), &["engine", "serve"], &POINTS);
    assert_exact(&server, &expected);
    // A delivery that the sender calls uncertain may have been in the log before, at each of two kills.
    extra_duplicates(&server, &expected, i64::try_from(kills.count()).expect("few"));
    GroundTruth::read(&requests).assert_finds_lies(&server);
}

fn crashed(server: &Server, kills: &mut Kills, status: std::process::ExitStatus) {
    assert_eq!(status.signal(), Some(Signal::SIGKILL as i32), "serve ended by itself: {status}\n{}", server.log());
    kills.crashed();
}

/// Until a life begins that lasts long enough to say where it listens.
fn start_again(server: &mut Server, kills: &mut Kills) {
    loop {
        for (name, value) in kills.fate(&POINTS) {
            server.set(name, value);
        }
        match server.try_start_again() {
            Ok(()) => return,
            Err(status) => crashed(server, kills, status),
        }
    }
}

/// The program, or every fourth time only its engine.
fn kill_something(server: &mut Server, kills: &mut Kills) {
    let engine = engine_pid(server.pid()).filter(|_| kills.random.random_range(0..4) == 0);
    if let Some(engine) = engine {
        send_signal(engine, Signal::SIGKILL);
        kills.killed("engine");
        wait_until("the engine to be killed", || (engine_pid(server.pid()) != Some(engine)).then_some(()));
    } else {
        server.kill();
        kills.killed("serve");
        start_again(server, kills);
    }
}
