//! From a webhook to every receiver: the real Alertmanager, a real SMTP server, and HTTP services that keep what they get.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, Method, StatusCode, Uri},
};
use serde_json::{Value, json};

use crate::harness::{Options, Server, client, send, wait_until};

/// A program that tests need beside the service, on PATH or where `scripts/fetch-test-tools` puts it.
fn tool(names: &[&str]) -> PathBuf {
    let fetched = Path::new(env!("CARGO_MANIFEST_DIR")).join(".build/tools/usr/bin");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places: Vec<PathBuf> = std::env::split_paths(&path).chain([fetched]).collect();
    let found =
        names.iter().flat_map(|name| places.iter().map(move |place| place.join(name))).find(|file| file.is_file());
    found
        .unwrap_or_else(|| panic!("{} is missing: run scripts/fetch-test-tools (`make test` does)", names.join(" or ")))
}

/// A child process that ends with the test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Debian's Alertmanager.
struct Alertmanager {
    directory: tempfile::TempDir,
    port: u16,
    process: Option<Process>,
}

impl Alertmanager {
    fn start() -> Self {
        let directory = tempfile::TempDir::new().expect("temporary directory");
        let config = "route: { receiver: nobody, group_by: [alertname], group_wait: 1s, group_interval: 1s }\n\
                      receivers: [{ name: nobody }]\n";
        std::fs::write(directory.path().join("config.yml"), config).expect("config");
        let port = std::net::TcpListener::bind("127.0.0.1:0").expect("bind").local_addr().expect("address").port();
        let mut alertmanager = Self { directory, port, process: None };
        alertmanager.start_again();
        alertmanager
    }

