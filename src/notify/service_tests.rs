//! Every rendering over HTTP, to receivers that check what the real services refuse (from their public documentation):
//! fields that must be there, and sizes. Names are as long and as hostile as senders can make them.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{Router, body::Bytes, extract::State, http::StatusCode, routing::post};
use serde_json::{Value, json};

use super::{
    preview::samples,
    report::{FiredAlerts, Share, SlowModel},
    *,
};
use crate::settings::NotifierSettings;

/// What the service thinks of a body: what is wrong with it, or the status that confirms it.
type Check = fn(&Value, usize) -> Result<u16, String>;

#[derive(Clone)]
struct Service {
    check: Check,
    taken: Arc<Mutex<Vec<Value>>>,
}

impl Service {
    /// Takes any path. Returns itself and its base URL.
    async fn start(check: Check) -> (Self, String) {
        let service = Self { check, taken: Arc::default() };
        let app = Router::new()
            .route("/{*path}", post(|state, body: Bytes| std::future::ready(Self::take(state, &body))))
            .with_state(service.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let url = format!("http://{}", listener.local_addr().expect("address"));
        tokio::spawn(async move { axum::serve(listener, app).await });
        (service, url)
    }

    fn take(State(service): State<Self>, body: &[u8]) -> (StatusCode, String) {
        let size = body.len();
        let Ok(body) = serde_json::from_slice::<Value>(body) else {
            return (StatusCode::BAD_REQUEST, "not JSON".to_owned());
        };
        match (service.check)(&body, size) {
            Ok(status) => {
                service.taken.lock().expect("lock").push(body);
                (StatusCode::from_u16(status).expect("a status"), String::new())
            }
            Err(reason) => (StatusCode::BAD_REQUEST, reason),
        }
    }
}

/// The text is there, and has at most so many characters.
fn text(value: &Value, what: &str, max: usize) -> Result<usize, String> {
    let length = value.as_str().map_or(0, |text| text.chars().count());
    if length == 0 || length > max {
        Err(format!("{what} has {length} characters, not 1 to {max}"))
    } else {
        Ok(length)
    }
}

fn list<'a>(value: &'a Value, what: &str, max: usize) -> Result<&'a [Value], String> {
    let list = value.as_array().ok_or(format!("{what} is not a list"))?;
    if list.is_empty() || list.len() > max { Err(format!("{what}: {} entries", list.len())) } else { Ok(list) }
}

fn slack(body: &Value, _: usize) -> Result<u16, String> {
    text(&body["text"], "text", 40_000)?;
    for block in list(&body["blocks"], "blocks", 50)? {
        match block["type"].as_str() {
            Some("header") => text(&block["text"]["text"], "header", 150)?,
            Some("section") => text(&block["text"]["text"], "section", 3000)?,
            Some("context") => list(&block["elements"], "context", 10)?
                .iter()
                .try_fold(0, |_, one| text(&one["text"], "context", 3000))?,
            other => return Err(format!("block {other:?}")),
        };
    }
    Ok(200)
}

fn discord(body: &Value, _: usize) -> Result<u16, String> {
    let mut all = 0;
    for embed in list(&body["embeds"], "embeds", 10)? {
        all += text(&embed["title"], "title", 256)?;
        all += text(&embed["footer"]["text"], "footer", 2048)?;
        if !embed["description"].is_null() {
            all += text(&embed["description"], "description", 4096)?;
        }
        for field in embed["fields"].as_array().map(Vec::as_slice).unwrap_or_default() {
            all += text(&field["name"], "field name", 256)? + text(&field["value"], "field value", 1024)?;
        }
        if embed["fields"].as_array().is_some_and(|fields| fields.len() > 25) {
            return Err("more than 25 fields".to_owned());
        }
        embed["timestamp"].as_str().and_then(|at| at.parse::<jiff::Timestamp>().ok()).ok_or("timestamp")?;
        embed["color"].as_u64().filter(|color| *color <= 0xff_ff_ff).ok_or("color")?;
    }
    if all > 6000 { Err(format!("{all} characters in all")) } else { Ok(204) }
}

