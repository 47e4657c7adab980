//! Email by SMTP: plain text and HTML, each alert a thread.

use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use lettre::{
    Address, AsyncSmtpTransport, AsyncTransport, Message as Email, Tokio1Executor,
    message::{
        Mailbox, MultiPart,
        header::{Header, HeaderName, HeaderValue},
    },
    transport::smtp::{
        authentication::Credentials,
        client::{Certificate, Tls, TlsParameters},
    },
};
use maud::html;

use super::{
    Digest, DigestEntry, Event, Message, Notification, Notifier, NotifyError, Outgoing, Report, Traits, digest,
    http::transient,
    report::{self, Words},
    wording::{self, completeness, cut, headline, title},
};
use crate::settings::{EmailReceiver, SmtpTls};

const MAX_SUBJECT: usize = 200;
const MAX_RECIPIENTS: usize = 50;
/// Of what a server says when it refuses, this much is shown.
const MAX_REASON_CHARS: usize = 200;

/// Sends through one SMTP server.
pub(super) struct EmailSender {
    name: String,
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
    to: Vec<Mailbox>,
    host: String,
    timeout: Duration,
}

impl EmailSender {
    pub(super) fn new(settings: &EmailReceiver, timeout: Duration) -> Result<Self, NotifyError> {
        let setup = |message: String| NotifyError::Setup(message);
        let mailbox = |key: &str, text: &String| {
            let example = "an address such as alerts@example.org or Name <alerts@example.org>";
            text.parse::<Mailbox>().map_err(|error| setup(format!("{key} `{text}` is not {example}: {error}")))
        };
        if settings.to.is_empty() || settings.to.len() > MAX_RECIPIENTS {
            return Err(setup(format!("to needs 1 to {MAX_RECIPIENTS} addresses")));
        }
        if settings.username.is_some() != settings.password.is_some() {
            return Err(setup("username and password go together".to_owned()));
        }
        if settings.smtp_tls == SmtpTls::Off && settings.password.is_some() {
            return Err(setup("smtp_tls = \"off\" would send the password in the clear".to_owned()));
        }
        crate::tls::install_crypto_provider();
        let host = settings.smtp_host.trim();
        let (tls, port) = match settings.smtp_tls {
            SmtpTls::Starttls => (Tls::Required(parameters(settings)?), 587),
            SmtpTls::Implicit => (Tls::Wrapper(parameters(settings)?), 465),
            SmtpTls::Off => (Tls::None, 25),
        };
        let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(host)
            .port(settings.smtp_port.unwrap_or(port))
            .tls(tls)
            .timeout(Some(timeout));
        if let (Some(user), Some(password)) = (&settings.username, &settings.password) {
            builder = builder.credentials(Credentials::new(user.clone(), password.expose().to_owned()));
        }
        Ok(Self {
            name: settings.name.clone(),
            transport: builder.build(),
            from: mailbox("from", &settings.from)?,
            to: settings.to.iter().map(|text| mailbox("to", text)).collect::<Result<_, _>>()?,
            host: host.to_owned(),
            timeout,
        })
    }

    fn email(&self, outgoing: Outgoing<'_>) -> Result<(String, Email), NotifyError> {
        let (id, subject, text, html) = match outgoing.message {
            Message::Alert(alert) => (&alert.id, subject(alert), alert_text(alert), alert_html(alert)),
            Message::Digest(digest) => (&digest.id, digest.title(), digest_text(digest), digest_html(digest)),
            Message::Report(report) => {
                (&report.id, Words::of(report).title, report_text(report), page(&report::fragment(report)))
            }
        };
        let id = format!("<{id}@{}>", Address::domain(&self.from.email));
        let mut builder = Email::builder()
            .from(self.from.clone())
            .subject(cut(&subject, MAX_SUBJECT))
            .message_id(Some(id.clone()))
            .date(SystemTime::UNIX_EPOCH + Duration::from_millis(u64::try_from(outgoing.now.0).unwrap_or(0)))
            .header(AutoSubmitted);
        for mailbox in &self.to {
            builder = builder.to(mailbox.clone());
        }
        if let Some(thread) = outgoing.thread {
            builder = builder.in_reply_to(thread.to_owned()).references(thread.to_owned());
        }
        let email = builder
            .multipart(MultiPart::alternative_plain_html(text, html))
            .map_err(|error| NotifyError::Final(format!("the email cannot be written: {error}")))?;
        Ok((id, email))
    }
}

