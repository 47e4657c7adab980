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
const NAMES: [&str; 12] = [
    "duplicates",
    "reorder",
    "late",
    "back-dated",
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
    Late,
    BackDated,
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
pub(super) const DUPLICATE_DISTANCE: u64 = 500;
/// How often an event is sent again at most.
pub(super) const MAX_DUPLICATES: u64 = 4;
/// How many events later a reordered event comes at most.
const REORDER_DISTANCE: u64 = 50;
/// How many events later a late event comes at least, and at most: of a hundred a second, up to eight minutes later.
const LATE_DISTANCES: [u64; 2] = [2_000, 50_000];

const HOUR_SECONDS: u64 = 3_600;
const DAY_SECONDS: u64 = 24 * HOUR_SECONDS;
/// Of five back-dated events, one is beyond belief.
const IMPLAUSIBLE_ONE_IN: u64 = 5;

/// How far a body's own creation time is from the truth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BackDating {
    /// Not at all.
    None,
    /// Hours to six days before: that is when the call was made.
    Plausible {
        /// How much earlier.
        earlier_seconds: u64,
    },
    /// Long before seven days ago, or hours ahead: not to be believed.
    Implausible {
        /// How much earlier; negative is ahead.
        earlier_seconds: i64,
    },
}

impl BackDating {
    /// How much earlier the body says that it was created; negative is later.
    pub(super) fn earlier_seconds(self) -> i64 {
        match self {
            Self::None => 0,
            Self::Plausible { earlier_seconds } => i64::try_from(earlier_seconds).unwrap_or(0),
            Self::Implausible { earlier_seconds } => earlier_seconds,
        }
    }
}

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

    /// How many events later the event is sent again, each time that it is: one to four times, or never.
    pub(super) fn duplicate_distances(&self, seed: u64, number: u64) -> Vec<u64> {
        let mut random = Random::new(seed, number, Stream::Order);
        if !random.chance_per_million(self.share(Fault::Duplicates)) {
            return Vec::new();
        }
        let first = 1 + random.below(DUPLICATE_DISTANCE);
        // Half of them come twice in all, a quarter three times, and so on.
        let more = u64::from(random.bits().leading_ones()).min(MAX_DUPLICATES - 1);
        std::iter::once(first).chain((0..more).map(|_| 1 + random.below(DUPLICATE_DISTANCE))).collect()
    }

    /// How many events later the event is sent, if not in its turn.
    pub(super) fn reorder_distance(&self, seed: u64, number: u64) -> Option<u64> {
        let mut random = Random::new(!seed, number, Stream::Order);
        let happens = random.chance_per_million(self.share(Fault::Reorder));
        happens.then(|| 1 + random.below(REORDER_DISTANCE))
    }

    /// How many events later the event is sent, if it is held back for long.
    pub(super) fn late_distance(&self, seed: u64, number: u64) -> Option<u64> {
        let mut random = Random::new(seed, number, Stream::Late);
        let happens = random.chance_per_million(self.share(Fault::Late));
        let [least, most] = LATE_DISTANCES;
        happens.then(|| least + random.below(most - least))
    }

    /// What the body says of its creation. Never of an event that is late as well: hours ahead may have come by then.
    pub(super) fn back_dating(&self, seed: u64, number: u64) -> BackDating {
        let mut random = Random::new(seed, number, Stream::BackDating);
        if !random.chance_per_million(self.share(Fault::BackDated)) || self.late_distance(seed, number).is_some() {
            return BackDating::None;
        }
        let between = |random: &mut Random, least: u64, most: u64| least + random.below(most - least);
        let seconds = |seconds: u64| i64::try_from(seconds).unwrap_or(0);
        match random.below(2 * IMPLAUSIBLE_ONE_IN) {
            0 => BackDating::Implausible {
                earlier_seconds: seconds(between(&mut random, 8 * DAY_SECONDS, 60 * DAY_SECONDS)),
            },
            1 => BackDating::Implausible {
                earlier_seconds: -seconds(between(&mut random, 2 * HOUR_SECONDS, 2 * DAY_SECONDS)),
            },
            _ => BackDating::Plausible { earlier_seconds: between(&mut random, HOUR_SECONDS, 6 * DAY_SECONDS) },
        }
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
    fn an_event_comes_up_to_five_times() {
        let faults: Faults = "duplicates=100".parse().expect("valid");
        let mut times = [0; 5];
        for number in 0..2_000 {
            let distances = faults.duplicate_distances(3, number);
            times[distances.len()] += 1;
            assert!(distances.iter().all(|distance| (1..=DUPLICATE_DISTANCE).contains(distance)), "{distances:?}");
        }
        assert!(times[0] == 0 && times[1] > times[2] && times[2] > times[3] && times[4] > 50, "{times:?}");
    }

    #[test]
    fn back_dating_is_within_a_week_or_beyond_belief() {
        let faults: Faults = "back-dated=50".parse().expect("valid");
        let (mut plausible, mut before, mut ahead) = (0, 0, 0);
        for number in 0..4_000 {
            let dating = faults.back_dating(3, number);
            match dating {
                BackDating::None => continue,
                BackDating::Plausible { earlier_seconds } => {
                    plausible += 1;
                    assert!((HOUR_SECONDS..6 * DAY_SECONDS).contains(&earlier_seconds), "{earlier_seconds}");
                }
                BackDating::Implausible { earlier_seconds } if earlier_seconds > 0 => before += 1,
                BackDating::Implausible { .. } => ahead += 1,
            }
            let days = dating.earlier_seconds() / 86_400;
            assert!((-2..=60).contains(&days) && days != 7, "{dating:?}");
        }
        assert!((1_400..1_800).contains(&plausible) && before > 150 && ahead > 150, "{plausible} {before} {ahead}");
        let faults: Faults = "back-dated=100,late=100".parse().expect("valid");
        assert!((0..100).all(|number| faults.back_dating(3, number) == BackDating::None), "late is enough");
    }

    #[test]
    fn a_fault_hits_its_share_of_events() {
        let faults: Faults = "duplicates=10%, storage-404=2.5, not-json=100".parse().expect("valid");
        let count = |hit: &dyn Fn(u64) -> bool| (0..20_000).filter(|number| hit(*number)).count();
        let duplicates = count(&|number| !faults.duplicate_distances(3, number).is_empty());
        assert!((1800..2200).contains(&duplicates), "{duplicates} duplicates");
        let missing = count(&|number| faults.storage(3, number) == Some(StorageFault::NotFound));
        assert!((400..600).contains(&missing), "{missing} missing objects");
        assert_eq!(count(&|number| faults.delivery(3, number) == Some(DeliveryFault::NotJson)), 20_000);
        assert_eq!(count(&|number| faults.reorder_distance(3, number).is_some()), 0);
        assert_eq!(count(&|number| faults.late_distance(3, number).is_some()), 0);
    }
}
