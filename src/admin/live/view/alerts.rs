//! Alerts that fire, budgets, and what happened.

use maud::{Markup, html};

use super::super::{
    alerts::{Alert, MAX_ALERTS, Silence, UserLimit},
    params::Selection,
    source::Part,
};
use super::{
    format,
    frame::{part, problem},
    tables::{bar, scroll, status, user_link},
    tiles::exact,
};
use crate::domain::UtcMillis;

/// Alerts that the first page names.
const SHOWN: usize = 5;

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
            table {
                thead {
                    tr {
                        th scope="col" { "State" } th scope="col" { "Since" } th scope="col" { "Rule" } th scope="col" { "About" }
                        (measured_heads())
                        th scope="col" .wide { "Severity" } th scope="col" { "Note" }
                    }
                }
                tbody {
                    @for alert in alerts {
                        tr {
                            td { (status(if alert.is_held_back() && alert.state == "firing" { "held back" } else { &alert.state })) }
                            td { (format::short_time(UtcMillis(alert.since_ms), now)) }
                            th scope="row" { (alert.rule) } td { (about(alert)) }
                            (measured_cells(alert))
                            td .wide { (alert.severity) } td .note { (note(alert, now)) }
                        }
                    }
                }
            }
            @if alerts.len() >= MAX_ALERTS { p .more { "The first " (MAX_ALERTS) "; SQL has the rest." } }
        }
    }
}

fn recent_table(alerts: &[Alert], now: UtcMillis) -> Markup {
    html! {
        @if alerts.is_empty() { p .empty { "Nothing yet." } } @else {
            table {
                thead {
                    tr {
                        th scope="col" { "At" } th scope="col" { "State" } th scope="col" { "Rule" } th scope="col" { "About" }
                        (measured_heads())
                        th scope="col" .wide { "Why" } th scope="col" { "Held back by" }
                    }
                }
                tbody {
                    @for alert in alerts {
                        tr {
                            td { (format::short_time(UtcMillis(alert.at_ms), now)) } td { (status(&alert.state)) }
                            th scope="row" { (alert.rule) } td { (about(alert)) }
                            (measured_cells(alert))
                            td .wide { (alert.reason.replace('_', " ")) } td .note { (alert.suppressed_by) }
                        }
                    }
                }
            }
        }
    }
}

/// What was measured against which limit: columns that both tables have.
fn measured_heads() -> Markup {
    html! { th scope="col" .wide { "Measure" } th scope="col" .number { "Value" } th scope="col" .number { "Limit" } th scope="col" { "Period" } }
}

fn measured_cells(alert: &Alert) -> Markup {
    let limit = format::measured(alert.limit_value, &alert.unit);
    html! {
        td .wide { (alert.measure) } td .number { (format::measured(alert.value, &alert.unit)) }
        td .number { @if let Some(percent) = alert.threshold_percent { (percent) " % of " } (limit) }
        td { (alert.period) }
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

fn about(alert: &Alert) -> String {
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

/// [`budgets`], or why they are not there.
pub(super) fn budgets_part(
    alerts: &Part<Vec<Alert>>,
    user_limits: &Part<Vec<UserLimit>>,
    shown: usize,
    selection: &Selection,
    now: UtcMillis,
) -> Markup {
    match (alerts, user_limits) {
        (Ok(alerts), Ok(users)) => budgets(alerts, users, shown, selection, now),
        (Err(message), _) | (_, Err(message)) => problem(message),
    }
}

/// A bar of what is used of a budget or limit.
struct Bar {
    ratio: f64,
    name: Markup,
    label: String,
    amounts: Markup,
    when: String,
}

/// The fullest first, at most `shown` of them.
pub(super) fn budgets(
    alerts: &[Alert],
    users: &[UserLimit],
    shown: usize,
    selection: &Selection,
    now: UtcMillis,
) -> Markup {
    // What a user has spent of his monthly limit is known up to now; the alert's value is of when it was decided.
    let is_better_known = |rule: &Alert| {
        rule.kind == "usage" && rule.unit == "usd" && users.iter().any(|user| user.user_id == rule.group)
    };
    let of_rules = alerts.iter().filter(|alert| alert.is_of_limit() && !is_better_known(alert)).map(|rule| Bar {
        ratio: rule.used_ratio(),
        name: html! { strong { @if rule.group.is_empty() { (rule.rule) } @else { (about(rule)) } } },
        label: format!("{} {}", rule.rule, about(rule)),
        amounts: html! { (format::measured(rule.value, &rule.unit)) " of " (format::measured(rule.limit_value, &rule.unit)) },
        when: format!("{}, {}, as of {}", rule.rule, rule.period, format::short_time(UtcMillis(rule.at_ms), now)),
    });
    let of_users = users.iter().map(|user| Bar {
        ratio: user.used_ratio,
        name: html! { strong { (user_link(selection, &user.user_id)) } },
        label: format!("monthly limit of {}", super::tables::user_name(&user.user_id)),
        amounts: html! { span title=(exact(&user.cost_usd)) { (format::money(&user.cost_usd)) } " of " (format::money(&user.limit_usd)) },
        when: "this month".to_owned(),
    });
    let mut bars: Vec<Bar> = of_rules.chain(of_users).collect();
    bars.sort_by(|a, b| b.ratio.total_cmp(&a.ratio));
    html! {
        section .panel {
            h2 { "Budgets and limits" }
            @if bars.is_empty() { p .empty { "No budget has reached a threshold, and no user has a monthly limit." } } @else {
                ul .budgets { @for bar in bars.iter().take(shown) { (bar.render()) } }
            }
            @if bars.len() > shown { p .more { a href=(selection.link("/alerts", &[])) { "All " (bars.len()) } } }
        }
    }
}

impl Bar {
    fn render(&self) -> Markup {
        let percent = if self.ratio.is_finite() { 100.0 * self.ratio.max(0.0) } else { 0.0 };
        let class = match percent {
            percent if percent >= 100.0 => "over",
            percent if percent >= 80.0 => "near",
            _ => "under",
        };
        html! {
            li .(class) {
                span .name { (self.name) } span .used { (self.amounts) " · " b { (format!("{percent:.0} %")) } }
                span role="meter" aria-label=(self.label) aria-valuemin="0" aria-valuemax="100"
                    aria-valuenow=(format!("{:.0}", percent.min(100.0))) aria-valuetext=(format!("{percent:.0} % used")) { (bar(self.ratio)) }
                span .when { (self.when) }
            }
        }
    }
}
