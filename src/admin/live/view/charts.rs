//! Charts. Each is a table first: the script draws what the table says, so both are always the same.

use std::collections::BTreeMap;

use maud::{Markup, html};

use super::super::{params::Selection, range::Grain, totals::Bucket};
use super::format;
use crate::domain::UtcMillis;

/// Models with a colour of their own; the others share one.
const MODELS: usize = 6;

struct Series {
    name: String,
    /// Plain numbers; empty where there is none.
    values: Vec<String>,
}

struct Chart<'a> {
    id: &'a str,
    title: &'a str,
    /// How the script draws it: `stack`, `bars` or `lines`.
    kind: &'a str,
    unit: &'a str,
    series: Vec<Series>,
}

/// All four of a page.
pub(super) fn charts(buckets: &[Bucket], selection: &Selection) -> Markup {
    let of = |name: &str, value: &dyn Fn(&Bucket) -> String| Series {
        name: name.to_owned(),
        values: buckets.iter().map(value).collect(),
    };
    let latency = |bucket: &Bucket, index: usize| match bucket.latency_ms.get(index) {
        Some(value) if value.is_finite() => format!("{value:.0}"),
        _ => String::new(),
    };
    let all = [
        Chart { id: "spend", title: "Spend by model", kind: "stack", unit: "usd", series: by_model(buckets) },
        Chart {
            id: "requests",
            title: "Requests and errors",
            kind: "bars",
            unit: "requests",
            series: vec![
                of("requests", &|bucket| bucket.requests.to_string()),
                of("errors", &|bucket| bucket.error_requests.to_string()),
            ],
        },
        Chart {
            id: "tokens",
            title: "Tokens",
            kind: "stack",
            unit: "tokens",
            series: vec![
                of("prompt", &|bucket| bucket.prompt_tokens.to_string()),
                of("completion", &|bucket| bucket.completion_tokens.to_string()),
            ],
        },
        Chart {
            id: "latency",
            title: "Latency",
            kind: "lines",
            unit: "ms",
            series: vec![
                of("p50", &|bucket| latency(bucket, 0)),
                of("p95", &|bucket| latency(bucket, 1)),
                of("p99", &|bucket| latency(bucket, 2)),
            ],
        },
    ];
    html! {
        section .charts aria-label=(format!("Charts, {}", selection.range.choice.label())) {
            @for chart in &all { (chart.render(buckets, selection.range.grain)) }
        }
    }
}

impl Chart<'_> {
    fn render(&self, buckets: &[Bucket], grain: Grain) -> Markup {
        let table = format!("{}-table", self.id);
        html! {
            figure .chart data-kind=(self.kind) data-unit=(self.unit) data-table=(table) data-grain=(grain.name()) {
                figcaption { h2 { (self.title) } }
                div .plot role="img" aria-label=(format!("Chart of {}, by {}. The same numbers are in the table below it.", self.title.to_lowercase(), grain.name())) {}
                details {
                    summary { "Table" span .hidden { ": " (self.title) } }
                    div .scroll tabindex="0" role="region" aria-label=(format!("Table: {}", self.title)) {
                        div #(table) data-live { (self.table(buckets)) }
                    }
                }
            }
        }
    }

    fn table(&self, buckets: &[Bucket]) -> Markup {
        html! {
            table {
                thead { tr { th scope="col" { "From (UTC)" } @for series in &self.series { th scope="col" .number { (series.name) } } } }
                tbody {
                    @for (index, bucket) in buckets.iter().enumerate() {
                        tr {
                            th scope="row" data-x=(bucket.from_seconds) { (format::minute(UtcMillis::from_seconds(bucket.from_seconds.into()))) }
                            @for series in &self.series { td .number { (series.values.get(index).map_or("", String::as_str)) } }
                        }
                    }
                }
            }
        }
    }
}

/// The most expensive models, then all others together; exact.
fn by_model(buckets: &[Bucket]) -> Vec<Series> {
    let mut totals: BTreeMap<&str, f64> = BTreeMap::new();
    for bucket in buckets {
        for (model, cost) in bucket.models.iter().zip(&bucket.model_costs_usd) {
            *totals.entry(model).or_default() += format::approximate(cost);
        }
    }
    let mut models: Vec<(&str, f64)> = totals.into_iter().filter(|(_, usd)| *usd > 0.0).collect();
    models.sort_by(|(_, a), (_, b)| b.total_cmp(a));
    let named: Vec<&str> = models.iter().take(MODELS).map(|(model, _)| *model).collect();
    let cost = |bucket: &Bucket, model: &str| {
        let index = bucket.models.iter().position(|known| known == model)?;
        bucket.model_costs_usd.get(index).cloned()
    };
    let mut series: Vec<Series> = named
        .iter()
        .map(|model| Series {
            name: super::tables::model_name(model).to_owned(),
            values: buckets.iter().map(|bucket| cost(bucket, model).unwrap_or_else(|| "0".to_owned())).collect(),
        })
        .collect();
    if models.len() > MODELS || series.is_empty() {
        let others = |bucket: &Bucket| {
            let named: rust_decimal::Decimal =
                named.iter().filter_map(|model| format::decimal(&cost(bucket, model)?)).sum();
            format::decimal(&bucket.cost_usd).map_or_else(String::new, |all| (all - named).normalize().to_string())
        };
        let name = if series.is_empty() { "spend" } else { "other models" };
        series.push(Series { name: name.to_owned(), values: buckets.iter().map(others).collect() });
    }
    series
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_beyond_the_colours_are_one_and_nothing_is_lost() {
        let models: Vec<String> = (0..9).map(|index| format!("m{index}")).collect();
        let costs: Vec<String> = (0..9).map(|index| format!("{}.000000000001", 9 - index)).collect();
        let bucket =
            Bucket { models, model_costs_usd: costs, cost_usd: "45.000000000009".to_owned(), ..Bucket::default() };
        let series = by_model(&[bucket, Bucket::default()]);
        let names: Vec<&str> = series.iter().map(|series| series.name.as_str()).collect();
        assert_eq!(names, ["m0", "m1", "m2", "m3", "m4", "m5", "other models"]);
        assert_eq!(series[6].values, ["6.000000000003", "0"]);
        let nothing = by_model(&[Bucket::default()]);
        assert_eq!((nothing.len(), nothing[0].values[0].as_str()), (1, "0"));
    }
}
