//! The connection to ClickHouse, embedded or not.

use std::{future::Future, path::Path, time::Duration};

use clickhouse::Client;

use super::{
    StoreError,
    engine::{Credentials, EmbeddedEngine, EngineOptions},
    migrations::for_cluster,
};
use crate::{
    domain::Secret,
    settings::{ClickHouseSettings, Settings},
    telemetry::Health,
};

/// ClickHouse, ready to be used. Owns the embedded engine if there is one.
#[derive(Debug)]
pub struct Database {
    client: Client,
    reader: Reader,
    contents_reader: Option<Reader>,
    timeout: Duration,
    engine: Option<EmbeddedEngine>,
}

/// How to reach ClickHouse with the reader's rights, for `heliometer sql` and for people.
#[derive(Clone, Debug)]
pub struct Reader {
    /// `http(s)://host:port`.
    pub url: String,
    /// The database.
    pub database: String,
    /// The user.
    pub user: String,
    /// The user's password.
    pub password: Secret,
}

/// What [`Database::open`] needs besides the settings.
#[derive(Clone, Copy, Debug)]
pub struct DatabaseOptions<'a> {
    /// The `heliometer` program, which becomes the embedded engine's process.
    pub program: &'a Path,
    /// Use the embedded engine of a `serve` that runs on the same data directory, if there is one. Not for `serve`
    /// itself, which might find the engine of its killed predecessor, about to end.
    pub join_running: bool,
}

impl Database {
    /// Connects to the configured server, or starts the embedded engine, and makes sure the database exists.
    ///
    /// # Errors
    /// [`StoreError`] when the engine does not start or the server does not answer.
    pub async fn open(settings: &Settings, options: DatabaseOptions<'_>, health: &Health) -> Result<Self, StoreError> {
        let clickhouse = &settings.clickhouse;
        let (url, user, password, reader, contents_reader, engine) = if clickhouse.is_embedded() {
            let running = options.join_running.then(|| EmbeddedEngine::running_beside(&settings.data_dir)).flatten();
            let (endpoint, credentials, engine) = if let Some((endpoint, credentials)) = running {
                (endpoint, credentials, None)
            } else {
                let options = EngineOptions {
                    program: options.program.to_path_buf(),
                    data_dir: settings.data_dir.to_path_buf(),
                    settings: clickhouse.clone(),
                };
                let engine = EmbeddedEngine::start(options, health.clone()).await?;
                (engine.endpoint(), engine.credentials().clone(), Some(engine))
            };
            let url = format!("http://127.0.0.1:{}", endpoint.http_port);
            let reader = (credentials.reader_user, Secret::new(credentials.reader_password));
            let contents_reader = Some(embedded_contents_reader(credentials.contents_reader_password));
            let password = Secret::new(credentials.service_password);
            (url, EmbeddedEngine::service_user().to_owned(), password, reader, contents_reader, engine)
        } else {
            let password = clickhouse.password.clone().unwrap_or_else(|| Secret::new(""));
            let (reader, contents_reader) = (server_reader(clickhouse), server_contents_reader(settings));
            (clickhouse.url.clone(), clickhouse.user.clone(), password, reader, contents_reader, None)
        };
        let client = Client::default()
            .with_url(&url)
            .with_user(user)
            .with_password(password.expose())
            // Batches are built here; waiting for the server to build another would only delay them.
            .with_setting("async_insert", "0")
            .with_setting("max_execution_time", clickhouse.timeout().as_secs().max(1).to_string());
        let client = replicated(client, clickhouse);
        let reader_as =
            |(user, password)| Reader { url: url.clone(), database: clickhouse.database.clone(), user, password };
        let (reader, contents_reader) = (reader_as(reader), contents_reader.map(reader_as));
        let database = Self { client, reader, contents_reader, timeout: clickhouse.timeout(), engine };
        let create = format!("CREATE DATABASE IF NOT EXISTS `{}`", clickhouse.database.replace('`', ""));
        let create = for_cluster(&create, &clickhouse.cluster)?;
        database.bounded("creating the database", database.client.query(&create).execute()).await?;
        let client = database.client.clone().with_database(&clickhouse.database);
        health.ready("clickhouse");
        Ok(Self { client, ..database })
    }

    /// A client with the service's rights and the database set.
    #[must_use]
    pub const fn client(&self) -> &Client {
        &self.client
    }

    /// How readers connect.
    #[must_use]
    pub const fn reader(&self) -> &Reader {
        &self.reader
    }

    /// How those connect who may read contents; `None` where a server has no user for that.
    #[must_use]
    pub const fn contents_reader(&self) -> Option<&Reader> {
        self.contents_reader.as_ref()
    }

    /// The native-protocol port of the embedded engine.
    #[must_use]
    pub fn embedded_tcp_port(&self) -> Option<u16> {
        self.engine.as_ref().map(|engine| engine.endpoint().tcp_port)
    }

    /// Whether the embedded engine was started for this, and nobody else uses it.
    #[must_use]
    pub const fn is_own_engine(&self) -> bool {
        self.engine.is_some()
    }

    /// One statement's or insert's limit.
    #[must_use]
    pub const fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Waits for `work`, but not for ever.
    async fn bounded<T>(
        &self,
        doing: &str,
        work: impl Future<Output = clickhouse::error::Result<T>>,
    ) -> Result<T, StoreError> {
        bounded(self.timeout, doing, work).await
    }

    /// Stops the embedded engine, if there is one. Other clients of it should be dropped by now: it waits five seconds
    /// for connections that are kept alive.
    pub async fn close(self) {
        let Self { client, engine, .. } = self;
        drop(client);
        if let Some(engine) = engine {
            engine.stop().await;
        }
    }
}

