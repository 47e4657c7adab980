//! Prometheus' Alertmanager, API v2.
//!
//! It groups, silences, inhibits and routes by labels, and knows an alert by them, so they are the same for an alert's
//! begin and end. It takes an alert for over when its `endsAt` has passed. So a firing alert is sent with an `endsAt` some
//! intervals ahead and again at every interval, as Prometheus does: should this program die, its alerts end there soon,
//! and should Alertmanager restart, it hears of them again. An end is sent with its own time.

use std::{collections::BTreeMap, time::Duration};

use async_trait::async_trait;
use futures_util::future::join_all;
use reqwest::Url;
use serde_json::{Value, json};

use super::{
    Event, Message, Notification, Notifier, NotifyError, Outgoing, Traits, http,
    wording::{self, completeness, cut, headline, plain, subject_of},
};
use crate::{domain::UtcMillis, settings::AlertmanagerReceiver};

/// `endsAt` of a firing alert lies this many intervals ahead, as with Prometheus.
const INTERVALS_AHEAD: u32 = 4;
/// Alerts in one request.
const BATCH: usize = 500;
const MAX_VALUE: usize = 1000;

/// Posts to every member of a cluster.
pub(super) struct Alertmanager {
    name: String,
    http: http::Http,
    members: Vec<Member>,
    login: Login,
    resend_every: Duration,
}

struct Member {
    alerts: Url,
    ready: Url,
}

/// How it is logged in.
enum Login {
    Nobody,
    Basic(String, Option<crate::domain::Secret>),
    Bearer(crate::domain::Secret),
}

impl Alertmanager {
    pub(super) fn new(settings: &AlertmanagerReceiver, timeout: Duration) -> Result<Self, NotifyError> {
        if settings.urls.is_empty() || settings.urls.len() > 10 {
            return Err(NotifyError::Setup("urls needs 1 to 10 entries such as http://alertmanager:9093".to_owned()));
        }
        if settings.resend_every_seconds == 0 || settings.resend_every_seconds > 3600 {
            return Err(NotifyError::Setup("resend_every_seconds must be between 1 and 3600".to_owned()));
        }
        let member = |url: &String| {
            Ok(Member {
                alerts: http::below(url, "api/v2/alerts", "urls")?,
                ready: http::below(url, "-/ready", "urls")?,
            })
        };
        let login = match (&settings.bearer_token, &settings.username) {
            (Some(_), Some(_)) => {
                return Err(NotifyError::Setup("give username or bearer_token, not both".to_owned()));
            }
            (Some(token), None) => Login::Bearer(token.clone()),
            (None, Some(user)) => Login::Basic(user.clone(), settings.password.clone()),
            (None, None) => Login::Nobody,
        };
        Ok(Self {
            name: settings.name.clone(),
            http: http::Http::new("Alertmanager", timeout)?,
            members: settings.urls.iter().map(member).collect::<Result<_, NotifyError>>()?,
            login,
            resend_every: Duration::from_secs(settings.resend_every_seconds),
        })
    }

    fn log_in(&self, request: reqwest::RequestBuilder) -> reqwest::RequestBuilder {
        match &self.login {
            Login::Nobody => request,
            Login::Basic(user, password) => {
                request.basic_auth(user, password.as_ref().map(crate::domain::Secret::expose))
            }
            Login::Bearer(token) => request.bearer_auth(token.expose()),
        }
    }

    /// One member suffices: they tell each other, and the others hear of it again soon.
    async fn post(&self, alerts: &[Value]) -> Result<(), NotifyError> {
        let body = Value::from(alerts).to_string();
        let attempts = self.members.iter().map(|member| {
            let request = self.log_in(self.http.json(&member.alerts, body.clone()));
            self.http.deliver(request)
        });
        let mut first_error = None;
        for result in join_all(attempts).await {
            match result {
                Ok(_) => return Ok(()),
                // What may pass weighs more than what one of them refuses for good.
                Err(error @ NotifyError::Transient { .. }) => first_error = Some(error),
                Err(error) => first_error = first_error.or(Some(error)),
            }
        }
        first_error.map_or(Ok(()), Err)
    }

    fn alert(&self, notification: &Notification, now: UtcMillis) -> Value {
        let ends_at = match notification.event {
            Event::Resolved => notification.at,
            Event::Firing | Event::StillFiring => now.plus(self.resend_every * INTERVALS_AHEAD),
        };
        let mut alert = json!({
            "labels": labels(notification),
            "annotations": annotations(notification),
            "startsAt": notification.since.to_string(),
            "endsAt": ends_at.to_string(),
        });
        if !notification.dashboard_url.is_empty() {
            alert["generatorURL"] = json!(notification.dashboard_url);
        }
        alert
    }
}

/// What the alert is known by.
fn labels(notification: &Notification) -> BTreeMap<String, String> {
    let mut labels: BTreeMap<String, String> =
        notification.labels.iter().map(|(name, value)| (label_name(name), cut(&plain(value), MAX_VALUE))).collect();
    let mut set = |name: &str, value: String| labels.insert(name.to_owned(), value);
    set("alertname", plain(&notification.rule));
    set("severity", notification.severity.word().to_owned());
    set("kind", notification.kind.clone());
    if notification.scope != "all" {
        set(&label_name(&notification.scope), subject_of(notification));
    }
    if let Some(percent) = notification.threshold_percent {
        set("threshold_percent", percent.to_string());
    }
    // An empty label is none to Alertmanager.
    labels.retain(|_, value| !value.is_empty());
    labels
}

