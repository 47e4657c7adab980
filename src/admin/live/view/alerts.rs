//! Alerts that fire, are held back or wait, silences, and what happened.

use maud::{Markup, html};

use super::super::{
    alerts::{Alert, MAX_ALERTS, Silence, UserLimit},
    params::Selection,
    source::Part,
};
use super::{
    budgets::budgets_part,
    format,
    frame::part,
    tables::{scroll, status},
};
use crate::domain::UtcMillis;

/// Alerts that the first page names.
const SHOWN: usize = 8;

/// Everything on the page.
#[derive(Debug)]
pub(in super::super) struct AlertsView {
    pub(in super::super) active: Part<Vec<Alert>>,
    pub(in super::super) recent: Part<Vec<Alert>>,
    pub(in super::super) silences: Part<Vec<Silence>>,
    pub(in super::super) user_limits: Part<Vec<UserLimit>>,
}

/// The page's content.
pub(in super::super) fn alerts_page(view: &AlertsView, selection: &Selection, now: UtcMillis) -> Markup {
    html! {
        section .panel {
            h2 { "Now" }
            (part(&view.active, |alerts| html! {
                (scroll("active-table", "Alerts that fire, are held back or wait", &active_table(alerts, now)))
            }))
        }
        div #budgets data-live { (budgets_part(&view.active, &view.user_limits, usize::MAX, selection, now)) }
        section .panel {
            h2 { "Silences" }
            (part(&view.silences, |silences| html! {
                (scroll("silences-table", "Silences that hold or are to come", &silence_table(silences, now)))
            }))
            p .more {
                code { "heliometer silences add" } " and " code { "expire" } " change them. What the settings silence, maintenance windows and alerts that "
                "hold back others are named above, with what they hold back."
            }
        }
        section .panel {
            h2 { "What happened" }
            (part(&view.recent, |alerts| html! {
                (scroll("recent-table", "Alerts that began or ended", &recent_table(alerts, now)))
            }))
        }
    }
}

fn active_table(alerts: &[Alert], now: UtcMillis) -> Markup {
    html! {
        @if alerts.is_empty() { p .empty { "No alert fires, and none waits." } } @else {
            (table("State since", "Note", alerts, |alert| {
                let state = if alert.is_held_back() && alert.state == "firing" { "held back" } else { &alert.state };
                (state.to_owned(), format::short_time(UtcMillis(alert.since_ms), now), note(alert, now))
            }))
            p .more {
                "Values are of the last step: when the alert began, or was said again."
                @if alerts.len() >= MAX_ALERTS { " These are the first " (MAX_ALERTS) "; SQL has the rest." }
            }
        }
    }
}

fn recent_table(alerts: &[Alert], now: UtcMillis) -> Markup {
    html! {
        @if alerts.is_empty() { p .empty { "Nothing yet." } } @else {
            (table("State at", "Not told because of", alerts, |alert| {
                (alert.state.clone(), format::short_time(UtcMillis(alert.at_ms), now), untold(alert))
            }))
        }
    }
}

/// A row an alert, with its state, its time, and a note.
fn table(times: &str, notes: &str, alerts: &[Alert], of: impl Fn(&Alert) -> (String, String, String)) -> Markup {
    html! {
        table .two-lines {
            thead {
                tr {
                    th scope="col" { (times) } th scope="col" { "Alert" } th scope="col" .number { "Value" } th scope="col" .number { "Limit" }
                    th scope="col" .wide { "Severity" } th scope="col" { (notes) }
                }
            }
            tbody {
                @for alert in alerts {
                    @let (state, time, note) = of(alert);
                    tr {
                        td { (status(&state)) small { (time) } }
                        th scope="row" { (alert.rule) small { (about(alert)) } }
                        td .number { (format::measured(alert.value, &alert.unit)) small .wide { (alert.measure) } }
                        td .number {
                            @if let Some(percent) = alert.threshold_percent { (percent) " % of " }
                            (format::measured(alert.limit_value, &alert.unit)) small { (alert.period) }
                        }
                        td .wide { (alert.severity) } td .note { (note) }
                    }
                }
            }
        }
    }
}

fn untold(alert: &Alert) -> String {
    match alert.reason.as_str() {
        _ if alert.is_held_back() => alert.suppressed_by.clone(),
        "forgotten" | "period_ended" | "rule_removed" => alert.reason.replace('_', " "),
        _ => String::new(),
    }
}

fn note(alert: &Alert, now: UtcMillis) -> String {
    match alert.below_since_ms {
        _ if alert.is_held_back() => alert.suppressed_by.clone(),
        Some(below) => format!("below its limit since {}, kept firing", format::short_time(UtcMillis(below), now)),
        None if alert.state == "pending" => "not over for long enough yet".to_owned(),
        None => String::new(),
    }
}

