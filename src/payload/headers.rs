//! Names of the headers beside a webhook's record in the event log.

/// The source whose secret signed the webhook.
pub const SOURCE: &str = "source";
/// Which of the source's secrets signed it, counted from 0, so that a rotation can be watched.
pub const SECRET: &str = "secret";
/// On a message that was replayed, which the ingress did not write: where it was kept as a dead letter.
pub const REPLAYED_FROM: &str = "replayed-from";
