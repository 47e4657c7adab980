//! Tokens for OAUTHBEARER, by OAuth 2.0's client credentials grant (RFC 6749, section 4.4; for Kafka, KIP-768).
//!
//! One task for each log keeps a token: it gets a new one before the old one ends, and goes on trying when that fails.
//! librdkafka's question for a token comes on a thread that also delivers acknowledgements and rebalances, so it is
//! answered from what is there; it waits only while there is no token at all, when nothing else could go on either.

use std::{ffi::CString, sync::Arc, time::Duration};

use rdkafka::{
    ClientContext,
    bindings::rd_kafka_oauthbearer_set_token,
    client::{Client, OAuthToken},
    types::RDKafkaRespErr,
};
use reqwest::{StatusCode, header};
use serde::Deserialize;
use tokio::{
    runtime::Handle,
    sync::watch,
    time::{sleep, timeout},
};
use url::{Host, Url};

use crate::{
    domain::{Clock as _, Secret, SystemClock, UtcMillis},
    event_log::EventLogError,
    settings::{EventLogSettings, SaslMechanism},
};

/// One request for a token must be answered within this.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(4);
/// A lost connection or a server that is restarting is tried again after this, once, before it is called a failure.
const RETRY_PAUSE: Duration = Duration::from_millis(250);
/// After a failure. Not less: a server that counts wrong secrets may lock the client out.
const FAILURE_PAUSE: Duration = Duration::from_secs(5);
/// Whoever needs a token waits at most this long for the first.
const PATIENCE: Duration = Duration::from_secs(10);
/// Part of a token's life after which the next is got; librdkafka asks after 80 %.
const RENEW_AFTER_PERCENT: u64 = 75;
/// The task looks at the clock this often: a machine that slept must not believe in an old token for long.
const LONGEST_SLEEP: Duration = Duration::from_secs(10);
/// Of a token whose server does not say how long it lives, which RFC 6749 allows.
const ASSUMED_LIFE_SECONDS: u64 = 300;
const LONGEST_LIFE_SECONDS: u64 = 30 * 24 * 60 * 60;
/// Tokens that name many groups take some kilobytes.
const MAX_ANSWER_BYTES: usize = 64 * 1024;
const DOING: &str = "getting a token for Kafka";

/// Settings that OAUTHBEARER needs, and whether they can be.
pub(super) fn check(settings: &EventLogSettings) -> Result<(), (&'static str, &'static str)> {
    let is_used = settings.sasl_mechanism == Some(SaslMechanism::OauthBearer);
    let set = [
        ("oauth_token_url", settings.oauth_token_url.is_some()),
        ("oauth_client_id", settings.oauth_client_id.is_some()),
        ("oauth_client_secret", settings.oauth_client_secret.is_some()),
        ("oauth_scope", settings.oauth_scope.is_some()),
        ("oauth_ca_file", settings.oauth_ca_file.is_some()),
    ];
    if !is_used {
        return match set.into_iter().find(|(_, is_set)| *is_set) {
            Some((key, _)) => {
                Err((key, "is used with sasl_mechanism = \"OAUTHBEARER\" only: set that, or remove this"))
            }
            None => Ok(()),
        };
    }
    if settings.sasl_username.is_some() || settings.sasl_password.is_some() {
        let key = if settings.sasl_username.is_some() { "sasl_username" } else { "sasl_password" };
        return Err((key, "is not used with OAUTHBEARER: set oauth_client_id and oauth_client_secret instead"));
    }
    match &settings.oauth_token_url {
        None => return Err(("oauth_token_url", "is needed: the token endpoint of your identity provider")),
        Some(url) if !is_allowed(url) => {
            let message =
                "must be https:// (http:// only for this machine itself), without user, password and fragment";
            return Err(("oauth_token_url", message));
        }
        Some(_) => {}
    }
    if settings.oauth_client_id.as_deref().is_none_or(str::is_empty) {
        return Err(("oauth_client_id", "is needed"));
    }
    if settings.oauth_client_secret.is_none() {
        return Err(("oauth_client_secret", "is needed, for example \"env:KAFKA_CLIENT_SECRET\""));
    }
    if settings.oauth_ca_file.as_ref().is_some_and(|path| !path.is_file()) {
        return Err(("oauth_ca_file", "is not there: name a readable file in PEM"));
    }
    Ok(())
}

/// The secret is in the request, so it must not cross a network in the clear.
fn is_allowed(url: &Url) -> bool {
    let is_this_machine = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    let is_plain = url.username().is_empty() && url.password().is_none() && url.fragment().is_none();
    is_plain && (url.scheme() == "https" || (url.scheme() == "http" && is_this_machine))
}

