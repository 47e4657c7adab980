//! The admin listener: metrics, health, the live page, dead letters, and notifications to send again. Loopback by default; reading needs no login.

mod access;
mod control;
mod dead_letters;
mod live;
mod notifications;

use std::{
    net::SocketAddr,
    sync::{Arc, OnceLock},
    time::Duration,
};

use axum::{
    Router,
    extract::{DefaultBodyLimit, Request, State},
    http::{HeaderValue, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use prometheus::{Encoder, Registry, TextEncoder};
use serde_json::json;
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;

pub use access::AdminEndpoint;

use crate::{alert::Resender, dead_letters::DeadLetters, settings::Settings, store::Reader, telemetry::Health};

/// Slow clients must not hold up the shutdown.
const STOP_TIMEOUT: Duration = Duration::from_secs(3);

/// Why the admin listener cannot start.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// The address cannot be bound.
    #[error("cannot listen on {address} for metrics and the live page: {source}; set admin.listen")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The files for commands beside it cannot be written.
    #[error("cannot write admin-token and admin.json into the data directory: {0}")]
    Access(std::io::Error),
    /// A metric has a name that is taken.
    #[error("cannot register the live page's metrics: {0}")]
    Metrics(#[from] prometheus::Error),
    /// No client for the live page's queries can be made.
    #[error("cannot make a client for the live page: {0}")]
    Client(#[from] reqwest::Error),
}

/// A listener for people and Prometheus.
#[derive(Debug)]
pub struct RunningAdmin {
    /// Where it listens.
    pub local_addr: SocketAddr,
    state: Arc<Admin>,
    server: JoinHandle<()>,
}

#[derive(Debug)]
struct Admin {
    health: Health,
    registry: Registry,
    live: live::Live,
    /// Set once ClickHouse is up.
    control: OnceLock<control::Control>,
}

impl RunningAdmin {
    /// Lets the live page read from ClickHouse.
    ///
    /// # Errors
    /// [`AdminError::Client`] when no client can be made.
    pub fn connect(&self, reader: &Reader) -> Result<(), AdminError> {
        Ok(self.state.live.connect(reader)?)
    }

    /// Lets whoever can read the data directory replay and drop dead letters, and send notifications again.
    ///
    /// # Errors
    /// [`AdminError::Access`] when the token cannot be written there.
    pub fn control(
        &self,
        settings: &Settings,
        dead_letters: DeadLetters,
        resender: Resender,
    ) -> Result<(), AdminError> {
        let access = access::Access::publish(&settings.data_dir, self.local_addr).map_err(AdminError::Access)?;
        let control = control::Control { access, dead_letters: Arc::new(dead_letters), resender: Arc::new(resender) };
        drop(self.state.control.set(control));
        Ok(())
    }

    /// Waits for the shutdown.
    pub async fn stopped(self) {
        if let Some(control) = self.state.control.get() {
            control.access.withdraw();
        }
        if tokio::time::timeout(STOP_TIMEOUT, self.server).await.is_err() {
            tracing::debug!("a client of the admin listener was cut off at shutdown");
        }
    }
}

/// Starts listening. Cancelling `shutdown` ends it.
///
/// # Errors
/// [`AdminError`] when the address is taken.
pub async fn start(
    settings: &Settings,
    health: Health,
    registry: Registry,
    shutdown: CancellationToken,
) -> Result<RunningAdmin, AdminError> {
    let address = settings.admin.listen;
    let listen_error = |source| AdminError::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(listen_error)?;
    let local_addr = listener.local_addr().map_err(listen_error)?;
    let live = live::Live::new(settings, &registry, shutdown.clone())?;
    let state = Arc::new(Admin { health, registry, live, control: OnceLock::new() });
    let router = Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .route("/dead-letters/replay", post(dead_letters::replay))
        .route("/dead-letters/drop", post(dead_letters::drop_letters))
        .route("/notifications/resend", post(notifications::resend))
        .layer(DefaultBodyLimit::max(control::MAX_REQUEST_BYTES))
        .merge(live::routes(&state))
        .layer(middleware::from_fn(secure))
        .with_state(state.clone());
    let server = tokio::spawn(async move {
        let serve = axum::serve(listener, router).with_graceful_shutdown(shutdown.cancelled_owned());
        if let Err(error) = serve.await {
            tracing::error!(%error, "the admin listener ended abnormally");
        }
    });
    Ok(RunningAdmin { local_addr, state, server })
}

/// No outside request, nothing inline, no frame; kept by nobody, unless a handler says otherwise.
async fn secure(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    let policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                  form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    // With `no-referrer` browsers would hide the origin of a form, which is how other pages' forms are told apart.
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    headers.insert("cross-origin-opener-policy", HeaderValue::from_static("same-origin"));
    headers.insert("cross-origin-resource-policy", HeaderValue::from_static("same-origin"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

async fn metrics(State(admin): State<Arc<Admin>>) -> Response {
    let mut text = Vec::new();
    let encoder = TextEncoder::new();
    match encoder.encode(&admin.registry.gather(), &mut text) {
        Ok(()) => ([(header::CONTENT_TYPE, encoder.format_type().to_owned())], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

async fn readyz(State(admin): State<Arc<Admin>>) -> Response {
    let (ready, parts) = admin.health.snapshot();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body = json!({ "ready": ready, "parts": parts }).to_string();
    (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}
