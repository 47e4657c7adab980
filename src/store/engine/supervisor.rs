//! The parent's side: starts the child, watches it, starts it again, stops it.

use std::{
    fs,
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    process::{Child, ChildStdin, Command},
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    EngineError,
    config::{Credentials, Endpoint, EngineFiles, SERVICE_USER},
    library::find_library,
};
use crate::{settings::ClickHouseSettings, telemetry::Health};

/// A predecessor that was killed needs up to a second to let go of the directory; a slow disk needs more.
const START_TIMEOUT: Duration = Duration::from_secs(60);
const STOP_TIMEOUT: Duration = Duration::from_secs(20);
const HEALTH_CHECK_EVERY: Duration = Duration::from_secs(5);
const HEALTH_CHECKS_FAILED_BEFORE_RESTART: u32 = 6;
const FIRST_BACKOFF: Duration = Duration::from_millis(200);
const LONGEST_BACKOFF: Duration = Duration::from_secs(10);

/// What the engine needs to start.
#[derive(Clone, Debug)]
pub struct EngineOptions {
    /// The `heliometer` program, which becomes the child.
    pub program: PathBuf,
    /// The service's data directory; the engine lives in `clickhouse` below it.
    pub data_dir: PathBuf,
    /// Ports, memory, library.
    pub settings: ClickHouseSettings,
}

/// A running, supervised engine.
#[derive(Debug)]
pub struct EmbeddedEngine {
    endpoint: Endpoint,
    credentials: Credentials,
    stop: CancellationToken,
    supervisor: JoinHandle<()>,
}

impl EmbeddedEngine {
    /// Starts the engine and waits until it answers.
    ///
    /// # Errors
    /// [`EngineError`] when it is not installed, a port is taken, or it does not answer in time.
    pub async fn start(options: EngineOptions, health: Health) -> Result<Self, EngineError> {
        let library = find_library(&options.settings.engine_library)?;
        let data_dir = std::path::absolute(&options.data_dir)
            .map_err(EngineError::io(format!("cannot resolve {}", options.data_dir.display())))?;
        let files = EngineFiles::new(&data_dir);
        let credentials = files.write(&options.settings)?;
        let service_password = credentials.service_password.clone();
        let launcher = Launcher { program: options.program, library, files, service_password };

        let wanted = Endpoint { http_port: options.settings.http_port, tcp_port: options.settings.tcp_port };
        let (child, endpoint) = launcher.start_until_ready(wanted).await?;
        launcher.files.publish_endpoint(endpoint)?;
        health.ready("clickhouse");
        tracing::info!(http_port = endpoint.http_port, tcp_port = endpoint.tcp_port, "embedded ClickHouse is up");

        let stop = CancellationToken::new();
        let supervisor = tokio::spawn(supervise(launcher, child, endpoint, health, stop.clone()));
        Ok(Self { endpoint, credentials, stop, supervisor })
    }

    /// Where an engine started by another process, for example a running `serve`, answers; and its users.
    #[must_use]
    pub fn running_beside(data_dir: &Path) -> Option<(Endpoint, Credentials)> {
        let files = EngineFiles::new(data_dir);
        let endpoint = files.read_endpoint()?;
        std::net::TcpStream::connect_timeout(&(Ipv4Addr::LOCALHOST, endpoint.http_port).into(), Duration::from_secs(1))
            .ok()?;
        Some((endpoint, files.known_credentials()?))
    }

    /// The ports it answers on. They stay the same over restarts.
    #[must_use]
    pub const fn endpoint(&self) -> Endpoint {
        self.endpoint
    }

    /// Its users.
    #[must_use]
    pub const fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    /// The service's user name.
    #[must_use]
    pub const fn service_user() -> &'static str {
        SERVICE_USER
    }

    /// Shuts the engine down cleanly and waits for it.
    pub async fn stop(self) {
        self.stop.cancel();
        if let Err(error) = self.supervisor.await {
            tracing::error!(%error, "the supervisor of the embedded ClickHouse failed");
        }
    }
}

