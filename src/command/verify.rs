//! `heliometer verify`

use std::{
    io::{IsTerminal, Write},
    sync::Arc,
    time::Duration,
};

use indicatif::{ProgressBar, ProgressStyle};
use jiff::civil::Date;
use prometheus::Registry;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::{CommandError, open_database};
use crate::{
    settings::{RetentionSettings, Settings},
    store::{
        Comparison, Database, Difference, Grain, Horizons, Rollups, StoreMetrics, Table, Term, bounded, compare,
        request_recomputation, server_time_us,
    },
    telemetry::init_logs,
};

/// Totals follow their rows within a second or two: what differs for longer is wrong.
const SETTLE: Duration = Duration::from_secs(3);
const LOOKS: usize = 4;
/// A pass of the leader.
const FIX_PATIENCE: Duration = Duration::from_secs(120);
/// Differences of one table that are printed.
const SHOWN: usize = 10;

/// Compute totals from the calls again and compare them with what the tables say, value by value.
///
/// Every table of totals, by minute, hour, day and month, by model and by user, over all the time of which the calls are
/// still kept, or over the day and its month. Exit code 1 if anything differs for longer than totals need to follow.
#[derive(Debug, clap::Args)]
pub(super) struct VerifyArgs {
    /// Only this UTC day, and the month that it is in.
    #[arg(long, value_name = "DATE")]
    day: Option<Date>,
    /// Have what differs computed again, and look whether it is right then.
    #[arg(long)]
    fix: bool,
}

pub(super) async fn run(arguments: VerifyArgs, settings: Settings) -> Result<u8, CommandError> {
    init_logs(&settings.telemetry);
    let database = open_database(&settings).await?;
    let result = verify(&database, &settings.clickhouse.retention, &arguments).await;
    database.close().await;
    result
}

/// One comparison: a table, from and to before, in seconds since 1970.
#[derive(Clone, Copy)]
struct Span {
    table: Table,
    from: u32,
    to: u32,
}

