//! Signed JSON to any URL. `docs/alerts.md` describes it for those who receive it: add keys freely, change none without
//! another `version`.

use std::time::Duration;

use async_trait::async_trait;
use hmac::{Hmac, KeyInit, Mac};
use reqwest::Url;
use serde_json::{Value, json};
use sha2::Sha256;

use super::{
    Event, Message, Notification, Notifier, NotifyError, Outgoing, Quantity, Traits, http,
    wording::{headline, notes, title},
};
use crate::{
    domain::{Secret, UtcMillis},
    settings::SignedWebhookReceiver,
};

/// Of the payload.
const VERSION: &str = "1";
const SIGNATURE: &str = "Heliometer-Signature";

/// Posts to one URL.
pub(super) struct SignedWebhook {
    name: String,
    http: http::Http,
    url: Url,
    secret: Secret,
    timeout: Duration,
}

impl SignedWebhook {
    pub(super) fn new(settings: &SignedWebhookReceiver, timeout: Duration) -> Result<Self, NotifyError> {
        Ok(Self {
            name: settings.name.clone(),
            http: http::Http::new("the webhook's receiver", timeout)?,
            url: http::url(settings.url.expose(), "url")?,
            secret: settings.secret.clone(),
            timeout,
        })
    }
}

/// `t=…,v1=…`: seconds since 1970, and HMAC-SHA-256 in hex over them, a dot and the body.
fn signature(secret: &Secret, now: UtcMillis, body: &str) -> Result<String, NotifyError> {
    let seconds = now.0.div_euclid(1000);
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.expose().as_bytes())
        .map_err(|error| NotifyError::Setup(error.to_string()))?;
    mac.update(format!("{seconds}.{body}").as_bytes());
    Ok(format!("t={seconds},v1={}", hex::encode(mac.finalize().into_bytes())))
}

fn payload(notification: &Notification) -> Value {
    let event = match notification.event {
        Event::Firing => "firing",
        Event::StillFiring => "still_firing",
        Event::Resolved => "resolved",
    };
    let labels: serde_json::Map<String, Value> =
        notification.labels.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
    json!({
        "version": VERSION,
        "id": notification.id,
        "fingerprint": notification.fingerprint,
        "event": event,
        "at": notification.at.to_string(),
        "since": notification.since.to_string(),
        "title": title(notification),
        "summary": headline(notification),
        "rule": notification.rule,
        "kind": notification.kind,
        "severity": notification.severity.word(),
        "labels": labels,
        "scope": notification.scope,
        "group": notification.group,
        "measure": notification.measure,
        "value": quantity(notification.value),
        "limit": quantity(notification.limit),
        "threshold_percent": notification.threshold_percent,
        "period": notification.period,
        "requests": notification.requests,
        "priced_requests": notification.priced_requests,
        "exceeding_requests": notification.exceeding_requests,
        "newest_event": notification.newest_event.map(|newest| newest.to_string()),
        "contributors": notification.contributors,
        "notes": notes(notification),
        "dashboard_url": notification.dashboard_url,
    })
}

/// `{"unit":"usd","number":0.82,"exact":"0.82","text":"$0.82"}`; money is exact only in `exact`.
fn quantity(quantity: Quantity) -> Value {
    let exact = match quantity {
        Quantity::Usd(amount) => amount.to_string(),
        Quantity::Tokens(count) | Quantity::Requests(count) => count.to_string(),
        Quantity::Milliseconds(number)
        | Quantity::Percent(number)
        | Quantity::Seconds(number)
        | Quantity::Number(number) => number.to_string(),
    };
    json!({"unit": quantity.unit(), "number": quantity.as_f64(), "exact": exact, "text": quantity.to_string()})
}

#[async_trait]
impl Notifier for SignedWebhook {
    fn name(&self) -> &str {
        &self.name
    }

    fn kind(&self) -> &'static str {
        "webhook"
    }

    fn traits(&self) -> Traits {
        Traits { needs_every_end: true, ..Traits::default() }
    }

    async fn send(&self, outgoing: Outgoing<'_>) -> Result<Option<String>, NotifyError> {
        let Message::Alert(notification) = outgoing.message else { return Ok(None) };
        let body = payload(notification).to_string();
        let signature = signature(&self.secret, outgoing.now, &body)?;
        self.http.deliver(self.http.json(&self.url, body).header(SIGNATURE, signature)).await.map(|_| None)
    }

    async fn check(&self) -> Result<String, NotifyError> {
        http::connects(&self.url, self.timeout).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::preview::samples;

    #[test]
    fn the_payload_is_the_documented_one() {
        let documented = include_str!("../../docs/alerts.md");
        let start = documented.find("```json\n{\n  \"version\"").expect("an example") + "```json\n".len();
        let example = &documented[start..start + documented[start..].find("```").expect("its end")];
        let example: Value = serde_json::from_str(example).expect("JSON");
        assert_eq!(payload(&samples::budget(80)), example);
    }

    #[test]
    fn the_signature_covers_time_and_body() {
        // printf '1757346297.{"a":1}' | openssl dgst -sha256 -hmac hunter2
        let signature = signature(&Secret::new("hunter2"), UtcMillis(1_757_346_297_250), r#"{"a":1}"#);
        assert_eq!(
            signature.expect("any key is one"),
            "t=1757346297,v1=47d86e62fe1e221da678b5017aaeabe09a079b9c021d2c175d668e0b83d06035"
        );
    }
}
