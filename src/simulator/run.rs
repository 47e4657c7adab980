//! One whole run: its options, the storage server beside it, and the report at its end.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    num::NonZeroU32,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;
use url::Url;

use super::{
    ExpectedTotals, Faults, FetchCounts, Plan, PlanOptions, SimulatorError, client,
    expect_requests::ExpectedRequests,
    send::{Sender, Tally},
    storage::BoundStorage,
};
use crate::domain::{Clock, Secret, SourceName};

/// Events that one run may have: for each, three bits are kept.
const MAX_COUNT: u64 = 1_000_000_000;
const MAX_CONCURRENCY: u64 = 4096;
/// An hour and more.
const MAX_ATTEMPTS: u64 = 1000;
/// No fetch for this long after the last event means that no more are coming.
const QUIET: Duration = Duration::from_secs(2);
const PROGRESS_INTERVAL: Duration = Duration::from_millis(200);

/// Everything that a run can be told.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// The receiver. Without a path, `/webhook` (and the source, unless it is the default one) is added.
    pub url: Url,
    /// Deliveries per second, 0 for as fast as possible.
    pub rate_per_second: u32,
    /// Events to send; duplicates come on top.
    pub count: u64,
    /// Same seed, same events.
    pub seed: u64,
    /// Where the storage server listens; port 0 takes any free one.
    pub storage_listen: SocketAddr,
    /// How the receiver reaches it, if not at that address.
    pub storage_url: Option<Url>,
    /// What goes wrong.
    pub faults: Faults,
    /// The source under which totals are expected; by default the one that the URL names, else `default`.
    pub source: Option<SourceName>,
    /// The webhook's signing secret.
    pub secret: Secret,
    /// PEM files to trust beside the system's roots.
    pub ca_files: Vec<PathBuf>,
    /// Deliveries under way at once.
    pub concurrency: usize,
    /// How often a delivery is attempted at most while it is answered 429 or 503, or not at all.
    pub max_attempts: u32,
    /// Where each accepted request is written down, as CSV.
    pub expect_requests: Option<PathBuf>,
    /// How long the storage server stays after the last event at most.
    pub linger: Duration,
}

/// Where a run stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Deliveries begun.
    pub sent: u64,
    /// Deliveries with a final answer, whatever it was.
    pub finished: u64,
    /// Attempts that were made again after 429, 503 or no answer.
    pub retries: u64,
    /// Different objects fetched from the storage server.
    pub fetched: u64,
    /// All events are sent, and the storage server waits for the receiver to fetch.
    pub is_lingering: bool,
}

/// Told where a run stands, a few times a second.
pub trait ProgressSink: Send + Sync {
    /// The storage server listens, at the address that receivers use.
    fn started(&self, seed: u64, webhook_url: &Url, storage_url: &Url) {
        let _ = (seed, webhook_url, storage_url);
    }

    /// The run goes on.
    fn progress(&self, progress: Progress);
}

/// Tells nobody.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoProgress;

impl ProgressSink for NoProgress {
    fn progress(&self, _: Progress) {}
}

/// How a run went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// What a correct receiver must show now.
    pub totals: ExpectedTotals,
    /// Deliveries with another final answer than expected: `401 instead of 200` → how many. Empty is good.
    pub unexpected: BTreeMap<String, u64>,
    /// Attempts that were made again.
    pub retries: u64,
    /// What the receiver fetched.
    pub fetches: FetchCounts,
    /// Objects of accepted requests that could be fetched.
    pub fetchable: u64,
    /// Time from the first delivery to the last answer, in milliseconds.
    pub elapsed_ms: u64,
    /// The run was stopped before all events were sent.
    pub was_stopped: bool,
}

