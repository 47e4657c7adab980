//! Makes the topics that are missing and looks at those that are there.

use std::{sync::Arc, time::Duration};

use rdkafka::{
    ClientConfig, ClientContext,
    admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication},
    client::Client,
    config::FromClientConfigAndContext as _,
    consumer::{BaseConsumer, Consumer as _},
    types::RDKafkaErrorCode as Code,
};
use tokio::task::spawn_blocking;

use super::{
    config::{self, REQUEST_TIMEOUT},
    context::Reports,
    failure::{failed, failed_with, interrupted},
};
use crate::{
    event_log::{EventLogError, Topic},
    settings::EventLogSettings,
};

/// A new topic's partitions need a moment to get their leaders.
const LEADER_ATTEMPTS: u32 = 50;
const LEADER_PAUSE: Duration = Duration::from_millis(100);

/// What the topics take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limits {
    /// The largest record that the settings and every topic accept, in bytes.
    pub(super) max_record_bytes: usize,
}

/// Makes missing topics, and warns of those that are not as the settings say.
pub(super) async fn ensure(settings: &Arc<EventLogSettings>, reports: Reports) -> Result<Limits, EventLogError> {
    // A consumer, since to a producer's question brokers may answer by making the topic their own way.
    let config = config::admin(settings)?;
    let client: BaseConsumer<Reports> =
        BaseConsumer::from_config_and_context(&config, reports.clone()).map_err(config::refused)?;
    let client = Arc::new(client);
    let mut missing = Vec::new();
    for topic in Topic::ALL {
        match look(&client, settings, topic).await? {
            Some(partitions) => warn_if_fewer(settings, topic, partitions),
            None => missing.push(topic),
        }
    }
    if !missing.is_empty() {
        create(settings, &config, reports, &missing).await?;
    }
    for topic in missing {
        let mut attempt = 0;
        let partitions = loop {
            attempt += 1;
            match look(&client, settings, topic).await {
                Ok(Some(partitions)) => break partitions,
                Ok(None) if attempt == LEADER_ATTEMPTS => {
                    return Err(failed_with("creating topics", Code::UnknownTopicOrPartition));
                }
                Err(error) if attempt == LEADER_ATTEMPTS => return Err(error),
                Ok(None) | Err(_) => tokio::time::sleep(LEADER_PAUSE).await,
            }
        };
        warn_if_fewer(settings, topic, partitions);
    }
    // The client's end takes its time.
    spawn_blocking(move || drop(client)).await.map_err(|error| interrupted(&error))?;
    Ok(Limits { max_record_bytes: settings.max_record_bytes })
}

/// The topic's number of partitions, `None` when it is not there.
async fn look(
    client: &Arc<BaseConsumer<Reports>>,
    settings: &Arc<EventLogSettings>,
    topic: Topic,
) -> Result<Option<usize>, EventLogError> {
    let (client, name) = (Arc::clone(client), config::topic_name(settings, topic));
    spawn_blocking(move || partitions(client.client(), &name)).await.map_err(|error| interrupted(&error))?
}

/// The topic's number of partitions once all have a leader, `None` when it is not there. Blocks.
pub(super) fn partitions<C: ClientContext>(client: &Client<C>, name: &str) -> Result<Option<usize>, EventLogError> {
    const DOING: &str = "reading a topic's metadata";
    let metadata = client.fetch_metadata(Some(name), REQUEST_TIMEOUT).map_err(|error| failed(DOING, &error))?;
    let Some(topic) = metadata.topics().iter().find(|topic| topic.name() == name) else { return Ok(None) };
    match topic.error().map(Code::from) {
        None => {}
        Some(Code::UnknownTopicOrPartition | Code::UnknownTopic) => return Ok(None),
        Some(code) => return Err(failed_with(DOING, code)),
    }
    if topic.partitions().is_empty() || topic.partitions().iter().any(|partition| partition.leader() < 0) {
        return Err(failed_with(DOING, Code::LeaderNotAvailable));
    }
    if topic.partitions().len() > usize::from(u16::MAX) {
        let message = format!("topic {name} has more than 65,535 partitions; choose another prefix");
        return Err(EventLogError::Settings { key: "topic_prefix".to_owned(), message });
    }
    Ok(Some(topic.partitions().len()))
}

