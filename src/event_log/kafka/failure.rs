//! Kafka's errors in the event log's words.

use std::time::{Duration, Instant};

use rdkafka::{error::KafkaError, types::RDKafkaErrorCode as Code};
use tokio::task::JoinError;

use super::{config::REQUEST_TIMEOUT, context::Trouble};
use crate::event_log::EventLogError;

const LEADER_PAUSE: Duration = Duration::from_millis(100);

/// Anything but a refused append.
pub(super) fn failed(doing: &'static str, error: &KafkaError) -> EventLogError {
    let advice = code(error).map_or("", advice);
    EventLogError::Storage { doing, message: format!("{error}{advice}") }
}

/// librdkafka's code, which rdkafka does not give for every kind of error.
pub(super) fn code(error: &KafkaError) -> Option<Code> {
    match error {
        KafkaError::AdminOp(code) => Some(*code),
        error => error.rdkafka_error_code(),
    }
}

/// [`failed`] from a bare code.
pub(super) fn failed_with(doing: &'static str, code: Code) -> EventLogError {
    EventLogError::Storage { doing, message: format!("{code}{}", advice(code)) }
}

/// Why no connection was made, which says more than that an answer did not come.
pub(super) fn not_connected(doing: &'static str, trouble: &Trouble) -> EventLogError {
    EventLogError::Storage { doing, message: format!("{}{}", trouble.reason, advice(trouble.code)) }
}

/// Why a record is not known to be durable. `max_bytes` is what the topic takes.
pub(super) fn not_appended(error: &KafkaError, size_bytes: usize, max_bytes: usize) -> EventLogError {
    match code(error) {
        Some(Code::QueueFull | Code::MessageTimedOut | Code::TimedOutQueue | Code::RequestTimedOut) => {
            EventLogError::Overloaded
        }
        Some(Code::MessageSizeTooLarge | Code::MessageBatchTooLarge | Code::InvalidMessageSize) => {
            EventLogError::RecordTooLarge { size_bytes, max_bytes }
        }
        _ => failed("appending to Kafka", error),
    }
}

/// Asks again while a partition's leader is changing or, on a new topic, has not been told yet. Blocks.
pub(super) fn past_leader_changes<T>(mut question: impl FnMut() -> Result<T, KafkaError>) -> Result<T, KafkaError> {
    let deadline = Instant::now() + REQUEST_TIMEOUT;
    loop {
        match question() {
            Err(error) if is_leader_change(&error) && Instant::now() < deadline => std::thread::sleep(LEADER_PAUSE),
            answer => return answer,
        }
    }
}

fn is_leader_change(error: &KafkaError) -> bool {
    use Code::{
        FencedLeaderEpoch, LeaderNotAvailable, NotLeaderForPartition, UnknownLeaderEpoch, UnknownTopicOrPartition,
    };
    matches!(
        code(error),
        Some(
            NotLeaderForPartition
                | LeaderNotAvailable
                | UnknownTopicOrPartition
                | UnknownLeaderEpoch
                | FencedLeaderEpoch
        )
    )
}

/// A task that was to do the work is gone.
pub(super) fn interrupted(error: &JoinError) -> EventLogError {
    EventLogError::Storage { doing: "working on a Kafka request", message: error.to_string() }
}

const fn advice(code: Code) -> &'static str {
    match code {
        Code::BrokerTransportFailure | Code::AllBrokersDown | Code::OperationTimedOut | Code::Resolve => {
            "; check that event_log.brokers can be reached from here and that event_log.security_protocol is theirs"
        }
        Code::Authentication | Code::SaslAuthenticationFailed | Code::UnsupportedSASLMechanism => {
            "; check event_log.sasl_mechanism and its credentials: sasl_username and sasl_password, or with \
             OAUTHBEARER what the brokers expect of a token"
        }
        Code::SSL => "; check event_log.ssl_ca_file and that the brokers' certificates name their hosts",
        Code::TopicAuthorizationFailed | Code::GroupAuthorizationFailed | Code::ClusterAuthorizationFailed => {
            "; grant this user Read, Write, Describe, DescribeConfigs and Create on topics, and Read on groups, that begin \
             with event_log.topic_prefix, and IdempotentWrite on the cluster"
        }
        Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::UnknownPartition => {
            "; the topic was removed: restart to have it made again"
        }
        Code::InvalidReplicationFactor => "; set event_log.replication_factor to at most the number of brokers",
        Code::NotEnoughReplicas | Code::NotEnoughReplicasAfterAppend => {
            "; too few brokers are up for the topic's min.insync.replicas"
        }
        Code::RebalanceInProgress | Code::IllegalGeneration | Code::UnknownMemberId => {
            "; the group is being rebalanced, and another member may read these records again"
        }
        Code::FencedInstanceId => "; another process runs with the same event_log.instance_id: give each its own",
        _ => "",
    }
}
