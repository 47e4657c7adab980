//! The rules as the settings write them.

use serde::Deserialize;

/// One of `[[alerts.rules]]`.
#[derive(Clone, Debug, Deserialize)]
pub struct RuleSettings {
    /// Names the rule in state, metrics and messages.
    pub name: String,
}