    /// With nothing remembered.
    fn start_again(&mut self) {
        self.process = None;
        let storage = tempfile::TempDir::new_in(self.directory.path()).expect("directory").keep();
        let log = std::fs::File::create(self.directory.path().join("log")).expect("log");
        let child = Command::new(tool(&["alertmanager", "prometheus-alertmanager"]))
            .arg(format!("--config.file={}", self.directory.path().join("config.yml").display()))
            .arg(format!("--storage.path={}", storage.display()))
            .arg(format!("--web.listen-address=127.0.0.1:{}", self.port))
            .arg("--cluster.listen-address=")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("Alertmanager starts");
        self.process = Some(Process(child));
        wait_until("Alertmanager", || std::net::TcpStream::connect(("127.0.0.1", self.port)).ok());
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    fn amtool(&self, arguments: &[&str]) -> Value {
        let url = format!("--alertmanager.url={}", self.url());
        let output = Command::new(tool(&["amtool"])).args([&url, "--output=json"]).args(arguments).output();
        let output = output.expect("amtool");
        serde_json::from_slice(&output.stdout).unwrap_or(Value::Null)
    }

    /// What `amtool alert query` shows: the model of each alert of the rule.
    fn active(&self, rule: &str) -> Vec<String> {
        let alerts = self.amtool(&["alert", "query", &format!("alertname={rule}")]);
        let mut models: Vec<String> = alerts
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default()
            .iter()
            .map(|alert| alert["labels"]["model"].as_str().unwrap_or("all").to_owned())
            .collect();
        models.sort();
        models
    }
}

/// Python's aiosmtpd, with STARTTLS and a login.
struct Smtp {
    directory: tempfile::TempDir,
    port: u16,
    _process: Process,
}

impl Smtp {
    fn start() -> Self {
        let directory = tempfile::TempDir::new().expect("temporary directory");
        let certified = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate");
        let file = |name: &str| directory.path().join(name);
        std::fs::write(file("cert.pem"), certified.cert.pem()).expect("certificate");
        std::fs::write(file("key.pem"), certified.signing_key.serialize_pem()).expect("key");
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut child = Command::new("/usr/bin/python3")
            .arg(root.join("tests/end_to_end/smtp_server.py"))
            .args([file("cert.pem"), file("key.pem"), directory.path().to_path_buf()])
            .env("PYTHONPATH", root.join(".build/tools/usr/lib/python3/dist-packages"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("Python starts");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("stdout")).read_line(&mut line).expect("a port");
        let port = line.trim().parse();
        let port = port.expect("the SMTP server did not start; is aiosmtpd there? Run scripts/fetch-test-tools");
        Self { directory, port, _process: Process(child) }
    }

    fn certificate(&self) -> PathBuf {
        self.directory.path().join("cert.pem")
    }

    /// Mails as Python's own parser reads them: headers and the two bodies.
    fn mails(&self) -> Vec<Value> {
        let read = "import email, email.policy, json, pathlib, sys\n\
            for path in sorted(pathlib.Path(sys.argv[1]).glob('*.eml')):\n  \
            m = email.message_from_bytes(path.read_bytes(), policy=email.policy.default)\n  \
            print(json.dumps({**{k.lower(): str(v) for k, v in m.items()}, \
            'text': m.get_body(('plain',)).get_content(), 'html': m.get_body(('html',)).get_content()}))";
        let output = Command::new("/usr/bin/python3").args(["-c", read]).arg(self.directory.path()).output();
        let output = output.expect("Python");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).lines().map(|line| serde_json::from_str(line).expect(line)).collect()
    }
}

/// What was posted: path, header of the signature, body.
type Posted = (String, String, String);

/// Services over HTTP that keep what they get; a script says what they answer to some of it.
#[derive(Clone, Default)]
struct Services {
    posted: Arc<Mutex<Vec<Posted>>>,
    /// Status by path; 200 unless named.
    status: Arc<Mutex<BTreeMap<String, u16>>>,
}

impl Services {
    /// On a thread with a runtime of its own. Returns itself and its base URL.
    fn start() -> (Self, String) {
        let services = Self::default();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
        listener.set_nonblocking(true).expect("not blocking");
        let url = format!("http://{}", listener.local_addr().expect("address"));
        let app = Router::new()
            .fallback(|state, method: Method, uri: Uri, headers: HeaderMap, body: Bytes| {
                std::future::ready(Self::take(state, &method, &uri, &headers, &body))
            })
            .with_state(services.clone());
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async move {
                let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
                axum::serve(listener, app).await
            })
        });
        (services, url)
    }

    fn take(
        State(services): State<Self>,
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
        body: &Bytes,
    ) -> (StatusCode, String) {
        let path = uri.path().to_owned();
        if method == Method::GET {
            return (StatusCode::OK, json!({"name": "alerts"}).to_string());
        }
        let status = services.status.lock().expect("lock").get(&path).copied().unwrap_or(200);
        if status != 200 {
            return (StatusCode::from_u16(status).expect("a status"), String::new());
        }
        let signature = headers.get("heliometer-signature").map(|value| value.to_str().expect("ASCII").to_owned());
        let mut posted = services.posted.lock().expect("lock");
        posted.push((path, signature.unwrap_or_default(), String::from_utf8(body.to_vec()).expect("UTF-8")));
        (StatusCode::OK, json!({"ok": true, "ts": format!("1.{:06}", posted.len())}).to_string())
    }

    fn answer(&self, path: &str, status: u16) {
        self.status.lock().expect("lock").insert(path.to_owned(), status);
    }

    fn to(&self, path: &str) -> Vec<Value> {
        let posted = self.posted.lock().expect("lock");
        let to = posted.iter().filter(|(at, ..)| at == path);
        to.map(|(_, _, body)| serde_json::from_str(body).expect("JSON")).collect()
    }
}

fn call(id: &str, model: &str, cost_usd: f64, latency_ms: u64) -> Vec<u8> {
    json!({
        "request_id": id, "request_body": {}, "response_body": {"choices": []}, "user_id": "ann",
        "model": model, "provider": "OPENAI",
        "metadata": {"cost": cost_usd, "promptTokens": 10, "completionTokens": 5, "totalTokens": 15, "latencyMs": latency_ms},
    })
    .to_string()
    .into_bytes()
}

fn send_all(server: &Server, bodies: &[Vec<u8>]) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let client = client();
        for body in bodies {
            assert_eq!(send(&client, &server.webhook_url(), body.clone()).await, 200);
        }
    });
}

