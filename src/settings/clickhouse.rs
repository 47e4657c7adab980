//! `[clickhouse]`

use std::{path::PathBuf, time::Duration};

use serde::Deserialize;

use crate::domain::{Secret, SourceName};

/// Users and quotas that the embedded engine has without being told: `default`, which starts it with the quota `boot`, the service,
/// and two readers. A reader has a quota by its name.
const EMBEDDED_NAMES: [&str; 5] = ["default", "boot", "heliometer", "reader", "contents_reader"];

/// `[clickhouse]`
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClickHouseSettings {
    /// `http(s)://host:port` of a server; empty means the embedded engine.
    pub url: String,
    /// The database that holds everything.
    pub database: String,
    /// Cluster of a server's configuration (`remote_servers`), of one shard, on all of whose replicas the tables are made
    /// and replicated; empty: this one server. Chosen before the first start.
    pub cluster: String,
    /// User of a server.
    pub user: String,
    /// Password of a server.
    pub password: Option<Secret>,
    /// User with read-only rights on a server, for `heliometer sql`; the embedded engine makes its own.
    pub reader_user: String,
    /// Password of that user.
    pub reader_password: Option<Secret>,
    /// HTTP port of the embedded engine on 127.0.0.1; 0 takes any free one.
    pub http_port: u16,
    /// Native-protocol port of the embedded engine on 127.0.0.1; 0 takes any free one.
    pub tcp_port: u16,
    /// `[[clickhouse.readers]]`: users of the embedded engine beside its own; a server has users of its own.
    pub readers: Vec<SourceReader>,
    /// `libchdb.so`; empty looks beside the program, in `./engine` and in the user's cache directory.
    pub engine_library: PathBuf,
    /// Memory the embedded engine may use for queries, in bytes.
    pub engine_max_memory_bytes: u64,
    /// Rows wait at most this long for their batch.
    pub flush_interval_ms: u64,
    /// A batch is inserted at once when it has this many rows.
    pub flush_rows: usize,
    /// An insert or query that takes longer is given up and tried again.
    pub timeout_ms: u64,
    /// Apply migrations and retention when `serve` starts.
    pub migrate_on_start: bool,
    /// How long what is in ClickHouse is kept.
    pub retention: RetentionSettings,
}

impl Default for ClickHouseSettings {
    fn default() -> Self {
        Self {
            url: String::new(),
            database: "heliometer".to_owned(),
            cluster: String::new(),
            user: "default".to_owned(),
            password: None,
            reader_user: String::new(),
            reader_password: None,
            http_port: 8123,
            tcp_port: 9000,
            readers: Vec::new(),
            engine_library: PathBuf::new(),
            engine_max_memory_bytes: 4 * 1024 * 1024 * 1024,
            flush_interval_ms: 500,
            flush_rows: 20_000,
            timeout_ms: 30_000,
            migrate_on_start: true,
            retention: RetentionSettings::default(),
        }
    }
}

impl ClickHouseSettings {
    /// Whether the engine is started as a child process.
    #[must_use]
    pub const fn is_embedded(&self) -> bool {
        self.url.is_empty()
    }

    /// The key that is wrong, and why.
    pub(super) fn fault(&self) -> Option<(String, String)> {
        let fault = |key: &str, message: &str| Some((key.to_owned(), message.to_owned()));
        if self.is_embedded() && !self.cluster.is_empty() {
            return fault("cluster", "needs clickhouse.url: the embedded engine has no cluster");
        }
        if !self.is_embedded() && !self.readers.is_empty() {
            return fault("readers", "only the embedded engine's; on a server, see sql/access.example.sql");
        }
        let mut readers = self.readers.iter().enumerate();
        if let Some(message) = readers.find_map(|(index, reader)| reader.fault(&self.readers[..index])) {
            return Some(("readers".to_owned(), message));
        }
        self.retention.fault().map(|(key, message)| (format!("retention.{key}"), message))
    }

    /// [`Self::timeout_ms`].
    #[must_use]
    pub const fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_ms)
    }
}

/// `[[clickhouse.readers]]`: a user of the embedded engine who may read the calls and totals of some sources, and no contents,
/// alerts or outcomes.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceReader {
    /// The user's name: letters, digits, `-` and `_`, a letter first.
    pub name: SourceName,
    /// The user's password.
    pub password: Secret,
    /// The sources that it may see.
    pub sources: Vec<SourceName>,
    /// Queries of tables within an hour; more are refused until the next one begins.
    #[serde(default = "SourceReader::default_queries_per_hour")]
    pub queries_per_hour: u32,
}

impl SourceReader {
    const fn default_queries_per_hour() -> u32 {
        1_000
    }

