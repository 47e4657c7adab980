//! Starts `heliometer serve` with a directory and ports of its own, and asks it things.

use std::{
    fmt::Display,
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::{
        Arc,
        mpsc::{self, RecvTimeoutError},
    },
    time::{Duration, Instant},
};

use heliometer::{
    event_log::{EmbeddedLog, EventLog, KafkaLog},
    settings::EventLogSettings,
    simulator::ExpectedTotals,
};
use hmac::{Hmac, KeyInit, Mac};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use prometheus::Registry;
use serde::de::DeserializeOwned;
use sha2::Sha256;
use tempfile::TempDir;

/// The secret of the source `default`; the one that signed the samples.
pub(crate) const SECRET: &str = "5f9d3c0a7e1b4d2f8a6c9e0b1d3f5a7c2e4b6d8f0a1c3e5b7d9f1a2b4c6d8e0f";

/// Generous: these machines are slow and shared, and nothing here measures speed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

/// How a server is set up. `settings` are environment variables.
#[derive(Default)]
pub(crate) struct Options {
    pub(crate) settings: Vec<(String, String)>,
    /// Written to a settings file.
    pub(crate) config: Option<String>,
}

impl Options {
    pub(crate) fn with(mut self, key: &str, value: impl Display) -> Self {
        self.settings.push((key.to_owned(), value.to_string()));
        self
    }

    /// Bodies may be fetched from this machine without TLS.
    pub(crate) fn with_local_storage(self) -> Self {
        self.with("HELIOMETER__FETCH__ALLOW_HTTP", "true")
            .with("HELIOMETER__FETCH__ALLOW_PRIVATE_CIDRS", "[\"127.0.0.0/8\"]")
    }
}

/// The program under test. The long chaos runs name an optimised one in `HELIOMETER_TEST_PROGRAM`.
pub(crate) fn program() -> PathBuf {
    std::env::var_os("HELIOMETER_TEST_PROGRAM").map_or_else(|| env!("CARGO_BIN_EXE_heliometer").into(), PathBuf::from)
}

/// A running server and its data directory.
pub(crate) struct Server {
    pub(crate) directory: TempDir,
    options: Options,
    process: Option<Running>,
}

struct Running {
    child: Child,
    webhook_url: String,
    admin_url: String,
}

impl Server {
    pub(crate) fn start(options: Options) -> Self {
        let mut server = Self::not_started(options);
        server.start_again();
        server
    }

    /// Directory and settings only: for commands that ask others' servers.
    pub(crate) fn not_started(options: Options) -> Self {
        let directory = TempDir::new().expect("temporary directory");
        if let Some(config) = &options.config {
            std::fs::write(directory.path().join("heliometer.toml"), config).expect("settings file");
        }
        Self { directory, options, process: None }
    }

    pub(crate) fn start_again(&mut self) {
        if let Err(status) = self.try_start_again() {
            panic!("serve ended at its start with {status}; its log:\n{}", self.log());
        }
    }

