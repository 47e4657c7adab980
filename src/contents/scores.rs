//! Scores on their way to Helicone. The table `score_rows` is the outbox: the consumer queues, and the leader sends, so
//! that no message waits for Helicone's API and a restart forgets none. Giving a call the same score twice is harmless.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};

use clickhouse::Client;
use prometheus::{IntCounterVec, Opts, Registry};
use tokio_util::sync::CancellationToken;

use super::ContentsError;
use crate::{
    domain::{Clock, UtcMillis},
    helicone_api::{DEFAULT_URL, HeliconeApi, HeliconeApiError, ScoreValue},
    settings::{ContentsSettings, PolicyAction, SourceSettings},
    store::{ScoreRow, StoreError, Term, bounded, write_scores},
};

/// `scores.state`: still to be sent.
pub const PENDING: &str = "pending";
/// `scores.state`: Helicone has it.
pub const SENT: &str = "sent";
/// `scores.state`: given up.
pub const FAILED: &str = "failed";

/// The outbox is looked at this often.
const POLL_EVERY: Duration = Duration::from_secs(2);
/// … and a look that took long is followed by a rest of so many times as long.
const REST_FACTOR: u32 = 10;
const MOST_AT_ONCE: usize = 500;
/// One attempt must finish within this.
const TIMEOUT: Duration = Duration::from_secs(15);
/// Older ones are given up.
const RETRY_FOR: Duration = Duration::from_secs(24 * 3600);
/// Helicone logs a call before it sends the webhook; a call that it does not know after so many attempts is not there.
const UNKNOWN_ATTEMPTS: u32 = 6;
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// The waiting ones whose time has come, of some sources, fewest attempts first. A call is at most 7 days older than its
/// webhook, and its score is given up a day after that.
const WAITING: &str = "\
    SELECT ?fields FROM score_rows FINAL \
    WHERE event_time >= fromUnixTimestamp64Milli(?, 'UTC') AND has(?, toString(source)) AND state = 'pending' \
    AND (attempts = 0 OR toUnixTimestamp64Milli(at) + least(600000, 5000 * exp2(least(attempts, 10))) <= ?) \
    ORDER BY attempts, queued_at, request_id, name LIMIT ?";
const OLDEST: Duration = Duration::from_secs(10 * 24 * 3600);

/// Sources whose scores can be sent.
pub fn sources_with_keys(sources: &[SourceSettings]) -> impl Iterator<Item = &SourceSettings> {
    sources.iter().filter(|source| source.helicone_api_key.is_some())
}

/// What is measured of scores. Registered once, used by one [`ScoreSender`] after another.
#[derive(Clone, Debug)]
pub struct ScoreMetrics(IntCounterVec);

impl ScoreMetrics {
    /// Registers the metric.
    ///
    /// # Errors
    /// When the name is registered twice.
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let scores = IntCounterVec::new(
            Opts::new("heliometer_scores_total", "Scores for Helicone by outcome of an attempt: sent, retried, failed"),
            &["result"],
        )?;
        registry.register(Box::new(scores.clone()))?;
        Ok(Self(scores))
    }
}

/// Sends what waits. One at a time should run on a database; two do no harm but ask twice.
#[derive(Clone)]
pub struct ScoreSender {
    client: Client,
    timeout: Duration,
    /// By source.
    apis: Arc<HashMap<String, HeliconeApi>>,
    clock: Arc<dyn Clock>,
    metrics: ScoreMetrics,
}

/// Why a source is left alone for a while.
struct Pause {
    until: Instant,
    failures: u32,
}

impl ScoreSender {
    /// `None` when no policy gives scores.
    ///
    /// # Errors
    /// [`ContentsError`] when one does and no source has an API key, or its URL is none.
    pub fn new(
        (client, timeout): (Client, Duration),
        settings: &ContentsSettings,
        sources: &[SourceSettings],
        clock: Arc<dyn Clock>,
        metrics: ScoreMetrics,
    ) -> Result<Option<Self>, ContentsError> {
        let Some(policy) = settings.policies.iter().find(|policy| policy.action == PolicyAction::Score) else {
            return Ok(None);
        };
        let mut apis = HashMap::new();
        for source in sources {
            let Some(key) = &source.helicone_api_key else {
                tracing::warn!(source = %source.name, "no scores are given: the source has no helicone_api_key");
                continue;
            };
            let url = source.helicone_api_url.as_deref().unwrap_or(DEFAULT_URL);
            let api = HeliconeApi::new(url, key, TIMEOUT)
                .map_err(|error| ContentsError::Api { source_name: source.name.to_string(), error })?;
            apis.insert(source.name.to_string(), api);
        }
        if apis.is_empty() {
            return Err(ContentsError::NoApiKey(policy.name.clone()));
        }
        Ok(Some(Self { client, timeout, apis: Arc::new(apis), clock, metrics }))
    }

