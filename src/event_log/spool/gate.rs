//! Decides where a webhook goes: straight to the remote log, or to the spool.
//!
//! # Order
//! Two records are in order when the second was appended after the first was acknowledged. The gate keeps that:
//! - It goes to [`spooling`](State::is_spooling) before a record is appended to the spool, so a record that comes after
//!   that one's acknowledgement is spooled too.
//! - It goes back to direct only when no append to the spool is under way and the remote has acknowledged all of them,
//!   decided under the one lock under which appends choose their way. So none overtakes a spooled one.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::{
    domain::UtcMillis,
    event_log::{EventLogError, Offset},
    telemetry::Health,
};

/// The part of the readiness that tells whether Kafka takes webhooks.
const HEALTH_PART: &str = "kafka";

/// Where webhooks go, and how much waits in the spool.
pub(super) struct Gate {
    state: Mutex<State>,
    health: Health,
}

struct State {
    is_spooling: bool,
    /// Appends to the spool that are not answered yet.
    appending: usize,
    /// The offset after the last record known to be in the spool.
    end: Offset,
    /// Every record before it is in the remote log.
    drained: Offset,
    /// When the oldest waiting record was received, or a little before that.
    oldest: Option<UtcMillis>,
    /// The largest record that the remote said it takes, in bytes.
    max_record_bytes: Option<usize>,
}

/// What waits in the spool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Waiting {
    pub(super) records: u64,
    pub(super) oldest: Option<UtcMillis>,
}

/// An append to the spool that is under way: as long as it lives, the gate stays on the spool.
pub(super) struct Pass<'a>(&'a Gate);

impl Gate {
    /// For a spool that holds the records from `drained` up to `end`.
    pub(super) fn new(drained: Offset, end: Offset, oldest: Option<UtcMillis>, health: Health) -> Self {
        let is_spooling = drained < end;
        if is_spooling {
            health.degraded(HEALTH_PART, "webhooks of an earlier run are being sent from the spool");
        } else {
            health.ready(HEALTH_PART);
        }
        let state = State { is_spooling, appending: 0, end, drained, oldest, max_record_bytes: None };
        Self { state: Mutex::new(state), health }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics between two changes that belong together.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A pass when the record must go to the spool, `None` when it may go to the remote.
    ///
    /// # Errors
    /// [`EventLogError::RecordTooLarge`] for a record that the remote would refuse: in the spool it would be in the way
    /// of all others.
    pub(super) fn enter(&self, size_bytes: usize) -> Result<Option<Pass<'_>>, EventLogError> {
        let mut state = self.lock();
        if !state.is_spooling {
            return Ok(None);
        }
        if let Some(max_bytes) = state.max_record_bytes.filter(|max_bytes| size_bytes > *max_bytes) {
            return Err(EventLogError::RecordTooLarge { size_bytes, max_bytes });
        }
        state.appending += 1;
        Ok(Some(Pass(self)))
    }

    /// A pass for a record that the remote did not take, for `reason`; from now on all go to the spool.
    pub(super) fn begin(&self, reason: &str) -> Pass<'_> {
        let mut state = self.lock();
        state.appending += 1;
        if !state.is_spooling {
            state.is_spooling = true;
            tracing::warn!(reason, "Kafka does not take webhooks; they go to the spool until it does");
            self.tell(reason);
        }
        Pass(self)
    }

    /// Remembers what the remote takes. Its limit is learnt anew whenever it refuses a record directly.
    pub(super) fn learn_limit(&self, max_bytes: usize) {
        self.lock().max_record_bytes = Some(max_bytes);
    }

    /// The drainer has read records up to `end`, the first of which is from `oldest`.
    pub(super) fn reading(&self, end: Offset, oldest: UtcMillis) {
        let mut state = self.lock();
        state.end = state.end.max(end);
        state.oldest = Some(oldest);
        // Whoever appended them may have gone without waiting for the answer.
        state.is_spooling = true;
    }

    /// The remote has all records before `drained`.
    pub(super) fn drained(&self, drained: Offset, oldest: Option<UtcMillis>) {
        let mut state = self.lock();
        state.drained = state.drained.max(drained);
        state.end = state.end.max(drained);
        state.oldest = oldest.or(state.oldest).filter(|_| state.drained < state.end);
        self.settle(&mut state);
    }

    /// The drainer failed, for `reason`.
    pub(super) fn failed(&self, reason: &str) {
        let state = self.lock();
        if state.is_spooling {
            self.tell(reason);
        }
    }

    /// What waits now.
    pub(super) fn waiting(&self) -> Waiting {
        let state = self.lock();
        Waiting { records: state.end.0.saturating_sub(state.drained.0), oldest: state.oldest }
    }

    /// Whether webhooks go to the spool.
    #[cfg(test)]
    pub(super) fn is_spooling(&self) -> bool {
        self.lock().is_spooling
    }

    fn tell(&self, reason: &str) {
        self.health.degraded(HEALTH_PART, format!("webhooks go to the spool: {reason}"));
    }

    fn settle(&self, state: &mut State) {
        if state.is_spooling && state.appending == 0 && state.drained >= state.end {
            state.is_spooling = false;
            state.oldest = None;
            tracing::info!("the spool is drained; webhooks go to Kafka directly");
            self.health.ready(HEALTH_PART);
        }
    }
}

impl Pass<'_> {
    /// The record is in the spool.
    pub(super) fn appended(&self, offset: Offset, timestamp: UtcMillis) {
        let mut state = self.0.lock();
        state.end = state.end.max(offset.next());
        if state.drained < state.end {
            state.oldest.get_or_insert(timestamp);
        }
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.appending -= 1;
        self.0.settle(&mut state);
    }
}