fn settings(alertmanager: &Alertmanager, smtp: &Smtp, services: &str) -> String {
    format!(
        r#"
[[notifiers.receivers]]
name = "am"
type = "alertmanager"
urls = ["{alertmanager}"]
resend_every_seconds = 2

[[notifiers.receivers]]
name = "mail"
type = "email"
smtp_host = "localhost"
smtp_port = {port}
smtp_ca_file = "{certificate}"
username = "heliometer"
password = "env:TEST_SMTP_PASSWORD"
from = "Heliometer <alerts@example.org>"
to = ["Ops <ops@example.org>", "ann@example.org"]

[[notifiers.receivers]]
name = "bot"
type = "slack_bot"
token = "xoxb-secret"
channel = "C1"
api_url = "{services}/slack"

[[notifiers.receivers]]
name = "pager"
type = "pagerduty"
routing_key = "R0"
api_url = "{services}/pagerduty"

[[notifiers.receivers]]
name = "hook"
type = "webhook"
url = "{services}/hook"
secret = "hook-secret"

[[notifiers.receivers]]
name = "teams"
type = "teams"
webhook_url = "{services}/teams"

[[notifiers.receivers]]
name = "discord"
type = "discord"
webhook_url = "{services}/discord"

[[notifiers.routes]]
severity = "critical"
receivers = ["am", "mail", "bot", "pager", "hook", "teams", "discord"]

[[notifiers.routes]]
labels = {{ team = "fin*" }}
receivers = "am"

[[alerts.rules]]
name = "slow"
kind = "latency"
statistic = "each"
scope = "model"
threshold_ms = 1000
window = "20s"
severity = "critical"

[[alerts.rules]]
name = "month"
kind = "budget"
limit_usd = 1.0
labels = {{ team = "finance" }}

[[alerts.rules]]
name = "nobody-cares"
kind = "budget"
limit_usd = 0.5
"#,
        alertmanager = alertmanager.url(),
        port = smtp.port,
        certificate = smtp.certificate().display(),
    )
}

