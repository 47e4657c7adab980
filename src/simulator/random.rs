//! Random numbers that are the same on every machine and in every version: event 17 of seed 4 stays event 17 of seed 4.

use uuid::Uuid;

/// What the numbers are for, so that a new use of one stream does not shift another.
#[derive(Clone, Copy, Debug)]
pub(super) enum Stream {
    /// Model, user, tokens, cost and latency.
    Facts = 1,
    /// The words of the bodies.
    Text = 2,
    /// What goes wrong with the delivery.
    DeliveryFault = 3,
    /// What goes wrong with the stored object.
    StorageFault = 4,
    /// Duplicates and reordering.
    Order = 5,
    /// Request ids, the organization and the storage key.
    Identity = 6,
    /// Jitter between retries.
    Retry = 7,
    /// What is held back for long.
    Late = 8,
    /// Wrong creation times.
    BackDating = 9,
}

/// `SplitMix64`: small, fast, and specified to the bit, which the standard generators of `rand` are not.
#[derive(Clone, Debug)]
pub(super) struct Random(u64);

impl Random {
    /// The generator for one use in one event.
    pub(super) const fn new(seed: u64, number: u64, stream: Stream) -> Self {
        Self(mix(seed ^ mix(number ^ mix(stream as u64))))
    }

    /// 64 random bits.
    pub(super) const fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// From 0 to `bound` − 1; 0 when `bound` is 0.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        let product = u128::from(self.bits()) * u128::from(bound);
        u64::try_from(product >> 64).unwrap_or(0)
    }

    /// True in `parts` of a million cases.
    pub(super) fn chance_per_million(&mut self, parts: u32) -> bool {
        self.below(1_000_000) < u64::from(parts)
    }

    /// An index, each as likely as its weight; 0 for an empty list.
    pub(super) fn weighted(&mut self, weights: impl Iterator<Item = u32> + Clone) -> usize {
        let mut point = self.below(weights.clone().map(u64::from).sum());
        for (index, weight) in weights.enumerate() {
            if point < u64::from(weight) {
                return index;
            }
            point -= u64::from(weight);
        }
        0
    }

    /// One of `choices`.
    pub(super) fn pick<'a, T>(&mut self, choices: &'a [T]) -> Option<&'a T> {
        choices.get(usize::try_from(self.below(choices.len() as u64)).unwrap_or(0))
    }

    /// A whole number with a log-normal distribution, kept within `min` and `max`.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "sizes of made-up traffic, bounded on both sides"
    )]
    pub(super) fn log_normal(&mut self, median: f64, sigma: f64, min: u64, max: u64) -> u64 {
        // Box and Muller; the uniform number is never 0, whose logarithm is not finite.
        let uniform = ((self.bits() >> 11) + 1) as f64 / (1_u64 << 53) as f64;
        let angle = (self.bits() >> 11) as f64 / (1_u64 << 53) as f64 * std::f64::consts::TAU;
        let normal = (-2.0 * uniform.ln()).sqrt() * angle.cos();
        ((median * (sigma * normal).exp()).round() as u64).clamp(min, max)
    }
}

const fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

/// Event numbers stay below this, so that they fit in a UUID's last six bytes.
const NUMBER_MASK: u64 = (1 << 48) - 1;

/// The id of event `number`: a version 4 UUID that looks random and from which the number can be read again.
pub(super) fn request_id(seed: u64, number: u64) -> Uuid {
    let mut random = Random::new(seed, number, Stream::Identity);
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&random.bits().to_be_bytes());
    bytes[8..10].copy_from_slice(&random.bits().to_be_bytes()[..2]);
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    let tail = (number ^ pad(seed, &bytes)) & NUMBER_MASK;
    bytes[10..].copy_from_slice(&tail.to_be_bytes()[2..]);
    Uuid::from_bytes(bytes)
}

/// The number of the event with this id, `None` when no event of this seed has it.
pub(super) fn event_number(seed: u64, id: Uuid) -> Option<u64> {
    let bytes = id.as_bytes();
    let mut tail = [0; 8];
    tail[2..].copy_from_slice(&bytes[10..]);
    let number = (u64::from_be_bytes(tail) ^ pad(seed, bytes)) & NUMBER_MASK;
    (request_id(seed, number) == id).then_some(number)
}

fn pad(seed: u64, bytes: &[u8; 16]) -> u64 {
    let mut head = [0; 8];
    head.copy_from_slice(&bytes[..8]);
    mix(seed ^ u64::from_be_bytes(head))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_tells_its_event_and_only_to_its_seed() {
        for number in [0, 1, 2, 999, 123_456_789] {
            let id = request_id(7, number);
            assert_eq!((id.get_version_num(), event_number(7, id)), (4, Some(number)));
            assert_eq!(event_number(8, id), None);
        }
        assert_eq!(event_number(7, Uuid::nil()), None);
    }

    #[test]
    fn the_numbers_never_change() {
        let mut random = Random::new(1, 2, Stream::Facts);
        let first = [random.bits(), random.bits()];
        let mut again = Random::new(1, 2, Stream::Facts);
        assert_eq!(first, [again.bits(), again.bits()]);
        assert_ne!(first[0], Random::new(1, 2, Stream::Text).bits());
        assert_eq!(request_id(1, 0).to_string(), "36f63937-88a7-4d7f-be43-e959e6720e70");
    }

    #[test]
    fn sizes_lie_around_their_median_and_within_their_bounds() {
        let mut random = Random::new(1, 1, Stream::Facts);
        let sizes: Vec<_> = (0..2000).map(|_| random.log_normal(100.0, 1.0, 10, 900)).collect();
        let below = sizes.iter().filter(|size| **size < 100).count();
        assert!((850..1150).contains(&below), "{below} of 2000 below the median");
        assert!(sizes.iter().all(|size| (10..=900).contains(size)));
    }
}