    /// Where it may be killed before it says where it listens: its end then.
    pub(crate) fn try_start_again(&mut self) -> Result<(), ExitStatus> {
        assert!(self.process.is_none(), "already running");
        let log = self.directory.path().join("serve.log");
        let stderr = std::fs::OpenOptions::new().create(true).append(true).open(&log).expect("log file");
        let mut child = self
            .command()
            .arg("serve")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(stderr)
            .spawn()
            .expect("heliometer starts");
        let (sender, lines) = mpsc::channel();
        let stdout = BufReader::new(child.stdout.take().expect("stdout"));
        std::thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        let (mut webhook_url, mut admin_url) = (None, None);
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let line = match lines.recv_timeout(left) {
                Ok(line) => line,
                Err(RecvTimeoutError::Disconnected) => return Err(child.wait().expect("wait")),
                Err(RecvTimeoutError::Timeout) => {
                    panic!("serve did not announce itself; its log:\n{}", self.log());
                }
            };
            let value = |name: &str| line.trim().strip_prefix(name).map(|value| value.trim().to_owned());
            webhook_url = webhook_url.or_else(|| value("webhook "));
            admin_url = admin_url.or_else(|| value("live page "));
            if line.contains("Try next") {
                break;
            }
        }
        self.process = Some(Running {
            child,
            webhook_url: webhook_url.expect("a webhook URL"),
            admin_url: admin_url.expect("an admin URL"),
        });
        Ok(())
    }

    /// How it ended, if it did.
    pub(crate) fn has_ended(&mut self) -> Option<ExitStatus> {
        let status = self.process.as_mut()?.child.try_wait().expect("wait")?;
        self.process = None;
        Some(status)
    }

    /// The program with this server's settings.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(program());
        for (key, _) in std::env::vars().filter(|(key, _)| key.starts_with("HELIOMETER_") && !key.contains("ENGINE")) {
            command.env_remove(key);
        }
        command
            .current_dir(self.directory.path())
            .env("HELICONE_WEBHOOK_SECRET", SECRET)
            .env_remove("SLACK_WEBHOOK_URL")
            .env("HELIOMETER_DATA_DIR", self.data_dir())
            .env("HELIOMETER__INGRESS__LISTEN", "127.0.0.1:0")
            .env("HELIOMETER__ADMIN__LISTEN", "127.0.0.1:0")
            .env("HELIOMETER__CLICKHOUSE__HTTP_PORT", "0")
            .env("HELIOMETER__CLICKHOUSE__TCP_PORT", "0")
            .envs(self.event_log())
            .envs(self.options.settings.iter().map(|(key, value)| (key, value)));
        command
    }

    /// Settings of the event log: the broker at `KAFKA_BROKERS` under the feature `test-kafka`, where every server has
    /// topics of its own; else the embedded one.
    fn event_log(&self) -> Vec<(&'static str, String)> {
        const BROKERS: &str = "HELIOMETER__EVENT_LOG__BROKERS";
        if !cfg!(feature = "test-kafka") || self.options.settings.iter().any(|(key, _)| key == BROKERS) {
            return Vec::new();
        }
        let brokers = std::env::var("KAFKA_BROKERS").expect("KAFKA_BROKERS; see tests/kafka/broker.sh");
        let brokers: Vec<&str> = brokers.split(',').collect();
        let name = self.directory.path().file_name().expect("a name").to_string_lossy().into_owned();
        vec![(BROKERS, format!("{brokers:?}")), ("HELIOMETER__EVENT_LOG__TOPIC_PREFIX", format!("test{name}."))]
    }

    pub(crate) fn data_dir(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// The event log, while the server is stopped.
    pub(crate) fn open_log(&self) -> Arc<dyn EventLog> {
        let partitions = self.options.settings.iter().rev().find(|(key, _)| key == "HELIOMETER__EVENT_LOG__PARTITIONS");
        let settings = EventLogSettings {
            retention_hours: u64::from(u16::MAX),
            partitions: partitions.map_or(4, |(_, count)| count.parse().expect("a number")),
            ..EventLogSettings::default()
        };
        let registry = Registry::new();
        let variables = self.event_log();
        if variables.is_empty() {
            let directory = self.data_dir().join("event_log");
            return Arc::new(EmbeddedLog::open(&directory, &settings, &registry).expect("the log"));
        }
        let value = |name: &str| {
            variables.iter().find(|(key, _)| key.ends_with(name)).map(|(_, value)| value.clone()).expect("is set")
        };
        let brokers = serde_json::from_str(&value("BROKERS")).expect("a list");
        let settings = EventLogSettings { brokers, topic_prefix: value("TOPIC_PREFIX"), ..settings };
        Arc::new(KafkaLog::connect(&settings, &registry).expect("Kafka"))
    }

    /// The name of a topic in Kafka.
    #[cfg(feature = "test-kafka")]
    pub(crate) fn topic(&self, name: &str) -> String {
        let variables = self.event_log();
        let prefix = variables.iter().find(|(key, _)| key.ends_with("TOPIC_PREFIX")).expect("is set");
        format!("{}{name}", prefix.1)
    }

    fn running(&self) -> &Running {
        self.process.as_ref().expect("the server runs")
    }

    pub(crate) fn webhook_url(&self) -> String {
        self.running().webhook_url.clone()
    }

    pub(crate) fn admin_url(&self) -> &str {
        &self.running().admin_url
    }

    pub(crate) fn address(&self) -> SocketAddr {
        let url = url::Url::parse(&self.webhook_url()).expect("a URL");
        SocketAddr::from(([127, 0, 0, 1], url.port().expect("a port")))
    }

    pub(crate) fn pid(&self) -> u32 {
        self.running().child.id()
    }

    /// SIGTERM, and waits for the end.
    pub(crate) fn stop(&mut self) -> ExitStatus {
        self.end(Signal::SIGTERM)
    }

    /// SIGKILL: what a crash or the out-of-memory killer does.
    pub(crate) fn kill(&mut self) -> ExitStatus {
        self.end(Signal::SIGKILL)
    }

    fn end(&mut self, signal: Signal) -> ExitStatus {
        send_signal(self.pid(), signal);
        self.ended()
    }

    /// Waits for the end.
    fn ended(&mut self) -> ExitStatus {
        let mut running = self.process.take().expect("the server runs");
        wait_until("the server to end", || running.child.try_wait().expect("wait"))
    }

    /// Another value from the next start on.
    pub(crate) fn set(&mut self, key: &str, value: impl Display) {
        self.options.settings.retain(|(known, _)| known != key);
        self.options.settings.push((key.to_owned(), value.to_string()));
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("serve.log")).unwrap_or_default()
    }

    /// Rows of a query, through `heliometer sql`.
    pub(crate) fn query<T: DeserializeOwned>(&self, query: &str) -> Vec<T> {
        let output = self.sql(query);
        assert!(output.status.success(), "{query}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout)
            .expect("UTF-8")
            .lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
            .collect()
    }

    /// Rows of a query, one by one as they come: there may be a million.
    pub(crate) fn each_row<T: DeserializeOwned>(&self, query: &str, mut each: impl FnMut(T)) {
        let mut child = self.sql_command(query).stdout(Stdio::piped()).spawn().expect("heliometer sql");
        for line in BufReader::new(child.stdout.take().expect("stdout")).lines() {
            let line = line.expect("UTF-8");
            each(serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}")));
        }
        assert!(child.wait().expect("wait").success(), "{query}");
    }

    pub(crate) fn sql(&self, query: &str) -> Output {
        self.sql_command(query).output().expect("heliometer sql")
    }

    fn sql_command(&self, query: &str) -> Command {
        let settings = "output_format_json_quote_decimals = 1, output_format_json_quote_64bit_integers = 0, \
                        output_format_decimal_trailing_zeros = 1";
        let query = format!("{query} SETTINGS {settings}");
        let mut command = self.command();
        command.args(["sql", "--format", "JSONEachRow", &query]);
        command
    }

    /// One number.
    pub(crate) fn count(&self, expression: &str) -> i64 {
        #[derive(serde::Deserialize)]
        struct One {
            value: i64,
        }
        self.query::<One>(&format!("SELECT toInt64({expression}) AS value")).remove(0).value
    }

    /// Waits until every received message has its outcome and the rollups hold every stored request.
    pub(crate) fn wait_until_worked_off(&self, received: i64) {
        wait_until(&format!("{received} messages to be worked off"), || {
            let done = self.count(
                "(SELECT sum(messages) FROM outcomes WHERE outcome NOT IN ('received', 'in_flight', 'missing'))",
            );
            let rolled_up = self.count("(SELECT sum(requests) FROM model_day)")
                == self.count("(SELECT count() FROM requests WHERE NOT is_test)");
            let users = self.count("(SELECT sum(requests) FROM user_month)")
                == self.count("(SELECT count() FROM requests WHERE NOT is_test)");
            (done == received && rolled_up && users).then_some(())
        });
    }

    /// As [`Self::wait_until_worked_off`], where deliveries may have arrived more than once: waits until all that was
    /// accepted is stored and in the rollups, and nothing is in flight.
    pub(crate) fn wait_until_counted(&self, expected: &ExpectedTotals, patience: Duration) {
        let number = |number: u64| i64::try_from(number).expect("fits");
        let (requests, stored) = (number(expected.sums.requests), number(expected.sums.requests + expected.tests));
        let state = || {
            (
                self.count("(SELECT count() FROM requests)"),
                self.count("(SELECT sum(messages) FROM outcomes WHERE outcome = 'in_flight')"),
                // Both: a pass that a row comes in the middle of has it in the users' totals only.
                self.count("(SELECT sum(requests) FROM model_day)"),
                self.count("(SELECT sum(requests) FROM user_month)"),
            )
        };
        let wanted = (stored, 0, requests, requests);
        wait_at_most(patience, &format!("(stored, in flight, by model, by user) to be {wanted:?}"), || {
            let state = state();
            if state == wanted { Ok(()) } else { Err(format!("{state:?}")) }
        });
    }

    /// Runs `heliometer simulate` against this server.
    pub(crate) fn start_simulation(&self, arguments: &[&str]) -> Simulation {
        self.start_simulation_to(&self.webhook_url(), arguments)
    }

    pub(crate) fn start_simulation_to(&self, url: &str, arguments: &[&str]) -> Simulation {
        let expect = self.directory.path().join("expected.json");
        let child = self
            .command()
            .args(["simulate", "--url", url, "--expect"])
            .arg(&expect)
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("heliometer simulate");
        Simulation { child, expect }
    }

    /// A server on the same port as before: a restarted server has the address its senders know.
    pub(crate) fn keep_port(&mut self) {
        let address = self.address();
        self.options.settings.push(("HELIOMETER__INGRESS__LISTEN".to_owned(), address.to_string()));
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.process.is_some() {
            self.kill();
        }
        if std::thread::panicking() {
            eprintln!("the server's last log lines:\n{}", last_lines(&self.log(), 30));
        }
    }
}

