//! The first page, and those about one model or user.

use maud::{Markup, html};

use super::super::{
    alerts::{Alert, UserLimit},
    calls::{Calls, Unpriced},
    params::Selection,
    pipeline::{Gauges, Outcome},
    source::Part,
    totals::{Bucket, Periods, Scope, Totals},
};
use super::{
    alerts::firing_list,
    budgets::{budgets, budgets_part},
    charts::charts,
    format,
    frame::part,
    pipeline::strip,
    tables::{calls, groups, model_link, of_range, slowest, unpriced, user_link},
    tiles::{coverage, exact, tiles},
};
use crate::{domain::UtcMillis, telemetry::Health};

/// Budgets on it, the fullest.
const BUDGETS: usize = 5;

/// Everything on it. A page about one model or user leaves out what is not about it.
#[derive(Debug)]
pub(in super::super) struct Overview {
    pub(in super::super) scope: Scope,
    pub(in super::super) periods: Part<Periods>,
    pub(in super::super) series: Part<Vec<Bucket>>,
    pub(in super::super) models: Part<Vec<Totals>>,
    pub(in super::super) users: Part<Vec<Totals>>,
    pub(in super::super) unpriced: Part<Vec<Unpriced>>,
    pub(in super::super) alerts: Part<Vec<Alert>>,
    pub(in super::super) user_limits: Part<Vec<UserLimit>>,
    pub(in super::super) calls: Part<Calls>,
    pub(in super::super) outcomes: Part<Vec<Outcome>>,
    pub(in super::super) gauges: Gauges,
    pub(in super::super) health: Health,
}

/// The page's content.
pub(in super::super) fn overview(view: &Overview, selection: &Selection, now: UtcMillis) -> Markup {
    let is_all = view.scope == Scope::All;
    let range = of_range(selection);
    html! {
        (part(&view.periods, tiles))
        div #welcome data-live {
            @if is_all && view.periods.as_ref().is_ok_and(|periods| periods.month.requests == 0 && periods.last_month.requests == 0) {
                p .notice { "No requests yet. Send one: " code { "heliometer send-test --url https://localhost:8443/webhook" } " is stored as a test; a call through Helicone shows here." }
            }
        }
        @if is_all {
            div #alerts-now data-live .pair {
                (part(&view.alerts, |alerts| firing_list(alerts, selection, now)))
                (budgets_part(&view.alerts, &view.user_limits, BUDGETS, selection, now))
            }
        }
        div #sum .sum data-live {
            @if let Ok(periods) = &view.periods {
                p {
                    (capitalised(range)) ": " strong title=(exact(&periods.range.cost_usd)) { (format::money(&periods.range.cost_usd)) } " · "
                    (format::counted(periods.range.requests, "request")) " · " (format::compact(periods.range.total_tokens)) " tokens · "
                    (format::counted(periods.range.error_requests, "error")) " · p95 "
                    (format::latency(periods.range.latency_ms.get(1).copied().unwrap_or(f64::NAN)))
                }
                (coverage(&periods.range))
            }
        }
        (part(&view.series, |buckets| charts(buckets, selection)))
        @if !matches!(view.scope, Scope::Model(_)) {
            (part(&view.models, |rows| groups("models", &format!("Models, {range}"), "Model", rows, |row| model_link(selection, &row.name))))
        }
        @if let Scope::User(_) = view.scope {} @else {
            (part(&view.users, |rows| groups("users", &format!("Users, {range}"), "User", rows, |row| user_link(selection, &row.name))))
        }
        div .pair {
            @if is_all { (part(&view.models, |rows| slowest(rows, selection))) }
            (part(&view.unpriced, |rows| unpriced(rows, selection)))
            @if let (Scope::User(_), Ok(users)) = (&view.scope, &view.user_limits) { div #user-limit data-live { (budgets(&[], users, BUDGETS, selection, now)) } }
        }
        section .panel {
            h2 { "Newest requests" }
            (part(&view.calls, |page| html! {
                (calls("calls", "Newest requests", &page.rows, selection, now))
                @if page.rows.is_empty() { p .empty { "No requests in this range." } }
            }))
            p .more { a href=(selection.link("/requests", &about(&view.scope))) { "All requests, with filters" } }
        }
        @if is_all { (strip(&view.outcomes, &view.gauges, &view.health, selection)) }
    }
}

/// The filter for requests of the same model or user.
fn about(scope: &Scope) -> Vec<(&'static str, &str)> {
    match scope {
        Scope::All => Vec::new(),
        Scope::Model(name) => vec![("model", name)],
        Scope::User(name) => vec![("user", name)],
    }
}

fn capitalised(text: &str) -> String {
    super::frame::sentence(text).trim_end_matches('.').to_owned()
}
