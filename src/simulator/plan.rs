//! Event number → bytes, signature and expectation, and the stored object to go with it. Nothing is remembered.

use bytes::Bytes;
use url::Url;
use uuid::Uuid;

use super::{
    Expectation, Faults, Signer, SimulatorError,
    bodies::Bodies,
    event::{Event, Kind},
    expect,
    faults::{BackDating, DeliveryFault, StorageFault},
    payload::payload,
    random::{self, Random, Stream},
};
use crate::domain::{Secret, SourceName, UtcMillis};

/// The life that Helicone signs its URLs for, in seconds.
const URL_LIFE_SECONDS: i64 = 86_400;

/// The storage bucket's name, first in every object's path.
const BUCKET: &str = "request-response-storage";

/// What makes one plan different from another.
#[derive(Clone, Debug)]
pub struct PlanOptions {
    /// Same seed, same events.
    pub seed: u64,
    /// Events in the plan; duplicates come on top.
    pub count: u64,
    /// What goes wrong.
    pub faults: Faults,
    /// The webhook's signing secret.
    pub secret: Secret,
    /// The source under which totals are expected.
    pub source: SourceName,
    /// How the receiver reaches the storage server: scheme, host and port.
    pub storage_url: Url,
}

/// All events of one simulation.
#[derive(Clone, Debug)]
pub struct Plan {
    options: PlanOptions,
    signer: Signer,
    wrong_signer: Signer,
    storage_signer: Signer,
    organization: Uuid,
    storage_base: String,
}

/// One webhook, ready to send.
#[derive(Clone, Debug)]
pub struct SimulatedEvent {
    /// Its place in the plan, from 0.
    pub number: u64,
    /// Its `request_id`, also when a fault leaves it out of the body.
    pub request_id: String,
    /// The exact bytes to send.
    pub body: Bytes,
    /// The value of `Helicone-Signature`.
    pub signature: String,
    /// What a correct receiver makes of it.
    pub expectation: Expectation,
}

/// What the storage server should do with a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum StoredObject {
    /// Unknown path, or no valid signature.
    Refused,
    /// The object of this event, as JSON text, with what goes wrong on its way.
    Found { number: u64, json: String, fault: Option<StorageFault> },
}

impl Plan {
    /// A plan.
    ///
    /// # Errors
    /// [`SimulatorError::Secret`] for an empty secret, which would sign for everyone.
    pub fn new(options: PlanOptions) -> Result<Self, SimulatorError> {
        if options.secret.expose().is_empty() {
            return Err(SimulatorError::Secret);
        }
        // No event has the highest number, so these draw from nobody's stream.
        let mut identity = Random::new(options.seed, u64::MAX, Stream::Identity);
        Ok(Self {
            signer: Signer::new(options.secret.expose())?,
            wrong_signer: Signer::new(&format!("not {}", options.secret.expose()))?,
            storage_signer: Signer::new(&format!("{:016x}{:016x}", identity.bits(), identity.bits()))?,
            organization: random::request_id(options.seed, identity.below(1 << 48)),
            storage_base: options.storage_url.as_str().trim_end_matches('/').to_owned(),
            options,
        })
    }

    /// Its seed.
    #[must_use]
    pub const fn seed(&self) -> u64 {
        self.options.seed
    }