/// A running `heliometer simulate`.
pub(crate) struct Simulation {
    child: Child,
    expect: PathBuf,
}

impl Simulation {
    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("wait").is_none()
    }

    /// Ends it, whatever is left to send.
    #[cfg(not(feature = "test-kafka"))]
    pub(crate) fn abandon(mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("wait");
    }

    pub(crate) fn finish(self) -> ExpectedTotals {
        self.finish_with_report().0
    }

    /// With what it printed.
    pub(crate) fn finish_with_report(self) -> (ExpectedTotals, String) {
        let output = self.child.wait_with_output().expect("simulate ends");
        assert!(
            output.status.success(),
            "{}\n{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        let expected = std::fs::read(self.expect).expect("expected totals");
        let report = String::from_utf8_lossy(&output.stdout).into_owned();
        (serde_json::from_slice(&expected).expect("expected totals"), report)
    }
}

pub(crate) fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

/// A process's memory in bytes, from `/proc/PID/status`: `VmRSS` now, `VmHWM` at most ever.
pub(crate) fn memory_bytes(pid: u32, field: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the process is there");
    let kib = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':')).expect("is told");
    kib.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
}

pub(crate) fn send_signal(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(pid).expect("a pid"));
    kill(pid, signal).expect("the process is there");
}

/// The embedded engine's process, a child of `parent`.
pub(crate) fn engine_pid(parent: u32) -> Option<u32> {
    let children = std::fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).ok()?;
    let of_threads = std::fs::read_dir(format!("/proc/{parent}/task"))
        .ok()?
        .flatten()
        .filter_map(|thread| std::fs::read_to_string(thread.path().join("children")).ok());
    std::iter::once(children)
        .chain(of_threads)
        .flat_map(|pids| pids.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<u32>>())
        .find(|pid| command_line(*pid).contains("\0engine\0"))
}

