//! The fence between a leader and a predecessor that does not know yet that it was replaced.
//!
//! Leadership itself comes from the event log (`service::leader`). But a process that was paused, or cut off from Kafka
//! and not from ClickHouse, goes on for a moment after another has begun. So a leader begins a *term* by writing a row
//! into `rollup_passes` with a number above all earlier ones, and asks before each step that may not be taken twice
//! whether its number is still the highest. One that finds a higher number has been deposed and stops.

use std::time::Duration;

use clickhouse::{Client, Row};
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use super::{StoreError, client::bounded};

/// The name of the terms in `rollup_passes`.
const NAME: &str = "leader";
/// Leaders that begin within one microsecond of each other are told apart by this many bits of chance.
const CHANCE_BITS: u32 = 11;

/// One leader's time. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Term {
    client: Client,
    timeout: Duration,
    number: u64,
    follows_clean_end: bool,
    lost: CancellationToken,
}

#[derive(Row, Deserialize)]
struct Newest {
    number: u64,
    now_us: u64,
}

impl Term {
    /// Begins a term: from here on every other one is over. `timeout` bounds each question to ClickHouse.
    ///
    /// # Errors
    /// [`StoreError`] when ClickHouse cannot be asked; [`StoreError::Deposed`] when another one began meanwhile.
    pub async fn begin(client: &Client, timeout: Duration) -> Result<Self, StoreError> {
        let newest = newest(client, timeout).await?;
        let number = number_after(&newest, rand::random());
        let follows_clean_end = newest.number == 0 || is_end(newest.number);
        let term = Self { client: client.clone(), timeout, number, follows_clean_end, lost: CancellationToken::new() };
        term.write(number).await?;
        term.ensure_current().await?;
        Ok(term)
    }

    /// Whether the one before had stopped all its work, or there was none: then nobody else's step is under way.
    #[must_use]
    pub const fn follows_clean_end(&self) -> bool {
        self.follows_clean_end
    }

    /// Asks whether this is still the newest term.
    ///
    /// # Errors
    /// [`StoreError::Deposed`] when it is not, now and for ever; another [`StoreError`] when ClickHouse cannot be asked.
    pub async fn ensure_current(&self) -> Result<(), StoreError> {
        if self.lost.is_cancelled() || newest(&self.client, self.timeout).await?.number > self.number {
            self.lost.cancel();
            return Err(StoreError::Deposed);
        }
        Ok(())
    }

    /// Resolves once the term is known to be over.
    pub async fn lost(&self) {
        self.lost.cancelled().await;
    }

    /// Whether the term is known to be over.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.lost.is_cancelled()
    }

    /// Says that all work of this term has stopped, so that the next one need not wait. A newer term stays the newest.
    ///
    /// # Errors
    /// [`StoreError`] when ClickHouse cannot be asked; the next leader then waits.
    pub async fn end(self) -> Result<(), StoreError> {
        self.lost.cancel();
        self.write(self.number + 1).await
    }

    async fn write(&self, number: u64) -> Result<(), StoreError> {
        let query = self
            .client
            .query(
                "INSERT INTO rollup_passes (name, watermark, last_version, at) \
                 SELECT ?, now64(3), toUInt64(?), now64(3)",
            )
            .bind(NAME)
            .bind(number);
        bounded(self.timeout, "writing the leader's term", query.execute()).await
    }
}

async fn newest(client: &Client, timeout: Duration) -> Result<Newest, StoreError> {
    let query = client
        .query(
            "SELECT max(last_version) AS number, toUInt64(toUnixTimestamp64Micro(now64(6))) AS now_us \
             FROM rollup_passes WHERE name = ?",
        )
        .bind(NAME);
    bounded(timeout, "reading the leader's term", query.fetch_one::<Newest>()).await
}

/// An even number above all earlier ones, by the clock unless that was set back.
fn number_after(newest: &Newest, chance: u64) -> u64 {
    let by_clock = ((newest.now_us << CHANCE_BITS) | (chance & ((1 << CHANCE_BITS) - 1))) << 1;
    by_clock.max((newest.number | 1) + 1)
}

/// The odd number after a term's says that it ended in order.
const fn is_end(number: u64) -> bool {
    number % 2 == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_term_is_above_the_one_before_and_its_end() {
        let now_us = 1_795_312_483_000_000;
        let first = number_after(&Newest { number: 0, now_us }, u64::MAX);
        assert!(!is_end(first) && is_end(first + 1));
        // The clock stands still, and was set back by a day.
        for now_us in [now_us, now_us - 86_400_000_000] {
            for number in [first, first + 1] {
                let next = number_after(&Newest { number, now_us }, 0);
                assert!(next > first + 1 && !is_end(next), "{next} after {number}");
            }
        }
        // A later one does not depend on chance.
        assert!(number_after(&Newest { number: first, now_us: now_us + 1 }, 0) > first + 1);
    }
}