fn parameters(settings: &EmailReceiver) -> Result<TlsParameters, NotifyError> {
    let setup = |message: String| NotifyError::Setup(message);
    let mut builder = TlsParameters::builder(settings.smtp_host.trim().to_owned());
    if let Some(path) = &settings.smtp_ca_file {
        let pem = std::fs::read(path)
            .map_err(|error| setup(format!("smtp_ca_file {} cannot be read: {error}", path.display())))?;
        let certificate = Certificate::from_pem(&pem)
            .map_err(|error| setup(format!("smtp_ca_file {} is not a certificate in PEM: {error}", path.display())))?;
        builder = builder.add_root_certificate(certificate);
    }
    builder.build().map_err(|error| setup(format!("TLS to {} cannot be set up: {error}", settings.smtp_host)))
}

/// Tells mail programs that answer by themselves (RFC 3834) not to.
#[derive(Clone)]
struct AutoSubmitted;

impl Header for AutoSubmitted {
    fn name() -> HeaderName {
        HeaderName::new_from_ascii_str("Auto-Submitted")
    }

    fn parse(_: &str) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        Ok(Self)
    }

    fn display(&self) -> HeaderValue {
        HeaderValue::new(Self::name(), "auto-generated".to_owned())
    }
}

/// `[critical] slow: gpt-4o p95 latency is 7,210 ms (limit 5,000 ms)`: what decides whether it is opened comes first.
fn subject(alert: &Notification) -> String {
    let state = match alert.event {
        Event::Resolved => "resolved",
        Event::Firing | Event::StillFiring => alert.severity.word(),
    };
    format!("[{state}] {}", headline(alert))
}

fn alert_text(alert: &Notification) -> String {
    let mut lines = vec![title(alert), String::new()];
    lines.extend(wording::facts(alert).iter().map(|(name, value)| format!("{name}: {value}")));
    let notes = wording::notes(alert);
    if !notes.is_empty() {
        lines.push(String::new());
        lines.extend(notes);
    }
    let contributors = wording::contributors(&alert.contributors);
    if !contributors.is_empty() {
        lines.extend([String::new(), "Top contributors:".to_owned()]);
        lines.extend(contributors.iter().map(|line| format!("- {line}")));
    }
    lines.extend([String::new(), completeness(alert)]);
    if !alert.dashboard_url.is_empty() {
        lines.extend([String::new(), alert.dashboard_url.clone()]);
    }
    lines.join("\r\n") + "\r\n"
}

fn alert_html(alert: &Notification) -> String {
    let contributors = wording::contributors(&alert.contributors);
    page(&html! {
        h2 { (title(alert)) }
        table cellpadding="4" {
            @for (name, value) in wording::facts(alert) {
                tr { td style="color:#616061" { (name) } td { (value) } }
            }
        }
        @for note in wording::notes(alert) { p { (note) } }
        @if !contributors.is_empty() {
            p { b { "Top contributors" } }
            ul { @for line in &contributors { li { (line) } } }
        }
        @if !alert.dashboard_url.is_empty() {
            p { a href=(alert.dashboard_url) { "Open the dashboard" } }
        }
        p style="color:#616061;font-size:12px" { (completeness(alert)) }
    })
}

