//! Deleting whole segments, oldest first.
//!
//! A segment goes when, for each partition that has records in it, every group that ever subscribed to the topic
//! has committed past its last one, and the newest of them is older than the retention. Topics that nobody
//! subscribed to are kept by age alone. Only a prefix of the log is ever deleted, so a partition has no gaps
//! between its start and end offsets.

use super::{
    catalog::CommittedRange,
    segment,
    shared::{Shared, View},
};
use crate::{domain::UtcMillis, event_log::EventLogError};

/// Whether the segment being written holds records and all of them may go: then it is worth closing.
pub(super) fn is_active_segment_expired(shared: &Shared, oldest_kept: UtcMillis) -> Result<bool, EventLogError> {
    let committed = shared.catalog.committed_ranges(shared.slots)?;
    Ok(shared.look(|view| {
        let Some(active) = view.segments.len().checked_sub(1) else { return false };
        let has_records =
            shared.slots.all().any(|slot| view.segments[active].bases[slot.index] < view.ends[slot.index]);
        // Only a prefix can go, so all segments must agree before the active one is closed for it.
        has_records && (0..=active).all(|index| may_go(shared, view, index, &committed, oldest_kept))
    }))
}

/// Deletes the closed segments that may go; returns how many.
pub(super) fn delete_expired(shared: &Shared, oldest_kept: UtcMillis) -> Result<usize, EventLogError> {
    let committed = shared.catalog.committed_ranges(shared.slots)?;
    let mut deleted = 0;
    loop {
        // Out of the view first: nobody starts to read a file that is going.
        let oldest = shared.change(|view| {
            let is_closed = view.segments.len() > 1;
            (is_closed && may_go(shared, view, 0, &committed, oldest_kept)).then(|| view.segments.remove(0))
        });
        let Some(oldest) = oldest else { return Ok(deleted) };
        if let Err(error) = segment::remove(&shared.dir, oldest.id) {
            shared.change(|view| view.segments.insert(0, oldest));
            return Err(EventLogError::Storage { doing: "deleting a segment", message: error.to_string() });
        }
        tracing::info!(segment = oldest.id, bytes = oldest.disk_bytes, "deleted a consumed event log segment");
        deleted += 1;
    }
}

fn may_go(
    shared: &Shared,
    view: &View,
    index: usize,
    committed: &[Option<CommittedRange>],
    oldest_kept: UtcMillis,
) -> bool {
    let segment = &view.segments[index];
    shared.slots.all().all(|slot| {
        let end = view.end_in(index, slot);
        let is_empty = segment.bases[slot.index] >= end;
        let is_consumed = committed[slot.index].is_none_or(|range| range.lowest >= end);
        is_empty || (is_consumed && segment.newest_ms[slot.index] < oldest_kept.0)
    })
}
