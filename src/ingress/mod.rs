//! The HTTPS ingress: takes Helicone's webhooks and answers only once they are durable.
//!
//! It owns the webhook listener, its certificate and everything that is decided before an event exists: who may
//! send, how much, how large and how slowly. It knows of a body only whether it is signed and which `request_id`
//! keys it; [`crate::payload`] says so, and everything else is the consumer's.
//!
//! One request's way: `server` (connection, TLS) → `webhook` (the order of the checks) → `limits` (per client IP)
//! → `signature` (well-formed?) → `body` (bounded memory and time) → `signature` (right?) → `limits` (per source)
//! → [`EventLog::append`] → answer. `error` says what each refusal looks like, `metrics` counts and logs it.
//!
//! HTTP/2 is spoken where TLS negotiates it; without TLS it is HTTP/1.1, which is what proxies speak to a backend.
//!
//! Helicone never retries, so what is signed and complete is appended even when the sender hangs up, and a signed
//! body that cannot be counted is appended too: the consumer makes a dead letter of it.

mod body;
mod client_ip;
mod error;
mod limits;
mod metrics;
mod server;
mod signature;
#[cfg(test)]
mod tests;
mod tls;
mod webhook;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;

pub use error::IngressStartError;
pub use tls::TlsError;

use self::{metrics::IngressMetrics, server::Server, tls::Certificates, webhook::Ingress};
use crate::{domain::Clock, event_log::EventLog, settings::Settings, telemetry::Health};

/// The name of this part in [`Health`].
const PART: &str = "ingress";

/// How often things are looked after in the background.
struct Intervals {
    certificate: Duration,
    limiters: Duration,
}

const INTERVALS: Intervals = Intervals { certificate: Duration::from_secs(10), limiters: Duration::from_secs(5) };

/// A listener that takes webhooks.
#[derive(Debug)]
pub struct RunningIngress {
    /// Where it listens, with the port that was free when 0 was asked for.
    pub local_addr: SocketAddr,
    /// HTTPS rather than plain HTTP.
    pub tls: bool,
    server: JoinHandle<()>,
}

impl RunningIngress {
    /// Waits until the shutdown is done: nothing is accepted any more and the requests under way are answered, or
    /// `limits.shutdown_timeout_ms` have passed since the token was cancelled.
    pub async fn stopped(self) {
        if let Err(error) = self.server.await {
            tracing::error!(%error, "the ingress ended abnormally");
        }
    }
}

/// Starts listening for webhooks, and returns as soon as they are taken. Cancelling `shutdown` ends it.
///
/// # Errors
/// [`IngressStartError`] when the settings cannot be served: the address is taken, the certificate is unusable, a
/// source has no secret.
pub async fn start(
    settings: &Settings,
    log: Arc<dyn EventLog>,
    clock: Arc<dyn Clock>,
    health: Health,
    registry: &prometheus::Registry,
    shutdown: CancellationToken,
) -> Result<RunningIngress, IngressStartError> {
    start_with(settings, log, clock, health, registry, shutdown, INTERVALS).await
}

async fn start_with(
    settings: &Settings,
    log: Arc<dyn EventLog>,
    clock: Arc<dyn Clock>,
    health: Health,
    registry: &prometheus::Registry,
    shutdown: CancellationToken,
    intervals: Intervals,
) -> Result<RunningIngress, IngressStartError> {
    health.not_ready(PART, "starting");
    let certificates = tls::prepare(settings, clock.as_ref())?.map(Certificates::load).transpose()?;
    let address = settings.ingress.listen;
    let listen_error = |source| IngressStartError::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(listen_error)?;
    let local_addr = listener.local_addr().map_err(listen_error)?;

    let metrics = IngressMetrics::register(registry)?;
    let ingress = Arc::new(Ingress::new(settings, log, clock, health.clone(), metrics)?);
    let server = Server {
        router: Arc::clone(&ingress).router(),
        tls: certificates.as_ref().map(Certificates::subscribe),
        header_timeout: Duration::from_millis(settings.ingress.header_timeout_ms),
        max_connections: settings.ingress.max_connections,
        connections: ingress.metrics.connections.clone(),
        tasks: ingress.tasks.clone(),
        shutdown: shutdown.clone(),
        shutdown_timeout: Duration::from_millis(settings.limits.shutdown_timeout_ms),
    };
    let tls = certificates.is_some();
    if let Some(certificates) = certificates {
        tokio::spawn(certificates.watch(intervals.certificate, shutdown.clone()));
    }
    tokio::spawn(prune_limiters(ingress, intervals.limiters, shutdown.clone()));
    health.ready(PART);
    let server = tokio::spawn(async move {
        tokio::join!(server.run(listener), async {
            shutdown.cancelled().await;
            health.not_ready(PART, "shutting down");
        });
    });
    tracing::info!(%local_addr, tls, "listening for webhooks");
    Ok(RunningIngress { local_addr, tls, server })
}

async fn prune_limiters(ingress: Arc<Ingress>, interval: Duration, shutdown: CancellationToken) {
    while shutdown.run_until_cancelled(tokio::time::sleep(interval)).await.is_some() {
        ingress.per_ip.prune();
        ingress.failed_signatures.prune();
    }
}