fn warn_if_fewer(settings: &EventLogSettings, topic: Topic, found: usize) {
    let wanted = topic.partitions(settings.partitions);
    if found < usize::from(wanted) {
        tracing::warn!(
            topic = config::topic_name(settings, topic),
            partitions = found,
            wanted,
            "the topic has fewer partitions than event_log.partitions; it is used as it is (adding partitions moves \
             keys, so drain it first)"
        );
    }
}

async fn create(
    settings: &EventLogSettings,
    config: &ClientConfig,
    reports: Reports,
    missing: &[Topic],
) -> Result<(), EventLogError> {
    const DOING: &str = "creating topics";
    let admin = AdminClient::from_config_and_context(config, reports).map_err(config::refused)?;
    let max_bytes = config::max_message_bytes(settings).to_string();
    let plans: Vec<(String, u16, String)> = missing
        .iter()
        .map(|topic| {
            let retention_ms = config::retention_ms(settings, *topic).to_string();
            (config::topic_name(settings, *topic), topic.partitions(settings.partitions), retention_ms)
        })
        .collect();
    let new_topics: Vec<NewTopic<'_>> = plans
        .iter()
        .map(|(name, partitions, retention_ms)| {
            let replication = TopicReplication::Fixed(settings.replication_factor);
            NewTopic::new(name, i32::from(*partitions), replication)
                .set("retention.ms", retention_ms)
                .set("max.message.bytes", &max_bytes)
                .set("cleanup.policy", "delete")
                // The time of receipt decides where a row is kept, so it must come back as it was written.
                .set("message.timestamp.type", "CreateTime")
        })
        .collect();
    let options = AdminOptions::new().request_timeout(Some(REQUEST_TIMEOUT)).operation_timeout(Some(REQUEST_TIMEOUT));
    for result in admin.create_topics(&new_topics, &options).await.map_err(|error| failed(DOING, &error))? {
        match result {
            Ok(name) => tracing::info!(topic = name, "topic made"),
            // Another process was faster.
            Err((_, Code::TopicAlreadyExists)) => {}
            Err((_, code)) => return Err(failed_with(DOING, code)),
        }
    }
    Ok(())
}

/// What the topics take, by their own configuration. One that says nothing, or may not be asked, is taken to be as the
/// settings are.
pub(super) async fn limits(settings: &EventLogSettings, reports: Reports) -> Result<Limits, EventLogError> {
    let admin = AdminClient::from_config_and_context(&config::admin(settings)?, reports).map_err(config::refused)?;
    let names: Vec<String> = Topic::ALL.iter().map(|topic| config::topic_name(settings, *topic)).collect();
    let specifiers: Vec<ResourceSpecifier<'_>> = names.iter().map(|name| ResourceSpecifier::Topic(name)).collect();
    let options = AdminOptions::new().request_timeout(Some(REQUEST_TIMEOUT));
    let resources = admin
        .describe_configs(&specifiers, &options)
        .await
        .map_err(|error| failed("reading topics' configurations", &error))?;
    let wanted = config::max_message_bytes(settings);
    let mut max_record_bytes = settings.max_record_bytes;
    for (name, resource) in names.iter().zip(resources) {
        let found: Option<usize> =
            resource.ok().and_then(|resource| resource.get("max.message.bytes")?.value.as_ref()?.parse().ok());
        if let Some(found) = found.filter(|found| *found < wanted) {
            tracing::warn!(
                topic = name,
                max_message_bytes = found,
                wanted,
                "the topic refuses records that event_log.max_record_bytes allows; raise its max.message.bytes"
            );
            max_record_bytes = max_record_bytes.min(found);
        }
    }
    Ok(Limits { max_record_bytes })
}
