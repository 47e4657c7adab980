//! `heliometer send-test`

use std::{
    io::Write,
    time::{Duration, Instant},
};

use clickhouse::{Client, Row};
use serde::Deserialize;
use serde_json::json;
use url::Url;

use super::CommandError;
use crate::{
    domain::{Clock, Secret, SystemClock, UtcMillis},
    settings::Settings,
    simulator::Signer,
    store::Reader,
};

const ARRIVAL_TIMEOUT: Duration = Duration::from_secs(30);
/// In the data directory; `scripts/run` writes it.
const TRIAL_SECRET: &str = "webhook-secret";
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// Send one signed event and follow it to ClickHouse.
///
/// It is like that of Helicone's test button: marked as a test, and out of spend and alerts; with --counted it is a call that
/// counts. Says how long each step took. The certificate of a receiver on this machine is not checked; elsewhere it must be
/// valid. Without a secret in the environment it takes the one that `make run` made for trying things out.
#[derive(Debug, clap::Args)]
pub(super) struct SendTestArgs {
    /// The receiver.
    #[arg(long, value_name = "URL", default_value = "https://localhost:8443/webhook")]
    url: Url,
    /// The environment variable with the signing secret; of several with commas between, the first signs.
    #[arg(long, value_name = "NAME", default_value = "HELICONE_WEBHOOK_SECRET")]
    secret_env: String,
    /// Not a test, but a call that is in every total, chart and alert: of gpt-4o, for $0.0002025.
    #[arg(long)]
    counted: bool,
    /// Who makes the call.
    #[arg(long, value_name = "NAME", default_value = "heliometer-send-test")]
    user: String,
}

#[derive(Debug, Deserialize, Row)]
struct Arrived {
    received_at: i64,
    stored_at: i64,
    model: String,
    log_partition: u16,
    log_offset: u64,
}

pub(super) async fn run(arguments: SendTestArgs, settings: &Settings) -> Result<(), CommandError> {
    let secret = secret(&arguments, settings)?;
    let request_id = uuid::Builder::from_random_bytes(rand::random()).into_uuid().to_string();
    let body = payload(&request_id, &arguments, SystemClock.now()).to_string();
    let signature =
        Signer::new(secret.expose()).map_err(|error| CommandError::Test(error.to_string()))?.sign(body.as_bytes());

    let mut out = std::io::stdout().lock();
    let started = Instant::now();
    let status = send(&arguments.url, body, &signature).await?;
    writeln!(out, "answered    {status} after {} ms", started.elapsed().as_millis())?;
    match status.as_u16() {
        200 => {}
        401 => return Err(CommandError::Test("the receiver has another secret: compare both".to_owned())),
        404 => {
            return Err(CommandError::Test(
                "no such source there: the path is /webhook or /webhook/{source}".to_owned(),
            ));
        }
        _ => return Err(CommandError::Test(format!("a receiver that works answers 200, this one {status}"))),
    }
    let Some(reader) = Reader::beside(settings) else {
        writeln!(
            out,
            "stored      unknown: no ClickHouse to look into from here (see clickhouse.url, HELIOMETER_DATA_DIR)"
        )?;
        return Ok(());
    };
    let arrived = follow(&reader, &request_id).await?;
    let Arrived { received_at, stored_at, model, log_partition, log_offset } = arrived;
    writeln!(out, "received    webhooks/{log_partition}/{log_offset}")?;
    let stored_after = UtcMillis(stored_at).since(UtcMillis(received_at));
    let what = if arguments.counted { "call" } else { "test" };
    writeln!(out, "stored      {} ms after it was received, as a {what} of {model}", stored_after.as_millis())?;
    if arguments.counted {
        writeln!(out, "\nIt works, and it counts: see http://{} and", settings.admin.listen)?;
        writeln!(out, "heliometer sql \"SELECT * FROM user_day WHERE user_id = '{}'\"", arguments.user)?;
        return Ok(());
    }
    writeln!(
        out,
        "\nIt works. See it: heliometer sql \"SELECT * FROM requests WHERE request_id = '{request_id}' FORMAT Vertical\""
    )?;
    Ok(())
}

