//! The live page in a real Chromium: `tests/browser/walk.mjs` walks, and is given a server with traffic, alerts and
//! budgets that it may have killed and started again.

use std::{
    fmt::Write as _,
    io::{BufRead, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use futures_util::{StreamExt, stream};
use serde_json::json;

use crate::harness::{Options, Server, client, send, wait_at_most};

const RULES: &str = include_str!("../../demo/heliometer.toml");

/// One alert that is held back, and one that waits for as long as the walk takes.
const MORE_RULES: &str = r#"
[[alerts.rules]]
name = "errors"
kind = "error_rate"
scope = "all"
share_percent = 0.1
window = "1h"
min_requests = 5

[[alerts.maintenance]]
match = { rule = "errors" }
from = "00:00"
to = "00:00"
comment = "load test"

[[alerts.rules]]
name = "any-call"
kind = "latency"
statistic = "each"
scope = "all"
threshold_ms = 1
for = "1d"
"#;

/// Debian's, or what `CHROMIUM` names.
fn chromium() -> PathBuf {
    let named = std::env::var_os("CHROMIUM").map(PathBuf::from);
    let known = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"].map(PathBuf::from);
    named
        .into_iter()
        .chain(known)
        .find(|path| path.exists())
        .expect("a Chromium: `make test-tools` installs Debian's; or set CHROMIUM to one")
}

fn tools() -> PathBuf {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join(".build/tools/browser");
    let needed = ["playwright-core", "axe-core"].map(|package| directory.join("node_modules").join(package));
    assert!(needed.iter().all(|package| package.exists()), "`make test-tools` installs {needed:?}");
    directory
}

/// The demo's rules, for traffic of the source `default`; for pictures with limits that suit a week of calls.
fn server(is_for_pictures: bool) -> Server {
    let mut rules = RULES.split_once("[[alerts.rules]]").expect("rules").1.to_owned();
    if is_for_pictures {
        rules = rules.replace("limit_usd = 1.0", "limit_usd = 5.0").replace("limit = 2.0", "limit = 9.0");
    }
    let options = Options { config: Some(format!("[[alerts.rules]]{rules}{MORE_RULES}")), ..Options::default() };
    Server::start(options.with_local_storage().with("HELIOMETER__ALERTS__EVALUATE_EVERY_MS", 1_000))
}

/// Calls of the last days, more of them by day than by night: the simulator's are all of now.
async fn send_history(url: &str, calls: u64) {
    const MODELS: [(&str, &str, u64, f64); 6] = [
        ("claude-sonnet-4-5-20250929", "ANTHROPIC", 5_200, 0.011),
        ("gpt-4o-2024-08-06", "OPENAI", 2_900, 0.0068),
        ("gemini-2.5-pro", "GOOGLE", 7_400, 0.0093),
        ("gpt-4.1-2025-04-14", "AZURE", 2_400, 0.0052),
        ("o4-mini-2025-04-16", "OPENAI", 9_100, 0.0045),
        ("gpt-4o-mini-2024-07-18", "OPENAI", 1_300, 0.00042),
    ];
    const SPAN_SECONDS: u64 = 6 * 86_400 + 20 * 3_600;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    let client = client();
    let bodies = (0..calls).filter_map(|number| {
        // Numbers without a pattern, the same every time.
        let mut state = number.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0x5851_F42D;
        let mut below = |bound: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % bound
        };
        let created = now - below(SPAN_SECONDS) - 60;
        let hour = created / 3_600 % 24;
        if below(10) >= [3, 2, 2, 2, 2, 3, 5, 7, 9, 10, 10, 9, 8, 9, 10, 10, 9, 8, 7, 6, 5, 5, 4, 3][usize::try_from(hour).ok()?] {
            return None;
        }
        let (model, provider, latency_ms, usd) = MODELS[usize::try_from(below(6).min(below(6))).ok()?];
        let (prompt, completion) = (200 + below(3_000), 40 + below(900));
        #[expect(clippy::cast_precision_loss, reason = "small numbers")]
        let cost = usd * (prompt + 3 * completion) as f64 / 3_000.0;
        Some(
            json!({
                "request_id": format!("history-{number}"), "user_id": format!("user-{:03}", 1 + below(14).min(below(14))),
                "model": model, "provider": provider,
                "response_body": json!({"id": "c", "object": "chat.completion", "created": created}),
                "metadata": {"cost": cost, "promptTokens": prompt, "completionTokens": completion,
                    "totalTokens": prompt + completion, "latencyMs": latency_ms / 2 + below(latency_ms)},
            })
            .to_string()
            .into_bytes(),
        )
    });
    stream::iter(bodies)
        .for_each_concurrent(16, |body| {
            let client = &client;
            async move { assert_eq!(send(client, url, body).await, 200) }
        })
        .await;
}

/// Runs the script and does what it asks for. Returns whether it came to its end, and how far.
fn walk(mut server: Server, pictures: Option<&Path>) -> (bool, String) {
    let admin = server.admin_url().trim_start_matches("http://").trim_end_matches('/').to_owned();
    server.keep_port();
    server.set("HELIOMETER__ADMIN__LISTEN", admin);
    let mut command = Command::new("node");
    command
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser/walk.mjs"))
        .env("PAGE_URL", server.admin_url())
        .env("TOOLS", tools())
        .env("CHROMIUM", chromium())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    if let Some(directory) = pictures {
        command.env("PICTURES", directory);
    }
    let mut script = command.spawn().expect("node; `make test-tools` installs it with npm");
    let mut answers = script.stdin.take().expect("stdin");
    let mut said = String::new();
    for line in BufReader::new(script.stdout.take().expect("stdout")).lines() {
        let line = line.expect("UTF-8");
        match line.as_str() {
            "kill" => drop(server.kill()),
            "start" => server.start_again(),
            _ => {
                writeln!(said, "{line}").expect("a string");
                continue;
            }
        }
        writeln!(answers, "done").expect("the script listens");
    }
    let status = script.wait().expect("wait");
    (status.success() && said.ends_with("walked\n"), said)
}

/// With `HELIOMETER_PICTURES`, a directory, pictures of the page are taken instead: `make pictures`.
#[test]
fn people_and_keyboards_and_phones_can_use_the_live_page() {
    let pictures = std::env::var_os("HELIOMETER_PICTURES").map(PathBuf::from);
    let server = server(pictures.is_some());
    // Hours of now that are like those before make the better picture.
    let (history, rate) = if pictures.is_some() { (14_000, "1") } else { (400, "15") };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(send_history(&server.webhook_url(), history));
    // As long as the walk takes, so that there is always something new.
    let stream = server.start_simulation(&[
        "--rate",
        rate,
        "--count",
        "1000000",
        "--seed",
        "9",
        "--faults",
        "duplicates=2,not-json=0.4,storage-404=3",
    ]);
    wait_at_most(Duration::from_secs(400), "alerts to fire, and errors", || {
        let told = server.count("(SELECT count() FROM alerts WHERE state = 'firing' AND notified)");
        let held_back = server.count("(SELECT count() FROM alerts WHERE suppressed_by LIKE 'maintenance%')");
        let unpriced = server.count("(SELECT sum(requests) - sum(priced_requests) FROM model_day)");
        if told > 2 && held_back > 0 && unpriced > 0 { Ok(()) } else { Err(format!("{told}, {held_back}, {unpriced}")) }
    });
    let arguments = ["silences", "add", "--rule", "ratio*", "--for", "2h", "--comment", "new prompts <of search>"];
    assert!(server.command().args(arguments).status().expect("silences").success());
    let (is_walked, said) = walk(server, pictures.as_deref());
    stream.abandon();
    assert!(is_walked, "the browser came this far:\n{said}");
}