/// A child and what keeps it alive.
struct EngineProcess {
    process: Child,
    /// The write end of its standard input. Apart from `process`, since waiting for a child closes the input it holds.
    life_line: ChildStdin,
}

/// Starts children.
struct Launcher {
    program: PathBuf,
    library: PathBuf,
    files: EngineFiles,
    service_password: String,
}

impl Launcher {
    /// One child after another until one answers: a predecessor may still hold the directory for a moment.
    async fn start_until_ready(&self, wanted: Endpoint) -> Result<(EngineProcess, Endpoint), EngineError> {
        let deadline = Instant::now() + START_TIMEOUT;
        let mut backoff = FIRST_BACKOFF;
        loop {
            let failure = match Self::check_ports(wanted) {
                Ok(()) => {
                    let mut child = self.spawn(wanted)?;
                    if let Some(endpoint) = self.wait_until_ready(&mut child.process, deadline).await {
                        match is_open_to_anyone(endpoint).await {
                            Some(false) => return Ok((child, endpoint)),
                            Some(true) => {
                                child.stop().await;
                                return Err(EngineError::OpenToAnyone);
                            }
                            // It went away, or is too busy to say.
                            None => {}
                        }
                    }
                    child.stop().await;
                    EngineError::NotReady { log: self.files.log(), last_words: self.last_words() }
                }
                Err(error) => error,
            };
            // A taken port is usually our own predecessor letting go; anyone else's stays taken.
            let patience =
                if matches!(failure, EngineError::PortTaken { .. }) { START_TIMEOUT / 6 } else { START_TIMEOUT };
            if Instant::now() + backoff >= deadline - START_TIMEOUT + patience {
                return Err(failure);
            }
            tracing::warn!(error = %failure, "the embedded ClickHouse did not start; trying again");
            sleep(backoff).await;
            backoff = (backoff * 2).min(LONGEST_BACKOFF);
        }
    }

    fn check_ports(wanted: Endpoint) -> Result<(), EngineError> {
        for (port, key) in [(wanted.http_port, "clickhouse.http_port"), (wanted.tcp_port, "clickhouse.tcp_port")] {
            TcpListener::bind((Ipv4Addr::LOCALHOST, port)).map_err(|_| EngineError::PortTaken { port, key })?;
        }
        Ok(())
    }

    fn spawn(&self, wanted: Endpoint) -> Result<EngineProcess, EngineError> {
        self.files.clear_ports();
        let log = fs::OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(true)
            .open(self.files.log())
            .map_err(EngineError::io(format!("cannot write {}", self.files.log().display())))?;
        let failed = || EngineError::io(format!("cannot start {}", self.program.display()));
        let mut process = Command::new(&self.program)
            .arg("engine")
            .arg("--library")
            .arg(&self.library)
            .arg("--store")
            .arg(self.files.store())
            .arg("--config")
            .arg(self.files.config())
            .args(["--http-port", &wanted.http_port.to_string(), "--tcp-port", &wanted.tcp_port.to_string()])
            .args(["--query", &self.files.boot_query()])
            // No secret of the service is the engine's business.
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .map_err(failed())?;
        let life_line = process.stdin.take().ok_or_else(|| failed()(std::io::ErrorKind::BrokenPipe.into()))?;
        Ok(EngineProcess { process, life_line })
    }

    async fn wait_until_ready(&self, child: &mut Child, deadline: Instant) -> Option<Endpoint> {
        while Instant::now() < deadline {
            if let Some(endpoint) = self.files.read_ports()
                && answers(endpoint).await
                && self.has_booted(endpoint).await
            {
                return Some(endpoint);
            }
            tokio::select! {
                _ = child.wait() => return None,
                () = sleep(Duration::from_millis(20)) => {}
            }
        }
        None
    }

