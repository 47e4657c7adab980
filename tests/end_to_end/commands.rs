//! The other commands, beside a running server and without one.

use std::process::Output;

use crate::harness::{Options, PATIENCE, SECRET, Server, wait_until};

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

    let arguments = ["send-test", "--url", &url, "--counted", "--user", "you"];
    let mut command = server.command();
    command.env_remove("HELICONE_WEBHOOK_SECRET").args(arguments);
    let output = command.output().expect("send-test");
    assert!(text(&output.stderr).contains("HELICONE_WEBHOOK_SECRET is not set"), "{}", text(&output.stderr));
    // As `make run` makes it.
    std::fs::write(server.data_dir().join("webhook-secret"), SECRET).expect("written");
    let output = command.output().expect("send-test");
    let said = text(&output.stdout);
    assert!(output.status.success() && said.contains("it counts"), "{said}{}", text(&output.stderr));
    let is_yours =
        "(SELECT sum(requests) FROM user_day WHERE user_id = 'you' AND cost_usd = toDecimal64('0.0002025', 12))";
    wait_until("your call in the totals", || (server.count(is_yours) == 1).then_some(()));

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
        "2",
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

#[test]
fn the_command_line_explains_itself_to_shells_and_to_man() {
    let server = Server::not_started(Options::default());
    let run = |arguments: &[&str]| {
        // It does not matter what the settings say.
        let output = server.command().env("HELIOMETER_CONFIG", "/no/such/file").args(arguments).output().expect("runs");
        assert_eq!(code(&output), 0, "{arguments:?}: {}", text(&output.stderr));
        text(&output.stdout)
    };
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = run(&["completions", shell]);
        for word in ["send-test", "dead-letters", "counted"] {
            assert!(script.contains(word), "{shell}: {word}");
        }
    }
    let script = server.data_dir().join("completions.bash");
    std::fs::create_dir_all(server.data_dir()).expect("a directory");
    std::fs::write(&script, run(&["completions", "bash"])).expect("written");
    // What bash offers after `heliometer notif`.
    let asked = "source \"$1\"; COMP_WORDS=(heliometer notif); COMP_CWORD=1; _heliometer heliometer notif; echo \"${COMPREPLY[*]}\"";
    let output = std::process::Command::new("bash").args(["-c", asked, "bash"]).arg(&script).output().expect("bash");
    assert_eq!(text(&output.stdout).trim(), "notifications", "{}", text(&output.stderr));
    assert!(run(&["man"]).contains(".TH heliometer 1"));
    let pages = server.data_dir().join("man");
    assert!(run(&["man", "--output", &pages.display().to_string()]).contains(" pages in "));
    let page = std::fs::read_to_string(pages.join("heliometer-send-test.1")).expect("a page");
    assert!(page.contains("one signed event"), "{page}");
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_asks_the_api_of_helicone_whether_it_takes_the_key() {
    use axum::http::{HeaderMap, StatusCode};

    let answer = |headers: HeaderMap| async move {
        let is_right = headers.get("authorization").is_some_and(|given| given == "Bearer sk-right");
        // As Helicone does for a request that it does not know.
        if is_right { StatusCode::NOT_FOUND } else { StatusCode::UNAUTHORIZED }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let api = format!("http://{}", listener.local_addr().expect("address"));
    tokio::spawn(async move { axum::serve(listener, axum::Router::new().fallback(answer)).await });
    let checked = async |key: &str| {
        let source = format!(
            "[{{name = \"default\", secrets = [\"env:HELICONE_WEBHOOK_SECRET\"], helicone_api_url = \"{api}\", helicone_api_key = \"{key}\"}}]"
        );
        let doctor = move || {
            let server = Server::not_started(Options::default().with("HELIOMETER__SOURCES", source));
            text(&server.command().arg("doctor").output().expect("doctor").stdout)
        };
        tokio::task::spawn_blocking(doctor).await.expect("runs")
    };
    let said = checked("sk-right").await;
    assert!(said.contains("ok    Helicone API source `default`: the key is taken"), "{said}");
    let said = checked("sk-wrong").await;
    assert!(said.contains("BAD   Helicone API source `default`: Helicone's API answered 401"), "{said}");
    assert!(!said.contains("sk-wrong"), "{said}");
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
