//! A handler for each page: what it asks for, all at once, and the view that shows it.

use std::sync::Arc;

use axum::{
    body::{Body, Bytes},
    extract::State,
    http::{HeaderMap, StatusCode, Uri, header},
    response::{Html, IntoResponse, Response},
};
use maud::Markup;

use super::{
    Connected,
    alerts::{self as alert_queries, Alert},
    calls,
    calls::Filter,
    guard,
    params::{Params, Selection},
    pipeline::{self as pipeline_queries, Gauges, Pipeline},
    source::Part,
    sql_box::SqlError,
    totals::{Scope, TotalsOf},
    view::{self, Frame, Page},
};
use crate::{
    admin::Admin,
    domain::{Clock, SystemClock, UtcMillis},
};

/// Requests on the first page.
const NEWEST: usize = 8;

/// What every page begins with.
struct Asked {
    params: Params,
    selection: Selection,
    now: UtcMillis,
}

impl Asked {
    fn of(uri: &Uri) -> Self {
        let (params, now) = (Params::parse(uri.query()), SystemClock.now());
        Self { selection: Selection::parse(&params, now), params, now }
    }

    fn frame<'a>(&'a self, page: Page, title: &'a str) -> Frame<'a> {
        Frame { page, title, selection: &self.selection, ranged: None, sources: &[], firing: None, now: self.now }
    }

    fn page(&self, page: Page, title: &str, body: &Markup) -> Response {
        html(&self.frame(page, title).render(body))
    }
}

fn html(page: &Markup) -> Response {
    Html(page.0.clone()).into_response()
}

/// ClickHouse, or a page that says why there is none.
fn connected<'a>(admin: &'a Admin, asked: &Asked, page: Page) -> Result<&'a Connected, Box<Response>> {
    admin.live.database.get().ok_or_else(|| {
        let text = "ClickHouse is starting. Webhooks are taken meanwhile; their numbers appear here soon.";
        let response = asked.page(page, "Starting", &view::message(text));
        Box::new((StatusCode::SERVICE_UNAVAILABLE, [(header::REFRESH, "2")], response).into_response())
    })
}

fn busy(asked: &Asked, page: Page) -> Response {
    let response =
        asked.page(page, "Busy", &view::message("Too many pages are being computed. Try again in a moment."));
    (StatusCode::SERVICE_UNAVAILABLE, response).into_response()
}

pub(super) async fn overview(State(admin): State<Arc<Admin>>, uri: Uri) -> Response {
    totals_page(&admin, &Asked::of(&uri), Scope::All).await
}

pub(super) async fn model(State(admin): State<Arc<Admin>>, uri: Uri) -> Response {
    let asked = Asked::of(&uri);
    let scope = Scope::Model(asked.params.get("name").to_owned());
    totals_page(&admin, &asked, scope).await
}

pub(super) async fn user(State(admin): State<Arc<Admin>>, uri: Uri) -> Response {
    let asked = Asked::of(&uri);
    let scope = Scope::User(asked.params.get("name").to_owned());
    totals_page(&admin, &asked, scope).await
}

async fn totals_page(admin: &Admin, asked: &Asked, scope: Scope) -> Response {
    let Connected { source, .. } = match connected(admin, asked, Page::Overview) {
        Ok(connected) => connected,
        Err(response) => return *response,
    };
    let Some(_turn) = source.turn().await else { return busy(asked, Page::Overview) };
    let (selection, now) = (&asked.selection, asked.now);
    let totals = TotalsOf { source, selection, scope: &scope, now };
    let filter = Filter::of(&scope);
    let is_all = scope == Scope::All;
    let (is_model, is_user) = (matches!(scope, Scope::Model(_)), matches!(scope, Scope::User(_)));
    let (periods, series, models, users, unpriced, alerts, user_limits, calls, outcomes, sources) = tokio::join!(
        totals.periods(),
        totals.series(),
        when(!is_model, totals.by_model()),
        when(!is_user, totals.by_user()),
        calls::unpriced(source, selection, &scope, now),
        when(is_all, alert_queries::active(source)),
        when(!is_model, alert_queries::user_limits(source, &scope)),
        calls::newest(source, selection, &filter, NEWEST),
        when(is_all, pipeline_queries::outcomes(source)),
        totals.sources(),
    );
    let (path, keep, title) = match &scope {
        Scope::All => ("/", Vec::new(), "Overview".to_owned()),
        Scope::Model(name) => ("/model", vec![("name", name.clone())], named("Model", name)),
        Scope::User(name) => ("/user", vec![("name", name.clone())], named("User", name)),
    };
    let (sources, firing) = (sources.unwrap_or_default(), firing(&alerts).filter(|_| is_all));
    let overview = view::Overview {
        scope,
        periods,
        series,
        models,
        users,
        unpriced,
        alerts,
        user_limits,
        calls,
        outcomes,
        gauges: Gauges::read(&admin.registry),
        health: admin.health.clone(),
    };
    let frame = Frame { ranged: Some((path, keep)), sources: &sources, firing, ..asked.frame(Page::Overview, &title) };
    html(&frame.render(&view::overview(&overview, selection, now)))
}