    /// Whether the last statement of the boot query, which lasts as long as the engine, has begun. Before that, the
    /// quota of `default` is not used up, and whoever used the rest of it would break the boot.
    async fn has_booted(&self, endpoint: Endpoint) -> bool {
        let client = clickhouse::Client::default()
            .with_url(format!("http://127.0.0.1:{}", endpoint.http_port))
            .with_user(SERVICE_USER)
            .with_password(&self.service_password);
        let query = client.query(
            "SELECT count() FROM system.processes WHERE startsWith(query, 'SELECT count() FROM file') AND user != currentUser()",
        );
        matches!(timeout(Duration::from_secs(5), query.fetch_one::<u64>()).await, Ok(Ok(1..)))
    }

    fn last_words(&self) -> String {
        let text = fs::read_to_string(self.files.log()).unwrap_or_default();
        let last = text.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("(nothing)");
        last.chars().take(400).collect()
    }
}

/// Restarts the child until told to stop, then stops it.
async fn supervise(
    launcher: Launcher,
    mut child: EngineProcess,
    endpoint: Endpoint,
    health: Health,
    stop: CancellationToken,
) {
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            reason = watch(&mut child.process, endpoint) => {
                tracing::error!(reason, last_words = launcher.last_words(), "the embedded ClickHouse is down; restarting it");
                health.degraded("clickhouse", reason);
            }
        }
        child.stop().await;
        child = loop {
            let started = tokio::select! {
                () = stop.cancelled() => {
                    launcher.files.withdraw_endpoint();
                    return;
                }
                started = launcher.start_until_ready(endpoint) => started,
            };
            match started {
                Ok((child, _)) => break child,
                Err(error) => tracing::error!(%error, "the embedded ClickHouse cannot be restarted; trying on"),
            }
            sleep(FIRST_BACKOFF).await;
        };
        health.ready("clickhouse");
        tracing::info!("embedded ClickHouse is up again");
    }
    health.not_ready("clickhouse", "stopped");
    launcher.files.withdraw_endpoint();
    child.stop().await;
}

/// Returns when the child has exited or has stopped answering, with the reason.
async fn watch(child: &mut Child, endpoint: Endpoint) -> &'static str {
    let mut failed = 0;
    loop {
        tokio::select! {
            _ = child.wait() => return "the engine process has exited",
            () = sleep(HEALTH_CHECK_EVERY) => {}
        }
        failed = if answers(endpoint).await { 0 } else { failed + 1 };
        if failed >= HEALTH_CHECKS_FAILED_BEFORE_RESTART {
            return "the engine has stopped answering";
        }
    }
}

impl EngineProcess {
    /// Closes the life line, waits for a clean exit, kills after [`STOP_TIMEOUT`].
    async fn stop(mut self) {
        drop(self.life_line);
        if timeout(STOP_TIMEOUT, self.process.wait()).await.is_err() {
            tracing::warn!("the embedded ClickHouse did not stop by itself; killing it");
            drop(self.process.kill().await);
        }
    }
}

/// Whether the user `default`, which has no password, is answered anything but that its quota is used up, now that the engine
/// has booted. `None` when there was no answer.
async fn is_open_to_anyone(endpoint: Endpoint) -> Option<bool> {
    let client = clickhouse::Client::default().with_url(format!("http://127.0.0.1:{}", endpoint.http_port));
    let query = client.query("SELECT count() FROM file('/proc/self/status', LineAsString, 's String')");
    match timeout(Duration::from_secs(5), query.fetch_one::<u64>()).await {
        Ok(Ok(_)) => Some(true),
        Ok(Err(clickhouse::error::Error::BadResponse(reason))) => Some(!reason.contains("QUOTA_EXCEEDED")),
        Ok(Err(_)) | Err(_) => None,
    }
}

/// Whether `/ping`, which needs no user, says `Ok.` within two seconds.
async fn answers(endpoint: Endpoint) -> bool {
    let exchange = async {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, endpoint.http_port)).await?;
        stream.write_all(b"GET /ping HTTP/1.0\r\nHost: localhost\r\n\r\n").await?;
        let mut answer = Vec::with_capacity(512);
        stream.take(4096).read_to_end(&mut answer).await?;
        Ok::<_, std::io::Error>(answer.ends_with(b"Ok.\n"))
    };
    matches!(timeout(Duration::from_secs(2), exchange).await, Ok(Ok(true)))
}