/// The secret of the environment, else that which `make run` made.
fn secret(arguments: &SendTestArgs, settings: &Settings) -> Result<Secret, CommandError> {
    let wrong = |error: String| CommandError::Test(error);
    let told = std::env::var(&arguments.secret_env).unwrap_or_default();
    let told = told.split(',').map(str::trim).find(|secret| !secret.is_empty());
    if let Some(secret) = told {
        return Secret::resolve(secret).map_err(|error| wrong(error.to_string()));
    }
    let file = settings.data_dir.0.join(TRIAL_SECRET);
    if !file.exists() {
        return Err(wrong(format!(
            "{} is not set; export the secret that the receiver knows, or name another variable with --secret-env",
            arguments.secret_env
        )));
    }
    Secret::resolve(&format!("file:{}", file.display())).map_err(|error| wrong(error.to_string()))
}

/// What Helicone's test button sends, in short; or, if it is to count, what a call without a stored body is.
fn payload(request_id: &str, arguments: &SendTestArgs, now: UtcMillis) -> serde_json::Value {
    let mut payload = json!({
        "request_id": request_id,
        "request_body": { "model": "gpt-4o", "messages": [{ "role": "user", "content": "heliometer send-test" }] },
        "response_body": {
            "object": "chat.completion",
            "created": now.0 / 1000,
            "model": "gpt-4o-2024-08-06",
            "choices": [{ "index": 0, "message": { "role": "assistant", "content": "It works." }, "finish_reason": "stop" }],
            "usage": { "prompt_tokens": 13, "completion_tokens": 17, "total_tokens": 30 },
        },
        "user_id": arguments.user,
        "request_response_url": "https://storage.invalid/heliometer-send-test?X-Amz-Credential=MOCKAWSCREDENTIAL",
        "model": "gpt-4o-2024-08-06",
        "provider": "OPENAI",
        "metadata": { "cost": 0.000_202_5, "promptTokens": 13, "completionTokens": 17, "totalTokens": 30, "latencyMs": 930 },
    });
    if let (true, Some(payload)) = (arguments.counted, payload.as_object_mut()) {
        // It is what makes it a test.
        payload.remove("request_response_url");
    }
    payload
}

async fn send(url: &Url, body: String, signature: &str) -> Result<reqwest::StatusCode, CommandError> {
    let failed = |error: reqwest::Error| {
        CommandError::Test(format!("{url} cannot be reached: {}", describe(&error.without_url())))
    };
    let is_local = matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
    let client = reqwest::Client::builder()
        .timeout(ARRIVAL_TIMEOUT)
        .tls_danger_accept_invalid_certs(is_local)
        .build()
        .map_err(failed)?;
    let response = client
        .post(url.clone())
        .header("Content-Type", "application/json")
        .header("Helicone-Signature", signature)
        .body(body)
        .send()
        .await
        .map_err(failed)?;
    Ok(response.status())
}

/// An error with its causes: the last one is usually the one that helps.
fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

async fn follow(reader: &Reader, request_id: &str) -> Result<Arrived, CommandError> {
    let client = Client::default()
        .with_url(&reader.url)
        .with_user(&reader.user)
        .with_password(reader.password.expose())
        .with_database(&reader.database);
    let deadline = Instant::now() + ARRIVAL_TIMEOUT;
    loop {
        let query = client
            .query(
                "SELECT toUnixTimestamp64Milli(received_at) AS received_at, \
                 intDiv(toUnixTimestamp64Micro(inserted_at), 1000) AS stored_at, \
                 toString(model) AS model, log_partition, log_offset \
                 FROM request_rows WHERE request_id = ? LIMIT 1",
            )
            .bind(request_id);
        match query.fetch_optional::<Arrived>().await {
            Ok(Some(arrived)) => return Ok(arrived),
            Ok(None) if Instant::now() < deadline => tokio::time::sleep(POLL_INTERVAL).await,
            Ok(None) => {
                return Err(CommandError::Test(format!(
                    "acknowledged, but not in ClickHouse after {} s; look at /readyz of the admin address and at the log of serve",
                    ARRIVAL_TIMEOUT.as_secs()
                )));
            }
            Err(error) => return Err(CommandError::Unreachable(error.to_string())),
        }
    }
}
