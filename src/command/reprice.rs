//! `heliometer reprice`

use std::io::{IsTerminal, Write};

use indicatif::{ProgressBar, ProgressStyle};

use super::{CommandError, moment, open_database};
use crate::{
    domain::UtcMillis,
    pricing::PriceBook,
    repricing::{self, Drift, ModelDrift, Progress, Range},
    settings::Settings,
    store::Database,
    telemetry::init_logs,
};

/// Decide the cost of stored calls again, with today's price book; shows the drift first.
///
/// Only what the price book decided changes, or could not decide: amounts of Helicone and of the provider stay. The totals
/// and alerts follow within seconds while `heliometer serve` runs, or at its next start. Running it again changes nothing
/// more. A serve that runs prices new calls with the book it was started with: restart it after changing prices.
#[derive(Debug, clap::Args)]
pub(super) struct RepriceArgs {
    /// The first moment, UTC: 2026-11-01 or 2026-11-01T12:00:00Z.
    #[arg(long, value_name = "T", value_parser = moment)]
    from: UtcMillis,
    /// The first moment after, UTC.
    #[arg(long, value_name = "T", value_parser = moment)]
    to: UtcMillis,
    /// Show what would change, and change nothing.
    #[arg(long)]
    dry_run: bool,
}

pub(super) async fn run(arguments: RepriceArgs, settings: Settings) -> Result<(), CommandError> {
    init_logs(&settings.telemetry);
    if arguments.from >= arguments.to {
        return Err(CommandError::Usage("--from must be before --to".to_owned()));
    }
    let book = PriceBook::load(&settings.pricing)?;
    let database = open_database(&settings).await?;
    let result = reprice(&database, &book, &arguments).await;
    database.close().await;
    result
}

async fn reprice(database: &Database, book: &PriceBook, arguments: &RepriceArgs) -> Result<(), CommandError> {
    let range = Range { from: arguments.from, to: arguments.to };
    let (client, timeout) = (database.client(), database.timeout());
    let calls = repricing::count(client, timeout, range).await?;
    // First what would change, as one look, so that a wrong price is seen before it is everywhere.
    let bar = progress_bar(calls, "looking");
    let drift = repricing::reprice(client, timeout, book, range, false, |done| show(&bar, done)).await?;
    bar.finish_and_clear();
    let mut out = std::io::stdout().lock();
    write_drift(&mut out, &drift, book.revision())?;
    let changed = drift.total().changed;
    if arguments.dry_run {
        writeln!(out, "nothing was changed; without --dry-run {changed} of {calls} calls get another cost")?;
        return Ok(());
    }
    let bar = progress_bar(calls, "writing");
    repricing::reprice(client, timeout, book, range, true, |done| show(&bar, done)).await?;
    bar.finish_and_clear();
    writeln!(out, "{changed} of {calls} calls have another cost; totals follow")?;
    Ok(())
}

fn progress_bar(calls: u64, doing: &'static str) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{msg:8} {bar:40} {pos}/{len} calls, {eta} left")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(calls).with_style(style).with_message(doing)
}

fn show(bar: &ProgressBar, done: Progress) {
    bar.set_position(done.seen);
}

fn write_drift(out: &mut impl Write, drift: &Drift, revision: &str) -> std::io::Result<()> {
    writeln!(out, "price book {revision}")?;
    writeln!(
        out,
        "{:<12} {:<36} {:>9} {:>9} {:>9} {:>20} {:>20}",
        "provider", "model", "calls", "changed", "unpriced", "before USD", "after USD"
    )?;
    let mut line = |provider: &str, model: &str, drift: &ModelDrift| {
        let unpriced = match (drift.newly_priced, drift.no_longer_priced) {
            (0, 0) => String::new(),
            (less, 0) => format!("-{less}"),
            (0, more) => format!("+{more}"),
            (less, more) => format!("-{less}+{more}"),
        };
        writeln!(
            out,
            "{provider:<12} {model:<36} {:>9} {:>9} {unpriced:>9} {:>20} {:>20}",
            drift.calls,
            drift.changed,
            drift.before.to_string(),
            drift.after.to_string()
        )
    };
    for ((provider, model), drift) in drift.by_model.iter().filter(|(_, drift)| drift.changed > 0) {
        line(provider, model, drift)?;
    }
    line("", "all", &drift.total())
}
