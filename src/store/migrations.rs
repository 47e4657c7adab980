//! Brings the schema up to date: the files of `sql/` in the order of their numbers, each applied once.
//!
//! Every statement is idempotent (`IF NOT EXISTS`, `OR REPLACE`), so a file that was half applied when the power
//! went is simply applied again. With `clickhouse.cluster` they are rewritten for a cluster ([`cluster`]). Which files were applied, and their checksums, stands in `schema_migrations`.

mod cluster;

use std::time::Duration;

use clickhouse::{Client, Row};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

pub(super) use cluster::for_cluster;

use super::{StoreError, client::bounded};
use crate::domain::Clock;

/// Statements on a large or remote server may take their time.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(300);

/// A statement with this gives what is stored another type, which ClickHouse does in the background.
const CONVERSION: &str = "MODIFY COLUMN";
const CONVERSION_POLL: Duration = Duration::from_millis(100);
/// Polls between two words about one that takes long.
const POLLS_PER_WORD: u32 = 300;

struct Migration {
    version: u32,
    name: &'static str,
    sql: &'static str,
}

macro_rules! migrations {
    ($($version:literal => $name:literal),+ $(,)?) => {
        [$(Migration { version: $version, name: $name, sql: include_str!(concat!("../../sql/", $name)) }),+]
    };
}

const MIGRATIONS: [Migration; 12] = migrations! {
    1 => "0001_requests.sql",
    2 => "0002_outcomes.sql",
    3 => "0003_rollups.sql",
    4 => "0004_alerts.sql",
    5 => "0005_dead_letters.sql",
    6 => "0006_costs.sql",
    7 => "0007_contents.sql",
    8 => "0008_grains.sql",
    9 => "0009_ledger.sql",
    10 => "0010_notifiers.sql",
    11 => "0011_alerting.sql",
    12 => "0012_sketch_bytes.sql",
};

const CREATE_RECORD: &str = "\
CREATE TABLE IF NOT EXISTS schema_migrations
(
    version     UInt32 COMMENT 'Number of the file under sql/',
    name        String COMMENT 'Name of the file',
    checksum    String COMMENT 'SHA-256 of the file as applied',
    applied_at  DateTime64(3, 'UTC') COMMENT 'When it was applied'
)
ENGINE = ReplacingMergeTree(applied_at)
ORDER BY version
COMMENT 'Which files of sql/ this database has'";

/// A file of `sql/`, as recorded in the database.
#[derive(Clone, Debug, Row, Serialize, Deserialize, PartialEq, Eq)]
pub struct AppliedMigration {
    /// The number at the front of the file's name.
    pub version: u32,
    /// The file's name.
    pub name: String,
    /// SHA-256 of the file, in hex.
    pub checksum: String,
    /// When it was applied, milliseconds since 1970, UTC.
    pub applied_at: i64,
}

/// Names and statements of the files that [`migrate`] would apply now, in order, as they would be sent to `cluster`
/// (empty: one server).
///
/// # Errors
/// [`StoreError`] when the database cannot be read, or does not fit this program.
pub async fn pending(client: &Client, cluster: &str) -> Result<Vec<(&'static str, Vec<String>)>, StoreError> {
    execute(client, "recording migrations", &for_cluster(CREATE_RECORD, cluster)?).await?;
    let applied = bounded(
        STATEMENT_TIMEOUT,
        "reading schema_migrations",
        client.query("SELECT ?fields FROM schema_migrations FINAL ORDER BY version").fetch_all::<AppliedMigration>(),
    )
    .await?;
    for record in &applied {
        match MIGRATIONS.iter().find(|migration| migration.version == record.version) {
            None => return Err(StoreError::NewerDatabase { name: record.name.clone() }),
            Some(migration) if checksum(migration.sql) != record.checksum => {
                return Err(StoreError::ChangedMigration { name: record.name.clone() });
            }
            Some(_) => {}
        }
    }
    MIGRATIONS
        .iter()
        .filter(|migration| !applied.iter().any(|record| record.version == migration.version))
        .map(|migration| {
            let rewritten: Result<Vec<String>, StoreError> =
                statements(migration.sql).iter().map(|statement| for_cluster(statement, cluster)).collect();
            Ok((migration.name, rewritten?))
        })
        .collect::<Result<_, StoreError>>()
}

/// Applies what is missing, on all replicas of `cluster` unless that is empty, and returns the names of the files applied.
///
/// # Errors
/// [`StoreError`] when a statement fails; what was applied before it stays recorded.
pub async fn migrate(client: &Client, cluster: &str, clock: &dyn Clock) -> Result<Vec<&'static str>, StoreError> {
    let mut applied = Vec::new();
    for (name, statements) in pending(client, cluster).await? {
        for statement in &statements {
            let doing = format!("applying {name}");
            if statement.contains(CONVERSION) {
                execute(&client.clone().with_setting("alter_sync", "0"), &doing, statement).await?;
                wait_for_conversions(client, &doing).await?;
            } else {
                execute(client, &doing, statement).await?;
            }
        }
        if let Some(migration) = MIGRATIONS.iter().find(|migration| migration.name == name) {
            record(client, migration, clock).await?;
        }
        tracing::info!(migration = name, "applied");
        applied.push(name);
    }
    Ok(applied)
}

