//! Alerts that fire, budgets, and what happened.

use maud::{Markup, html};

use super::super::{
    alerts::{Alert, UserLimit},
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
    pub(in super::super) firing: Part<Vec<Alert>>,
    pub(in super::super) recent: Part<Vec<Alert>>,
    pub(in super::super) budgets: Part<Vec<Alert>>,
    pub(in super::super) user_limits: Part<Vec<UserLimit>>,
}

/// The page's content.
pub(in super::super) fn alerts_page(view: &AlertsView, selection: &Selection, now: UtcMillis) -> Markup {
    html! {
        section .panel {
            h2 { "Firing now" }
            (part(&view.firing, |alerts| html! {
                (scroll("firing-table", "Alerts that fire now", &alert_table(alerts, now)))
            }))
        }
        div #budgets data-live {
            @match (&view.budgets, &view.user_limits) {
                (Ok(rules), Ok(users)) => (budgets(rules, users, usize::MAX, selection, now)),
                (Err(message), _) | (_, Err(message)) => (problem(message)),
            }
        }
        section .panel {
            h2 { "What happened" }
            (part(&view.recent, |alerts| html! {
                (scroll("recent-table", "Alerts that began or ended", &alert_table(alerts, now)))
            }))
        }
    }
}

fn alert_table(alerts: &[Alert], now: UtcMillis) -> Markup {
    html! {
        @if alerts.is_empty() { p .empty { "None." } } @else {
            table {
                thead {
                    tr {
                        th scope="col" { "At" } th scope="col" { "State" } th scope="col" { "Rule" } th scope="col" { "About" }
                        th scope="col" .number { "Value" } th scope="col" .number { "Limit" } th scope="col" { "Period" } th scope="col" .wide { "Severity" } th scope="col" .wide { "Why" }
                    }
                }
                tbody {
                    @for alert in alerts {
                        tr {
                            td { (format::short_time(UtcMillis(alert.at_ms), now)) } td { (status(&alert.state)) }
                            th scope="row" { (alert.rule) } td { (about(alert)) }
                            td .number { (format::measured(alert.value, &alert.unit)) } td .number { (limit(alert)) }
                            td { (alert.period) } td .wide { (alert.severity) } td .wide { (alert.reason.replace('_', " ")) }
                        }
                    }
                }
            }
        }
    }
}

fn about(alert: &Alert) -> String {
    match (alert.scope.as_str(), alert.group.as_str()) {
        ("all" | "", _) => "all".to_owned(),
        (scope, "") => format!("no {scope}"),
        (_, group) => group.to_owned(),
    }
}

fn is_of_limit(alert: &Alert) -> bool {
    matches!(alert.kind.as_str(), "budget" | "usage")
}

fn limit(alert: &Alert) -> String {
    let limit = format::measured(alert.limit_value, &alert.unit);
    if is_of_limit(alert) { format!("{:.0} % of {limit}", alert.threshold) } else { limit }
}

/// The first page's list.
pub(super) fn firing_list(alerts: &[Alert], selection: &Selection, now: UtcMillis) -> Markup {
    html! {
        section .panel .firing[!alerts.is_empty()] {
            h2 { "Alerts firing" @if !alerts.is_empty() { " " span .badge { (alerts.len()) } } }
            @if alerts.is_empty() { p .empty { "None. Rules are in the settings; the pipeline below says whether they are evaluated." } } @else {
                ul .alerts {
                    @for alert in alerts.iter().take(SHOWN) {
                        li {
                            span .what { strong { (alert.rule) } " " span .about { (about(alert)) } }
                            span .value { (format::measured(alert.value, &alert.unit)) " of " (format::measured(alert.limit_value, &alert.unit)) }
                            span .since { "since " (format::short_time(UtcMillis(alert.since_ms), now)) }
                        }
                    }
                }
            }
            p .more { a href=(selection.link("/alerts", &[])) { @if alerts.len() > SHOWN { "All " (alerts.len()) } @else { "All alerts" } } }
        }
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
    rules: &[Alert],
    users: &[UserLimit],
    shown: usize,
    selection: &Selection,
    now: UtcMillis,
) -> Markup {
    // What a user has spent of his monthly limit is known up to now; the alert's value is of when it was decided.
    let is_better_known = |rule: &Alert| {
        rule.kind == "usage" && rule.unit == "usd" && users.iter().any(|user| user.user_id == rule.group)
    };
    let of_rules = rules.iter().filter(|rule| !is_better_known(rule)).map(|rule| Bar {
        ratio: rule.value / rule.limit_value,
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
