//! Stops the consumer before it empties the topic into dead letters.
//!
//! When suddenly most messages cannot be read, the fault is rarely theirs: a bad release, a proxy that changes bodies.
//! The messages are safe in the log, so it is better to wait there for someone to look.

use std::collections::VecDeque;

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
}