/// What brokers are shown.
#[derive(Clone, Debug)]
pub(super) struct Token {
    value: Secret,
    expires_at: UtcMillis,
    renew_at: UtcMillis,
}

impl Token {
    fn new(value: Secret, now: UtcMillis, life_seconds: u64) -> Self {
        let life_ms = life_seconds.min(LONGEST_LIFE_SECONDS) * 1000;
        let after = |ms: u64| UtcMillis(now.0.saturating_add_unsigned(ms));
        Self { value, expires_at: after(life_ms), renew_at: after(life_ms * RENEW_AFTER_PERCENT / 100) }
    }
}

/// Neither is there before the first answer.
#[derive(Default)]
struct Latest {
    token: Option<Token>,
    /// Why there is none, or no newer one.
    error: Option<EventLogError>,
}

/// The tokens of one log. When the last clone goes, so does the task that gets them.
#[derive(Clone)]
pub(super) struct Tokens {
    client_id: Arc<str>,
    latest: watch::Receiver<Latest>,
    runtime: Handle,
}

impl Tokens {
    /// Starts to get tokens, when the settings say that they are needed. Call it within a Tokio runtime, with settings
    /// that were checked.
    pub(super) fn start(settings: &EventLogSettings) -> Result<Option<Self>, EventLogError> {
        let (Some(SaslMechanism::OauthBearer), Some(url), Some(client_id), Some(client_secret)) = (
            settings.sasl_mechanism,
            &settings.oauth_token_url,
            &settings.oauth_client_id,
            &settings.oauth_client_secret,
        ) else {
            return Ok(None);
        };
        let server = TokenServer {
            http: http_client(settings)?,
            url: url.clone(),
            client_id: client_id.clone(),
            client_secret: client_secret.clone(),
            scope: settings.oauth_scope.clone(),
        };
        let (sender, latest) = watch::channel(Latest::default());
        tokio::spawn(keep(server, sender));
        Ok(Some(Self { client_id: client_id.as_str().into(), latest, runtime: Handle::current() }))
    }

    /// A token that can be used now. Waits for the first, no longer.
    pub(super) async fn get(&self) -> Result<Token, EventLogError> {
        let mut latest = self.latest.clone();
        let latest = latest.wait_for(|latest| latest.token.is_some() || latest.error.is_some());
        let latest = latest.await.map_err(|_| EventLogError::Closed)?;
        usable(&latest)
    }

    /// The same for a thread that may wait.
    fn get_blocking(&self) -> Result<Token, EventLogError> {
        if let Ok(token) = usable(&self.latest.borrow()) {
            return Ok(token);
        }
        // Not `block_on`: that panics when the runtime is being shut down.
        let (sender, receiver) = std::sync::mpsc::sync_channel(1);
        let tokens = self.clone();
        self.runtime.spawn(async move { drop(sender.send(tokens.get().await)) });
        receiver.recv_timeout(PATIENCE).unwrap_or_else(|_| Err(failed("no token came in time".to_owned())))
    }

    /// Answers librdkafka's question.
    pub(super) fn for_client(&self) -> Result<OAuthToken, Box<dyn std::error::Error>> {
        let token = self.get_blocking()?;
        Ok(OAuthToken {
            token: token.value.expose().to_owned(),
            principal_name: self.client_id.to_string(),
            lifetime_ms: token.expires_at.0,
        })
    }

    /// Gives a token to a client that is not polled and so never asks for one: rdkafka's admin client polls only the
    /// answers to its requests.
    pub(super) async fn hand_to<C: ClientContext>(&self, client: &Client<C>) -> Result<(), EventLogError> {
        let token = self.get().await?;
        let text = |value: &str| CString::new(value).map_err(|_| failed("the token holds a NUL".to_owned()));
        let (value, principal) = (text(token.value.expose())?, text(&self.client_id)?);
        let mut reason = [0; 256];
        #[expect(unsafe_code, reason = "librdkafka's function for this, which rdkafka calls for polled clients only")]
        // SAFETY: the client outlives the call, the strings are NUL-terminated and copied by librdkafka, there are no
        // extensions, and `reason` is as long as is said.
        let code = unsafe {
            rd_kafka_oauthbearer_set_token(
                client.native_ptr(),
                value.as_ptr(),
                token.expires_at.0,
                principal.as_ptr(),
                std::ptr::null_mut(),
                0,
                reason.as_mut_ptr(),
                reason.len(),
            )
        };
        // Its reason could quote the token.
        match code {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR => Ok(()),
            code => Err(failed(format!("Kafka's client does not take the token ({code:?})"))),
        }
    }
}

