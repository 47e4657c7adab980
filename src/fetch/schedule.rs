//! When an object is asked for again that could not be had at once.

use std::time::Duration;

use crate::domain::UtcMillis;

/// The last attempt is made this long before the URL's end.
const LAST_CHANCE: Duration = Duration::from_secs(10);

/// `first`, doubled `times` times.
pub(super) fn doubled(first: Duration, times: u32) -> Duration {
    first.saturating_mul(1 << times.min(20))
}

/// After `pause`, but not before the storage wants it and while the URL still lives; `None` when that cannot be.
pub(super) fn not_before(
    now: UtcMillis,
    expires_at: UtcMillis,
    pause: Duration,
    retry_after: Option<Duration>,
) -> Option<UtcMillis> {
    let earliest = now.plus(retry_after.unwrap_or_default());
    let last_chance = expires_at.minus(LAST_CHANCE);
    (now < last_chance && earliest <= last_chance).then(|| earliest.max(now.plus(pause)).min(last_chance))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn asks_again_within_the_life_of_the_url() {
        let seconds = Duration::from_secs;
        for (what, pause, retry_after, life, expected) in [
            ("after the pause", 30, None, 1_000, Some(30)),
            ("not before the storage wants it", 30, Some(60), 1_000, Some(60)),
            ("nor sooner than the pause", 30, Some(3), 1_000, Some(30)),
            ("a last time before the end", 300, None, 100, Some(90)),
            ("the storage wants it too late", 30, Some(95), 100, None),
            ("the last time was this", 30, None, 10, None),
            ("it is over", 30, None, 0, None),
        ] {
            let (now, at) = (UtcMillis(5_000_000), |seconds: i64| UtcMillis(5_000_000 + seconds * 1_000));
            let found = not_before(now, at(life), seconds(pause), retry_after.map(seconds));
            assert_eq!(found, expected.map(at), "{what}");
        }
    }

    #[test]
    fn doubles_without_overflow() {
        let second = Duration::from_secs(1);
        assert_eq!([0, 1, 3].map(|times| doubled(second, times).as_secs()), [1, 2, 8]);
        assert!(doubled(Duration::from_secs(u64::MAX), u32::MAX) >= doubled(second, 20));
    }
}
