//! The engine's files: its configuration, its users, and where it can be reached.

use std::{
    fs,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use rand::{TryRng, rngs::SysRng};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{EngineError, readers};
use crate::{
    settings::{ClickHouseSettings, SourceReader},
    whole_file,
};

/// How many of the boot query's statements the engine counts against the quota of `default`: all but the first. The
/// supervisor checks at every start that nothing is left of it.
const COUNTED_BOOT_STATEMENTS: usize = BOOT_STATEMENTS.len() - 1;

/// Begins the names of the files in which engines tell their ports.
const PORTS_PREFIX: &str = "ports";

/// The service's user on the embedded engine.
pub(super) const SERVICE_USER: &str = "heliometer";
/// The user that can only read, and no contents.
const READER_USER: &str = "reader";
/// The user that can only read, contents too.
const CONTENTS_READER_USER: &str = "contents_reader";

/// The boot query, which runs as `default`.
const BOOT_STATEMENTS: [&str; 4] = [
    "SYSTEM START LISTEN HTTP",
    "SYSTEM START LISTEN TCP",
    "SELECT getServerPort('http_port'), getServerPort('tcp_port') INTO OUTFILE '{ports}' TRUNCATE FORMAT TSV",
    // Blocks until standard input ends: the engine lives as long as its life line.
    "SELECT count() FROM file('/proc/self/fd/0', LineAsString, 's String') FORMAT Null",
];

/// What only the service and the user for contents may read: what people said.
const CONTENT_TABLES: [&str; 2] = ["content_rows", "contents"];

/// Passwords of the embedded engine's users, made once and kept in a file only its owner can read.
#[derive(Clone, Serialize, Deserialize)]
pub struct Credentials {
    /// The service's password.
    pub service_password: String,
    /// The reader's user name.
    pub reader_user: String,
    /// The reader's password.
    pub reader_password: String,
    /// Password of the user who may read contents; empty until an engine that knows of contents has started.
    #[serde(default)]
    pub contents_reader_password: String,
}

impl Credentials {
    /// The user who may read contents.
    #[must_use]
    pub const fn contents_reader_user() -> &'static str {
        CONTENTS_READER_USER
    }
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").field("reader_user", &self.reader_user).finish_non_exhaustive()
    }
}

/// Where a running embedded engine answers, for commands beside it. Lives in `<data>/clickhouse/endpoint.json`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// HTTP port on 127.0.0.1.
    pub http_port: u16,
    /// Native-protocol port on 127.0.0.1.
    pub tcp_port: u16,
}

/// The engine's directory, `<data>/clickhouse`.
#[derive(Clone, Debug)]
pub(super) struct EngineFiles {
    root: PathBuf,
}

impl EngineFiles {
    pub(super) fn new(data_dir: &Path) -> Self {
        Self { root: data_dir.join("clickhouse") }
    }

    pub(super) fn store(&self) -> PathBuf {
        self.root.join("store")
    }

    pub(super) fn config(&self) -> PathBuf {
        self.root.join("config.xml")
    }

    pub(super) fn log(&self) -> PathBuf {
        self.root.join("engine.log")
    }

    /// Of this process's engine: that of a process killed a moment ago may still be starting, and then writes its own.
    fn ports(&self) -> PathBuf {
        self.root.join(format!("{PORTS_PREFIX}{}.tsv", std::process::id()))
    }

    fn endpoint(&self) -> PathBuf {
        self.root.join("endpoint.json")
    }

    pub(super) fn boot_query(&self) -> String {
        BOOT_STATEMENTS.join("; ").replace("{ports}", &self.ports().display().to_string())
    }

    /// Makes the directory and writes configuration and users. Passwords are made the first time only.
    pub(super) fn write(&self, settings: &ClickHouseSettings) -> Result<Credentials, EngineError> {
        let max_memory_bytes = settings.engine_max_memory_bytes;
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(self.store())
            .map_err(EngineError::io(format!("cannot create {}", self.store().display())))?;
        let credentials = self.credentials()?;
        let users = self.root.join("users.xml");
        let text = users_xml(&credentials, &settings.database, max_memory_bytes, &settings.readers);
        Self::write_private(&users, &text)?;
        Self::write_private(&self.config(), &config_xml(&users, max_memory_bytes))?;
        Ok(credentials)
    }

    /// The passwords that an engine was started with.
    pub(super) fn known_credentials(&self) -> Option<Credentials> {
        serde_json::from_str(&fs::read_to_string(self.root.join("credentials.json")).ok()?).ok()
    }

