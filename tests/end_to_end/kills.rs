//! When to kill, where the program is to kill itself, and how often who was killed: for the chaos runs.
//!
//! Kills are spread over the load by what has been accepted, not by time, so that a slow machine kills as often as a quick
//! one. `HELIOMETER_CHAOS_KILLS`, `HELIOMETER_CHAOS_EVENTS`, `HELIOMETER_CHAOS_RATE` (events a second) and
//! `HELIOMETER_CHAOS_SEED` say how much; a seed decides the events, whom the kills meet and about when.

use std::{
    collections::BTreeMap,
    fmt,
    fs::File,
    io::{ErrorKind, Read},
    path::{Path, PathBuf},
};

use rand::{RngExt, SeedableRng, rngs::StdRng};

/// Every fault of the sender, and some of storage.
const FAULTS: &str = "duplicates=5,reorder=5,late=2,back-dated=5,bad-signature=0.5,not-json=0.2,no-request-id=0.2,\
                      storage-404=2,storage-500=2,storage-slow=0.2,storage-reset=0.1";
/// No kill is left for what comes after this share of the events.
const KILLS_END_PERCENT: u64 = 95;
/// So many kills meet everybody everywhere.
const MANY_KILLS: u64 = 200;

/// A number from the environment.
pub(crate) fn number_from(variable: &str, default: u64) -> u64 {
    let text = std::env::var(variable).ok().filter(|text| !text.is_empty());
    text.map_or(default, |text| text.parse().unwrap_or_else(|error| panic!("{variable}: {error}")))
}

/// How much chaos.
pub(crate) struct Amount {
    pub(crate) seed: u64,
    pub(crate) kills: u64,
    pub(crate) events: u64,
    pub(crate) rate: u64,
}

impl Amount {
    /// From the environment, by default little.
    pub(crate) fn from_environment(kills: u64, events: u64, rate: u64) -> Self {
        Self {
            seed: number_from("HELIOMETER_CHAOS_SEED", 1),
            kills: number_from("HELIOMETER_CHAOS_KILLS", kills),
            events: number_from("HELIOMETER_CHAOS_EVENTS", events),
            rate: number_from("HELIOMETER_CHAOS_RATE", rate),
        }
    }

    /// What `heliometer simulate` is told. It goes on trying for five minutes: nobody is away for so long.
    pub(crate) fn arguments(&self, requests: &Path) -> Vec<String> {
        let mut arguments: Vec<String> =
            ["--faults", FAULTS, "--concurrency", "128", "--max-attempts", "70", "--linger-seconds", "60"]
                .map(str::to_owned)
                .into();
        for (name, value) in [("--rate", self.rate), ("--count", self.events), ("--seed", self.seed)] {
            arguments.extend([name.to_owned(), value.to_string()]);
        }
        arguments.extend(["--expect-requests".to_owned(), requests.display().to_string()]);
        arguments
    }
}

/// Decides about each kill.
pub(crate) struct Kills {
    pub(crate) random: StdRng,
    wanted: u64,
    last_at: u64,
    next_at: u64,
    accepted: Accepted,
    /// Kills from outside, by part.
    by_part: BTreeMap<&'static str, u64>,
    /// How often a process ended at a crash point.
    at_points: u64,
}

impl Kills {
    /// `requests` is the file that the simulator writes meanwhile.
    pub(crate) fn new(amount: &Amount, requests: &Path) -> Self {
        let mut kills = Self {
            random: StdRng::seed_from_u64(amount.seed),
            wanted: amount.kills,
            last_at: amount.events * KILLS_END_PERCENT / 100,
            next_at: 0,
            accepted: Accepted { path: requests.to_path_buf(), file: None, lines: 0 },
            by_part: BTreeMap::new(),
            at_points: 0,
        };
        kills.plan_next();
        kills
    }

    /// All of them.
    pub(crate) fn count(&self) -> u64 {
        self.outside() + self.at_points
    }

    fn outside(&self) -> u64 {
        self.by_part.values().sum()
    }

