//! The numbers of a report: a handful of queries over the totals, none of which depends on how many calls are stored.

use clickhouse::{Client, Row};
use jiff::tz::TimeZone;
use serde::Deserialize;

use super::{
    super::{
        AlertError, contributors,
        error::bounded,
        forecast,
        observe::{self, ANY_LENGTH, Bind, Part, SUMS, SpendOf, Sql, View, group_expression, push_rows},
        period::Span,
        rule::{Filter, Period, Scope},
    },
    schedule::ReportPeriod,
};
use crate::{
    domain::{UsdAmount, UtcMillis},
    notify::{
        Report,
        report::{Estimate, Figures, FiredAlerts, ForecastRange, MonthToDate, Share, SlowModel},
    },
};

const DOING: &str = "make a report";
/// Lines of each list.
const TOP: i64 = 5;
/// Models with fewer calls are not among the slowest: a percentile of a few says nothing.
const MIN_CALLS_FOR_LATENCY: i64 = 20;

/// Lists of models and users, by what comes first in them.
#[derive(Clone, Copy)]
enum Order {
    Spend,
    Change,
    Unpriced,
}

/// Makes the report on `period`, whose spans begin and end with whole minutes. `timezone` says which month it is in.
///
/// # Errors
/// [`AlertError::ClickHouse`] when a query fails.
pub(crate) async fn gather(
    client: &Client,
    (id, name): (String, String),
    period: &ReportPeriod,
    timezone: &TimeZone,
    now: UtcMillis,
) -> Result<Report, AlertError> {
    let ReportPeriod { span, previous } = period;
    let (totals, estimate) = totals(client, span).await?;
    let mut movers = shares(client, Scope::Model, Order::Change, period).await?;
    movers.extend(shares(client, Scope::User, Order::Change, period).await?);
    let change = |share: &Share| (share.cost_usd.pico_usd() - share.previous_cost_usd.pico_usd()).abs();
    movers.sort_by_key(|share| std::cmp::Reverse(change(share)));
    movers.truncate(usize::try_from(TOP).unwrap_or_default());
    Ok(Report {
        id,
        name,
        period: span.label.clone(),
        from: span.start,
        to: span.end,
        previous_period: previous.label.clone(),
        at: now,
        totals,
        previous: self::totals(client, previous).await?.0,
        estimate,
        month: month(client, span, timezone).await?,
        alerts: alerts(client, span).await?,
        top_models: shares(client, Scope::Model, Order::Spend, period).await?,
        top_users: shares(client, Scope::User, Order::Spend, period).await?,
        movers,
        slowest_models: slowest_models(client, span).await?,
        unpriced_models: shares(client, Scope::Model, Order::Unpriced, period).await?,
        newest_event: contributors::newest_event(client, now).await?,
        backlog: observe::lag(client, now).await?.map(|backlog| backlog.note()),
        dashboard_url: String::new(),
    })
}

#[derive(Row, Deserialize)]
struct TotalsRow {
    sum_requests: u64,
    sum_priced_requests: u64,
    sum_error_requests: u64,
    sum_inefficient_requests: u64,
    sum_prompt_tokens: u64,
    sum_completion_tokens: u64,
    sum_cached_tokens: u64,
    sum_total_tokens: u64,
    sum_cost_usd: i128,
    sum_estimated_requests: f64,
    requests_error: f64,
    sum_estimated_cost_usd: i128,
    cost_usd_error: f64,
}

#[derive(Row, Deserialize)]
struct LatencyRow {
    name: String,
    calls: u64,
    percentiles: Vec<f64>,
}

