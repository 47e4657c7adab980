//! Server-sent events: what happened in short, every two seconds at most, to whoever has a page open.
//!
//! One task asks for all of them, and only while somebody looks. A page that hears of a change asks for itself again.

use std::{
    convert::Infallible,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    http::{StatusCode, header},
    response::{
        IntoResponse, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use clickhouse::Row;
use futures_util::{Stream, stream};
use prometheus::IntGauge;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_util::sync::CancellationToken;

use super::{
    alerts, assets,
    source::{Part, Source},
    view::format,
};

/// Between looks.
const EVERY: Duration = Duration::from_secs(2);
/// Without a change there is an event as often as this: lag and age go on.
const AT_LEAST_EVERY: Duration = Duration::from_secs(10);
const KEEP_ALIVE: Duration = Duration::from_secs(15);
const MAX_CLIENTS: usize = 64;

/// Today in short.
#[derive(Debug, Deserialize, Row)]
struct Today {
    cost_usd: String,
    requests: u64,
    /// When the last step of an alert was decided; empty before any.
    alerts_at: String,
    /// Changes with everything that pages show.
    revision: String,
}

const TODAY: &str = "SELECT toString(sum(t.cost_usd)) AS cost_usd, sum(t.requests) AS requests, \
    ifNull(toString((SELECT max(at) FROM alert_transitions)), '') AS alerts_at, \
    concat(toString(max(t.version)), ' ', alerts_at, ' ', \
        ifNull(toString((SELECT max(version) FROM alert_silences)), '')) AS revision \
    FROM model_day_rows AS t FINAL WHERE t.bucket >= toStartOfDay(now('UTC'))";

/// How many alerts fire, counted again only when one of them has changed.
#[derive(Debug, Default)]
struct Firing {
    count: u64,
    alerts_at: Option<String>,
}

/// Today, and how many alerts fire.
async fn look(source: &Source, firing: &mut Firing) -> Part<Option<Today>> {
    let Some(today) = source.rows::<Today>(source.query(TODAY)).await?.into_iter().next() else { return Ok(None) };
    if firing.alerts_at.as_ref() != Some(&today.alerts_at) {
        let count = source.rows::<u64>(source.query(&alerts::firing_count())).await?;
        *firing = Firing { count: count.into_iter().sum(), alerts_at: Some(today.alerts_at.clone()) };
    }
    Ok(Some(today))
}

/// Hands the newest event to all clients.
#[derive(Debug)]
pub(super) struct Pulses {
    newest: watch::Sender<Option<Arc<str>>>,
    clients: Arc<Semaphore>,
    open: IntGauge,
    shutdown: CancellationToken,
}

impl Pulses {
    pub(super) fn new(open: IntGauge, shutdown: CancellationToken) -> Self {
        Self { newest: watch::Sender::new(None), clients: Arc::new(Semaphore::new(MAX_CLIENTS)), open, shutdown }
    }

    /// Looks as long as this process runs.
    pub(super) async fn run(&self, source: &Source) {
        let (mut last, mut sent_at, mut firing) = (String::new(), Instant::now(), Firing::default());
        let mut ticks = tokio::time::interval(EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while self.shutdown.run_until_cancelled(ticks.tick()).await.is_some() {
            if self.newest.receiver_count() == 0 {
                // Who comes later hears nothing old.
                self.newest.send_replace(None);
                last.clear();
                continue;
            }
            let Some(looked) = self.shutdown.run_until_cancelled(look(source, &mut firing)).await else { return };
            let today = looked.unwrap_or_else(|error| {
                tracing::debug!(error, "open live pages are not told of changes");
                None
            });
            let Some(today) = today else { continue };
            let has_changed = today.revision != last;
            if has_changed || sent_at.elapsed() >= AT_LEAST_EVERY {
                sent_at = Instant::now();
                self.newest.send_replace(Some(told(&today, firing.count).into()));
                last = today.revision;
            }
        }
    }

    /// `GET /events`
    pub(super) fn subscribe(&self) -> Response {
        let Ok(permit) = Arc::clone(&self.clients).try_acquire_owned() else {
            let message = format!("{MAX_CLIENTS} pages are open already; this one is not kept up to date\n");
            return (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "30")], message).into_response();
        };
        let seat = Seat::take(permit, self.open.clone());
        let mut newest = self.newest.subscribe();
        // What is known already is told at once.
        newest.mark_changed();
        let keep_alive = KeepAlive::new().interval(KEEP_ALIVE);
        Sse::new(events(newest, seat, self.shutdown.clone())).keep_alive(keep_alive).into_response()
    }
}

/// One client's place.
struct Seat {
    _permit: OwnedSemaphorePermit,
    open: IntGauge,
}

impl Seat {
    fn take(permit: OwnedSemaphorePermit, open: IntGauge) -> Self {
        open.inc();
        Self { _permit: permit, open }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.open.dec();
    }
}

/// Ends at the shutdown.
fn events(
    newest: watch::Receiver<Option<Arc<str>>>,
    seat: Seat,
    shutdown: CancellationToken,
) -> impl Stream<Item = Result<Event, Infallible>> {
    stream::unfold((newest, seat, shutdown), |(mut newest, seat, shutdown)| async move {
        loop {
            shutdown.run_until_cancelled(newest.changed()).await?.ok()?;
            let event = newest.borrow_and_update().clone();
            if let Some(event) = event {
                return Some((Ok(Event::default().event("pulse").data(&*event)), (newest, seat, shutdown)));
            }
        }
    })
}

fn told(today: &Today, firing: u64) -> String {
    json!({
        "assets": *assets::REVISION,
        "revision": today.revision,
        "spend": format::money(&today.cost_usd),
        "requests": format::grouped(today.requests),
        "firing": firing,
    })
    .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn clients_are_bounded_and_let_go() {
        let open = IntGauge::new("open", "Open.").expect("a gauge");
        let pulses = Pulses::new(open.clone(), CancellationToken::new());
        let mut held: Vec<Response> = (0..MAX_CLIENTS).map(|_| pulses.subscribe()).collect();
        assert!(held.iter().all(|response| response.status() == StatusCode::OK));
        assert_eq!(pulses.subscribe().status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(open.get(), i64::try_from(MAX_CLIENTS).expect("fits"));
        drop(held.pop());
        assert_eq!(pulses.subscribe().status(), StatusCode::OK);
        drop(held);
        assert_eq!(open.get(), 0);
    }

    #[tokio::test]
    async fn streams_end_at_the_shutdown() {
        let shutdown = CancellationToken::new();
        let pulses = Pulses::new(IntGauge::new("open", "Open.").expect("a gauge"), shutdown.clone());
        pulses.newest.send_replace(Some("{}".into()));
        let body = pulses.subscribe().into_body();
        shutdown.cancel();
        let whole = tokio::time::timeout(Duration::from_secs(5), axum::body::to_bytes(body, 10_000)).await;
        // It ends by itself, whether the event was still sent or not.
        whole.expect("ends").expect("a body");
    }
}