fn digest_text(digest: &Digest) -> String {
    let mut lines = vec![digest.title(), String::new(), digest.intro()];
    for (name, entries) in [("Still firing", &digest.firing), ("Over", &digest.ended)] {
        if !entries.is_empty() {
            lines.extend([String::new(), format!("{name} ({}):", entries.len())]);
            lines.extend(entries.iter().take(digest::MAX_SHOWN).map(DigestEntry::line));
            lines.extend(digest::and_more(entries));
        }
    }
    lines.extend([String::new(), digest::WHERE_TO_LOOK.to_owned()]);
    if !digest.dashboard_url.is_empty() {
        lines.push(digest.dashboard_url.clone());
    }
    lines.join("\r\n") + "\r\n"
}

fn digest_html(digest: &Digest) -> String {
    page(&html! {
        h2 { (digest.title()) }
        p { (digest.intro()) }
        @for (name, entries) in [("Still firing", &digest.firing), ("Over", &digest.ended)] {
            @if !entries.is_empty() {
                h3 { (name) " (" (entries.len()) ")" }
                ul {
                    @for entry in entries.iter().take(digest::MAX_SHOWN) { li { (entry.line()) } }
                    @if let Some(more) = digest::and_more(entries) { li { (more) } }
                }
            }
        }
        @if !digest.dashboard_url.is_empty() {
            p { a href=(digest.dashboard_url) { "Open the dashboard" } }
        }
        p style="color:#616061;font-size:12px" { (digest::WHERE_TO_LOOK) }
    })
}

fn report_text(report: &Report) -> String {
    let Words { title, facts, lists, completeness } = Words::of(report);
    let mut lines = vec![title, String::new()];
    lines.extend(facts.iter().map(|(name, value)| format!("{name}: {value}")));
    for (heading, entries) in &lists {
        lines.extend([String::new(), format!("{heading}:")]);
        lines.extend(entries.iter().map(|entry| format!("- {}: {}", entry.name, entry.text)));
    }
    lines.extend([String::new(), completeness]);
    if !report.dashboard_url.is_empty() {
        lines.push(report.dashboard_url.clone());
    }
    lines.join("\r\n") + "\r\n"
}

fn page(content: &maud::Markup) -> String {
    html! { div style="font-family:sans-serif;font-size:14px" { (content) } }.into_string()
}

/// 5xx is for good; everything else may pass.
fn explain(host: &str, error: &lettre::transport::smtp::Error) -> NotifyError {
    let mut message = format!("{host}: {error}");
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !message.contains(&inner_text) {
            message = format!("{message}: {inner_text}");
        }
        cause = inner.source();
    }
    let message: String = message.chars().filter(|character| !character.is_control()).take(MAX_REASON_CHARS).collect();
    if error.is_permanent() { NotifyError::Final(message) } else { transient(message) }
}

#[async_trait]
impl Notifier for EmailSender {
    fn name(&self) -> &str {
        &self.name
    }

    fn kind(&self) -> &'static str {
        "email"
    }

    fn traits(&self) -> Traits {
        Traits { digests: true, threads: true, ..Traits::default() }
    }

    async fn send(&self, outgoing: Outgoing<'_>) -> Result<Option<String>, NotifyError> {
        let (id, email) = self.email(outgoing)?;
        // The transport's limit is for each step.
        match tokio::time::timeout(self.timeout, self.transport.send(email)).await {
            Ok(Ok(_)) => Ok(Some(outgoing.thread.map_or(id, str::to_owned))),
            Ok(Err(error)) => Err(explain(&self.host, &error)),
            Err(_) => Err(transient(format!("{} did not answer in time", self.host))),
        }
    }

    async fn check(&self) -> Result<String, NotifyError> {
        match tokio::time::timeout(self.timeout, self.transport.test_connection()).await {
            Ok(Ok(true)) => Ok(format!("{} takes mail from {}", self.host, self.from)),
            Ok(Ok(false)) => Err(transient(format!("{} closed the connection", self.host))),
            Ok(Err(error)) => Err(explain(&self.host, &error)),
            Err(_) => Err(transient(format!("{} did not answer in time", self.host))),
        }
    }
}
