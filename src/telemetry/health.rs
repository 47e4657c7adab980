//! Readiness, part by part.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use serde::Serialize;

/// How one part of the program is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "state", content = "reason", rename_all = "snake_case")]
pub enum PartState {
    /// Works.
    Ready,
    /// Does its work, but somebody should look, and why. For people; never holds a secret.
    Degraded(String),
    /// Does not work (yet), and why. For people; never holds a secret.
    NotReady(String),
}

/// The state of every part. Cheap to clone; the parts are a fixed few.
#[derive(Clone, Debug, Default)]
pub struct Health(Arc<Mutex<BTreeMap<&'static str, PartState>>>);

impl Health {
    /// Reports one part.
    pub fn set(&self, part: &'static str, state: PartState) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(part, state);
    }

    /// Reports one part as ready.
    pub fn ready(&self, part: &'static str) {
        self.set(part, PartState::Ready);
    }

    /// Reports one part as not ready.
    pub fn not_ready(&self, part: &'static str, reason: impl Into<String>) {
        self.set(part, PartState::NotReady(reason.into()));
    }

    /// Reports one part as working with a fault that others make up for. The process stays ready: a load balancer that
    /// turned webhooks away for it would lose them, since their sender does not try again.
    pub fn degraded(&self, part: &'static str, reason: impl Into<String>) {
        self.set(part, PartState::Degraded(reason.into()));
    }

    /// All parts, and whether none of them is [`PartState::NotReady`].
    #[must_use]
    pub fn snapshot(&self) -> (bool, BTreeMap<&'static str, PartState>) {
        let parts = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        (!parts.values().any(|state| matches!(state, PartState::NotReady(_))), parts)
    }
}
