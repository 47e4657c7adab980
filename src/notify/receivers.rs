//! From settings to notifiers.

use std::{sync::Arc, time::Duration};

use super::{
    Notifier, NotifyError, Slack, alertmanager::Alertmanager, discord::Discord, email::EmailSender,
    pagerduty::PagerDuty, slack_bot::SlackBot, teams::Teams, webhook::SignedWebhook,
};
use crate::settings::{DEFAULT_RECEIVER, NotifierSettings, ReceiverSettings};

/// Every receiver of the settings, `slack_webhook_url` first. Connects to nothing yet.
///
/// # Errors
/// [`NotifyError::Setup`] when one cannot be set up.
pub fn receivers(settings: &NotifierSettings) -> Result<Vec<Arc<dyn Notifier>>, NotifyError> {
    let timeout = Duration::from_millis(settings.timeout_ms);
    let mut receivers: Vec<Arc<dyn Notifier>> = Vec::new();
    if let Some(url) = &settings.slack_webhook_url {
        receivers.push(Arc::new(Slack::new(DEFAULT_RECEIVER, url, timeout)?));
    }
    for receiver in &settings.receivers {
        receivers.push(build(receiver, timeout)?);
    }
    Ok(receivers)
}

/// What is wrong with a receiver's settings, in words.
///
/// # Errors
/// The first mistake.
pub fn check(settings: &ReceiverSettings) -> Result<(), String> {
    match build(settings, Duration::from_secs(1)) {
        Ok(_) => Ok(()),
        Err(NotifyError::Setup(message)) => Err(message),
        Err(other) => Err(other.to_string()),
    }
}

fn build(settings: &ReceiverSettings, timeout: Duration) -> Result<Arc<dyn Notifier>, NotifyError> {
    Ok(match settings {
        ReceiverSettings::Slack(slack) => Arc::new(Slack::new(&slack.name, &slack.webhook_url, timeout)?),
        ReceiverSettings::SlackBot(bot) => Arc::new(SlackBot::new(bot, timeout)?),
        ReceiverSettings::Alertmanager(alertmanager) => Arc::new(Alertmanager::new(alertmanager, timeout)?),
        ReceiverSettings::Webhook(webhook) => Arc::new(SignedWebhook::new(webhook, timeout)?),
        ReceiverSettings::Email(email) => Arc::new(EmailSender::new(email, timeout)?),
        ReceiverSettings::PagerDuty(pagerduty) => Arc::new(PagerDuty::new(pagerduty, timeout)?),
        ReceiverSettings::Teams(teams) => Arc::new(Teams::new(teams, timeout)?),
        ReceiverSettings::Discord(discord) => Arc::new(Discord::new(discord, timeout)?),
    })
}