#[derive(Debug, Row, Deserialize)]
struct Conversion {
    table: String,
    parts_to_do: i64,
    latest_fail_reason: String,
}

/// A column cannot be renamed before it is converted. However long that takes: webhooks are taken meanwhile, and giving up would
/// not make it shorter.
async fn wait_for_conversions(client: &Client, doing: &str) -> Result<(), StoreError> {
    let unfinished = format!(
        "SELECT table, parts_to_do, latest_fail_reason FROM system.mutations \
         WHERE database = currentDatabase() AND NOT is_done AND command LIKE '%{CONVERSION}%' LIMIT 1"
    );
    let mut polls = 0_u32;
    while let Some(conversion) =
        bounded(STATEMENT_TIMEOUT, doing, client.query(&unfinished).fetch_optional::<Conversion>()).await?
    {
        polls = polls.wrapping_add(1);
        if polls.is_multiple_of(POLLS_PER_WORD) {
            let Conversion { table, parts_to_do, latest_fail_reason } = conversion;
            tracing::info!(table, parts_to_do, latest_fail_reason, "{doing}: stored data is being converted");
        }
        tokio::time::sleep(CONVERSION_POLL).await;
    }
    Ok(())
}

async fn record(client: &Client, migration: &Migration, clock: &dyn Clock) -> Result<(), StoreError> {
    let row = AppliedMigration {
        version: migration.version,
        name: migration.name.to_owned(),
        checksum: checksum(migration.sql),
        applied_at: clock.now().0,
    };
    let write = async {
        let mut insert = client.insert::<AppliedMigration>("schema_migrations").await?;
        insert.write(&row).await?;
        insert.end().await
    };
    bounded(STATEMENT_TIMEOUT, "recording a migration", write).await
}

async fn execute(client: &Client, doing: &str, statement: &str) -> Result<(), StoreError> {
    // `?` is the client's placeholder; migrations bind nothing.
    let query = client.query(&statement.replace('?', "??"));
    // The client's own limit is for the statements of every day.
    let query = query.with_setting("max_execution_time", STATEMENT_TIMEOUT.as_secs().to_string());
    bounded(STATEMENT_TIMEOUT, doing, query.execute()).await
}

fn checksum(sql: &str) -> String {
    hex::encode(Sha256::digest(sql.as_bytes()))
}

/// Statements end with `;` at a line's end; lines that start with `--` are for readers.
fn statements(sql: &str) -> Vec<String> {
    let code: String =
        sql.lines().filter(|line| !line.trim_start().starts_with("--")).flat_map(|line| [line, "\n"]).collect();
    code.split(";\n").map(str::trim).filter(|statement| !statement.is_empty()).map(ToOwned::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_sql_is_applied_in_order() {
        let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/sql");
        let mut files: Vec<String> = std::fs::read_dir(directory)
            .expect("sql/")
            .map(|entry| entry.expect("entry").file_name().into_string().expect("UTF-8"))
            // An example is for administrators to adapt, and not applied.
            .filter(|name| name.strip_suffix(".sql").is_some_and(|name| !name.ends_with(".example")))
            .collect();
        files.sort();
        assert_eq!(files, MIGRATIONS.map(|migration| migration.name.to_owned()));
        for migration in &MIGRATIONS {
            assert!(migration.name.starts_with(&format!("{:04}_", migration.version)));
        }
        assert!(MIGRATIONS.is_sorted_by_key(|migration| migration.version));
    }

    #[test]
    fn every_statement_can_be_repeated() {
        for migration in &MIGRATIONS {
            let statements = statements(migration.sql);
            assert!(!statements.is_empty());
            for statement in statements {
                let repeatable = ["CREATE TABLE IF NOT EXISTS", "CREATE OR REPLACE VIEW"];
                let is_alteration = statement.starts_with("ALTER TABLE ")
                    && statement.lines().skip(1).all(|line| {
                        let line = line.trim_start();
                        [
                            "ADD COLUMN IF NOT EXISTS ",
                            "MODIFY COLUMN IF EXISTS ",
                            "RENAME COLUMN IF EXISTS ",
                            "COMMENT COLUMN ",
                        ]
                        .iter()
                        .any(|start| line.starts_with(start))
                    });
                assert!(
                    is_alteration || repeatable.iter().any(|start| statement.starts_with(start)),
                    "{}: {statement}",
                    migration.name
                );
            }
        }
    }

    #[test]
    fn every_column_has_a_comment() {
        for migration in &MIGRATIONS {
            for line in migration.sql.lines().filter(|line| line.starts_with("    ") && line.trim_end().ends_with(','))
            {
                let is_column = line.split_whitespace().nth(1).is_some_and(|kind| {
                    [
                        "String",
                        "UInt",
                        "Int",
                        "Float",
                        "Decimal",
                        "DateTime",
                        "Nullable",
                        "LowCardinality",
                        "Bool",
                        "Aggregate",
                    ]
                    .iter()
                    .any(|known| kind.starts_with(known))
                });
                assert!(!is_column || line.contains("COMMENT '"), "{}: {line}", migration.name);
            }
        }
    }
}