    /// Whether the time has come for a kill from outside.
    pub(crate) fn is_due(&mut self) -> bool {
        self.count() < self.wanted && self.accepted.count() >= self.next_at
    }

    /// One was killed from outside.
    pub(crate) fn killed(&mut self, part: &'static str) {
        *self.by_part.entry(part).or_default() += 1;
        self.plan_next();
    }

    /// One killed itself.
    pub(crate) fn crashed(&mut self) {
        self.at_points += 1;
        self.plan_next();
    }

    /// What is left, spread over what is left.
    fn plan_next(&mut self) {
        let accepted = self.accepted.count();
        let left = self.wanted.saturating_sub(self.count()).max(1);
        let mean = self.last_at.saturating_sub(accepted) / left;
        self.next_at = (accepted + self.random.random_range(0..=2 * mean)).min(self.last_at);
    }

    /// For the environment of a process that is started. As long as kills from outside are not behind, one of `points`, each
    /// with the chance that ends a life within seconds, is to be its end.
    pub(crate) fn fate(&mut self, points: &[(&str, f64)]) -> [(&'static str, String); 2] {
        let (name, chance) = points[self.random.random_range(0..points.len())];
        let is_armed = self.count() < self.wanted && self.at_points <= self.outside();
        let spec = if is_armed { format!("{name}={chance}") } else { String::new() };
        [("HELIOMETER_CRASH_POINTS", spec), ("HELIOMETER_CRASH_SEED", self.random.random::<u64>().to_string())]
    }

    /// Who was killed how often, given the logs of all processes.
    pub(crate) fn summary(&self, log: &str) -> String {
        format!("{} kills: from outside {:?}, at points {:?}", self.count(), self.by_part, by_point(log))
    }

    /// Fails when the kills did not come to what was wanted, or, of many, spared one of `parts` or `points`.
    pub(crate) fn assert_wanted(&self, log: &str, parts: &[&str], points: &[(&str, f64)]) {
        let by_point = by_point(log);
        // One may have ended just before it was to be killed, or while it stopped.
        let told: u64 = by_point.values().sum();
        assert!(told >= self.at_points, "{} ended by themselves, and of crash points: {by_point:?}", self.at_points);
        assert!(self.count() >= self.wanted, "{self}");
        if self.wanted >= MANY_KILLS {
            let by_part = &self.by_part;
            let spared: Vec<_> = parts.iter().filter(|part| !by_part.contains_key(**part)).collect();
            assert!(spared.is_empty(), "nobody killed {spared:?}: {by_part:?}");
            // Without the feature there is none.
            let spared: Vec<_> = points.iter().filter(|(name, _)| !by_point.contains_key(name)).collect();
            assert!(spared.is_empty() || told == 0, "nobody was killed at {spared:?}: {by_point:?}");
        }
    }
}

fn by_point(log: &str) -> BTreeMap<&str, u64> {
    let mut by_point = BTreeMap::new();
    for line in log.lines() {
        if let Some(name) = line.strip_prefix("crash point ").and_then(|rest| rest.strip_suffix(": killed")) {
            *by_point.entry(name).or_default() += 1;
        }
    }
    by_point
}

impl fmt::Display for Kills {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} kills, {} accepted", self.count(), self.wanted, self.accepted.lines)
    }
}

/// Counts the lines of a file that grows.
struct Accepted {
    path: PathBuf,
    file: Option<File>,
    lines: u64,
}

impl Accepted {
    fn count(&mut self) -> u64 {
        if self.file.is_none() {
            match File::open(&self.path) {
                Ok(file) => self.file = Some(file),
                Err(error) if error.kind() == ErrorKind::NotFound => return 0,
                Err(error) => panic!("{}: {error}", self.path.display()),
            }
        }
        // Bytes, as what is written so far may end within a character.
        let mut bytes = Vec::new();
        self.file.as_mut().expect("open").read_to_end(&mut bytes).expect("the simulator's file");
        self.lines += bytes.split(|byte| *byte == b'\n').skip(1).count() as u64;
        self.lines
    }
}