    /// Reads the passwords, or makes those that are missing.
    fn credentials(&self) -> Result<Credentials, EngineError> {
        let path = self.root.join("credentials.json");
        let credentials = match self.known_credentials() {
            Some(credentials) if !credentials.contents_reader_password.is_empty() => return Ok(credentials),
            Some(credentials) => Credentials { contents_reader_password: random_password()?, ..credentials },
            None => Credentials {
                service_password: random_password()?,
                reader_user: READER_USER.to_owned(),
                reader_password: random_password()?,
                contents_reader_password: random_password()?,
            },
        };
        let text = serde_json::to_string_pretty(&credentials)
            .map_err(|error| EngineError::Io { doing: "cannot write credentials".to_owned(), source: error.into() })?;
        Self::write_private(&path, &text)?;
        Ok(credentials)
    }

    /// Forgets the ports of earlier runs, so that [`Self::read_ports`] tells of this one.
    pub(super) fn clear_ports(&self) {
        for entry in fs::read_dir(&self.root).into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().starts_with(PORTS_PREFIX) {
                drop(fs::remove_file(entry.path()));
            }
        }
    }

    /// The ports the engine listens on, once it has written them.
    pub(super) fn read_ports(&self) -> Option<Endpoint> {
        let text = fs::read_to_string(self.ports()).ok()?;
        let (http_port, tcp_port) = text.trim_end().split_once('\t')?;
        Some(Endpoint { http_port: http_port.parse().ok()?, tcp_port: tcp_port.parse().ok()? })
    }

    pub(super) fn publish_endpoint(&self, endpoint: Endpoint) -> Result<(), EngineError> {
        let text = serde_json::to_string(&endpoint)
            .map_err(|error| EngineError::Io { doing: "cannot write the endpoint".to_owned(), source: error.into() })?;
        Self::write_private(&self.endpoint(), &text)
    }

    pub(super) fn withdraw_endpoint(&self) {
        drop(fs::remove_file(self.endpoint()));
    }

    /// Where an engine that was started by another process says it answers.
    pub(super) fn read_endpoint(&self) -> Option<Endpoint> {
        serde_json::from_str(&fs::read_to_string(self.endpoint()).ok()?).ok()
    }

    /// Whole or not at all, readable by the owner alone.
    fn write_private(path: &Path, text: &str) -> Result<(), EngineError> {
        let doing = format!("cannot write {}", path.display());
        whole_file::write(path, text, whole_file::PRIVATE).map_err(EngineError::io(doing))
    }
}

fn random_password() -> Result<String, EngineError> {
    let mut bytes = [0; 24];
    SysRng.try_fill_bytes(&mut bytes).map_err(|error| EngineError::Randomness(error.to_string()))?;
    Ok(hex::encode(bytes))
}

pub(super) fn sha256_hex(text: &str) -> String {
    hex::encode(Sha256::digest(text.as_bytes()))
}

fn config_xml(users: &Path, max_memory_bytes: u64) -> String {
    format!(
        "<clickhouse>
  <user_directories><users_xml><path>{users}</path></users_xml></user_directories>
  <max_server_memory_usage>{max_memory_bytes}</max_server_memory_usage>
  <mark_cache_size>268435456</mark_cache_size>
  <max_connections>256</max_connections>
  <query_log>
    <database>system</database>
    <table>query_log</table>
    <ttl>event_date + INTERVAL 7 DAY DELETE</ttl>
  </query_log>
  <!-- Only who has a policy is limited by it. -->
  <access_control_improvements>
    <users_without_row_policies_can_read_rows>true</users_without_row_policies_can_read_rows>
  </access_control_improvements>
  <merge_tree>
    <fsync_after_insert>1</fsync_after_insert>
    <fsync_part_directory>1</fsync_part_directory>
  </merge_tree>
</clickhouse>
",
        users = users.display()
    )
}

