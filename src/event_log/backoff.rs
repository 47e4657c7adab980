//! Waiting for something that is away, without asking too often and without saying so too often.

use std::time::{Duration, Instant};

/// While it stays away, it is told again after this.
const TOLD_EVERY: Duration = Duration::from_secs(60);

/// Doubling pauses with jitter, from the first failure to the next success.
#[derive(Debug)]
pub(super) struct Backoff {
    first: Duration,
    most: Duration,
    pause: Duration,
    told: Option<Instant>,
}

impl Backoff {
    /// The first pause is about `first`, none is longer than `most`.
    pub(super) const fn new(first: Duration, most: Duration) -> Self {
        Self { first, most, pause: first, told: None }
    }

    /// How long to wait now: between half of the doubled pause and all of it, so that many processes which lost the
    /// same broker do not come back at once.
    pub(super) fn next_pause(&mut self) -> Duration {
        let pause = self.pause;
        self.pause = pause.saturating_mul(2).min(self.most);
        pause.mul_f64(0.5 + rand::random::<f64>() / 2.0)
    }

    /// Whether this failure is worth a line in the log: the first one, then one a minute.
    pub(super) fn is_news(&mut self) -> bool {
        let is_news = self.told.is_none_or(|told| told.elapsed() >= TOLD_EVERY);
        if is_news {
            self.told = Some(Instant::now());
        }
        is_news
    }

    /// It works again.
    pub(super) fn reset(&mut self) {
        *self = Self::new(self.first, self.most);
    }
}