async fn totals(client: &Client, span: &Span) -> Result<(Figures, Option<Estimate>), AlertError> {
    let mut sql = Sql::default();
    let sums = [
        "requests",
        "priced_requests",
        "error_requests",
        "inefficient_requests",
        "prompt_tokens",
        "completion_tokens",
        "cached_tokens",
        "total_tokens",
    ]
    .map(|column| format!("toUInt64(sum({column})) AS sum_{column}"))
    .join(", ");
    sql.push(&format!(
        "SELECT {sums}, toDecimal128(sum(cost_usd), 12) AS sum_cost_usd, sum(estimated_requests) AS sum_estimated_requests, \
         sqrt(sum(pow(estimated_requests_standard_error, 2))) AS requests_error, \
         toDecimal128(sum(estimated_cost_usd), 12) AS sum_estimated_cost_usd, \
         sqrt(sum(pow(estimated_cost_usd_standard_error, 2))) AS cost_usd_error FROM "
    ));
    push_buckets(
        &mut sql,
        &View::cover(Scope::All, &Filter::default(), span, ANY_LENGTH),
        "",
        "requests, priced_requests, error_requests, inefficient_requests, prompt_tokens, completion_tokens, cached_tokens, \
         total_tokens, cost_usd, estimated_requests, estimated_requests_standard_error, estimated_cost_usd, \
         estimated_cost_usd_standard_error",
    );
    let row: TotalsRow = bounded(DOING, sql.query(client).fetch_one()).await?;
    let latency = latency(client, span, false).await?.pop();
    let percentile = |index: usize| latency.as_ref()?.percentiles.get(index).copied().filter(|ms| !ms.is_nan());
    let figures = Figures {
        requests: row.sum_requests,
        priced_requests: row.sum_priced_requests,
        error_requests: row.sum_error_requests,
        inefficient_requests: row.sum_inefficient_requests,
        active_users: active_users(client, span).await?,
        cost_usd: UsdAmount::from_pico_usd(row.sum_cost_usd),
        prompt_tokens: row.sum_prompt_tokens,
        completion_tokens: row.sum_completion_tokens,
        cached_tokens: row.sum_cached_tokens,
        total_tokens: row.sum_total_tokens,
        latency_p50_ms: percentile(0),
        latency_p95_ms: percentile(1),
    };
    let estimate = Estimate {
        requests: row.sum_estimated_requests,
        requests_standard_error: row.requests_error,
        cost_usd: UsdAmount::from_pico_usd(row.sum_estimated_cost_usd),
        cost_usd_standard_error: row.cost_usd_error,
    };
    // Without sampling both are the same, and the errors zero.
    Ok((figures, (row.requests_error > 0.0).then_some(estimate)))
}

async fn active_users(client: &Client, span: &Span) -> Result<u64, AlertError> {
    let mut sql = Sql::default();
    sql.push("SELECT toUInt64(uniqExact(name)) FROM ");
    let parts = View::cover(Scope::User, &Filter::default(), span, ANY_LENGTH);
    push_rows(&mut sql, &parts, &group_expression(Scope::User), |_| ());
    sql.push(" WHERE name != ''");
    bounded(DOING, sql.query(client).fetch_one()).await
}

/// Percentiles by model, slowest first, or of all together.
async fn latency(client: &Client, span: &Span, by_model: bool) -> Result<Vec<LatencyRow>, AlertError> {
    let mut sql = Sql::default();
    let model = if by_model { "toString(model)" } else { "''" };
    sql.push(&format!(
        "SELECT {model} AS name, toUInt64(sum(requests)) AS calls, \
         quantilesDDMerge(0.01, 0.5, 0.95, 0.99)(latency_quantiles) AS percentiles FROM "
    ));
    let parts = View::cover(Scope::All, &Filter::default(), span, ANY_LENGTH);
    push_buckets(&mut sql, &parts, "_rows FINAL", "model, requests, latency_quantiles");
    sql.push(" GROUP BY name HAVING NOT isNaN(percentiles[2])");
    if by_model {
        sql.push(" AND calls >= ? ORDER BY percentiles[2] DESC, name LIMIT ?");
        sql.bind(Bind::Int(MIN_CALLS_FOR_LATENCY)).bind(Bind::Int(TOP));
    }
    bounded(DOING, sql.query(client).fetch_all()).await
}

async fn slowest_models(client: &Client, span: &Span) -> Result<Vec<SlowModel>, AlertError> {
    let rows = latency(client, span, true).await?;
    let slow = |row: LatencyRow| {
        let percentile = |index: usize| row.percentiles.get(index).copied().unwrap_or_default();
        let (latency_p50_ms, latency_p95_ms) = (percentile(0), percentile(1));
        SlowModel { model: row.name, requests: row.calls, latency_p50_ms, latency_p95_ms }
    };
    Ok(rows.into_iter().map(slow).collect())
}

