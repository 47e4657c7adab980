//! How the pipeline is: what became of the messages, what waits where, and which parts work.

use clickhouse::Row;
use prometheus::Registry;
use serde::Deserialize;

use super::source::{Part, Source};

/// Messages with one outcome.
#[derive(Clone, Debug, Deserialize, Row)]
pub(super) struct Outcome {
    pub(super) outcome: String,
    pub(super) messages: i64,
}

/// A partition of the event log.
#[derive(Clone, Debug, Deserialize, Row)]
pub(super) struct Position {
    pub(super) log_partition: u16,
    pub(super) received: u64,
    pub(super) committed: u64,
    pub(super) observed_ms: i64,
}

/// A message that could not be understood; never what is in it.
#[derive(Clone, Debug, Deserialize, Row)]
pub(super) struct DeadLetter {
    pub(super) at_ms: i64,
    pub(super) source: String,
    pub(super) reason: String,
    pub(super) detail: String,
    pub(super) location: String,
}

/// What ClickHouse knows.
#[derive(Clone, Debug)]
pub(super) struct Pipeline {
    pub(super) outcomes: Part<Vec<Outcome>>,
    pub(super) positions: Part<Vec<Position>>,
    pub(super) dead_letters: Part<Vec<DeadLetter>>,
}

impl Pipeline {
    pub(super) async fn read(source: &Source) -> Self {
        let (outcomes, positions, dead_letters) = tokio::join!(
            outcomes(source),
            source.rows(source.query(
                "SELECT log_partition, end_offset AS received, committed_offset AS committed, \
                 toUnixTimestamp64Milli(at) AS observed_ms FROM log_positions FINAL ORDER BY log_partition LIMIT 64"
            )),
            source.rows(source.query(
                "SELECT toUnixTimestamp64Milli(d.at) AS at_ms, toString(d.source) AS source, toString(d.reason) AS reason, \
                 d.detail AS detail, d.location AS location FROM dead_letters AS d WHERE d.state = 'pending' \
                 ORDER BY d.at DESC LIMIT 10"
            )),
        );
        Self { outcomes, positions, dead_letters }
    }
}

/// All partitions together.
pub(super) async fn outcomes(source: &Source) -> Part<Vec<Outcome>> {
    let query = "SELECT o.outcome AS outcome, sum(o.messages) AS messages FROM outcomes AS o GROUP BY o.outcome \
        ORDER BY indexOf(['received', 'stored', 'duplicate', 'test', 'dead_letter', 'in_flight', 'missing'], o.outcome)";
    source.rows(source.query(query)).await
}

/// What this process measures; `None` where that is another process's part.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Gauges {
    /// Records not yet committed.
    pub(super) log_lag_records: Option<f64>,
    pub(super) spool_records: Option<f64>,
    pub(super) spool_oldest_age_seconds: Option<f64>,
    pub(super) rollup_lag_seconds: Option<f64>,
    pub(super) rollup_backlog_buckets: Option<f64>,
    pub(super) fetch_retry_lag_records: Option<f64>,
    pub(super) notifications_waiting: Option<f64>,
    pub(super) is_leader: Option<f64>,
}

impl Gauges {
    pub(super) fn read(registry: &Registry) -> Self {
        let mut gauges = Self::default();
        for family in registry.gather() {
            let gauge = match family.name() {
                "heliometer_log_lag_records" => &mut gauges.log_lag_records,
                "heliometer_spool_records" => &mut gauges.spool_records,
                "heliometer_spool_oldest_age_seconds" => &mut gauges.spool_oldest_age_seconds,
                "heliometer_rollup_lag_seconds" => &mut gauges.rollup_lag_seconds,
                "heliometer_rollup_backlog_buckets" => &mut gauges.rollup_backlog_buckets,
                "heliometer_fetch_retry_lag_records" => &mut gauges.fetch_retry_lag_records,
                "heliometer_notifications_waiting" => &mut gauges.notifications_waiting,
                "heliometer_is_leader" => &mut gauges.is_leader,
                _ => continue,
            };
            *gauge = Some(family.get_metric().iter().map(|metric| metric.get_gauge().get_value()).sum());
        }
        gauges
    }
}

#[cfg(test)]
mod tests {
    use prometheus::{IntGaugeVec, Opts};

    use super::*;

    #[test]
    fn partitions_are_summed_and_what_is_not_there_is_not_zero() {
        let registry = Registry::new();
        let lag = IntGaugeVec::new(Opts::new("heliometer_log_lag_records", "Lag."), &["partition"]).expect("a gauge");
        registry.register(Box::new(lag.clone())).expect("registered");
        lag.with_label_values(&["0"]).set(3);
        lag.with_label_values(&["1"]).set(4);
        assert_eq!(Gauges::read(&registry), Gauges { log_lag_records: Some(7.0), ..Gauges::default() });
    }
}
