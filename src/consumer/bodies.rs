//! Where a call's bodies can be had, in this order: the stored object, the webhook's own, Helicone's API by the call's id.
//!
//! The API is asked only where nothing else tells of the response, since it answers little more than a question a second: a
//! call that finds the limit used up does without, and its row says what became of its URL.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use prometheus::{IntCounterVec, Opts, Registry};
use tokio::time::{Instant, timeout};

use super::{
    ConsumerError, ConsumerParts, Draft,
    retry::{Deferral, defer},
};
use crate::{
    domain::{PresignedUrl, SourceName},
    fetch::{FetchStatus, Fetched, Object, Wanted},
    helicone_api::{DEFAULT_URL, HeliconeApi, HeliconeApiError, KnownRequest},
    settings::SourceSettings,
};

/// A row waits no longer for the API.
const TIMEOUT: Duration = Duration::from_secs(3);
/// A key that is refused is not shown again before this.
const KEY_PAUSE: Duration = Duration::from_secs(300);

/// Helicone's API, for the sources that have a key.
pub struct ByIdApi {
    apis: HashMap<SourceName, HeliconeApi>,
    paused_until: Mutex<HashMap<SourceName, Instant>>,
    asked: IntCounterVec,
}

/// What the API came to.
enum Answer {
    Known(KnownRequest),
    /// It has no bodies, or was not asked.
    Nothing,
    Later(Option<Duration>),
}

impl ByIdApi {
    /// Prepares to ask; connects to nothing yet.
    ///
    /// # Errors
    /// [`ConsumerError::HeliconeApi`] for a URL that is none.
    pub fn new(sources: &[SourceSettings], registry: &Registry) -> Result<Self, ConsumerError> {
        let mut apis = HashMap::new();
        for source in sources {
            if let Some(key) = &source.helicone_api_key {
                let url = source.helicone_api_url.as_deref().unwrap_or(DEFAULT_URL);
                let api = HeliconeApi::new(url, key, TIMEOUT)
                    .map_err(|error| ConsumerError::HeliconeApi { source_name: source.name.to_string(), error })?;
                apis.insert(source.name.clone(), api);
            }
        }
        let asked = IntCounterVec::new(
            Opts::new(
                "heliometer_helicone_bodies_total",
                "Bodies asked of Helicone's API by id, by what became of it.",
            ),
            &["result"],
        )
        .map_err(ConsumerError::Metrics)?;
        registry.register(Box::new(asked.clone())).map_err(ConsumerError::Metrics)?;
        Ok(Self { apis, paused_until: Mutex::default(), asked })
    }

    async fn ask(&self, draft: &Draft) -> Answer {
        let Some(api) = self.apis.get(draft.source()).filter(|_| draft.lacks_response()) else {
            return Answer::Nothing;
        };
        let is_paused = {
            let paused = self.paused_until.lock().unwrap_or_else(PoisonError::into_inner);
            paused.get(draft.source()).is_some_and(|until| Instant::now() < *until)
        };
        if is_paused {
            return self.counted("key_refused", Answer::Nothing);
        }
        match timeout(TIMEOUT, api.get_request(draft.request_id())).await {
            Ok(Ok(Some(known))) if known.response_body.is_some() => self.counted("found", Answer::Known(known)),
            Ok(Ok(_)) => self.counted("not_found", Answer::Nothing),
            Ok(Err(HeliconeApiError::Limit)) => self.counted("limit", Answer::Nothing),
            Ok(Err(HeliconeApiError::Transient { retry_after, .. })) => {
                self.counted("later", Answer::Later(retry_after))
            }
            Err(_) => self.counted("later", Answer::Later(None)),
            Ok(Err(error)) => {
                let is_key = matches!(error, HeliconeApiError::Key { .. });
                tracing::warn!(source = %draft.source(), %error, "bodies could not be had from Helicone's API");
                if is_key {
                    let mut paused = self.paused_until.lock().unwrap_or_else(PoisonError::into_inner);
                    paused.insert(draft.source().clone(), Instant::now() + KEY_PAUSE);
                }
                self.counted(if is_key { "key_refused" } else { "failed" }, Answer::Nothing)
            }
        }
    }

    fn counted(&self, result: &str, answer: Answer) -> Answer {
        self.asked.with_label_values(&[result]).inc();
        answer
    }
}

/// What became of the bodies, and the bodies if they are not the webhook's own. What is [`FetchStatus::Pending`] then was put
/// off, durably.
pub(super) async fn settle(
    parts: &ConsumerParts,
    draft: &Draft,
    url: &PresignedUrl,
    fetched: Fetched,
    deferral: Deferral,
) -> (FetchStatus, Option<Object>) {
    let retry_after = match fetched {
        Fetched::Object(object) => return (FetchStatus::Fetched, Some(object)),
        Fetched::NotNow { retry_after } => retry_after,
        Fetched::Never(status) => match parts.by_id.ask(draft).await {
            Answer::Nothing => return (status, None),
            Answer::Later(retry_after) => retry_after,
            Answer::Known(known) => match parts.fetcher.adopt(as_object(&known)) {
                Some(object) => return (FetchStatus::HeliconeApi, Some(object)),
                // No memory for it just now.
                None => None,
            },
        },
    };
    let wanted = Wanted { source: draft.source(), url, received_at: draft.received_at() };
    (defer(parts, wanted, deferral, retry_after).await, None)
}

/// In the shape of a stored object.
fn as_object(known: &KnownRequest) -> Vec<u8> {
    let text =
        |body: &Option<Box<serde_json::value::RawValue>>| body.as_ref().map_or("null", |body| body.get()).to_owned();
    format!(r#"{{"request":{},"response":{}}}"#, text(&known.request_body), text(&known.response_body)).into_bytes()
}
