//! `heliometer report`

use std::io::Write;

use super::{CommandError, moment, open_database};
use crate::{
    alert,
    domain::{Clock, SystemClock, UtcMillis},
    notify::report::{markdown, page, slack_body},
    settings::Settings,
};

const MINUTE_MS: i64 = 60_000;

/// Say what a stretch of time came to: spend, tokens, latency, what changed most, top users and models, coverage.
///
/// It is compared with the same length of time before it. To get one every morning, see [[alerts.reports]] in
/// heliometer.example.toml. Works beside a running `serve`.
#[derive(Debug, clap::Args)]
pub(super) struct ReportArgs {
    /// From then on, UTC: 2026-11-01 or 2026-11-01T12:00:00Z, a whole minute.
    #[arg(long, value_name = "T", value_parser = minute)]
    from: UtcMillis,
    /// Until before then, UTC.
    #[arg(long, value_name = "T", value_parser = minute)]
    to: UtcMillis,
    /// How it is written: Markdown, a page of its own, all numbers, or the body to post to a Slack webhook.
    #[arg(long, value_enum, default_value_t = Format::Md)]
    format: Format,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Format {
    Md,
    Html,
    Json,
    Slack,
}

fn minute(text: &str) -> Result<UtcMillis, String> {
    moment(text)
        .ok()
        .filter(|moment| moment.0 % MINUTE_MS == 0)
        .ok_or_else(|| "a date such as 2026-11-01 or a whole minute such as 2026-11-01T12:00:00Z".to_owned())
}

pub(super) async fn run(arguments: ReportArgs, settings: &Settings) -> Result<(), CommandError> {
    if arguments.from >= arguments.to {
        return Err(CommandError::Usage("--from must be before --to".to_owned()));
    }
    let database = open_database(settings).await?;
    let report = alert::report(database.client(), arguments.from, arguments.to, SystemClock.now()).await;
    database.close().await;
    let report = report?;
    let text = match arguments.format {
        Format::Md => markdown(&report),
        Format::Html => page(&report),
        Format::Json => serde_json::to_string_pretty(&report).unwrap_or_default(),
        Format::Slack => slack_body(&report).to_string(),
    };
    writeln!(std::io::stdout().lock(), "{}", text.trim_end())?;
    Ok(())
}
