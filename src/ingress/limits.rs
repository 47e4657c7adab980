//! Rate limits. All keyed state is bounded, so that a flood from many addresses costs no memory.

use std::{
    net::{IpAddr, Ipv6Addr},
    num::NonZeroU32,
    sync::Mutex,
    time::{Duration, Instant},
};

use governor::{
    DefaultDirectRateLimiter, DefaultKeyedRateLimiter, NotUntil, Quota, RateLimiter,
    clock::{Clock as _, DefaultClock},
};
use prometheus::IntCounter;

/// Clients remembered by one limiter. Beyond it they share one bucket.
const MAX_CLIENTS: usize = 100_000;

/// A full limiter is cleared of idle clients at most this often by requests; a task does it every few seconds anyway.
const PRUNE_WHEN_FULL_EVERY: Duration = Duration::from_secs(1);

/// Over a limit, with what the `RateLimit-*` headers say about it.
#[derive(Debug, thiserror::Error)]
#[error("Too many requests")]
pub(super) struct LimitExceeded {
    /// Which limit: a bounded metric label.
    pub(super) limit: &'static str,
    /// How many pass at once after a pause.
    pub(super) burst: u32,
    /// When the next one passes.
    pub(super) retry_after: Duration,
}

impl LimitExceeded {
    fn new(limit: &'static str, not_until: &NotUntil<<DefaultClock as governor::clock::Clock>::Instant>) -> Self {
        Self {
            limit,
            burst: not_until.quota().burst_size().get(),
            retry_after: not_until.wait_time_from(DefaultClock::default().now()),
        }
    }
}

/// `per_second` on average, twice as many at once. 0 counts as 1.
pub(super) fn per_second(per_second: u32) -> Quota {
    let rate = NonZeroU32::new(per_second).unwrap_or(NonZeroU32::MIN);
    Quota::per_second(rate).allow_burst(rate.saturating_mul(NonZeroU32::MIN.saturating_add(1)))
}

/// `count` in 15 minutes, all of them at once if need be. 0 counts as 1.
pub(super) fn per_15_minutes(count: u32) -> Quota {
    let count = NonZeroU32::new(count).unwrap_or(NonZeroU32::MIN);
    let one_each = (Duration::from_secs(15 * 60) / count.get()).max(Duration::from_nanos(1));
    Quota::with_period(one_each).unwrap_or_else(|| Quota::per_second(count)).allow_burst(count)
}

/// The limit of one source.
pub(super) struct SourceLimiter(DefaultDirectRateLimiter);

impl SourceLimiter {
    pub(super) fn new(quota: Quota) -> Self {
        Self(RateLimiter::direct(quota))
    }

    /// Takes one from the bucket.
    pub(super) fn check(&self) -> Result<(), LimitExceeded> {
        self.0.check().map_err(|not_until| LimitExceeded::new("per_source", &not_until))
    }
}

/// A limit for each client IP.
pub(super) struct ClientLimiter {
    limit: &'static str,
    clients: DefaultKeyedRateLimiter<IpAddr>,
    overflow: DefaultDirectRateLimiter,
    overflowed: IntCounter,
    max_clients: usize,
    last_prune: Mutex<Instant>,
}

impl ClientLimiter {
    /// `overflowed` counts the requests that were judged by the shared bucket.
    pub(super) fn new(limit: &'static str, quota: Quota, overflowed: IntCounter) -> Self {
        Self {
            limit,
            clients: RateLimiter::dashmap(quota),
            overflow: RateLimiter::direct(quota),
            overflowed,
            max_clients: MAX_CLIENTS,
            last_prune: Mutex::new(Instant::now()),
        }
    }

    /// Takes one from the client's bucket.
    pub(super) fn check(&self, client: IpAddr) -> Result<(), LimitExceeded> {
        if self.clients.len() >= self.max_clients && !self.prune_if_due() {
            self.overflowed.inc();
            return self.overflow.check().map_err(|not_until| LimitExceeded::new(self.limit, &not_until));
        }
        self.clients.check_key(&bucket_of(client)).map_err(|not_until| LimitExceeded::new(self.limit, &not_until))
    }

    /// Forgets the clients whose bucket is full again.
    pub(super) fn prune(&self) {
        self.clients.retain_recent();
        self.clients.shrink_to_fit();
    }

    /// Whether there is room again.
    fn prune_if_due(&self) -> bool {
        let Ok(mut last) = self.last_prune.try_lock() else { return false };
        if last.elapsed() < PRUNE_WHEN_FULL_EVERY {
            return false;
        }
        *last = Instant::now();
        self.prune();
        self.clients.len() < self.max_clients
    }
}

/// One customer usually has a whole IPv6 /64, and may change addresses within it at will.
fn bucket_of(client: IpAddr) -> IpAddr {
    match client {
        IpAddr::V4(_) => client,
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counter() -> IntCounter {
        IntCounter::new("test", "test").expect("valid name")
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn clients_have_their_own_buckets_and_a_64_shares_one() {
        let limiter = ClientLimiter::new("per_ip", per_15_minutes(1), counter());
        assert!(limiter.check(ip("192.0.2.1")).is_ok());
        assert!(limiter.check(ip("192.0.2.2")).is_ok());
        let exceeded = limiter.check(ip("192.0.2.1")).expect_err("used up");
        assert!(exceeded.retry_after > Duration::from_secs(600) && exceeded.burst == 1);
        assert!(limiter.check(ip("2001:db8::1")).is_ok());
        assert!(limiter.check(ip("2001:db8::2")).is_err());
        assert!(limiter.check(ip("2001:db8:0:1::1")).is_ok());
    }

    #[test]
    fn beyond_the_cap_clients_share_one_bucket() {
        let overflowed = counter();
        let mut limiter = ClientLimiter::new("per_ip", per_15_minutes(2), overflowed.clone());
        limiter.max_clients = 3;
        for host in 1..=3 {
            assert!(limiter.check(IpAddr::from([192, 0, 2, host])).is_ok());
        }
        let passed = (4..=100).filter(|host| limiter.check(IpAddr::from([192, 0, 2, *host])).is_ok()).count();
        assert_eq!((passed, limiter.clients.len(), overflowed.get()), (2, 3, 97));
    }

    #[test]
    fn quotas_take_any_number() {
        assert_eq!(per_second(10).burst_size().get(), 20);
        assert_eq!(per_second(u32::MAX).burst_size().get(), u32::MAX);
        for count in [0, 1, 100, u32::MAX] {
            assert_eq!(per_15_minutes(count).burst_size().get(), count.max(1));
        }
    }
}