/// Prometheus' alphabet for names of labels.
fn label_name(name: &str) -> String {
    let mut label: String =
        name.chars().map(|character| if character.is_ascii_alphanumeric() { character } else { '_' }).collect();
    if label.chars().next().is_none_or(|first| first.is_ascii_digit()) {
        label.insert(0, '_');
    }
    label
}

fn annotations(notification: &Notification) -> BTreeMap<&'static str, String> {
    let facts = wording::facts(notification).into_iter().map(|(name, value)| format!("{name}: {value}"));
    let mut annotations = BTreeMap::from([
        ("summary", headline(notification)),
        ("description", facts.collect::<Vec<_>>().join("\n")),
        ("completeness", completeness(notification)),
        ("value", notification.value.to_string()),
        ("limit", notification.limit.to_string()),
        ("fingerprint", notification.fingerprint.clone()),
    ]);
    let contributors = wording::contributors(&notification.contributors);
    let notes = wording::notes(notification);
    if !notes.is_empty() {
        annotations.insert("notes", notes.join("\n"));
    }
    if !contributors.is_empty() {
        annotations.insert("top_contributors", contributors.join("\n"));
    }
    annotations
}

#[async_trait]
impl Notifier for Alertmanager {
    fn name(&self) -> &str {
        &self.name
    }

    fn kind(&self) -> &'static str {
        "alertmanager"
    }

    fn traits(&self) -> Traits {
        Traits { needs_every_end: true, resend_every: Some(self.resend_every), ..Traits::default() }
    }

    async fn send(&self, outgoing: Outgoing<'_>) -> Result<Option<String>, NotifyError> {
        let Message::Alert(notification) = outgoing.message else { return Ok(None) };
        self.post(&[self.alert(notification, outgoing.now)]).await.map(|()| None)
    }

    async fn send_again(&self, firing: &[Notification], now: UtcMillis) -> Result<(), NotifyError> {
        for batch in firing.chunks(BATCH) {
            let alerts: Vec<Value> = batch.iter().map(|notification| self.alert(notification, now)).collect();
            self.post(&alerts).await?;
        }
        Ok(())
    }

    async fn check(&self) -> Result<String, NotifyError> {
        for member in &self.members {
            self.http.deliver(self.log_in(self.http.get(&member.ready))).await?;
        }
        let hosts: Vec<&str> = self.members.iter().filter_map(|member| member.ready.host_str()).collect();
        Ok(format!("ready at {}", hosts.join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::preview::samples;

    fn alertmanager() -> Alertmanager {
        let settings = json!({"name": "am", "urls": ["http://127.0.0.1:9093/prefix/"], "resend_every_seconds": 30});
        let settings: AlertmanagerReceiver = serde_json::from_value(settings).expect("settings");
        Alertmanager::new(&settings, Duration::from_secs(1)).expect("an Alertmanager")
    }

    #[test]
    fn begin_and_end_have_the_same_labels_and_their_own_times() {
        let alertmanager = alertmanager();
        assert_eq!(alertmanager.members[0].alerts.as_str(), "http://127.0.0.1:9093/prefix/api/v2/alerts");
        let firing = samples::latency();
        let now = firing.at.plus(Duration::from_secs(600));
        let begin = alertmanager.alert(&firing, now);
        assert_eq!(
            begin["labels"],
            json!({"alertname": "slow", "severity": "critical", "kind": "latency", "model": "gpt-4o", "team": "search"})
        );
        assert_eq!(begin["startsAt"], json!(firing.since.to_string()));
        assert_eq!(begin["endsAt"], json!(now.plus(Duration::from_secs(120)).to_string()), "four intervals from now");
        assert_eq!(begin["annotations"]["summary"], "slow: gpt-4o p95 latency is 7,210 ms (limit 5,000 ms)");
        let ended = samples::resolved();
        let end = alertmanager.alert(&ended, now);
        assert_eq!(end["labels"], begin["labels"]);
        assert_eq!(end["endsAt"], json!(ended.at.to_string()), "when it ended, not when that is sent");
    }

    #[test]
    fn labels_are_names_that_prometheus_knows() {
        for (name, expected) in
            [("team", "team"), ("cost-centre", "cost_centre"), ("1st", "_1st"), ("é", "_"), ("", "_")]
        {
            assert_eq!(label_name(name), expected);
        }
        let nobody = Notification { scope: "user".to_owned(), group: String::new(), ..samples::budget(80) };
        assert_eq!(labels(&nobody)["user"], "(no user)");
        assert_eq!(labels(&nobody)["threshold_percent"], "80");
        let hostile = vec![("alertname".to_owned(), "other".to_owned()), ("empty".to_owned(), String::new())];
        let hostile = labels(&Notification { labels: hostile, ..samples::budget(80) });
        assert_eq!(hostile["alertname"], "day-budget", "a rule's labels do not replace its own");
        assert!(!hostile.contains_key("empty"));
    }
}
