//! Subscribes to a log that may be away: the service starts and takes webhooks, and reading begins when the log is
//! there.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use tokio::time::sleep;
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use super::{
    EventLog, EventLogError, LogEvent, NewRecord, Offset, Partition, Position, ReadLimits, Record, Subscription, Topic,
    Watermarks, backoff::Backoff,
};
use crate::domain::UtcMillis;

const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// A log whose subscriptions wait for it. Everything else goes through unchanged.
pub struct PatientLog {
    log: Arc<dyn EventLog>,
    /// Ends the attempts to join.
    stop: CancellationToken,
}

impl PatientLog {
    /// Puts patience around `log`.
    #[must_use]
    pub fn new(log: Arc<dyn EventLog>) -> Self {
        Self { log, stop: CancellationToken::new() }
    }
}

#[async_trait]
impl EventLog for PatientLog {
    async fn append(&self, topic: Topic, record: NewRecord) -> Result<Position, EventLogError> {
        self.log.append(topic, record).await
    }

    /// Returns at once; the group is joined in the background, again and again until it succeeds.
    async fn subscribe(
        &self,
        topic: Topic,
        group: &str,
        limits: ReadLimits,
    ) -> Result<Box<dyn Subscription>, EventLogError> {
        if self.stop.is_cancelled() {
            return Err(EventLogError::Closed);
        }
        let join = join(Arc::clone(&self.log), topic, group.to_owned(), limits, self.stop.clone());
        // A task of its own: a caller that gives up one `next` does not give up the attempt.
        Ok(Box::new(Member::Joining(AbortOnDropHandle::new(tokio::spawn(join)))))
    }

    async fn watermarks(&self, topic: Topic) -> Result<Vec<Watermarks>, EventLogError> {
        self.log.watermarks(topic).await
    }

    async fn read(&self, position: Position) -> Result<Option<Record>, EventLogError> {
        self.log.read(position).await
    }

    async fn enforce_retention(&self, now: UtcMillis) -> Result<(), EventLogError> {
        self.log.enforce_retention(now).await
    }

    async fn close(&self) {
        self.stop.cancel();
        self.log.close().await;
    }
}

type Joined = Result<Box<dyn Subscription>, EventLogError>;

async fn join(
    log: Arc<dyn EventLog>,
    topic: Topic,
    group: String,
    limits: ReadLimits,
    stop: CancellationToken,
) -> Joined {
    let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
    let attempts = async {
        loop {
            match log.subscribe(topic, &group, limits).await {
                Err(EventLogError::Closed) => return Err(EventLogError::Closed),
                Err(error) => {
                    if backoff.is_news() {
                        tracing::warn!(%error, topic = topic.name(), "the event log cannot be read yet; trying again");
                    }
                }
                joined => return joined,
            }
            sleep(backoff.next_pause()).await;
        }
    };
    stop.run_until_cancelled(attempts).await.unwrap_or(Err(EventLogError::Closed))
}

/// A subscription, or the way to one.
enum Member {
    Joining(AbortOnDropHandle<Joined>),
    Joined(Box<dyn Subscription>),
    Ended,
}

impl Member {
    /// Waits until the group is joined. Cancel-safe.
    async fn joined(&mut self) -> Result<&mut Box<dyn Subscription>, EventLogError> {
        if let Self::Joining(joining) = self {
            let joined = joining.await;
            *self = match joined {
                Ok(Ok(subscription)) => Self::Joined(subscription),
                // It goes on trying after every other error; a task without an answer was ended by the runtime.
                Ok(Err(_)) | Err(_) => Self::Ended,
            };
        }
        match self {
            Self::Joined(subscription) => Ok(subscription),
            Self::Joining(_) | Self::Ended => Err(EventLogError::Closed),
        }
    }
}

#[async_trait]
impl Subscription for Member {
    async fn next(&mut self) -> Result<LogEvent, EventLogError> {
        self.joined().await?.next().await
    }

    async fn commit(&mut self, offsets: &[(Partition, Offset)]) -> Result<(), EventLogError> {
        match self {
            Self::Joined(subscription) => subscription.commit(offsets).await,
            // Nothing was read yet.
            Self::Joining(_) if offsets.is_empty() => Ok(()),
            Self::Joining(_) => Err(EventLogError::Storage {
                doing: "committing offsets",
                message: "the consumer group is not joined yet".to_owned(),
            }),
            Self::Ended => Err(EventLogError::Closed),
        }
    }

    async fn committed(&self) -> Result<Vec<(Partition, Offset)>, EventLogError> {
        match self {
            Self::Joined(subscription) => subscription.committed().await,
            // No partition is this member's.
            Self::Joining(_) => Ok(Vec::new()),
            Self::Ended => Err(EventLogError::Closed),
        }
    }

    async fn seek_to_time(&mut self, time: UtcMillis) -> Result<(), EventLogError> {
        self.joined().await?.seek_to_time(time).await
    }
}
