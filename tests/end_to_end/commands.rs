//! The other commands, beside a running server and without one.

use std::process::Output;

use crate::harness::{Options, PATIENCE, Server};

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn code(output: &Output) -> i32 {
    output.status.code().expect("an exit code")
}

#[test]
fn the_first_hour() {
    let mut server = Server::start(Options::default());

    let url = server.webhook_url();
    let output = server.command().args(["send-test", "--url", &url]).output().expect("send-test");
    let said = text(&output.stdout);
    assert!(output.status.success(), "{said}{}", text(&output.stderr));
    for step in ["answered    200 OK", "received    webhooks/", "stored      ", "It works."] {
        assert!(said.contains(step), "{step}: {said}");
    }
    assert_eq!(server.count("(SELECT count() FROM requests WHERE is_test)"), 1);
    assert_eq!(server.count("(SELECT count() FROM model_minute)"), 0, "tests are in no total");

    let output = server.command().arg("doctor").output().expect("doctor");
    assert_eq!(code(&output), 0, "{}", text(&output.stdout));
    assert!(text(&output.stdout).contains("ok    ClickHouse"), "{}", text(&output.stdout));

    let output = server.command().arg("migrate").output().expect("migrate");
    assert!(
        text(&output.stdout).contains("up to date"),
        "beside serve: {}{}",
        text(&output.stdout),
        text(&output.stderr)
    );

    let output = server.command().args(["sql", "SELECT 1 +"]).output().expect("sql");
    assert_eq!(code(&output), 1);
    assert!(text(&output.stderr).contains("Syntax error"), "{}", text(&output.stderr));
    for forbidden in [
        "INSERT INTO request_rows (request_id) VALUES ('x')",
        "SELECT * FROM file('/etc/passwd', LineAsString)",
        "DROP VIEW requests",
    ] {
        let output = server.command().args(["sql", forbidden]).output().expect("sql");
        assert!(text(&output.stderr).contains("Not enough privileges"), "{forbidden}: {}", text(&output.stderr));
    }

    assert!(server.stop().success());
    let output =
        server.command().args(["sql", "--format", "TSV", "SELECT count() FROM requests"]).output().expect("sql");
    assert_eq!(
        text(&output.stdout).trim(),
        "1",
        "sql starts the engine when serve is not there: {}",
        text(&output.stderr)
    );
    let output = server.command().arg("migrate").output().expect("migrate");
    assert!(text(&output.stdout).contains("up to date"), "{}{}", text(&output.stdout), text(&output.stderr));
}

#[test]
fn mistakes_are_explained() {
    let server = Server::start(Options::default());
    for (key, value, arguments, exit_code, said) in [
        ("HELICONE_WEBHOOK_SECRET", "", &["serve"][..], 2, "no webhook secret is set"),
        ("HELIOMETER__INGRESS__LISTENN", "x", &["serve"], 2, "did you mean `ingress.listen`?"),
        ("HELIOMETER_CONFIG", "/no/such/file", &["doctor"], 1, "does not exist"),
        ("HELIOMETER__CLICKHOUSE__ENGINE_LIBRARY", "/no/such/file", &["migrate"], 1, "make engine"),
        (
            "X",
            "x",
            &["simulate", "--url", "https://127.0.0.1:1", "--faults", "duplicate=1"],
            2,
            "did you mean `duplicates`?",
        ),
        ("X", "x", &["send-test", "--url", "https://127.0.0.1:1"], 1, "cannot be reached"),
        ("X", "x", &["no-such-command"], 2, "unrecognized subcommand"),
    ] {
        // A directory of its own, so that nothing running is found.
        let directory = tempfile::TempDir::new().expect("temporary directory");
        let output = server
            .command()
            .env("HELIOMETER_DATA_DIR", directory.path())
            .env(key, value)
            .args(arguments)
            .output()
            .expect("heliometer");
        let message = text(&output.stdout) + &text(&output.stderr);
        assert_eq!(code(&output), exit_code, "{key}={value} {arguments:?}: {message}");
        assert!(message.contains(said), "{key}={value} {arguments:?}: {message}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_admin_listener_shows_the_state() {
    let server = tokio::task::spawn_blocking(|| Server::start(Options::default())).await.expect("a server");
    let client = crate::harness::client();
    let get = async |path: &str| {
        let response = client.get(format!("{}{path}", server.admin_url())).send().await.expect("an answer");
        (response.status().as_u16(), response.headers().clone(), response.text().await.expect("text"))
    };
    let (status, _, body) = get("readyz").await;
    assert_eq!(status, 200, "{body}");
    assert!(body.contains(r#""ready":true"#) && body.contains("clickhouse") && body.contains("ingress"), "{body}");
    let names =
        ["heliometer_log_lag_records", "heliometer_event_log_", "heliometer_rollup_lag_seconds", "heliometer_alerts"];
    let deadline = std::time::Instant::now() + PATIENCE;
    loop {
        let (_, _, metrics) = get("metrics").await;
        // Some are there only once their part has worked.
        let missing: Vec<_> = names.iter().filter(|name| !metrics.contains(**name)).collect();
        if missing.is_empty() {
            break;
        }
        assert!(std::time::Instant::now() < deadline, "{missing:?} are missing:\n{metrics}");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

#[test]
fn the_help_of_a_command_says_more_than_its_line_in_the_list() {
    let help = |command: &str| {
        let mut heliometer = std::process::Command::new(env!("CARGO_BIN_EXE_heliometer"));
        let output = heliometer.args([command, "--help"]).output().expect("heliometer");
        String::from_utf8(output.stdout).expect("UTF-8")
    };
    for (command, more) in [
        ("serve", "nothing that was acknowledged is lost"),
        ("simulate", "is sent again with backoff"),
        ("sql", "DESCRIBE model_day"),
        ("dead-letters", "need a running `serve`"),
        ("prices", "where neither the gateway nor the provider does"),
        ("reprice", "Running it again changes nothing"),
    ] {
        // However its lines are broken.
        let text = help(command).split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(text.contains(more), "{command}: {text}");
    }
}
