//! Makes the topics that are missing and looks at those that are there.

use std::time::Duration;

use rdkafka::{
    admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication},
    config::FromClientConfigAndContext as _,
    types::RDKafkaErrorCode as Code,
};

use super::{
    config::{self, REQUEST_TIMEOUT},
    context::Reports,
    failure::{failed, failed_with},
    producer::Producer,
};
use crate::{
    event_log::{EventLogError, Topic},
    settings::EventLogSettings,
};

/// A new topic's partitions need a moment to get their leaders.
const LEADER_ATTEMPTS: u32 = 50;
const LEADER_PAUSE: Duration = Duration::from_millis(100);

/// What the topics take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// The largest record that the settings and every topic accept, in bytes.
    pub(super) max_record_bytes: usize,
}

/// Makes missing topics, and warns of those that are not as the settings say.
pub(super) async fn ensure(
    settings: &EventLogSettings,
    reports: Reports,
    producer: &Producer,
) -> Result<Limits, EventLogError> {
    let admin = AdminClient::from_config_and_context(&config::admin(settings)?, reports)
        .map_err(config::refused)?;
    create(settings, &admin).await?;
    for topic in Topic::ALL {
        let name = config::topic_name(settings, topic);
        let found = partitions_with_leaders(producer, topic).await?;
        if found < usize::from(settings.partitions) {
            tracing::warn!(
                topic = name, partitions = found, wanted = settings.partitions,
                "the topic has fewer partitions than event_log.partitions; it is used as it is (adding partitions moves \
                 keys, so drain it first)"
            );
        }
    }
    Ok(Limits { max_record_bytes: smallest_record_limit(settings, &admin).await })
}

async fn create(settings: &EventLogSettings, admin: &AdminClient<Reports>) -> Result<(), EventLogError> {
    let max_bytes = config::max_message_bytes(settings).to_string();
    let plans: Vec<(String, String)> = Topic::ALL
        .iter()
        .map(|topic| (config::topic_name(settings, *topic), config::retention_ms(settings, *topic).to_string()))
        .collect();
    let new_topics: Vec<NewTopic<'_>> = plans
        .iter()
        .map(|(name, retention_ms)| {
            let replication = TopicReplication::Fixed(settings.replication_factor);
            NewTopic::new(name, i32::from(settings.partitions), replication)
                .set("retention.ms", retention_ms)
                .set("max.message.bytes", &max_bytes)
                .set("cleanup.policy", "delete")
                // The time of receipt decides where a row is kept, so it must come back as it was written.
                .set("message.timestamp.type", "CreateTime")
        })
        .collect();
    let options = AdminOptions::new().request_timeout(Some(REQUEST_TIMEOUT)).operation_timeout(Some(REQUEST_TIMEOUT));
    let results =
        admin.create_topics(&new_topics, &options).await.map_err(|error| failed("creating topics", &error))?;
    for result in results {
        match result {
            Ok(name) => tracing::info!(topic = name, partitions = settings.partitions, "topic made"),
            Err((_, Code::TopicAlreadyExists)) => {}
            // Someone else may have made it for us: looking at it decides.
            Err((name, code @ (Code::TopicAuthorizationFailed | Code::ClusterAuthorizationFailed))) => {
                tracing::debug!(topic = name, %code, "may not make topics");
            }
            Err((_, code)) => return Err(failed_with("creating topics", code)),
        }
    }
    Ok(())
}

async fn partitions_with_leaders(producer: &Producer, topic: Topic) -> Result<usize, EventLogError> {
    let mut attempt = 0;
    loop {
        attempt += 1;
        let found = producer.partitions(topic).await;
        match found {
            Ok(partitions) => return Ok(partitions),
            Err(error) if attempt == LEADER_ATTEMPTS => return Err(error),
            Err(EventLogError::Storage { .. }) => tokio::time::sleep(LEADER_PAUSE).await,
            Err(error) => return Err(error),
        }
    }
}

/// In bytes. A topic that says nothing, or may not be asked, is taken to be as the settings are.
async fn smallest_record_limit(settings: &EventLogSettings, admin: &AdminClient<Reports>) -> usize {
    let names: Vec<String> = Topic::ALL.iter().map(|topic| config::topic_name(settings, *topic)).collect();
    let specifiers: Vec<ResourceSpecifier<'_>> = names.iter().map(|name| ResourceSpecifier::Topic(name)).collect();
    let options = AdminOptions::new().request_timeout(Some(REQUEST_TIMEOUT));
    let resources = match admin.describe_configs(&specifiers, &options).await {
        Ok(resources) => resources,
        Err(error) => {
            tracing::debug!(%error, "topics' configurations cannot be read");
            return settings.max_record_bytes;
        }
    };
    let wanted = config::max_message_bytes(settings);
    let mut limit = settings.max_record_bytes;
    for (name, resource) in names.iter().zip(resources) {
        let found: Option<usize> = resource
            .ok()
            .and_then(|resource| resource.get("max.message.bytes")?.value.as_ref()?.parse().ok());
        if let Some(found) = found.filter(|found| *found < wanted) {
            tracing::warn!(
                topic = name, max_message_bytes = found, wanted,
                "the topic refuses records that event_log.max_record_bytes allows; raise its max.message.bytes"
            );
            limit = limit.min(found);
        }
    }
    limit
}
