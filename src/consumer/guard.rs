//! Stops the consumer before it empties the topic into dead letters.
//!
//! When suddenly most messages cannot be read, the fault is rarely theirs: a bad release, a proxy that changes bodies.
//! The messages are safe in the log, so it is better to wait there for someone to look. What was seen before a restart counts
//! too: a supervisor that starts the program again and again must not empty the topic little by little.

use std::collections::VecDeque;

use tokio_util::sync::CancellationToken;

use super::{ConsumerParts, backoff};
use crate::{
    event_log::Partition,
    store::{RecentOutcome, recent_outcomes},
};

/// Knows which of the last messages became dead letters.
#[derive(Debug)]
pub(super) struct Guard {
    window: usize,
    max_share_percent: u8,
    /// `true` for a dead letter; at most `window` of them.
    recent: VecDeque<bool>,
    dead: usize,
}

impl Guard {
    /// At most `max_share_percent` of the last `window` messages may be dead letters; 100 allows any.
    pub(super) const fn new(window: usize, max_share_percent: u8) -> Self {
        Self { window, max_share_percent, recent: VecDeque::new(), dead: 0 }
    }

    /// Takes the last outcomes of `partitions` from ClickHouse, unless messages were seen already. `false` at shutdown.
    pub(super) async fn remember(
        &mut self,
        parts: &ConsumerParts,
        partitions: &[Partition],
        shutdown: &CancellationToken,
    ) -> bool {
        if !self.recent.is_empty() {
            return true;
        }
        let mut outcomes = Vec::new();
        for partition in partitions {
            let mut pause = backoff::FIRST;
            loop {
                match recent_outcomes(&parts.client, parts.timeout, *partition, self.window).await {
                    Ok(recent) => break outcomes.extend(recent),
                    Err(error) => tracing::warn!(%error, "recent outcomes could not be read; trying again"),
                }
                if !backoff::wait(&mut pause, shutdown).await {
                    return false;
                }
            }
            // So that many partitions take no more memory than one.
            outcomes = newest(outcomes, self.window);
        }
        for outcome in outcomes.iter().rev() {
            self.push(outcome.is_dead_letter);
        }
        true
    }

    /// A message was understood.
    pub(super) fn understood(&mut self) {
        self.push(false);
    }

    /// Whether one more message may become a dead letter. Before `window` messages were seen, it always may: a share of
    /// few messages says little.
    pub(super) fn allows_dead_letter(&mut self) -> bool {
        self.push(true);
        self.recent.len() < self.window || self.dead * 100 <= self.window * usize::from(self.max_share_percent)
    }

    fn push(&mut self, is_dead: bool) {
        self.recent.push_back(is_dead);
        self.dead += usize::from(is_dead);
        if self.recent.len() > self.window {
            self.dead -= usize::from(self.recent.pop_front() == Some(true));
        }
    }
}

/// The `count` newest, newest first.
fn newest(mut outcomes: Vec<RecentOutcome>, count: usize) -> Vec<RecentOutcome> {
    // Stable: those of one partition and millisecond stay in their order.
    outcomes.sort_by_key(|outcome| std::cmp::Reverse(outcome.received_at));
    outcomes.truncate(count);
    outcomes
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many of these messages are worked on before the guard stops: `x` cannot be read.
    fn stops_after(guard: &mut Guard, messages: &str) -> Option<usize> {
        messages.chars().position(|message| {
            if message == 'x' {
                return !guard.allows_dead_letter();
            }
            guard.understood();
            false
        })
    }

    #[test]
    fn stops_when_most_of_the_last_messages_are_dead() {
        for (window, percent, messages, expected) in [
            (4, 50, "xxx", None),
            (4, 50, "xxxx", Some(3)),
            (4, 50, "..xx..xx..xx", None),
            (4, 50, "........xxx", Some(10)),
            (4, 50, "x.x.x.x.xx", Some(9)),
            // Only a dead letter stops: the message that was understood can be stored.
            (4, 50, "xxx.", None),
            (4, 0, "....x", Some(4)),
            (1, 50, "x", Some(0)),
            (3, 99, "xxx", Some(2)),
            (3, 100, "xxxxxxxxxxxxxxxxxx", None),
        ] {
            assert_eq!(
                stops_after(&mut Guard::new(window, percent), messages),
                expected,
                "{window} {percent} {messages}"
            );
        }
    }

    #[test]
    fn remembers_no_more_than_its_window() {
        let mut guard = Guard::new(10, 100);
        for index in 0..1_000 {
            if index % 3 == 0 {
                guard.allows_dead_letter();
            } else {
                guard.understood();
            }
            assert!(guard.recent.len() <= 10);
            assert_eq!(guard.dead, guard.recent.iter().filter(|is_dead| **is_dead).count());
        }
    }
    #[test]
    fn the_newest_of_all_partitions_count() {
        let outcome = |received_at, is_dead_letter| RecentOutcome { received_at, is_dead_letter };
        let outcomes = vec![outcome(5, true), outcome(1, false), outcome(9, false), outcome(3, true)];
        assert_eq!(newest(outcomes, 2), [outcome(9, false), outcome(5, true)]);
    }
}