    /// Its number of events, without duplicates.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.options.count
    }

    /// The source under which its totals are expected.
    #[must_use]
    pub const fn source(&self) -> &SourceName {
        &self.options.source
    }

    pub(super) const fn faults(&self) -> &Faults {
        &self.options.faults
    }

    /// Event `number` as sent at `now`. The time decides `created` and `X-Amz-Date`, to the second; the rest follows
    /// from seed and number.
    #[must_use]
    pub fn event(&self, number: u64, now: UtcMillis) -> SimulatedEvent {
        let event = Event::new(self.seed(), number);
        let signed_at_seconds = now.0.div_euclid(1000);
        let request_id = random::request_id(self.seed(), number).to_string();
        let (created_at_seconds, back_dating) = self.created_at_seconds(&event, signed_at_seconds);
        let bodies = Bodies::new(self.seed(), &event, created_at_seconds);
        let url = self.object_url(&event, &request_id, signed_at_seconds);
        let mut body = payload(&event, &request_id, &bodies, &url).into_bytes();
        let fault = self.faults().delivery(self.seed(), number);
        match fault {
            // Half an object is never JSON.
            Some(DeliveryFault::NotJson) => body.truncate(body.len() / 2),
            Some(DeliveryFault::NoRequestId) => {
                let member = format!(r#""request_id":"{request_id}","#);
                body.drain(1..=member.len());
            }
            Some(DeliveryFault::BadSignature) | None => {}
        }
        // Within a week before receipt, which is not long after it was due.
        let believable = (!matches!(back_dating, BackDating::Implausible { .. }))
            .then_some(UtcMillis::from_seconds(created_at_seconds));
        let signer = if fault == Some(DeliveryFault::BadSignature) { &self.wrong_signer } else { &self.signer };
        SimulatedEvent {
            number,
            request_id,
            signature: signer.sign(&body),
            body: Bytes::from(body),
            expectation: expect::expectation(&event, fault, believable),
        }
    }

    /// How many events later an event is sent again, each time. The test button, and what is refused, comes once.
    pub(super) fn duplicate_distances(&self, number: u64) -> Vec<u64> {
        let mut distances = self.faults().duplicate_distances(self.seed(), number);
        if self.faults().delivery(self.seed(), number).is_some()
            || Event::new(self.seed(), number).kind == Kind::TestButton
        {
            distances.clear();
        }
        distances
    }

    /// What the body says of its creation: the response was created when the call began, and the webhook left when it
    /// was over; unless it is back-dated.
    fn created_at_seconds(&self, event: &Event, signed_at_seconds: i64) -> (i64, BackDating) {
        let began_at_seconds = signed_at_seconds - i64::try_from(event.latency_ms / 1000).unwrap_or(0);
        let back_dating = self.faults().back_dating(self.seed(), event.number);
        (began_at_seconds - back_dating.earlier_seconds(), back_dating)
    }

    /// Whether a receiver that fetches everything gets this event's object in the end.
    pub(super) fn is_fetchable(&self, number: u64) -> bool {
        let kind = Event::new(self.seed(), number).kind;
        let faults = self.faults();
        !matches!(kind, Kind::WithoutData | Kind::TestButton)
            && faults.delivery(self.seed(), number).is_none()
            && !matches!(
                faults.storage(self.seed(), number),
                Some(StorageFault::NotFound | StorageFault::Forbidden | StorageFault::Reset)
            )
    }

    /// The object that a path and query ask for, at the storage's time `now`.
    pub(super) fn stored_object(&self, path: &str, query: &str, now: UtcMillis) -> StoredObject {
        self.find_object(path, query, now).unwrap_or(StoredObject::Refused)
    }

    fn find_object(&self, path: &str, query: &str, now: UtcMillis) -> Option<StoredObject> {
        let value = |name: &str| {
            url::form_urlencoded::parse(query.as_bytes())
                .find(|(key, _)| key == name)
                .map(|(_, value)| value.into_owned())
        };
        let (date, expires) = (value("X-Amz-Date")?, value("X-Amz-Expires")?);
        let signature = value("X-Amz-Signature")?;
        if signature != self.storage_signature(path, &date, &expires) {
            return None;
        }
        let signed_at_seconds = parse_amz_date(&date)?;
        if now.0.div_euclid(1000) > signed_at_seconds.saturating_add(expires.parse().ok()?) {
            return None;
        }
        let id = path.strip_prefix(&self.object_path(""))?.strip_suffix("/request_response_body")?;
        let number = random::event_number(self.seed(), Uuid::parse_str(id).ok()?)?;
        let event = (number < self.count()).then(|| Event::new(self.seed(), number))?;
        let (created_at_seconds, _) = self.created_at_seconds(&event, signed_at_seconds);
        let json = Bodies::new(self.seed(), &event, created_at_seconds).stored();
        Some(StoredObject::Found { number, json, fault: self.faults().storage(self.seed(), number) })
    }

    /// The path up to and with the request id, to which `/request_response_body` is added.
    fn object_path(&self, request_id: &str) -> String {
        format!("/{BUCKET}/organizations/{}/requests/{request_id}", self.organization)
    }

    fn object_url(&self, event: &Event, request_id: &str, signed_at_seconds: i64) -> String {
        let path = format!("{}/request_response_body", self.object_path(request_id));
        let (date, expires) = (amz_date(signed_at_seconds), URL_LIFE_SECONDS.to_string());
        let (key_id, signature) = match event.kind {
            // A receiver that fetches it anyway meets a 403 here, and not a stranger's server.
            Kind::TestButton => ("MOCKAWSCREDENTIAL", "mocksignature123456789".to_owned()),
            _ => ("SIMULATEDKEYID", self.storage_signature(&path, &date, &expires)),
        };
        let day = date.get(..8).unwrap_or_default();
        format!(
            "{}{path}?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Content-Sha256=UNSIGNED-PAYLOAD\
             &X-Amz-Credential={key_id}%2F{day}%2Fus-west-2%2Fs3%2Faws4_request&X-Amz-Date={date}\
             &X-Amz-Expires={expires}&X-Amz-Signature={signature}&X-Amz-SignedHeaders=host&x-id=GetObject",
            self.storage_base
        )
    }

    fn storage_signature(&self, path: &str, date: &str, expires: &str) -> String {
        self.storage_signer.sign(format!("{path}\n{date}\n{expires}").as_bytes())
    }
}

const AMZ_DATE: &str = "%Y%m%dT%H%M%SZ";

fn amz_date(unix_seconds: i64) -> String {
    let timestamp = jiff::Timestamp::from_second(unix_seconds).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    timestamp.strftime(AMZ_DATE).to_string()
}