impl Reader {
    /// How readers reach ClickHouse without starting anything: the configured server, or the embedded engine of a
    /// `serve` that runs on the same data directory. `None` when neither is there.
    #[must_use]
    pub fn beside(settings: &Settings) -> Option<Self> {
        let clickhouse = &settings.clickhouse;
        if !clickhouse.is_embedded() {
            let (user, password) = server_reader(clickhouse);
            return Some(Self { url: clickhouse.url.clone(), database: clickhouse.database.clone(), user, password });
        }
        let (endpoint, credentials) = EmbeddedEngine::running_beside(&settings.data_dir)?;
        Some(Self {
            url: format!("http://127.0.0.1:{}", endpoint.http_port),
            database: clickhouse.database.clone(),
            user: credentials.reader_user,
            password: Secret::new(credentials.reader_password),
        })
    }

    /// The same for those who may read contents. The inner `None` says that a server has no user for that.
    #[must_use]
    pub fn of_contents_beside(settings: &Settings) -> Option<Option<Self>> {
        let clickhouse = &settings.clickhouse;
        let (url, user) = if clickhouse.is_embedded() {
            let (endpoint, credentials) = EmbeddedEngine::running_beside(&settings.data_dir)?;
            let url = format!("http://127.0.0.1:{}", endpoint.http_port);
            (url, Some(embedded_contents_reader(credentials.contents_reader_password)))
        } else {
            (clickhouse.url.clone(), server_contents_reader(settings))
        };
        let database = clickhouse.database.clone();
        Some(user.map(|(user, password)| Self { url, database, user, password }))
    }

    /// A client with this user's rights and the database set.
    #[must_use]
    pub fn client(&self) -> Client {
        Client::default()
            .with_url(&self.url)
            .with_user(&self.user)
            .with_password(self.password.expose())
            .with_database(&self.database)
    }

    /// Whether this user may read contents. Asks for no row.
    ///
    /// # Errors
    /// [`StoreError`] when ClickHouse cannot be asked.
    pub async fn may_read_contents(&self, timeout: Duration) -> Result<bool, StoreError> {
        let client = self.client();
        let query = client.query("SELECT count() FROM (SELECT request_body FROM content_rows LIMIT 0)");
        match bounded(timeout, "asking for the reader's rights", query.fetch_one::<u64>()).await {
            Ok(_) => Ok(true),
            Err(StoreError::ClickHouse { message, .. }) if message.contains("ACCESS_DENIED") => Ok(false),
            Err(error) => Err(error),
        }
    }
}

fn embedded_contents_reader(password: String) -> (String, Secret) {
    (Credentials::contents_reader_user().to_owned(), Secret::new(password))
}

fn server_contents_reader(settings: &Settings) -> Option<(String, Secret)> {
    let contents = &settings.contents;
    let password = contents.reader_password.clone().unwrap_or_else(|| Secret::new(""));
    (!contents.reader_user.is_empty()).then(|| (contents.reader_user.clone(), password))
}

/// A client of the configured server, for a process that needs it beside its work; `None` for the embedded engine.
/// Reaches nothing yet.
pub(crate) fn server_client(settings: &ClickHouseSettings) -> Option<Client> {
    let password = settings.password.as_ref().map_or("", |password| password.expose());
    (!settings.is_embedded()).then(|| {
        Client::default()
            .with_url(&settings.url)
            .with_user(&settings.user)
            .with_password(password)
            .with_database(&settings.database)
            .with_setting("async_insert", "0")
    })
}

/// On a cluster: an insert is answered once most replicas have it, and a query sees every insert that was answered
/// before it, whichever replica either of them reached. Rollups, the recent ids and the leader's term rest on it.
fn replicated(client: Client, settings: &ClickHouseSettings) -> Client {
    if settings.cluster.is_empty() {
        return client;
    }
    client
        .with_setting("insert_quorum", "auto")
        .with_setting("insert_quorum_timeout", settings.timeout_ms.max(1_000).to_string())
        // Inserts of one table in one order, without which no replica could know what it lacks. One that meets another
        // is refused and tried again.
        .with_setting("insert_quorum_parallel", "0")
        .with_setting("select_sequential_consistency", "1")
}

/// The reader of a configured server; without one of its own, the service's user serves.
fn server_reader(settings: &ClickHouseSettings) -> (String, Secret) {
    if settings.reader_user.is_empty() {
        (settings.user.clone(), settings.password.clone().unwrap_or_else(|| Secret::new("")))
    } else {
        (settings.reader_user.clone(), settings.reader_password.clone().unwrap_or_else(|| Secret::new("")))
    }
}

/// Microseconds since 1970 by the server's clock.
pub(crate) async fn server_time_us(client: &Client, timeout: Duration) -> Result<i64, StoreError> {
    let query = client.query("SELECT toUnixTimestamp64Micro(now64(6))");
    bounded(timeout, "reading the server's time", query.fetch_one::<i64>()).await
}

/// Waits for `work` at most `timeout` and says what was being done when it fails.
pub(crate) async fn bounded<T>(
    timeout: Duration,
    doing: &str,
    work: impl Future<Output = clickhouse::error::Result<T>>,
) -> Result<T, StoreError> {
    match tokio::time::timeout(timeout, work).await {
        Ok(result) => result.map_err(StoreError::clickhouse(doing)),
        Err(_) => Err(StoreError::Timeout { doing: doing.to_owned(), seconds: timeout.as_secs() }),
    }
}
