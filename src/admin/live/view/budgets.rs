//! What is used of budgets and limits, as bars.

use maud::{Markup, html};

use super::super::{
    alerts::{Alert, UserLimit},
    params::Selection,
    source::Part,
};
use super::{
    alerts::about,
    format,
    frame::problem,
    tables::{bar, user_link, user_name},
    tiles::exact,
};
use crate::domain::UtcMillis;

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
        rule.kind == "usage"
            && rule.unit == "usd"
            && rule.period.starts_with("month")
            && users.iter().any(|user| user.user_id == rule.group)
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
        label: format!("monthly limit of {}", user_name(&user.user_id)),
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
        // What is not reached must not look so.
        let percent = if self.ratio.is_finite() { (100.0 * self.ratio.max(0.0)).floor() } else { 0.0 };
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::live::params::Params;

    const NOW: UtcMillis = UtcMillis(1_764_101_971_000);

    #[test]
    fn a_forecast_fills_no_bar_and_a_users_month_is_told_once() {
        let selection = Selection::parse(&Params::default(), NOW);
        let alert = |value, threshold_percent| Alert {
            kind: "usage".to_owned(),
            unit: "usd".to_owned(),
            group: "ann".to_owned(),
            period: "month 2025-11 (UTC)".to_owned(),
            value,
            limit_value: 10.0,
            threshold_percent,
            ..Alert::default()
        };
        let (forecast, reached) = (alert(12.4, None), alert(9.996, Some(80)));
        let list = budgets(&[forecast, reached.clone()], &[], usize::MAX, &selection, NOW).into_string();
        assert_eq!((list.matches("<li").count(), list.contains("99 %")), (1, true), "{list}");
        let user = UserLimit {
            user_id: "ann".to_owned(),
            cost_usd: "12".to_owned(),
            limit_usd: "10".to_owned(),
            used_ratio: 1.2,
        };
        let of_day = Alert { period: "day 2025-11-25 (UTC)".to_owned(), ..reached.clone() };
        let list = budgets(&[reached, of_day], &[user], usize::MAX, &selection, NOW).into_string();
        assert_eq!((list.matches("<li").count(), list.contains("120 %")), (2, true), "{list}");
    }
}
