//! `heliometer simulate`: signed traffic of realistic shape, with exact expected totals.

use std::{
    env, fs,
    io::{self, IsTerminal, Write},
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};
use rand::{TryRng, rngs::SysRng};
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::{
    domain::{Secret, SecretError, SourceName, SystemClock},
    simulator::{self, Faults, Progress, ProgressSink, Report, RunOptions, SimulatorError},
};

/// How often a run tells where it stands when nobody watches a terminal.
const LINE_INTERVAL: Duration = Duration::from_secs(5);

/// Send signed traffic of realistic shape and write down the exact totals expected from it.
///
/// Like Helicone, but for load and correctness tests: a delivery that is answered 429 or 503, or not at all, is sent
/// again with backoff (Helicone itself never does). Certificates are checked against the
/// system's roots, --ca-cert and the data directory's own; on loopback addresses they are not checked at all.
#[derive(Clone, Debug, clap::Args)]
pub struct SimulateArgs {
    /// The receiver, such as `https://localhost:8443`; without a path, /webhook is added.
    #[arg(long, value_name = "URL")]
    pub url: Url,
    /// Deliveries per second; 0 is as fast as possible.
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub rate: u32,
    /// Events to send; duplicates come on top.
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub count: u64,
    /// Same seed, same events and request ids. Random unless given, and printed.
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// Where the storage server for the bodies listens; port 0 is any free one.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    pub storage_listen: SocketAddr,
    /// How the receiver reaches the storage server, if not at that address.
    #[arg(long, value_name = "URL")]
    pub storage_url: Option<Url>,
    /// What goes wrong, as name=percent with commas between: duplicates (one to four more deliveries), reorder, late
    /// (held back while thousands of others go first), back-dated (the body says it was created hours to days before,
    /// or what cannot be), bad-signature, not-json, no-request-id, storage-404, storage-403, storage-500 (first attempt
    /// only), storage-slow, storage-reset.
    #[arg(long, value_name = "SPEC", default_value = "")]
    pub faults: Faults,
    /// Write the exact totals of what was accepted to this file, as JSON.
    #[arg(long, value_name = "FILE")]
    pub expect: Option<PathBuf>,
    /// Write each accepted request to this file as it is accepted, as CSV: what a correct receiver must store.
    #[arg(long, value_name = "FILE")]
    pub expect_requests: Option<PathBuf>,
    /// The source to send to and to expect totals under [default: the one in the URL, else "default"].
    #[arg(long, value_name = "NAME", value_parser = SourceName::new)]
    pub source: Option<SourceName>,
    /// The environment variable with the signing secret; of several secrets with commas between, the first signs.
    #[arg(long, value_name = "NAME", default_value = "HELICONE_WEBHOOK_SECRET")]
    pub secret_env: String,
    /// Certificates to trust, in PEM; may be given several times.
    #[arg(long, value_name = "FILE")]
    pub ca_cert: Vec<PathBuf>,
    /// Deliveries under way at once.
    #[arg(long, value_name = "N", default_value_t = 64)]
    pub concurrency: usize,
    /// Attempts at a delivery that is answered 429 or 503, or not at all; 12 take about half a minute, then 5 s each.
    #[arg(long, value_name = "N", default_value_t = 12)]
    pub max_attempts: u32,
    /// How long the storage server stays at most after the last event, for the receiver to fetch bodies.
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub linger_seconds: u64,
}

/// Why `simulate` fails.
#[derive(Debug, thiserror::Error)]
pub enum SimulateError {
    /// The run could not be made.
    #[error(transparent)]
    Simulator(#[from] SimulatorError),
    /// No secret to sign with.
    #[error(
        "{variable}: {source}; export the receiver's webhook secret under this name, or name another with --secret-env"
    )]
    Secret {
        /// The variable that was looked at.
        variable: String,
        /// Why it has no secret.
        source: SecretError,
    },
    /// The system gave no random seed.
    #[error("the system has no random numbers to give ({0}); choose a --seed")]
    Seed(String),
    /// The expected totals could not be written.
    #[error("cannot write the expected totals to {path}: {source}")]
    Write {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The report could not be printed.
    #[error("cannot print the report: {0}")]
    Print(#[source] io::Error),
    /// The receiver gave other answers than a correct one.
    #[error(
        "the receiver did not answer as it should: {0}. 401: is the secret the receiver's? 404: is the source known there?"
    )]
    Unexpected(String),
}