fn users_xml(
    credentials: &Credentials,
    database: &str,
    max_memory_bytes: u64,
    source_readers: &[SourceReader],
) -> String {
    let loopback = "<networks><ip>127.0.0.1</ip><ip>::1</ip></networks>";
    let service_hash = sha256_hex(&credentials.service_password);
    let reader_hash = sha256_hex(&credentials.reader_password);
    let contents_reader_hash = sha256_hex(&credentials.contents_reader_password);
    let query_memory_bytes = max_memory_bytes / 4 * 3;
    let (quotas, users) = (readers::quotas(source_readers), readers::users(source_readers, database, loopback));
    let no_contents =
        CONTENT_TABLES.map(|table| format!("        <query>REVOKE SELECT ON {database}.{table}</query>\n")).concat();
    format!(
        "<clickhouse>
  <profiles>
    <default><max_memory_usage>{query_memory_bytes}</max_memory_usage></default>
    <reader>
      <readonly>2</readonly>
      <max_execution_time>60</max_execution_time>
      <max_memory_usage>{query_memory_bytes}</max_memory_usage>
      <constraints>
        <max_execution_time><min>1</min><max>600</max></max_execution_time>
        <max_memory_usage><min>1</min><max>{query_memory_bytes}</max></max_memory_usage>
      </constraints>
    </reader>
  </profiles>
  <quotas>
    <default/>
    <boot><interval><duration>2147483647</duration><queries>{COUNTED_BOOT_STATEMENTS}</queries></interval></boot>
{quotas}  </quotas>
  <users>
    <default>
      <password></password>
      {loopback}
      <profile>default</profile>
      <quota>boot</quota>
      <grants>
        <query>GRANT SYSTEM LISTEN ON *.*</query>
        <query>GRANT READ ON FILE</query>
        <query>GRANT CREATE TEMPORARY TABLE ON *.*</query>
      </grants>
    </default>
    <{SERVICE_USER}>
      <password_sha256_hex>{service_hash}</password_sha256_hex>
      {loopback}
      <profile>default</profile>
      <quota>default</quota>
      <grants>
        <query>GRANT ALL ON {database}.*</query>
        <query>GRANT CREATE DATABASE ON *.*</query>
        <query>GRANT TABLE ENGINE ON *</query>
        <query>GRANT SELECT ON system.*</query>
        <query>GRANT KILL QUERY ON *.*</query>
        <query>GRANT SYSTEM FLUSH LOGS ON *.*</query>
      </grants>
    </{SERVICE_USER}>
    <{READER_USER}>
      <password_sha256_hex>{reader_hash}</password_sha256_hex>
      {loopback}
      <profile>reader</profile>
      <quota>default</quota>
      <grants>
        <query>GRANT SELECT ON {database}.*</query>
{no_contents}      </grants>
    </{READER_USER}>
    <{CONTENTS_READER_USER}>
      <password_sha256_hex>{contents_reader_hash}</password_sha256_hex>
      {loopback}
      <profile>reader</profile>
      <quota>default</quota>
      <grants>
        <query>GRANT SELECT ON {database}.*</query>
      </grants>
    </{CONTENTS_READER_USER}>
{users}  </users>
</clickhouse>
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_older_installation_gets_the_missing_password_and_keeps_the_others() {
        let directory = tempfile::TempDir::new().expect("a directory");
        let files = EngineFiles::new(directory.path());
        fs::create_dir_all(files.store()).expect("directories");
        let old = r#"{"service_password":"s","reader_user":"reader","reader_password":"r"}"#;
        fs::write(files.root.join("credentials.json"), old).expect("a file");
        assert_eq!(files.known_credentials().expect("readable").contents_reader_password, "");
        let credentials = files.write(&ClickHouseSettings::default()).expect("writes");
        assert_eq!((credentials.service_password.as_str(), credentials.reader_password.as_str()), ("s", "r"));
        assert_eq!(credentials.contents_reader_password.len(), 48);
        let again = files.write(&ClickHouseSettings::default()).expect("writes");
        assert_eq!(again.contents_reader_password, credentials.contents_reader_password);
    }

    #[test]
    fn only_the_reader_is_kept_from_contents() {
        let credentials = Credentials {
            service_password: "s".to_owned(),
            reader_user: READER_USER.to_owned(),
            reader_password: "r".to_owned(),
            contents_reader_password: "c".to_owned(),
        };
        let users = users_xml(&credentials, "d", 1 << 30, &[]);
        let of = |user: &str| {
            let begin = users.find(&format!("<{user}>")).and_then(|at| users.get(at..)).expect("the user");
            // The profile `reader` has the name of a user.
            begin.split_once("<grants>").expect("grants").1.split_once("</grants>").expect("an end").0.to_owned()
        };
        assert!(of("contents_reader").contains("GRANT SELECT ON d.*") && !of("contents_reader").contains("REVOKE"));
        let reader = users.split_once("<reader>\n      <password").expect("the reader").1;
        for table in CONTENT_TABLES {
            assert!(reader.contains(&format!("<query>REVOKE SELECT ON d.{table}</query>")), "{users}");
        }
    }
}