fn usable(latest: &Latest) -> Result<Token, EventLogError> {
    match (&latest.token, &latest.error) {
        (Some(token), _) if token.expires_at > SystemClock.now() => Ok(token.clone()),
        (_, Some(error)) => Err(error.clone()),
        _ => Err(failed("the last token has expired and the next has not come yet".to_owned())),
    }
}

fn failed(message: String) -> EventLogError {
    EventLogError::Storage { doing: DOING, message }
}

fn http_client(settings: &EventLogSettings) -> Result<reqwest::Client, EventLogError> {
    crate::tls::install_crypto_provider();
    let wrong = |key: &str, message: String| EventLogError::Settings { key: key.to_owned(), message };
    let mut builder = reqwest::Client::builder()
        .timeout(ATTEMPT_TIMEOUT)
        // A redirect must not carry the secret elsewhere.
        .redirect(reqwest::redirect::Policy::none());
    // A proxy would get the secret in the clear.
    if settings.oauth_token_url.as_ref().is_some_and(|url| url.scheme() == "http") {
        builder = builder.no_proxy();
    }
    if let Some(path) = &settings.oauth_ca_file {
        let pem = std::fs::read(path).map_err(|error| wrong("oauth_ca_file", format!("cannot be read: {error}")))?;
        let certificates = reqwest::Certificate::from_pem_bundle(&pem)
            .ok()
            .filter(|certificates| !certificates.is_empty())
            .ok_or_else(|| wrong("oauth_ca_file", "holds no certificate in PEM".to_owned()))?;
        builder = builder.tls_certs_merge(certificates);
    }
    builder.build().map_err(|error| wrong("oauth_token_url", format!("HTTP cannot be set up: {}", error.without_url())))
}

/// The task: see the module.
async fn keep(server: TokenServer, sender: watch::Sender<Latest>) {
    while !sender.is_closed() {
        let renewed = tokio::select! {
            renewed = server.get() => renewed,
            () = sender.closed() => return,
        };
        let until = match renewed {
            Ok(token) => {
                let renew_at = token.renew_at;
                sender.send_replace(Latest { token: Some(token), error: None });
                renew_at.max(after(Duration::from_secs(1)))
            }
            Err(message) => {
                tracing::warn!("no token for Kafka: {message}; trying again");
                sender.send_modify(|latest| latest.error = Some(failed(message)));
                after(FAILURE_PAUSE)
            }
        };
        loop {
            let left = u64::try_from(until.0.saturating_sub(SystemClock.now().0)).unwrap_or(0);
            if left == 0 {
                break;
            }
            tokio::select! {
                () = sleep(Duration::from_millis(left).min(LONGEST_SLEEP)) => {}
                () = sender.closed() => return,
            }
        }
    }
}

fn after(pause: Duration) -> UtcMillis {
    UtcMillis(SystemClock.now().0.saturating_add_unsigned(u64::try_from(pause.as_millis()).unwrap_or(u64::MAX)))
}

struct TokenServer {
    http: reqwest::Client,
    url: Url,
    client_id: String,
    client_secret: Secret,
    scope: Option<String>,
}

/// Whether it makes sense to ask again at once.
enum Refusal {
    Passing(String),
    Final(String),
}

impl TokenServer {
    /// Asks for a token, twice when the first question is not answered.
    async fn get(&self) -> Result<Token, String> {
        match self.ask_within_time().await {
            Err(Refusal::Passing(_)) => sleep(RETRY_PAUSE).await,
            Err(Refusal::Final(message)) => return Err(message),
            Ok(token) => return Ok(token),
        }
        self.ask_within_time().await.map_err(|(Refusal::Passing(message) | Refusal::Final(message))| message)
    }

    async fn ask_within_time(&self) -> Result<Token, Refusal> {
        timeout(ATTEMPT_TIMEOUT, self.ask()).await.unwrap_or_else(|_| Err(self.silent("it did not answer in time")))
    }

    fn silent(&self, why: &str) -> Refusal {
        let host = self.url.host_str().unwrap_or_default();
        Refusal::Passing(format!("{why}; check that event_log.oauth_token_url ({host}) can be reached from here"))
    }

