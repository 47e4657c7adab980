//! The newest requests, with a filter.

use maud::{Markup, html};

use super::super::{
    calls::{Calls, Filter},
    params::Selection,
    source::Part,
};
use super::{format, frame::part, tables::calls};
use crate::domain::UtcMillis;

/// Everything on the page.
#[derive(Debug)]
pub(in super::super) struct RequestsView {
    pub(in super::super) filter: Filter,
    pub(in super::super) problem: Option<String>,
    pub(in super::super) calls: Part<Calls>,
}

/// The page's content.
pub(in super::super) fn requests_page(view: &RequestsView, selection: &Selection, now: UtcMillis) -> Markup {
    let filter = &view.filter;
    html! {
        form .filter method="get" action="/requests" role="search" aria-label="Filter requests" {
            @for (name, value) in selection.hidden(selection.range.choice) { input type="hidden" name=(name) value=(value); }
            label { "Model" input name="model" value=[&filter.model] autocomplete="off" spellcheck="false"; }
            label { "User" input name="user" value=[&filter.user] autocomplete="off" spellcheck="false"; }
            label {
                "Status"
                select name="status" {
                    option value="" { "any" }
                    @for status in Filter::STATUSES { option value=(status) selected[filter.status == status] { (status) } }
                }
            }
            label { "Min. cost, USD" input name="min_cost" value=[filter.min_cost_usd] inputmode="decimal" size="8"; }
            label { "Min. latency, ms" input name="min_latency" value=[filter.min_latency_ms] inputmode="numeric" size="8"; }
            label .check { input type="checkbox" name="unpriced" value="1" checked[filter.unpriced]; "Unpriced only" }
            button { "Filter" }
            @if *filter != Filter::default() { a .clear href=(selection.link("/requests", &[])) { "Clear" } }
        }
        @if let Some(problem) = &view.problem { p .notice role="alert" { (problem) "." } }
        section .panel {
            h2 .hidden { "Requests" }
            (part(&view.calls, |page| html! {
                (calls("calls", "Requests", &page.rows, selection, now))
                div #calls-more data-live { (more(page, filter, selection)) }
            }))
        }
    }
}

fn more(page: &Calls, filter: &Filter, selection: &Selection) -> Markup {
    let link = |before: String| {
        let pairs = filter.pairs();
        let mut pairs: Vec<(&str, &str)> = pairs.iter().map(|(name, value)| (*name, value.as_str())).collect();
        pairs.push(("before", &before));
        selection.link("/requests", &pairs)
    };
    let last = page.rows.last().filter(|_| page.has_older);
    html! {
        @if page.rows.is_empty() { p .empty { "No such requests" @if page.searched_to.is_none() { " in this range" } "." } }
        p .pages {
            @if filter.before.is_some() {
                a href=(selection.link("/requests", &filter.pairs().iter().map(|(name, value)| (*name, value.as_str())).collect::<Vec<_>>())) { "Newest" }
            }
            @if let Some(last) = last { a rel="next" href=(link(format!("{}_{}", last.at_ms, last.request_id))) { "Older" } }
            @if let Some(searched_to) = page.searched_to {
                "Searched back to " (format::minute(searched_to)) ". "
                a rel="next" href=(link(format!("{}_", searched_to.0))) { "Search further" }
            }
        }
    }
}