impl SimulateError {
    /// 1 for a failed run, 2 for wrong usage.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Unexpected(_)
            | Self::Write { .. }
            | Self::Print(_)
            | Self::Seed(_)
            | Self::Simulator(
                SimulatorError::Client(_)
                | SimulatorError::StorageListen { .. }
                | SimulatorError::ExpectRequests { .. },
            ) => 1,
            Self::Simulator(_) | Self::Secret { .. } => 2,
        }
    }
}

/// Runs the command. `data_dir` may hold the receiver's own certificate, which is then trusted. Ctrl-C ends sending,
/// and the expected totals are still written.
///
/// # Errors
/// [`SimulateError`], also when the receiver gave answers that a correct one would not.
pub async fn run(args: SimulateArgs, data_dir: &Path) -> Result<(), SimulateError> {
    let expect_path = args.expect.clone();
    let count = args.count;
    let options = run_options(args, data_dir)?;
    let stop = CancellationToken::new();
    let on_signal = stop.clone();
    let signals = tokio::spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            on_signal.cancel();
        }
    });
    let display = Arc::new(Display::new(count));
    let sink = Arc::clone(&display) as Arc<dyn ProgressSink>;
    let report = simulator::run(options, Arc::new(SystemClock), sink, stop).await;
    signals.abort();
    display.finish();
    let report = report?;
    if let Some(path) = &expect_path {
        write_expected(path, &report)?;
    }
    print_report(&mut io::stdout().lock(), &report, expect_path.as_deref()).map_err(SimulateError::Print)?;
    if report.unexpected.is_empty() {
        return Ok(());
    }
    let answers: Vec<_> = report.unexpected.iter().map(|(answer, count)| format!("{count} × {answer}")).collect();
    Err(SimulateError::Unexpected(answers.join(", ")))
}

fn run_options(args: SimulateArgs, data_dir: &Path) -> Result<RunOptions, SimulateError> {
    let secret = secret_from(&args.secret_env)?;
    let seed = match args.seed {
        Some(seed) => seed,
        // 53 bits, so that every JSON reader gets it back whole.
        None => SysRng.try_next_u64().map_err(|error| SimulateError::Seed(error.to_string()))? >> 11,
    };
    let mut ca_files = args.ca_cert;
    let own = data_dir.join("tls").join("cert.pem");
    if own.is_file() {
        ca_files.push(own);
    }
    Ok(RunOptions {
        url: args.url,
        rate_per_second: args.rate,
        count: args.count,
        seed,
        storage_listen: args.storage_listen,
        storage_url: args.storage_url,
        faults: args.faults,
        source: args.source,
        secret,
        ca_files,
        concurrency: args.concurrency,
        max_attempts: args.max_attempts,
        expect_requests: args.expect_requests,
        linger: Duration::from_secs(args.linger_seconds),
    })
}

/// The first secret in a variable, read as `serve` reads it.
fn secret_from(variable: &str) -> Result<Secret, SimulateError> {
    let fail = |source| SimulateError::Secret { variable: variable.to_owned(), source };
    let list = env::var(variable).map_err(|_| fail(SecretError::MissingVariable(variable.to_owned())))?;
    Secret::resolve(list.split(',').next().unwrap_or_default().trim()).map_err(fail)
}

/// Whole or not at all, since scripts wait for the file.
fn write_expected(path: &Path, report: &Report) -> Result<(), SimulateError> {
    let fail = |source| SimulateError::Write { path: path.to_path_buf(), source };
    let mut json = serde_json::to_vec_pretty(&report.totals).map_err(|error| fail(error.into()))?;
    json.push(b'\n');
    let mut unfinished = path.as_os_str().to_owned();
    unfinished.push(".part");
    fs::write(&unfinished, json).map_err(fail)?;
    fs::rename(&unfinished, path).map_err(fail)
}

