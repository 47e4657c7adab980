//! ClickHouse as a server of its own: the embedded engine's process, supervised by the test instead of by `serve`.

use std::time::Duration;

use heliometer::{
    settings::ClickHouseSettings,
    store::engine::{EmbeddedEngine, EngineOptions},
    telemetry::Health,
};
use nix::sys::signal::Signal;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::{
    broker::free_ports,
    harness::{engine_pid, program, send_signal, wait_until},
};

/// See the module.
pub(crate) struct ClickHouse {
    runtime: Runtime,
    engine: Option<EmbeddedEngine>,
    options: EngineOptions,
    password: String,
    _directory: TempDir,
}

impl ClickHouse {
    /// Returns when it answers.
    pub(crate) fn start() -> Self {
        let directory = TempDir::new().expect("a directory");
        let ports = free_ports(2);
        let options = EngineOptions {
            program: program(),
            data_dir: directory.path().to_path_buf(),
            settings: ClickHouseSettings {
                http_port: ports.start,
                tcp_port: ports.start + 1,
                ..ClickHouseSettings::default()
            },
        };
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
        let mut clickhouse = Self { runtime, engine: None, options, password: String::new(), _directory: directory };
        clickhouse.start_again();
        clickhouse
    }

    /// On the same directory and ports.
    pub(crate) fn start_again(&mut self) {
        let start = EmbeddedEngine::start(self.options.clone(), Health::default());
        let engine = self.runtime.block_on(start).expect("ClickHouse starts");
        self.password.clone_from(&engine.credentials().service_password);
        self.engine = Some(engine);
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.options.settings.http_port)
    }

    /// The service's user and password.
    pub(crate) fn user(&self) -> (&'static str, &str) {
        (EmbeddedEngine::service_user(), &self.password)
    }

    fn pid() -> u32 {
        engine_pid(std::process::id()).expect("ClickHouse runs")
    }

    /// SIGKILL. Its supervisor starts it again at once.
    pub(crate) fn kill() {
        let pid = Self::pid();
        send_signal(pid, Signal::SIGKILL);
        wait_until("ClickHouse to be killed", || (engine_pid(std::process::id()) != Some(pid)).then_some(()));
    }

    /// SIGSTOP: it takes connections and answers nothing.
    pub(crate) fn pause() {
        send_signal(Self::pid(), Signal::SIGSTOP);
    }

    /// SIGKILL, and it stays away.
    pub(crate) fn kill_for_good(&mut self) {
        let (pid, engine) = (Self::pid(), self.engine.take().expect("ClickHouse runs"));
        self.runtime.block_on(async {
            // Told to stop first, so that the supervisor does not start another one.
            let kill = async {
                tokio::time::sleep(Duration::from_millis(100)).await;
                send_signal(pid, Signal::SIGKILL);
            };
            tokio::join!(engine.stop(), kill)
        });
        assert_eq!(engine_pid(std::process::id()), None, "ClickHouse is away");
    }

    /// For those who want to ask something over HTTP.
    pub(crate) const fn runtime(&self) -> &Runtime {
        &self.runtime
    }
}

impl Drop for ClickHouse {
    fn drop(&mut self) {
        if let Some(engine) = self.engine.take() {
            self.runtime.block_on(engine.stop());
        }
    }
}
