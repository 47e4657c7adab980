//! Today and this month, beside the same time of the period before.

use maud::{Markup, html};

use super::super::totals::{Periods, Totals};
use super::format::{self, Delta, NOTHING};

/// Whether more of it is worse, for its colour.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Judgement {
    Neutral,
    MoreIsWorse,
}

/// One number of a stretch of time.
struct Reading {
    text: String,
    delta: Option<Delta>,
}

pub(super) fn tiles(periods: &Periods) -> Markup {
    let reading = |of: &dyn Fn(&Totals) -> (f64, String)| {
        let pair = |now: &Totals, before: &Totals| {
            let (value, text) = of(now);
            Reading { text, delta: format::delta(value, of(before).0) }
        };
        (pair(&periods.today, &periods.yesterday), pair(&periods.month, &periods.last_month))
    };
    let spend = reading(&|totals| (format::approximate(&totals.cost_usd), format::money(&totals.cost_usd)));
    let requests = reading(&|totals| counted(totals.requests));
    let tokens = reading(&|totals| counted(totals.total_tokens));
    let errors = reading(&|totals| counted(totals.error_requests));
    let p95 = reading(&|totals| {
        let p95_ms = totals.latency_ms.get(1).copied().unwrap_or(f64::NAN);
        (p95_ms, format::latency(p95_ms))
    });
    html! {
        section .tiles aria-label="Today and this month" #tiles data-live {
            (tile("Spend", &spend, Judgement::Neutral, &html! {
                p .exact { "exactly " (exact(&periods.today.cost_usd)) }
                (coverage(&periods.today))
            }))
            (tile("Requests", &requests, Judgement::Neutral, &html! {}))
            (tile("Tokens", &tokens, Judgement::Neutral, &html! {}))
            (tile("Errors", &errors, Judgement::MoreIsWorse, &html! {
                p .exact { (format::percent(periods.today.error_requests, periods.today.requests)) " of requests" }
            }))
            (tile("Latency p95", &p95, Judgement::MoreIsWorse, &html! {
                p .exact { "median " (format::latency(periods.today.latency_ms.first().copied().unwrap_or(f64::NAN))) }
            }))
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "compared with another only")]
fn counted(value: u64) -> (f64, String) {
    (value as f64, format::compact(value))
}

fn tile(label: &str, (today, month): &(Reading, Reading), judgement: Judgement, more: &Markup) -> Markup {
    html! {
        div .tile {
            h2 { (label) " " small { "today" } }
            p .value { strong { (today.text) } " " (moved(today.delta.as_ref(), judgement, "yesterday until this time")) }
            (more)
            p .month { span { "Month " b { (month.text) } } " " (moved(month.delta.as_ref(), judgement, "last month until this day and time")) }
        }
    }
}

fn moved(delta: Option<&Delta>, judgement: Judgement, than: &str) -> Markup {
    html! {
        @if let Some(delta) = delta {
            span .delta .(delta.direction) .judged[judgement == Judgement::MoreIsWorse] title=(format!("compared with {than}")) {
                (delta.text) span .hidden { " compared with " (than) }
            }
        }
    }
}

/// Every digit.
pub(super) fn exact(cost_usd: &str) -> String {
    let digits = if cost_usd.is_empty() { "0" } else { cost_usd };
    format!("{digits} USD")
}

/// How much of the calls and tokens the money speaks of, where that is not all.
pub(super) fn coverage(totals: &Totals) -> Markup {
    let is_whole = totals.priced_requests >= totals.requests && totals.priced_tokens >= totals.total_tokens;
    html! {
        @if !is_whole {
            p .coverage title="Spend is the sum of what has a price; the rest is not free, its price is not known" {
                "covers " b { (format::percent(totals.priced_requests, totals.requests)) } " of requests, "
                b { (format::percent(totals.priced_tokens, totals.total_tokens)) } " of tokens"
            }
        }
    }
}

/// In a cell: percent of the requests that have a price, marked where it is not all.
pub(super) fn priced(totals: &Totals) -> Markup {
    html! {
        @if totals.requests == 0 { (NOTHING) }
        @else { span .partial[totals.priced_requests < totals.requests] { (format::percent(totals.priced_requests, totals.requests)) } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coverage_is_told_where_it_is_not_whole() {
        let whole = Totals { requests: 3, priced_requests: 3, total_tokens: 9, priced_tokens: 9, ..Totals::default() };
        assert_eq!(coverage(&whole).into_string(), "");
        let partial = Totals { priced_requests: 2, ..whole.clone() };
        assert!(coverage(&partial).into_string().contains("66.7 %"));
        let of_tokens = Totals { priced_tokens: 1, ..whole };
        assert!(coverage(&of_tokens).into_string().contains("11.1 %"));
    }
}
