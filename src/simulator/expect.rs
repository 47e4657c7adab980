//! What a correct receiver must count, worked out here without any of the receiver's code.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    event::{Event, Kind},
    faults::DeliveryFault,
    number_set::NumberSet,
};
use crate::domain::UtcMillis;

/// What a correct receiver makes of one delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expectation {
    /// Answered 200 and counted once.
    Counted(CountedRequest),
    /// Answered 200 and kept out of every total.
    Test,
    /// Answered 400 and kept as a dead letter.
    DeadLetter,
    /// Answered 401.
    Unauthorized,
}

impl Expectation {
    /// The status of a correct receiver that is neither limited nor overloaded.
    #[must_use]
    pub const fn status(&self) -> u16 {
        match self {
            Self::Counted(_) | Self::Test => 200,
            Self::DeadLetter => 400,
            Self::Unauthorized => 401,
        }
    }
}

/// What one request adds to the totals. `None` is unknown, which is not zero.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CountedRequest {
    /// The payload's model, `""` when absent.
    pub model: String,
    /// The payload's provider, `""` when absent.
    pub provider: String,
    /// The payload's user, `""` when absent.
    pub user_id: String,
    /// 10⁻¹² USD; `None` is unpriced.
    pub cost_pico_usd: Option<u64>,
    /// Without cached tokens.
    pub prompt_tokens: Option<u64>,
    /// Generated tokens.
    pub completion_tokens: Option<u64>,
    /// Helicone's own total when its counts are credible, else the sum.
    pub total_tokens: Option<u64>,
    /// Prompt tokens from the provider's cache, as far as the body tells.
    pub cached_tokens: u64,
    /// The body's own creation time, where it is to be believed; else the time of receipt counts.
    pub event_time: Option<UtcMillis>,
    /// As the gateway measured it.
    pub latency_ms: Option<u64>,
    /// How the call ended.
    pub status: CallStatus,
}

/// How a call ended, as far as its response tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CallStatus {
    /// There is a response.
    #[default]
    Success,
    /// The provider refused.
    Error,
    /// There is no response.
    Unknown,
}

impl CallStatus {
    /// Its name in the view `requests`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Error => "error",
            Self::Unknown => "unknown",
        }
    }

    const fn of(kind: Kind) -> Self {
        match kind {
            Kind::ProviderError => Self::Error,
            Kind::WithoutMetadata => Self::Unknown,
            _ => Self::Success,
        }
    }
}

/// The rules, applied to one event. `created_at` is what its body says of its creation, if that is to be believed.
pub(super) fn expectation(event: &Event, fault: Option<DeliveryFault>, created_at: Option<UtcMillis>) -> Expectation {
    match fault {
        Some(DeliveryFault::BadSignature) => return Expectation::Unauthorized,
        Some(DeliveryFault::NotJson | DeliveryFault::NoRequestId) => return Expectation::DeadLetter,
        None if event.kind == Kind::TestButton => return Expectation::Test,
        None => {}
    }
    let mut counted = CountedRequest {
        model: event.model_name().unwrap_or_default().to_owned(),
        provider: event.provider().unwrap_or_default().to_owned(),
        user_id: event.user_id.clone().unwrap_or_default(),
        cached_tokens: event.body_usage().map_or(0, |_| event.tokens.cache_read),
        event_time: created_at.filter(|_| event.tells_creation()),
        latency_ms: event.metadata().map(|_| event.latency_ms).filter(|latency_ms| *latency_ms > 0),
        status: CallStatus::of(event.kind),
        ..CountedRequest::default()
    };
    let told = event.metadata();
    let tokens = told.and_then(|told| {
        let prompt = u64::try_from(told.prompt_tokens).ok()?;
        let completion = u64::try_from(told.completion_tokens).ok()?;
        Some((prompt, completion, u64::try_from(told.total_tokens).ok()?))
    });
    let credible = tokens.filter(|(prompt, completion, _)| prompt + completion > 0);
    let from_body = || event.body_usage().map(|(prompt, completion)| (prompt, completion, prompt + completion));
    if let Some((prompt, completion, total)) = credible.or_else(from_body).or(tokens) {
        counted.prompt_tokens = Some(prompt);
        counted.completion_tokens = Some(completion);
        counted.total_tokens = Some(total);
    }
    // A cost beside negative tokens is that of minus one token. Where the gateway counted nothing, the price book tells.
    counted.cost_pico_usd = tokens
        .and(told)
        .map(|told| told.cost_pico_usd)
        .filter(|cost| *cost > 0)
        .or_else(|| event.book_cost_pico_usd())
        .and_then(|cost| u64::try_from(cost).ok());
    Expectation::Counted(counted)
}