#[test]
fn everybody_hears_of_the_begin_and_the_end() {
    let (mut alertmanager, smtp, (services, url)) = (Alertmanager::start(), Smtp::start(), Services::start());
    let config = settings(&alertmanager, &smtp, &url);
    let server = Server::start(
        Options { config: Some(config), ..Options::default() }.with("TEST_SMTP_PASSWORD", "smtp-password"),
    );

    let doctor = server.command().arg("doctor").output().expect("doctor");
    let doctor = String::from_utf8_lossy(&doctor.stdout);
    for line in [
        "am (alertmanager): ready at 127.0.0.1",
        "mail (email): localhost takes mail from Heliometer <alerts@example.org>",
        "hook (webhook): messages go to 127.0.0.1",
        "discord (discord): Discord knows the webhook alerts",
        "no route sends the alerts of nobody-cares anywhere",
    ] {
        assert!(doctor.contains(line), "{doctor}");
    }
    assert!(smtp.mails().is_empty(), "doctor tells nobody anything");

    send_all(&server, &[call("a", "gpt-x", 1.5, 2_000), call("b", "gpt-y", 0.0, 3_000), call("c", "gpt-z", 0.0, 10)]);
    wait_until("Alertmanager to have both", || (alertmanager.active("slow") == ["gpt-x", "gpt-y"]).then_some(()));
    wait_until("the route by label", || (alertmanager.active("month") == ["all"]).then_some(()));
    assert_eq!(alertmanager.active("nobody-cares"), [""; 0]);
    let alerts = alertmanager.amtool(&["alert", "query", "alertname=month"]);
    assert_eq!(alerts[0]["labels"]["threshold_percent"], "100", "{alerts}");
    assert_eq!(alerts[0]["annotations"]["value"], "$1.50", "{alerts}");
    let groups = alertmanager_groups(&alertmanager);
    assert_eq!(groups, [("month".to_owned(), 1), ("slow".to_owned(), 2)], "grouped by the name of the rule");

    let paths = ["/slack/chat.postMessage", "/pagerduty/v2/enqueue", "/hook", "/teams", "/discord"];
    for path in paths {
        wait_until(&format!("both begins at {path}"), || (services.to(path).len() == 2).then_some(()));
    }
    wait_until("both mails", || (smtp.mails().len() == 2).then_some(()));

    // The calls leave the window: the alerts end, and everybody hears of it where they heard of the begin.
    wait_until("Alertmanager to have none", || alertmanager.active("slow").is_empty().then_some(()));
    for path in paths {
        wait_until(&format!("both ends at {path}"), || (services.to(path).len() == 4).then_some(()));
    }
    wait_until("both mails of the end", || (smtp.mails().len() == 4).then_some(()));

    let pager = services.to("/pagerduty/v2/enqueue");
    let events: Vec<(&Value, &Value)> =
        pager.iter().map(|event| (&event["event_action"], &event["dedup_key"])).collect();
    assert_eq!([events[0].0, events[1].0, events[2].0, events[3].0], ["trigger", "trigger", "resolve", "resolve"]);
    let (begun, ended) = ([events[0].1, events[1].1], [events[2].1, events[3].1]);
    assert!(begun.iter().all(|key| ended.contains(key)), "{begun:?} {ended:?}");

    let slack = services.to("/slack/chat.postMessage");
    let threads: Vec<bool> = slack.iter().map(|message| message["thread_ts"].is_string()).collect();
    assert_eq!(threads, [false, false, true, true], "{slack:?}");

    let mails = smtp.mails();
    assert_eq!(mails[0]["to"], "Ops <ops@example.org>, ann@example.org");
    assert_eq!(mails[0]["x-envelope"], "alerts@example.org ops@example.org ann@example.org");
    assert_eq!(mails[0]["auto-submitted"], "auto-generated");
    let subjects: Vec<&str> = mails.iter().map(|mail| mail["subject"].as_str().expect("a subject")).collect();
    assert!(
        subjects[0].starts_with("[critical] slow: gpt-") && subjects[0].contains("ms (limit 1,000 ms)"),
        "{subjects:?}"
    );
    assert!(subjects[2].starts_with("[resolved] slow: gpt-"), "{subjects:?}");
    assert!(mails[0]["text"].as_str().expect("text").contains("Severity: critical"), "{}", mails[0]);
    assert!(mails[0]["html"].as_str().expect("html").contains("<td>critical</td>"), "{}", mails[0]);
    let first_ids = [&mails[0]["message-id"], &mails[1]["message-id"]];
    assert!(mails[2..].iter().all(|mail| first_ids.contains(&&mail["in-reply-to"])), "{mails:?}");

    let posted = services.posted.lock().expect("lock").clone();
    for (_, signature, body) in posted.iter().filter(|(path, ..)| path == "/hook") {
        assert!(is_genuine_by_the_documentation(signature, body, "hook-secret"), "{signature}");
        assert!(!is_genuine_by_the_documentation(signature, &format!("{body} "), "hook-secret"));
        assert!(!is_genuine_by_the_documentation(signature, body, "other-secret"));
    }

    // An Alertmanager that starts with nothing hears soon of what still fires, and only of that.
    alertmanager.start_again();
    wait_until("the budget to be said again", || (alertmanager.active("month") == ["all"]).then_some(()));
    assert_eq!(alertmanager.active("slow"), [""; 0]);

    let log = server.log();
    for secret in ["xoxb-secret", "smtp-password", "hook-secret", "R0\""] {
        assert!(!log.contains(secret), "{secret} is in the log");
    }
    assert_eq!(server.count("(SELECT countIf(state != 'sent') FROM notifications)"), 0);
}

/// Names and sizes of Alertmanager's groups.
fn alertmanager_groups(alertmanager: &Alertmanager) -> Vec<(String, usize)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let groups: Value = runtime.block_on(async {
        let response = client().get(format!("{}/api/v2/alerts/groups", alertmanager.url())).send().await;
        serde_json::from_slice(&response.expect("an answer").bytes().await.expect("a body")).expect("JSON")
    });
    let of = |group: &Value| {
        let name = group["labels"]["alertname"].as_str().expect("a name").to_owned();
        (name, group["alerts"].as_array().expect("alerts").len())
    };
    let mut groups: Vec<_> = groups.as_array().expect("groups").iter().map(of).collect();
    groups.sort();
    groups
}

/// Runs the example of `docs/alerts.md`.
fn is_genuine_by_the_documentation(signature: &str, body: &str, secret: &str) -> bool {
    let documentation = include_str!("../../docs/alerts.md");
    let start = documentation.find("def is_genuine").expect("the example");
    let example = &documentation[start..start + documentation[start..].find("```").expect("its end")];
    let program = format!(
        "import hashlib, hmac, sys, time\n{example}\n\
         print(is_genuine(sys.argv[1], sys.stdin.buffer.read(), sys.argv[2], time.time()))"
    );
    let mut child = Command::new("/usr/bin/python3")
        .args(["-c", &program, signature, secret])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("Python starts");
    child.stdin.take().expect("stdin").write_all(body.as_bytes()).expect("written");
    let output = child.wait_with_output().expect("Python ends");
    match String::from_utf8_lossy(&output.stdout).trim() {
        "True" => true,
        "False" => false,
        other => panic!("the example says {other:?}"),
    }
}

