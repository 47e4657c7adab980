//! Stopped and started at any moment: nothing lost, nothing twice, nobody orphaned.

use std::time::Duration;

use nix::sys::signal::Signal;
use rand::{RngExt, SeedableRng, rngs::StdRng};

use crate::{
    harness::{Options, PATIENCE, Server, command_line, engine_pid, send_signal, wait_until},
    totals::{assert_accounted, assert_exact},
};

#[test]
fn killed_and_stopped_under_load_every_total_is_exact() {
    let mut server = Server::start(Options::default().with_local_storage());
    server.keep_port();
    let mut random = StdRng::seed_from_u64(7);
    let mut simulation =
        server.start_simulation(&["--rate", "700", "--count", "6000", "--seed", "6000", "--faults", "duplicates=3"]);
    let mut ends = 0;
    while simulation.is_running() && ends < 8 {
        std::thread::sleep(Duration::from_millis(random.random_range(300..1_500)));
        match ends % 4 {
            3 => assert!(server.stop().success(), "a clean stop is a success"),
            _ => drop(server.kill()),
        }
        server.start_again();
        ends += 1;
    }
    assert!(ends >= 3, "the load was over before it was disturbed");
    let expected = simulation.finish();
    server.wait_until_counted(&expected, PATIENCE);
    assert_exact(&server, &expected);
    assert_accounted(&server, &expected);
}

#[test]
fn a_killed_engine_is_restarted_and_loses_nothing() {
    let server = Server::start(Options::default().with_local_storage());
    let mut simulation = server.start_simulation(&["--rate", "400", "--count", "2500", "--seed", "2500"]);
    let mut kills = 0;
    while simulation.is_running() && kills < 3 {
        std::thread::sleep(Duration::from_millis(1_200));
        if let Some(pid) = engine_pid(server.pid()) {
            send_signal(pid, Signal::SIGKILL);
            kills += 1;
            wait_until("a new engine", || engine_pid(server.pid()).filter(|new| *new != pid));
        }
    }
    assert!(kills >= 2, "the engine was killed {kills} times only");
    let expected = simulation.finish();
    wait_until("the engine to answer", || server.sql("SELECT 1").status.success().then_some(()));
    server.wait_until_worked_off(i64::try_from(expected.accepted).expect("fits"));
    assert_exact(&server, &expected);
    assert_accounted(&server, &expected);
}

#[test]
fn a_killed_server_leaves_no_engine_behind() {
    let mut server = Server::start(Options::default());
    let engine = engine_pid(server.pid()).expect("an engine");
    server.kill();
    wait_until("the engine to end", || (!command_line(engine).contains("\0engine\0")).then_some(()));
}

#[test]
fn two_servers_never_share_a_directory() {
    let server = Server::start(Options::default());
    let output = server.command().arg("serve").output().expect("a second server ends");
    assert!(!output.status.success());
    let message = String::from_utf8_lossy(&output.stderr);
    // The event log's directory, or the spool's where Kafka keeps the log.
    assert!(message.contains("error: ") && message.contains("already open in a running heliometer"), "{message}");
}
