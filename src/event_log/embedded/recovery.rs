//! Opening: from whatever an earlier process left to a log whose every readable record is durable.

use std::path::Path;

use rusqlite::Connection;

use super::{
    catalog::CommittedRange,
    segment::{self, Contents},
    shared::{SegmentView, View},
    slots::Slots,
    store_error::StoreError,
};

/// A log that is ready to be read and continued.
pub(super) struct Recovered {
    pub(super) view: View,
    /// The newest segment, which is continued.
    pub(super) active_id: u64,
    pub(super) active: Contents,
    pub(super) connection: Connection,
}

/// Recovers the segments in `dir`, or makes the first one.
///
/// `committed` guards against a segment that was taken away by hand: offsets that a group has seen are never
/// given out again.
pub(super) fn recover(dir: &Path, slots: Slots, committed: &[Option<CommittedRange>]) -> Result<Recovered, StoreError> {
    let mut segments = Vec::new();
    for id in segment::list(dir)? {
        let connection = segment::open_to_write(dir, id, slots).map_err(|error| name(&error, dir, id))?;
        let contents = open_one(&connection, slots).map_err(|error| name(&error, dir, id))?;
        segments.push((id, contents));
    }
    drop_stillborn(dir, &mut segments)?;
    let last_id = segments.last().map_or(0, |(id, _)| *id);
    let ends = segments.last().map_or_else(|| vec![0; slots.count()], |(_, contents)| contents.ends.clone());
    let bases: Vec<u64> =
        ends.iter().zip(committed).map(|(end, range)| range.map_or(*end, |range| range.highest.max(*end))).collect();
    if segments.is_empty() || bases != ends {
        if !segments.is_empty() {
            tracing::warn!("event log segments are missing; offsets continue after the last committed ones");
        }
        segment::create(dir, last_id + 1, slots, &bases)?;
        let connection = segment::open_to_write(dir, last_id + 1, slots)?;
        segments.push((last_id + 1, open_one(&connection, slots)?));
    }
    seal_all_but_last(dir, slots, &mut segments)?;
    let views = segments
        .iter()
        .map(|(id, contents)| SegmentView {
            id: *id,
            bases: contents.bases.clone(),
            newest_ms: contents.newest_ms.clone(),
            disk_bytes: segment::disk_bytes(dir, *id),
        })
        .collect();
    let Some((active_id, active)) = segments.pop() else {
        return Err(StoreError::Layout("the log has no segment".to_owned()));
    };
    let connection = segment::open_to_write(dir, active_id, slots)?;
    Ok(Recovered { view: View { segments: views, ends: active.ends.clone() }, active_id, active, connection })
}

fn open_one(connection: &Connection, slots: Slots) -> Result<Contents, StoreError> {
    segment::make_durable(connection)?;
    segment::load(connection, slots)
}

/// A segment that was made and, because it could not be opened, never used, while its predecessor went on growing.
fn drop_stillborn(dir: &Path, segments: &mut Vec<(u64, Contents)>) -> Result<(), StoreError> {
    let [.., (_, before), (id, newest)] = segments.as_slice() else { return Ok(()) };
    let is_behind = before.ends.iter().zip(&newest.bases).any(|(end, base)| end > base);
    if !is_behind {
        return Ok(());
    }
    if newest.ends != newest.bases || before.is_sealed {
        return Err(StoreError::Layout(format!("segment {id} holds offsets that its predecessor holds too")));
    }
    segment::remove(dir, *id)?;
    segments.pop();
    Ok(())
}

/// A segment whose successor exists is finished, also if a crash came between the two steps.
fn seal_all_but_last(dir: &Path, slots: Slots, segments: &mut [(u64, Contents)]) -> Result<(), StoreError> {
    let Some((_, closed)) = segments.split_last_mut() else { return Ok(()) };
    for (id, contents) in closed.iter_mut().filter(|(_, contents)| !contents.is_sealed) {
        let mut connection = segment::open_to_write(dir, *id, slots)?;
        segment::seal(&mut connection, slots, &contents.newest_ms)?;
        contents.is_sealed = true;
    }
    Ok(())
}

/// Says which file it is and what can be done about it.
fn name(error: &StoreError, dir: &Path, id: u64) -> StoreError {
    StoreError::Layout(format!(
        "{}: {error}. If it is damaged beyond repair, move it out of the directory; the log goes on without its records",
        segment::path(dir, id).display()
    ))
}
