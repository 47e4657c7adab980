//! `heliometer notifications`

use std::{io::Write, path::PathBuf};

use super::{CommandError, beside, moment, open_database, sql};
use crate::{
    alert::{RecordedMessage, ResendRequest, Resent, recorded_messages},
    domain::UtcMillis,
    notify::preview,
    settings::Settings,
};

/// Messages about alerts: list them, send them again, or see what they look like.
///
/// `resend` needs a running `serve` on the same data directory.
#[derive(Debug, clap::Args)]
pub(super) struct NotificationsArgs {
    #[command(subcommand)]
    command: NotificationsCommand,
}

#[derive(Debug, clap::Subcommand)]
enum NotificationsCommand {
    /// Show them, newest first: to whom, whether they were delivered, and what went wrong.
    List(ListArgs),
    /// Send some again, to the receivers that they were for. Within half a minute.
    ///
    /// Receivers that know alerts by a key (PagerDuty, Alertmanager) take the same one for what it is; the others show it again.
    Resend(ResendArgs),
    /// Write an HTML page of messages as Slack shows them: typical ones, or those that were told.
    Preview(PreviewArgs),
}

/// Messages on one page.
const MAX_PREVIEWED: u32 = 1000;

#[derive(Debug, clap::Args)]
struct ListArgs {
    /// Only those in this state.
    #[arg(long, value_enum)]
    state: Option<State>,
    /// Only those to this receiver.
    #[arg(long, value_name = "NAME")]
    notifier: Option<String>,
    /// At most this many.
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: u32,
    /// A table for people, or a JSON object a line.
    #[arg(long, value_enum, default_value_t = ListFormat::Table)]
    format: ListFormat,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum State {
    Pending,
    Sent,
    Failed,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum ListFormat {
    Table,
    Json,
}

#[derive(Debug, clap::Args)]
#[group(skip)]
#[command(group(clap::ArgGroup::new("which").required(true).args(["ids", "failed"])))]
struct ResendArgs {
    /// Ids of steps of alerts, as `list` shows them; their first 8 characters suffice.
    #[arg(value_name = "ID")]
    ids: Vec<String>,
    /// All that were given up since --since.
    #[arg(long, requires = "since")]
    failed: bool,
    /// With --failed: given up since then, UTC: 2026-11-01 or 2026-11-01T12:00:00Z.
    #[arg(long, value_name = "T", value_parser = moment, conflicts_with = "ids")]
    since: Option<UtcMillis>,
    /// Only to this receiver.
    #[arg(long, value_name = "NAME")]
    notifier: Option<String>,
    /// Only count them.
    #[arg(long)]
    dry_run: bool,
}

#[derive(Debug, clap::Args)]
struct PreviewArgs {
    /// The file to write.
    #[arg(long, value_name = "FILE", default_value = "slack-messages.html")]
    output: PathBuf,
    /// Those that were told (or are to be) since then, in place of typical ones: 2026-11-01 or 2026-11-01T12:00:00Z.
    #[arg(long, value_name = "T", value_parser = moment)]
    since: Option<UtcMillis>,
}

pub(super) async fn run(arguments: NotificationsArgs, settings: &Settings) -> Result<(), CommandError> {
    match arguments.command {
        NotificationsCommand::List(arguments) => list(&arguments, settings).await,
        NotificationsCommand::Resend(arguments) => resend(arguments, settings).await,
        NotificationsCommand::Preview(arguments) => write_preview(&arguments, settings).await,
    }
}

async fn list(arguments: &ListArgs, settings: &Settings) -> Result<(), CommandError> {
    let state = match arguments.state {
        None => "",
        Some(State::Pending) => "pending",
        Some(State::Sent) => "sent",
        Some(State::Failed) => "failed",
    };
    let notifier = arguments.notifier.as_deref().unwrap_or_default();
    if notifier.contains(['\'', '\\']) {
        return Err(CommandError::Usage(format!("`{notifier}` is no name of a receiver")));
    }
    let (format, id) = match arguments.format {
        ListFormat::Table => ("PrettyCompactMonoBlock", "substring(transition_id, 1, 12)"),
        ListFormat::Json => ("JSONEachRow", "transition_id"),
    };
    let query = format!(
        "SELECT at, {id} AS id, rule, notifier, state, attempts, error, digest != '' AS in_digest FROM notifications \
         WHERE ('{state}' = '' OR state = '{state}') AND ('{notifier}' = '' OR notifier = '{notifier}') \
         ORDER BY at DESC, transition_id LIMIT {}",
        arguments.limit
    );
    sql::ask_or_start(&query, format, settings).await
}

async fn resend(arguments: ResendArgs, settings: &Settings) -> Result<(), CommandError> {
    let ResendArgs { ids, failed, since, notifier, dry_run } = arguments;
    let request = ResendRequest { ids, failed, since, notifier, dry_run };
    request.check().map_err(|wrong| CommandError::Usage(wrong.to_owned()))?;
    let resent: Resent = beside::ask_serve("/notifications/resend", &request, settings).await?;
    let mut out = std::io::stdout().lock();
    if dry_run {
        let would = resent.matched - resent.already_waiting - resent.unknown_receiver;
        writeln!(out, "{would} of {} would be sent again", resent.matched)?;
    } else {
        writeln!(out, "{} of {} are sent again", resent.resent, resent.matched)?;
    }
    if resent.already_waiting > 0 {
        writeln!(out, "{} wait anyway", resent.already_waiting)?;
    }
    if resent.unknown_receiver > 0 {
        writeln!(out, "{} were for receivers that the settings no longer have", resent.unknown_receiver)?;
    }
    if resent.matched == 0 {
        writeln!(out, "Nothing was attempted that fits: heliometer notifications list")?;
    }
    Ok(())
}

async fn write_preview(arguments: &PreviewArgs, settings: &Settings) -> Result<(), CommandError> {
    let examples = match arguments.since {
        None => preview::typical(),
        Some(since) => recorded(since, settings).await?,
    };
    std::fs::write(&arguments.output, preview::page(&examples))?;
    writeln!(std::io::stdout().lock(), "{} messages in {}", examples.len(), arguments.output.display())?;
    Ok(())
}

async fn recorded(since: UtcMillis, settings: &Settings) -> Result<Vec<preview::Example>, CommandError> {
    let database = open_database(settings).await?;
    let url = &settings.alerts.dashboard_url;
    let messages = recorded_messages(database.client(), since, MAX_PREVIEWED, url).await;
    database.close().await;
    let example = |told: &RecordedMessage| preview::Example::of(&told.at.to_string(), told.message());
    Ok(messages?.iter().map(example).collect())
}
