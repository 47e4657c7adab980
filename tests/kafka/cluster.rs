//! A whole installation: a broker, a ClickHouse, and processes with one role each.

use std::{
    collections::BTreeMap,
    fs::OpenOptions,
    os::unix::process::ExitStatusExt,
    path::PathBuf,
    process::{Child, ExitStatus, Stdio},
    sync::Arc,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use heliometer::simulator::ExpectedTotals;
use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::{
    broker::{Broker, Turn, free_ports},
    clickhouse::ClickHouse,
    harness::{Options, PATIENCE, Server, Simulation, client, last_lines, send_signal, wait_at_most, wait_until},
    totals::{assert_exact, extra_duplicates},
};

/// Ports that a cluster's processes may need.
const PORTS: u16 = 20;
/// What piles up while something is away is worked off by a program without optimisation on a shared machine.
const CATCH_UP: Duration = Duration::from_secs(240);

/// One `serve` process, with its own data directory and log file, and the same ports whenever it is started.
struct Process {
    role: &'static str,
    directory: TempDir,
    admin_port: u16,
    child: Option<Child>,
}

/// See the module. Those who depend on others are dropped before them.
pub(crate) struct Cluster {
    processes: BTreeMap<&'static str, Process>,
    /// Runs the commands that ask and send.
    pub(crate) desk: Server,
    pub(crate) clickhouse: ClickHouse,
    pub(crate) broker: Arc<Broker>,
    ingress_port: u16,
    ports: std::ops::Range<u16>,
    begun: Instant,
}

/// `consumer` of `consumer-2`.
pub(crate) fn role(name: &'static str) -> &'static str {
    name.split('-').next().expect("is not empty")
}

impl Cluster {
    /// Starts `names`, each called by its role (`consumer-2`), and waits until all are ready, share the partitions and
    /// have a leader. `config` is a settings file for all.
    pub(crate) fn start(names: &[&'static str], config: &str) -> Self {
        let broker = Arc::new(Broker::started(Turn::wait_blocking()));
        let clickhouse = ClickHouse::start();
        let mut ports = free_ports(PORTS);
        let (user, password) = clickhouse.user();
        let options = Options { config: Some(config.to_owned()), ..Options::default() }
            .with_local_storage()
            .with("HELIOMETER__RATE_LIMIT__FAILED_SIGNATURES_PER_15_MINUTES", 100_000)
            .with("HELIOMETER__EVENT_LOG__BROKERS", format!("[\"127.0.0.1:{}\"]", broker.port()))
            .with("HELIOMETER__CLICKHOUSE__URL", clickhouse.url())
            .with("HELIOMETER__CLICKHOUSE__USER", user)
            .with("HELIOMETER__CLICKHOUSE__PASSWORD", password);
        let ingress_port = ports.next().expect("a port");
        let mut cluster = Self {
            processes: BTreeMap::new(),
            desk: Server::not_started(options),
            clickhouse,
            broker,
            ingress_port,
            ports,
            begun: Instant::now(),
        };
        // All at once, on an empty database: that they get along is a part of it.
        for name in names {
            cluster.add(name);
        }
        cluster.wait_until_whole();
        cluster
    }

    /// A new process.
    pub(crate) fn add(&mut self, name: &'static str) {
        let directory = TempDir::new().expect("a directory");
        let admin_port = self.ports.next().expect("a port");
        let process = Process { role: role(name), directory, admin_port, child: None };
        assert!(self.processes.insert(name, process).is_none(), "{name} is there");
        self.start_again(name);
    }

    /// With the directory and the ports that it had.
    pub(crate) fn start_again(&mut self, name: &'static str) {
        self.start_again_with(name, &[]);
    }

    /// And with these environment variables.
    pub(crate) fn start_again_with(&mut self, name: &'static str, variables: &[(&str, String)]) {
        let settings = self.desk.directory.path().join("heliometer.toml");
        let mut command = self.desk.command();
        let process = self.processes.get_mut(name).expect("is known");
        assert!(process.child.is_none(), "{name} runs");
        let log = OpenOptions::new().create(true).append(true).open(process.log_path()).expect("a log file");
        command
            .args(["serve", "--role", process.role])
            .env("HELIOMETER_CONFIG", settings)
            .env("HELIOMETER_DATA_DIR", process.directory.path())
            .env("HELIOMETER__INGRESS__LISTEN", format!("127.0.0.1:{}", self.ingress_port))
            .env("HELIOMETER__ADMIN__LISTEN", format!("127.0.0.1:{}", process.admin_port))
            .envs(variables.iter().map(|(key, value)| (key, value)))
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log file"))
            .stderr(log);
        process.child = Some(command.spawn().expect("heliometer starts"));
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self, name: &'static str) {
        let status = self.end(name, Signal::SIGKILL);
        assert_eq!(
            status.signal(),
            Some(Signal::SIGKILL as i32),
            "{name} was killed, and had not ended before: {status}"
        );
    }

    /// Those that have killed themselves since. Fails when one has ended otherwise.
    pub(crate) fn crashed(&mut self) -> Vec<&'static str> {
        let mut crashed = Vec::new();
        for (name, process) in &mut self.processes {
            if let Some(child) = &mut process.child
                && let Some(status) = child.try_wait().expect("wait")
            {
                assert_eq!(status.signal(), Some(Signal::SIGKILL as i32), "{name} ended by itself: {status}");
                process.child = None;
                crashed.push(*name);
            }
        }
        crashed
    }

    /// SIGTERM, which it must obey with success.
    pub(crate) fn stop(&mut self, name: &'static str) {
        let status = self.end(name, Signal::SIGTERM);
        assert!(status.success(), "{name} stopped with {status}");
    }

    fn end(&mut self, name: &'static str, signal: Signal) -> ExitStatus {
        let process = self.processes.get_mut(name).expect("is known");
        let mut child = process.child.take().expect("runs");
        send_signal(child.id(), signal);
        wait_until(&format!("{name} to end"), || child.try_wait().expect("wait"))
    }

    /// Kills the broker; it is started again beside what goes on here.
    #[must_use]
    pub(crate) fn kill_broker(&self) -> JoinHandle<()> {
        self.broker.kill();
        let broker = Arc::clone(&self.broker);
        std::thread::spawn(move || broker.start())
    }

    /// The names of running processes with a role.
    pub(crate) fn running(&self, role: &str) -> Vec<&'static str> {
        let running = self.processes.iter().filter(|(_, process)| process.role == role && process.child.is_some());
        running.map(|(name, _)| *name).collect()
    }

    /// Whoever keeps the rollups and sends the alerts.
    pub(crate) fn leader(&self) -> Option<&'static str> {
        self.running("alerter").into_iter().find(|name| self.metric(name, "heliometer_is_leader") == Some(1.0))
    }

    pub(crate) fn wait_for_leader(&self) -> &'static str {
        wait_until("a leader", || self.leader())
    }

    /// Waits until every process is ready, every consumer has partitions, and someone leads.
    pub(crate) fn wait_until_whole(&mut self) {
        wait_at_most(PATIENCE, "all processes to be ready", || {
            self.ensure_all_run();
            match self.processes.keys().find(|name| self.running_port(name).is_some() && !self.is_ready(name)) {
                Some(name) => Err(format!("{name} is not; {}", self.get(name, "/readyz").unwrap_or_default())),
                None => Ok(()),
            }
        });
        for name in self.running("consumer") {
            wait_until(&format!("{name} to have partitions"), || self.metric(name, "heliometer_log_lag_records"));
        }
        self.wait_for_leader();
    }

    /// Fails when a process has ended by itself.
    pub(crate) fn ensure_all_run(&mut self) {
        for (name, process) in &mut self.processes {
            if let Some(child) = &mut process.child
                && let Some(status) = child.try_wait().expect("wait")
            {
                panic!("{name} ended by itself: {status}");
            }
        }
    }

    /// Waits until everything that was acknowledged is stored and summed up, and compares it with `expected`. Up to
    /// `resent` messages may be in the log twice without their sender's knowledge; returns how many are.
    pub(crate) fn assert_exact(&mut self, expected: &ExpectedTotals, resent: i64) -> i64 {
        wait_until("ClickHouse to answer", || self.desk.sql("SELECT 1").status.success().then_some(()));
        self.wait_until_whole();
        self.desk.wait_until_counted(expected, CATCH_UP);
        assert_exact(&self.desk, expected);
        extra_duplicates(&self.desk, expected, resent)
    }

    pub(crate) fn webhook_url(&self) -> String {
        format!("https://localhost:{}/webhook", self.ingress_port)
    }

    /// Sends so much for so long: the events of `seed`, at `rate` a second.
    pub(crate) fn load(&self, rate: u64, seconds: u64, seed: u64, faults: &str) -> Simulation {
        let numbers = [rate, rate * seconds, seed].map(|number| number.to_string());
        let [rate, count, seed] = numbers.each_ref().map(String::as_str);
        let arguments = ["--rate", rate, "--count", count, "--seed", seed, "--faults", faults];
        self.desk.start_simulation_to(&self.webhook_url(), &arguments)
    }

    /// Stops all in order; the last one that can lead stops last.
    pub(crate) fn stop_all(&mut self) {
        for role in ["ingress", "consumer", "alerter"] {
            for name in self.running(role) {
                self.stop(name);
            }
        }
    }

    pub(crate) fn pid(&self, name: &str) -> u32 {
        self.processes[name].child.as_ref().expect("runs").id()
    }

    /// Of `/proc/PID/status`, in bytes: `VmRSS` now, `VmHWM` at most ever.
    pub(crate) fn memory_bytes(&self, name: &str, field: &str) -> u64 {
        crate::harness::memory_bytes(self.pid(name), field)
    }

    /// Everything it has logged since the first start.
    pub(crate) fn log(&self, name: &str) -> String {
        std::fs::read_to_string(self.processes[name].log_path()).unwrap_or_default()
    }

    /// A metric, added up over its labels. `None` when it is not there, or the process does not answer.
    pub(crate) fn metric(&self, name: &str, metric: &str) -> Option<f64> {
        let text = self.get(name, "/metrics")?;
        let values = text.lines().filter_map(|line| {
            let rest = line.strip_prefix(metric)?;
            (rest.starts_with('{') || rest.starts_with(' ')).then(|| rest.rsplit(' ').next()?.parse::<f64>().ok())?
        });
        values.reduce(|sum, value| sum + value)
    }

    fn is_ready(&self, name: &str) -> bool {
        self.answer(name, "/readyz").is_some_and(|(is_success, _)| is_success)
    }

    fn get(&self, name: &str, path: &str) -> Option<String> {
        self.answer(name, path).map(|(_, text)| text)
    }

    fn running_port(&self, name: &str) -> Option<u16> {
        let process = &self.processes[name];
        process.child.is_some().then_some(process.admin_port)
    }

    fn answer(&self, name: &str, path: &str) -> Option<(bool, String)> {
        let url = format!("http://127.0.0.1:{}{path}", self.running_port(name)?);
        self.clickhouse.runtime().block_on(async {
            let answer = client().get(url).timeout(Duration::from_secs(5)).send().await.ok()?;
            Some((answer.status().is_success(), answer.text().await.ok()?))
        })
    }

    /// What happened when, for whoever reads the output.
    pub(crate) fn tell(&self, what: impl std::fmt::Display) {
        eprintln!("{:6.1} s  {what}", self.begun.elapsed().as_secs_f64());
    }
}

impl Process {
    fn log_path(&self) -> PathBuf {
        self.directory.path().join("serve.log")
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Some(kept) = std::env::var_os("HELIOMETER_CHAOS_LOG_DIR") {
            for name in self.processes.keys() {
                let kept = PathBuf::from(&kept).join(format!("{name}.{}.log", self.broker.port()));
                drop(std::fs::write(kept, self.log(name)));
            }
        }
        if std::thread::panicking() {
            for name in self.processes.keys() {
                eprintln!("{name}'s last log lines:\n{}", last_lines(&self.log(name), 30));
            }
            eprintln!("the broker's last log lines:\n{}", last_lines(&self.broker.log(), 30));
        }
        for process in self.processes.values_mut() {
            if let Some(mut child) = process.child.take() {
                drop(child.kill());
                drop(child.wait());
            }
        }
    }
}
