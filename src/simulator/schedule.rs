//! The order of deliveries: events in turn, some held back, some for long, some again.

use std::{cmp::Reverse, collections::BinaryHeap};

use super::Plan;
use crate::domain::{Clock, UtcMillis};

/// One delivery to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Delivery {
    pub(super) number: u64,
    /// A duplicate carries its first delivery's time, so that its bytes are the same; a late event the time at which it
    /// was due.
    pub(super) signed_at: UtcMillis,
}

/// What waits for a later turn. Ordered by turn.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Held {
    Reordered { turn: u64, number: u64 },
    Late { turn: u64, delivery: Delivery },
    Duplicate { turn: u64, delivery: Delivery },
}

impl Held {
    const fn turn(&self) -> u64 {
        match self {
            Self::Reordered { turn, .. } | Self::Late { turn, .. } | Self::Duplicate { turn, .. } => *turn,
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

    fn due_now(&self, number: u64) -> Delivery {
        Delivery { number, signed_at: self.clock.now() }
    }

    /// The first delivery of an event; its duplicates go on hold.
    fn first(&mut self, delivery: Delivery) -> Delivery {
        for distance in self.plan.duplicate_distances(delivery.number) {
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
                    Held::Reordered { number, .. } => Some(self.first(self.due_now(number))),
                    Held::Late { delivery, .. } => Some(self.first(delivery)),
                    Held::Duplicate { delivery, .. } => Some(delivery),
                };
            }
            if is_over {
                return None;
            }
            let number = self.turn;
            self.turn += 1;
            let (faults, seed) = (self.plan.faults(), self.plan.seed());
            if let Some(distance) = faults.late_distance(seed, number) {
                self.hold(Held::Late { turn: self.turn + distance, delivery: self.due_now(number) });
            } else if let Some(distance) = faults.reorder_distance(seed, number) {
                self.hold(Held::Reordered { turn: self.turn + distance, number });
            } else {
                return Some(self.first(self.due_now(number)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            faults::{DUPLICATE_DISTANCE, MAX_DUPLICATES},
            plan::tests::{NOW, plan},
        },
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
        assert!((300..450).contains(&duplicates), "{duplicates}");
    }

    #[test]
    fn late_events_come_with_the_bytes_of_when_they_were_due() {
        let (plan, clock) = (plan(3, 60_000, "late=1,duplicates=20"), ManualClock::at(NOW));
        let (mut latest, mut late, mut numbers) = (0, 0, std::collections::HashSet::new());
        for delivery in Schedule::new(&plan, &clock) {
            clock.advance(std::time::Duration::from_secs(1));
            if numbers.insert(delivery.number) && delivery.number < latest {
                late += 1;
                let distance = plan.faults().late_distance(3, delivery.number).expect("is late");
                // Those that are due after the last event come with it.
                let least = distance.min(60_000 - delivery.number);
                assert!(clock.now().since(delivery.signed_at).as_secs() >= least, "{delivery:?}");
            }
            latest = latest.max(delivery.number);
        }
        assert_eq!(numbers.len(), 60_000);
        assert!((450..750).contains(&late), "{late}");
    }

    #[test]
    fn little_is_held_back() {
        for (faults, bound) in [
            ("duplicates=100,reorder=50", DUPLICATE_DISTANCE * MAX_DUPLICATES + 100),
            ("duplicates=100,late=2", DUPLICATE_DISTANCE * MAX_DUPLICATES + 1_200),
        ] {
            let (plan, clock) = (plan(3, 100_000, faults), ManualClock::at(NOW));
            let mut schedule = Schedule::new(&plan, &clock);
            let mut most = 0;
            while schedule.next().is_some() {
                most = most.max(schedule.held.len() as u64);
            }
            assert!(most < bound, "{faults}: {most} held back");
        }
    }
}
