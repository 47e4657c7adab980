//! Receives bodies within bounds of time and memory.

use std::{sync::Arc, time::Duration};

use axum::body::{Body, HttpBody};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use prometheus::IntGauge;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout_at},
};

use super::error::IngressError;

/// Memory is counted in units of this many bytes, since a semaphore hands out at most `u32::MAX` at once.
const UNIT_BYTES: u16 = 1024;

/// Bodies up to this size may use the whole budget, larger ones three quarters of it: whoever sends large
/// bodies slowly must not keep out the small ones, which nearly all webhooks are.
const SMALL_BYTES: usize = 64 * 1024;

/// A body of unknown length gets a buffer of this size first.
const FIRST_STEP_BYTES: usize = 16 * 1024;

/// How long a refused body is read and thrown away.
const DISCARD_FOR: Duration = Duration::from_secs(1);

/// Reads a body that was refused and keeps nothing of it.
pub(super) async fn discard(body: Body) {
    let mut frames = body.into_data_stream();
    let read = async { while let Some(Ok(_)) = frames.next().await {} };
    drop(tokio::time::timeout(DISCARD_FOR, read).await);
}

/// The memory of all bodies being received or stored.
pub(super) struct BodyBudget {
    all: Arc<Semaphore>,
    large: Arc<Semaphore>,
    reserved_bytes: IntGauge,
}

impl BodyBudget {
    /// `max_in_flight_bytes` for all bodies, of which one may have `max_body_bytes`.
    pub(super) fn new(max_in_flight_bytes: usize, max_body_bytes: usize, reserved_bytes: IntGauge) -> Self {
        let all = units(max_in_flight_bytes).max(units(max_body_bytes)) as usize;
        let large = (all - all / 4).max(units(max_body_bytes) as usize);
        Self { all: Arc::new(Semaphore::new(all)), large: Arc::new(Semaphore::new(large)), reserved_bytes }
    }
}

/// Memory taken from the budget until it is dropped.
pub(super) struct Reservation {
    budget: Arc<BodyBudget>,
    held: Vec<OwnedSemaphorePermit>,
    held_units: u32,
    is_large: bool,
}

impl Reservation {
    fn none(budget: Arc<BodyBudget>, is_large: bool) -> Self {
        Self { budget, held: Vec::new(), held_units: 0, is_large }
    }

    /// Waits until `bytes` in all are reserved.
    async fn grow_to(&mut self, bytes: usize, deadline: Instant) -> Result<(), IngressError> {
        let more = units(bytes).saturating_sub(self.held_units);
        if more == 0 {
            return Ok(());
        }
        // Always in this order: who waits for `all` while holding `large` waits for small bodies, and those hold
        // all they need before they start. Only bodies of unknown length can wait for each other, until the deadline.
        for semaphore in [self.is_large.then_some(&self.budget.large), Some(&self.budget.all)].into_iter().flatten() {
            let permit = timeout_at(deadline, Arc::clone(semaphore).acquire_many_owned(more))
                .await
                .map_err(|_| IngressError::OutOfMemoryBudget)?
                .map_err(|_| IngressError::OutOfMemoryBudget)?;
            self.held.push(permit);
        }
        self.held_units += more;
        self.budget.reserved_bytes.add(i64::from(more) * i64::from(UNIT_BYTES));
        Ok(())
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.budget.reserved_bytes.sub(i64::from(self.held_units) * i64::from(UNIT_BYTES));
    }
}

fn units(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT_BYTES.into())).unwrap_or(u32::MAX)
}

/// How much and how long.
#[derive(Clone, Copy)]
pub(super) struct BodyLimits {
    pub(super) max_bytes: usize,
    /// For waiting for memory and receiving together.
    pub(super) timeout: Duration,
}

impl BodyLimits {
    /// The declared length, when there is one and it is not too large.
    pub(super) fn declared_bytes(&self, body: &Body) -> Result<Option<usize>, IngressError> {
        match body.size_hint().exact() {
            None => Ok(None),
            Some(declared) => match usize::try_from(declared) {
                Ok(declared) if declared <= self.max_bytes => Ok(Some(declared)),
                _ => Err(IngressError::BodyTooLarge { max_bytes: self.max_bytes }),
            },
        }
    }
}

