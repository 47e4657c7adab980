//! The conformance suite over the embedded log, and what only the embedded log does.

use std::{path::Path, sync::Arc};

use async_trait::async_trait;
use tempfile::TempDir;

use super::EmbeddedLog;
use crate::{
    domain::UtcMillis,
    event_log::{EventLog, EventLogError, Offset, Partition, conformance::Harness},
    settings::EventLogSettings,
};

mod behaviour;
mod crash;
mod damage;
mod full_disk;
mod model;
mod retention;

/// Small segments, so that every test crosses some.
fn small() -> EventLogSettings {
    EventLogSettings { partitions: 4, segment_bytes: 16 * 1024, retention_hours: 1, ..EventLogSettings::default() }
}

fn open(dir: &Path, settings: &EventLogSettings) -> Result<EmbeddedLog, EventLogError> {
    EmbeddedLog::open(dir, settings, &prometheus::Registry::new())
}

struct Embedded(TempDir);

impl Embedded {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("makes a directory"))
    }
}

#[async_trait]
impl Harness for Embedded {
    async fn open(&self) -> Arc<dyn EventLog> {
        Arc::new(open(self.0.path(), &small()).expect("opens"))
    }

    async fn remove(&self, log: &dyn EventLog, _: &[(Partition, Offset)]) {
        // Whatever is committed goes, when it is old enough.
        log.enforce_retention(UtcMillis::from_seconds(2 * 3600)).await.expect("deletes");
    }
}

crate::event_log::conformance::conformance_suite!(Embedded::new());
