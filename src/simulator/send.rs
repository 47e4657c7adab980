//! Sends a plan at a pace, retries what may be retried, and adds up what was accepted.

use std::{
    collections::BTreeMap,
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use reqwest::{Client, header};
use tokio::{
    sync::Semaphore,
    task::JoinSet,
    time::{Instant, sleep, sleep_until},
};
use tokio_util::sync::CancellationToken;
use url::Url;

use super::{
    Expectation, ExpectedTotals, Plan, Progress, SimulatorError,
    expect::{Ledger, Recorded},
    expect_requests::ExpectedRequests,
    random::{Random, Stream},
    schedule::{Delivery, Schedule},
    storage::Storage,
};
use crate::domain::Clock;

const FIRST_BACKOFF: Duration = Duration::from_millis(100);
const MAX_BACKOFF: Duration = Duration::from_secs(5);
/// A receiver's `Retry-After` is believed up to here.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(30);
/// What is under way when the run is stopped may take this long.
const STOP_GRACE: Duration = Duration::from_secs(10);
/// More of an answer than this is not read.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

#[derive(Debug, Default)]
struct Counters {
    sent: AtomicU64,
    finished: AtomicU64,
    /// Attempts that brought any answer.
    answered: AtomicU64,
    retries: AtomicU64,
}

/// What every delivery needs.
pub(super) struct Sender {
    plan: Arc<Plan>,
    client: Client,
    url: Url,
    max_attempts: u32,
    counters: Counters,
    stop: CancellationToken,
}

/// How a delivery ended.
struct Delivered {
    number: u64,
    request_id: String,
    expectation: Expectation,
    /// `None` when no attempt was answered.
    status: Option<u16>,
    /// An attempt may have arrived without its answer coming back.
    is_uncertain: bool,
}

/// What is added up during a run.
pub(super) struct Tally {
    ledger: Ledger,
    /// Final answers that a correct receiver would not give.
    pub(super) unexpected: BTreeMap<String, u64>,
    /// Objects of accepted requests that can be fetched.
    pub(super) fetchable: u64,
    uncertain: u64,
    /// Where each request is written down, as long as that works.
    requests: Option<Result<ExpectedRequests, SimulatorError>>,
}

impl Tally {
    pub(super) fn new(count: u64, requests: Option<ExpectedRequests>) -> Self {
        let requests = requests.map(Ok);
        Self { ledger: Ledger::new(count), unexpected: BTreeMap::new(), fetchable: 0, uncertain: 0, requests }
    }

    /// Completes what is written down.
    pub(super) fn finish_requests(&mut self) -> Result<(), SimulatorError> {
        self.requests.take().map_or(Ok(()), |requests| requests?.finish())
    }

    /// What a correct receiver must show now.
    pub(super) fn totals(&self, sender: &Sender) -> ExpectedTotals {
        let sent = sender.counters.sent.load(Ordering::Relaxed);
        self.ledger.totals(sender.plan.seed(), sender.plan.source().as_str(), sent, self.uncertain)
    }

    /// Sends all deliveries of the sender's plan, and returns when each has its answer.
    pub(super) async fn send_all(
        &mut self,
        sender: &Arc<Sender>,
        clock: &dyn Clock,
        rate: Option<NonZeroU32>,
        concurrency: usize,
    ) {
        let permits = Arc::new(Semaphore::new(concurrency));
        let mut deliveries = JoinSet::new();
        let begun = Instant::now();
        let mut schedule = Schedule::new(&sender.plan, clock);
        for turn in 0_u64.. {
            // The permit first: an event gets its time when it can really be sent.
            let permit = tokio::select! {
                biased;
                () = sender.stop.cancelled() => break,
                permit = paced_permit(begun, turn, rate, &permits) => permit,
            };
            let Some(delivery) = schedule.next() else { break };
            while let Some(finished) = deliveries.try_join_next() {
                self.finish(sender, finished.ok());
            }
            sender.counters.sent.fetch_add(1, Ordering::Relaxed);
            let sender = Arc::clone(sender);
            deliveries.spawn(async move {
                let delivered = sender.deliver(delivery).await;
                drop(permit);
                delivered
            });
        }
        let grace = async {
            sender.stop.cancelled().await;
            sleep(STOP_GRACE).await;
        };
        tokio::pin!(grace);
        let mut is_given_up = false;
        loop {
            let finished = tokio::select! {
                finished = deliveries.join_next() => finished,
                () = &mut grace, if !is_given_up => {
                    is_given_up = true;
                    deliveries.abort_all();
                    continue;
                }
            };
            let Some(finished) = finished else { break };
            self.finish(sender, finished.ok());
        }
    }

    /// `None` is a delivery that was given up while under way.
    fn finish(&mut self, sender: &Sender, delivered: Option<Delivered>) {
        sender.counters.finished.fetch_add(1, Ordering::Relaxed);
        let Some(delivered) = delivered else {
            self.uncertain += 1;
            *self.unexpected.entry("no answer before the stop".to_owned()).or_default() += 1;
            return;
        };
        self.uncertain += u64::from(delivered.is_uncertain);
        let expected = delivered.expectation.status();
        let Some(status) = delivered.status else {
            *self.unexpected.entry(format!("no answer instead of {expected}")).or_default() += 1;
            return;
        };
        match self.ledger.record(delivered.number, &delivered.expectation, status) {
            Recorded::New => {
                self.fetchable += u64::from(sender.plan.is_fetchable(delivered.number));
                self.write_down(sender, &delivered);
            }
            Recorded::Expected => {}
            Recorded::Unexpected => {
                *self.unexpected.entry(format!("{status} instead of {expected}")).or_default() += 1;
            }
        }
    }

    fn write_down(&mut self, sender: &Sender, delivered: &Delivered) {
        if let (Some(Ok(requests)), Expectation::Counted(request)) = (&mut self.requests, &delivered.expectation)
            && let Err(error) = requests.write(&delivered.request_id, request)
        {
            // Nothing more can be proven.
            sender.stop.cancel();
            self.requests = Some(Err(error));
        }
    }
}

/// Waits for the turn's time and for a free place.
async fn paced_permit(
    begun: Instant,
    turn: u64,
    rate_per_second: Option<NonZeroU32>,
    permits: &Arc<Semaphore>,
) -> Option<tokio::sync::OwnedSemaphorePermit> {
    if let Some(rate_per_second) = rate_per_second {
        let rate_per_second = u64::from(rate_per_second.get());
        // Whole seconds and the rest apart, so that a long run does not drift.
        let rest_ns = turn % rate_per_second * 1_000_000_000 / rate_per_second;
        let due = begun + Duration::from_secs(turn / rate_per_second) + Duration::from_nanos(rest_ns);
        if due > Instant::now() {
            sleep_until(due).await;
        }
    }
    // The semaphore is never closed.
    Arc::clone(permits).acquire_owned().await.ok()
}

/// What one attempt came to.
enum Attempt {
    Answered {
        status: u16,
        retry_after: Option<Duration>,
    },
    /// The receiver was not reached.
    NotConnected,
    /// It was reached, and no answer came.
    Unanswered,
}

impl Sender {
    pub(super) fn new(plan: Arc<Plan>, client: Client, url: Url, max_attempts: u32, stop: CancellationToken) -> Self {
        Self { plan, client, url, max_attempts, counters: Counters::default(), stop }
    }

    pub(super) fn retries(&self) -> u64 {
        self.counters.retries.load(Ordering::Relaxed)
    }

    pub(super) fn progress(&self, storage: &Storage) -> Progress {
        Progress {
            sent: self.counters.sent.load(Ordering::Relaxed),
            finished: self.counters.finished.load(Ordering::Relaxed),
            retries: self.counters.retries.load(Ordering::Relaxed),
            fetched: storage.counts().distinct,
            is_lingering: false,
        }
    }

    async fn deliver(&self, delivery: Delivery) -> Delivered {
        let event = self.plan.event(delivery.number, delivery.signed_at);
        let mut delivered = Delivered {
            number: event.number,
            request_id: event.request_id,
            expectation: event.expectation,
            status: None,
            is_uncertain: false,
        };
        let mut jitter = Random::new(self.plan.seed(), event.number, Stream::Retry);
        let mut backoff = FIRST_BACKOFF;
        for attempt in 1..=self.max_attempts {
            let wait = match self.attempt(event.body.clone(), &event.signature).await {
                Attempt::Answered { status, retry_after } => {
                    self.counters.answered.fetch_add(1, Ordering::Relaxed);
                    delivered.status = Some(status);
                    if !matches!(status, 429 | 503) {
                        return delivered;
                    }
                    retry_after
                }
                Attempt::NotConnected => None,
                Attempt::Unanswered => {
                    delivered.is_uncertain = true;
                    None
                }
            };
            if attempt == self.max_attempts {
                break;
            }
            // From half of the backoff to all of it, so that what was refused together does not come back together.
            let half_ms = u64::try_from(backoff.as_millis() / 2).unwrap_or(u64::MAX);
            let jittered = Duration::from_millis(half_ms + jitter.below(half_ms));
            backoff = (backoff * 2).min(MAX_BACKOFF);
            tokio::select! {
                () = self.stop.cancelled() => break,
                () = sleep(wait.map_or(jittered, |wait| wait.min(MAX_RETRY_AFTER) + jittered)) => {}
            }
            self.counters.retries.fetch_add(1, Ordering::Relaxed);
        }
        if self.counters.answered.load(Ordering::Relaxed) == 0 {
            // Nobody is there, and nobody will be: the rest need not wait as long.
            self.stop.cancel();
        }
        delivered
    }

    async fn attempt(&self, body: bytes::Bytes, signature: &str) -> Attempt {
        let sent = self
            .client
            .post(self.url.clone())
            .header(header::CONTENT_TYPE, "application/json")
            .header("Helicone-Signature", signature)
            .body(body)
            .send()
            .await;
        let mut answer = match sent {
            Ok(answer) => answer,
            Err(error) if error.is_connect() => return Attempt::NotConnected,
            Err(_) => return Attempt::Unanswered,
        };
        let retry_after = answer
            .headers()
            .get(header::RETRY_AFTER)
            .and_then(|value| value.to_str().ok()?.parse().ok())
            .map(Duration::from_secs);
        // Reading the answer to its end lets the connection be used again.
        let mut read_bytes = 0;
        while let Ok(Some(chunk)) = answer.chunk().await {
            read_bytes += chunk.len();
            if read_bytes > MAX_ANSWER_BYTES {
                break;
            }
        }
        Attempt::Answered { status: answer.status().as_u16(), retry_after }
    }
}
