//! How the pipeline is.

use std::time::Duration;

use maud::{Markup, html};

use super::super::{
    params::Selection,
    pipeline::{Gauges, Outcome, Pipeline},
    source::Part,
};
use super::{
    format::{self, NOTHING},
    frame::part,
    tables::{scroll, status},
};
use crate::{
    domain::UtcMillis,
    telemetry::{Health, PartState},
};

/// Everything on the page.
#[derive(Debug)]
pub(in super::super) struct PipelineView {
    pub(in super::super) pipeline: Pipeline,
    pub(in super::super) gauges: Gauges,
    pub(in super::super) health: Health,
    pub(in super::super) uptime: Duration,
}

/// The page's content.
pub(in super::super) fn pipeline_page(view: &PipelineView, now: UtcMillis) -> Markup {
    let pipeline = &view.pipeline;
    html! {
        section .panel {
            h2 { "Parts" }
            div #parts data-live { (parts(&view.health)) }
        }
        section .panel {
            h2 { "What became of every webhook" }
            div #outcomes data-live { (part(&pipeline.outcomes, |outcomes| outcome_list(outcomes))) }
        }
        section .panel {
            h2 { "This process" }
            div #process data-live { (process(view)) }
        }
        section .panel {
            h2 { "Event log" }
            (part(&pipeline.positions, |positions| scroll("positions", "Event log by partition", &html! {
                @if positions.is_empty() { p .empty { "Nothing was received yet." } } @else {
                    table {
                        thead { tr { th scope="col" { "Partition" } th scope="col" .number { "Received" } th scope="col" .number { "Worked off" } th scope="col" .number { "Lag" } th scope="col" { "Observed" } } }
                        tbody {
                            @for position in positions {
                                tr {
                                    th scope="row" { (position.log_partition) } td .number { (format::grouped(position.received)) } td .number { (format::grouped(position.committed)) }
                                    td .number { (format::grouped(position.received.saturating_sub(position.committed))) } td { (format::short_time(UtcMillis(position.observed_ms), now)) }
                                }
                            }
                        }
                    }
                }
            })))
        }
        section .panel {
            h2 { "Dead letters that wait" }
            (part(&pipeline.dead_letters, |letters| scroll("dead-letters", "Dead letters", &html! {
                @if letters.is_empty() { p .empty { "None." } } @else {
                    table {
                        thead { tr { th scope="col" { "At" } th scope="col" { "Source" } th scope="col" { "Reason" } th scope="col" { "What is wrong" } th scope="col" { "Kept at" } } }
                        tbody {
                            @for letter in letters {
                                tr {
                                    td { (format::short_time(UtcMillis(letter.at_ms), now)) } td { (letter.source) } td { (letter.reason.replace('_', " ")) }
                                    td { (letter.detail) } td .id { (letter.location) }
                                }
                            }
                        }
                    }
                    p .more { "The newest ten. " code { "heliometer dead-letters" } " shows, replays and drops them." }
                }
            })))
        }
    }
}

fn process(view: &PipelineView) -> Markup {
    let gauges = &view.gauges;
    let count = |value: Option<f64>| value.map_or_else(|| NOTHING.to_owned(), |value| format!("{value:.0}"));
    let seconds = |value: Option<f64>| value.map_or_else(|| NOTHING.to_owned(), format::duration);
    let leads = match gauges.is_leader {
        Some(leads) if leads > 0.0 => "leads",
        Some(_) => "stands by",
        None => NOTHING,
    };
    let facts = [
        ("Version", env!("CARGO_PKG_VERSION").to_owned()),
        ("Uptime", format::duration(view.uptime.as_secs_f64())),
        ("Rollups and alerts", leads.to_owned()),
        ("Log lag, records", count(gauges.log_lag_records)),
        ("Rollup lag", seconds(gauges.rollup_lag_seconds)),
        ("Rollup backlog, minutes", count(gauges.rollup_backlog_buckets)),
        ("Spool, webhooks", count(gauges.spool_records)),
        ("Spool, oldest", seconds(gauges.spool_oldest_age_seconds)),
        ("Bodies to ask for again", count(gauges.fetch_retry_lag_records)),
        ("Messages that wait for receivers", count(gauges.notifications_waiting)),
    ];
    html! {
        dl .facts { @for (name, value) in facts { div { dt { (name) } dd { (value) } } } }
        p .more { "– is another process's part, or not set up: without Kafka there is no spool." }
    }
}

/// In the order of the sum, and whether it holds.
fn outcome_list(outcomes: &[Outcome]) -> Markup {
    let of = |name: &str| outcomes.iter().find(|outcome| outcome.outcome == name).map_or(0, |outcome| outcome.messages);
    let terms = [
        ("received", ""),
        ("stored", "="),
        ("duplicate", "+"),
        ("test", "+"),
        ("dead_letter", "+"),
        ("in_flight", "+"),
        ("missing", "+"),
    ];
    html! {
        dl .sum-of {
            @for (name, sign) in terms {
                div .bad[name == "missing" && of(name) > 0] {
                    @if !sign.is_empty() { span .sign aria-hidden="true" { (sign) } }
                    dt { (name.replace('_', " ")) } dd { (format::grouped(u64::try_from(of(name)).unwrap_or(0))) }
                }
            }
        }
    }
}

fn parts(health: &Health) -> Markup {
    let (_, parts) = health.snapshot();
    html! {
        ul .parts {
            @for (name, state) in &parts {
                li {
                    strong { (name.replace('_', " ")) } " "
                    @match state {
                        PartState::Ready => (status("ready")),
                        PartState::Degraded(reason) => { (status("degraded")) " " (reason) },
                        PartState::NotReady(reason) => { (status("not ready")) " " (reason) },
                    }
                }
            }
        }
    }
}

/// The first page's line.
pub(super) fn strip(outcomes: &Part<Vec<Outcome>>, gauges: &Gauges, health: &Health, selection: &Selection) -> Markup {
    html! {
        section .panel {
            h2 { "Pipeline" }
            div #pipeline data-live {
                (parts(health))
                (part(outcomes, |outcomes| outcome_list(outcomes)))
                p .more {
                    "Log lag " (gauges.log_lag_records.map_or_else(|| NOTHING.to_owned(), |lag| format!("{lag:.0}"))) " records · rollup lag "
                    (gauges.rollup_lag_seconds.map_or_else(|| NOTHING.to_owned(), format::duration)) " · spool "
                    (gauges.spool_records.map_or_else(|| "not used".to_owned(), |records| format!("{records:.0} webhooks"))) " · "
                    a href=(selection.link("/pipeline", &[])) { "More on the pipeline" }
                }
            }
        }
    }
}