fn teams(body: &Value, size: usize) -> Result<u16, String> {
    if size > 28 * 1024 {
        return Err(format!("{size} bytes"));
    }
    let attachment = &list(&body["attachments"], "attachments", 1)?[0];
    if body["type"] != "message" || attachment["contentType"] != "application/vnd.microsoft.card.adaptive" {
        return Err("not a message with an Adaptive Card".to_owned());
    }
    let card = &attachment["content"];
    if card["type"] != "AdaptiveCard" || !card["version"].is_string() {
        return Err("not an Adaptive Card".to_owned());
    }
    for element in list(&card["body"], "body", 50)? {
        match element["type"].as_str() {
            Some("TextBlock") => drop(text(&element["text"], "TextBlock", 10_000)?),
            Some("FactSet") => {
                for fact in list(&element["facts"], "facts", 50)? {
                    text(&fact["title"], "title", 1000)?;
                    text(&fact["value"], "value", 1000)?;
                }
            }
            other => return Err(format!("element {other:?}")),
        }
    }
    Ok(202)
}

fn pagerduty(body: &Value, size: usize) -> Result<u16, String> {
    text(&body["routing_key"], "routing_key", 32)?;
    text(&body["dedup_key"], "dedup_key", 255)?;
    match body["event_action"].as_str() {
        Some("resolve") => {}
        Some("trigger") => {
            let payload = &body["payload"];
            text(&payload["summary"], "summary", 1024)?;
            text(&payload["source"], "source", 1024)?;
            if !["critical", "error", "warning", "info"].contains(&payload["severity"].as_str().unwrap_or_default()) {
                return Err("severity".to_owned());
            }
        }
        other => return Err(format!("event_action {other:?}")),
    }
    if size > 512 * 1024 { Err(format!("{size} bytes")) } else { Ok(202) }
}

fn alertmanager(body: &Value, _: usize) -> Result<u16, String> {
    for alert in list(body, "alerts", 10_000)? {
        let labels = alert["labels"].as_object().filter(|labels| !labels.is_empty()).ok_or("labels")?;
        for name in labels.keys() {
            let is_name = |character: char| character.is_ascii_alphanumeric() || character == '_';
            if !name.chars().all(is_name) || name.starts_with(|first: char| first.is_ascii_digit()) {
                return Err(format!("label name {name}"));
            }
        }
        for key in ["startsAt", "endsAt"] {
            alert[key].as_str().and_then(|at| at.parse::<jiff::Timestamp>().ok()).ok_or(key)?;
        }
    }
    Ok(200)
}

/// A type of receiver over HTTP: its word, its settings for a base URL, and what its service checks.
struct Type {
    kind: &'static str,
    settings: fn(&str) -> Value,
    check: Check,
}

const TYPES: [Type; 6] = [
    Type { kind: "slack", settings: |url| json!({"webhook_url": format!("{url}/services/T/B/x")}), check: slack },
    Type { kind: "teams", settings: |url| json!({"webhook_url": format!("{url}/workflows/x")}), check: teams },
    Type { kind: "discord", settings: |url| json!({"webhook_url": format!("{url}/api/webhooks/1/x")}), check: discord },
    Type { kind: "pagerduty", settings: |url| json!({"routing_key": "R0123456789", "api_url": url}), check: pagerduty },
    Type { kind: "alertmanager", settings: |url| json!({"urls": [url]}), check: alertmanager },
    Type {
        kind: "webhook",
        settings: |url| json!({"url": format!("{url}/hook"), "secret": "s"}),
        check: |_, _| Ok(200),
    },
];

fn notifier(kind: &str, mut settings: Value) -> Arc<dyn Notifier> {
    settings["name"] = json!(kind);
    settings["type"] = json!(kind);
    let list = serde_json::from_value(json!([settings])).expect("settings");
    let settings = NotifierSettings { receivers: list, timeout_ms: 1_000, ..NotifierSettings::default() };
    receivers(&settings).expect("a receiver").remove(0)
}

/// As long and as hostile as senders can make it: four bytes a character, markup, line ends.
fn hostile(of: Notification) -> Notification {
    let long = "🦀".repeat(600) + &"<!channel> *_~`[x](https://evil.example)`|\r\n\u{202e}".repeat(100);
    let contributor = Contributor { what: "user".to_owned(), name: long.clone(), amount: long.clone() };
    Notification {
        rule: long[..120].to_owned(),
        group: long.clone(),
        period: long[..400].to_owned(),
        labels: (0..32).map(|index| (format!("{index}{long}"), long.clone())).collect(),
        contributors: vec![contributor; 20],
        ..of
    }
}

