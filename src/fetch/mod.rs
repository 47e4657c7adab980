//! Gets the stored bodies from `request_response_url`.
//!
//! The URL comes from whoever can sign a webhook and carries its own credential, so two things are guarded: where it
//! may lead (scheme, host and every resolved address, again at each redirect, see [`policy`]), and where it may appear
//! (nowhere with its query).
//!
//! A fetch is bounded in attempts, time, and bytes after decompression; all fetches together in number, in number per
//! host, and in bytes; whose URL ends first goes first (see [`gate`]). A host that fails again and again is left alone for
//! a while (see [`hosts`]). A fetch never fails a message: what could not be had is a [`FetchStatus`], and the row is written from the payload. What could
//! not be had in the few seconds that a row may wait is [`Fetched::NotNow`], and is asked for again later, as long as the
//! URL lives.

mod attempt;
mod gate;
mod hosts;
mod metrics;
mod policy;
mod schedule;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rand::{RngExt, SeedableRng, rngs::StdRng};
use tokio::{sync::Semaphore, time::Instant};

use crate::{
    domain::{Clock, PresignedUrl, SourceName, UtcMillis},
    settings::{FetchSettings, SourceSettings},
};
pub use attempt::Object;
use attempt::{AttemptError, Attempts};
use gate::Gate;
use hosts::{Host, Hosts};
pub use metrics::FetchMetrics;
pub use policy::{AddressPolicy, UrlPolicy};

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

/// What a fetch came to.
#[derive(Debug)]
pub enum Fetched {
    /// The object.
    Object(Object),
    /// It is not to be had, and why: asking again would change nothing.
    Never(FetchStatus),
    /// The storage failed, was slow or busy: worth another try.
    NotNow {
        /// After this, if the storage said so.
        retry_after: Option<Duration>,
    },
}

impl Fetched {
    /// As it stands in the row.
    #[must_use]
    pub const fn status(&self) -> FetchStatus {
        match self {
            Self::Object(_) => FetchStatus::Fetched,
            Self::Never(status) => *status,
            Self::NotNow { .. } => FetchStatus::Pending,
        }
    }
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
    /// Storage has it not, but Helicone's API has.
    HeliconeApi,
    /// 404: normal on plans that do not store bodies.
    NotFound,
    /// 403, or past its life.
    Expired,
    /// The scheme or the address is not allowed.
    Refused,
    /// Larger than `fetch.max_object_bytes`.
    TooLarge,
    /// Not yet: it is asked for again, and then the row gets a higher version.
    Pending,
    /// Every attempt failed until the URL's life was over, or the storage answered with something odd.
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
            Self::HeliconeApi => "helicone_api",
            Self::NotFound => "not_found",
            Self::Expired => "expired",
            Self::Refused => "refused",
            Self::TooLarge => "too_large",
            Self::Pending => "pending",
            Self::Failed => "failed",
            Self::Invalid => "invalid",
            Self::Test => "test",
        }
    }
}

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// Whose webhook named the URL: decides which hosts are allowed.
    pub source: &'a SourceName,
    /// Where the object is.
    pub url: &'a PresignedUrl,
    /// When the webhook was received, which bounds the URL's life.
    pub received_at: UtcMillis,
}

impl Wanted<'_> {
    fn expires_at(&self) -> UtcMillis {
        self.url.expires_at(self.received_at)
    }
}

