//! `heliometer serve`

use std::io::Write;

use tokio::signal::unix::{SignalKind, signal};

use super::{CommandError, program};
use crate::{
    service::{Role, Roles, Service},
    settings::Settings,
    telemetry::init_logs,
};

/// Run the service until Ctrl-C or SIGTERM.
///
/// These stop it in order; nothing that was acknowledged is lost, then or by a kill.
#[derive(Debug, clap::Args)]
pub(super) struct ServeArgs {
    /// Which parts to run here; may be given several times.
    #[arg(long, value_enum, value_name = "ROLE")]
    role: Vec<Role>,
}

pub(super) async fn run(arguments: ServeArgs, settings: Settings) -> Result<(), CommandError> {
    init_logs(&settings.telemetry);
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let roles = Roles::new(&arguments.role);
    let data_dir = settings.data_dir.clone();
    let mut service = tokio::select! {
        service = Service::start(settings, roles, program()?) => service?,
        // Nothing was announced yet; what the ingress took meanwhile is durable.
        _ = terminate.recv() => return Ok(()),
        _ = interrupt.recv() => return Ok(()),
    };
    if let Err(error) = announce(&service, &data_dir) {
        // Whoever started us may have closed our output; that is no reason to take no webhooks.
        tracing::debug!(%error, "the announcement could not be printed");
    }
    let failure = tokio::select! {
        _ = terminate.recv() => None,
        _ = interrupt.recv() => None,
        error = service.failed() => Some(error),
    };
    tracing::info!("stopping; what was received is finished first");
    tokio::select! {
        () = service.stop() => {}
        // A second Ctrl-C means it.
        _ = interrupt.recv() => tracing::warn!("stopped at once; unfinished work goes on at the next start"),
    }
    failure.map_or(Ok(()), |error| Err(error.into()))
}

/// Where everything is, and what to do first.
fn announce(service: &Service, data_dir: &std::path::Path) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "\nHeliometer is running. Ctrl-C stops it; nothing that was acknowledged is lost.\n")?;
    let mut webhook = None;
    if let Some(ingress) = service.ingress() {
        let scheme = if ingress.tls { "https" } else { "http" };
        let url = format!("{scheme}://localhost:{}/webhook", ingress.local_addr.port());
        writeln!(out, "  webhook     {url}")?;
        webhook = Some(url);
    }
    writeln!(out, "  live page   http://{}/", service.admin_addr())?;
    writeln!(out, "  metrics     http://{}/metrics", service.admin_addr())?;
    if let Some(database) = service.database() {
        let reader = database.reader();
        writeln!(out, "  ClickHouse  {}/  database {}, user {}", reader.url, reader.database, reader.user)?;
        if let Some(port) = database.embedded_tcp_port() {
            let file = data_dir.join("clickhouse").join("credentials.json");
            writeln!(out, "              native protocol on 127.0.0.1:{port}; password in {}", file.display())?;
        }
    }
    if let Some(url) = webhook {
        writeln!(out, "\nTry next, in another terminal:\n")?;
        // As it was called, so that it can be copied.
        let heliometer = std::env::args().next().unwrap_or_else(|| "heliometer".to_owned());
        writeln!(out, "  {heliometer} send-test --url {url} --counted")?;
        writeln!(out, "  {heliometer} sql \"SELECT * FROM model_day\"\n")?;
    }
    out.flush()
}
