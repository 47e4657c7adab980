//! Decides whether a place that was reached is the end, and makes it so.

use std::{
    env,
    io::{self, Write},
    process,
    sync::{LazyLock, Mutex, PoisonError},
};

use nix::sys::signal::{Signal, raise};
use rand::{RngExt, SeedableRng, rngs::StdRng};

/// Wrong usage, as everywhere.
const EXIT_USAGE: i32 = 2;

/// Where a crash hurts most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Point {
    /// A webhook is durable, and its sender has no answer.
    IngressAppended,
    /// Kafka has what was in the spool, and the spool does not know it.
    SpoolDelivered,
    /// A fetch was put off, and its row is not written.
    FetchDeferred,
    /// The rows of a batch are written, and their outcomes are not.
    ConsumerInserted,
    /// A batch is written, and not committed.
    ConsumerWritten,
    /// Rows of `fetch-retry` are written, and not committed.
    RetryWritten,
    /// A pass of the rollups is about to send its next statement.
    RollupStatement,
    /// A pass is complete, and its progress is not stored.
    RollupProgress,
}

/// In the order of [`Point`].
const NAMES: [&str; 8] = [
    "ingress-appended",
    "spool-delivered",
    "fetch-deferred",
    "consumer-inserted",
    "consumer-written",
    "retry-written",
    "rollup-statement",
    "rollup-progress",
];

/// How likely each is the end.
type Chances = [f64; NAMES.len()];

fn chances(spec: &str) -> Result<Chances, String> {
    let mut chances = Chances::default();
    for part in spec.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let entry = part.split_once('=').and_then(|(name, chance)| {
            let index = NAMES.iter().position(|known| *known == name.trim())?;
            let chance: f64 = chance.trim().parse().ok()?;
            (0.0..=1.0).contains(&chance).then_some((index, chance))
        });
        let Some((index, chance)) = entry else {
            return Err(format!(
                "`{part}` must be NAME=CHANCE with a chance from 0 to 1, NAME of {}",
                NAMES.join(", ")
            ));
        };
        chances[index] = chance;
    }
    Ok(chances)
}

struct Fate {
    chances: Chances,
    random: Mutex<StdRng>,
}

impl Fate {
    fn from_environment() -> Result<Self, String> {
        let chances = chances(&env::var("HELIOMETER_CRASH_POINTS").unwrap_or_default())
            .map_err(|error| format!("HELIOMETER_CRASH_POINTS: {error}"))?;
        let seed = env::var("HELIOMETER_CRASH_SEED").unwrap_or_else(|_| "0".to_owned());
        let seed = seed.parse().map_err(|error| format!("HELIOMETER_CRASH_SEED: {error}"))?;
        Ok(Self { chances, random: Mutex::new(StdRng::seed_from_u64(seed)) })
    }

    fn strikes(&self, point: Point) -> bool {
        let chance = self.chances[point as usize];
        chance > 0.0 && self.random.lock().unwrap_or_else(PoisonError::into_inner).random_bool(chance)
    }
}

static FATE: LazyLock<Fate> = LazyLock::new(|| {
    Fate::from_environment().unwrap_or_else(|error| {
        tell(&error);
        process::exit(EXIT_USAGE)
    })
});

/// For a test to read.
fn tell(line: &str) {
    // Whoever does not listen misses it.
    drop(writeln!(io::stderr(), "{line}"));
}

/// Ends this process, if it is to end here.
pub(crate) fn reached(point: Point) {
    if FATE.strikes(point) {
        tell(&format!("crash point {}: killed", NAMES[point as usize]));
        // Nothing is behind this: the signal cannot be caught.
        let _ = raise(Signal::SIGKILL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chances_are_read_by_name() {
        let mut expected = Chances::default();
        expected[Point::ConsumerInserted as usize] = 0.25;
        expected[Point::RollupProgress as usize] = 1.0;
        assert_eq!(chances(" consumer-inserted = 0.25, rollup-progress=1,"), Ok(expected));
        assert_eq!(chances(""), Ok(Chances::default()));
        for bad in ["consumer-inserted", "consumer-inserted=2", "consumer-inserted=x", "elsewhere=0.1", "=1"] {
            assert!(chances(bad).is_err_and(|error| error.contains("rollup-statement")), "{bad}");
        }
    }

    #[test]
    fn a_seed_decides_where_it_ends() {
        let strikes = |seed| {
            let chances = chances("consumer-written=0.2").expect("valid");
            let fate = Fate { chances, random: Mutex::new(StdRng::seed_from_u64(seed)) };
            (0..200).map(|_| fate.strikes(Point::ConsumerWritten)).collect::<Vec<_>>()
        };
        assert_eq!(strikes(1), strikes(1));
        assert_ne!(strikes(1), strikes(2));
        assert!((20..60).contains(&strikes(3).into_iter().filter(|strikes| *strikes).count()));
        let never = Fate { chances: Chances::default(), random: Mutex::new(StdRng::seed_from_u64(1)) };
        assert!((0..200).all(|_| !never.strikes(Point::IngressAppended)));
    }
}