fn notifications(server: &Server, arguments: &[&str]) -> String {
    let output = server.command().arg("notifications").args(arguments).output().expect("heliometer notifications");
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

#[test]
fn what_waited_comes_as_one_digest_and_what_failed_can_be_sent_again() {
    let (services, url) = Services::start();
    let config = "[notifiers]\ndigest_above_messages = 2\ndigest_after_seconds = 2\n\
        [[alerts.rules]]\nname = \"user-month\"\nkind = \"usage\"\nunit = \"requests\"\nlimit = 1\nthresholds = [100]\n\
        [[alerts.rules]]\nname = \"model-month\"\nkind = \"budget\"\nscope = \"model\"\nlimit_usd = 1\nthresholds = [100]\n";
    services.answer("/slack", 503);
    let options = Options { config: Some(config.to_owned()), ..Options::default() };
    let server = Server::start(options.with("SLACK_WEBHOOK_URL", format!("{url}/slack")));

    let calls: Vec<Vec<u8>> = ["a", "b", "c", "d"].map(|model| call(model, model, 2.0, 10)).to_vec();
    send_all(&server, &calls);
    let pending = "(SELECT countIf(state = 'pending') FROM notifications)";
    wait_until("five messages to wait", || (server.count(pending) == 5).then_some(()));
    assert!(notifications(&server, &["list", "--state", "pending"]).contains("model-month"));
    std::thread::sleep(std::time::Duration::from_secs(3));
    services.answer("/slack", 200);
    wait_until("all of them to be sent", || (server.count(pending) == 0).then_some(()));
    let texts: Vec<String> =
        services.to("/slack").iter().map(|body| body["text"].as_str().expect("text").to_owned()).collect();
    assert_eq!(texts, ["⚠️ Catching up: 5 alerts, still firing"]);
    let in_digest = "(SELECT countIf(state = 'sent' AND digest != '') FROM notifications)";
    assert_eq!(server.count(in_digest), 5);

    // Slack refuses for good; after that is mended, somebody asks for it again.
    services.answer("/slack", 404);
    send_all(&server, &[call("e", "e", 3.0, 10)]);
    let failed = "(SELECT countIf(state = 'failed') FROM notifications)";
    wait_until("a refusal", || (server.count(failed) == 1).then_some(()));
    services.answer("/slack", 200);
    let listed = notifications(&server, &["list", "--state", "failed", "--format", "json"]);
    let listed: Value = serde_json::from_str(listed.trim()).expect("one object");
    assert_eq!(listed["error"], "Slack answered 404");
    let dry = notifications(&server, &["resend", "--failed", "--since", "2020-01-01", "--dry-run"]);
    assert_eq!(dry, "1 of 1 would be sent again\n");
    let id = listed["id"].as_str().expect("an id");
    assert_eq!(notifications(&server, &["resend", &id[..12], "--notifier", "slack"]), "1 of 1 are sent again\n");
    wait_until("it to be sent", || (server.count(failed) == 0 && server.count(pending) == 0).then_some(()));
    let texts = services.to("/slack");
    assert_eq!(texts.len(), 2, "once");
    assert!(texts[1]["text"].as_str().expect("text").contains("model-month: e reached 100 %"), "{texts:?}");
    // And a message that was sent can be sent again.
    assert_eq!(notifications(&server, &["resend", id]), "1 of 1 are sent again\n");
    wait_until("it to be sent again", || (services.to("/slack").len() == 3).then_some(()));
}

#[test]
fn the_preview_is_a_page() {
    let server = Server::not_started(Options::default());
    let said = notifications(&server, &["preview", "--output", "page.html"]);
    assert_eq!(said, "15 messages in page.html\n");
    let page = std::fs::read_to_string(server.directory.path().join("page.html")).expect("a page");
    let kept = include_str!("../../docs/images/slack-messages.html");
    assert_eq!(
        page, kept,
        "docs/images/slack-messages.html is old: heliometer notifications preview --output docs/images/slack-messages.html"
    );
}
