//! A bounded number of places, given to the most urgent of those who wait.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::oneshot;

use crate::domain::UtcMillis;

/// Shared by all who want a place.
#[derive(Clone, Debug)]
pub(super) struct Gate(Arc<Mutex<State>>);

/// By urgency, then by arrival.
type Key = (UtcMillis, u64);

#[derive(Debug)]
struct State {
    free: usize,
    waiting: BTreeMap<Key, oneshot::Sender<Place>>,
    arrivals: u64,
}

/// A place, until it is dropped.
#[derive(Debug)]
pub(super) struct Place(Gate);

impl Gate {
    pub(super) fn new(places: usize) -> Self {
        Self(Arc::new(Mutex::new(State { free: places, waiting: BTreeMap::new(), arrivals: 0 })))
    }

    /// Waits for a place. Of those who wait, whose URL ends first goes first. Cancel-safe.
    pub(super) async fn enter(&self, expires_at: UtcMillis) -> Place {
        let (key, receiver) = match self.enter_or_queue(expires_at) {
            Ok(place) => return place,
            Err(queued) => queued,
        };
        let _turn = Turn { gate: self, key };
        match receiver.await {
            Ok(place) => place,
            // Only this function takes a sender away without sending, when it is dropped itself.
            Err(_) => std::future::pending().await,
        }
    }

    fn enter_or_queue(&self, expires_at: UtcMillis) -> Result<Place, (Key, oneshot::Receiver<Place>)> {
        let mut state = self.state();
        if state.free > 0 {
            state.free -= 1;
            return Ok(Place(self.clone()));
        }
        let (sender, receiver) = oneshot::channel();
        state.arrivals += 1;
        let key = (expires_at, state.arrivals);
        state.waiting.insert(key, sender);
        Err((key, receiver))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.0.state();
        let next = state.waiting.pop_first();
        match next {
            None => state.free += 1,
            Some((_, sender)) => {
                drop(state);
                // To one who has just given up it comes back, is dropped, and goes to the next.
                drop(sender.send(Self(self.0.clone())));
            }
        }
    }
}

/// Takes back the wish for a place.
struct Turn<'a> {
    gate: &'a Gate,
    key: Key,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.gate.state().waiting.remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn the_most_urgent_goes_first_and_who_gives_up_costs_no_place() {
        let gate = Gate::new(1);
        let first = gate.enter(UtcMillis(9)).await;
        let (sender, mut entered) = tokio::sync::mpsc::unbounded_channel();
        for expires_at in [30, 10, 20] {
            let (gate, sender) = (gate.clone(), sender.clone());
            tokio::spawn(async move {
                let place = gate.enter(UtcMillis(expires_at)).await;
                sender.send(expires_at).expect("is read");
                drop(place);
            });
        }
        // One that gives up while it waits.
        assert!(tokio::time::timeout(Duration::from_millis(20), gate.enter(UtcMillis(1))).await.is_err());
        assert_eq!(gate.state().waiting.len(), 3);
        drop(first);
        for expires_at in [10, 20, 30] {
            assert_eq!(entered.recv().await, Some(expires_at));
        }
        let _again = gate.enter(UtcMillis(0)).await;
        let state = gate.state();
        assert_eq!((state.free, state.waiting.len()), (0, 0));
    }
}