/// Sums over some requests. Unknown values add nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sums {
    /// Distinct requests.
    pub requests: u64,
    /// Those of them with a known cost.
    pub priced_requests: u64,
    /// USD with 12 decimals.
    pub cost_usd: String,
    /// Without cached tokens.
    pub prompt_tokens: u64,
    /// Generated tokens.
    pub completion_tokens: u64,
    /// As each request tells it.
    pub total_tokens: u64,
}

/// Sums of one source, model and provider.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelSums {
    /// The webhook's source.
    pub source: String,
    /// `""` when the payload names none.
    pub model: String,
    /// `""` when the payload names none.
    pub provider: String,
    /// The sums.
    #[serde(flatten)]
    pub sums: Sums,
}

/// Sums of one source, user and model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserSums {
    /// The webhook's source.
    pub source: String,
    /// `""` when the payload names none.
    pub user_id: String,
    /// `""` when the payload names none.
    pub model: String,
    /// The sums.
    #[serde(flatten)]
    pub sums: Sums,
}

/// What `--expect` writes: the totals that ClickHouse must show for what was accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExpectedTotals {
    /// The seed that gives the same events again.
    pub seed: u64,
    /// Deliveries begun, duplicates included, retries not.
    pub sent: u64,
    /// Deliveries answered 200: `requests` + `duplicates` + `tests`.
    pub accepted: u64,
    /// Accepted deliveries of a request that was accepted before. A receiver may have seen more of them when
    /// `uncertain` is not zero.
    pub duplicates: u64,
    /// Accepted deliveries of the test button.
    pub tests: u64,
    /// Deliveries answered 400, as they should be.
    pub dead_letters: u64,
    /// Deliveries answered 401, as they should be.
    pub bad_signatures: u64,
    /// Deliveries of which an attempt went without an answer, so that the receiver may have it and got it again.
    pub uncertain: u64,
    /// The sums over all distinct accepted requests.
    #[serde(flatten)]
    pub sums: Sums,
    /// By source, model and provider, sorted.
    pub by_model: Vec<ModelSums>,
    /// By source, user and model, sorted.
    pub by_user: Vec<UserSums>,
}

#[derive(Debug, Default)]
struct Accumulator {
    requests: u64,
    priced_requests: u64,
    cost_pico_usd: u128,
    prompt_tokens: u64,
    completion_tokens: u64,
    total_tokens: u64,
}

impl Accumulator {
    fn add(&mut self, request: &CountedRequest) {
        self.requests += 1;
        self.priced_requests += u64::from(request.cost_pico_usd.is_some());
        self.cost_pico_usd += u128::from(request.cost_pico_usd.unwrap_or(0));
        self.prompt_tokens += request.prompt_tokens.unwrap_or(0);
        self.completion_tokens += request.completion_tokens.unwrap_or(0);
        self.total_tokens += request.total_tokens.unwrap_or(0);
    }

    fn sums(&self) -> Sums {
        const PICO: u128 = 1_000_000_000_000;
        Sums {
            requests: self.requests,
            priced_requests: self.priced_requests,
            cost_usd: format!("{}.{:012}", self.cost_pico_usd / PICO, self.cost_pico_usd % PICO),
            prompt_tokens: self.prompt_tokens,
            completion_tokens: self.completion_tokens,
            total_tokens: self.total_tokens,
        }
    }
}

/// Adds up what was accepted. Its memory is one bit an event and one entry a group.
#[derive(Debug)]
pub(super) struct Ledger {
    seen: NumberSet,
    accepted: u64,
    duplicates: u64,
    tests: u64,
    dead_letters: u64,
    bad_signatures: u64,
    all: Accumulator,
    by_model: BTreeMap<(String, String), Accumulator>,
    by_user: BTreeMap<(String, String), Accumulator>,
}

/// What an answer means for the totals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Recorded {
    /// The first acceptance of a request.
    New,
    /// As expected, and nothing new.
    Expected,
    /// Another status than a correct receiver gives.
    Unexpected,
}

