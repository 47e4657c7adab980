//! When the gate changes its mind.

use super::super::gate::{Gate, Waiting};
use crate::{
    domain::UtcMillis,
    event_log::{EventLogError, Offset},
    telemetry::Health,
};

const START: UtcMillis = UtcMillis(7);

fn empty() -> Gate {
    Gate::new(Offset(0), Offset(0), None, Health::default())
}

#[test]
fn it_stays_on_the_spool_while_an_append_to_it_is_under_way() {
    let gate = empty();
    assert!(gate.enter(1).expect("fits").is_none());
    let first = gate.begin("away");
    let second = gate.enter(1).expect("fits").expect("spooling");
    first.appended(Offset(0), START);
    drop(first);
    // Drained before the second is answered, and even with the second's record.
    gate.drained(Offset(1), None);
    assert!(gate.is_spooling());
    gate.drained(Offset(2), None);
    assert!(gate.is_spooling());
    second.appended(Offset(1), START);
    drop(second);
    assert!(!gate.is_spooling());
    assert_eq!(gate.waiting(), Waiting { records: 0, oldest: None });
}

#[test]
fn it_stays_on_the_spool_until_the_last_record_is_drained() {
    let gate = empty();
    let pass = gate.begin("away");
    pass.appended(Offset(0), START);
    pass.appended(Offset(1), UtcMillis(9));
    drop(pass);
    assert_eq!(gate.waiting(), Waiting { records: 2, oldest: Some(START) });
    gate.drained(Offset(1), Some(UtcMillis(9)));
    assert!(gate.is_spooling());
    assert_eq!(gate.waiting(), Waiting { records: 1, oldest: Some(UtcMillis(9)) });
    gate.drained(Offset(2), None);
    assert!(!gate.is_spooling());
}

#[test]
fn an_append_that_the_spool_refused_does_not_keep_it_there() {
    let gate = empty();
    drop(gate.begin("away"));
    assert!(!gate.is_spooling());
}

#[test]
fn what_was_left_by_an_earlier_run_comes_first() {
    let gate = Gate::new(Offset(3), Offset(5), None, Health::default());
    assert!(gate.enter(1).expect("fits").is_some());
    gate.drained(Offset(5), None);
    assert!(gate.enter(1).expect("fits").is_none());
}

#[test]
fn a_record_over_the_remotes_limit_is_not_spooled() {
    let gate = empty();
    gate.learn_limit(100);
    let _pass = gate.begin("away");
    assert!(gate.enter(100).expect("fits").is_some());
    assert!(matches!(gate.enter(101), Err(EventLogError::RecordTooLarge { size_bytes: 101, max_bytes: 100 })));
}