    /// What is wrong with it beside the others before it.
    fn fault(&self, before: &[Self]) -> Option<String> {
        let name = self.name.as_str();
        if !name.starts_with(|first: char| first.is_ascii_lowercase()) {
            return Some(format!("`{name}`: must begin with a letter"));
        }
        if EMBEDDED_NAMES.contains(&name) {
            return Some(format!("`{name}` is a name that the embedded engine uses itself; choose another one"));
        }
        if before.iter().any(|other| other.name == self.name) {
            return Some(format!("`{name}` is there twice"));
        }
        if self.sources.is_empty() {
            return Some(format!("`{name}` has no sources; `heliometer sql` and the user `reader` see all of them"));
        }
        (self.queries_per_hour == 0).then(|| format!("`{name}`: queries_per_hour must be at least 1"))
    }
}

/// `[clickhouse.retention]`: days after which ClickHouse removes what is older, in its own time; 0 keeps it for ever. Totals
/// outlive the rows that they were computed from.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(default, deny_unknown_fields)]
pub struct RetentionSettings {
    /// Calls, by `event_time`. Corrections reach back this far.
    pub requests_days: u32,
    /// Totals by minute and model.
    pub model_minute_days: u32,
    /// Totals by minute and user, which are nearly as many as the calls themselves. Later corrections of their hours are
    /// computed from the calls.
    pub user_minute_days: u32,
    /// Totals by hour. Longer than `requests_days`, or 0.
    pub hour_days: u32,
    /// Totals by day; 0, or longer than `hour_days` and `requests_days` by a month. Months are kept for ever.
    pub day_days: u32,
    /// Outcomes of messages, by their receipt. What they add up to is kept for ever.
    pub outcomes_days: u32,
    /// Dead letters, by their receipt. The topic that holds their bodies has a retention of its own.
    pub dead_letters_days: u32,
}

impl Default for RetentionSettings {
    fn default() -> Self {
        Self {
            requests_days: 400,
            model_minute_days: 400,
            user_minute_days: 10,
            hour_days: 1_200,
            day_days: 0,
            outcomes_days: 90,
            dead_letters_days: 400,
        }
    }
}

impl RetentionSettings {
    /// Late calls may be a week old, and a bucket is closed up to two days before its rows are removed.
    const SHORTEST_DAYS: u32 = 10;
    /// A month is computed from its days as long as any of its calls may change.
    const MONTH_AND_MARGIN_DAYS: u32 = 33;
    const MARGIN_DAYS: u32 = 2;

    /// The key that is wrong, and what it must be.
    fn fault(&self) -> Option<(&'static str, String)> {
        for (key, days) in [
            ("requests_days", self.requests_days),
            ("model_minute_days", self.model_minute_days),
            ("user_minute_days", self.user_minute_days),
            ("hour_days", self.hour_days),
            ("day_days", self.day_days),
            ("outcomes_days", self.outcomes_days),
            ("dead_letters_days", self.dead_letters_days),
        ] {
            if (1..Self::SHORTEST_DAYS).contains(&days) {
                return Some((key, format!("must be 0 (for ever) or at least {} days", Self::SHORTEST_DAYS)));
            }
        }
        let outlives = |days: u32, other: u32, margin: u32| days == 0 || (other > 0 && days >= other + margin);
        if !outlives(self.hour_days, self.requests_days, Self::MARGIN_DAYS) {
            return Some(("hour_days", "must be 0 (for ever) or 2 days longer than requests_days: days are computed from hours as long as a call of theirs may change".to_owned()));
        }
        if !outlives(self.day_days, self.requests_days, Self::MONTH_AND_MARGIN_DAYS) {
            return Some(("day_days", "must be 0 (for ever) or 33 days longer than requests_days: months are computed from days as long as a call of theirs may change".to_owned()));
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_outlive_what_they_are_computed_from() {
        let wrong = |change: fn(&mut RetentionSettings)| {
            let mut retention = RetentionSettings::default();
            change(&mut retention);
            retention.fault().map(|(key, _)| key)
        };
        assert_eq!(wrong(|_| {}), None);
        assert_eq!(wrong(|retention| retention.requests_days = 9), Some("requests_days"));
        assert_eq!(wrong(|retention| retention.requests_days = 1_199), Some("hour_days"));
        assert_eq!(wrong(|retention| retention.requests_days = 0), Some("hour_days"));
        assert_eq!(wrong(|retention| (retention.requests_days, retention.hour_days) = (0, 0)), None);
        assert_eq!(wrong(|retention| retention.day_days = 432), Some("day_days"));
        assert_eq!(wrong(|retention| retention.day_days = 433), None);
        assert_eq!(wrong(|retention| retention.user_minute_days = 1), Some("user_minute_days"));
    }
}
