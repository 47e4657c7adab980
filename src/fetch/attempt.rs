//! One attempt: a GET, its redirects, and the object's bytes up to a bound.

use std::{ops::Deref, sync::Arc, time::Duration};

use reqwest::{Response, StatusCode, Url, header};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{
    FetchStatus,
    policy::{AddressPolicy, AddressRefused, UrlPolicy},
};

/// How much memory is reserved at least, before the first byte.
const FIRST_BYTES: usize = 64 * 1024;
/// S3 redirects to another region's endpoint at most; more is a loop.
const MAX_REDIRECTS: usize = 3;

/// A stored object, decompressed. Its memory counts until it is dropped.
#[derive(Debug)]
pub struct Object {
    bytes: Vec<u8>,
    _memory: OwnedSemaphorePermit,
}

impl Deref for Object {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Why an attempt did not bring the object.
#[derive(Debug)]
pub(super) enum AttemptError {
    /// Another attempt would end the same way.
    Final(FetchStatus),
    /// Worth another attempt, after the time the server asked for if it did.
    Retry {
        after: Option<Duration>,
        /// The host is in trouble, rather than this object or ourselves.
        is_host_down: bool,
    },
}

/// What every attempt has in common.
pub(super) struct Attempts {
    pub(super) client: reqwest::Client,
    pub(super) addresses: Arc<AddressPolicy>,
    /// In KiB, since a semaphore counts in 32 bits.
    pub(super) memory_kib: Arc<Semaphore>,
    pub(super) max_object_bytes: usize,
}

impl Attempts {
    /// Gets the object. `timeout` bounds everything from connecting to the last byte.
    pub(super) async fn run(&self, url: &Url, policy: &UrlPolicy, timeout: Duration) -> Result<Object, AttemptError> {
        let get = async {
            let response = self.follow(url.clone(), policy).await?;
            self.read(response).await
        };
        tokio::time::timeout(timeout, get).await.unwrap_or(Err(host_down()))
    }

    pub(super) fn adopt(&self, bytes: Vec<u8>) -> Option<Object> {
        let memory = self.memory_kib.clone().try_acquire_many_owned(kib(bytes.capacity())).ok()?;
        Some(Object { bytes, _memory: memory })
    }

    /// Asks, and goes where it is sent to, each step checked like the first: never with more trust than the URL had.
    async fn follow(&self, mut url: Url, policy: &UrlPolicy) -> Result<Response, AttemptError> {
        for _ in 0..=MAX_REDIRECTS {
            if !policy.allows(&url, &self.addresses) {
                return Err(AttemptError::Final(FetchStatus::Refused));
            }
            let response = self.client.get(url.clone()).send().await.map_err(|error| {
                if is_refused(&error) { AttemptError::Final(FetchStatus::Refused) } else { host_down() }
            })?;
            match response.status() {
                status if status.is_success() => return Ok(response),
                status if status.is_redirection() => {
                    let location = response.headers().get(header::LOCATION).and_then(|value| value.to_str().ok());
                    url = location
                        .and_then(|location| url.join(location).ok())
                        .ok_or(AttemptError::Final(FetchStatus::Failed))?;
                }
                status => return Err(unsuccessful(status, retry_after(&response))),
            }
        }
        Err(AttemptError::Final(FetchStatus::Refused))
    }

    async fn read(&self, mut response: Response) -> Result<Object, AttemptError> {
        // Held from the start, so that nobody waits for memory while holding some: all could wait for each other.
        let mut memory = self.memory_kib.clone().acquire_many_owned(kib(FIRST_BYTES)).await.map_err(|_| busy())?;
        let mut bytes: Vec<u8> = Vec::with_capacity(FIRST_BYTES);
        while let Some(chunk) = response.chunk().await.map_err(|_| host_down())? {
            let length = bytes.len() + chunk.len();
            if length > self.max_object_bytes {
                return Err(AttemptError::Final(FetchStatus::TooLarge));
            }
            if length > bytes.capacity() {
                let capacity = (bytes.capacity() * 2).clamp(length, self.max_object_bytes.max(length));
                let missing = kib(capacity).saturating_sub(u32::try_from(memory.num_permits()).unwrap_or(u32::MAX));
                memory.merge(self.memory_kib.clone().try_acquire_many_owned(missing).map_err(|_| busy())?);
                bytes.reserve_exact(capacity - bytes.len());
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(Object { bytes, _memory: memory })
    }
}

fn kib(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX)
}

const fn host_down() -> AttemptError {
    AttemptError::Retry { after: None, is_host_down: true }
}

/// Other objects have the memory.
const fn busy() -> AttemptError {
    AttemptError::Retry { after: None, is_host_down: false }
}

const fn unsuccessful(status: StatusCode, after: Option<Duration>) -> AttemptError {
    match status {
        StatusCode::NOT_FOUND => AttemptError::Final(FetchStatus::NotFound),
        StatusCode::FORBIDDEN => AttemptError::Final(FetchStatus::Expired),
        // It is up, and wants to be asked less often or later.
        StatusCode::TOO_MANY_REQUESTS => AttemptError::Retry { after, is_host_down: false },
        StatusCode::REQUEST_TIMEOUT => AttemptError::Retry { after, is_host_down: true },
        status if status.as_u16() >= 500 => AttemptError::Retry { after, is_host_down: true },
        _ => AttemptError::Final(FetchStatus::Failed),
    }
}

/// Whether the guarded resolver refused every address of the host.
fn is_refused(error: &reqwest::Error) -> bool {
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        if error.is::<AddressRefused>() {
            return true;
        }
        source = error.source();
    }
    false
}

/// `Retry-After` in seconds or as an HTTP date (RFC 9110, section 10.2.3).
fn retry_after(response: &Response) -> Option<Duration> {
    let text = response.headers().get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    text.parse().ok().map(Duration::from_secs).or_else(|| {
        let at = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
        let sent = response.headers().get(header::DATE)?.to_str().ok()?;
        let sent = jiff::fmt::rfc2822::parse(sent).ok()?.timestamp();
        Duration::try_from(at.duration_since(sent)).ok()
    })
}