async fn verify(
    database: &Database,
    retention: &RetentionSettings,
    arguments: &VerifyArgs,
) -> Result<u8, CommandError> {
    let mut out = std::io::stdout().lock();
    let Some(spans) = spans(database, retention, arguments.day).await? else {
        writeln!(out, "there are no calls to compare with")?;
        return Ok(0);
    };
    let bar = progress_bar(spans.len() as u64);
    let mut groups: Vec<(Table, u64)> = Table::all().map(|table| (table, 0)).collect();
    let mut wrong: Vec<(Span, Vec<Difference>)> = Vec::new();
    for span in spans {
        bar.set_message(span.table.view());
        let comparison = settled(database, span).await?;
        if let Some((_, count)) = groups.iter_mut().find(|(table, _)| *table == span.table) {
            *count += comparison.groups;
        }
        if !comparison.differences.is_empty() {
            wrong.push((span, comparison.differences));
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    for (table, count) in groups {
        let differ: usize = wrong.iter().filter(|(span, _)| span.table == table).map(|(_, all)| all.len()).sum();
        writeln!(out, "{:<13} {count:>10} groups, {differ} differ", table.view())?;
    }
    for (span, differences) in &wrong {
        write_differences(&mut out, span.table, differences)?;
    }
    if wrong.is_empty() {
        writeln!(out, "every total is what its calls say")?;
        return Ok(0);
    }
    if !arguments.fix {
        writeln!(out, "heliometer verify --fix computes them again")?;
        return Ok(1);
    }
    fix(database, retention, &wrong).await?;
    for (span, differences) in &wrong {
        let left = settled(database, *span).await?.differences;
        if !left.is_empty() {
            write_differences(&mut out, span.table, &left)?;
            writeln!(
                out,
                "{} of {} still differ: does a heliometer with the role alerter run?",
                left.len(),
                differences.len()
            )?;
            return Ok(1);
        }
    }
    writeln!(out, "computed again; every total is what its calls say now")?;
    Ok(0)
}

/// What is to be compared: minutes, hours and days by day, and months. `None` without calls.
async fn spans(
    database: &Database,
    retention: &RetentionSettings,
    day: Option<Date>,
) -> Result<Option<Vec<Span>>, CommandError> {
    let (client, timeout) = (database.client(), database.timeout());
    let mut horizons = Horizons::new(retention);
    horizons.look(client, timeout, server_time_us(client, timeout).await?).await?;
    let query = client.query(
        "SELECT toUInt32(toUnixTimestamp(toDateTime(min(event_time)))), toUInt32(toUnixTimestamp(toDateTime(max(event_time)))), \
         count() FROM request_rows",
    );
    let (oldest, newest, count) = bounded(timeout, "looking for calls", query.fetch_one::<(u32, u32, u64)>()).await?;
    let (oldest, newest) = match day {
        Some(day) => {
            let start = day.to_zoned(jiff::tz::TimeZone::UTC).ok().map(|start| start.timestamp().as_second());
            let Some(start) = start.and_then(|start| u32::try_from(start).ok()) else {
                return Err(CommandError::Usage("--day must be a day after 1970".to_owned()));
            };
            if horizons.are_rows_gone(start) {
                return Err(CommandError::Usage(
                    "the calls of that day are not all there any more: clickhouse.retention.requests_days".to_owned(),
                ));
            }
            (start, start)
        }
        None if count == 0 => return Ok(None),
        None => (oldest.max(u32::try_from(horizons.rows_since()).unwrap_or(0)), newest),
    };
    let mut spans = Vec::new();
    for table in Table::all() {
        // Finer ones by the day, so that no query holds more.
        let step = if table.grain == Grain::Month { Grain::Month } else { Grain::Day };
        let mut from = step.start(oldest);
        while from <= newest {
            let to = step.next(from);
            let is_whole = !horizons.are_rows_gone(from);
            let is_kept = table.grain != Grain::Minute || !horizons.are_minutes_gone(table.grouping, from);
            if is_whole && is_kept {
                spans.push(Span { table, from, to });
            }
            from = to;
        }
    }
    Ok(Some(spans))
}

/// What differs again and again in the same way: totals that only lag are right at a later look.
async fn settled(database: &Database, span: Span) -> Result<Comparison, CommandError> {
    let look = || compare(database.client(), span.table, span.from, span.to);
    let mut settled = look().await?;
    for _ in 1..LOOKS {
        if settled.differences.is_empty() {
            break;
        }
        tokio::time::sleep(SETTLE).await;
        let again = look().await?.differences;
        settled.differences.retain(|difference| again.contains(difference));
    }
    Ok(settled)
}

/// By whoever keeps the rollups. An engine that this command started has nobody, so it does it itself.
async fn fix(
    database: &Database,
    retention: &RetentionSettings,
    wrong: &[(Span, Vec<Difference>)],
) -> Result<(), CommandError> {
    let (client, timeout) = (database.client(), database.timeout());
    let all: Vec<Difference> = wrong.iter().flat_map(|(_, differences)| differences.iter().cloned()).collect();
    request_recomputation(client, timeout, &all).await?;
    if database.is_own_engine() {
        let term = Term::begin(client, timeout).await?;
        let metrics = StoreMetrics::new(&Registry::new()).map_err(|error| CommandError::Usage(error.to_string()))?;
        let (rollups, _) = Rollups::new(client, timeout, retention, metrics, Arc::new(Notify::new()));
        let stop = CancellationToken::new();
        stop.cancel();
        rollups.fenced_by(term.clone()).run(stop).await;
        term.end().await?;
        return Ok(());
    }
    let deadline = tokio::time::Instant::now() + FIX_PATIENCE;
    while tokio::time::Instant::now() < deadline {
        tokio::time::sleep(SETTLE).await;
        let mut is_right = true;
        for (span, differences) in wrong {
            let now = compare(client, span.table, span.from, span.to).await?.differences;
            is_right &= !differences.iter().any(|difference| now.contains(difference));
        }
        if is_right {
            break;
        }
    }
    Ok(())
}

fn write_differences(out: &mut impl Write, table: Table, differences: &[Difference]) -> std::io::Result<()> {
    for difference in differences.iter().take(SHOWN) {
        let bucket = jiff::Timestamp::from_second(difference.start.into()).unwrap_or_default();
        let place = format!(
            "{} {} {} {:?} {:?}",
            table.view(),
            bucket.strftime("%Y-%m-%dT%H:%MZ"),
            difference.source,
            difference.first,
            difference.second
        );
        match (difference.is_expected, difference.is_stored) {
            (true, false) => writeln!(out, "{place}: is missing")?,
            (false, true) => writeln!(out, "{place}: no call belongs to it")?,
            _ => {
                for (name, expected, stored) in &difference.totals {
                    writeln!(out, "{place}: {name} is {stored}, and by the calls {expected}")?;
                }
            }
        }
    }
    if differences.len() > SHOWN {
        writeln!(out, "{}: … and at least {} more", table.view(), differences.len() - SHOWN)?;
    }
    Ok(())
}

fn progress_bar(spans: u64) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{msg:13} {bar:40} {pos}/{len}, {eta} left")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(spans).with_style(style)
}
