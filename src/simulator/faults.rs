//! `--faults`: what goes wrong, how often, decided by seed and event number alone.

use std::str::FromStr;

use super::{
    SimulatorError,
    random::{Random, Stream},
};

/// Shares of events that go wrong, in parts per million.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    per_million: [u32; NAMES.len()],
}

/// In the order of [`Fault`].
const NAMES: [&str; 10] = [
    "duplicates",
    "reorder",
    "bad-signature",
    "not-json",
    "no-request-id",
    "storage-404",
    "storage-403",
    "storage-500",
    "storage-slow",
    "storage-reset",
];

#[derive(Clone, Copy)]
enum Fault {
    Duplicates,
    Reorder,
    BadSignature,
    NotJson,
    NoRequestId,
    Storage404,
    Storage403,
    Storage500,
    StorageSlow,
    StorageReset,
}

/// What is wrong with a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DeliveryFault {
    /// Signed with another secret: the receiver answers 401.
    BadSignature,
    /// Signed, and cut in the middle: the receiver answers 400 and keeps it as a dead letter.
    NotJson,
    /// Signed, and without its `request_id`: likewise.
    NoRequestId,
}

/// What is wrong with a stored object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StorageFault {
    /// 404, always.
    NotFound,
    /// 403, always.
    Forbidden,
    /// 500 for the first attempt, then the object.
    ErrorOnce,
    /// The object, after a while.
    Slow,
    /// The connection breaks in the middle of the object, always.
    Reset,
}

/// How many events later a duplicate comes at most.
const DUPLICATE_DISTANCE: u64 = 500;
/// How many events later a reordered event comes at most.
const REORDER_DISTANCE: u64 = 50;

impl Faults {
    const fn share(&self, fault: Fault) -> u32 {
        self.per_million[fault as usize]
    }

    fn one_of<T: Copy>(&self, mut random: Random, faults: &[(Fault, T)]) -> Option<T> {
        let mut point = random.below(1_000_000);
        for (fault, result) in faults {
            let share = u64::from(self.share(*fault));
            if point < share {
                return Some(*result);
            }
            point -= share;
        }
        None
    }

    /// What goes wrong with the delivery of an event.
    pub(super) fn delivery(&self, seed: u64, number: u64) -> Option<DeliveryFault> {
        self.one_of(
            Random::new(seed, number, Stream::DeliveryFault),
            &[
                (Fault::BadSignature, DeliveryFault::BadSignature),
                (Fault::NotJson, DeliveryFault::NotJson),
                (Fault::NoRequestId, DeliveryFault::NoRequestId),
            ],
        )
    }

    /// What goes wrong with the object of an event.
    pub(super) fn storage(&self, seed: u64, number: u64) -> Option<StorageFault> {
        self.one_of(
            Random::new(seed, number, Stream::StorageFault),
            &[
                (Fault::Storage404, StorageFault::NotFound),
                (Fault::Storage403, StorageFault::Forbidden),
                (Fault::Storage500, StorageFault::ErrorOnce),
                (Fault::StorageSlow, StorageFault::Slow),
                (Fault::StorageReset, StorageFault::Reset),
            ],
        )
    }

    /// How many events later the event is sent again, if it is.
    pub(super) fn duplicate_distance(&self, seed: u64, number: u64) -> Option<u64> {
        let mut random = Random::new(seed, number, Stream::Order);
        let happens = random.chance_per_million(self.share(Fault::Duplicates));
        happens.then(|| 1 + random.below(DUPLICATE_DISTANCE))
    }

    /// How many events later the event is sent, if not in its turn.
    pub(super) fn reorder_distance(&self, seed: u64, number: u64) -> Option<u64> {
        let mut random = Random::new(!seed, number, Stream::Order);
        let happens = random.chance_per_million(self.share(Fault::Reorder));
        happens.then(|| 1 + random.below(REORDER_DISTANCE))
    }

    fn check_group(&self, first: Fault, last: Fault, names: &'static str) -> Result<(), SimulatorError> {
        let total: u64 = self.per_million[first as usize..=last as usize].iter().copied().map(u64::from).sum();
        if total > 1_000_000 { Err(SimulatorError::FaultsExceedAll { names }) } else { Ok(()) }
    }
}

impl FromStr for Faults {
    type Err = SimulatorError;

    /// Reads `duplicates=5,storage-404=2.5`; an empty text is no faults.
    fn from_str(spec: &str) -> Result<Self, SimulatorError> {
        let mut faults = Self::default();
        for part in spec.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let (name, percent) = part.split_once('=').unwrap_or((part, ""));
            let name = name.trim();
            let Some(index) = NAMES.iter().position(|known| *known == name) else {
                return Err(unknown(name));
            };
            faults.per_million[index] =
                per_million(percent).ok_or_else(|| SimulatorError::FaultPercent { part: part.to_owned() })?;
        }
        faults.check_group(Fault::BadSignature, Fault::NoRequestId, "bad-signature, not-json and no-request-id")?;
        faults.check_group(Fault::Storage404, Fault::StorageReset, "the storage faults")?;
        Ok(faults)
    }
}

fn unknown(name: &str) -> SimulatorError {
    let nearest = NAMES
        .iter()
        .max_by(|a, b| strsim::jaro_winkler(name, a).total_cmp(&strsim::jaro_winkler(name, b)))
        .copied()
        .unwrap_or(NAMES[0]);
    SimulatorError::UnknownFault { name: name.to_owned(), nearest, known: NAMES.join(", ") }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to 1,000,000 by the check before")]
fn per_million(percent: &str) -> Option<u32> {
    let percent: f64 = percent.trim().trim_end_matches('%').parse().ok()?;
    (0.0..=100.0).contains(&percent).then(|| (percent * 10_000.0).round() as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_fault_is_told_its_neighbour() {
        let message = "storage_404=1".parse::<Faults>().expect_err("unknown").to_string();
        assert!(message.contains("did you mean `storage-404`?"), "{message}");
        let message = "duplicate=1".parse::<Faults>().expect_err("unknown").to_string();
        assert!(message.contains("did you mean `duplicates`?"), "{message}");
    }

    #[test]
    fn percentages_are_checked() {
        for bad in ["duplicates", "duplicates=", "duplicates=x", "duplicates=101", "duplicates=-1", "duplicates=NaN"] {
            assert!(matches!(bad.parse::<Faults>(), Err(SimulatorError::FaultPercent { .. })), "{bad}");
        }
        assert!(matches!(
            "not-json=60,no-request-id=60".parse::<Faults>(),
            Err(SimulatorError::FaultsExceedAll { .. })
        ));
        assert_eq!("".parse::<Faults>().expect("no faults"), Faults::default());
    }

    #[test]
    fn a_fault_hits_its_share_of_events() {
        let faults: Faults = "duplicates=10%, storage-404=2.5, not-json=100".parse().expect("valid");
        let count = |hit: &dyn Fn(u64) -> bool| (0..20_000).filter(|number| hit(*number)).count();
        let duplicates = count(&|number| faults.duplicate_distance(3, number).is_some());
        assert!((1800..2200).contains(&duplicates), "{duplicates} duplicates");
        let missing = count(&|number| faults.storage(3, number) == Some(StorageFault::NotFound));
        assert!((400..600).contains(&missing), "{missing} missing objects");
        assert_eq!(count(&|number| faults.delivery(3, number) == Some(DeliveryFault::NotJson)), 20_000);
        assert_eq!(count(&|number| faults.reorder_distance(3, number).is_some()), 0);
    }
}
