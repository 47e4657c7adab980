//! What is known of each host: how many ask it now, and whether asking is of any use.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;
use url::Url;

use super::gate::Gate;

/// A sender may name any number of hosts; past this many they share one state.
const MAX_HOSTS: usize = 1_000;
/// So many failures in a row open the breaker.
const FAILURES_TO_OPEN: u32 = 10;
/// How long it stays open at first; doubled with each attempt that fails after it.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// All hosts.
#[derive(Debug)]
pub(super) struct Hosts {
    max_concurrent: usize,
    known: Mutex<HashMap<String, Arc<Host>>>,
}

/// One host, by name and port.
#[derive(Debug)]
pub(super) struct Host {
    pub(super) gate: Gate,
    breaker: Mutex<Breaker>,
}

impl Hosts {
    /// `max_concurrent` is one host's.
    pub(super) fn new(max_concurrent: usize) -> Self {
        Self { max_concurrent, known: Mutex::default() }
    }

    pub(super) fn of(&self, url: &Url) -> Arc<Host> {
        let mut name = format!("{}:{}", url.host_str().unwrap_or(""), url.port_or_known_default().unwrap_or(0));
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MAX_HOSTS && !known.contains_key(&name) {
            name.clear();
        }
        let host = known
            .entry(name)
            .or_insert_with(|| Arc::new(Host { gate: Gate::new(self.max_concurrent), breaker: Mutex::default() }));
        Arc::clone(host)
    }
}

/// That the host may be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leave {
    /// It works, as far as is known.
    Usual,
    /// It did not; this one finds out for all.
    Probe,
}

impl Host {
    /// Whether it may be asked now; if not, after how long.
    pub(super) fn ask(&self, now: Instant) -> Result<Leave, Duration> {
        self.breaker().ask(now)
    }

    /// For how long it is of no use to ask. Takes no leave.
    pub(super) fn open_for(&self, now: Instant) -> Option<Duration> {
        self.breaker().open_until.map(|until| until.saturating_duration_since(now)).filter(|left| !left.is_zero())
    }

    /// It answered, whatever it said.
    pub(super) fn answered(&self) {
        *self.breaker() = Breaker::default();
    }

    /// It did not answer, or only that it is broken.
    pub(super) fn failed(&self, now: Instant, leave: Leave) {
        self.breaker().failed(now, leave);
    }

    fn breaker(&self) -> MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A circuit breaker: after failures in a row nobody asks for a while, then one at a time, until it is answered.
#[derive(Debug, Default)]
struct Breaker {
    failures: u32,
    open_until: Option<Instant>,
}

impl Breaker {
    fn ask(&mut self, now: Instant) -> Result<Leave, Duration> {
        match self.open_until {
            Some(until) if now < until => Err(until - now),
            Some(_) => {
                // The others wait for what it finds, and not for ever should it be given up.
                self.open_until = Some(now + self.pause());
                Ok(Leave::Probe)
            }
            None => Ok(Leave::Usual),
        }
    }

    fn failed(&mut self, now: Instant, leave: Leave) {
        // Those that were under way when it opened tell nothing new.
        if self.open_until.is_some() && leave == Leave::Usual {
            return;
        }
        self.failures = self.failures.saturating_add(1);
        if self.failures >= FAILURES_TO_OPEN {
            self.open_until = Some(now + self.pause());
        }
    }

    fn pause(&self) -> Duration {
        let doublings = self.failures.saturating_sub(FAILURES_TO_OPEN).min(16);
        FIRST_PAUSE.saturating_mul(1 << doublings).min(LONGEST_PAUSE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_after_failures_in_a_row_and_closes_with_an_answer() {
        let (hosts, start) = (Hosts::new(1), Instant::now());
        let host = hosts.of(&Url::parse("https://s3.example/a?X-Amz-Signature=1").expect("a URL"));
        let at = |milliseconds| start + Duration::from_millis(milliseconds);
        for _ in 1..FAILURES_TO_OPEN {
            assert_eq!(host.ask(at(0)), Ok(Leave::Usual));
            host.failed(at(0), Leave::Usual);
        }
        host.answered();
        for _ in 0..FAILURES_TO_OPEN + 5 {
            host.failed(at(0), Leave::Usual);
        }
        assert_eq!(host.ask(at(400)), Err(Duration::from_millis(600)));
        assert_eq!(host.open_for(at(400)), Some(Duration::from_millis(600)));
        // One finds out for all, again and again, each time later.
        let mut now = 1_000;
        for pause in [2_000, 4_000, 8_000, 10_000, 10_000] {
            assert_eq!(host.open_for(at(now)), None);
            assert_eq!(host.ask(at(now)), Ok(Leave::Probe));
            assert!(host.ask(at(now)).is_err());
            host.failed(at(now), Leave::Probe);
            now += pause;
            assert!(host.ask(at(now - 1)).is_err());
        }
        assert_eq!(host.ask(at(now)), Ok(Leave::Probe));
        host.answered();
        assert_eq!(host.ask(at(now)), Ok(Leave::Usual));
    }

    #[test]
    fn remembers_a_bounded_number_of_hosts() {
        let hosts = Hosts::new(1);
        let host = |number: usize| hosts.of(&Url::parse(&format!("https://{number}.example/")).expect("a URL"));
        let first = host(0);
        for number in 0..MAX_HOSTS + 50 {
            drop(host(number));
        }
        assert!(Arc::ptr_eq(&first, &host(0)));
        assert!(Arc::ptr_eq(&host(MAX_HOSTS + 60), &host(MAX_HOSTS + 70)));
        assert_eq!(hosts.known.lock().expect("lock").len(), MAX_HOSTS + 1);
    }
}