/// The buckets of all parts with these columns. There are none of calls: spans are whole minutes.
fn push_buckets(sql: &mut Sql, parts: &[Part], suffix: &str, columns: &str) {
    sql.push("(");
    for (index, Part { view, start, end }) in parts.iter().enumerate() {
        let union = if index > 0 { " UNION ALL " } else { "" };
        sql.push(&format!(
            "{union}SELECT {columns} FROM {}{suffix} WHERE bucket >= toDateTime(?, 'UTC') AND bucket < toDateTime(?, 'UTC')",
            view.name()
        ));
        sql.bind(Bind::Int(start.div_euclid(1000))).bind(Bind::Int(end.div_euclid(1000)));
    }
    sql.push(")");
}

#[derive(Row, Deserialize)]
struct ShareRow {
    name: String,
    usd: i128,
    reqs: u64,
    priced: u64,
    usd_before: i128,
}

async fn shares(client: &Client, by: Scope, order: Order, period: &ReportPeriod) -> Result<Vec<Share>, AlertError> {
    let filter = Filter::default();
    let rows = |sql: &mut Sql, span: &Span| {
        push_rows(sql, &View::cover(by, &filter, span, ANY_LENGTH), &group_expression(by), |_| ());
    };
    let mut sql = Sql::default();
    sql.push(&format!("SELECT name, usd, reqs, priced, usd_before FROM (SELECT name, {SUMS} FROM "));
    rows(&mut sql, &period.span);
    sql.push(&format!(
        " GROUP BY name) AS now {} JOIN (SELECT name, toDecimal128(ifNull(sum(cost_usd), 0), 12) AS usd_before FROM ",
        // What was there only before has changed, too.
        if matches!(order, Order::Change) { "FULL" } else { "LEFT" }
    ));
    rows(&mut sql, &period.previous);
    sql.push(" GROUP BY name) AS before USING (name) WHERE ");
    sql.push(match order {
        Order::Spend => "usd > 0 ORDER BY usd DESC",
        Order::Change => "usd != usd_before ORDER BY abs(usd - usd_before) DESC",
        Order::Unpriced => "reqs > priced ORDER BY reqs - priced DESC",
    });
    sql.push(", name LIMIT ?").bind(Bind::Int(TOP));
    let rows: Vec<ShareRow> = bounded(DOING, sql.query(client).fetch_all()).await?;
    let share = |row: ShareRow| Share {
        what: by.word().to_owned(),
        name: row.name,
        requests: row.reqs,
        priced_requests: row.priced,
        cost_usd: UsdAmount::from_pico_usd(row.usd),
        previous_cost_usd: UsdAmount::from_pico_usd(row.usd_before),
    };
    Ok(rows.into_iter().map(share).collect())
}

/// The month that the span ends in; `None` for a span that is longer than what is left of a month says anything about.
async fn month(client: &Client, span: &Span, timezone: &TimeZone) -> Result<Option<MonthToDate>, AlertError> {
    // The last moment that is reported on.
    let until = UtcMillis(span.end.0 - 1);
    let month = Period::Month.span_at(timezone, until)?;
    if span.start <= month.start && span.end >= month.end {
        return Ok(None);
    }
    let filter = Filter::default();
    let of = SpendOf { scope: Scope::All, filter: &filter, period: Period::Month, timezone };
    let (spent, courses) = observe::courses(client, of, (&month, ""), until).await?;
    let usd = UsdAmount::from_pico_usd;
    let forecast = (span.end < month.end).then(|| forecast::forecast(spent, &courses, &month, until)).flatten();
    let forecast = forecast.map(|forecast| ForecastRange {
        low_usd: usd(forecast.low),
        middle_usd: usd(forecast.middle),
        high_usd: usd(forecast.high),
        courses: forecast.courses,
    });
    Ok(Some(MonthToDate { period: month.label, spent_usd: usd(spent), forecast }))
}

async fn alerts(client: &Client, span: &Span) -> Result<Vec<FiredAlerts>, AlertError> {
    let query = "SELECT rule, toUInt64(uniqExact(fingerprint)) AS alerts FROM alert_transitions \
         WHERE at >= fromUnixTimestamp64Milli(?, 'UTC') AND at < fromUnixTimestamp64Milli(?, 'UTC') \
         AND state = 'firing' AND reason IN ('fired', 'unsuppressed') AND notify \
         GROUP BY rule ORDER BY alerts DESC, rule LIMIT ?";
    let query = client.query(query).bind(span.start.0).bind(span.end.0).bind(TOP);
    bounded(DOING, query.fetch_all()).await
}
