//! Tables of totals and calls that several pages have.

use maud::{Markup, html};

use super::super::{
    calls::{Call, UNPRICED_MINUTES, Unpriced},
    params::Selection,
    range::Choice,
    totals::{MAX_GROUPS, Totals},
};
use super::{
    format::{self, NOTHING},
    tiles::{exact, priced},
};
use crate::domain::UtcMillis;

/// A slow model has at least so many calls: one slow call makes no slow model.
const SLOW_MIN_REQUESTS: u64 = 10;

pub(super) fn model_name(name: &str) -> &str {
    if name.is_empty() { "(unknown model)" } else { name }
}

pub(super) fn user_name(name: &str) -> &str {
    if name.is_empty() { "(no user)" } else { name }
}

pub(super) fn model_link(selection: &Selection, name: &str) -> Markup {
    html! { a href=(selection.link("/model", &[("name", name)])) { (model_name(name)) } }
}

pub(super) fn user_link(selection: &Selection, name: &str) -> Markup {
    html! { a href=(selection.link("/user", &[("name", name)])) { (user_name(name)) } }
}

/// A table that is as wide as it is; the page is not.
pub(super) fn scroll(id: &str, label: &str, content: &Markup) -> Markup {
    html! { div .scroll tabindex="0" role="region" aria-label=(label) { div #(id) data-live { (content) } } }
}

/// Totals by model or user, as bars against the most expensive one.
pub(super) fn groups(id: &str, title: &str, column: &str, rows: &[Totals], name: impl Fn(&Totals) -> Markup) -> Markup {
    let most = rows.iter().map(|row| format::approximate(&row.cost_usd)).fold(0.0, f64::max);
    let has_detail = rows.iter().any(|row| !row.detail.is_empty());
    let table = html! {
        table {
            thead {
                tr {
                    th scope="col" { (column) }
                    @if has_detail { th scope="col" .wide { "Provider" } }
                    th scope="col" .number { "Spend" } th scope="col" .bars .wide { span .hidden { "Share" } }
                    th scope="col" .number { "Priced" }
                    th scope="col" .number { "Requests" } th scope="col" .number { "Errors" } th scope="col" .number { "Tokens" }
                    th scope="col" .number .wide { "p50" } th scope="col" .number { "p95" } th scope="col" .number .wide { "p99" }
                }
            }
            tbody {
                @for row in rows {
                    tr {
                        th scope="row" { (name(row)) }
                        @if has_detail { td .wide .detail title=(row.detail) { (row.detail) } }
                        td .number {
                            @if row.priced_requests == 0 && row.requests > 0 { span .partial { "unpriced" } }
                            @else { span title=(exact(&row.cost_usd)) { (format::money(&row.cost_usd)) } }
                        }
                        td .bars .wide { (bar(format::approximate(&row.cost_usd) / most)) }
                        td .number { (priced(row)) }
                        td .number { (format::grouped(row.requests)) }
                        td .number { @if row.error_requests > 0 { (format::grouped(row.error_requests)) } @else { (NOTHING) } }
                        td .number { (format::compact(row.total_tokens)) }
                        @for (index, class) in [(0, Some("wide")), (1, None), (2, Some("wide"))] {
                            td .number .wide[class.is_some()] { (format::latency(row.latency_ms.get(index).copied().unwrap_or(f64::NAN))) }
                        }
                    }
                }
            }
        }
        @if rows.len() >= MAX_GROUPS { p .more { "The " (MAX_GROUPS) " most expensive; SQL has the rest." } }
    };
    html! {
        section .panel {
            h2 { (title) }
            @if rows.is_empty() { p .empty { "No requests in this range." } }
            @else { (scroll(id, title, &table)) }
        }
    }
}

/// A bar without a style attribute.
pub(super) fn bar(ratio: f64) -> Markup {
    let width = format!("{:.1}", 100.0 * if ratio.is_finite() { ratio.clamp(0.0, 1.0) } else { 0.0 });
    html! {
        svg .bar viewBox="0 0 100 6" preserveAspectRatio="none" aria-hidden="true" focusable="false" {
            rect .track width="100" height="6" {} rect .fill width=(width) height="6" {}
        }
    }
}

/// The slowest models with enough calls.
pub(super) fn slowest(rows: &[Totals], selection: &Selection) -> Markup {
    let p95 = |row: &Totals| row.latency_ms.get(1).copied().filter(|value| value.is_finite()).unwrap_or(-1.0);
    let mut slow: Vec<&Totals> =
        rows.iter().filter(|row| row.requests >= SLOW_MIN_REQUESTS && p95(row) >= 0.0).collect();
    slow.sort_by(|a, b| p95(b).total_cmp(&p95(a)));
    slow.truncate(5);
    let most = slow.first().map_or(0.0, |row| p95(row));
    html! {
        section .panel {
            h2 { "Slowest models" }
            @if slow.is_empty() { p .empty { "No model has " (SLOW_MIN_REQUESTS) " requests with a latency in this range." } }
            @else {
                (scroll("slowest", "Slowest models", &html! {
                    table {
                        thead { tr { th scope="col" { "Model" } th scope="col" .number { "p50" } th scope="col" .number { "p95" } th scope="col" .bars { span .hidden { "p95 as a bar" } } th scope="col" .number { "Requests" } } }
                        tbody {
                            @for row in slow {
                                tr {
                                    th scope="row" { (model_link(selection, &row.name)) }
                                    td .number { (format::latency(row.latency_ms.first().copied().unwrap_or(f64::NAN))) }
                                    td .number { (format::latency(p95(row))) }
                                    td .bars { (bar(p95(row) / most)) }
                                    td .number { (format::grouped(row.requests)) }
                                }
                            }
                        }
                    }
                }))
            }
        }
    }
}

/// What has no price, and why.
pub(super) fn unpriced(rows: &[Unpriced], selection: &Selection) -> Markup {
    html! {
        section .panel {
            h2 { "Without a price" }
            @if rows.is_empty() { p .empty { "Every call of the last hours has a price." } }
            @else {
                (scroll("unpriced", "Calls without a price", &html! {
                    table {
                        thead { tr { th scope="col" { "Model" } th scope="col" .wide { "Provider" } th scope="col" { "Why" } th scope="col" .number { "Requests" } th scope="col" .number { "Tokens" } } }
                        tbody {
                            @for row in rows {
                                tr {
                                    th scope="row" { (model_link(selection, &row.model)) } td .wide { (row.provider) }
                                    td { (reason(&row.reason)) } td .number { (format::grouped(row.requests)) } td .number { (format::compact(row.total_tokens)) }
                                }
                            }
                        }
                    }
                    p .more { "In the newest " (UNPRICED_MINUTES) " minutes that have such calls, of the range's last six hours. " a href=(selection.link("/requests", &[("unpriced", "1")])) { "Show these requests" } }
                }))
            }
        }
    }
}

/// Words for a label such as `no_entry`.
fn reason(label: &str) -> String {
    if label.is_empty() { "not told".to_owned() } else { label.replace('_', " ") }
}

/// Calls, the newest first.
pub(super) fn calls(id: &str, label: &str, rows: &[Call], selection: &Selection, now: UtcMillis) -> Markup {
    scroll(
        id,
        label,
        &html! {
            table .calls {
                thead {
                    tr {
                        th scope="col" { "Time" } th scope="col" { "Model" } th scope="col" { "User" }
                        th scope="col" .number { "Cost" } th scope="col" .number { "Prompt" } th scope="col" .number { "Completion" }
                        th scope="col" .number { "Latency" } th scope="col" { "Status" } th scope="col" .wide { "Body" } th scope="col" .wide { "Source" } th scope="col" .wide { "Request" }
                    }
                }
                tbody {
                    @for call in rows {
                        tr {
                            td { time datetime=(format::machine_time(UtcMillis(call.at_ms))) { (format::short_time(UtcMillis(call.at_ms), now)) } }
                            th scope="row" title=(call.provider) { (model_link(selection, &call.model)) }
                            td { (user_link(selection, &call.user_id)) }
                            td .number {
                                @match &call.cost_usd {
                                    Some(cost_usd) => span title=(exact(cost_usd)) { (format::money(cost_usd)) },
                                    None => span .partial title=(reason(&call.unpriced_reason)) { "unpriced" },
                                }
                            }
                            td .number { (count(call.prompt_tokens)) } td .number { (count(call.completion_tokens)) }
                            td .number { (call.latency_ms.map_or_else(|| NOTHING.to_owned(), |value| format::latency(value.into()))) }
                            td { (status(&call.status)) } td .wide { (call.fetch_status.replace('_', " ")) } td .wide { (call.source) }
                            td .wide .id title=(call.request_id) { (call.request_id) }
                        }
                    }
                }
            }
        },
    )
}

fn count(value: Option<u64>) -> String {
    value.map_or_else(|| NOTHING.to_owned(), format::grouped)
}

/// A state in its colour, and in words.
pub(super) fn status(state: &str) -> Markup {
    let class = match state {
        "success" | "resolved" | "ready" | "sent" | "stored" => "good",
        "error" | "firing" | "missing" | "failed" | "not ready" => "bad",
        _ => "middling",
    };
    html! { span .state .(class) { (state) } }
}

/// `last 24 hours`, for headings.
pub(super) const fn of_range(selection: &Selection) -> &'static str {
    match selection.range.choice {
        Choice::Between => "chosen range",
        choice => choice.label(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::live::params::Params;

    #[test]
    fn names_from_senders_are_escaped() {
        let selection = Selection::parse(&Params::default(), UtcMillis(1_764_101_971_000));
        let evil = "\"><script>alert(1)</script>";
        let row = Totals { name: evil.to_owned(), detail: evil.to_owned(), requests: 1, ..Totals::default() };
        let call = Call {
            at_ms: 0,
            request_id: evil.to_owned(),
            source: evil.to_owned(),
            model: evil.to_owned(),
            provider: evil.to_owned(),
            user_id: evil.to_owned(),
            prompt_tokens: None,
            completion_tokens: None,
            cost_usd: None,
            unpriced_reason: evil.to_owned(),
            latency_ms: None,
            status: evil.to_owned(),
            fetch_status: evil.to_owned(),
        };
        let page = html! {
            (groups("models", "Models", "Model", std::slice::from_ref(&row), |row| model_link(&selection, &row.name)))
            (groups("users", "Users", "User", std::slice::from_ref(&row), |row| user_link(&selection, &row.name)))
            (calls("calls", "Calls", &[call], &selection, UtcMillis(0)))
        }
        .into_string();
        assert!(page.contains("&lt;script&gt;") && !page.contains("<script"), "{page}");
        assert!(!page.contains("\">alert") && page.contains("name=%22%3E%3Cscript%3E"), "{page}");
    }
}