fn silence_table(silences: &[Silence], now: UtcMillis) -> Markup {
    html! {
        @if silences.is_empty() { p .empty { "None." } } @else {
            table {
                thead {
                    tr {
                        th scope="col" { "Until" } th scope="col" { "State" } th scope="col" { "Rule" } th scope="col" { "About" }
                        th scope="col" { "Severity" } th scope="col" { "Labels" } th scope="col" { "Comment" } th scope="col" { "ID" }
                    }
                }
                tbody {
                    @for silence in silences {
                        tr {
                            td { (format::minute(UtcMillis(silence.ends_ms))) }
                            td { @if silence.starts_ms > now.0 { "from " (format::minute(UtcMillis(silence.starts_ms))) } @else { "holds" } }
                            @for glob in [&silence.rule, &silence.group, &silence.severity] { td { @if glob.is_empty() { "any" } @else { (glob) } } }
                            td { (labels(silence)) } td .note { (silence.comment) } td .id { (silence.id) }
                        }
                    }
                }
            }
        }
    }
}

fn labels(silence: &Silence) -> String {
    let labels = silence.labels.iter().map(|(name, glob)| format!("{name}={glob}"));
    labels.collect::<Vec<_>>().join(", ")
}

/// Which model, user, …
pub(super) fn about(alert: &Alert) -> String {
    match (alert.scope.as_str(), alert.group.as_str()) {
        ("all" | "", _) => "all".to_owned(),
        (scope, "") => format!("no {scope}"),
        (_, group) => group.to_owned(),
    }
}

/// The first page's list.
pub(super) fn firing_list(alerts: &[Alert], selection: &Selection, now: UtcMillis) -> Markup {
    let firing: Vec<&Alert> = alerts.iter().filter(|alert| alert.is_firing()).collect();
    let held_back = alerts.iter().filter(|alert| alert.is_held_back() && alert.state == "firing").count();
    let pending = alerts.iter().filter(|alert| alert.state == "pending").count();
    html! {
        section .panel .firing[!firing.is_empty()] {
            h2 { "Alerts firing" @if !firing.is_empty() { " " span .badge { (firing.len()) } } }
            @if firing.is_empty() { p .empty { "None. Rules are in the settings; the pipeline below says whether they are evaluated." } } @else {
                ul .alerts {
                    @for alert in firing.iter().take(SHOWN) {
                        li {
                            span .what { strong { (alert.rule) } " " span .about { (about(alert)) } }
                            span .value { (format::measured(alert.value, &alert.unit)) span .about { " of " (format::measured(alert.limit_value, &alert.unit)) } }
                            span .since { "since " (format::short_time(UtcMillis(alert.since_ms), now)) }
                        }
                    }
                }
            }
            p .more {
                a href=(selection.link("/alerts", &[])) { @if firing.len() > SHOWN { "All " (firing.len()) } @else { "All alerts" } }
                @if held_back > 0 { " · " (held_back) " held back" }
                @if pending > 0 { " · " (pending) " pending" }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::live::params::Params;

    const NOW: UtcMillis = UtcMillis(1_764_101_971_000);

    fn alert(state: &str) -> Alert {
        Alert {
            at_ms: NOW.0 - 60_000,
            since_ms: NOW.0 - 120_000,
            rule: "day".to_owned(),
            scope: "model".to_owned(),
            group: "<gpt>".to_owned(),
            state: state.to_owned(),
            unit: "usd".to_owned(),
            value: 8.0,
            limit_value: 10.0,
            ..Alert::default()
        }
    }

    #[test]
    fn the_page_says_who_is_told_and_who_is_not() {
        let firing = Alert { threshold_percent: Some(80), ..alert("firing") };
        let held_back = Alert { suppressed_by: "silence until noon".to_owned(), ..alert("firing") };
        let kept = Alert { below_since_ms: Some(NOW.0), ..alert("firing") };
        let alerts = [firing, held_back, kept, alert("pending")];
        let table = active_table(&alerts, NOW).into_string();
        for text in [
            "80 % of $10.00",
            ">held back</span>",
            "silence until noon",
            "below its limit since 20:19:31, kept firing",
            ">pending</span>",
            "&lt;gpt&gt;",
        ] {
            assert!(table.contains(text), "{text}: {table}");
        }
        let selection = Selection::parse(&Params::default(), NOW);
        let list = firing_list(&alerts, &selection, NOW).into_string();
        assert!(list.contains(">2</span>") && list.contains("1 held back") && list.contains("1 pending"), "{list}");
    }
}