#[expect(clippy::cast_precision_loss, reason = "a rate for people")]
fn print_report(out: &mut dyn Write, report: &Report, expect_path: Option<&Path>) -> io::Result<()> {
    let totals = &report.totals;
    let seconds = (report.elapsed_ms.max(1)) as f64 / 1000.0;
    writeln!(
        out,
        "sent       {} in {seconds:.1} s ({:.0}/s), seed {}",
        totals.sent,
        totals.sent as f64 / seconds,
        totals.seed
    )?;
    writeln!(
        out,
        "accepted   {}: {} requests, {} duplicates, {} tests",
        totals.accepted, totals.sums.requests, totals.duplicates, totals.tests
    )?;
    writeln!(
        out,
        "refused    {} dead letters, {} bad signatures, as planned",
        totals.dead_letters, totals.bad_signatures
    )?;
    if report.retries > 0 {
        writeln!(out, "retried    {}; {} deliveries may have arrived twice", report.retries, totals.uncertain)?;
    }
    writeln!(
        out,
        "expected   {} USD over {} priced requests, {} prompt and {} completion tokens",
        totals.sums.cost_usd, totals.sums.priced_requests, totals.sums.prompt_tokens, totals.sums.completion_tokens
    )?;
    writeln!(
        out,
        "storage    {} of {} objects fetched, {} failed as planned, {} refused",
        report.fetches.distinct, report.fetchable, report.fetches.faults, report.fetches.refused
    )?;
    if report.was_stopped {
        writeln!(out, "stopped    before all events were sent")?;
    }
    if let Some(path) = expect_path {
        writeln!(out, "written    {}", path.display())?;
    }
    Ok(())
}

/// A progress bar on a terminal, lines elsewhere. Both go to stderr.
struct Display {
    count: u64,
    bar: Option<ProgressBar>,
    /// When a line was last told, and which.
    last_line: Mutex<(Instant, String)>,
}

impl Display {
    fn new(count: u64) -> Self {
        let bar = io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{bar:30} {pos}/{len} {per_sec} {msg}");
            ProgressBar::new(count).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        });
        Self { count, bar, last_line: Mutex::new((Instant::now(), String::new())) }
    }

    fn line(&self, line: &str) {
        if let Some(bar) = &self.bar {
            bar.println(line);
        } else {
            // Nobody is left to tell that stderr is gone.
            let _closed = writeln!(io::stderr(), "{line}");
        }
    }

    fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

impl ProgressSink for Display {
    fn started(&self, seed: u64, webhook_url: &Url, storage_url: &Url) {
        self.line(&format!("sending to {webhook_url}, bodies at {storage_url}, seed {seed}"));
    }

    fn progress(&self, progress: Progress) {
        let Progress { sent, finished, retries, fetched, is_lingering } = progress;
        let waiting = if is_lingering { ", waiting for fetches" } else { "" };
        if let Some(bar) = &self.bar {
            bar.set_length(self.count.max(sent));
            bar.set_position(finished);
            bar.set_message(format!("{fetched} fetched, {retries} retries{waiting}"));
            return;
        }
        let line = format!(
            "sent {sent} deliveries of {} events, answered {finished}, {fetched} fetched, {retries} retries{waiting}",
            self.count
        );
        let mut last = self.last_line.lock().unwrap_or_else(PoisonError::into_inner);
        if last.1 != line && (is_lingering || last.0.elapsed() >= LINE_INTERVAL) {
            self.line(&line);
            *last = (Instant::now(), line);
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        args: SimulateArgs,
    }

    fn parse(arguments: &[&str]) -> Result<SimulateArgs, clap::Error> {
        Cli::try_parse_from(["simulate"].iter().chain(arguments)).map(|cli| cli.args)
    }

    #[test]
    fn the_contracts_line_is_understood() {
        let line = "--url https://localhost:8443 --rate 0 --count 5 --seed 7 --storage-listen 127.0.0.1:9000 \
                    --faults duplicates=5,storage-404=2.5 --expect x.json --source team --concurrency 8";
        let args = parse(&line.split_whitespace().collect::<Vec<_>>()).expect("valid");
        assert_eq!((args.rate, args.count, args.seed), (0, 5, Some(7)));
        assert_eq!(args.source.expect("given").as_str(), "team");
        assert_eq!(args.linger_seconds, 10);
    }

    #[test]
    fn a_misspelt_fault_is_explained_on_the_command_line() {
        let error = parse(&["--url", "https://h", "--faults", "duplicate=5"]).expect_err("unknown").to_string();
        assert!(error.contains("did you mean `duplicates`?"), "{error}");
    }

    #[test]
    fn a_missing_secret_names_its_variable() {
        let error = secret_from("HELIOMETER_NO_SUCH_SECRET").expect_err("not set");
        assert!(error.to_string().contains("HELIOMETER_NO_SUCH_SECRET") && error.exit_code() == 2, "{error}");
    }
}