/// Fetches objects. Shared by all of a consumer's work.
pub struct Fetcher {
    settings: FetchSettings,
    /// By source; the default for those that are no longer configured.
    policies: HashMap<SourceName, UrlPolicy>,
    default_policy: UrlPolicy,
    attempts: Attempts,
    hosts: Hosts,
    gate: Gate,
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
        sources: &[SourceSettings],
        clock: Arc<dyn Clock>,
        metrics: FetchMetrics,
        seed: u64,
    ) -> Result<Self, FetchError> {
        let addresses = Arc::new(AddressPolicy::new(&settings.allow_private_cidrs)?);
        let client = reqwest::Client::builder()
            // Followed by hand, each step checked.
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .referer(false)
            .gzip(true)
            .zstd(true)
            .brotli(true)
            .connect_timeout(Duration::from_millis(settings.attempt_timeout_ms))
            .pool_max_idle_per_host(settings.max_concurrent_per_host)
            .user_agent(concat!("heliometer/", env!("CARGO_PKG_VERSION")))
            .dns_resolver(policy::GuardedResolver::new(addresses.clone()))
            .build()
            .map_err(|error| FetchError::Client(error.to_string()))?;
        let policy = |source: &SourceSettings| {
            let allow_http = source.fetch_allow_http.unwrap_or(settings.allow_http);
            (source.name.clone(), UrlPolicy::new(&source.fetch_hosts, allow_http))
        };
        Ok(Self {
            policies: sources.iter().map(policy).collect(),
            default_policy: UrlPolicy::new(&[], settings.allow_http),
            attempts: Attempts {
                client,
                addresses,
                memory_kib: Arc::new(Semaphore::new(settings.max_in_flight_bytes.div_ceil(1024))),
                max_object_bytes: settings.max_object_bytes,
            },
            hosts: Hosts::new(settings.max_concurrent_per_host),
            gate: Gate::new(settings.max_concurrent),
            settings,
            clock,
            jitter: Mutex::new(StdRng::seed_from_u64(seed)),
            metrics,
        })
    }

    /// Reads the object within `fetch.total_timeout_ms`, in several attempts. The time spent waiting for a free place
    /// counts: a slow bucket must not delay a row's cost.
    pub async fn fetch(&self, wanted: Wanted<'_>) -> Fetched {
        let total = Duration::from_millis(self.settings.total_timeout_ms);
        let each = Duration::from_millis(self.settings.attempt_timeout_ms);
        let tries = Tries { most: self.settings.max_attempts, each, deadline: Instant::now() + total };
        let in_time = async {
            let host = self.hosts.of(wanted.url.expose());
            let (_at_host, _in_all) =
                (host.gate.enter(wanted.expires_at()).await, self.gate.enter(wanted.expires_at()).await);
            self.attempts(wanted, &host, tries).await
        };
        let fetched = tokio::time::timeout(total, in_time).await;
        self.finished(wanted.url, fetched.unwrap_or(Fetched::NotNow { retry_after: None }))
    }

    /// For how long it is of no use to ask the URL's host.
    #[must_use]
    pub fn host_open_for(&self, url: &PresignedUrl) -> Option<Duration> {
        self.hosts.of(url.expose()).open_for(Instant::now())
    }

    /// How many [`Fetcher::fetch_again`] may run at once. They have places of their own: the slow ones among them must
    /// not keep rows waiting.
    #[must_use]
    pub fn retry_concurrency(&self) -> usize {
        (self.settings.max_concurrent / 4).max(1)
    }

    /// Makes one attempt, for whom nobody waits: it may take `fetch.retry_timeout_ms`.
    pub async fn fetch_again(&self, wanted: Wanted<'_>) -> Fetched {
        let each = Duration::from_millis(self.settings.retry_timeout_ms);
        let tries = Tries { most: 1, each, deadline: Instant::now() + each };
        let host = self.hosts.of(wanted.url.expose());
        self.finished(wanted.url, self.attempts(wanted, &host, tries).await)
    }

    /// When to ask again after `deferrals` times of putting it off. `None` when the URL's life is over by then.
    #[must_use]
    pub fn not_before(&self, wanted: Wanted<'_>, deferrals: u32, retry_after: Option<Duration>) -> Option<UtcMillis> {
        let first = Duration::from_millis(self.settings.retry_first_delay_ms);
        let longest = Duration::from_millis(self.settings.retry_max_delay_ms);
        let pause = self.jitter(schedule::doubled(first, deferrals).min(longest));
        schedule::not_before(self.clock.now(), wanted.expires_at(), pause, retry_after)
    }

    /// Counts bytes that came another way as an object; `None` when there is no memory for them.
    #[must_use]
    pub fn adopt(&self, bytes: Vec<u8>) -> Option<Object> {
        self.attempts.adopt(bytes)
    }

    fn finished(&self, url: &PresignedUrl, fetched: Fetched) -> Fetched {
        let status = fetched.status();
        self.metrics.finished(status);
        if matches!(status, FetchStatus::Failed | FetchStatus::Refused | FetchStatus::Pending) {
            tracing::debug!(%url, status = status.as_str(), "the stored object could not be had");
        }
        fetched
    }

    async fn attempts(&self, wanted: Wanted<'_>, host: &Host, tries: Tries) -> Fetched {
        if !self.settings.enabled {
            return Fetched::Never(FetchStatus::Disabled);
        }
        let policy = self.policies.get(wanted.source).unwrap_or(&self.default_policy);
        let mut retry_after = None;
        for number in 1..=tries.most {
            let life_left = wanted.expires_at().since(self.clock.now());
            if life_left.is_zero() {
                return Fetched::Never(FetchStatus::Expired);
            }
            let started = Instant::now();
            let leave = match host.ask(started) {
                Ok(leave) => leave,
                Err(wait) => return Fetched::NotNow { retry_after: Some(wait) },
            };
            let result = self.attempts.run(wanted.url.expose(), policy, tries.each).await;
            self.metrics.attempted(number, result.as_ref().err(), started.elapsed(), life_left);
            match &result {
                Err(AttemptError::Retry { is_host_down: true, .. }) => host.failed(Instant::now(), leave),
                // Was not asked.
                Err(AttemptError::Final(FetchStatus::Refused)) => {}
                _ => host.answered(),
            }
            match result {
                Ok(object) => return Fetched::Object(object),
                Err(AttemptError::Final(status)) => return Fetched::Never(status),
                Err(AttemptError::Retry { after, .. }) => retry_after = after,
            }
            let pause = retry_after.unwrap_or_else(|| self.jitter(schedule::doubled(FIRST_BACKOFF, number)));
            if number == tries.most || Instant::now() + pause >= tries.deadline {
                break;
            }
            tokio::time::sleep(pause).await;
        }
        Fetched::NotNow { retry_after }
    }

    /// Full jitter: anywhere between zero and `longest`, so that many fetches do not come back at once.
    fn jitter(&self, longest: Duration) -> Duration {
        let fraction: f64 = self.jitter.lock().unwrap_or_else(PoisonError::into_inner).random();
        longest.mul_f64(fraction)
    }
}

/// How an object is tried for.
#[derive(Clone, Copy)]
struct Tries {
    most: u32,
    /// One attempt's limit.
    each: Duration,
    /// No attempt begins after it.
    deadline: Instant,
}

#[cfg(test)]
mod tests;
