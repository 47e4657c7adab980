//! Gets the stored bodies from `request_response_url`.
//!
//! The URL comes from whoever can sign a webhook and carries its own credential, so two things are guarded: where it
//! may lead (the scheme, and every resolved address, see [`policy`]), and where it may appear (nowhere with its query).
//! Redirects are not followed: object storage does not redirect a pre-signed URL.
//!
//! A fetch is bounded in attempts, time, and bytes after decompression; all fetches together in number and bytes. It
//! never fails a message: what could not be had is a [`FetchStatus`], and the row is written from the payload.

mod attempt;
mod metrics;
mod policy;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rand::{RngExt, SeedableRng, rngs::StdRng};
use tokio::{sync::Semaphore, time::Instant};

use crate::{
    domain::{Clock, PresignedUrl, UtcMillis},
    settings::FetchSettings,
};
use attempt::{Attempt, AttemptError};
pub use metrics::FetchMetrics;
pub use policy::AddressPolicy;

/// Bytes of objects in memory at once, over all fetches.
const MAX_IN_FLIGHT_BYTES: usize = 256 * 1024 * 1024;
const FIRST_BACKOFF: Duration = Duration::from_millis(100);

/// Why fetching cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// `fetch.allow_private_cidrs` has something that is not a network.
    #[error("fetch.allow_private_cidrs: `{0}` is not a network such as 127.0.0.0/8 or fd00::/8")]
    Cidr(String),
    /// The HTTP client cannot be built.
    #[error("the HTTP client cannot be set up: {0}")]
    Client(String),
}

/// What became of a URL; the values of `requests.fetch_status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FetchStatus {
    /// The object was read.
    Fetched,
    /// The payload has no URL.
    None,
    /// `fetch.enabled = false`.
    Disabled,
    /// 404: normal on plans that do not store bodies.
    NotFound,
    /// 403, or past its life.
    Expired,
    /// The scheme or the address is not allowed.
    Refused,
    /// Larger than `fetch.max_object_bytes`.
    TooLarge,
    /// Every attempt failed, or time ran out.
    Failed,
    /// The object is not what it should be.
    Invalid,
    /// Helicone's test button: its URL leads nowhere.
    Test,
}

impl FetchStatus {
    /// The value in `requests.fetch_status` and in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fetched => "fetched",
            Self::None => "none",
            Self::Disabled => "disabled",
            Self::NotFound => "not_found",
            Self::Expired => "expired",
            Self::Refused => "refused",
            Self::TooLarge => "too_large",
            Self::Failed => "failed",
            Self::Invalid => "invalid",
            Self::Test => "test",
        }
    }
}

/// Fetches objects. Shared by all of a consumer's work.
pub struct Fetcher {
    settings: FetchSettings,
    policy: Arc<AddressPolicy>,
    client: reqwest::Client,
    slots: Semaphore,
    /// In KiB, since a semaphore counts in 32 bits.
    memory_kib: Arc<Semaphore>,
    clock: Arc<dyn Clock>,
    jitter: Mutex<StdRng>,
    metrics: FetchMetrics,
}

impl Fetcher {
    /// Sets up the HTTP client.
    ///
    /// # Errors
    /// [`FetchError`] for settings that cannot be used.
    pub fn new(
        settings: FetchSettings,
        clock: Arc<dyn Clock>,
        metrics: FetchMetrics,
        seed: u64,
    ) -> Result<Self, FetchError> {
        let policy = Arc::new(AddressPolicy::new(&settings.allow_private_cidrs)?);
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .referer(false)
            .gzip(true)
            .connect_timeout(Duration::from_millis(settings.attempt_timeout_ms))
            .timeout(Duration::from_millis(settings.attempt_timeout_ms))
            .pool_max_idle_per_host(settings.max_concurrent)
            .user_agent(concat!("heliometer/", env!("CARGO_PKG_VERSION")))
            .dns_resolver(policy::GuardedResolver::new(policy.clone()))
            .build()
            .map_err(|error| FetchError::Client(error.to_string()))?;
        Ok(Self {
            slots: Semaphore::new(settings.max_concurrent),
            memory_kib: Arc::new(Semaphore::new(MAX_IN_FLIGHT_BYTES / 1024)),
            policy,
            client,
            settings,
            clock,
            jitter: Mutex::new(StdRng::seed_from_u64(seed)),
            metrics,
        })
    }

    /// Reads the object, or says why not, within `fetch.total_timeout_ms`. The time spent waiting for a free slot
    /// counts: a slow bucket must not delay a row's cost.
    pub async fn fetch(&self, url: &PresignedUrl, received_at: UtcMillis) -> (FetchStatus, Option<Vec<u8>>) {
        if !self.settings.enabled {
            return (FetchStatus::Disabled, None);
        }
        let deadline = Duration::from_millis(self.settings.total_timeout_ms);
        let (status, object) = tokio::time::timeout(deadline, self.fetch_with_retries(url, received_at))
            .await
            .unwrap_or((FetchStatus::Failed, None));
        self.metrics.finished(status);
        if matches!(status, FetchStatus::Failed | FetchStatus::Refused | FetchStatus::Invalid) {
            tracing::debug!(%url, status = status.as_str(), "the stored object could not be had");
        }
        (status, object)
    }

    async fn fetch_with_retries(&self, url: &PresignedUrl, received_at: UtcMillis) -> (FetchStatus, Option<Vec<u8>>) {
        if !self.policy.allows_url(url.expose(), self.settings.allow_http) {
            return (FetchStatus::Refused, None);
        }
        let Ok(_slot) = self.slots.acquire().await else { return (FetchStatus::Failed, None) };
        let attempt = Attempt {
            client: &self.client,
            memory_kib: &self.memory_kib,
            max_object_bytes: self.settings.max_object_bytes,
        };
        for number in 1..=self.settings.max_attempts {
            let life_left = url.expires_at(received_at).since(self.clock.now());
            if life_left.is_zero() {
                return (FetchStatus::Expired, None);
            }
            let started = Instant::now();
            let result = attempt.run(url).await;
            self.metrics.attempted(number, result.as_ref().err(), started.elapsed(), life_left);
            match result {
                Ok(object) => return (FetchStatus::Fetched, Some(object)),
                Err(AttemptError::Final(status)) => return (status, None),
                Err(AttemptError::Retry { after }) if number < self.settings.max_attempts => {
                    tokio::time::sleep(after.unwrap_or_else(|| self.backoff(number))).await;
                }
                Err(AttemptError::Retry { .. }) => {}
            }
        }
        (FetchStatus::Failed, None)
    }

    /// Full jitter: anywhere between zero and the doubled backoff, so that many fetches do not come back at once.
    fn backoff(&self, attempt: u32) -> Duration {
        let longest = FIRST_BACKOFF.saturating_mul(1 << attempt.min(10));
        let fraction: f64 = self.jitter.lock().unwrap_or_else(PoisonError::into_inner).random();
        longest.mul_f64(fraction)
    }
}

#[cfg(test)]
mod tests;
