//! `heliometer silences`

use std::{io::Write, time::Duration};

use super::{CommandError, moment, open_database};
use crate::{
    alert::{Matcher, Silence, StoredSilence, add_silence, expire_silence, list_silences},
    domain::{Clock, SystemClock, UtcMillis},
    settings::Settings,
    store::Database,
};

/// Alerts that are not told for a time: list, add or end them.
///
/// They hold from the next evaluation on, within a second or two, without a restart. What a silence holds back is recorded in
/// the view `alerts` with the reason; what still fires when it ends is told then. Silences of the settings
/// ([[alerts.silences]]) are not listed here.
#[derive(Debug, clap::Args)]
pub(super) struct SilencesArgs {
    #[command(subcommand)]
    command: SilencesCommand,
}

#[derive(Debug, clap::Subcommand)]
enum SilencesCommand {
    /// Show those that hold or are to come.
    List,
    /// Begin one. Prints its id.
    Add(AddArgs),
    /// End one now.
    Expire {
        /// As `add` and `list` print it.
        id: String,
    },
}

#[derive(Debug, clap::Args)]
struct AddArgs {
    /// Rules, as a glob: slow, "budget-*", "*".
    #[arg(long, value_name = "GLOB")]
    rule: Option<String>,
    /// Groups (the model, user, …), as a glob.
    #[arg(long, value_name = "GLOB")]
    group: Option<String>,
    /// info, warning or critical.
    #[arg(long)]
    severity: Option<String>,
    /// A label that the rule must have, as name=glob; several are possible.
    #[arg(long = "label", value_name = "NAME=GLOB", value_parser = label)]
    labels: Vec<(String, String)>,
    /// How long: 30m, 2h, 1d.
    #[arg(long = "for", value_name = "DURATION", value_parser = duration, conflicts_with = "until")]
    length: Option<Duration>,
    /// Until when, UTC: 2026-11-26T08:00:00Z.
    #[arg(long, value_name = "T", value_parser = moment, required_unless_present = "length")]
    until: Option<UtcMillis>,
    /// From when on, UTC; now, when left out.
    #[arg(long, value_name = "T", value_parser = moment)]
    from: Option<UtcMillis>,
    /// Why, for those who wonder.
    #[arg(long, default_value = "")]
    comment: String,
}

fn label(text: &str) -> Result<(String, String), String> {
    let (name, glob) = text.split_once('=').ok_or("a label is written name=glob")?;
    Ok((name.to_owned(), glob.to_owned()))
}

fn duration(text: &str) -> Result<Duration, String> {
    crate::alert::parse_duration(text)
        .filter(|duration| !duration.is_zero())
        .ok_or_else(|| "a duration such as 30m, 2h or 1d".to_owned())
}

pub(super) async fn run(arguments: SilencesArgs, settings: &Settings) -> Result<(), CommandError> {
    let database = open_database(settings).await?;
    let result = handle(&database, arguments.command, SystemClock.now()).await;
    database.close().await;
    result
}

async fn handle(database: &Database, command: SilencesCommand, now: UtcMillis) -> Result<(), CommandError> {
    let client = database.client();
    let mut out = std::io::stdout().lock();
    match command {
        SilencesCommand::List => {
            let silences = list_silences(client, now).await?;
            if silences.is_empty() {
                writeln!(out, "no silences")?;
            }
            for StoredSilence { id, silence } in silences {
                let state = if silence.starts_at > now { "from" } else { "since" };
                let comment = if silence.comment.is_empty() { String::new() } else { format!("  {}", silence.comment) };
                let (starts_at, ends_at) = (silence.starts_at, silence.ends_at);
                writeln!(out, "{id}  {state} {starts_at} until {ends_at}  {}{comment}", shown(&silence.matcher))?;
            }
        }
        SilencesCommand::Add(arguments) => {
            let starts_at = arguments.from.unwrap_or(now);
            let ends_at = match (arguments.length, arguments.until) {
                (Some(length), _) => starts_at.plus(length),
                (None, Some(until)) => until,
                (None, None) => return Err(CommandError::Usage("give --for or --until".to_owned())),
            };
            let matcher = Matcher {
                rule: arguments.rule,
                group: arguments.group,
                severity: arguments.severity,
                labels: arguments.labels.into_iter().collect(),
            };
            let silence = Silence { matcher, starts_at, ends_at, comment: arguments.comment };
            let id = uuid::Uuid::from_u128(rand::random()).simple().to_string();
            let stored = StoredSilence { id: id[..12].to_owned(), silence };
            add_silence(client, &stored, now).await?;
            writeln!(out, "{}  until {ends_at}", stored.id)?;
        }
        SilencesCommand::Expire { id } => {
            expire_silence(client, &id, now).await?;
            writeln!(out, "{id}  ended")?;
        }
    }
    Ok(())
}

fn shown(matcher: &Matcher) -> String {
    let one = |key: &str, glob: &Option<String>| glob.as_ref().map(|glob| format!("{key}={glob}"));
    let keys = [one("rule", &matcher.rule), one("group", &matcher.group), one("severity", &matcher.severity)];
    let labels = matcher.labels.iter().map(|(name, glob)| format!("label {name}={glob}"));
    keys.into_iter().flatten().chain(labels).collect::<Vec<_>>().join(" ")
}
