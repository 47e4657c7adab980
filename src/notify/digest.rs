//! One message in place of the many that waited while a receiver was away.

use std::collections::{HashMap, HashSet};

use super::{
    Event, Notification,
    wording::{headline, symbol, time},
};
use crate::domain::UtcMillis;

/// Alerts listed under each heading.
pub(super) const MAX_SHOWN: usize = 10;
/// The last line of every digest.
pub(super) const WHERE_TO_LOOK: &str = "Every step: heliometer sql \"SELECT * FROM alerts ORDER BY at DESC\"";

/// What happened while nothing could be delivered.
#[derive(Clone, Debug, PartialEq)]
pub struct Digest {
    /// Names this digest, by the messages in it.
    pub id: String,
    /// When the first of the messages was decided.
    pub from: UtcMillis,
    /// When the digest was made.
    pub at: UtcMillis,
    /// How many messages it stands for.
    pub messages: usize,
    /// Alerts that still fire, the most urgent first.
    pub firing: Vec<DigestEntry>,
    /// Alerts that fired meanwhile, or before, and are over.
    pub ended: Vec<DigestEntry>,
    /// A page to link to; empty for none.
    pub dashboard_url: String,
}

/// The page that all of them link to; where they only differ behind the `?`, what is before it.
fn common_page(waiting: &[Notification]) -> String {
    let Some(first) = waiting.first() else { return String::new() };
    let page = |url: &str| url.split('?').next().unwrap_or_default().to_owned();
    let (whole, begin) = (&first.dashboard_url, page(&first.dashboard_url));
    if waiting.iter().all(|other| other.dashboard_url == *whole) {
        whole.clone()
    } else if waiting.iter().all(|other| page(&other.dashboard_url) == begin) {
        begin
    } else {
        String::new()
    }
}

/// One alert in a digest.
#[derive(Clone, Debug, PartialEq)]
pub struct DigestEntry {
    /// The last message that says that it fires; of an alert that was told before, the one that says that it ended.
    pub notification: Notification,
    /// When it ended, if it did.
    pub ended_at: Option<UtcMillis>,
}

impl Digest {
    /// Puts `waiting`, oldest first, together. `ended` says by fingerprint which alerts are over by now, and since when:
    /// more than the messages do, since not every end is told.
    #[must_use]
    pub fn new(waiting: &[Notification], ended: &HashMap<String, UtcMillis>, now: UtcMillis) -> Self {
        let mut told: HashMap<&str, &Notification> = HashMap::new();
        for notification in waiting {
            let known = told.entry(&notification.fingerprint).or_insert(notification);
            if notification.event != Event::Resolved {
                *known = notification;
            }
        }
        let mut seen = HashSet::new();
        let (mut firing, mut over) = (Vec::new(), Vec::new());
        for Notification { fingerprint, .. } in waiting {
            let Some(notification) = told.get(fingerprint.as_str()).filter(|_| seen.insert(fingerprint)) else {
                continue;
            };
            let ended_at = ended.get(fingerprint).copied();
            let entry = DigestEntry { notification: (*notification).clone(), ended_at };
            if ended_at.is_some() { over.push(entry) } else { firing.push(entry) }
        }
        firing.sort_by_key(|entry| std::cmp::Reverse(entry.notification.severity as u8));
        over.sort_by_key(|entry| std::cmp::Reverse(entry.notification.severity as u8));
        Self {
            id: waiting.first().map(|first| format!("digest-{}", first.id)).unwrap_or_default(),
            from: waiting.first().map_or(now, |first| first.at),
            at: now,
            messages: waiting.len(),
            firing,
            ended: over,
            dashboard_url: common_page(waiting),
        }
    }

    /// One line: how many, and how many of them matter now.
    #[must_use]
    pub fn title(&self) -> String {
        let alerts = self.firing.len() + self.ended.len();
        let symbol = self.firing.first().map_or("✅", |worst| symbol(Event::Firing, worst.notification.severity));
        let plural = if alerts == 1 { "" } else { "s" };
        let now = match self.firing.len() {
            0 => "all over by now".to_owned(),
            firing if firing == alerts => "still firing".to_owned(),
            firing => format!("{firing} still firing"),
        };
        format!("{symbol} Catching up: {alerts} alert{plural}, {now}")
    }

    pub(super) fn intro(&self) -> String {
        format!(
            "Nothing could be delivered here since {}. This is in place of the {} messages that waited.",
            time(self.from),
            self.messages
        )
    }
}

impl DigestEntry {
    /// `🚨 budget: all requests reached 100 % of $10.00, since 2025-09-08 15:44:57 UTC`
    pub(super) fn line(&self) -> String {
        let Notification { severity, since, .. } = self.notification;
        let headline = headline(&self.notification);
        match self.ended_at {
            Some(ended_at) => format!("✅ {headline}, from {} to {}", time(since), time(ended_at)),
            None => format!("{} {headline}, since {}", symbol(Event::Firing, severity), time(since)),
        }
    }
}

/// The line below a list that was cut.
pub(super) fn and_more(entries: &[DigestEntry]) -> Option<String> {
    entries.len().checked_sub(MAX_SHOWN).filter(|more| *more > 0).map(|more| format!("… and {more} more"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::{Severity, preview::samples};

    #[test]
    fn tells_what_fires_still_and_what_is_over() {
        let base = samples::latency();
        let of = |fingerprint: &str, minute: i64, event: Event, severity: Severity| Notification {
            id: format!("{fingerprint}{minute}"),
            fingerprint: fingerprint.to_owned(),
            at: UtcMillis(minute * 60_000),
            since: UtcMillis(minute * 60_000),
            event,
            severity,
            ..base.clone()
        };
        let waiting = [
            of("a", 0, Event::Firing, Severity::Warning),
            of("b", 1, Event::Firing, Severity::Warning),
            of("c", 2, Event::Firing, Severity::Critical),
            of("a", 3, Event::Resolved, Severity::Warning),
            of("d", 4, Event::Resolved, Severity::Info),
            of("b", 5, Event::StillFiring, Severity::Warning),
        ];
        let ended = [("a", 3), ("d", 4)].map(|(id, minute)| (id.to_owned(), UtcMillis(minute * 60_000)));
        let digest = Digest::new(&waiting, &ended.into_iter().collect(), UtcMillis(600_000));
        let ids = |entries: &[DigestEntry]| -> Vec<String> {
            entries.iter().map(|entry| entry.notification.id.clone()).collect()
        };
        assert_eq!(ids(&digest.firing), ["c2", "b5"], "the most urgent first, each with its last message");
        assert_eq!(ids(&digest.ended), ["a0", "d4"], "what it was, not that it ended");
        assert_eq!((digest.messages, digest.from), (6, UtcMillis(0)));
        assert_eq!(digest.title(), "🚨 Catching up: 4 alerts, 2 still firing");
        assert_eq!(
            digest.ended[0].line(),
            "✅ slow: gpt-4o p95 latency is 7,210 ms (limit 5,000 ms), from 1970-01-01 00:00:00 UTC to \
             1970-01-01 00:03:00 UTC"
        );
        let all_over = ["a", "b", "c", "d"].map(|id| (id.to_owned(), UtcMillis(1))).into_iter().collect();
        assert_eq!(
            Digest::new(&waiting, &all_over, UtcMillis(600_000)).title(),
            "✅ Catching up: 4 alerts, all over by now"
        );
    }
}
