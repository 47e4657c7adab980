//! Every bucket of every view of totals, added up here from the calls.

use std::collections::HashMap;

use serde::Deserialize;

use super::{
    Call, GroundTruth, SOURCE,
    findings::{Differences, Findings},
    pico_usd,
};
use crate::harness::Server;

/// What groups a view beside its bucket and source.
#[derive(Clone, Copy)]
pub(super) enum By {
    Model,
    User,
}

#[derive(Clone, Copy)]
pub(super) enum Grain {
    Minute,
    Hour,
    Day,
    Month,
}

/// Every view of totals.
pub(super) const VIEWS: &[(&str, By, Grain)] = &[
    ("model_minute", By::Model, Grain::Minute),
    ("model_hour", By::Model, Grain::Hour),
    ("model_day", By::Model, Grain::Day),
    ("model_month", By::Model, Grain::Month),
    ("user_minute", By::User, Grain::Minute),
    ("user_hour", By::User, Grain::Hour),
    ("user_day", By::User, Grain::Day),
    ("user_month", By::User, Grain::Month),
];

/// `limits.max_token_ratio`
const MAX_TOKEN_RATIO: u64 = 10;
/// What a sketch may be off, with the view's rounding to tenths.
const SKETCH_ERROR: f64 = 0.01;
const ROUNDING_MS: f64 = 0.06;

/// A row of a view of totals.
#[derive(Deserialize)]
struct Group {
    bucket: i64,
    source: String,
    /// Model and provider, or user and model.
    first: String,
    second: String,
    requests: u64,
    priced_requests: u64,
    cost_usd: String,
    prompt_tokens: u64,
    completion_tokens: u64,
    total_tokens: u64,
    priced_tokens: u64,
    cached_tokens: u64,
    inefficient_requests: u64,
    error_requests: u64,
    latency_p50_ms: Option<f64>,
    latency_p95_ms: Option<f64>,
    latency_p99_ms: Option<f64>,
    token_ratio: Option<f64>,
}

/// A group of a view, added up here.
#[derive(Default)]
struct Sums {
    requests: u64,
    priced_requests: u64,
    cost_pico_usd: u128,
    prompt_tokens: u64,
    completion_tokens: u64,
    tokens: u64,
    priced_tokens: u64,
    cached_tokens: u64,
    inefficient_requests: u64,
    error_requests: u64,
    latencies_ms: Vec<u32>,
}

impl GroundTruth {
    pub(super) fn compare_view(
        &mut self,
        server: &Server,
        &(view, by, grain): &(&'static str, By, Grain),
        findings: &mut Findings,
    ) {
        let mut expected = self.sums(by, grain);
        findings.groups.push((view, expected.len()));
        let [first, second] = match by {
            By::Model => ["model", "provider"],
            By::User => ["user_id", "model"],
        };
        let query = format!(
            "SELECT toInt64(toUnixTimestamp(bucket)) AS bucket, source, {first} AS first, {second} AS second, requests, \
             priced_requests, cost_usd, prompt_tokens, completion_tokens, total_tokens, priced_tokens, cached_tokens, \
             inefficient_requests, error_requests, latency_p50_ms, latency_p95_ms, latency_p99_ms, token_ratio FROM {view}"
        );
        server.each_row(&query, |total: Group| {
            let group = || format!("{view} {} {} {}", total.bucket, total.first, total.second);
            let key = (total.bucket, self.names.number(&total.first), self.names.number(&total.second));
            if let Some(mut sums) = expected.remove(&key).filter(|_| total.source == SOURCE) {
                findings.compared(&sums.differences_from(&total), group);
            } else {
                findings.wrong += 1;
                findings.example(|| format!("{}: a group that nobody sent, {} requests", group(), total.requests));
            }
        });
        for ((bucket, first, second), sums) in expected {
            findings.wrong += 1;
            let (first, second) = (self.names.text(first), self.names.text(second));
            findings.example(|| format!("{view} {bucket} {first} {second}: missing, {} requests", sums.requests));
        }
    }

    /// Of what has a row: what is lost is counted as lost.
    fn sums(&self, by: By, grain: Grain) -> HashMap<(i64, u32, u32), Sums> {
        let mut groups: HashMap<_, Sums> = HashMap::new();
        for call in self.calls.values().filter(|call| call.rows > 0) {
            let (first, second) = match by {
                By::Model => (call.model, call.provider),
                By::User => (call.user, call.model),
            };
            let bucket = grain.start_of(call.event_time_ms.expect("has a row").div_euclid(1000));
            let sums = groups.entry((bucket, first, second)).or_default();
            sums.add(call, self.names.text(call.status) == "error");
        }
        groups
    }
}

impl Grain {
    fn start_of(self, seconds: i64) -> i64 {
        let length = match self {
            Self::Minute => 60,
            Self::Hour => 3_600,
            Self::Day => 86_400,
            Self::Month => {
                let time = jiff::Timestamp::from_second(seconds).expect("a time").to_zoned(jiff::tz::TimeZone::UTC);
                let start = time.first_of_month().and_then(|day| day.start_of_day()).expect("a month");
                return start.timestamp().as_second();
            }
        };
        seconds - seconds.rem_euclid(length)
    }
}

impl Sums {
    fn add(&mut self, call: &Call, is_error: bool) {
        self.requests += 1;
        self.prompt_tokens += call.prompt_tokens.unwrap_or(0);
        self.completion_tokens += call.completion_tokens.unwrap_or(0);
        self.tokens += call.total_tokens.unwrap_or(0);
        self.cached_tokens += call.cached_tokens;
        if let Some(cost) = call.cost_pico_usd {
            self.priced_requests += 1;
            self.cost_pico_usd += u128::from(cost);
            self.priced_tokens += call.total_tokens.unwrap_or(0);
        }
        if let (Some(prompt), Some(completion)) = (call.prompt_tokens, call.completion_tokens) {
            self.inefficient_requests += u64::from(completion > 0 && prompt > MAX_TOKEN_RATIO * completion);
        }
        self.error_requests += u64::from(is_error);
        self.latencies_ms.extend(call.latency_ms);
    }