/// With names that are as long as senders can make them, and that mean something everywhere.
fn hostile_report() -> Report {
    let name = "<!channel> @everyone | `*_[x](https://evil.example) & ".repeat(40);
    let report = samples::report();
    let shares = |shares: &[Share]| vec![Share { name: name.clone(), ..shares[0].clone() }; 5];
    Report {
        period: name.clone(),
        alerts: vec![FiredAlerts { rule: name.clone(), alerts: 1 }; 5],
        top_models: shares(&report.top_models),
        top_users: shares(&report.top_users),
        movers: shares(&report.movers),
        unpriced_models: shares(&report.unpriced_models),
        slowest_models: vec![SlowModel { model: name.clone(), ..report.slowest_models[0].clone() }; 5],
        backlog: Some(name),
        ..report
    }
}

#[tokio::test]
async fn every_message_is_taken_by_every_service() {
    let alerts =
        [samples::budget(80), samples::budget(100), samples::latency(), samples::resolved(), samples::policy()];
    let alerts: Vec<Notification> = alerts.iter().cloned().chain(alerts.iter().cloned().map(hostile)).collect();
    let many: Vec<Notification> =
        (0..60).map(|index| Notification { fingerprint: format!("{index}"), ..hostile(samples::budget(80)) }).collect();
    let ended = (0..30).map(|index| (format!("{index}"), samples::budget(80).at)).collect();
    let digests = [samples::digest(), Digest::new(&many, &ended, samples::budget(80).at)];
    let reports = [samples::report(), hostile_report()];
    for Type { kind, settings, check } in TYPES {
        let (service, url) = Service::start(check).await;
        let notifier = notifier(kind, settings(&url));
        let now = samples::budget(80).at;
        let mut expected = 0;
        let messages = alerts.iter().map(Message::Alert);
        let digests = digests.iter().map(Message::Digest).filter(|_| notifier.traits().digests);
        let reports = reports.iter().map(Message::Report).filter(|_| notifier.traits().digests);
        for message in messages.chain(digests).chain(reports) {
            let sent = notifier.send(Outgoing { message, thread: None, now }).await;
            assert!(sent.is_ok(), "{kind}: {sent:?}");
            expected += 1;
        }
        assert_eq!(service.taken.lock().expect("lock").len(), expected, "{kind}");
    }
}

#[tokio::test]
async fn refusals_are_final_overload_passes_and_credentials_stay_secret() {
    for Type { kind, settings, .. } in TYPES {
        let alert = samples::latency();
        let outgoing = Outgoing { message: Message::Alert(&alert), thread: None, now: alert.at };
        let (_service, url) = Service::start(|_, _| Err("no_service".to_owned())).await;
        let refused = notifier(kind, settings(&url)).send(outgoing).await.expect_err("refused");
        assert!(matches!(&refused, NotifyError::Final(text) if text.contains("400: no_service")), "{kind}: {refused}");
        let (_service, url) = Service::start(|_, _| Ok(503)).await;
        let busy = notifier(kind, settings(&url)).send(outgoing).await.expect_err("busy");
        assert!(matches!(&busy, NotifyError::Transient { .. }), "{kind}: {busy}");
        let nobody = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bind").local_addr().expect("address");
        let away = notifier(kind, settings(&format!("http://{nobody}/secret"))).send(outgoing).await.expect_err("away");
        assert!(matches!(&away, NotifyError::Transient { .. }), "{kind}: {away}");
        for error in [refused, busy, away] {
            let error = error.to_string();
            assert!(!error.contains("127.0.0.1") && !error.contains("secret") && !error.contains("R0123"), "{error}");
        }
    }
}

#[tokio::test]
async fn an_alertmanager_that_is_there_suffices() {
    let (one, url) = Service::start(alertmanager).await;
    let nobody = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bind").local_addr().expect("address");
    let both = notifier("alertmanager", json!({"urls": [format!("http://{nobody}"), url]}));
    let alert = samples::latency();
    both.send(Outgoing { message: Message::Alert(&alert), thread: None, now: alert.at }).await.expect("one takes it");
    both.send_again(&vec![alert.clone(); 1200], alert.at.plus(Duration::from_secs(60))).await.expect("likewise");
    let sizes: Vec<usize> =
        one.taken.lock().expect("lock").iter().map(|alerts| alerts.as_array().expect("alerts").len()).collect();
    assert_eq!(sizes, [1, 500, 500, 200]);
}
