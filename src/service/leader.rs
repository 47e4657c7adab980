//! One leader among the processes that have the role `alerter`.
//!
//! Whoever has partition 0 of the topic `control` in the consumer group `leader` leads; nothing is ever written there.
//! With the embedded log that is this process, at once. With Kafka it is one of all that share the brokers and the
//! `event_log.topic_prefix`. When it stops another one leads within seconds, when it dies after the session timeout (10 s;
//! 45 s with `event_log.instance_id`, then also when it stops).
//!
//! Losing the partition ends the work, and it has ended before the next event is asked for. Kafka may nevertheless have
//! given the partition to another one already: the client's own thread answers the group, so that a busy process keeps
//! its partitions. Nor would it help against a process that was paused and does not know what it lost. What keeps two
//! leaders apart is therefore the [`Term`](crate::store::Term) that each begins in ClickHouse: see there, in
//! `store::rollup`, and in [`work`](super::work).

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use prometheus::{IntGauge, Registry};
use tokio_util::sync::CancellationToken;

use crate::{
    event_log::{EventLog, EventLogError, LogEvent, Partition, ReadLimits, Subscription, Topic},
    telemetry::Health,
};

/// The consumer group, after the prefix.
const GROUP: &str = "leader";
/// The partition that makes the leader.
const SEAT: Partition = Partition(0);
const LIMITS: ReadLimits = ReadLimits { max_records: 100, max_bytes: 1 << 20 };
/// Between attempts at what failed.
const PAUSE: Duration = Duration::from_millis(if cfg!(test) { 10 } else { 1_000 });
/// A subscription that has failed this often since its last event is made anew.
const MAX_FAILURES: u32 = 5;
pub(super) const PART: &str = "leader";

/// What only the leader does.
#[async_trait]
pub(super) trait Work: Send + 'static {
    /// Works until `stop` (in order) or `revoked` (at once). When it returns nothing of it runs any more, and the next
    /// call starts afresh.
    async fn lead(&mut self, stop: &CancellationToken, revoked: &CancellationToken) -> Ended;
}

/// How a leader's work ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// It was told to.
    Asked,
    /// It could not go on, and why; it is tried again as long as this process has the seat.
    Again(String),
    /// A part of it has died: this process should be started anew.
    Died,
}

/// What one subscription came to.
enum Followed {
    Stopped,
    Failed(EventLogError),
    Died,
}

/// See the module.
pub(super) struct Leader<W> {
    log: Arc<dyn EventLog>,
    work: W,
    health: Health,
    leads: IntGauge,
    stop: CancellationToken,
}

impl<W: Work> Leader<W> {
    /// Registers `heliometer_is_leader`. `stop` ends it in order.
    ///
    /// # Errors
    /// When the metric is registered twice.
    pub(super) fn new(
        log: Arc<dyn EventLog>,
        work: W,
        health: Health,
        registry: &Registry,
        stop: CancellationToken,
    ) -> Result<Self, prometheus::Error> {
        let leads = IntGauge::new(
            "heliometer_is_leader",
            "1 in the process that keeps the rollups and sends the alerts, 0 in those that stand by.",
        )?;
        registry.register(Box::new(leads.clone()))?;
        Ok(Self { log, work, health, leads, stop })
    }

    /// Stands by and leads until stopped. Ends by itself only when the work has died.
    pub(super) async fn run(mut self) {
        let stop = self.stop.clone();
        while !stop.is_cancelled() {
            let subscribed = tokio::select! {
                subscribed = self.log.subscribe(Topic::Control, GROUP, LIMITS) => subscribed,
                () = stop.cancelled() => return,
            };
            let followed = match subscribed {
                Ok(mut subscription) => {
                    self.health.ready(PART);
                    self.follow(&mut *subscription).await
                }
                Err(error) => Followed::Failed(error),
            };
            match followed {
                Followed::Stopped | Followed::Died => return,
                Followed::Failed(error) => {
                    tracing::warn!(%error, "the leaders' group cannot be followed; joining it again");
                    self.health.not_ready(PART, error.to_string());
                    stop.run_until_cancelled(tokio::time::sleep(PAUSE)).await;
                }
            }
        }
    }