    /// Sends until `shutdown`, or until `term` is over; an attempt under way is finished. What fails is tried again.
    pub async fn run(self, shutdown: CancellationToken, term: Term) {
        let mut pauses: HashMap<String, Pause> = HashMap::new();
        loop {
            let started = Instant::now();
            let wait = match self.round(&mut pauses, &shutdown, &term).await {
                Ok(was_full) if was_full => Duration::ZERO,
                Ok(_) => POLL_EVERY.max((started.elapsed() * REST_FACTOR).min(LONGEST_PAUSE)),
                Err(StoreError::Deposed) => return,
                Err(error) => {
                    tracing::warn!(%error, "scores wait for ClickHouse");
                    POLL_EVERY
                }
            };
            if shutdown.run_until_cancelled(tokio::time::sleep(wait)).await.is_none() {
                return;
            }
        }
    }

    /// Sends what waits now; whether there may be more.
    async fn round(
        &self,
        pauses: &mut HashMap<String, Pause>,
        shutdown: &CancellationToken,
        term: &Term,
    ) -> Result<bool, StoreError> {
        let is_open = |source: &&String| pauses.get(*source).is_none_or(|pause| pause.until <= Instant::now());
        let open: Vec<String> = self.apis.keys().filter(is_open).cloned().collect();
        if open.is_empty() {
            return Ok(false);
        }
        term.ensure_current().await?;
        let rows = self.waiting(open).await?;
        let was_full = rows.len() == MOST_AT_ONCE;
        for call in by_call(rows) {
            if shutdown.is_cancelled() {
                return Ok(false);
            }
            let Some(first) = call.first() else { continue };
            let source = first.source.clone();
            if pauses.get(&source).is_some_and(|pause| pause.until > Instant::now()) {
                continue;
            }
            let answer = self.send(&call).await;
            Self::pause(pauses, &source, answer.as_ref().err());
            let now = self.clock.now();
            let outcomes: Vec<ScoreRow> =
                call.iter().map(|row| self.outcome(row, answer.as_ref().err(), now)).collect();
            // Not recorded, they are sent again: harmless.
            write_scores(&self.client, self.timeout, &outcomes).await?;
        }
        Ok(was_full)
    }

    async fn waiting(&self, open: Vec<String>) -> Result<Vec<ScoreRow>, StoreError> {
        let now = self.clock.now();
        let query =
            self.client.query(WAITING).bind(now.minus(OLDEST).0).bind(open).bind(now.0).bind(MOST_AT_ONCE as u64);
        bounded(self.timeout, "reading the scores to be sent", query.fetch_all::<ScoreRow>()).await
    }

    /// Sends the scores of one call, unless they are too old.
    async fn send(&self, call: &[ScoreRow]) -> Result<(), HeliconeApiError> {
        let Some((first, api)) = call.first().and_then(|first| Some((first, self.apis.get(&first.source)?))) else {
            return Err(HeliconeApiError::Final("the source has no API key".to_owned()));
        };
        if self.is_too_old(first) {
            return Err(HeliconeApiError::Final(format!(
                "given up: not taken within {} h",
                RETRY_FOR.as_secs() / 3600
            )));
        }
        let value = |row: &ScoreRow| {
            if row.is_boolean { ScoreValue::Bool(row.value != 0) } else { ScoreValue::Int(row.value) }
        };
        let scores: BTreeMap<String, ScoreValue> = call.iter().map(|row| (row.name.clone(), value(row))).collect();
        api.score(&first.request_id, &scores).await
    }

    fn is_too_old(&self, row: &ScoreRow) -> bool {
        self.clock.now().since(UtcMillis(row.queued_at)) > RETRY_FOR
    }

    /// Leaves a source alone whose API is in trouble, longer each time, and as long as it asks.
    fn pause(pauses: &mut HashMap<String, Pause>, source: &str, error: Option<&HeliconeApiError>) {
        let failures = pauses.get(source).map_or(0, |pause| pause.failures) + 1;
        let backoff = (FIRST_PAUSE * 2_u32.saturating_pow(failures)).min(LONGEST_PAUSE).mul_f64(rand::random());
        let wait = match error {
            Some(HeliconeApiError::Transient { retry_after, .. }) => {
                retry_after.map_or(backoff, |asked| asked + backoff.min(FIRST_PAUSE))
            }
            Some(HeliconeApiError::Key { .. }) => LONGEST_PAUSE,
            // It has answered, whatever it says of this call.
            _ => {
                pauses.remove(source);
                return;
            }
        };
        if let Some(error) = error {
            tracing::warn!(source, %error, wait_ms = wait.as_millis(), "scores wait for Helicone's API");
        }
        pauses.insert(source.to_owned(), Pause { until: Instant::now() + wait, failures });
    }