/// Reads the whole body into one buffer. The reservation covers it until dropped.
pub(super) async fn receive(
    body: Body,
    limits: BodyLimits,
    budget: &Arc<BodyBudget>,
) -> Result<(Bytes, Reservation), IngressError> {
    let deadline = Instant::now() + limits.timeout;
    let declared = limits.declared_bytes(&body)?;
    let mut reservation = Reservation::none(Arc::clone(budget), declared.is_none_or(|declared| declared > SMALL_BYTES));
    let first = declared.unwrap_or(FIRST_STEP_BYTES).min(limits.max_bytes);
    reservation.grow_to(first, deadline).await?;
    let mut buffer = BytesMut::with_capacity(first);
    let mut frames = body.into_data_stream();
    loop {
        let frame = match timeout_at(deadline, frames.next()).await {
            Err(_) => return Err(IngressError::BodyTimeout),
            Ok(None) => return Ok((buffer.freeze(), reservation)),
            Ok(Some(Err(_))) => return Err(IngressError::BodyCutOff),
            Ok(Some(Ok(frame))) => frame,
        };
        let needed = buffer.len() + frame.len();
        if needed > limits.max_bytes {
            return Err(IngressError::BodyTooLarge { max_bytes: limits.max_bytes });
        }
        if needed > buffer.capacity() {
            // Doubling keeps copying linear; reserved before it is allocated.
            let capacity = needed.max(buffer.capacity() * 2).min(limits.max_bytes);
            reservation.grow_to(capacity, deadline).await?;
            buffer.reserve(capacity - buffer.len());
        }
        buffer.extend_from_slice(&frame);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(max_in_flight_bytes: usize, max_body_bytes: usize) -> Arc<BodyBudget> {
        let gauge = IntGauge::new("test", "test").expect("valid name");
        Arc::new(BodyBudget::new(max_in_flight_bytes, max_body_bytes, gauge))
    }

    fn limits(max_bytes: usize) -> BodyLimits {
        BodyLimits { max_bytes, timeout: Duration::from_millis(50) }
    }

    fn chunked(chunks: usize, chunk_bytes: usize) -> Body {
        let chunk = Bytes::from(vec![b'x'; chunk_bytes]);
        Body::from_stream(futures_util::stream::iter(
            std::iter::repeat_n(chunk, chunks).map(Ok::<_, std::convert::Infallible>),
        ))
    }

    #[tokio::test]
    async fn what_is_reserved_covers_the_body_and_is_given_back() {
        let budget = budget(1024 * 1024, 256 * 1024);
        for body in [Body::from(vec![b'x'; 100_000]), chunked(100, 1000)] {
            let (bytes, reservation) = receive(body, limits(256 * 1024), &budget).await.expect("fits");
            assert_eq!(bytes.len(), 100_000);
            assert!(budget.reserved_bytes.get() >= 100_000);
            drop(reservation);
            assert_eq!(budget.reserved_bytes.get(), 0);
            assert_eq!(budget.all.available_permits(), 1024);
        }
    }

    #[tokio::test]
    async fn large_bodies_leave_room_for_small_ones() {
        let budget = budget(1024 * 1024, 256 * 1024);
        let mut held = Vec::new();
        while let Ok(received) = receive(Body::from(vec![b'x'; 256 * 1024]), limits(256 * 1024), &budget).await {
            held.push(received);
        }
        assert_eq!(held.len(), 3);
        assert!(receive(Body::from("small"), limits(256 * 1024), &budget).await.is_ok());
    }

    #[tokio::test]
    async fn too_many_bytes_are_refused_declared_or_not() {
        let budget = budget(4096, 4096);
        for body in [Body::from(vec![b'x'; 4097]), chunked(5, 1000)] {
            let refused = receive(body, limits(4096), &budget).await;
            assert!(matches!(refused, Err(IngressError::BodyTooLarge { max_bytes: 4096 })));
        }
        assert!(receive(chunked(4, 1024), limits(4096), &budget).await.is_ok());
    }
}
