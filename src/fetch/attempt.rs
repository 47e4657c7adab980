//! One attempt.

use std::{sync::Arc, time::Duration};

use reqwest::{StatusCode, header};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::FetchStatus;
use crate::domain::PresignedUrl;

/// How much memory is reserved at a time while an object grows.
const STEP_BYTES: usize = 64 * 1024;

/// Why an attempt did not bring the object.
#[derive(Debug)]
pub(super) enum AttemptError {
    /// Another attempt would end the same way.
    Final(FetchStatus),
    /// Worth another attempt, after the time the server asked for if it did.
    Retry { after: Option<Duration> },
}

pub(super) struct Attempt<'a> {
    pub(super) client: &'a reqwest::Client,
    /// From connecting to the last byte.
    pub(super) timeout: Duration,
    pub(super) memory_kib: &'a Arc<Semaphore>,
    pub(super) max_object_bytes: usize,
}

impl Attempt<'_> {
    /// Gets the object, decompressed. Stops reading at the size limit.
    pub(super) async fn run(&self, url: &PresignedUrl) -> Result<Vec<u8>, AttemptError> {
        let mut response =
            self.client.get(url.expose().clone()).timeout(self.timeout).send().await.map_err(|error| {
                if is_refused(&error) { AttemptError::Final(FetchStatus::Refused) } else { retry() }
            })?;
        match response.status() {
            status if status.is_success() => {}
            StatusCode::NOT_FOUND => return Err(AttemptError::Final(FetchStatus::NotFound)),
            StatusCode::FORBIDDEN => return Err(AttemptError::Final(FetchStatus::Expired)),
            StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT => {
                return Err(AttemptError::Retry { after: retry_after(&response) });
            }
            status if status.is_server_error() => return Err(AttemptError::Retry { after: retry_after(&response) }),
            status if status.is_redirection() => return Err(AttemptError::Final(FetchStatus::Refused)),
            _ => return Err(AttemptError::Final(FetchStatus::Failed)),
        }
        let mut object = Vec::new();
        let mut reserved: Option<OwnedSemaphorePermit> = None;
        while let Some(chunk) = response.chunk().await.map_err(|_| retry())? {
            if object.len() + chunk.len() > self.max_object_bytes {
                return Err(AttemptError::Final(FetchStatus::TooLarge));
            }
            self.reserve(&mut reserved, object.len() + chunk.len()).await?;
            object.extend_from_slice(&chunk);
        }
        Ok(object)
    }

    /// Takes part of the memory shared by all fetches before the object grows into it.
    async fn reserve(&self, reserved: &mut Option<OwnedSemaphorePermit>, bytes: usize) -> Result<(), AttemptError> {
        let have_bytes = reserved.as_ref().map_or(0, |permit| permit.num_permits() * 1024);
        if bytes <= have_bytes {
            return Ok(());
        }
        let missing_kib = (bytes - have_bytes).max(STEP_BYTES).div_ceil(1024);
        let missing_kib = u32::try_from(missing_kib).map_err(|_| AttemptError::Final(FetchStatus::TooLarge))?;
        let more = self.memory_kib.clone().acquire_many_owned(missing_kib).await.map_err(|_| retry())?;
        match reserved {
            Some(permit) => permit.merge(more),
            None => *reserved = Some(more),
        }
        Ok(())
    }
}

const fn retry() -> AttemptError {
    AttemptError::Retry { after: None }
}

/// Whether the guarded resolver refused every address of the host.
fn is_refused(error: &reqwest::Error) -> bool {
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        if error.is::<super::policy::AddressRefused>() {
            return true;
        }
        source = error.source();
    }
    false
}

/// `Retry-After` in seconds; a date is as good as none for the few seconds an attempt may wait.
fn retry_after(response: &reqwest::Response) -> Option<Duration> {
    response.headers().get(header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
}