/// What a page does not show is not asked for.
async fn when<T>(wanted: bool, rows: impl Future<Output = Part<Vec<T>>>) -> Part<Vec<T>> {
    if wanted { rows.await } else { Ok(Vec::new()) }
}

/// How many alerts fire, where that could be read.
fn firing(alerts: &Part<Vec<Alert>>) -> Option<usize> {
    alerts.as_ref().ok().map(|alerts| alerts.iter().filter(|alert| alert.is_firing()).count())
}

fn named(what: &str, name: &str) -> String {
    if name.is_empty() { format!("{what} unknown") } else { format!("{what} {name}") }
}

pub(super) async fn requests(State(admin): State<Arc<Admin>>, uri: Uri) -> Response {
    let asked = Asked::of(&uri);
    let Connected { source, .. } = match connected(&admin, &asked, Page::Requests) {
        Ok(connected) => connected,
        Err(response) => return *response,
    };
    let Some(_turn) = source.turn().await else { return busy(&asked, Page::Requests) };
    let (filter, problem) = Filter::parse(&asked.params);
    let totals = TotalsOf { source, selection: &asked.selection, scope: &Scope::All, now: asked.now };
    let (calls, sources) =
        tokio::join!(calls::newest(source, &asked.selection, &filter, calls::PAGE), totals.sources());
    let (keep, sources) = (filter.pairs(), sources.unwrap_or_default());
    let requests = view::RequestsView { filter, problem, calls };
    let frame =
        Frame { ranged: Some(("/requests", keep)), sources: &sources, ..asked.frame(Page::Requests, "Requests") };
    html(&frame.render(&view::requests_page(&requests, &asked.selection, asked.now)))
}

pub(super) async fn alerts(State(admin): State<Arc<Admin>>, uri: Uri) -> Response {
    let asked = Asked::of(&uri);
    let Connected { source, .. } = match connected(&admin, &asked, Page::Alerts) {
        Ok(connected) => connected,
        Err(response) => return *response,
    };
    let Some(_turn) = source.turn().await else { return busy(&asked, Page::Alerts) };
    let (active, recent, silences, user_limits) = tokio::join!(
        alert_queries::active(source),
        alert_queries::recent(source),
        alert_queries::silences(source),
        alert_queries::user_limits(source, &Scope::All),
    );
    let firing = firing(&active);
    let alerts = view::AlertsView { active, recent, silences, user_limits };
    let frame = Frame { firing, ..asked.frame(Page::Alerts, "Alerts") };
    html(&frame.render(&view::alerts_page(&alerts, &asked.selection, asked.now)))
}

pub(super) async fn pipeline(State(admin): State<Arc<Admin>>, uri: Uri) -> Response {
    let asked = Asked::of(&uri);
    let Connected { source, .. } = match connected(&admin, &asked, Page::Pipeline) {
        Ok(connected) => connected,
        Err(response) => return *response,
    };
    let Some(_turn) = source.turn().await else { return busy(&asked, Page::Pipeline) };
    let pipeline = view::PipelineView {
        pipeline: Pipeline::read(source).await,
        gauges: Gauges::read(&admin.registry),
        health: admin.health.clone(),
        uptime: admin.live.started.elapsed(),
    };
    asked.page(Page::Pipeline, "Pipeline", &view::pipeline_page(&pipeline, asked.now))
}

