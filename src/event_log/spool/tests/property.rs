//! Whatever the remote does, what was acknowledged arrives, in the order of its key.

use std::{collections::BTreeSet, sync::Arc};

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use tokio::task::JoinSet;

use super::{Behaviour, HASTY, Remote, Run, check, directory, open, settings};
use crate::event_log::EventLog as _;

const KEYS: usize = 6;
const RUNS: u64 = 3;
const APPENDS_PER_RUN: u64 = 60;

/// One writer of one key: each append follows the answer to the one before. Between them it changes the remote's mind.
async fn write(run: Arc<Run>, remote: Arc<Remote>, key: usize, round: u64, seed: u64) -> BTreeSet<(usize, u64)> {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut acknowledged = BTreeSet::new();
    for number in round * APPENDS_PER_RUN..(round + 1) * APPENDS_PER_RUN {
        if run.append(&key.to_string(), &format!("{key}/{number}")).await.is_ok() {
            acknowledged.insert((key, number));
        }
        match rng.random_range(0..60) {
            0 => remote.become_(Behaviour::Down),
            1 => remote.become_(Behaviour::Hang),
            2 => remote.become_(Behaviour::FailEvery(rng.random_range(2..9))),
            3..=7 => remote.become_(Behaviour::Up),
            8..=12 => tokio::time::sleep(std::time::Duration::from_millis(2)).await,
            _ => {}
        }
    }
    acknowledged
}

async fn with_seed(seed: u64) {
    let (remote, dir) = (Remote::new(Behaviour::Up), directory());
    let mut acknowledged = BTreeSet::new();
    for round in 0..RUNS {
        let run = Arc::new(open(HASTY, &remote, dir.path(), &settings()).await);
        let mut writers = JoinSet::new();
        for key in 0..KEYS {
            let seed = seed * 1000 + round * 100 + key as u64;
            writers.spawn(write(Arc::clone(&run), Arc::clone(&remote), key, round, seed));
        }
        for mut written in writers.join_all().await {
            acknowledged.append(&mut written);
        }
        if round + 1 == RUNS {
            remote.become_(Behaviour::Up);
            run.until_direct().await;
        }
        run.log.close().await;
    }
    assert_eq!(acknowledged.len() as u64, KEYS as u64 * RUNS * APPENDS_PER_RUN, "the spool has room");
    check(&remote, &acknowledged);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_the_remote_does_all_arrives_in_order() {
    for seed in 1..=6 {
        with_seed(seed).await;
    }
}