pub(crate) fn command_line(pid: u32) -> String {
    std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default()
}

/// Asks until there is an answer.
pub(crate) fn wait_until<T>(what: &str, mut check: impl FnMut() -> Option<T>) -> T {
    wait_at_most(PATIENCE, what, || check().ok_or("it did not come"))
}

/// Asks until there is an answer; the last error says how far it came.
pub(crate) fn wait_at_most<T, E: Display>(
    patience: Duration,
    what: &str,
    mut check: impl FnMut() -> Result<T, E>,
) -> T {
    let deadline = Instant::now() + patience;
    loop {
        match check() {
            Ok(value) => return value,
            Err(last) => assert!(Instant::now() < deadline, "waited in vain for {what}: {last}"),
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// `Helicone-Signature` of a body.
pub(crate) fn sign(secret: &str, body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("any length");
    mac.update(body);
    hex::encode(mac.finalize().into_bytes())
}

/// A client for a self-signed certificate on loopback.
pub(crate) fn client() -> reqwest::Client {
    heliometer::tls::install_crypto_provider();
    reqwest::Client::builder().tls_danger_accept_invalid_certs(true).no_proxy().build().expect("a client")
}

/// Sends a signed body.
pub(crate) async fn send(client: &reqwest::Client, url: &str, body: Vec<u8>) -> reqwest::StatusCode {
    let signature = sign(SECRET, &body);
    let request = client.post(url).header("Content-Type", "application/json").header("Helicone-Signature", signature);
    request.body(body).send().await.expect("an answer").status()
}

/// The real payloads that this project was given.
pub(crate) fn samples() -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/samples");
    assert!(path.is_dir(), "the sample payloads are missing: put them at ../shared/samples, beside this checkout");
    path
}
