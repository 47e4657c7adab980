//! The newest requests, and why calls have no price: the only queries of the pages that read calls.

use clickhouse::Row;
use serde::Deserialize;

use super::{
    params::{Params, Selection},
    source::{Part, Source},
    totals::Scope,
};
use crate::domain::UtcMillis;

/// Requests on one page.
pub(super) const PAGE: usize = 50;
/// The first stretch of time that is looked at, back from the newest; each further one is so many times as long.
const FIRST_WINDOW_MS: i64 = 60_000;
const WIDER: i64 = 8;
/// Stretches that are looked at for one page. Together some 26 days.
const MAX_WINDOWS: usize = 6;
/// Calls without a price are looked at in the last hours of a range only,
const UNPRICED_WINDOW_MS: i64 = 6 * 3_600_000;
/// and there in so many minutes: totals say which ones have any.
pub(super) const UNPRICED_MINUTES: usize = 30;

/// One call. Never a body.
#[derive(Clone, Debug, Deserialize, Row)]
pub(super) struct Call {
    pub(super) at_ms: i64,
    pub(super) request_id: String,
    pub(super) source: String,
    pub(super) model: String,
    pub(super) provider: String,
    pub(super) user_id: String,
    pub(super) prompt_tokens: Option<u64>,
    pub(super) completion_tokens: Option<u64>,
    pub(super) cost_usd: Option<String>,
    pub(super) unpriced_reason: String,
    pub(super) latency_ms: Option<u32>,
    pub(super) status: String,
    pub(super) fetch_status: String,
}

/// Which calls are shown.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Filter {
    pub(super) model: Option<String>,
    pub(super) user: Option<String>,
    pub(super) status: String,
    pub(super) min_cost_usd: Option<f64>,
    pub(super) min_latency_ms: Option<u32>,
    pub(super) unpriced: bool,
    /// Only calls before this one: the last of the page before.
    pub(super) before: Option<(i64, String)>,
}

