//! Random sequences of operations against a model that is a vector for each partition.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::{Embedded, open, small};
use crate::{
    domain::UtcMillis,
    event_log::{
        EmbeddedLog, EventLog, LogEvent, Offset, Partition, Topic,
        conformance::{ALL_YOU_CAN_READ, next, record},
    },
};

#[derive(Clone, Debug)]
enum Step {
    Append {
        key: u8,
        size: usize,
    },
    /// The group reads to the end, and commits if told so.
    Consume {
        commits: bool,
    },
    Reopen,
    Retain,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => (any::<u8>(), 0..6000_usize).prop_map(|(key, size)| Step::Append { key, size }),
        2 => any::<bool>().prop_map(|commits| Step::Consume { commits }),
        1 => Just(Step::Reopen),
        1 => Just(Step::Retain),
    ];
    proptest::collection::vec(step, 1..60)
}

#[derive(Default)]
struct Model {
    /// By partition, the key of each offset.
    written: BTreeMap<Partition, Vec<Vec<u8>>>,
    committed: BTreeMap<Partition, u64>,
}

async fn consume(log: &EmbeddedLog, model: &mut Model, commits: bool) {
    let mut subscription = log.subscribe(Topic::Webhooks, "group", ALL_YOU_CAN_READ).await.expect("subscribes");
    let total: u64 = model.written.values().map(|keys| keys.len() as u64).sum();
    let mut positions = model.committed.clone();
    while positions.values().sum::<u64>() < total {
        if let LogEvent::Records(partition, records) = next(&mut *subscription).await.expect("reads") {
            for record in records {
                let expected = positions.entry(partition).or_default();
                assert_eq!(record.position.offset.0, *expected, "in order, from the committed offset, without gaps");
                let index = usize::try_from(*expected).expect("is small");
                assert_eq!(record.key, model.written[&partition][index]);
                *expected += 1;
            }
        }
    }
    if commits {
        let offsets: Vec<_> = positions.iter().map(|(partition, offset)| (*partition, Offset(*offset))).collect();
        subscription.commit(&offsets).await.expect("commits");
        model.committed = positions;
    }
}

async fn run(steps: Vec<Step>) {
    let dir = Embedded::new().0;
    let mut log = open(dir.path(), &small()).expect("opens");
    let mut model = Model::default();
    consume(&log, &mut model, false).await;
    for step in steps {
        match step {
            Step::Append { key, size } => {
                let appended = log.append(Topic::Webhooks, record(&key.to_string(), vec![key; size], 0)).await;
                let position = appended.expect("appends");
                let keys = model.written.entry(position.partition).or_default();
                assert_eq!(position.offset.0, keys.len() as u64);
                keys.push(key.to_string().into_bytes());
            }
            Step::Consume { commits } => consume(&log, &mut model, commits).await,
            Step::Reopen => {
                log.close().await;
                log = open(dir.path(), &small()).expect("opens");
            }
            Step::Retain => log.enforce_retention(UtcMillis::from_seconds(7200)).await.expect("runs"),
        }
        for mark in log.watermarks(Topic::Webhooks).await.expect("reads") {
            let end = model.written.get(&mark.partition).map_or(0, |keys| keys.len() as u64);
            assert_eq!(mark.end.0, end);
            let committed = model.committed.get(&mark.partition).copied().unwrap_or(0);
            assert!(mark.start.0 <= committed, "what is not consumed is kept");
        }
    }
    consume(&log, &mut model, true).await;
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    #[test]
    fn behaves_like_a_vector_for_each_partition(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        runtime.expect("starts").block_on(run(steps));
    }
}
