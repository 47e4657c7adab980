//! What a day came to: told to Slack once, and written by `heliometer report`.

use std::time::Duration;

use jiff::{Timestamp, ToSpan, tz::TimeZone};
use serde_json::{Value, json};

use crate::{
    harness::{Options, Server, client, send, wait_until},
    slack::start_slack,
};

/// A call that a provider says it answered at `created`.
fn call(id: &str, user: &str, model: &str, cost_usd: Option<f64>, latency_ms: u64, created: Timestamp) -> Vec<u8> {
    let metadata = json!({"cost": cost_usd, "promptTokens": 10, "completionTokens": 5, "totalTokens": 15, "latencyMs": latency_ms});
    let response = json!({"object": "chat.completion", "created": created.as_second(), "choices": []});
    json!({"request_id": id, "request_body": {}, "response_body": response, "user_id": user, "model": model,
        "provider": "OPENAI", "metadata": metadata})
    .to_string()
    .into_bytes()
}

/// A zone in which it is about noon, so that no day ends while the test runs.
fn zone_at_noon(now: Timestamp) -> String {
    let hour = i64::from(now.to_zoned(TimeZone::UTC).hour());
    // `Etc/GMT-2` is two hours east.
    format!("Etc/GMT{:+}", (hour - 12).clamp(-12, 12))
}

#[tokio::test(flavor = "multi_thread")]
async fn yesterday_is_told_once() {
    let (slack, url) = start_slack().await;
    let now = Timestamp::now();
    let zone = zone_at_noon(now);
    let options = Options::default().with("SLACK_WEBHOOK_URL", url);
    let mut server = tokio::task::spawn_blocking(|| Server::start(options)).await.expect("a server");
    let client = client();
    let (yesterday, before) = (now - 24.hours(), now - 48.hours());
    let mut calls = vec![
        call("a", "ann", "gpt-x", Some(3.0), 900, yesterday),
        call("b", "bob", "gpt-y", Some(1.0), 100, yesterday),
        call("c", "ann", "nobody-knows-it", None, 100, yesterday),
        call("d", "ann", "gpt-x", Some(1.5), 100, before),
        call("e", "cat", "gpt-z", Some(0.5), 100, before),
        call("f", "ann", "gpt-x", Some(50.0), 100, now),
    ];
    // Enough for percentiles.
    calls.extend((0..20).map(|index| call(&format!("slow-{index}"), "", "gpt-slow", None, 7_000, yesterday)));
    let count = i64::try_from(calls.len()).expect("few");
    for call in calls {
        assert_eq!(send(&client, &server.webhook_url(), call).await, 200);
    }
    let config = format!("[[alerts.reports]]\nevery = \"day\"\nat = \"00:00\"\ntimezone = \"{zone}\"\n");
    server = tokio::task::spawn_blocking(move || {
        wait_until("all calls in the totals", || {
            (server.count("(SELECT sum(requests) FROM user_day)") == count).then_some(())
        });
        assert!(server.stop().success());
        std::fs::write(server.data_dir().join("reports.toml"), config).expect("written");
        server.set("HELIOMETER_CONFIG", server.data_dir().join("reports.toml").display());
        server.start_again();
        // It was due at midnight. After every further start it is known.
        wait_until("a report", || {
            (server.count("(SELECT countIf(state = 'sent') FROM notifications)") == 1).then_some(())
        });
        for _ in 0..2 {
            server.kill();
            server.start_again();
            std::thread::sleep(Duration::from_secs(3));
        }
        server
    })
    .await
    .expect("a server");
    let told = slack.posted().await;
    assert_eq!(told.len(), 1, "{told:#?}");
    let day = yesterday.to_zoned(TimeZone::get(&zone).expect("a zone")).date();
    let title = format!("📊 Day {day} ({zone}): at least $4.00, +100 % against the day before");
    assert_eq!(told[0]["text"], title);
    let blocks = told[0]["blocks"].to_string();
    for words in [
        "*Spend:* at least $4.00, +100 % (before: $2.00)",
        "*Calls:* 23, +1,050 %",
        "*Alerts:* none fired",
        "*Top models*\\n• `gpt-x`: $3.00 (75 %), +$1.50\\n• `gpt-y`: $1.00 (25 %), new",
        "*Top users*\\n• `ann`: $3.00 (75 %), +$1.50\\n• `bob`: $1.00 (25 %), new",
        "• `gpt-z`: model $0.50 → $0.00, −$0.50",
        "*Without a price*\\n• `gpt-slow`: 20 of 20 calls\\n• `nobody-knows-it`: 1 of 1 call",
        "Priced: 2 of 23 calls (8.6 %); spend is at least what is shown",
    ] {
        assert!(blocks.contains(words), "{words} is not in {blocks}");
    }
    tokio::task::spawn_blocking(move || {
        assert_eq!(server.count("(SELECT count() FROM alerts)"), 0, "a report is no alert");
        written_by_the_command(&server, yesterday, &zone);
    })
    .await
    .expect("checked");
}

/// The same numbers, in every format.
fn written_by_the_command(server: &Server, yesterday: Timestamp, zone: &str) {
    let day = yesterday.to_zoned(TimeZone::get(zone).expect("a zone")).date();
    let midnight = |date: jiff::civil::Date| {
        date.to_zoned(TimeZone::get(zone).expect("a zone")).expect("a midnight").timestamp().to_string()
    };
    let (from, to) = (midnight(day), midnight(day.tomorrow().expect("a day")));
    let report = |arguments: &[&str]| {
        let output = server.command().arg("report").args(arguments).output().expect("runs");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    let written = |format: &str| {
        let (code, text, error) = report(&["--from", &from, "--to", &to, "--format", format]);
        assert_eq!(code, Some(0), "{error}");
        text
    };
    let numbers: Value = serde_json::from_str(&written("json")).expect("JSON");
    let totals = &numbers["totals"];
    assert_eq!(totals["cost_usd"], "4.000000000000");
    for (name, expected) in [("requests", 23), ("priced_requests", 2), ("active_users", 2), ("total_tokens", 345)] {
        assert_eq!(totals[name], expected, "{name} in {totals}");
    }
    let p95 = totals["latency_p95_ms"].as_f64().expect("a latency");
    assert!((p95 - 7_000.0).abs() <= 70.0, "{p95}");
    let slowest = &numbers["slowest_models"];
    assert_eq!((&slowest[0]["model"], slowest.as_array().map(Vec::len)), (&json!("gpt-slow"), Some(1)));
    let movers: Vec<&str> =
        numbers["movers"].as_array().expect("movers").iter().filter_map(|mover| mover["name"].as_str()).collect();
    assert_eq!(movers, ["gpt-x", "ann", "gpt-y", "bob", "gpt-z"]);
    for (format, words) in [
        ("md", "| Spend | at least $4.00, +100 % (before: $2.00) |"),
        ("html", "<td>at least $4.00, +100 % (before: $2.00)</td>"),
        ("slack", "*Spend:* at least $4.00, +100 % (before: $2.00)"),
    ] {
        let text = written(format);
        assert!(text.contains(words), "{format}: {text}");
    }
    let (code, _, error) = report(&["--from", &to, "--to", &from]);
    assert_eq!((code, error.trim()), (Some(2), "error: --from must be before --to"));
    let (code, _, error) = report(&["--from", "2026-11-01T12:00:30Z", "--to", &to]);
    assert_eq!(code, Some(2));
    assert!(error.contains("a whole minute"), "{error}");
}
