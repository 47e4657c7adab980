//! `heliometer doctor`

use std::{io::Write, net::TcpListener, path::Path, time::Duration};

use prometheus::Registry;

use super::{CommandError, load};
use crate::{
    domain::{Clock, SystemClock, UtcMillis},
    event_log::{EventLog, KafkaLog, Topic},
    helicone_api::{self, HeliconeApi},
    notify::{self, Routing},
    pricing::PriceBook,
    settings::{ContentsStore, PolicyAction, Settings, TlsMode},
    store::{LedgerAudit, LogReset, OffsetRange, Reader, audit_ledger, engine},
};

const KAFKA_TIMEOUT: Duration = Duration::from_secs(15);
const HELICONE_API_TIMEOUT: Duration = Duration::from_secs(10);
const CLICKHOUSE_TIMEOUT: Duration = Duration::from_secs(5);
/// The reader's own limit is 60 s.
const LEDGER_TIMEOUT: Duration = Duration::from_secs(30);
const MAX_CLOCK_DIFFERENCE: Duration = Duration::from_secs(5);
/// The release of this version: a clock before it is wrong.
const EARLIEST_PLAUSIBLE_TIME: UtcMillis = UtcMillis(1_790_000_000_000);

/// One line of the report.
enum Finding {
    Good(String),
    /// Works, but somebody should know.
    Note(String),
    Bad(String),
}

use Finding::{Bad, Good, Note};

/// Checks everything and prints a line for each. Returns exit code 1 if anything is wrong.
pub(super) async fn run(config: Option<&Path>) -> Result<u8, CommandError> {
    let mut findings: Vec<(&str, Finding)> = Vec::new();
    match load(config) {
        Err(error) => findings.push(("settings", Bad(error.to_string()))),
        Ok(settings) => {
            crate::tls::install_crypto_provider();
            findings.push(("settings", Good("read, every key known".to_owned())));
            findings.push(("secrets", secrets(&settings)));
            findings.push(("data", data_dir(&settings)));
            findings.push(("clock", clock()));
            findings.push(("certificate", certificate(&settings)));
            findings.push(("listener", listener(&settings)));
            findings.push(("event log", event_log(&settings).await));
            findings.extend(clickhouse(&settings).await.into_iter().map(|finding| ("ClickHouse", finding)));
            findings.extend(ledger(&settings).await.into_iter().map(|finding| ("ledger", finding)));
            findings.push(("prices", prices(&settings)));
            findings.push(("alerts", alerts(&settings)));
            findings.push(("contents", contents(&settings).await));
            findings.extend(helicone_api(&settings).await.into_iter().map(|finding| ("Helicone API", finding)));
            findings.extend(receivers(&settings).await.into_iter().map(|finding| ("receiver", finding)));
        }
    }
    let mut out = std::io::stdout().lock();
    let mut is_bad = false;
    for (what, finding) in &findings {
        let (mark, text) = match finding {
            Good(text) => ("ok  ", text),
            Note(text) => ("note", text),
            Bad(text) => {
                is_bad = true;
                ("BAD ", text)
            }
        };
        writeln!(out, "{mark}  {what:<12} {}", text.replace('\n', "\n                    "))?;
    }
    Ok(u8::from(is_bad))
}

fn secrets(settings: &Settings) -> Finding {
    if let Err(error) = settings.require_sources() {
        return Bad(error.to_string());
    }
    let plural = |count| if count == 1 { "" } else { "s" };
    let sources: Vec<String> = settings
        .sources
        .iter()
        .map(|source| format!("{} ({} secret{})", source.name, source.secrets.len(), plural(source.secrets.len())))
        .collect();
    let text = format!("sources: {}", sources.join(", "));
    let all_usual =
        settings.sources.iter().flat_map(|source| &source.secrets).all(|secret| secret.expose().len() == 64);
    if all_usual {
        Good(text)
    } else {
        Note(format!("{text}; Helicone's keys have 64 characters, one of these has not: was it copied whole?"))
    }
}

