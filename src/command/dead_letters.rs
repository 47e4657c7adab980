//! `heliometer dead-letters`

use std::io::Write;

use super::{CommandError, beside, sql};
use crate::{
    dead_letters::{Action, Handled, HandlingRequest, Location, Selector},
    settings::Settings,
};

/// Signed messages that could not be understood: list, replay or drop them.
///
/// Replaying sends them through the pipeline once more, dropping puts them aside.
/// They are kept in the event log for event_log.retention_hours. `replay` and `drop` need a running `serve` on the same
/// data directory.
#[derive(Debug, clap::Args)]
pub(super) struct DeadLettersArgs {
    #[command(subcommand)]
    command: DeadLettersCommand,
}

#[derive(Debug, clap::Subcommand)]
enum DeadLettersCommand {
    /// Show those that wait, newest first.
    List(ListArgs),
    /// Send them through the pipeline once more, with the time they were first received.
    ///
    /// Do this after what was wrong is mended. A message that still cannot be understood becomes a new dead letter. One
    /// whose request is stored already is counted as a duplicate.
    Replay(HandleArgs),
    /// Show them no longer. They stay dead letters in the view `outcomes`, and stay in the view `dead_letters` as dropped.
    Drop(HandleArgs),
}

#[derive(Debug, clap::Args)]
struct ListArgs {
    /// At most this many.
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: u32,
    /// A table for people, or a JSON object a line.
    #[arg(long, value_enum, default_value_t = ListFormat::Table)]
    format: ListFormat,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum ListFormat {
    Table,
    Json,
}

#[derive(Debug, clap::Args)]
struct HandleArgs {
    #[command(flatten)]
    which: WhichArgs,
    /// Only count them.
    #[arg(long)]
    dry_run: bool,
}

#[derive(Debug, clap::Args)]
#[group(required = true, multiple = true)]
struct WhichArgs {
    /// Those given up for this reason: bad_json or no_request_id.
    #[arg(long, value_name = "REASON")]
    reason: Option<String>,
    /// Those of this source.
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
    /// Those at these places, as `list` shows them in location or origin.
    #[arg(long, value_name = "TOPIC/PARTITION/OFFSET", num_args = 1..)]
    location: Vec<Location>,
    /// Every one.
    #[arg(long, conflicts_with_all = ["reason", "source", "location"])]
    all: bool,
}

pub(super) async fn run(arguments: DeadLettersArgs, settings: &Settings) -> Result<(), CommandError> {
    match arguments.command {
        DeadLettersCommand::List(arguments) => list(&arguments, settings).await,
        DeadLettersCommand::Replay(arguments) => handle(Action::Replay, arguments, settings).await,
        DeadLettersCommand::Drop(arguments) => handle(Action::Drop, arguments, settings).await,
    }
}

async fn list(arguments: &ListArgs, settings: &Settings) -> Result<(), CommandError> {
    let query = format!(
        "SELECT at, source, reason, detail, body_bytes, location, origin FROM dead_letters WHERE state = 'pending' \
         ORDER BY at DESC, location LIMIT {}",
        arguments.limit
    );
    let format = match arguments.format {
        ListFormat::Table => "PrettyCompactMonoBlock",
        ListFormat::Json => "JSONEachRow",
    };
    sql::ask_or_start(&query, format, settings).await
}

async fn handle(action: Action, arguments: HandleArgs, settings: &Settings) -> Result<(), CommandError> {
    let WhichArgs { reason, source, location, all } = arguments.which;
    let selector = Selector { reason, source, locations: location, all };
    selector.check().map_err(|wrong| CommandError::Usage(wrong.to_owned()))?;
    let dry_run = arguments.dry_run;
    let request = HandlingRequest { selector, dry_run };
    let handled: Handled = beside::ask_serve(action.route(), &request, settings).await?;
    let mut out = std::io::stdout().lock();
    if dry_run {
        writeln!(out, "{} would be {}", handled.matched, action.state())?;
        return Ok(());
    }
    writeln!(out, "{} of {} {}", handled.handled, handled.matched, action.state())?;
    if handled.no_longer_kept > 0 {
        writeln!(
            out,
            "{} cannot be replayed: the event log no longer keeps them (event_log.retention_hours); `drop` puts them aside",
            handled.no_longer_kept
        )?;
    }
    if action == Action::Replay && handled.handled > 0 {
        writeln!(out, "What still cannot be understood is listed again: heliometer dead-letters list")?;
    }
    Ok(())
}