impl Filter {
    pub(super) const STATUSES: [&'static str; 3] = ["success", "error", "unknown"];

    /// What the URL says, and what is wrong with it.
    pub(super) fn parse(params: &Params) -> (Self, Option<String>) {
        let mut problem = None;
        let mut number = |name: &str, what: &str| match params.get(name) {
            "" => None,
            text => match text.parse::<f64>() {
                Ok(value) if value.is_finite() && value >= 0.0 => Some(value),
                _ => {
                    problem = Some(format!("{what} is no number and was left out"));
                    None
                }
            },
        };
        let min_cost_usd = number("min_cost", "The minimum cost");
        let min_latency = number("min_latency", "The minimum latency");
        let text = |name: &str| Some(params.get(name)).filter(|text| !text.is_empty()).map(str::to_owned);
        let status = Self::STATUSES.into_iter().find(|status| *status == params.get("status"));
        let before = params.get("before").split_once('_');
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates, and is not negative")]
        let filter = Self {
            model: text("model"),
            user: text("user"),
            status: status.unwrap_or_default().to_owned(),
            min_cost_usd,
            min_latency_ms: min_latency.map(|value| value.ceil() as u32),
            unpriced: params.has("unpriced"),
            before: before.and_then(|(at_ms, id)| Some((at_ms.parse().ok()?, id.to_owned()))),
        };
        (filter, problem)
    }

    /// The calls of a scope.
    pub(super) fn of(scope: &Scope) -> Self {
        match scope {
            Scope::All => Self::default(),
            Scope::Model(name) => Self { model: Some(name.clone()), ..Self::default() },
            Scope::User(name) => Self { user: Some(name.clone()), ..Self::default() },
        }
    }

    /// All but the page, for links.
    pub(super) fn pairs(&self) -> Vec<(&'static str, String)> {
        let mut pairs = Vec::new();
        let mut add = |name, value: Option<String>| pairs.extend(value.map(|value| (name, value)));
        add("model", self.model.clone());
        add("user", self.user.clone());
        add("status", Some(self.status.clone()).filter(|status| !status.is_empty()));
        add("min_cost", self.min_cost_usd.map(|value| value.to_string()));
        add("min_latency", self.min_latency_ms.map(|value| value.to_string()));
        add("unpriced", self.unpriced.then(|| "1".to_owned()));
        pairs
    }

    /// Of the columns of `r`: aliases have their names.
    fn conditions(&self, source: &str) -> String {
        let mut conditions = String::from("NOT r.is_test");
        let mut add = |wanted: bool, condition: &str| {
            if wanted {
                conditions.push_str(" AND ");
                conditions.push_str(condition);
            }
        };
        add(!source.is_empty(), "r.source = {source:String}");
        add(self.model.is_some(), "r.model = {model:String}");
        add(self.user.is_some(), "r.user_id = {user:String}");
        add(!self.status.is_empty(), "r.status = {status:String}");
        add(self.min_cost_usd.is_some(), "toFloat64(r.cost_usd) >= {min_cost:Float64}");
        add(self.min_latency_ms.is_some(), "r.latency_ms >= {min_latency:UInt32}");
        add(self.unpriced, "r.cost_usd IS NULL");
        add(
            self.before.is_some(),
            "(toUnixTimestamp64Milli(r.event_time), r.request_id) < ({before_ms:Int64}, {before_id:String})",
        );
        conditions
    }
}

/// A page of calls, the newest first.
#[derive(Clone, Debug, Default)]
pub(super) struct Calls {
    pub(super) rows: Vec<Call>,
    /// There are more before the last one.
    pub(super) has_older: bool,
    /// Nothing before this was looked at, though the range begins earlier.
    pub(super) searched_to: Option<UtcMillis>,
}

/// The newest `limit` calls of the range. Calls are in the order of their time, so the last minutes are looked at first, and
/// longer stretches only as long as the page is not full.
pub(super) async fn newest(source: &Source, selection: &Selection, filter: &Filter, limit: usize) -> Part<Calls> {
    let range = &selection.range;
    let mut page = Calls::default();
    let mut upper = filter.before.as_ref().map_or(range.to.0, |(at_ms, _)| range.to.0.min(at_ms.saturating_add(1)));
    let mut window_ms = FIRST_WINDOW_MS;
    for _ in 0..MAX_WINDOWS {
        if upper <= range.from.0 {
            return Ok(page);
        }
        let lower = range.from.0.max(upper - window_ms);
        let wanted = limit + 1 - page.rows.len();
        page.rows.extend(between(source, selection, filter, (lower, upper), wanted).await?);
        if page.rows.len() > limit {
            page.rows.truncate(limit);
            page.has_older = true;
            return Ok(page);
        }
        upper = lower;
        window_ms *= WIDER;
    }
    page.searched_to = (upper > range.from.0).then_some(UtcMillis(upper));
    Ok(page)
}

async fn between(
    source: &Source,
    selection: &Selection,
    filter: &Filter,
    (from_ms, to_ms): (i64, i64),
    limit: usize,
) -> Part<Vec<Call>> {
    let conditions = filter.conditions(&selection.source);
    let text = format!(
        "SELECT toUnixTimestamp64Milli(r.event_time) AS at_ms, r.request_id AS request_id, toString(r.source) AS source, \
         toString(r.model) AS model, toString(r.provider) AS provider, r.user_id AS user_id, \
         r.prompt_tokens AS prompt_tokens, r.completion_tokens AS completion_tokens, toString(r.cost_usd) AS cost_usd, \
         toString(r.unpriced_reason) AS unpriced_reason, r.latency_ms AS latency_ms, toString(r.status) AS status, \
         toString(r.fetch_status) AS fetch_status \
         FROM requests AS r WHERE r.event_time >= fromUnixTimestamp64Milli({{from:Int64}}, 'UTC') \
         AND r.event_time < fromUnixTimestamp64Milli({{to:Int64}}, 'UTC') AND {conditions} \
         ORDER BY r.event_time DESC, r.request_id DESC LIMIT {limit}"
    );
    let (before_ms, before_id) = filter.before.clone().unwrap_or_default();
    let query = source
        .query(&text)
        .param("from", from_ms)
        .param("to", to_ms)
        .param("source", &selection.source)
        .param("model", filter.model.as_deref().unwrap_or_default())
        .param("user", filter.user.as_deref().unwrap_or_default())
        .param("status", &filter.status)
        .param("min_cost", filter.min_cost_usd.unwrap_or_default())
        .param("min_latency", filter.min_latency_ms.unwrap_or_default())
        .param("before_ms", before_ms)
        .param("before_id", before_id);
    source.rows(query).await
}

/// Calls without a price.
#[derive(Clone, Debug, Deserialize, Row)]
pub(super) struct Unpriced {
    pub(super) model: String,
    pub(super) provider: String,
    /// Why the price book could not tell.
    pub(super) reason: String,
    pub(super) requests: u64,
    pub(super) total_tokens: u64,
}

/// Why calls have no price, in the newest minutes of the range's last hours that have such calls.
pub(super) async fn unpriced(
    source: &Source,
    selection: &Selection,
    scope: &Scope,
    now: UtcMillis,
) -> Part<Vec<Unpriced>> {
    let to = selection.range.to.0.min(now.0);
    let from = selection.range.from.0.max(to - UNPRICED_WINDOW_MS);
    let filter = Filter { unpriced: true, ..Filter::of(scope) };
    let conditions = filter.conditions(&selection.source);
    let (minutes, of_scope) = match scope {
        Scope::All => ("model_minute_rows", ""),
        Scope::Model(_) => ("model_minute_rows", " AND model = {model:String}"),
        Scope::User(_) => ("user_minute_rows", " AND user_id = {user:String}"),
    };
    let of_source = if selection.source.is_empty() { "" } else { " AND source = {source:String}" };
    let text = format!(
        "SELECT toString(r.model) AS model, toString(r.provider) AS provider, toString(r.unpriced_reason) AS reason, \
         count() AS requests, ifNull(sum(r.total_tokens), 0) AS total_tokens \
         FROM requests AS r WHERE r.event_time >= fromUnixTimestamp64Milli({{from:Int64}}, 'UTC') \
         AND r.event_time < fromUnixTimestamp64Milli({{to:Int64}}, 'UTC') AND {conditions} \
         AND toStartOfMinute(r.event_time) IN (SELECT bucket FROM {minutes} FINAL \
            WHERE bucket >= toStartOfMinute(fromUnixTimestamp64Milli({{from:Int64}}, 'UTC')) \
            AND bucket < fromUnixTimestamp64Milli({{to:Int64}}, 'UTC') AND requests > priced_requests{of_scope}{of_source} \
            GROUP BY bucket ORDER BY bucket DESC LIMIT {UNPRICED_MINUTES}) \
         GROUP BY model, provider, reason ORDER BY requests DESC, model, reason LIMIT 20"
    );
    let query = source
        .query(&text)
        .param("from", from)
        .param("to", to)
        .param("source", &selection.source)
        .param("model", filter.model.unwrap_or_default())
        .param("user", filter.user.unwrap_or_default());
    source.rows(query).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_read_and_told_again() {
        for query in ["", "model=gpt-4o&status=error", "user=a%27+OR+1&min_cost=0.5&min_latency=1200&unpriced=1"] {
            let (filter, problem) = Filter::parse(&Params::parse(Some(query)));
            assert_eq!(problem, None, "{query}");
            let mut again = url::form_urlencoded::Serializer::new(String::new());
            again.extend_pairs(filter.pairs());
            assert_eq!(again.finish(), query);
        }
        let (filter, problem) =
            Filter::parse(&Params::parse(Some("min_cost=x&status=odd&before=12_id&min_latency=-1")));
        assert_eq!(problem.as_deref(), Some("The minimum latency is no number and was left out"));
        assert_eq!(filter, Filter { before: Some((12, "id".to_owned())), ..Filter::default() });
    }

    #[test]
    fn conditions_hold_no_value_of_the_request() {
        let params =
            Params::parse(Some("model=a'b&user=c'd&status=error&min_cost=1&min_latency=2&unpriced=1&before=3_e'f"));
        let conditions = Filter::parse(&params).0.conditions("g'h");
        assert_eq!(conditions.matches(" AND ").count(), 8);
        assert!(!conditions.contains('\''), "{conditions}");
    }
}
