//! From totals to transitions: rules, their state per group, and the durable outbox.

mod rule;

pub use rule::RuleSettings;
