//! Which segments are deleted, and that offsets go on afterwards.

use super::{Embedded, open, small};
use crate::{
    domain::UtcMillis,
    event_log::{
        EmbeddedLog, EventLog, Offset, Position, Topic,
        conformance::{ends_of, record, subscribe, take},
    },
};

/// Everything that the tests append is from before this time, less the retention.
const LATER: UtcMillis = UtcMillis::from_seconds(2 * 3600);

async fn append_segments(log: &EmbeddedLog, topic: Topic) -> Vec<Position> {
    let mut positions = Vec::new();
    for n in 0..20 {
        let record = record(&format!("key-{n}"), vec![0; 4000], 1000);
        positions.push(log.append(topic, record).await.expect("appends"));
    }
    positions
}

fn segments(log: &EmbeddedLog) -> usize {
    log.shared.look(|view| view.segments.len())
}

#[tokio::test]
async fn segments_are_kept_until_they_are_consumed_and_old() {
    let dir = Embedded::new().0;
    let log = open(dir.path(), &small()).expect("opens");
    let mut subscription = subscribe(&log, "group").await;
    let mut slow = subscribe(&log, "slow").await;
    append_segments(&log, Topic::Webhooks).await;
    let before = segments(&log);
    assert!(before > 3, "{before}");
    let records = take(&mut *subscription, 20).await;
    log.enforce_retention(LATER).await.expect("runs");
    assert_eq!(segments(&log), before, "not consumed");
    subscription.commit(&ends_of(&records)).await.expect("commits");
    log.enforce_retention(LATER).await.expect("runs");
    assert_eq!(segments(&log), before, "not consumed by all groups");
    let records = take(&mut *slow, 20).await;
    slow.commit(&ends_of(&records)).await.expect("commits");
    log.enforce_retention(UtcMillis::from_seconds(3601)).await.expect("runs");
    assert_eq!(segments(&log), before, "not old: its age is just the retention");
    log.enforce_retention(LATER).await.expect("runs");
    assert_eq!(segments(&log), 1);
    let first = Position { offset: Offset(0), ..records[0].position };
    assert!(log.read(first).await.expect("reads").is_none());
}

#[tokio::test]
async fn offsets_go_on_after_everything_was_deleted() {
    let dir = Embedded::new().0;
    let mut log = open(dir.path(), &small()).expect("opens");
    let mut next_offsets = [0; 4];
    for round in 0..3 {
        for position in append_segments(&log, Topic::DeadLetter).await {
            let next = &mut next_offsets[usize::from(position.partition.0)];
            assert_eq!(position.offset.0, *next, "round {round}");
            *next += 1;
        }
        log.enforce_retention(LATER).await.expect("deletes");
        for mark in log.watermarks(Topic::DeadLetter).await.expect("reads") {
            assert_eq!(mark.start, mark.end, "round {round}");
            assert_eq!(mark.end.0, next_offsets[usize::from(mark.partition.0)], "round {round}");
        }
        // Nothing to do twice: an empty segment is not closed again.
        let ids = log.shared.look(|view| view.segments.iter().map(|segment| segment.id).collect::<Vec<_>>());
        log.enforce_retention(LATER).await.expect("has nothing to do");
        assert_eq!(log.shared.look(|view| view.segments.iter().map(|s| s.id).collect::<Vec<_>>()), ids);
        log.close().await;
        log = open(dir.path(), &small()).expect("opens");
    }
}

#[tokio::test]
async fn a_segment_goes_only_when_all_its_topics_agree() {
    let dir = Embedded::new().0;
    let log = open(dir.path(), &small()).expect("opens");
    log.append(Topic::Webhooks, record("young", "", LATER.0)).await.expect("appends");
    append_segments(&log, Topic::DeadLetter).await;
    let before = segments(&log);
    log.enforce_retention(LATER).await.expect("runs");
    assert_eq!(segments(&log), before, "the webhook in the oldest segment is young");
    log.enforce_retention(UtcMillis(LATER.0 * 2)).await.expect("runs");
    assert_eq!(segments(&log), 1);
}

#[tokio::test]
async fn a_new_group_starts_at_what_is_left() {
    let dir = Embedded::new().0;
    let log = open(dir.path(), &small()).expect("opens");
    let old = append_segments(&log, Topic::Webhooks).await;
    log.enforce_retention(LATER).await.expect("deletes");
    let left = log.append(Topic::Webhooks, record("key-0", "left", LATER.0)).await.expect("appends");
    assert_eq!(left.partition, old[0].partition);
    let mut subscription = subscribe(&log, "new").await;
    let marks = log.watermarks(Topic::Webhooks).await.expect("reads");
    for (partition, offset) in subscription.committed().await.expect("reads") {
        assert_eq!(offset, marks[usize::from(partition.0)].start);
    }
    assert_eq!(take(&mut *subscription, 1).await[0].position, left);
}

#[tokio::test]
async fn offsets_a_group_has_seen_are_not_given_out_again_when_a_file_is_taken_away() {
    let dir = Embedded::new().0;
    let log = open(dir.path(), &small()).expect("opens");
    append_segments(&log, Topic::Webhooks).await;
    let mut subscription = subscribe(&log, "group").await;
    let records = take(&mut *subscription, 20).await;
    subscription.commit(&ends_of(&records)).await.expect("commits");
    let newest = log.shared.look(|view| view.segments.last().expect("is there").id);
    drop(subscription);
    log.close().await;
    super::super::segment::remove(dir.path(), newest).expect("removes");
    let log = open(dir.path(), &small()).expect("opens");
    for position in append_segments(&log, Topic::Webhooks).await {
        let end = ends_of(&records).iter().find(|(partition, _)| *partition == position.partition).map(|(_, end)| *end);
        assert!(Some(position.offset) >= end, "{position:?}");
    }
    take(&mut *subscribe(&log, "group").await, 20).await;
}

#[tokio::test]
async fn a_reader_behind_the_deleted_part_goes_on_behind_it() {
    let dir = Embedded::new().0;
    let log = open(dir.path(), &small()).expect("opens");
    append_segments(&log, Topic::Webhooks).await;
    let mut subscription = subscribe(&log, "group").await;
    let records = take(&mut *subscription, 20).await;
    subscription.commit(&ends_of(&records)).await.expect("commits");
    subscription.seek_to_time(UtcMillis(0)).await.expect("seeks");
    log.enforce_retention(LATER).await.expect("deletes");
    log.append(Topic::Webhooks, record("after", "", LATER.0)).await.expect("appends");
    assert_eq!(take(&mut *subscription, 1).await[0].key, "after");
}