fn data_dir(settings: &Settings) -> Finding {
    let directory = &*settings.data_dir;
    let probe = directory.join(".doctor");
    let result = std::fs::create_dir_all(directory)
        .and_then(|()| std::fs::write(&probe, b""))
        .and_then(|()| std::fs::remove_file(&probe));
    match result {
        Ok(()) => Good(format!("{} is writable", directory.display())),
        Err(error) => Bad(format!("{} cannot be written: {error}; set HELIOMETER_DATA_DIR", directory.display())),
    }
}

fn clock() -> Finding {
    let now = SystemClock.now();
    if now < EARLIEST_PLAUSIBLE_TIME {
        Bad(format!("{now} is in the past; set the clock (NTP), event times and URL expiry depend on it"))
    } else {
        Good(format!("{now}"))
    }
}

fn certificate(settings: &Settings) -> Finding {
    match &settings.ingress.tls {
        TlsMode::Off => Note("ingress.tls = \"off\": a proxy or tunnel must end TLS in front of it".to_owned()),
        TlsMode::SelfSigned => {
            Note("self-signed: fine behind a tunnel; Helicone itself needs a real one (ingress.tls = { cert_file, key_file })".to_owned())
        }
        TlsMode::Files { cert_file, key_file } => {
            for file in [cert_file, key_file] {
                if let Err(error) = std::fs::File::open(file) {
                    return Bad(format!("{} cannot be read: {error}", file.display()));
                }
            }
            Good(format!("{} and {}", cert_file.display(), key_file.display()))
        }
    }
}

fn listener(settings: &Settings) -> Finding {
    let address = settings.ingress.listen;
    match TcpListener::bind(address) {
        Ok(_) => Good(format!("{address} is free for webhooks")),
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
            Note(format!("{address} is taken, by a running serve or another program"))
        }
        Err(error) => Bad(format!("{address} cannot be listened on: {error}; set ingress.listen")),
    }
}

/// The embedded log is looked at by `serve` alone, which locks it; brokers are asked for the topic, which is made if missing.
async fn event_log(settings: &Settings) -> Finding {
    if settings.event_log.brokers.is_empty() {
        return Good(format!("embedded in {}", settings.data_dir.join("event_log").display()));
    }
    let brokers = settings.event_log.brokers.join(", ");
    let log = match KafkaLog::connect(&settings.event_log, &Registry::new()) {
        Ok(log) => log,
        Err(error) => return Bad(error.to_string()),
    };
    match tokio::time::timeout(KAFKA_TIMEOUT, log.watermarks(Topic::Webhooks)).await {
        Ok(Ok(partitions)) => Good(format!("Kafka at {brokers}, {} partitions of webhooks", partitions.len())),
        Ok(Err(error)) => Bad(format!("Kafka at {brokers}: {error}")),
        Err(_) => Bad(format!("Kafka at {brokers} does not answer within {} s", KAFKA_TIMEOUT.as_secs())),
    }
}

async fn clickhouse(settings: &Settings) -> Vec<Finding> {
    let Some(reader) = Reader::beside(settings) else {
        return vec![match engine::find_library(&settings.clickhouse.engine_library) {
            Ok(path) => Good(format!("embedded engine found at {}, not running", path.display())),
            Err(error) => Bad(error.to_string()),
        }];
    };
    let client = clickhouse::Client::default()
        .with_url(&reader.url)
        .with_user(&reader.user)
        .with_password(reader.password.expose());
    let before = SystemClock.now();
    let query = client.query("SELECT version(), toUnixTimestamp64Milli(now64(3))");
    match tokio::time::timeout(CLICKHOUSE_TIMEOUT, query.fetch_one::<(String, i64)>()).await {
        Err(_) => vec![Bad(format!("{} does not answer within {} s", reader.url, CLICKHOUSE_TIMEOUT.as_secs()))],
        Ok(Err(error)) => vec![Bad(format!("{} as user {}: {error}", reader.url, reader.user))],
        Ok(Ok((version, time))) => {
            let (server, here) = (UtcMillis(time), SystemClock.now());
            let difference = server.since(here).max(before.since(server));
            let mut findings = vec![Good(format!("{} answers, version {version}", reader.url))];
            if difference > MAX_CLOCK_DIFFERENCE {
                findings.push(Bad(format!("its clock differs by {} s; set both by NTP", difference.as_secs())));
            }
            findings
        }
    }
}

