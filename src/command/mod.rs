//! The commands of the command line: arguments in, words for people out.

#![expect(clippy::doc_markdown, reason = "doc comments of arguments are help texts, shown as they are")]

mod beside;
mod dead_letters;
mod doctor;
mod error;
mod migrate;
mod notifications;
mod prices;
mod report;
mod reprice;
mod rules;
mod send_test;
mod serve;
mod shell;
mod silences;
pub mod simulate;
mod sql;
mod verify;

use std::{
    io::Write,
    path::{Path, PathBuf},
};

use clap::{Parser, Subcommand};

pub use error::CommandError;

use crate::{
    domain::UtcMillis,
    pricing::parse_moment,
    settings::{self, Settings},
    store::{Database, DatabaseOptions, engine::child},
    telemetry::Health,
};

/// Exact cost, token and latency accounting for LLM calls, from Helicone's webhooks into ClickHouse, with alerts to Slack.
///
/// Start with `heliometer serve` (everything embedded, nothing to install), point Helicone's webhook at
/// https://YOUR-HOST:8443/webhook, and ask: `heliometer sql "SELECT * FROM model_day"`.
///
/// Settings come from heliometer.toml and from HELIOMETER__SECTION__KEY variables; secrets from
/// HELICONE_WEBHOOK_SECRET and SLACK_WEBHOOK_URL. Exit codes: 0 done, 1 failed, 2 wrong usage or configuration.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
pub struct CommandLine {
    /// Settings file [default: $HELIOMETER_CONFIG, else ./heliometer.toml if it exists].
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

/// A command's help is the documentation of its arguments: one here would hide all but its first line.
#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::ServeArgs),
    Migrate(migrate::MigrateArgs),
    /// Check settings, secrets, clock, certificate, event log, ClickHouse and receivers of alerts: what is wrong and what to do.
    Doctor,
    SendTest(send_test::SendTestArgs),
    Simulate(Box<simulate::SimulateArgs>),
    Sql(sql::SqlArgs),
    DeadLetters(dead_letters::DeadLettersArgs),
    Notifications(notifications::NotificationsArgs),
    Prices(prices::PricesArgs),
    Report(report::ReportArgs),
    Reprice(reprice::RepriceArgs),
    Rules(rules::RulesArgs),
    Silences(silences::SilencesArgs),
    Verify(verify::VerifyArgs),
    Completions(shell::CompletionsArgs),
    Man(shell::ManArgs),
    /// The embedded engine's own process; `serve` starts it.
    #[command(hide = true)]
    Engine(child::ChildArguments),
}

impl CommandLine {
    /// Runs the command and returns the exit code. Errors go to standard error.
    #[must_use]
    pub fn run(self) -> u8 {
        match self.dispatch() {
            Ok(code) => code,
            Err(error) => {
                // Nobody is left to tell that standard error is gone.
                drop(writeln!(std::io::stderr(), "error: {error}"));
                error.exit_code()
            }
        }
    }

    fn dispatch(self) -> Result<u8, CommandError> {
        match &self.command {
            // Before any thread is started: the engine wants the process for itself.
            Command::Engine(arguments) => return Ok(child::run(arguments).map(|()| 0)?),
            // Whatever the settings say.
            Command::Completions(arguments) => return shell::completions(arguments).map(|()| 0),
            Command::Man(arguments) => return shell::man(arguments).map(|()| 0),
            _ => {}
        }
        let runtime =
            tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(CommandError::Runtime)?;
        runtime.block_on(async {
            if let Command::Doctor = self.command {
                return doctor::run(self.config.as_deref()).await;
            }
            let settings = load(self.config.as_deref())?;
            crate::tls::install_crypto_provider();
            match self.command {
                // On the heap: it is by far the largest of these futures.
                Command::Serve(arguments) => Box::pin(serve::run(arguments, settings)).await.map(|()| 0),
                Command::Migrate(arguments) => migrate::run(arguments, settings).await.map(|()| 0),
                Command::SendTest(arguments) => send_test::run(arguments, &settings).await.map(|()| 0),
                Command::Simulate(arguments) => Ok(simulate::run(*arguments, &settings.data_dir).await.map(|()| 0)?),
                Command::Sql(arguments) => sql::run(arguments, &settings).await.map(|()| 0),
                Command::DeadLetters(arguments) => dead_letters::run(arguments, &settings).await.map(|()| 0),
                Command::Verify(arguments) => verify::run(arguments, settings).await,
                Command::Notifications(arguments) => notifications::run(arguments, &settings).await.map(|()| 0),
                Command::Report(arguments) => report::run(arguments, &settings).await.map(|()| 0),
                Command::Reprice(arguments) => reprice::run(arguments, settings).await.map(|()| 0),
                Command::Rules(arguments) => rules::run(arguments, &settings).await.map(|()| 0),
                Command::Silences(arguments) => silences::run(arguments, &settings).await.map(|()| 0),
                Command::Prices(arguments) => prices::run(arguments, &settings),
                Command::Doctor | Command::Engine(_) | Command::Completions(_) | Command::Man(_) => Ok(0),
            }
        })
    }
}

fn load(config: Option<&Path>) -> Result<Settings, CommandError> {
    Ok(settings::load(settings::config_path(config)?.as_deref())?)
}

/// ClickHouse: the server, the engine of a running `serve`, or else an engine of this command's own.
async fn open_database(settings: &Settings) -> Result<Database, CommandError> {
    let options = DatabaseOptions { program: &program()?, join_running: true };
    Ok(Database::open(settings, options, &Health::default()).await?)
}

/// Reads a moment in UTC, for arguments.
fn moment(text: &str) -> Result<UtcMillis, String> {
    parse_moment(text).ok_or_else(|| "a date such as 2026-11-01 or a time such as 2026-11-01T12:00:00Z".to_owned())
}

/// This program, which the embedded engine's process is made from.
fn program() -> Result<PathBuf, CommandError> {
    std::env::current_exe().map_err(CommandError::Program)
}