pub(super) async fn sql(uri: Uri) -> Response {
    let asked = Asked::of(&uri);
    let key = asked.params.get("example");
    let example = view::EXAMPLES.iter().find(|(known, _, _)| *known == key).unwrap_or(&view::EXAMPLES[0]);
    let body = view::sql_page(&view::SqlView { query: example.2, answer: None, took_seconds: 0.0 });
    asked.page(Page::Sql, "SQL", &body)
}

pub(super) async fn run_sql(State(admin): State<Arc<Admin>>, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let asked = Asked::of(&uri);
    let (Connected { sql, .. }, query) = match posted(&admin, &asked, &headers, &uri, &body) {
        Ok(posted) => posted,
        Err(response) => return *response,
    };
    let begun = std::time::Instant::now();
    let answer = sql.run(&query).await;
    // Who reads the page has his answer when it says what is wrong with his query.
    let status = match &answer {
        Ok(_) | Err(SqlError::Refused(_) | SqlError::Empty | SqlError::Format) => StatusCode::OK,
        Err(error) => status_of(error),
    };
    let sql_view = view::SqlView { query: &query, answer: Some(answer), took_seconds: begun.elapsed().as_secs_f64() };
    (status, asked.page(Page::Sql, "SQL", &view::sql_page(&sql_view))).into_response()
}

pub(super) async fn download_sql(
    State(admin): State<Arc<Admin>>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let asked = Asked::of(&uri);
    let (Connected { sql, .. }, query) = match posted(&admin, &asked, &headers, &uri, &body) {
        Ok(posted) => posted,
        Err(response) => return *response,
    };
    match sql.csv(&query).await {
        Ok(rows) => {
            let headers = [
                (header::CONTENT_TYPE, "text/csv; charset=utf-8"),
                (header::CONTENT_DISPOSITION, "attachment; filename=\"heliometer.csv\""),
            ];
            (headers, Body::from_stream(rows)).into_response()
        }
        Err(error) => {
            let status = status_of(&error);
            let sql_view = view::SqlView { query: &query, answer: Some(Err(error)), took_seconds: 0.0 };
            (status, asked.page(Page::Sql, "SQL", &view::sql_page(&sql_view))).into_response()
        }
    }
}

/// The query of a form that one of these pages has sent.
fn posted<'a>(
    admin: &'a Admin,
    asked: &Asked,
    headers: &HeaderMap,
    uri: &Uri,
    body: &Bytes,
) -> Result<(&'a Connected, String), Box<Response>> {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !guard::is_own_origin(headers, uri) {
        let message = "Queries are taken from this page only; elsewhere use `heliometer sql` or ClickHouse itself.\n";
        return Err(Box::new((StatusCode::FORBIDDEN, message).into_response()));
    }
    if !content_type.starts_with("application/x-www-form-urlencoded") {
        return Err(Box::new((StatusCode::UNSUPPORTED_MEDIA_TYPE, "Send the page's form.\n").into_response()));
    }
    let mut pairs = url::form_urlencoded::parse(body);
    let query = pairs.find(|(name, _)| name == "query").map(|(_, value)| value.replace("\r\n", "\n"));
    Ok((connected(admin, asked, Page::Sql)?, query.unwrap_or_default()))
}

fn status_of(error: &SqlError) -> StatusCode {
    match error {
        SqlError::Refused(_) | SqlError::Empty | SqlError::Format => StatusCode::BAD_REQUEST,
        SqlError::TooLong => StatusCode::PAYLOAD_TOO_LARGE,
        SqlError::Busy => StatusCode::TOO_MANY_REQUESTS,
        SqlError::TooSlow => StatusCode::GATEWAY_TIMEOUT,
        SqlError::Unreachable(_) => StatusCode::BAD_GATEWAY,
        SqlError::NoReader => StatusCode::FORBIDDEN,
    }
}

pub(super) async fn events(State(admin): State<Arc<Admin>>) -> Response {
    admin.live.pulses.subscribe()
}
