//! What a window rule computes, what it is compared with, and how it is called.

use std::time::Duration;

use jiff::tz::TimeZone;

use crate::{domain::UsdAmount, notify::Quantity};

/// What a window rule computes.
#[derive(Clone, Debug, PartialEq)]
pub enum Measure {
    /// Latency over `threshold_ms` milliseconds.
    Latency {
        /// Of all the window's requests.
        statistic: Statistic,
        /// Above this it fires.
        threshold_ms: f64,
    },
    /// The share of requests whose prompt tokens / completion tokens is above `max_token_ratio`.
    Efficiency {
        /// Above this a request is inefficient.
        max_token_ratio: f64,
        /// From this share on it fires, in percent.
        share_percent: f64,
    },
    /// Requests that the policy of the rule's name matched (`[[contents.policies]]`).
    Policy {
        /// From so many on it fires.
        min_matches: u64,
    },
    /// The share of requests that ended in an error, among those whose end is known.
    ErrorRate {
        /// From this share on it fires, in percent.
        share_percent: f64,
    },
    /// Spend against what the same time used to cost.
    SpendSpike(Spike),
    /// Time since the last call, of groups that had calls before.
    NoData {
        /// From such a silence on it fires.
        quiet: Duration,
        /// Groups without any call within this are forgotten.
        active_within: Duration,
    },
    /// Requests of a model without a price.
    UnpricedModel {
        /// From so many on it fires.
        min_unpriced: u64,
    },
    /// Webhooks with a missing or wrong signature.
    SignatureFailures {
        /// From so many on it fires.
        min_failures: u64,
    },
    /// Messages that could not be understood.
    DeadLetters {
        /// From so many on it fires.
        min_messages: u64,
    },
    /// Age of the oldest message that may still wait to be stored.
    Lag {
        /// Above this it fires.
        max_lag: Duration,
    },
    /// Whatever a query of the settings answers.
    Sql {
        /// Gives label columns and a column `value`.
        query: String,
        /// Above this it fires.
        threshold: f64,
        /// Asked at most this often.
        every: Duration,
    },
}

/// When a spend is a spike: above `factor` times the median of the same time before, above that median by more than
/// `deviations` robust standard deviations, and above `min_usd`.
#[derive(Clone, Debug, PartialEq)]
pub struct Spike {
    /// So many times the median.
    pub factor: f64,
    /// So many standard deviations (1.4826 × the median absolute deviation) above the median.
    pub deviations: f64,
    /// Never for less.
    pub min_usd: UsdAmount,
    /// Whose week it is: the same hour is looked up by this zone's calendar.
    pub timezone: TimeZone,
}

/// Which latency of a window counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Statistic {
    /// Any request over the threshold; grouped, never one message per request.
    Each,
    /// The median.
    P50,
    /// The 95th percentile.
    P95,
    /// The 99th percentile.
    P99,
    /// The mean.
    Avg,
    /// The slowest.
    Max,
}

impl Statistic {
    pub(super) const ALL: [(&'static str, Self); 6] = [
        ("each", Self::Each),
        ("p50", Self::P50),
        ("p95", Self::P95),
        ("p99", Self::P99),
        ("avg", Self::Avg),
        ("max", Self::Max),
    ];
}

impl Measure {
    /// The rule's kind as the settings write it.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Latency { .. } => "latency",
            Self::Efficiency { .. } => "efficiency",
            Self::Policy { .. } => "policy",
            Self::ErrorRate { .. } => "error_rate",
            Self::SpendSpike(_) => "spend_spike",
            Self::NoData { .. } => "no_data",
            Self::UnpricedModel { .. } => "unpriced_model",
            Self::SignatureFailures { .. } => "signature_failures",
            Self::DeadLetters { .. } => "dead_letters",
            Self::Lag { .. } => "lag",
            Self::Sql { .. } => "sql",
        }
    }

    /// The limit with its unit; a group may have one of its own.
    #[must_use]
    pub const fn limit(&self) -> Quantity {
        match self {
            Self::Latency { threshold_ms, .. } => Quantity::Milliseconds(*threshold_ms),
            Self::Efficiency { share_percent, .. } | Self::ErrorRate { share_percent } => {
                Quantity::Percent(*share_percent)
            }
            Self::Policy { min_matches: count } | Self::UnpricedModel { min_unpriced: count } => {
                Quantity::Requests(*count)
            }
            Self::SignatureFailures { min_failures: count } | Self::DeadLetters { min_messages: count } => {
                Quantity::counted(*count)
            }
            Self::SpendSpike(spike) => Quantity::Usd(spike.min_usd),
            Self::NoData { quiet: duration, .. } | Self::Lag { max_lag: duration } => {
                Quantity::Seconds(duration.as_secs_f64())
            }
            Self::Sql { threshold, .. } => Quantity::Number(*threshold),
        }
    }

    /// Whether `value` is too much: above an amount, from a share, count or silence on (so that 100 % can be reached).
    #[must_use]
    pub fn is_over(&self, value: Quantity, limit: Quantity) -> bool {
        match self {
            Self::Latency { .. } | Self::Lag { .. } | Self::Sql { .. } => value.as_f64() > limit.as_f64(),
            Self::SpendSpike(_) => value.pico_usd() > limit.pico_usd(),
            Self::Efficiency { .. } | Self::ErrorRate { .. } | Self::NoData { .. } => value.as_f64() >= limit.as_f64(),
            Self::Policy { .. }
            | Self::UnpricedModel { .. }
            | Self::SignatureFailures { .. }
            | Self::DeadLetters { .. } => value.has_reached(limit, 100),
        }
    }

    /// What is measured, in words.
    #[must_use]
    pub fn words(&self) -> String {
        match self {
            Self::Latency { statistic: Statistic::Each | Statistic::Max, .. } => "slowest request".to_owned(),
            Self::Latency { statistic: Statistic::Avg, .. } => "average latency".to_owned(),
            Self::Latency { statistic: Statistic::P50, .. } => "p50 latency".to_owned(),
            Self::Latency { statistic: Statistic::P95, .. } => "p95 latency".to_owned(),
            Self::Latency { statistic: Statistic::P99, .. } => "p99 latency".to_owned(),
            Self::Efficiency { max_token_ratio, .. } => {
                format!("share of requests over a token ratio of {max_token_ratio}")
            }
            Self::Policy { .. } => "requests that the policy matched".to_owned(),
            Self::ErrorRate { .. } => "share of requests with an error".to_owned(),
            Self::SpendSpike(_) => "spend".to_owned(),
            Self::NoData { .. } => "time since the last call".to_owned(),
            Self::UnpricedModel { .. } => "number of requests without a price".to_owned(),
            Self::SignatureFailures { .. } => "number of webhooks with a wrong signature".to_owned(),
            Self::DeadLetters { .. } => "number of messages that could not be understood".to_owned(),
            Self::Lag { .. } => "wait of the oldest message to be stored".to_owned(),
            Self::Sql { .. } => "value".to_owned(),
        }
    }

    /// A group that is in no answer has ended silently, not recovered: nothing was heard of it.
    pub(in crate::alert) const fn absence_is_no_recovery(&self) -> bool {
        matches!(self, Self::NoData { .. })
    }

    /// Not asked more often than this.
    pub(in crate::alert) const fn every(&self) -> Duration {
        match self {
            Self::Sql { every, .. } => *every,
            // Five weeks are looked at, and an hour's spend moves slowly.
            Self::SpendSpike(_) => Duration::from_secs(30),
            _ => Duration::ZERO,
        }
    }
}