    /// The row after an attempt.
    fn outcome(&self, row: &ScoreRow, error: Option<&HeliconeApiError>, now: UtcMillis) -> ScoreRow {
        let attempts = row.attempts + 1;
        let state = match error {
            None => SENT,
            Some(HeliconeApiError::UnknownRequest) if attempts < UNKNOWN_ATTEMPTS => PENDING,
            Some(HeliconeApiError::Transient { .. } | HeliconeApiError::Key { .. }) => PENDING,
            Some(_) => FAILED,
        };
        self.metrics.0.with_label_values(&[if state == PENDING { "retried" } else { state }]).inc();
        if state == FAILED
            && let Some(error) = error
        {
            tracing::error!(
                request_id = row.request_id, score = row.name, %error,
                "a score is given up; see the view `scores`"
            );
        }
        ScoreRow {
            state: state.to_owned(),
            attempts,
            error: error.map(ToString::to_string).unwrap_or_default(),
            at: now.0,
            version: row.version + 1,
            ..row.clone()
        }
    }
}

/// All scores of a call go in one request. Calls keep their order.
fn by_call(rows: Vec<ScoreRow>) -> Vec<Vec<ScoreRow>> {
    let mut calls: Vec<Vec<ScoreRow>> = Vec::new();
    let mut places: HashMap<(String, String), usize> = HashMap::new();
    for row in rows {
        let place = *places.entry((row.source.clone(), row.request_id.clone())).or_insert(calls.len());
        match calls.get_mut(place) {
            Some(call) => call.push(row),
            None => calls.push(vec![row]),
        }
    }
    calls
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Secret;

    fn row(request_id: &str, name: &str) -> ScoreRow {
        ScoreRow {
            request_id: request_id.to_owned(),
            source: "default".to_owned(),
            event_time: 0,
            name: name.to_owned(),
            value: 1,
            is_boolean: true,
            queued_at: 0,
            state: PENDING.to_owned(),
            attempts: 0,
            error: String::new(),
            at: 0,
            version: 3 << 32,
        }
    }

    fn settings(action: PolicyAction) -> ContentsSettings {
        let policy = crate::settings::PolicySettings {
            name: "p".to_owned(),
            when: "true".to_owned(),
            action,
            severity: None,
            scope: None,
            window: None,
            min_matches: None,
            score: None,
            value: None,
        };
        ContentsSettings { policies: vec![policy], ..ContentsSettings::default() }
    }

    fn sender(action: PolicyAction, key: Option<&str>) -> Result<Option<ScoreSender>, ContentsError> {
        let mut source = SourceSettings::new(crate::domain::SourceName::default(), vec![Secret::new("s")]);
        source.helicone_api_key = key.map(Secret::new);
        let clock = Arc::new(crate::domain::SystemClock);
        let metrics = ScoreMetrics::new(&Registry::new()).expect("metrics");
        ScoreSender::new((Client::default(), TIMEOUT), &settings(action), &[source], clock, metrics)
    }

    #[test]
    fn scores_without_a_key_are_refused_rather_than_forgotten() {
        assert!(matches!(sender(PolicyAction::Score, None), Err(ContentsError::NoApiKey(policy)) if policy == "p"));
        assert!(sender(PolicyAction::Flag, None).expect("needs none").is_none());
        assert!(sender(PolicyAction::Score, Some("k")).expect("has one").is_some());
    }

    #[test]
    fn scores_of_a_call_go_together() {
        let calls = by_call(vec![row("a", "x"), row("b", "x"), row("a", "y")]);
        let names: Vec<Vec<&str>> =
            calls.iter().map(|call| call.iter().map(|row| row.name.as_str()).collect()).collect();
        assert_eq!(names, [vec!["x", "y"], vec!["x"]]);
    }

    #[test]
    fn what_comes_of_an_attempt_is_a_higher_version() {
        let sender = sender(PolicyAction::Score, Some("k")).expect("valid").expect("sends");
        let transient = HeliconeApiError::Transient { message: "503".to_owned(), retry_after: None };
        let last_unknown = ScoreRow { attempts: UNKNOWN_ATTEMPTS - 1, ..row("a", "x") };
        for (row, error, state) in [
            (row("a", "x"), None, SENT),
            (row("a", "x"), Some(transient), PENDING),
            (row("a", "x"), Some(HeliconeApiError::Key { status: 401 }), PENDING),
            (row("a", "x"), Some(HeliconeApiError::UnknownRequest), PENDING),
            (last_unknown, Some(HeliconeApiError::UnknownRequest), FAILED),
            (row("a", "x"), Some(HeliconeApiError::Final("400".to_owned())), FAILED),
        ] {
            let after = sender.outcome(&row, error.as_ref(), UtcMillis(7));
            assert_eq!(
                (after.state.as_str(), after.attempts, after.version),
                (state, row.attempts + 1, row.version + 1)
            );
            assert_eq!(after.error.is_empty(), error.is_none());
        }
    }

    #[test]
    fn a_source_in_trouble_is_left_alone_as_long_as_it_asks() {
        let mut pauses = HashMap::new();
        let asked =
            HeliconeApiError::Transient { message: "429".to_owned(), retry_after: Some(Duration::from_secs(60)) };
        ScoreSender::pause(&mut pauses, "default", Some(&asked));
        assert!(pauses["default"].until > Instant::now() + Duration::from_secs(59));
        ScoreSender::pause(&mut pauses, "default", Some(&HeliconeApiError::UnknownRequest));
        assert!(pauses.is_empty());
    }
}
