//! `heliometer rules`

use std::io::{IsTerminal, Write};

use indicatif::{ProgressBar, ProgressStyle};

use super::{CommandError, moment, open_database};
use crate::{
    alert::{Backtest, BacktestStep, Engine, describe, describe_suppressions},
    domain::UtcMillis,
    settings::Settings,
    store::Database,
};

/// Look at alert rules without waiting for an alert.
#[derive(Debug, clap::Args)]
pub(super) struct RulesArgs {
    #[command(subcommand)]
    command: RulesCommand,
}

#[derive(Debug, clap::Subcommand)]
enum RulesCommand {
    /// Validate all rules, and say in a sentence what each does. Reaches nothing.
    ///
    /// Exit code 2 for a mistake. A running `serve` takes valid rules up within seconds, and keeps the old ones otherwise.
    Check,
    /// What each rule would have told in a stretch of the past.
    ///
    /// The stored totals are evaluated in virtual time, step by step, with the code that decides in `serve`. Nothing is
    /// recorded or sent. Rules that look at the program itself (lag) and queries of one's own (sql), which answer for now,
    /// are left out and named.
    Backtest(BacktestArgs),
}

#[derive(Debug, clap::Args)]
struct BacktestArgs {
    /// The first moment, UTC: 2026-11-01 or 2026-11-01T12:00:00Z.
    #[arg(long, value_name = "T", value_parser = moment)]
    from: UtcMillis,
    /// The last moment, UTC.
    #[arg(long, value_name = "T", value_parser = moment)]
    to: UtcMillis,
    /// Virtual time between two evaluations; shorter is nearer to `serve` and takes longer.
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = step)]
    step: std::time::Duration,
    /// Only rules whose name fits this glob.
    #[arg(long, value_name = "GLOB", default_value = "*")]
    rule: String,
}

fn step(text: &str) -> Result<std::time::Duration, String> {
    crate::alert::parse_duration(text)
        .filter(|duration| duration.as_secs() >= 10)
        .ok_or_else(|| "a duration of 10s or more, such as 1m".to_owned())
}

pub(super) async fn run(arguments: RulesArgs, settings: &Settings) -> Result<(), CommandError> {
    match arguments.command {
        RulesCommand::Check => check(settings),
        RulesCommand::Backtest(arguments) => {
            if arguments.from >= arguments.to {
                return Err(CommandError::Usage("--from must be before --to".to_owned()));
            }
            let database = open_database(settings).await?;
            let result = backtest(&database, settings, &arguments).await;
            database.close().await;
            result
        }
    }
}

/// The settings are valid, or this would not be reached.
fn check(settings: &Settings) -> Result<(), CommandError> {
    let mut out = std::io::stdout().lock();
    let policies = crate::contents::alert_rules(&settings.contents).unwrap_or_default();
    let rules: Vec<_> = settings.alerts.rules.iter().chain(&policies).collect();
    for rule in &rules {
        writeln!(out, "{}: {}", rule.name, describe(rule))?;
    }
    for schedule in &settings.alerts.reports {
        writeln!(out, "{}: {}", schedule.name, schedule.describe())?;
    }
    for line in describe_suppressions(&settings.alerts.suppressions()) {
        writeln!(out, "{line}")?;
    }
    writeln!(out, "{} rules, all valid", rules.len())?;
    Ok(())
}

async fn backtest(database: &Database, settings: &Settings, arguments: &BacktestArgs) -> Result<(), CommandError> {
    let rules = &settings.alerts.rules;
    let fits = wildmatch::WildMatch::new(&arguments.rule);
    let chosen = rules.iter().filter(|rule| fits.matches(&rule.name)).cloned().collect();
    let engine = Engine { client: database.client(), reader: None };
    let mut backtest =
        Backtest::new(chosen, settings.alerts.suppressions(), arguments.from, arguments.to, arguments.step);
    let mut out = std::io::stdout().lock();
    for name in backtest.left_out() {
        writeln!(out, "left out, since it can only be asked for now: {name}")?;
    }
    let bar = progress_bar(backtest.steps());
    let (mut told, mut held_back) = (0, 0);
    while let Some(BacktestStep { told: messages, held_back: quiet }) = backtest.step(engine).await? {
        bar.inc(1);
        for message in messages {
            told += 1;
            bar.suspend(|| writeln!(out, "{message}"))?;
        }
        held_back += quiet;
    }
    bar.finish_and_clear();
    writeln!(out, "{told} messages, {held_back} held back, {} evaluations", backtest.steps())?;
    Ok(())
}

fn progress_bar(steps: u64) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} evaluations, {eta} left")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(steps).with_style(style)
}
