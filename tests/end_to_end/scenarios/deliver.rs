//! What reaches Slack in a scenario: the alerter's own deliveries, in virtual time, to a receiver on loopback that can go away.

use std::{sync::Arc, time::Duration};

use heliometer::{
    alert::{AlertMetrics, Alerter, DeliveryPolicy},
    domain::{ManualClock, Secret, UtcMillis},
    settings::NotifierSettings,
};
use prometheus::Registry;
use serde_json::Value;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{read::Scenario, world::World};
use crate::slack::{Slack, start_slack};

/// A delivery that takes longer than this has stopped.
const PATIENCE: Duration = Duration::from_secs(60);

/// Slack, and how it is reached.
pub(super) struct Deliveries {
    slack: Slack,
    pub(super) notifiers: NotifierSettings,
    seen: usize,
}

impl Deliveries {
    pub(super) async fn start() -> Self {
        let (slack, url) = start_slack().await;
        let notifiers = NotifierSettings { slack_webhook_url: Some(Secret::new(url)), ..NotifierSettings::default() };
        Self { slack, notifiers, seen: 0 }
    }

    pub(super) fn go(&self, is_away: bool) {
        self.slack.go(is_away);
    }

    /// Lets an alerter that starts afresh deliver what waits at this time, and returns what Slack took.
    pub(super) async fn deliver(&mut self, world: &World, scenario: &Scenario, now: UtcMillis) -> Vec<Value> {
        let pace = Duration::from_millis(5);
        let policy = DeliveryPolicy {
            min_interval: Duration::ZERO,
            first_backoff: pace,
            max_backoff: pace,
            poll_every: pace,
            ..DeliveryPolicy::default()
        };
        let metrics = AlertMetrics::new(&Registry::new()).expect("metrics");
        let clock = Arc::new(ManualClock::at(now));
        let alerter = Alerter::new(world.client(), &scenario.settings, &self.notifiers, clock, metrics)
            .expect("an alerter")
            .with_policy(policy);
        let (shutdown, (_rolled_up, passes)) = (CancellationToken::new(), watch::channel(0));
        let refused = self.slack.refused();
        let running = tokio::spawn(alerter.run(shutdown.clone(), passes));
        let settled = async {
            // Either nothing waits, or it was tried and refused.
            while world.waiting().await > 0 && self.slack.refused() == refused {
                tokio::time::sleep(pace).await;
            }
        };
        tokio::time::timeout(PATIENCE, settled).await.expect("delivered or refused");
        shutdown.cancel();
        running.await.expect("the alerter ends");
        let posted = self.slack.posted().await.split_off(self.seen);
        self.seen += posted.len();
        posted
    }
}
