//! From a request to a durable record and its answer.

use std::{collections::HashMap, net::IpAddr, sync::Arc, time::Duration};

use axum::{
    Extension, Router,
    body::Body,
    extract::{Path, Request, State, rejection::PathRejection},
    http::{HeaderMap, StatusCode, Version, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use bytes::Bytes;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::{
    body::{self, BodyBudget, BodyLimits, Reservation},
    client_ip::TrustedProxies,
    error::{IngressError, IngressStartError, json_response},
    limits::{ClientLimiter, SourceLimiter, per_15_minutes, per_second},
    metrics::{IngressMetrics, UNKNOWN_SOURCE},
    signature::{Signature, Verifier},
};
use crate::{
    crash_point::crash_point,
    domain::{Clock, SampleRate, SourceName},
    event_log::{EventLog, EventLogError, Header, NewRecord, Topic},
    payload::{Payload, PayloadError, headers},
    settings::Settings,
    telemetry::Health,
};

/// The address at the other end of the connection, put into each request by the server.
#[derive(Clone, Copy)]
pub(super) struct Peer(pub(super) IpAddr);

/// Bodies above this are verified and parsed off the async threads: HMAC and JSON take milliseconds there.
const INSPECT_INLINE_BYTES: usize = 256 * 1024;

/// What all requests share.
pub(super) struct Ingress {
    sources: HashMap<String, Arc<Source>>,
    proxies: TrustedProxies,
    pub(super) per_ip: ClientLimiter,
    pub(super) failed_signatures: ClientLimiter,
    body_limits: BodyLimits,
    body_budget: Arc<BodyBudget>,
    append_timeout: Duration,
    log: Arc<dyn EventLog>,
    clock: Arc<dyn Clock>,
    health: Health,
    pub(super) metrics: IngressMetrics,
    /// Appends under way, which outlive their connection.
    pub(super) tasks: TaskTracker,
}

struct Source {
    name: SourceName,
    verifier: Verifier,
    limiter: SourceLimiter,
    sample_rate: SampleRate,
}

impl Ingress {
    pub(super) fn new(
        settings: &Settings,
        log: Arc<dyn EventLog>,
        clock: Arc<dyn Clock>,
        health: Health,
        metrics: IngressMetrics,
    ) -> Result<Self, IngressStartError> {
        let (ingress, limits) = (&settings.ingress, &settings.rate_limit);
        let mut sources = HashMap::new();
        for source in &settings.sources {
            let verifier =
                Verifier::new(&source.secrets).ok_or_else(|| IngressStartError::EmptySecret(source.name.clone()))?;
            let limiter = SourceLimiter::new(per_second(limits.per_source_per_second));
            let name = source.name.clone();
            let sample_rate = source.sample_rate_percent;
            sources.insert(name.to_string(), Arc::new(Source { name, verifier, limiter, sample_rate }));
        }
        let client_limiter =
            |limit, quota| ClientLimiter::new(limit, quota, metrics.limiter_overflow.with_label_values(&[limit]));
        Ok(Self {
            sources,
            proxies: TrustedProxies::parse(&ingress.trusted_proxies)?,
            per_ip: client_limiter("per_ip", per_second(limits.per_ip_per_second)),
            failed_signatures: client_limiter(
                "failed_signatures",
                per_15_minutes(limits.failed_signatures_per_15_minutes),
            ),
            body_limits: BodyLimits {
                max_bytes: ingress.max_body_bytes,
                timeout: Duration::from_millis(ingress.body_timeout_ms),
            },
            body_budget: Arc::new(BodyBudget::new(
                ingress.max_in_flight_bytes,
                ingress.max_body_bytes,
                metrics.in_flight_body_bytes.clone(),
            )),
            append_timeout: Duration::from_millis(ingress.append_timeout_ms),
            log,
            clock,
            health,
            metrics,
            tasks: TaskTracker::new(),
        })
    }

    /// All routes.
    pub(super) fn router(self: Arc<Self>) -> Router {
        Router::new()
            .route("/webhook", post(default_source).fallback(method_not_allowed))
            .route("/webhook/{source}", post(named_source).fallback(method_not_allowed))
            .route("/healthz", get(healthz).fallback(method_not_allowed))
            .route("/readyz", get(readyz).fallback(method_not_allowed))
            .fallback(unknown_path)
            .with_state(self)
    }

    /// The cheap checks come first, and those on what only a signed sender can use up come last.
    async fn accept(
        self: &Arc<Self>,
        source: Option<&Arc<Source>>,
        client: IpAddr,
        request: Request,
    ) -> Result<(), IngressError> {
        let started = Instant::now();
        let (parts, body) = request.into_parts();
        let (source, signature) = match self.admit(source, client, &parts.headers, &body) {
            Ok(admitted) => admitted,
            Err(error) => {
                // An HTTP/2 stream that is closed under a sending client takes the answer with it; HTTP/1 connections
                // are drained by the server.
                if parts.version == Version::HTTP_2 {
                    body::discard(body).await;
                }
                return Err(error);
            }
        };
        let (body, reservation) = body::receive(body, self.body_limits, &self.body_budget).await?;
        let timestamp = self.clock.now();
        let body_bytes = body.len();
        let inspected = inspect(Arc::clone(source), body.clone(), signature)
            .await?
            .map_err(|error| self.failed_signature(source, client, error))?;
        // After the signature, or anybody could use up a source's budget.
        source.limiter.check()?;

        let secret = inspected.secret_index.to_string();
        self.metrics.secret_used.with_label_values(&[source.name.as_str(), &secret]).inc();
        #[expect(clippy::cast_precision_loss, reason = "a histogram bucket is coarser")]
        self.metrics.body_bytes.observe(body_bytes as f64);
        let (key, uncountable) = match inspected.request_id {
            Ok(key) => (key, None),
            Err(error) => (Bytes::new(), Some(error)),
        };
        let header = |name: &str, value: String| Header { name: name.to_owned(), value: value.into() };
        let mut headers = vec![header(headers::SOURCE, source.name.to_string()), header(headers::SECRET, secret)];
        if source.sample_rate != SampleRate::ALL {
            headers.push(header(headers::SAMPLE_RATE_PERCENT, source.sample_rate.to_string()));
        }
        self.append(NewRecord { key, body, timestamp, headers }, reservation).await?;
        crash_point!(IngressAppended);
        self.metrics.ack_seconds.observe(started.elapsed().as_secs_f64());
        tracing::debug!(source = %source.name, body_bytes, countable = uncountable.is_none(), "webhook is durable");
        uncountable.map_or(Ok(()), |error| Err(IngressError::Uncountable(error)))
    }

    /// What can be refused before the body is read.
    fn admit<'a>(
        &self,
        source: Option<&'a Arc<Source>>,
        client: IpAddr,
        headers: &HeaderMap,
        body: &Body,
    ) -> Result<(&'a Arc<Source>, Signature), IngressError> {
        self.per_ip.check(client)?;
        let source = source.ok_or(IngressError::UnknownSource)?;
        if !is_json(headers) {
            return Err(IngressError::ContentType);
        }
        self.body_limits.declared_bytes(body)?;
        let signature =
            Signature::from_headers(headers).map_err(|error| self.failed_signature(source, client, error))?;
        Ok((source, signature))
    }

    /// A wrong signature is counted against the client, and past the limit answered 429. A right one is never held
    /// against the failures before it: Helicone is one sender for all sources and never retries, so the wrong
    /// secret of one source must not cost another its events.
    fn failed_signature(&self, source: &Source, client: IpAddr, error: IngressError) -> IngressError {
        self.metrics.signature_failures.with_label_values(&[source.name.as_str()]).inc();
        self.failed_signatures.check(client).err().map_or(error, IngressError::from)
    }

    /// Appends in a task of its own, which a sender that hangs up does not cancel: there is no second delivery.
    /// The body's memory stays reserved until the log has answered, also when the sender no longer waits.
    async fn append(&self, record: NewRecord, reservation: Reservation) -> Result<(), IngressError> {
        let log = Arc::clone(&self.log);
        let append = self.tasks.spawn(async move {
            let result = log.append(Topic::Webhooks, record).await;
            drop(reservation);
            result.map(drop)
        });
        let result: Result<(), EventLogError> = tokio::time::timeout(self.append_timeout, append)
            .await
            .map_err(|_| IngressError::AppendTimeout)?
            .map_err(|_| IngressError::Internal)?;
        result.map_err(IngressError::Append)
    }
}

/// What a signed body says.
struct Inspected {
    secret_index: usize,
    request_id: Result<Bytes, PayloadError>,
}

async fn inspect(
    source: Arc<Source>,
    body: Bytes,
    signature: Signature,
) -> Result<Result<Inspected, IngressError>, IngressError> {
    let is_large = body.len() > INSPECT_INLINE_BYTES;
    let inspect = move || {
        let secret_index = source.verifier.verify(&body, &signature)?;
        let request_id = Payload::parse(&body).map(|payload| payload.request_id.into_string().into());
        Ok(Inspected { secret_index, request_id })
    };
    if is_large {
        tokio::task::spawn_blocking(inspect).await.map_err(|_| IngressError::Internal)
    } else {
        Ok(inspect())
    }
}

/// `application/json` with any parameters. Without the header the signature alone decides.
fn is_json(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).is_none_or(|value| {
        let essence = value.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default();
        essence.trim_ascii().eq_ignore_ascii_case(b"application/json")
    })
}