impl Ledger {
    pub(super) fn new(count: u64) -> Self {
        Self {
            seen: NumberSet::new(count),
            accepted: 0,
            duplicates: 0,
            tests: 0,
            dead_letters: 0,
            bad_signatures: 0,
            all: Accumulator::default(),
            by_model: BTreeMap::new(),
            by_user: BTreeMap::new(),
        }
    }

    /// Takes the final status of one delivery.
    pub(super) fn record(&mut self, number: u64, expectation: &Expectation, status: u16) -> Recorded {
        if status != expectation.status() {
            return Recorded::Unexpected;
        }
        match expectation {
            Expectation::Counted(request) => {
                self.accepted += 1;
                if !self.seen.insert(number) {
                    self.duplicates += 1;
                    return Recorded::Expected;
                }
                self.all.add(request);
                let by_model = (request.model.clone(), request.provider.clone());
                self.by_model.entry(by_model).or_default().add(request);
                let by_user = (request.user_id.clone(), request.model.clone());
                self.by_user.entry(by_user).or_default().add(request);
                return Recorded::New;
            }
            Expectation::Test => {
                self.accepted += 1;
                self.tests += 1;
            }
            Expectation::DeadLetter => self.dead_letters += 1,
            Expectation::Unauthorized => self.bad_signatures += 1,
        }
        Recorded::Expected
    }