fn parse_amz_date(text: &str) -> Option<i64> {
    let datetime = jiff::civil::DateTime::strptime(AMZ_DATE, text).ok()?;
    Some(datetime.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_second())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::domain::PresignedUrl;

    pub(in super::super) const NOW: UtcMillis = UtcMillis(1_795_384_998_250);

    pub(in super::super) fn plan(seed: u64, count: u64, faults: &str) -> Plan {
        Plan::new(PlanOptions {
            seed,
            count,
            faults: faults.parse().expect("valid faults"),
            secret: Secret::new("s3cret"),
            source: SourceName::default(),
            storage_url: Url::parse("http://127.0.0.1:9000").expect("valid"),
        })
        .expect("valid plan")
    }

    #[test]
    fn the_same_seed_gives_the_same_bytes() {
        let (a, b, other) = (plan(4, 500, "not-json=5"), plan(4, 500, "not-json=5"), plan(5, 500, "not-json=5"));
        for number in 0..500 {
            let (first, second) = (a.event(number, NOW), b.event(number, NOW));
            assert_eq!((&first.body, &first.signature), (&second.body, &second.signature), "{number}");
            assert_eq!(first.expectation, second.expectation);
            assert_ne!(first.request_id, other.event(number, NOW).request_id);
            assert_eq!(first.request_id, a.event(number, UtcMillis(0)).request_id);
        }
    }

    #[test]
    fn an_empty_secret_is_refused() {
        let mut options = plan(1, 1, "").options;
        options.secret = Secret::new("");
        assert!(matches!(Plan::new(options), Err(SimulatorError::Secret)));
    }

    fn url_of(event: &SimulatedEvent) -> Option<PresignedUrl> {
        let text = std::str::from_utf8(&event.body).expect("UTF-8");
        let start = text.find("\"request_response_url\":\"")? + 24;
        PresignedUrl::parse(&text[start..start + text[start..].find('"')?])
    }

    #[test]
    fn the_storage_gives_what_the_url_signs_for_and_nothing_else() {
        let plan = plan(4, 50, "");
        let event = (0..50)
            .map(|number| plan.event(number, NOW))
            .find(|event| matches!(event.expectation, Expectation::Counted(_)) && url_of(event).is_some());
        let event = event.expect("most events have an object");
        let url = url_of(&event).expect("has one");
        assert_eq!(url.expires_at(UtcMillis(0)).0, 1_795_384_998_000 + 86_400_000);
        let (path, query) = (url.expose().path(), url.expose().query().expect("signed"));
        let StoredObject::Found { number, json, fault: None } = plan.stored_object(path, query, NOW) else {
            panic!("refused {url}");
        };
        assert_eq!(number, event.number);
        let inline = std::str::from_utf8(&event.body).expect("UTF-8");
        let response = json.split_once(",\"response\":").expect("both bodies").1;
        assert!(inline.contains(&response[..response.len() - 1]), "stored and inline response differ");
        for bad in [
            query.replace("X-Amz-Signature=", "X-Amz-Signature=0"),
            query.replace("X-Amz-Signature", "X-Amz-Other"),
            query.replace("86400", "86401"),
            String::new(),
        ] {
            assert_eq!(plan.stored_object(path, &bad, NOW), StoredObject::Refused, "{bad}");
        }
        assert_eq!(plan.stored_object("/elsewhere", query, NOW), StoredObject::Refused);
        let two_days_later = UtcMillis(NOW.0 + 2 * 86_400_000);
        assert_eq!(plan.stored_object(path, query, two_days_later), StoredObject::Refused);
    }

    #[test]
    fn the_test_button_is_told_by_its_credential() {
        let plan = plan(11, 5000, "");
        let tests: Vec<_> =
            (0..5000).map(|n| plan.event(n, NOW)).filter(|e| e.expectation == Expectation::Test).collect();
        assert!(tests.len() > 3);
        assert!(tests.iter().all(|event| url_of(event).is_some_and(|url| url.is_test_button())));
    }

    #[test]
    fn faulty_deliveries_are_what_they_say() {
        let broken = plan(2, 20, "not-json=100").event(3, NOW);
        assert_eq!(broken.expectation, Expectation::DeadLetter);
        assert!(serde_json::from_slice::<&serde_json::value::RawValue>(&broken.body).is_err());
        let nameless = plan(2, 20, "no-request-id=100").event(3, NOW);
        assert!(nameless.body.starts_with(b"{\"request_body\""), "{:?}", &nameless.body[..30]);
        assert_eq!(nameless.signature, plan(2, 20, "").signer.sign(&nameless.body));
        let unsigned = plan(2, 20, "bad-signature=100").event(3, NOW);
        assert_eq!(unsigned.expectation, Expectation::Unauthorized);
        assert_ne!(unsigned.signature, plan(2, 20, "").signer.sign(&unsigned.body));
    }
}
