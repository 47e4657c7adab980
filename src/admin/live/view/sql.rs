//! The SQL box.

use maud::{Markup, html};

use super::super::sql_box::{Answer, MAX_QUERY_BYTES, MAX_ROWS, SqlError};
use super::{format, frame::sentence, tables::scroll};

/// Key, title and query of what can be clicked.
pub(in super::super) const EXAMPLES: [(&str, &str, &str); 8] = [
    (
        "spend",
        "Spend by day",
        "SELECT bucket, sum(cost_usd) AS usd, sum(requests) AS calls,\n       round(100 * sum(priced_requests) / sum(requests), 1) AS priced_percent\nFROM model_day\nWHERE bucket >= now('UTC') - INTERVAL 30 DAY\nGROUP BY bucket\nORDER BY bucket DESC",
    ),
    (
        "users",
        "Who spends most this month, and on what",
        "SELECT user_id, sum(cost_usd) AS usd, sum(requests) AS calls,\n       argMax(model, t.cost_usd) AS most_expensive_model\nFROM user_month AS t\nWHERE bucket = toStartOfMonth(now('UTC'))\nGROUP BY user_id\nORDER BY usd DESC\nLIMIT 20",
    ),
    (
        "expensive",
        "Most expensive calls of the last hour",
        "SELECT event_time, model, user_id, prompt_tokens, completion_tokens, cost_usd, request_id\nFROM requests\nWHERE event_time >= now() - INTERVAL 1 HOUR AND NOT is_test\nORDER BY cost_usd DESC\nLIMIT 20",
    ),
    (
        "errors",
        "Errors by model today",
        "SELECT model, provider, sum(error_requests) AS errors, sum(requests) AS calls,\n       round(100 * errors / calls, 1) AS error_percent\nFROM model_day\nWHERE bucket = toStartOfDay(now('UTC'))\nGROUP BY model, provider\nHAVING errors > 0\nORDER BY errors DESC",
    ),
    (
        "cache",
        "How much input came from caches",
        "SELECT model, sum(cached_tokens) AS cached, sum(prompt_tokens) AS not_cached,\n       round(100 * cached / (cached + not_cached), 1) AS cached_percent\nFROM model_day\nWHERE bucket >= now('UTC') - INTERVAL 30 DAY\nGROUP BY model\nHAVING cached > 0\nORDER BY cached DESC",
    ),
    (
        "percentiles",
        "Exact percentiles of the last hour",
        "SELECT model, sum(requests) AS calls,\n       quantilesDDMerge(0.01, 0.5, 0.95, 0.99)(latency_quantiles) AS p50_p95_p99_ms\nFROM model_minute_rows FINAL\nWHERE bucket >= now() - INTERVAL 1 HOUR\nGROUP BY model\nORDER BY calls DESC",
    ),
    (
        "outcomes",
        "What became of every webhook",
        "SELECT outcome, reason, sum(messages) AS messages\nFROM outcomes\nGROUP BY outcome, reason\nORDER BY messages DESC",
    ),
    ("columns", "Columns of a view, explained", "DESCRIBE model_day"),
];

/// Everything on the page.
#[derive(Debug)]
pub(in super::super) struct SqlView<'a> {
    pub(in super::super) query: &'a str,
    /// `None` before it has run.
    pub(in super::super) answer: Option<Result<Answer, SqlError>>,
    pub(in super::super) took_seconds: f64,
}

