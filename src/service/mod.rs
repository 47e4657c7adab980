//! Puts the rooms together, starts them in an order that loses nothing, and stops them in the reverse one.
//!
//! Start: event log → ingress → ClickHouse → consumer, leader. Webhooks are taken before anything else is up,
//! since their sender does not try again. Stop: ingress (no new messages) → consumer (what was read is written and
//! committed) → leader (rollups: one last pass; alerter) → event log → ClickHouse.

mod error;
mod leader;
mod roles;
mod signature_failures;
mod work;

use std::{path::PathBuf, sync::Arc, time::Duration};

use prometheus::Registry;
use tokio::{sync::Notify, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use leader::Leader;
use signature_failures::SignatureFailures;
use work::Accounts;

pub use error::ServiceError;
pub use roles::{Role, Roles};

use crate::{
    admin,
    alert::{AlertMetrics, Resender},
    consumer::{ByIdApi, Consumer, ConsumerError, ConsumerMetrics, ConsumerParts, Judgement, RetryConsumer},
    contents::{
        ContentsMetrics, Inspector, alert_rules,
        scores::{ScoreMetrics, ScoreSender},
    },
    dead_letters::DeadLetters,
    domain::{Clock, SystemClock},
    event_log::{EmbeddedLog, EventLog, KafkaLog, PatientLog, SpooledLog},
    fetch::{FetchMetrics, Fetcher},
    ingress::{self, RunningIngress},
    pricing::PriceBook,
    settings::{ContentsStore, Settings},
    store::{
        Database, DatabaseOptions, LedgerMetrics, Reader, StoreError, StoreMetrics, apply_retention,
        engine::EngineError, migrate, server_client,
    },
    telemetry::Health,
    tls,
};

const RETENTION_EVERY: Duration = Duration::from_secs(60);
const DATABASE_RETRY: Duration = Duration::from_secs(2);

/// What is running, for `serve` to announce and to stop.
pub struct Service {
    settings: Settings,
    prices: Arc<PriceBook>,
    health: Health,
    log: Arc<dyn EventLog>,
    ingress: Option<RunningIngress>,
    admin: admin::RunningAdmin,
    database: Option<Database>,
    stages: Stages,
    consumer: Option<JoinHandle<Result<(), ConsumerError>>>,
    leader: Option<JoinHandle<()>>,
}

/// One token per stage of the shutdown.
#[derive(Clone, Default)]
struct Stages {
    ingress: CancellationToken,
    consumer: CancellationToken,
    leader: CancellationToken,
    rest: CancellationToken,
}

impl Service {
    /// Starts what `roles` say. `program` is the `heliometer` program, which becomes the embedded engine's process.
    ///
    /// # Errors
    /// [`ServiceError`] when a part cannot start; those already started are stopped.
    pub async fn start(settings: Settings, roles: Roles, program: PathBuf) -> Result<Self, ServiceError> {
        tls::install_crypto_provider();
        // First of all: a book with a mistake must not be found out after webhooks were priced by it.
        let prices = Arc::new(PriceBook::load(&settings.pricing)?);
        tracing::info!(revision = prices.revision(), entries = prices.entries().count(), "price book read");
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let (health, registry, stages) = (Health::default(), Registry::new(), Stages::default());
        std::fs::create_dir_all(&*settings.data_dir)
            .map_err(|source| ServiceError::DataDir { path: settings.data_dir.to_path_buf(), source })?;
        let log = open_log(&settings, roles, clock.clone(), &health, &registry).await?;

        let ingress = if roles.has(Role::Ingress) {
            settings.require_sources()?;
            let shutdown = stages.ingress.clone();
            Some(ingress::start(&settings, log.clone(), clock.clone(), health.clone(), &registry, shutdown).await?)
        } else {
            None
        };
        let admin = admin::start(&settings, health.clone(), registry.clone(), stages.rest.clone()).await?;
        let mut service = Self {
            prices,
            health,
            log,
            ingress,
            admin,
            database: None,
            stages,
            consumer: None,
            leader: None,
            settings,
        };
        tokio::spawn(enforce_retention(service.log.clone(), clock.clone(), service.stages.rest.clone()));
        if roles.needs_database()
            && let Err(error) = service.start_database_side(roles, &program, &clock, &registry).await
        {
            service.stop().await;
            return Err(error);
        }
        if roles.has(Role::Ingress) {
            service.record_signature_failures(registry, clock);
        }
        Ok(service)
    }

    /// Where there is no ClickHouse, refused signatures are in the metrics only.
    fn record_signature_failures(&self, registry: Registry, clock: Arc<dyn Clock>) {
        let client = match &self.database {
            Some(database) => Some(database.client().clone()),
            None => server_client(&self.settings.clickhouse),
        };
        if let Some(client) = client {
            let failures = SignatureFailures::new(client, registry, clock);
            tokio::spawn(failures.run(self.stages.ingress.clone()));
        }
    }

    async fn start_database_side(
        &mut self,
        roles: Roles,
        program: &std::path::Path,
        clock: &Arc<dyn Clock>,
        registry: &Registry,
    ) -> Result<(), ServiceError> {
        let database = open_database(&self.settings, program, &self.health).await?;
        let (client, timeout) = (database.client().clone(), database.timeout());
        let reader = database.reader().clone();
        self.admin.connect(database.reader())?;
        self.database = Some(database);
        if self.settings.clickhouse.migrate_on_start {
            migrate_when_there(&self.settings, &client, clock.as_ref(), &self.health).await?;
        }
        warn_of_open_contents(&self.settings, &reader, timeout).await;
        self.admin.control(
            &self.settings,
            DeadLetters::new(self.log.clone(), client.clone(), timeout, clock.clone()),
            Resender::new(&client, &self.settings.notifiers),
        )?;
        let store_metrics = StoreMetrics::new(registry)?;
        let inserted = Arc::new(Notify::new());
        if roles.has(Role::Consumer) {
            let (consumer, retries) = self.join_groups(clock, registry, &store_metrics, &inserted).await?;
            self.health.ready("consumer");
            let stop = self.stages.consumer.clone();
            self.consumer = Some(tokio::spawn(async move {
                tokio::try_join!(consumer.run(stop.clone()), retries.run(stop)).map(|((), ())| ())
            }));
        }
        if roles.has(Role::Alerter) {
            let settings = &self.settings;
            let grace = if settings.event_log.brokers.is_empty() {
                Duration::ZERO
            } else {
                timeout + Duration::from_millis(settings.notifiers.timeout_ms)
            };
            let mut alerts = settings.alerts.clone();
            alerts.rules.extend(alert_rules(&settings.contents)?);
            let scores = ScoreSender::new(
                (client.clone(), timeout),
                &settings.contents,
                &settings.sources,
                clock.clone(),
                ScoreMetrics::new(registry)?,
            )?;
            let accounts = Accounts {
                client,
                reader,
                timeout,
                grace,
                retention: settings.clickhouse.retention.clone(),
                store_metrics,
                ledger_metrics: LedgerMetrics::new(registry)?,
                inserted,
                alerts,
                scores,
                notifiers: settings.notifiers.clone(),
                clock: clock.clone(),
                alert_metrics: AlertMetrics::new(registry)?,
                health: self.health.clone(),
            };
            accounts.check()?;
            let (log, stop) = (self.log.clone(), self.stages.leader.clone());
            let leader = Leader::new(log, accounts, self.health.clone(), registry, stop)?;
            self.leader = Some(tokio::spawn(leader.run()));
        }
        Ok(())
    }

    async fn join_groups(
        &self,
        clock: &Arc<dyn Clock>,
        registry: &Registry,
        store_metrics: &StoreMetrics,
        inserted: &Arc<Notify>,
    ) -> Result<(Consumer, RetryConsumer), ServiceError> {
        let Some(database) = &self.database else { return Err(ServiceError::Stopped("the database")) };
        let settings = &self.settings;
        let seed = u64::try_from(clock.now().0).unwrap_or(0);
        let fetcher =
            Fetcher::new(settings.fetch.clone(), &settings.sources, clock.clone(), FetchMetrics::new(registry)?, seed)?;
        let parts = ConsumerParts {
            log: self.log.clone(),
            client: database.client().clone(),
            timeout: database.timeout(),
            fetcher: Arc::new(fetcher),
            by_id: ByIdApi::new(&settings.sources, registry)?,
            clock: clock.clone(),
            inserted: inserted.clone(),
            inspector: Inspector::new(
                &settings.contents,
                &settings.sources,
                clock.clone(),
                ContentsMetrics::new(registry)?,
            )?,
            judgement: Judgement { max_token_ratio: settings.limits.max_token_ratio, prices: self.prices.clone() },
            flush_interval: Duration::from_millis(settings.clickhouse.flush_interval_ms),
            flush_rows: settings.clickhouse.flush_rows,
            max_in_flight_records: settings.limits.max_in_flight_records,
            max_in_flight_bytes: settings.limits.max_in_flight_bytes,
            dedupe_max_ids: settings.limits.dedupe_max_ids,
            dead_letter_window: settings.limits.dead_letter_window,
            max_dead_letter_share_percent: settings.limits.max_dead_letter_share_percent,
            shutdown_timeout: Duration::from_millis(settings.limits.shutdown_timeout_ms),
            metrics: ConsumerMetrics::new(registry)?,
            store_metrics: store_metrics.clone(),
        };
        let parts = Arc::new(parts);
        Ok((Consumer::join(parts.clone()).await?, RetryConsumer::join(parts).await?))
    }

    /// Where webhooks are taken.
    #[must_use]
    pub fn ingress(&self) -> Option<&RunningIngress> {
        self.ingress.as_ref()
    }

    /// Where the live page and the metrics are.
    #[must_use]
    pub const fn admin_addr(&self) -> std::net::SocketAddr {
        self.admin.local_addr
    }

    /// The database, when a role needs it.
    #[must_use]
    pub const fn database(&self) -> Option<&Database> {
        self.database.as_ref()
    }

    /// Returns when a part has died that cannot be without: its messages wait in the log for the next start.
    ///
    /// A consumer that stopped for a flood of dead letters does not end a process that also takes webhooks: their sender
    /// does not try again, and the log keeps them.
    pub async fn failed(&mut self) -> ServiceError {
        loop {
            match self.next_failure().await {
                ServiceError::Consumer(error @ ConsumerError::TooManyDeadLetters { .. }) if self.ingress.is_some() => {
                    tracing::error!(%error, "the consumer has stopped; webhooks are still taken");
                    self.health.degraded("consumer", error.to_string());
                }
                error => return error,
            }
        }
    }

    async fn next_failure(&mut self) -> ServiceError {
        let consumer = async {
            match self.consumer.as_mut() {
                Some(task) => match task.await {
                    Ok(Err(error)) => error.into(),
                    Ok(Ok(())) | Err(_) => ServiceError::Stopped("the consumer"),
                },
                None => std::future::pending().await,
            }
        };
        let leader = wait_for(self.leader.as_mut());
        tokio::select! {
            error = consumer => {
                self.consumer = None;
                error
            }
            () = leader => {
                self.leader = None;
                ServiceError::Stopped("the rollup task or the alerter")
            }
        }
    }

    /// Stops everything in order. What was acknowledged and not finished is in the log and goes on at the next start.
    pub async fn stop(self) {
        self.stages.ingress.cancel();
        if let Some(ingress) = self.ingress {
            ingress.stopped().await;
        }
        self.stages.consumer.cancel();
        if let Some(consumer) = self.consumer
            && let Ok(Err(error)) = consumer.await
        {
            tracing::error!(%error, "the consumer ended with an error");
        }
        self.stages.leader.cancel();
        if let Some(leader) = self.leader {
            report(leader.await, "leader");
        }
        self.stages.rest.cancel();
        self.admin.stopped().await;
        self.log.close().await;
        if let Some(database) = self.database {
            database.close().await;
        }
    }
}

/// On a server the operator gives the rights. What people said should not be open to everybody who may read numbers.
async fn warn_of_open_contents(settings: &Settings, reader: &Reader, timeout: Duration) {
    if settings.contents.store == ContentsStore::Off || settings.clickhouse.reader_user.is_empty() {
        return;
    }
    match reader.may_read_contents(timeout).await {
        Ok(false) => {}
        Ok(true) => tracing::warn!(
            user = reader.user,
            "clickhouse.reader_user may read what people said: REVOKE SELECT ON its database's tables content_rows and \
             contents; docs/contents.md says how"
        ),
        Err(error) => tracing::warn!(%error, "it is not known who may read contents"),
    }
}

async fn wait_for(task: Option<&mut JoinHandle<()>>) {
    match task {
        Some(task) => report(task.await, "a part of the service"),
        None => std::future::pending().await,
    }
}

fn report(result: Result<(), tokio::task::JoinError>, what: &str) {
    if let Err(error) = result {
        tracing::error!(%error, what, "a task ended abnormally");
    }
}

/// Kafka when there are brokers, with a spool where webhooks are taken; otherwise the embedded log.
async fn open_log(
    settings: &Settings,
    roles: Roles,
    clock: Arc<dyn Clock>,
    health: &Health,
    registry: &Registry,
) -> Result<Arc<dyn EventLog>, ServiceError> {
    let log = &settings.event_log;
    if log.brokers.is_empty() {
        return Ok(Arc::new(EmbeddedLog::open(&settings.data_dir.join("event_log"), log, registry)?));
    }
    let kafka: Arc<dyn EventLog> = Arc::new(PatientLog::new(Arc::new(KafkaLog::connect(log, registry)?)));
    if !roles.has(Role::Ingress) {
        return Ok(kafka);
    }
    let spool = settings.data_dir.join("spool");
    Ok(Arc::new(SpooledLog::open(kafka, &spool, log, clock, health.clone(), registry).await?))
}

/// The embedded engine starts or it does not; a server may only be away for a while, and webhooks are safe meanwhile.
async fn open_database(
    settings: &Settings,
    program: &std::path::Path,
    health: &Health,
) -> Result<Database, ServiceError> {
    health.not_ready("clickhouse", "starting");
    loop {
        match Database::open(settings, DatabaseOptions { program, join_running: false }, health).await {
            Ok(database) => return Ok(database),
            Err(StoreError::Engine(error @ EngineError::NotReady { .. })) => return Err(error.into()),
            Err(error) if settings.clickhouse.is_embedded() => return Err(error.into()),
            Err(error) => {
                health.not_ready("clickhouse", error.to_string());
                tracing::warn!(%error, "ClickHouse is not there yet; webhooks are taken meanwhile");
                tokio::time::sleep(DATABASE_RETRY).await;
            }
        }
    }
}

/// A server that goes away just now comes back, as in [`open_database`]: ending for it would also end the taking of
/// webhooks.
async fn migrate_when_there(
    settings: &Settings,
    client: &clickhouse::Client,
    clock: &dyn Clock,
    health: &Health,
) -> Result<(), StoreError> {
    loop {
        let (cluster, retention) = (&settings.clickhouse.cluster, &settings.clickhouse.retention);
        let migrated = async {
            migrate(client, cluster, clock).await?;
            apply_retention(client, retention, cluster).await
        };
        match migrated.await {
            Err(error @ (StoreError::ClickHouse { .. } | StoreError::Timeout { .. }))
                if !settings.clickhouse.is_embedded() =>
            {
                health.not_ready("clickhouse", error.to_string());
                tracing::warn!(%error, "the schema could not be brought up to date; trying again");
                tokio::time::sleep(DATABASE_RETRY).await;
            }
            result => {
                result?;
                health.ready("clickhouse");
                return Ok(());
            }
        }
    }
}

async fn enforce_retention(log: Arc<dyn EventLog>, clock: Arc<dyn Clock>, shutdown: CancellationToken) {
    while shutdown.run_until_cancelled(tokio::time::sleep(RETENTION_EVERY)).await.is_some() {
        if let Err(error) = log.enforce_retention(clock.now()).await {
            tracing::warn!(%error, "old segments of the event log could not be removed");
        }
    }
}
