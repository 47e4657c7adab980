//! Heliometer receives Helicone's webhooks and turns them into exact cost, token and latency numbers.
//!
//! The modules are the rooms of one event's way, in this order:
//! `ingress` → `event_log` → `consumer` → (`fetch`, `usage`, `pricing`, `contents`) → `store` → `alert` → `notify`.

pub mod admin;
pub mod alert;
pub mod command;
pub mod consumer;
pub mod contents;
mod crash_point;
pub mod dead_letters;
pub mod domain;
pub mod event_log;
pub mod fetch;
pub mod helicone_api;
pub mod ingress;
pub mod notify;
pub mod payload;
pub mod pricing;
pub mod repricing;
pub mod service;
pub mod settings;
pub mod simulator;
pub mod store;
pub mod telemetry;
pub mod tls;
pub mod usage;
mod whole_file;