    async fn follow(&mut self, subscription: &mut dyn Subscription) -> Followed {
        let stop = self.stop.clone();
        let (mut has_seat, mut failures) = (false, 0);
        loop {
            let led = if has_seat {
                self.lead(subscription).await
            } else {
                tokio::select! {
                    event = subscription.next() => match event {
                        Ok(event) => Led::Event(event),
                        Err(error) => Led::Lost(error),
                    },
                    () = stop.cancelled() => return Followed::Stopped,
                }
            };
            match led {
                Led::Event(event) => {
                    failures = 0;
                    self.health.ready(PART);
                    has_seat = seat_after(&event, has_seat);
                }
                Led::Lost(error) => {
                    failures += 1;
                    if has_seat || failures >= MAX_FAILURES || matches!(error, EventLogError::Closed) {
                        return Followed::Failed(error);
                    }
                    tracing::warn!(%error, "the leaders' group cannot be read");
                    stop.run_until_cancelled(tokio::time::sleep(PAUSE)).await;
                }
                Led::Ended(Ended::Asked) => return Followed::Stopped,
                Led::Ended(Ended::Died) => return Followed::Died,
                Led::Ended(Ended::Again(reason)) => {
                    tracing::warn!(reason, "cannot lead; trying again");
                    self.health.not_ready(PART, reason);
                    stop.run_until_cancelled(tokio::time::sleep(PAUSE)).await;
                }
            }
        }
    }

    /// Leads until the seat is lost, or the work ends, or the group cannot be read for long.
    async fn lead(&mut self, subscription: &mut dyn Subscription) -> Led {
        let revoked = CancellationToken::new();
        tracing::info!("this process leads: it keeps the rollups and sends the alerts");
        self.leads.set(1);
        let work = self.work.lead(&self.stop, &revoked);
        tokio::pin!(work);
        let mut failures = 0;
        let led = loop {
            tokio::select! {
                ended = &mut work => break Led::Ended(ended),
                event = subscription.next() => match event {
                    Ok(event) if seat_after(&event, true) => failures = 0,
                    Err(error) if failures < MAX_FAILURES && !matches!(error, EventLogError::Closed) => {
                        failures += 1;
                        tracing::warn!(%error, "the leaders' group cannot be read");
                        tokio::select! {
                            ended = &mut work => break Led::Ended(ended),
                            () = tokio::time::sleep(PAUSE) => {}
                        }
                    }
                    lost => {
                        revoked.cancel();
                        // Before anything else is heard of the group.
                        break match (work.await, lost) {
                            (Ended::Died, _) => Led::Ended(Ended::Died),
                            (Ended::Asked | Ended::Again(_), Ok(event)) => Led::Event(event),
                            (Ended::Asked | Ended::Again(_), Err(error)) => Led::Lost(error),
                        };
                    }
                },
            }
        };
        self.leads.set(0);
        tracing::info!("this process no longer leads");
        led
    }
}

/// What ended, or was heard when it was over.
enum Led {
    Event(LogEvent),
    /// The group cannot be read.
    Lost(EventLogError),
    Ended(Ended),
}

/// Whether this process has the seat after `event`.
fn seat_after(event: &LogEvent, has_seat: bool) -> bool {
    match event {
        LogEvent::Assigned(partitions) => has_seat || partitions.contains(&SEAT),
        LogEvent::Revoked(partitions) => has_seat && !partitions.contains(&SEAT),
        LogEvent::Records(..) => has_seat,
    }
}

#[cfg(test)]
#[path = "leader_tests.rs"]
mod tests;

#[cfg(test)]
#[cfg(feature = "test-kafka")]
#[path = "leader_broker_tests.rs"]
mod broker_tests;
