//! Heliometer receives Helicone's webhooks and turns them into exact cost, token and latency numbers.
//!
//! The modules are the rooms of one event's way, in this order:
//! `ingress` → `event_log` → `consumer` → (`fetch`, `usage`, `pricing`) → `store` → `alert` → `notify`.

pub mod alert;
pub mod domain;
pub mod event_log;
pub mod payload;
pub mod settings;
pub mod telemetry;
