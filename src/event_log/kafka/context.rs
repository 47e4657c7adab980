//! What librdkafka says, in our log and metrics, and what it asks.

use std::sync::{Arc, Mutex, PoisonError};

use prometheus::IntCounterVec;
use rdkafka::{
    ClientContext, client::OAuthToken, config::RDKafkaLogLevel, error::KafkaError, types::RDKafkaErrorCode as Code,
};

use super::oauth::Tokens;

/// For every client of one log.
#[derive(Clone)]
pub(super) struct Reports {
    broker_errors: IntCounterVec,
    pub(super) tokens: Option<Tokens>,
    /// Why connections fail, for whoever waits for one.
    trouble: Arc<Mutex<Option<Trouble>>>,
}

/// A connection that failed, in librdkafka's words: these name hosts and reasons, never credentials.
#[derive(Clone)]
pub(super) struct Trouble {
    pub(super) code: Code,
    pub(super) reason: String,
}

impl Reports {
    pub(super) fn new(broker_errors: IntCounterVec, tokens: Option<Tokens>) -> Self {
        Self { broker_errors, tokens, trouble: Arc::default() }
    }

    /// The same with troubles of its own.
    pub(super) fn apart(&self) -> Self {
        Self { trouble: Arc::default(), ..self.clone() }
    }

    /// The most telling trouble since the last call.
    pub(super) fn take_trouble(&self) -> Option<Trouble> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn remember(&self, code: Code, reason: &str) {
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        if trouble.as_ref().is_none_or(|known| rank(known.code) <= rank(code)) {
            *trouble = Some(Trouble { code, reason: reason.to_owned() });
        }
    }
}

/// That all brokers are down, or that a connection was closed, follows from what was refused.
const fn rank(code: Code) -> u8 {
    match code {
        Code::AllBrokersDown => 0,
        Code::BrokerTransportFailure => 1,
        _ => 2,
    }
}

impl ClientContext for Reports {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        match level {
            // librdkafka goes on by itself; what it cannot mend comes back as the error of a call.
            RDKafkaLogLevel::Emerg
            | RDKafkaLogLevel::Alert
            | RDKafkaLogLevel::Critical
            | RDKafkaLogLevel::Error
            | RDKafkaLogLevel::Warning => tracing::warn!(target: "librdkafka", facility, "{message}"),
            RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info | RDKafkaLogLevel::Debug => {
                tracing::debug!(target: "librdkafka", facility, "{message}");
            }
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let label = error.rdkafka_error_code().map_or_else(|| "Other".to_owned(), |code| format!("{code:?}"));
        self.broker_errors.with_label_values(&[&label]).inc();
        if let Some(code) = error.rdkafka_error_code() {
            self.remember(code, reason);
        }
        tracing::warn!(target: "librdkafka", error = label, "{reason}");
    }

    fn generate_oauth_token(&self, _: Option<&str>) -> Result<OAuthToken, Box<dyn std::error::Error>> {
        match &self.tokens {
            Some(tokens) => tokens.for_client(),
            None => Err("no token endpoint is set".into()),
        }
    }
}