/// Sends all events and waits for the receiver to fetch their objects. `stop` ends sending early; the report then
/// covers what was answered.
///
/// # Errors
/// [`SimulatorError`] for options that cannot be used. A receiver that refuses or does not answer is no error but in
/// the report.
pub async fn run(
    options: RunOptions,
    clock: Arc<dyn Clock>,
    sink: Arc<dyn ProgressSink>,
    stop: CancellationToken,
) -> Result<Report, SimulatorError> {
    check(&options)?;
    let (url, source) = webhook_url(&options.url, options.source.clone())?;
    let requests = options.expect_requests.as_deref().map(ExpectedRequests::create).transpose()?;
    let bound = BoundStorage::bind(options.storage_listen).await?;
    let storage_url = match options.storage_url {
        Some(url) => url,
        None => address_url(bound.address)?,
    };
    let plan = Arc::new(Plan::new(PlanOptions {
        seed: options.seed,
        count: options.count,
        faults: options.faults,
        secret: options.secret,
        source,
        storage_url: storage_url.clone(),
    })?);
    let client = client::build(&url, &options.ca_files, options.concurrency)?;
    let sender = Arc::new(Sender::new(Arc::clone(&plan), client, url.clone(), options.max_attempts, stop.clone()));
    let storage = Arc::new(bound.serve(Arc::clone(&plan), Arc::clone(&clock)));
    sink.started(plan.seed(), &url, &storage_url);

    let (told, teller) = (Arc::clone(&sender), Arc::clone(&storage));
    let ticker_sink = Arc::clone(&sink);
    // A set ends its tasks when it is dropped, also when the whole run is.
    let mut ticker = JoinSet::new();
    ticker.spawn(async move {
        loop {
            sleep(PROGRESS_INTERVAL).await;
            ticker_sink.progress(told.progress(&teller));
        }
    });
    let begun = Instant::now();
    let mut tally = Tally::new(plan.count(), requests);
    let rate_per_second = NonZeroU32::new(options.rate_per_second);
    tally.send_all(&sender, clock.as_ref(), rate_per_second, options.concurrency).await;
    let elapsed_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    drop(ticker);
    tally.finish_requests()?;

    let was_stopped = stop.is_cancelled();
    if !was_stopped {
        sink.progress(Progress { is_lingering: true, ..sender.progress(&storage) });
        tokio::select! {
            () = storage.linger(tally.fetchable, QUIET, options.linger) => {}
            () = stop.cancelled() => {}
        }
    }
    sink.progress(Progress { is_lingering: true, ..sender.progress(&storage) });
    Ok(Report {
        totals: tally.totals(&sender),
        unexpected: tally.unexpected,
        retries: sender.retries(),
        fetches: storage.counts(),
        fetchable: tally.fetchable,
        elapsed_ms,
        was_stopped,
    })
}

fn check(options: &RunOptions) -> Result<(), SimulatorError> {
    let in_range = |option, value: u64, min, max| {
        if (min..=max).contains(&value) { Ok(()) } else { Err(SimulatorError::OutOfRange { option, min, max }) }
    };
    in_range("--count", options.count, 1, MAX_COUNT)?;
    in_range("--max-attempts", options.max_attempts.into(), 1, MAX_ATTEMPTS)?;
    in_range("--concurrency", options.concurrency as u64, 1, MAX_CONCURRENCY)
}

/// The URL to post to and the source that it means.
pub(super) fn webhook_url(url: &Url, source: Option<SourceName>) -> Result<(Url, SourceName), SimulatorError> {
    if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
        let (option, url) = ("--url", url.as_str().split('?').next().unwrap_or_default().to_owned());
        return Err(SimulatorError::Url { option, url });
    }
    let mut url = url.clone();
    let path = url.path().trim_end_matches('/').to_owned();
    let in_path = path.strip_prefix("/webhook/").and_then(|name| SourceName::new(name).ok());
    let is_plain = path.is_empty() || path == "/webhook";
    let source = source.or(in_path).unwrap_or_default();
    if is_plain && source == SourceName::default() {
        url.set_path("/webhook");
    } else if is_plain {
        url.set_path(&format!("/webhook/{source}"));
    }
    Ok((url, source))
}

/// An address as others reach it: "any address" is this machine.
fn address_url(mut address: SocketAddr) -> Result<Url, SimulatorError> {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    let url = format!("http://{address}");
    Url::parse(&url).map_err(|_| SimulatorError::Url { option: "--storage-listen", url })
}