    async fn ask(&self) -> Result<Token, Refusal> {
        let mut form = "grant_type=client_credentials".to_owned();
        if let Some(scope) = &self.scope {
            form.push_str("&scope=");
            form.push_str(&encoded(scope));
        }
        // A token is not older than the question for it.
        let asked_at = SystemClock.now();
        let sent = self
            .http
            .post(self.url.clone())
            .basic_auth(encoded(&self.client_id), Some(encoded(self.client_secret.expose())))
            .header(header::ACCEPT, "application/json")
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(form)
            .send()
            .await;
        let mut response = sent.map_err(|error| self.silent(&innermost(&error.without_url())))?;
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.silent(&innermost(&error.without_url())))? {
            if body.len() + chunk.len() > MAX_ANSWER_BYTES {
                return Err(Refusal::Final(format!("the token server's answer is over {MAX_ANSWER_BYTES} bytes")));
            }
            body.extend_from_slice(&chunk);
        }
        read_answer(response.status(), &body, asked_at)
    }
}

/// Form-encoding as RFC 6749, section 2.3.1, asks for. Characters that need none stay, for servers that
/// decode none.
fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push('%');
            encoded.push_str(&hex::encode_upper([byte]));
        }
    }
    encoded
}

/// reqwest's own words say less than the cause.
fn innermost(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    format!("the token server was not reached: {cause}")
}

/// RFC 6749, sections 5.1 and 5.2.
#[derive(Deserialize)]
struct Answer {
    access_token: Option<String>,
    token_type: Option<String>,
    /// Some servers send a string.
    expires_in: Option<serde_json::Value>,
    error: Option<String>,
}

/// The token, or why there is none: never more of the answer than its status and error code, since it is the answer to
/// a secret.
fn read_answer(status: StatusCode, body: &[u8], asked_at: UtcMillis) -> Result<Token, Refusal> {
    let answer: Option<Answer> = serde_json::from_slice(body).ok();
    if !status.is_success() {
        let code = answer.and_then(|answer| answer.error).filter(|code| is_code(code));
        let message = format!(
            "the token server answered {}{}{}{}",
            status.as_u16(),
            if code.is_some() { " " } else { "" },
            code.as_deref().unwrap_or_default(),
            advice(status, code.as_deref()),
        );
        let is_passing =
            status.is_server_error() || [StatusCode::TOO_MANY_REQUESTS, StatusCode::REQUEST_TIMEOUT].contains(&status);
        return Err(if is_passing { Refusal::Passing(message) } else { Refusal::Final(message) });
    }
    let wrong =
        |what: &str| Refusal::Final(format!("the token server's answer {what}; check event_log.oauth_token_url"));
    let answer = answer.ok_or_else(|| wrong("is not that of an OAuth token endpoint"))?;
    let value = answer.access_token.filter(|token| !token.is_empty()).ok_or_else(|| wrong("holds no access_token"))?;
    let value = Secret::new(value);
    if !value.expose().bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(wrong("holds an access_token with characters that no token has"));
    }
    if answer.token_type.is_some_and(|kind| !kind.eq_ignore_ascii_case("bearer")) {
        return Err(wrong("holds a token that is no bearer token"));
    }
    let life_seconds = match &answer.expires_in {
        None | Some(serde_json::Value::Null) => ASSUMED_LIFE_SECONDS,
        Some(serde_json::Value::String(text)) => text.parse().map_err(|_| wrong("holds a wrong expires_in"))?,
        Some(number) => number.as_u64().ok_or_else(|| wrong("holds a wrong expires_in"))?,
    };
    if life_seconds == 0 {
        return Err(wrong("holds a token that has expired already"));
    }
    Ok(Token::new(value, asked_at, life_seconds))
}

/// The codes of RFC 6749 and a few more; anything else might be what it was asked.
fn is_code(code: &str) -> bool {
    const CODES: [&str; 9] = [
        "access_denied",
        "invalid_client",
        "invalid_grant",
        "invalid_request",
        "invalid_scope",
        "server_error",
        "temporarily_unavailable",
        "unauthorized_client",
        "unsupported_grant_type",
    ];
    CODES.contains(&code)
}

fn advice(status: StatusCode, code: Option<&str>) -> &'static str {
    match (code, status) {
        (Some("invalid_client"), _) | (_, StatusCode::UNAUTHORIZED) => {
            "; check event_log.oauth_client_id and oauth_client_secret"
        }
        (Some("invalid_scope"), _) => "; check event_log.oauth_scope",
        (Some("unauthorized_client" | "unsupported_grant_type"), _) => {
            "; allow this client the client credentials grant"
        }
        (_, StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED) => "; check event_log.oauth_token_url",
        (_, status) if status.is_redirection() => {
            "; redirects are not followed: set event_log.oauth_token_url to its end"
        }
        (_, status) if status.is_server_error() => "; look at the token server",
        _ => "; check the oauth_… settings of event_log",
    }
}
