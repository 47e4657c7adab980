//! Which offset may be committed, when work ends out of order.

use std::collections::BTreeSet;

use crate::event_log::Offset;

/// The unfinished offsets of one partition.
#[derive(Debug, Default)]
pub(super) struct OffsetTracker {
    unfinished: BTreeSet<Offset>,
    /// After the last offset that was started.
    next: Option<Offset>,
}

impl OffsetTracker {
    pub(super) fn start(&mut self, offset: Offset) {
        self.unfinished.insert(offset);
        self.next = Some(self.next.map_or(offset.next(), |next| next.max(offset.next())));
    }

    pub(super) fn finish(&mut self, offset: Offset) {
        self.unfinished.remove(&offset);
    }

    /// The offset to commit: every smaller one is finished. `None` before anything was started.
    pub(super) fn committable(&self) -> Option<Offset> {
        self.unfinished.first().copied().or(self.next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commits_only_behind_the_oldest_unfinished() {
        let mut tracker = OffsetTracker::default();
        assert_eq!(tracker.committable(), None);
        for offset in 5..8 {
            tracker.start(Offset(offset));
        }
        tracker.finish(Offset(6));
        assert_eq!(tracker.committable(), Some(Offset(5)));
        tracker.finish(Offset(5));
        assert_eq!(tracker.committable(), Some(Offset(7)));
        tracker.finish(Offset(7));
        assert_eq!(tracker.committable(), Some(Offset(8)));
    }
}
