//! What the program says about itself: logs, readiness. Metrics live in the room they measure, on one registry.

mod health;
mod logs;

pub use health::{Health, PartState};
pub use logs::init_logs;
