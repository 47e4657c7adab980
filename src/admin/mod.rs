//! The admin listener: metrics, health, the live page, dead letters, and notifications to send again. Loopback by default; reading needs no login.

mod access;
mod control;
mod dead_letters;
mod notifications;
mod page;

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
    response::{Html, IntoResponse, Response},
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
    /// Set once ClickHouse is up; until then the page says so.
    page: OnceLock<page::Source>,
    /// Likewise.
    control: OnceLock<control::Control>,
}

impl RunningAdmin {
    /// Lets the live page read from ClickHouse.
    pub fn connect(&self, reader: &Reader) {
        drop(self.state.page.set(page::Source::new(reader)));
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
    let state = Arc::new(Admin { health, registry, page: OnceLock::new(), control: OnceLock::new() });
    let router = Router::new()
        .route("/", get(live_page))
        .route("/style.css", get(style))
        .route("/metrics", get(metrics))
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .route("/dead-letters/replay", post(dead_letters::replay))
        .route("/dead-letters/drop", post(dead_letters::drop_letters))
        .route("/notifications/resend", post(notifications::resend))
        .layer(DefaultBodyLimit::max(control::MAX_REQUEST_BYTES))
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

/// No outside request, no script, no frame.
async fn secure(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    let policy = "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
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

async fn live_page(State(admin): State<Arc<Admin>>) -> Response {
    match admin.page.get() {
        Some(source) => {
            let view = source.read().await;
            Html(page::render(&view, &admin.health).into_string()).into_response()
        }
        None => Html(page::render_waiting(&admin.health).into_string()).into_response(),
    }
}

async fn style() -> Response {
    ([(header::CONTENT_TYPE, "text/css; charset=utf-8")], page::STYLE).into_response()
}
