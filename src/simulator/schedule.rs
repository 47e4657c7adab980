//! The order of deliveries: events in turn, some held back, some a second time.

use std::{cmp::Reverse, collections::BinaryHeap};

use super::Plan;
use crate::domain::{Clock, UtcMillis};

/// One delivery to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Delivery {
    pub(super) number: u64,
    /// A duplicate carries its first delivery's time, so that its bytes are the same.
    pub(super) signed_at: UtcMillis,
}

/// What waits for a later turn. Ordered by turn.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Held {
    Reordered { turn: u64, number: u64 },
    Duplicate { turn: u64, delivery: Delivery },
}

impl Held {
    const fn turn(&self) -> u64 {
        match self {
            Self::Reordered { turn, .. } | Self::Duplicate { turn, .. } => *turn,
        }
    }
}

/// Gives the deliveries of a plan. Holds back at most as many as the largest distances allow.
pub(super) struct Schedule<'a> {
    plan: &'a Plan,
    clock: &'a dyn Clock,
    turn: u64,
    held: BinaryHeap<Reverse<(u64, Held)>>,
}

impl<'a> Schedule<'a> {
    pub(super) fn new(plan: &'a Plan, clock: &'a dyn Clock) -> Self {
        Self { plan, clock, turn: 0, held: BinaryHeap::new() }
    }

    fn hold(&mut self, held: Held) {
        self.held.push(Reverse((held.turn(), held)));
    }

    /// The first delivery of an event, now; its duplicate goes on hold.
    fn first(&mut self, number: u64) -> Delivery {
        let delivery = Delivery { number, signed_at: self.clock.now() };
        if let Some(distance) = self.plan.duplicate_distance(number) {
            self.hold(Held::Duplicate { turn: self.turn + distance, delivery });
        }
        delivery
    }
}

impl Iterator for Schedule<'_> {
    type Item = Delivery;

    fn next(&mut self) -> Option<Delivery> {
        loop {
            let is_over = self.turn >= self.plan.count();
            if self.held.peek().is_some_and(|Reverse((turn, _))| is_over || *turn <= self.turn) {
                return match self.held.pop()?.0.1 {
                    Held::Reordered { number, .. } => Some(self.first(number)),
                    Held::Duplicate { delivery, .. } => Some(delivery),
                };
            }
            if is_over {
                return None;
            }
            let number = self.turn;
            self.turn += 1;
            match self.plan.faults().reorder_distance(self.plan.seed(), number) {
                Some(distance) => self.hold(Held::Reordered { turn: self.turn + distance, number }),
                None => return Some(self.first(number)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::plan::tests::{NOW, plan},
        *,
    };
    use crate::domain::ManualClock;

    fn numbers(faults: &str) -> Vec<u64> {
        let (plan, clock) = (plan(3, 1000, faults), ManualClock::at(NOW));
        Schedule::new(&plan, &clock).map(|delivery| delivery.number).collect()
    }

    #[test]
    fn without_faults_events_come_in_turn() {
        assert_eq!(numbers(""), (0..1000).collect::<Vec<_>>());
    }

    #[test]
    fn reordering_loses_nothing() {
        for faults in ["reorder=30", "reorder=100"] {
            let mut shuffled = numbers(faults);
            assert_ne!(shuffled, (0..1000).collect::<Vec<_>>());
            shuffled.sort_unstable();
            assert_eq!(shuffled, (0..1000).collect::<Vec<_>>());
        }
    }

    #[test]
    fn duplicates_come_later_with_the_same_bytes() {
        let (plan, clock) = (plan(3, 1000, "duplicates=20,reorder=20"), ManualClock::at(NOW));
        let mut first_times = std::collections::HashMap::new();
        let mut duplicates = 0;
        for delivery in Schedule::new(&plan, &clock) {
            clock.advance(std::time::Duration::from_secs(1));
            if let Some(first) = first_times.insert(delivery.number, delivery) {
                assert_eq!(first, delivery);
                duplicates += 1;
            }
        }
        assert_eq!(first_times.len(), 1000);
        assert!((150..250).contains(&duplicates), "{duplicates}");
    }

    #[test]
    fn little_is_held_back() {
        let (plan, clock) = (plan(3, 20_000, "duplicates=100,reorder=50"), ManualClock::at(NOW));
        let mut schedule = Schedule::new(&plan, &clock);
        let mut most = 0;
        while schedule.next().is_some() {
            most = most.max(schedule.held.len());
        }
        assert!(most < 600, "{most} held back");
    }
}
