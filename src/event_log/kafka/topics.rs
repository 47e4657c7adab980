//! Makes the topics that are missing and looks at those that are there.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use rdkafka::{
    ClientConfig, ClientContext,
    admin::{AdminClient, AdminOptions, NewTopic, OwnedResourceSpecifier, ResourceSpecifier, TopicReplication},
    client::Client,
    config::FromClientConfigAndContext as _,
    consumer::{BaseConsumer, Consumer as _},
    types::RDKafkaErrorCode as Code,
};
use tokio::task::spawn_blocking;

use super::{
    config::{self, REQUEST_TIMEOUT},
    context::Reports,
    failure::{failed, failed_with, interrupted, not_connected},
    topic_check::{self, Described},
};
use crate::{
    event_log::{EventLogError, Topic},
    settings::EventLogSettings,
};

/// A new topic's partitions need a moment to get their leaders.
const LEADER_ATTEMPTS: u32 = 50;
const LEADER_PAUSE: Duration = Duration::from_millis(100);
/// For what librdkafka had to say about connections that failed.
const TROUBLE_PATIENCE: Duration = Duration::from_millis(200);

/// What the topics take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limits {
    /// The largest record that the settings and every topic accept, in bytes.
    pub(super) max_record_bytes: usize,
}

/// Makes missing topics, and looks at those that are there.
pub(super) async fn ensure(settings: &Arc<EventLogSettings>, reports: Reports) -> Result<Limits, EventLogError> {
    // A consumer, since to a producer's question brokers may answer by making the topic their own way.
    let config = config::admin(settings)?;
    let client: BaseConsumer<Reports> =
        BaseConsumer::from_config_and_context(&config, reports.clone()).map_err(config::refused)?;
    // Nothing is read from it, so it would not ask by itself.
    if let Some(tokens) = &reports.tokens {
        tokens.hand_to(client.client()).await?;
    }
    let client = Arc::new(client);
    let mut described = Vec::new();
    let mut missing = Vec::new();
    for topic in Topic::ALL {
        match look(&client, settings, topic).await? {
            Some(found) => described.push((topic, found)),
            None => missing.push(topic),
        }
    }
    if !missing.is_empty() {
        create(settings, &config, reports.clone(), &missing).await?;
    }
    for topic in missing {
        let mut attempt = 0;
        let found = loop {
            attempt += 1;
            match look(&client, settings, topic).await {
                Ok(Some(found)) => break found,
                Ok(None) if attempt == LEADER_ATTEMPTS => {
                    return Err(failed_with("creating topics", Code::UnknownTopicOrPartition));
                }
                Err(error) if attempt == LEADER_ATTEMPTS => return Err(error),
                Ok(None) | Err(_) => tokio::time::sleep(LEADER_PAUSE).await,
            }
        };
        described.push((topic, found));
    }
    // The client's end takes its time.
    spawn_blocking(move || drop(client)).await.map_err(|error| interrupted(&error))?;
    // Another user's rights may not go that far, and another program's brokers may not know the question.
    if let Err(error) = add_configs(settings, &config, reports, &mut described).await {
        tracing::info!(%error, "whether the topics keep and take what they should is not known");
    }
    judge(settings, &described)
}

/// Warns of what is wrong with the topics; what they take.
fn judge(settings: &EventLogSettings, described: &[(Topic, Described)]) -> Result<Limits, EventLogError> {
    let mut max_record_bytes = settings.max_record_bytes;
    for (topic, found) in described {
        for warning in topic_check::check(settings, *topic, found)? {
            tracing::warn!(topic = config::topic_name(settings, *topic), "the topic is not as it should be: {warning}");
        }
        if let Some(bytes) = found.max_message_bytes().filter(|bytes| *bytes < config::max_message_bytes(settings)) {
            max_record_bytes = max_record_bytes.min(bytes);
        }
    }
    Ok(Limits { max_record_bytes })
}

/// The topic as its metadata say, `None` when it is not there.
async fn look(
    client: &Arc<BaseConsumer<Reports>>,
    settings: &Arc<EventLogSettings>,
    topic: Topic,
) -> Result<Option<Described>, EventLogError> {
    let (client, name) = (Arc::clone(client), config::topic_name(settings, topic));
    let looking = spawn_blocking(move || {
        let found = describe(client.client(), &name);
        if found.is_err() {
            // The call says that no answer came; why there is no connection was told meanwhile.
            let deadline = Instant::now() + TROUBLE_PATIENCE;
            while let Some(left) = deadline.checked_duration_since(Instant::now()) {
                drop(client.poll(left));
            }
            if let Some(trouble) = client.context().take_trouble() {
                return Err(not_connected("connecting to Kafka", &trouble));
            }
        }
        found
    });
    looking.await.map_err(|error| interrupted(&error))?
}

/// The topic's metadata once all partitions have a leader, `None` when it is not there. Blocks.
pub(super) fn describe<C: ClientContext>(client: &Client<C>, name: &str) -> Result<Option<Described>, EventLogError> {
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
    let replicas = topic.partitions().iter().map(|partition| partition.replicas().len()).min().unwrap_or(0);
    Ok(Some(Described { partitions: topic.partitions().len(), replicas, ..Described::default() }))
}

async fn create(
    settings: &EventLogSettings,
    config: &ClientConfig,
    reports: Reports,
    missing: &[Topic],
) -> Result<(), EventLogError> {
    const DOING: &str = "creating topics";
    let admin = admin(config, reports).await?;
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

/// Adds the topics' own configurations.
async fn add_configs(
    settings: &EventLogSettings,
    config: &ClientConfig,
    reports: Reports,
    described: &mut [(Topic, Described)],
) -> Result<(), EventLogError> {
    let admin = admin(config, reports).await?;
    let names: Vec<String> = described.iter().map(|(topic, _)| config::topic_name(settings, *topic)).collect();
    let specifiers: Vec<ResourceSpecifier<'_>> = names.iter().map(|name| ResourceSpecifier::Topic(name)).collect();
    let options = AdminOptions::new().request_timeout(Some(REQUEST_TIMEOUT));
    let resources = admin
        .describe_configs(&specifiers, &options)
        .await
        .map_err(|error| failed("reading topics' configurations", &error))?;
    for resource in resources.into_iter().flatten() {
        let OwnedResourceSpecifier::Topic(name) = &resource.specifier else { continue };
        let Some(index) = names.iter().position(|known| known == name) else { continue };
        let entries = resource.entries.into_iter().filter_map(|entry| Some((entry.name, entry.value?)));
        described[index].1.config = entries.collect();
    }
    Ok(())
}

/// A client for questions about topics, which has its token when it needs one.
async fn admin(config: &ClientConfig, reports: Reports) -> Result<AdminClient<Reports>, EventLogError> {
    let tokens = reports.tokens.clone();
    let admin = AdminClient::from_config_and_context(config, reports).map_err(config::refused)?;
    if let Some(tokens) = tokens {
        tokens.hand_to(admin.inner()).await?;
    }
    Ok(admin)
}