async fn default_source(
    State(ingress): State<Arc<Ingress>>,
    Extension(peer): Extension<Peer>,
    request: Request,
) -> Response {
    answer(&ingress, SourceName::default().as_str(), peer, request).await
}

async fn named_source(
    State(ingress): State<Arc<Ingress>>,
    Extension(peer): Extension<Peer>,
    name: Result<Path<String>, PathRejection>,
    request: Request,
) -> Response {
    // What is no UTF-8 is no source's name, and neither is the empty one.
    let name = name.map(|Path(name)| name).unwrap_or_default();
    answer(&ingress, &name, peer, request).await
}

async fn answer(ingress: &Arc<Ingress>, name: &str, Peer(peer): Peer, request: Request) -> Response {
    let source = ingress.sources.get(name);
    let client = ingress.proxies.client_ip(peer, request.headers());
    let label = source.map_or(UNKNOWN_SOURCE, |source| source.name.as_str());
    match ingress.accept(source, client, request).await {
        Ok(()) => {
            ingress.metrics.webhooks.with_label_values(&[label, "accepted"]).inc();
            json_response(StatusCode::OK, &serde_json::json!({ "message": "Webhook received" }))
        }
        Err(error) => {
            ingress.metrics.refused(label, &error);
            error.into_response()
        }
    }
}

async fn unknown_path(State(ingress): State<Arc<Ingress>>) -> IngressError {
    refused(&ingress, IngressError::UnknownPath)
}

async fn method_not_allowed(State(ingress): State<Arc<Ingress>>) -> IngressError {
    refused(&ingress, IngressError::MethodNotAllowed)
}

fn refused(ingress: &Ingress, error: IngressError) -> IngressError {
    ingress.metrics.refused(UNKNOWN_SOURCE, &error);
    error
}

async fn healthz() -> Response {
    json_response(StatusCode::OK, &serde_json::json!({ "status": "ok" }))
}

async fn readyz(State(ingress): State<Arc<Ingress>>) -> Response {
    let (ready, parts) = ingress.health.snapshot();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    json_response(status, &serde_json::json!({ "ready": ready, "parts": parts }))
}