/// Whether every message that was received has become something.
async fn ledger(settings: &Settings) -> Vec<Finding> {
    let Some(reader) = Reader::beside(settings) else {
        return vec![Note("the embedded engine is not running: start serve and ask again".to_owned())];
    };
    match audit_ledger(&reader.client(), LEDGER_TIMEOUT).await {
        Ok(audit) => judge_ledger(&audit),
        Err(error) => vec![Note(format!("it is not known whether a message is missing: {error}"))],
    }
}

fn judge_ledger(audit: &LedgerAudit) -> Vec<Finding> {
    let mut findings = Vec::new();
    let missing: u64 = audit.partitions.iter().flat_map(|partition| &partition.missing).map(|gap| gap.messages()).sum();
    let with_outcome: Vec<String> =
        audit.decided.iter().map(|(outcome, messages)| format!("{messages} {outcome}")).collect();
    let sums = with_outcome.join(" + ");
    let sums = if sums.is_empty() { String::new() } else { format!("{sums} + ") };
    let equation = format!("received {} = {sums}{} in flight", audit.received, audit.in_flight);
    for partition in &audit.partitions {
        if let Some(LogReset { end_offset, verified_offset }) = partition.reset {
            findings.push(Bad(format!(
                "partition {}: the event log ends at offset {end_offset}, and outcomes are verified up to {verified_offset}: \
                 it was deleted or replaced while ClickHouse stayed. Totals are right; what becomes of new messages cannot be \
                 proved. Begin a new ledger, see \"The event log was replaced\" in docs/operations.md",
                partition.partition
            )));
        }
    }
    if missing > 0 {
        let gaps: Vec<String> = audit
            .partitions
            .iter()
            .filter(|partition| !partition.missing.is_empty())
            .map(|partition| format!("partition {}: {}", partition.partition, OffsetRange::list(&partition.missing)))
            .collect();
        findings.push(Bad(format!(
            "{missing} messages are missing: {equation} + {missing} without outcome, though the log was committed past them\n\
             offsets: {}\n\
             Look for these partitions in the log (\"cannot be read\", \"could not be written\"). Messages stay in the event \
             log for event_log.retention_hours: docs/operations.md, \"Messages are missing\", says how to read them again",
            gaps.join("; ")
        )));
    }
    let unverified: u64 = audit.partitions.iter().map(|partition| partition.unverified).sum();
    if unverified > 0 {
        findings.push(Note(format!(
            "{unverified} committed messages are not looked at yet, which a process with the role alerter does"
        )));
    }
    if audit.redecided > 0 {
        findings.push(Note(format!(
            "{} messages had two different outcomes, of which one counts: they were read twice, by versions or settings that \
             differ",
            audit.redecided
        )));
    }
    if findings.is_empty() {
        findings.push(Good(equation));
    }
    findings
}

fn prices(settings: &Settings) -> Finding {
    match PriceBook::load(&settings.pricing) {
        Ok(book) => Good(format!("book {}, {} entries", book.revision(), book.entries().count())),
        Err(error) => Bad(error.to_string()),
    }
}

fn alerts(settings: &Settings) -> Finding {
    match (crate::alert::check_rules(&settings.alerts.rules), settings.alerts.rules.len()) {
        (Err(error), _) => Bad(error.to_string()),
        (Ok(()), 0) => {
            Note("no rules: add [[alerts.rules]] to heliometer.toml, the README has some to copy".to_owned())
        }
        (Ok(()), 1) => Good("1 rule".to_owned()),
        (Ok(()), count) => Good(format!("{count} rules")),
    }
}