/// The page's content.
pub(in super::super) fn sql_page(view: &SqlView<'_>) -> Markup {
    let error = view.answer.as_ref().and_then(|answer| answer.as_ref().err());
    let position = match error {
        Some(SqlError::Refused(error)) => error.position,
        _ => None,
    };
    html! {
        div .sql {
            form method="post" action="/sql" #sql-form {
                label for="query" { "Query" }
                textarea #query name="query" rows="9" spellcheck="false" autocapitalize="off" autocomplete="off" maxlength=(MAX_QUERY_BYTES)
                    aria-invalid=[error.map(|_| "true")] aria-describedby=[error.map(|_| "sql-error")]
                    data-line=[position.map(|(line, _)| line)] data-column=[position.map(|(_, column)| column)] { "\n" (view.query) }
                @if let Some(error) = error { (told(error)) }
                p .actions {
                    button { "Run" } button .plain formaction="/sql.csv" { "Download CSV" }
                    span .hint { "Ctrl+Enter runs it. Read-only, 15 seconds, the first " (format::grouped(MAX_ROWS as u64)) " rows." }
                }
            }
            nav .examples aria-label="Examples" {
                h2 { "Examples" }
                ul { @for (key, title, _) in EXAMPLES { li { a href=(format!("/sql?example={key}")) { (title) } } } }
                p .more { "Views: requests, model_minute … model_month, user_hour … user_month, outcomes, alerts, notifications, dead_letters, unpriced_models, price_drift. Put coverage beside money." }
            }
        }
        @if let Some(Ok(answer)) = &view.answer { (table(answer, view.took_seconds)) }
    }
}

/// What is wrong and, where ClickHouse says so, at which place.
pub(in super::super) fn told(error: &SqlError) -> Markup {
    html! {
        div .notice .bad #sql-error role="alert" {
            p {
                (sentence(&error.to_string()))
                @if let SqlError::Refused(refused) = error {
                    @if let Some((line, column)) = refused.position { " At line " (line) ", column " (column) "." }
                }
            }
            @if let SqlError::Refused(refused) = error {
                @if let Some(hint) = hint(&refused.name) { p { (hint) } }
                @if !refused.name.is_empty() { p .more { "ClickHouse calls it " code { (refused.name) } "." } }
            }
        }
    }
}

/// What to do.
fn hint(name: &str) -> Option<&'static str> {
    Some(match name {
        "UNKNOWN_TABLE" => "The views that there are stand beside the examples.",
        "UNKNOWN_IDENTIFIER" => "DESCRIBE and the view's name show its columns.",
        "ACCESS_DENIED" | "READONLY" => "The page may only read, and no bodies.",
        "TIMEOUT_EXCEEDED" | "TOO_SLOW" => {
            "Ask for a shorter range of time, or read totals: model_hour, model_day, user_day."
        }
        "MEMORY_LIMIT_EXCEEDED" | "QUERY_MEMORY_LIMIT_EXCEEDED" => "Group by less, or ask for a shorter range of time.",
        "TOO_MANY_ROWS_OR_BYTES" => "Add a LIMIT; `heliometer sql` has no such bound.",
        "ILLEGAL_AGGREGATION" => "An alias hides a column of the same name: give the sum another name.",
        _ => return None,
    })
}

fn table(answer: &Answer, took_seconds: f64) -> Markup {
    let is_number = |index: usize| {
        answer.types.get(index).is_some_and(|name| {
            let name = name.trim_start_matches("Nullable(").trim_start_matches("LowCardinality(");
            ["UInt", "Int", "Float", "Decimal"].iter().any(|number| name.starts_with(number))
        })
    };
    html! {
        section .panel {
            h2 { "Answer" }
            p .more #sql-count role="status" {
                @if answer.is_cut { "The first " (format::grouped(answer.rows.len() as u64)) " rows; there are more." }
                @else { (format::counted(answer.rows.len() as u64, "row")) }
                " · " (format!("{took_seconds:.2}")) " s"
            }
            @if !answer.names.is_empty() {
                (scroll("sql-answer", "Answer", &html! {
                    table {
                        thead { tr { @for (index, name) in answer.names.iter().enumerate() { th scope="col" .number[is_number(index)] title=(answer.types.get(index).map_or("", String::as_str)) { (name) } } } }
                        tbody {
                            @for row in &answer.rows {
                                tr {
                                    @for (index, cell) in row.iter().enumerate() {
                                        td .number[is_number(index)] { @match cell { Some(text) => (text), None => span .null { "NULL" } } }
                                    }
                                }
                            }
                        }
                    }
                }))
            }
        }
    }
}