    fn differences_from(&mut self, total: &Group) -> Differences {
        let mut differences = Differences::default();
        differences.equal("requests", self.requests, total.requests);
        differences.equal("priced_requests", self.priced_requests, total.priced_requests);
        differences.equal("cost_usd in 10⁻¹²", self.cost_pico_usd, pico_usd(&total.cost_usd));
        differences.equal("prompt_tokens", self.prompt_tokens, total.prompt_tokens);
        differences.equal("completion_tokens", self.completion_tokens, total.completion_tokens);
        differences.equal("total_tokens", self.tokens, total.total_tokens);
        differences.equal("priced_tokens", self.priced_tokens, total.priced_tokens);
        differences.equal("cached_tokens", self.cached_tokens, total.cached_tokens);
        differences.equal("inefficient_requests", self.inefficient_requests, total.inefficient_requests);
        differences.equal("error_requests", self.error_requests, total.error_requests);
        let ratio = ratio(self.prompt_tokens, self.completion_tokens);
        let is_ratio = match (ratio, total.token_ratio) {
            (Some(expected), Some(found)) => (expected - found).abs() <= expected * 1e-9,
            (expected, found) => expected.is_none() && found.is_none(),
        };
        differences.holds("token_ratio", is_ratio, &ratio, &total.token_ratio);
        self.latencies_ms.sort_unstable();
        for (name, level, found) in [
            ("latency_p50_ms", 0.5, total.latency_p50_ms),
            ("latency_p95_ms", 0.95, total.latency_p95_ms),
            ("latency_p99_ms", 0.99, total.latency_p99_ms),
        ] {
            let range = percentile_range(&self.latencies_ms, level);
            let is_within = match (&range, found) {
                (Some(range), Some(found)) => range.contains(&found),
                (range, found) => range.is_none() && found.is_none(),
            };
            differences.holds(name, is_within, &range, &found);
        }
        differences
    }
}

/// Within what a sketch of these sorted values may say: around the value at rank `level × (n − 1)`, which lies between two
/// of them or beside them. `None` without values.
#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rank")]
fn percentile_range(sorted: &[u32], level: f64) -> Option<std::ops::RangeInclusive<f64>> {
    let end = sorted.len().checked_sub(1)?;
    let rank = (level * end as f64).floor() as usize;
    let (low, high) = (f64::from(sorted[rank.saturating_sub(1)]), f64::from(sorted[(rank + 1).min(end)]));
    Some(low * (1.0 - SKETCH_ERROR) - ROUNDING_MS..=high * (1.0 + SKETCH_ERROR) + ROUNDING_MS)
}

#[expect(clippy::cast_precision_loss, reason = "a ratio of token counts")]
fn ratio(prompt_tokens: u64, completion_tokens: u64) -> Option<f64> {
    (completion_tokens > 0).then(|| prompt_tokens as f64 / completion_tokens as f64)
}

#[test]
fn a_percentile_lies_around_its_rank() {
    assert_eq!(percentile_range(&[], 0.5), None);
    let values: Vec<u32> = (1..=100).map(|value| value * 100).collect();
    let range = percentile_range(&values, 0.95).expect("values");
    for (value, is_within) in [(9_300.0, false), (9_400.0, true), (9_500.0, true), (9_600.0, true), (9_800.0, false)] {
        assert_eq!(range.contains(&value), is_within, "{value} in {range:?}");
    }
}

#[test]
fn grains_begin_where_they_should() {
    // 2025-09-08T15:44:57Z
    for (grain, start) in [
        (Grain::Minute, 1_757_346_240),
        (Grain::Hour, 1_757_343_600),
        (Grain::Day, 1_757_289_600),
        (Grain::Month, 1_756_684_800),
    ] {
        assert_eq!(grain.start_of(1_757_346_297), start);
    }
}