    /// The totals so far.
    pub(super) fn totals(&self, seed: u64, source: &str, sent: u64, uncertain: u64) -> ExpectedTotals {
        ExpectedTotals {
            seed,
            sent,
            accepted: self.accepted,
            duplicates: self.duplicates,
            tests: self.tests,
            dead_letters: self.dead_letters,
            bad_signatures: self.bad_signatures,
            uncertain,
            sums: self.all.sums(),
            by_model: self
                .by_model
                .iter()
                .map(|((model, provider), sums)| ModelSums {
                    source: source.to_owned(),
                    model: model.clone(),
                    provider: provider.clone(),
                    sums: sums.sums(),
                })
                .collect(),
            by_user: self
                .by_user
                .iter()
                .map(|((user_id, model), sums)| UserSums {
                    source: source.to_owned(),
                    user_id: user_id.clone(),
                    model: model.clone(),
                    sums: sums.sums(),
                })
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{
        catalog::{MODELS, Model},
        event::Tokens,
    };
    use super::*;

    fn event(kind: Kind, alias: &str, user_id: Option<&str>, prompt: u64, completion: u64, cost: i128) -> Event {
        let model: &'static Model = MODELS.iter().find(|model| model.alias.starts_with(alias)).expect("known");
        Event {
            number: 0,
            kind,
            model,
            user_id: user_id.map(str::to_owned),
            tokens: Tokens { prompt, completion, cache_read: 7, cache_write: 0, reasoning: 0 },
            latency_ms: 900,
            cost_pico_usd: cost,
            cost_noise_ulps: 2,
        }
    }

    #[test]
    fn totals_equal_a_table_written_by_hand() {
        let events = [
            event(Kind::Plain, "gpt-4o", Some("a"), 100, 20, 450_000_000),
            event(Kind::OddText, "gpt-4o", Some("b"), 10, 5, 75_000_000),
            event(Kind::StreamWithoutUsage, "gpt-4o", Some("a"), 999, 999, 999),
            event(Kind::ProviderError, "gpt-4o", Some("a"), 999, 999, 999),
            event(Kind::UsageOnlyInBody, "anthropic.claude", None, 30, 628, 0),
            event(Kind::Plain, "llama3.3", Some("a"), 40, 2, 0),
            event(Kind::WithoutMetadata, "gpt-4o", Some("b"), 999, 999, 999),
            event(Kind::WithoutData, "gpt-4o", None, 999, 999, 999),
            event(Kind::TestButton, "gpt-4o", Some("a"), 999, 999, 999),
        ];
        let mut ledger = Ledger::new(20);
        for (number, event) in (0..).zip(&events) {
            let expected = expectation(event, None, None);
            assert_ne!(ledger.record(number, &expected, 200), Recorded::Unexpected);
            assert_eq!(ledger.record(number, &expected, 503), Recorded::Unexpected);
        }
        ledger.record(0, &expectation(&events[0], None, None), 200);
        ledger.record(9, &Expectation::DeadLetter, 400);
        ledger.record(10, &Expectation::Unauthorized, 401);

        let totals = ledger.totals(1, "default", 12, 0);
        // (requests, priced, cost, prompt, completion)
        let row = |sums: &Sums| {
            (sums.requests, sums.priced_requests, sums.cost_usd.clone(), sums.prompt_tokens, sums.completion_tokens)
        };
        let usd = str::to_owned;
        assert_eq!(row(&totals.sums), (8, 3, usd("0.010037100000"), 180, 655));
        assert_eq!(totals.sums.total_tokens, 835);
        assert_eq!((totals.accepted, totals.duplicates, totals.tests), (10, 1, 1));
        assert_eq!((totals.dead_letters, totals.bad_signatures), (1, 1));

        let by_model: Vec<_> =
            totals.by_model.iter().map(|m| (m.model.as_str(), m.provider.as_str(), row(&m.sums))).collect();
        let nothing = usd("0.000000000000");
        assert_eq!(
            by_model,
            [
                ("", "", (1, 0, nothing.clone(), 0, 0)),
                ("", "OPENAI", (1, 0, nothing.clone(), 0, 0)),
                // 30 × 3 + 628 × 15 + 7 × 0.3 millionths, by the book.
                ("anthropic.claude-3-5-sonnet-20241022-v2", "AWS", (1, 1, usd("0.009512100000"), 30, 628)),
                ("gpt-4o", "OPENAI", (1, 0, nothing.clone(), 0, 0)),
                ("gpt-4o-2024-08-06", "OPENAI", (3, 2, usd("0.000525000000"), 110, 25)),
                ("llama3.3:70b", "OLLAMA", (1, 0, nothing.clone(), 40, 2)),
            ]
        );
        let user_a: Vec<_> = totals.by_user.iter().filter(|u| u.user_id == "a").map(|u| row(&u.sums)).collect();
        assert_eq!(
            user_a,
            [(1, 0, nothing.clone(), 0, 0), (2, 1, usd("0.000450000000"), 100, 20), (1, 0, nothing, 40, 2)]
        );
    }

    #[test]
    fn a_call_was_made_when_its_body_says_so() {
        let at = UtcMillis(1_757_346_297_000);
        for (kind, alias, event_time, status) in [
            (Kind::Plain, "gpt-4o", Some(at), "success"),
            (Kind::StringBodies, "gpt-4o", Some(at), "success"),
            (Kind::StreamWithoutUsage, "gpt-4o", Some(at), "success"),
            (Kind::Plain, "claude", None, "success"),
            (Kind::UsageOnlyInBody, "anthropic.claude", None, "success"),
            (Kind::WithoutData, "gpt-4o", None, "success"),
            (Kind::ProviderError, "gpt-4o", None, "error"),
            (Kind::WithoutMetadata, "gpt-4o", None, "unknown"),
        ] {
            let Expectation::Counted(request) = expectation(&event(kind, alias, None, 9, 9, 9), None, Some(at)) else {
                panic!("{kind:?} counts");
            };
            assert_eq!((request.event_time, request.status.as_str()), (event_time, status), "{kind:?}");
            let has_metadata = !matches!(kind, Kind::WithoutData | Kind::WithoutMetadata);
            assert_eq!(request.latency_ms, has_metadata.then_some(900), "{kind:?}");
        }
    }

    #[test]
    fn unknown_is_not_zero() {
        let unknown = expectation(&event(Kind::StreamWithoutUsage, "gpt-4o", None, 9, 9, 9), None, None);
        let zero = expectation(&event(Kind::ProviderError, "gpt-4o", None, 9, 9, 9), None, None);
        let tokens = |expectation| match expectation {
            Expectation::Counted(request) => (request.prompt_tokens, request.cost_pico_usd),
            other => panic!("{other:?}"),
        };
        assert_eq!((tokens(unknown), tokens(zero)), ((None, None), (Some(0), None)));
    }

    #[test]
    fn the_file_reads_back() {
        let mut ledger = Ledger::new(1);
        ledger.record(0, &expectation(&event(Kind::Plain, "gpt-4o", None, 1, 2, 3), None, None), 200);
        let totals = ledger.totals(u64::MAX, "default", 1, 0);
        let text = serde_json::to_string(&totals).expect("JSON");
        assert!(text.contains(r#""accepted":1"#) && text.contains(r#""cost_usd":"0.000000000003""#), "{text}");
        assert_eq!(serde_json::from_str::<ExpectedTotals>(&text).expect("reads back"), totals);
    }
}
