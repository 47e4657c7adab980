//! `heliometer migrate`

use std::io::Write;

use super::{CommandError, open_database};
use crate::{
    domain::SystemClock,
    settings::{ClickHouseSettings, Settings},
    store::{Database, apply_retention, migrate, pending},
    telemetry::init_logs,
};

/// Bring the ClickHouse schema up to date; `serve` does it too.
///
/// Applies the files of sql/ that this database does not have yet, in order. Applying again changes nothing.
#[derive(Debug, clap::Args)]
pub(super) struct MigrateArgs {
    /// Print the statements that would be applied, and apply none.
    #[arg(long)]
    dry_run: bool,
}

pub(super) async fn run(arguments: MigrateArgs, settings: Settings) -> Result<(), CommandError> {
    init_logs(&settings.telemetry);
    let database = open_database(&settings).await?;
    let result = apply(&database, &settings.clickhouse, arguments.dry_run).await;
    database.close().await;
    result
}

async fn apply(database: &Database, settings: &ClickHouseSettings, dry_run: bool) -> Result<(), CommandError> {
    let cluster = &settings.cluster;
    let mut out = std::io::stdout().lock();
    if dry_run {
        for (name, statements) in pending(database.client(), cluster).await? {
            writeln!(out, "-- {name}")?;
            for statement in statements {
                writeln!(out, "{statement};\n")?;
            }
        }
        return Ok(());
    }
    let applied = migrate(database.client(), cluster, &SystemClock).await?;
    apply_retention(database.client(), &settings.retention, cluster).await?;
    if applied.is_empty() {
        writeln!(out, "the schema is up to date")?;
    }
    for name in applied {
        writeln!(out, "applied {name}")?;
    }
    Ok(())
}
