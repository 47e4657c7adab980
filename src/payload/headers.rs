//! Names of the headers beside a webhook's record in the event log.

/// The source whose secret signed the webhook.
pub const SOURCE: &str = "source";
/// Which of the source's secrets signed it, counted from 0, so that a rotation can be watched.
pub const SECRET: &str = "secret";
/// Percent of its calls that the source sends, such as `12.5`, where that is not all.
pub const SAMPLE_RATE_PERCENT: &str = "sample-rate-percent";
/// What the ingress knew of the webhook, and travels with it into other topics.
pub const OF_WEBHOOK: [&str; 2] = [SOURCE, SAMPLE_RATE_PERCENT];
/// On a message that was replayed, which the ingress did not write: where it was kept as a dead letter.
pub const REPLAYED_FROM: &str = "replayed-from";
/// On a dead letter: why it could not be understood.
pub const REASON: &str = "reason";
/// On a dead letter, and on a fetch that is to be tried again: where the webhook stands in the log.
pub const ORIGIN: &str = "origin";
/// On a fetch that is to be tried again: not earlier than this, in milliseconds since 1970 UTC.
pub const NOT_BEFORE: &str = "not-before";
/// On a fetch that is to be tried again: how often it was put off, this time included.
pub const DEFERRALS: &str = "deferrals";
