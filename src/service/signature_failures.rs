//! Refused signatures, by minute, from the ingress to ClickHouse.
//!
//! The ingress counts them for `/metrics`; whoever alerts may be another process. So each process with the role `ingress`
//! adds what its counter grew by to the minute it is, and writes the minute's sum under its own name: writing it again
//! changes nothing. While ClickHouse is away an hour of minutes is kept. A process that dies loses what it counted since
//! the last write; a source that is really misconfigured goes on failing.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use clickhouse::{Client, Row};
use prometheus::Registry;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::{domain::Clock, store::bounded};

const COUNTER: &str = "heliometer_signature_failures_total";
const EVERY: Duration = Duration::from_secs(5);
const TIMEOUT: Duration = Duration::from_secs(10);
/// Minutes that wait for ClickHouse, of each source; older ones are given up.
const MAX_WAITING_SECONDS: u32 = 3_600;

#[derive(Clone, Debug, PartialEq, Eq, Row, Serialize, Deserialize)]
struct FailureRow {
    /// Seconds since 1970.
    minute: u32,
    source: String,
    instance: String,
    failures: u64,
}

/// Carries them over.
pub(super) struct SignatureFailures {
    client: Client,
    registry: Registry,
    clock: Arc<dyn Clock>,
    counts: Counts,
}

impl SignatureFailures {
    pub(super) fn new(client: Client, registry: Registry, clock: Arc<dyn Clock>) -> Self {
        let host = nix::unistd::gethostname().unwrap_or_default().to_string_lossy().into_owned();
        let instance = format!("{host}-{}-{}", std::process::id(), clock.now().0);
        Self { client, registry, clock, counts: Counts { instance, ..Counts::default() } }
    }

    /// Until `stop`, and once more then.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        let mut reported = false;
        loop {
            let goes_on = stop.run_until_cancelled(tokio::time::sleep(EVERY)).await.is_some();
            let now = u32::try_from(self.clock.now().0.div_euclid(1000)).unwrap_or(0);
            self.counts.take(&counted(&self.registry), now);
            let rows = self.counts.rows();
            if !rows.is_empty() {
                match bounded(TIMEOUT, "recording signature failures", self.write(&rows)).await {
                    Ok(()) => {
                        self.counts.written(now);
                        reported = false;
                    }
                    Err(error) if !reported => {
                        tracing::warn!(%error, "signature failures wait for ClickHouse");
                        reported = true;
                    }
                    Err(_) => {}
                }
            }
            if !goes_on {
                return;
            }
        }
    }

    async fn write(&self, rows: &[FailureRow]) -> clickhouse::error::Result<()> {
        let mut insert = self.client.insert::<FailureRow>("signature_failure_rows").await?;
        for row in rows {
            insert.write(row).await?;
        }
        insert.end().await
    }
}

/// The counter by source, as it stands.
fn counted(registry: &Registry) -> HashMap<String, u64> {
    let families = registry.gather();
    let family = families.iter().find(|family| family.name() == COUNTER);
    let metrics = family.map(prometheus::proto::MetricFamily::get_metric).unwrap_or_default();
    metrics
        .iter()
        .filter_map(|metric| {
            let source = metric.get_label().iter().find(|label| label.name() == "source")?;
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a counter of integers")]
            Some((source.value().to_owned(), metric.get_counter().get_value() as u64))
        })
        .collect()
}

#[derive(Debug, Default)]
struct Counts {
    instance: String,
    /// The counter at the last look.
    known: HashMap<String, u64>,
    /// By minute and source; whether it is to be written.
    minutes: BTreeMap<(u32, String), (u64, bool)>,
}

impl Counts {
    fn take(&mut self, counted: &HashMap<String, u64>, now: u32) {
        let minute = now - now % 60;
        for (source, count) in counted {
            let known = self.known.entry(source.clone()).or_default();
            let grown = count.saturating_sub(*known);
            *known = *count;
            if grown > 0 {
                let (failures, unwritten) = self.minutes.entry((minute, source.clone())).or_default();
                *failures += grown;
                *unwritten = true;
            }
        }
        let oldest = minute.saturating_sub(MAX_WAITING_SECONDS);
        self.minutes.retain(|(minute, _), _| *minute >= oldest);
    }

    fn rows(&self) -> Vec<FailureRow> {
        self.minutes
            .iter()
            .filter(|(_, (_, unwritten))| *unwritten)
            .map(|((minute, source), (failures, _))| FailureRow {
                minute: *minute,
                source: source.clone(),
                instance: self.instance.clone(),
                failures: *failures,
            })
            .collect()
    }

    /// Minutes that are over are forgotten, the one that goes on is remembered.
    fn written(&mut self, now: u32) {
        self.minutes.retain(|(minute, _), (_, unwritten)| {
            *unwritten = false;
            *minute + 60 > now
        });
    }
}

#[cfg(test)]
mod tests {
    use prometheus::{IntCounterVec, Opts};

    use super::*;

    #[test]
    fn minutes_sum_up_and_are_written_again_until_they_are_over() {
        let registry = Registry::new();
        let counter = IntCounterVec::new(Opts::new(COUNTER, "help"), &["source"]).expect("a counter");
        registry.register(Box::new(counter.clone())).expect("registered");
        let mut counts = Counts { instance: "i".to_owned(), ..Counts::default() };
        let shown = |counts: &Counts| -> Vec<(u32, String, u64)> {
            counts.rows().into_iter().map(|row| (row.minute, row.source, row.failures)).collect()
        };
        counts.take(&counted(&registry), 600);
        assert!(shown(&counts).is_empty());
        counter.with_label_values(&["a"]).inc_by(3);
        counts.take(&counted(&registry), 605);
        assert_eq!(shown(&counts), [(600, "a".to_owned(), 3)]);
        counts.written(605);
        assert!(shown(&counts).is_empty());
        counter.with_label_values(&["a"]).inc();
        counter.with_label_values(&["b"]).inc();
        counts.take(&counted(&registry), 615);
        assert_eq!(
            shown(&counts),
            [(600, "a".to_owned(), 4), (600, "b".to_owned(), 1)],
            "the minute's whole sum again"
        );
        // ClickHouse was away until the next minute.
        counter.with_label_values(&["b"]).inc();
        counts.take(&counted(&registry), 661);
        assert_eq!(shown(&counts).len(), 3);
        counts.written(661);
        assert_eq!(counts.minutes.len(), 1);
        // Kept for an hour, not for ever.
        counter.with_label_values(&["b"]).inc();
        counts.take(&counted(&registry), 700);
        counts.take(&counted(&registry), 700 + 2 * MAX_WAITING_SECONDS);
        assert!(counts.minutes.is_empty());
    }
}