async fn contents(settings: &Settings) -> Finding {
    let kept = match settings.contents.store {
        ContentsStore::Off => "are not stored".to_owned(),
        ContentsStore::Truncated => format!("are stored up to {} bytes each", settings.contents.truncate_bytes),
        ContentsStore::Full => format!("are stored up to {} bytes each", settings.contents.max_body_bytes),
    };
    let text = format!("bodies {kept}; policies: {}", settings.contents.policies.len());
    let gives_scores = settings.contents.policies.iter().any(|policy| policy.action == PolicyAction::Score);
    if gives_scores && crate::contents::scores::sources_with_keys(&settings.sources).next().is_none() {
        return Bad(format!("{text}; they give scores, and no source has an API key: set HELICONE_API_KEY"));
    }
    if settings.contents.store == ContentsStore::Off || settings.clickhouse.reader_user.is_empty() {
        return Good(text);
    }
    let Some(reader) = Reader::beside(settings) else { return Good(text) };
    match reader.may_read_contents(CLICKHOUSE_TIMEOUT).await {
        Ok(false) => Good(format!("{text}; {} may not read bodies", reader.user)),
        Ok(true) => Bad(format!(
            "{text}; {user} may read bodies: REVOKE SELECT ON {database}.content_rows FROM {user}, and on {database}.contents",
            user = reader.user,
            database = reader.database
        )),
        Err(error) => Note(format!("{text}; it is not known who may read bodies: {error}")),
    }
}

/// Asks for a request that nobody made: whoever takes the key says that there is none.
async fn helicone_api(settings: &Settings) -> Vec<Finding> {
    let checks = settings.sources.iter().filter_map(|source| {
        let key = source.helicone_api_key.as_ref()?;
        let url = source.helicone_api_url.as_deref().unwrap_or(helicone_api::DEFAULT_URL);
        Some(async move {
            let asked = match HeliconeApi::new(url, key, HELICONE_API_TIMEOUT) {
                Ok(api) => api.get_request(&uuid::Uuid::nil().to_string()).await,
                Err(error) => Err(error),
            };
            match asked {
                Ok(_) => Good(format!("source `{}`: the key is taken", source.name)),
                Err(error) => Bad(format!("source `{}`: {error}", source.name)),
            }
        })
    });
    futures_util::future::join_all(checks).await
}

/// One line for each receiver, which is told nothing, and one for rules that go nowhere.
async fn receivers(settings: &Settings) -> Vec<Finding> {
    let receivers = match notify::receivers(&settings.notifiers) {
        Ok(receivers) => receivers,
        Err(error) => return vec![Bad(error.to_string())],
    };
    let checks = receivers.iter().map(async |receiver| {
        let name = format!("{} ({})", receiver.name(), receiver.kind());
        match receiver.check().await {
            Ok(found) => Good(format!("{name}: {found}")),
            Err(error) => Bad(format!("{name}: {error}")),
        }
    });
    let mut findings = futures_util::future::join_all(checks).await;
    let routing = Routing::new(&settings.notifiers);
    let goes_nowhere = |rule: &&crate::alert::Rule| {
        routing.receivers(&rule.name, rule.severity, &rule.labels, rule.notifiers.as_deref()).is_empty()
    };
    let silent: Vec<&str> = settings.alerts.rules.iter().filter(goes_nowhere).map(|rule| rule.name.as_str()).collect();
    if receivers.is_empty() {
        findings.push(Note(
            "none: alerts are recorded in the view alerts, and sent nowhere; set SLACK_WEBHOOK_URL or [[notifiers.receivers]]"
                .to_owned(),
        ));
    } else if !silent.is_empty() {
        findings.push(Note(format!(
            "no route sends the alerts of {} anywhere; they are recorded in the view alerts",
            silent.join(", ")
        )));
    }
    findings
}
