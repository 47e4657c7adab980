//! A broker that can be stopped, killed and started again, on the same port and directory.

use std::{
    net::TcpListener,
    path::Path,
    process::{Command, Stdio},
};

use tempfile::TempDir;
use tokio::sync::{Mutex, MutexGuard};

/// One at a time: brokers that start together want the same processors, and may want the same ports.
static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());

/// The right to run a broker.
pub(crate) struct Turn {
    _turn: MutexGuard<'static, ()>,
}

impl Turn {
    pub(crate) async fn wait() -> Self {
        Self { _turn: ONE_AT_A_TIME.lock().await }
    }

    pub(crate) fn wait_blocking() -> Self {
        Self { _turn: ONE_AT_A_TIME.blocking_lock() }
    }
}

/// See the module.
pub(crate) struct Broker {
    directory: TempDir,
    port: u16,
    _turn: Turn,
}

/// So many free ports in a row. Below those that the kernel gives to outgoing connections: who is away for a while must
/// find its port free when it comes back.
pub(crate) fn free_ports(count: u16) -> std::ops::Range<u16> {
    let is_free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
    let start = 20_000 + u16::try_from(std::process::id() % 5_000).expect("is below 5,000") * 2;
    let first = (start..32_000).step_by(2).find(|first| (*first..first + count).all(is_free)).expect("free ports");
    first..first + count
}

impl Broker {
    pub(crate) fn started(turn: Turn) -> Self {
        let broker = Self::that_is_away(turn);
        broker.start();
        broker
    }

    /// One that is not started yet.
    pub(crate) fn that_is_away(turn: Turn) -> Self {
        // The next one is its controller's.
        Self { directory: TempDir::new().expect("a directory"), port: free_ports(2).start, _turn: turn }
    }

    pub(crate) const fn port(&self) -> u16 {
        self.port
    }

    /// Where its configuration and data are.
    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Returns when it answers.
    pub(crate) fn start(&self) {
        self.script(&["start", &self.port.to_string()]);
    }

    /// In order.
    pub(crate) fn stop(&self) {
        self.script(&["stop"]);
    }

    pub(crate) fn kill(&self) {
        self.script(&["kill"]);
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("broker.log")).unwrap_or_default()
    }

    fn script(&self, arguments: &[&str]) {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kafka/broker.sh");
        let mut command = Command::new(script);
        // The broker lives on and would hold our own pipes open.
        command.args(arguments).arg(self.directory.path()).stdin(Stdio::null()).stdout(Stdio::null());
        assert!(command.status().expect("broker.sh runs").success(), "broker.sh {arguments:?} failed");
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.kill();
    }
}
