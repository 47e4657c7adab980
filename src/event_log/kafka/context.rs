//! What librdkafka says, in our log and metrics.

use prometheus::IntCounterVec;
use rdkafka::{ClientContext, config::RDKafkaLogLevel, error::KafkaError};

/// For every client of one log.
#[derive(Clone)]
pub(super) struct Reports {
    pub(super) broker_errors: IntCounterVec,
}

impl ClientContext for Reports {
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
        tracing::warn!(target: "librdkafka", error = label, "{reason}");
    }
}
