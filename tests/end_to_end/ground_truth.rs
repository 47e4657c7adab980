//! Every stored call and every bucket of every view of totals against what the simulator wrote down, call by call.
//!
//! Nothing of the program's own arithmetic is used: the totals are added up here from the simulator's lines, percentiles are
//! those of the sorted latencies. Only where receipt decides when a call was made is the row's own time taken.

use std::{
    collections::HashMap,
    fmt,
    fs::File,
    io::{BufRead, BufReader},
    path::Path,
    time::{Duration, Instant},
};

use heliometer::simulator::ExpectedTotals;
use serde::Deserialize;

use crate::harness::Server;

/// What groups a view beside its bucket and source.
#[derive(Clone, Copy)]
enum By {
    Model,
    User,
}

#[derive(Clone, Copy)]
enum Grain {
    Minute,
    Hour,
    Day,
    Month,
}

/// Every view of totals.
const VIEWS: [(&str, By, Grain); 4] = [
    ("model_minute", By::Model, Grain::Minute),
    ("model_day", By::Model, Grain::Day),
    ("user_hour", By::User, Grain::Hour),
    ("user_month", By::User, Grain::Month),
];

const SOURCE: &str = "default";
/// `limits.max_token_ratio`
const MAX_TOKEN_RATIO: u64 = 10;
/// So many differences are shown.
const MAX_EXAMPLES: usize = 12;
/// What a sketch may be off, with the view's rounding to tenths.
const SKETCH_ERROR: f64 = 0.01;
const ROUNDING_MS: f64 = 0.06;
/// Totals may be behind, or hold a predecessor's last words, for twice `clickhouse.timeout_ms` and a pass.
const VIEWS_PATIENCE: Duration = Duration::from_secs(90);

/// One call as the simulator wrote it down, and what is known of its row.
struct Call {
    /// Milliseconds since 1970; of the row where receipt decides.
    event_time_ms: Option<i64>,
    model: u32,
    provider: u32,
    user: u32,
    cost_pico_usd: Option<u64>,
    prompt_tokens: Option<u64>,
    completion_tokens: Option<u64>,
    total_tokens: Option<u64>,
    cached_tokens: u64,
    latency_ms: Option<u32>,
    status: u32,
    rows: u32,
}

/// Texts by number: there are few different ones.
#[derive(Default)]
struct Names {
    numbers: HashMap<String, u32>,
    texts: Vec<String>,
}

impl Names {
    fn number(&mut self, text: &str) -> u32 {
        if let Some(number) = self.numbers.get(text) {
            return *number;
        }
        let number = u32::try_from(self.texts.len()).expect("few");
        self.numbers.insert(text.to_owned(), number);
        self.texts.push(text.to_owned());
        number
    }

    fn text(&self, number: u32) -> &str {
        &self.texts[usize::try_from(number).expect("fits")]
    }
}

/// A row of the view `requests`.
#[derive(Deserialize)]
struct Row {
    request_id: String,
    source: String,
    event_time_ms: i64,
    received_at_ms: i64,
    model: String,
    provider: String,
    user_id: String,
    cost_usd: Option<String>,
    prompt_tokens: Option<u64>,
    completion_tokens: Option<u64>,
    total_tokens: Option<u64>,
    cached_tokens: Option<u64>,
    latency_ms: Option<u32>,
    status: String,
}

const ROWS: &str = "SELECT request_id, source, toUnixTimestamp64Milli(event_time) AS event_time_ms, \
    toUnixTimestamp64Milli(received_at) AS received_at_ms, model, provider, user_id, cost_usd, prompt_tokens, \
    completion_tokens, total_tokens, cached_tokens, latency_ms, status FROM requests WHERE NOT is_test";

/// A row of a view of totals.
#[derive(Deserialize)]
struct Total {
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
    total_tokens: u64,
    priced_tokens: u64,
    cached_tokens: u64,
    inefficient_requests: u64,
    error_requests: u64,
    latencies_ms: Vec<u32>,
}

/// What was found.
#[derive(Default)]
pub(crate) struct Findings {
    requests: u64,
    /// Accepted, and not in `requests`.
    pub(crate) lost: u64,
    /// More than one row for one id.
    pub(crate) doubled: u64,
    /// Rows and groups of which a field differs, and groups that are missing or nobody sent.
    pub(crate) wrong: u64,
    /// Rows that nobody sent, or whose sender was never told that they were accepted.
    pub(crate) unknown: u64,
    /// Groups compared, by view.
    groups: Vec<(&'static str, usize)>,
    examples: Vec<String>,
}

impl Findings {
    fn example(&mut self, example: impl FnOnce() -> String) {
        if self.examples.len() < MAX_EXAMPLES {
            self.examples.push(example());
        }
    }

    fn is_exact(&self) -> bool {
        (self.lost, self.doubled, self.wrong, self.unknown) == (0, 0, 0, 0)
    }

    /// Fails unless everything is as it should be.
    pub(crate) fn assert_exact(&self) {
        assert!(self.is_exact(), "{self}");
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { requests, lost, doubled, wrong, unknown, groups, examples } = self;
        let groups: Vec<String> = groups.iter().map(|(view, count)| format!("{view} {count}")).collect();
        writeln!(f, "compared {requests} requests, and groups: {}", groups.join(", "))?;
        write!(f, "lost {lost}, doubled {doubled}, wrong {wrong}, unknown {unknown}")?;
        examples.iter().try_for_each(|example| write!(f, "\n  {example}"))
    }
}

/// What the simulator wrote down.
pub(crate) struct GroundTruth {
    calls: HashMap<u128, Call>,
    names: Names,
}

impl GroundTruth {
    /// Reads the file of `--expect-requests`.
    pub(crate) fn read(path: &Path) -> Self {
        let mut truth = Self { calls: HashMap::new(), names: Names::default() };
        let file = BufReader::new(File::open(path).expect("the expected requests"));
        for line in file.lines().skip(1) {
            let line = line.expect("UTF-8");
            let fields = fields(&line);
            let [id, event_time, model, provider, user, cost, prompt, completion, total, cached, latency, status] =
                fields.as_slice()
            else {
                panic!("{line}");
            };
            let names = &mut truth.names;
            let call = Call {
                event_time_ms: number(event_time),
                model: names.number(model),
                provider: names.number(provider),
                user: names.number(user),
                cost_pico_usd: Some(cost.as_str())
                    .filter(|cost| !cost.is_empty())
                    .map(|cost| u64::try_from(pico_usd(cost)).expect("a small amount")),
                prompt_tokens: number(prompt),
                completion_tokens: number(completion),
                total_tokens: number(total),
                cached_tokens: number(cached).expect("a number"),
                latency_ms: number(latency),
                status: names.number(status),
                rows: 0,
            };
            let known = truth.calls.insert(key(id).expect("an id"), call);
            assert!(known.is_none(), "the simulator wrote {id} down twice");
        }
        truth
    }

    /// Waits until what was accepted seems to be stored and summed up, then compares everything. Totals that are not right
    /// at once are compared again, until `VIEWS_PATIENCE` is over.
    pub(crate) fn compare(mut self, server: &Server, expected: &ExpectedTotals, patience: Duration) -> Findings {
        assert_eq!(self.calls.len() as u64, expected.sums.requests, "the simulator's two files agree");
        settle(server, expected, patience);
        let mut rows = Findings { requests: expected.sums.requests, ..Findings::default() };
        self.compare_rows(server, &mut rows);
        let deadline = Instant::now() + VIEWS_PATIENCE;
        loop {
            let mut findings = Findings { examples: rows.examples.clone(), groups: Vec::new(), ..rows };
            for (view, by, grain) in VIEWS {
                self.compare_view(server, view, by, grain, &mut findings);
            }
            if findings.wrong == rows.wrong || Instant::now() > deadline {
                return findings;
            }
            std::thread::sleep(Duration::from_secs(3));
        }
    }

    /// That a comparison can fail: tells four lies about what is stored, each of which must be found, in every view.
    pub(crate) fn assert_finds_lies(mut self, server: &Server) {
        let mut ids: Vec<u128> = self.calls.keys().copied().collect();
        ids.sort_unstable();
        let nobodys = *ids.last().expect("calls") ^ 1;
        let [forgotten, doubled, wrong] = [ids[0], ids[1], ids[2]];
        let forgotten = self.calls.remove(&forgotten).expect("is there");
        self.calls.insert(nobodys, forgotten);
        self.calls.get_mut(&doubled).expect("is there").rows = 1;
        let call = self.calls.get_mut(&wrong).expect("is there");
        call.cost_pico_usd = Some(call.cost_pico_usd.unwrap_or(0) + 1);
        let mut findings = Findings::default();
        self.compare_rows(server, &mut findings);
        let found = (findings.unknown, findings.lost, findings.doubled, findings.wrong);
        assert_eq!(found, (1, 1, 1, 1), "{findings}");
        for (view, by, grain) in VIEWS {
            let mut findings = Findings::default();
            self.compare_view(server, view, by, grain, &mut findings);
            assert!((1..=4).contains(&findings.wrong), "{findings}");
        }
    }

    fn compare_rows(&mut self, server: &Server, findings: &mut Findings) {
        server.each_row(ROWS, |row: Row| {
            let Some(call) = key(&row.request_id).and_then(|key| self.calls.get_mut(&key)) else {
                findings.unknown += 1;
                findings.example(|| format!("{}: nobody knows that it was accepted", row.request_id));
                return;
            };
            let event_time_ms = *call.event_time_ms.get_or_insert(row.received_at_ms);
            call.rows += 1;
            if call.rows > 1 {
                // Counted once, however many rows there are.
                findings.doubled += u64::from(call.rows == 2);
                findings.example(|| format!("{}: row {} of it, at {}", row.request_id, call.rows, row.event_time_ms));
                return;
            }
            let names = &self.names;
            let differences = differences(&[
                ("source", SOURCE == row.source, &SOURCE, &row.source),
                ("event_time", event_time_ms == row.event_time_ms, &event_time_ms, &row.event_time_ms),
                ("model", names.text(call.model) == row.model, &names.text(call.model), &row.model),
                ("provider", names.text(call.provider) == row.provider, &names.text(call.provider), &row.provider),
                ("user_id", names.text(call.user) == row.user_id, &names.text(call.user), &row.user_id),
                (
                    "cost_usd",
                    call.cost_pico_usd.map(u128::from) == row.cost_usd.as_deref().map(pico_usd),
                    &call.cost_pico_usd,
                    &row.cost_usd,
                ),
                ("prompt_tokens", call.prompt_tokens == row.prompt_tokens, &call.prompt_tokens, &row.prompt_tokens),
                (
                    "completion_tokens",
                    call.completion_tokens == row.completion_tokens,
                    &call.completion_tokens,
                    &row.completion_tokens,
                ),
                ("total_tokens", call.total_tokens == row.total_tokens, &call.total_tokens, &row.total_tokens),
                (
                    "cached_tokens",
                    call.cached_tokens == row.cached_tokens.unwrap_or(0),
                    &call.cached_tokens,
                    &row.cached_tokens,
                ),
                ("latency_ms", call.latency_ms == row.latency_ms, &call.latency_ms, &row.latency_ms),
                ("status", names.text(call.status) == row.status, &names.text(call.status), &row.status),
            ]);
            if !differences.is_empty() {
                findings.wrong += 1;
                findings.example(|| format!("{}: {differences}", row.request_id));
            }
        });
        for (id, _) in self.calls.iter().filter(|(_, call)| call.rows == 0) {
            findings.lost += 1;
            findings.example(|| format!("{}: accepted and lost", uuid::Uuid::from_u128(*id)));
        }
    }

    fn compare_view(&mut self, server: &Server, view: &'static str, by: By, grain: Grain, findings: &mut Findings) {
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
        server.each_row(&query, |total: Total| {
            let group = format!("{view} {} {} {}", total.bucket, total.first, total.second);
            let key = (total.bucket, self.names.number(&total.first), self.names.number(&total.second));
            let Some(mut sums) = expected.remove(&key).filter(|_| total.source == SOURCE) else {
                findings.wrong += 1;
                findings.example(|| format!("{group}: a group that nobody sent, {} requests", total.requests));
                return;
            };
            let differences = sums.differences_from(&total);
            if !differences.is_empty() {
                findings.wrong += 1;
                findings.example(|| format!("{group}: {differences}"));
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
        self.total_tokens += call.total_tokens.unwrap_or(0);
        self.cached_tokens += call.cached_tokens;
        if let Some(cost) = call.cost_pico_usd {
            self.priced_requests += 1;
            self.cost_pico_usd += u128::from(cost);
            self.priced_tokens += call.total_tokens.unwrap_or(0);
        }
        let is_inefficient = |prompt, completion| completion > 0 && prompt > MAX_TOKEN_RATIO * completion;
        if let (Some(prompt), Some(completion)) = (call.prompt_tokens, call.completion_tokens) {
            self.inefficient_requests += u64::from(is_inefficient(prompt, completion));
        }
        self.error_requests += u64::from(is_error);
        self.latencies_ms.extend(call.latency_ms);
    }

    fn differences_from(&mut self, total: &Total) -> String {
        self.latencies_ms.sort_unstable();
        let ratio = ratio(self.prompt_tokens, self.completion_tokens);
        let is_ratio = match (ratio, total.token_ratio) {
            (Some(expected), Some(found)) => (expected - found).abs() <= expected * 1e-9,
            (expected, found) => expected.is_none() && found.is_none(),
        };
        let percentiles = [
            ("latency_p50_ms", 0.5, total.latency_p50_ms),
            ("latency_p95_ms", 0.95, total.latency_p95_ms),
            ("latency_p99_ms", 0.99, total.latency_p99_ms),
        ]
        .map(|(name, level, found)| (name, percentile_range(&self.latencies_ms, level), found));
        let is_within = |range: Option<(f64, f64)>, found: Option<f64>| match (range, found) {
            (Some((least, most)), Some(found)) => (least..=most).contains(&found),
            (range, found) => range.is_none() && found.is_none(),
        };
        let found_cost = pico_usd(&total.cost_usd);
        let mut compared: Vec<(&str, bool, &dyn fmt::Debug, &dyn fmt::Debug)> = vec![
            ("requests", self.requests == total.requests, &self.requests, &total.requests),
            (
                "priced_requests",
                self.priced_requests == total.priced_requests,
                &self.priced_requests,
                &total.priced_requests,
            ),
            ("cost_usd in 10⁻¹²", self.cost_pico_usd == found_cost, &self.cost_pico_usd, &found_cost),
            ("prompt_tokens", self.prompt_tokens == total.prompt_tokens, &self.prompt_tokens, &total.prompt_tokens),
            (
                "completion_tokens",
                self.completion_tokens == total.completion_tokens,
                &self.completion_tokens,
                &total.completion_tokens,
            ),
            ("total_tokens", self.total_tokens == total.total_tokens, &self.total_tokens, &total.total_tokens),
            ("priced_tokens", self.priced_tokens == total.priced_tokens, &self.priced_tokens, &total.priced_tokens),
            ("cached_tokens", self.cached_tokens == total.cached_tokens, &self.cached_tokens, &total.cached_tokens),
            (
                "inefficient_requests",
                self.inefficient_requests == total.inefficient_requests,
                &self.inefficient_requests,
                &total.inefficient_requests,
            ),
            (
                "error_requests",
                self.error_requests == total.error_requests,
                &self.error_requests,
                &total.error_requests,
            ),
            ("token_ratio", is_ratio, &ratio, &total.token_ratio),
        ];
        for (name, range, found) in &percentiles {
            compared.push((name, is_within(*range, *found), range, found));
        }
        differences(&compared)
    }
}

/// `name: found, expected` of all that are not equal.
fn differences(compared: &[(&str, bool, &dyn fmt::Debug, &dyn fmt::Debug)]) -> String {
    let differing = compared.iter().filter(|(_, is_equal, ..)| !is_equal);
    let texts: Vec<String> =
        differing.map(|(name, _, expected, found)| format!("{name} is {found:?}, not {expected:?}")).collect();
    texts.join("; ")
}

/// Within what a sketch of these sorted values may say: around the value at rank `level × (n − 1)`, which lies between two
/// of them or beside them. `None` without values.
#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rank")]
fn percentile_range(sorted: &[u32], level: f64) -> Option<(f64, f64)> {
    let last = sorted.len().checked_sub(1)?;
    let rank = (level * last as f64).floor() as usize;
    let (least, most) = (f64::from(sorted[rank.saturating_sub(1)]), f64::from(sorted[(rank + 1).min(last)]));
    Some((least * (1.0 - SKETCH_ERROR) - ROUNDING_MS, most * (1.0 + SKETCH_ERROR) + ROUNDING_MS))
}

#[expect(clippy::cast_precision_loss, reason = "a ratio of token counts")]
fn ratio(prompt_tokens: u64, completion_tokens: u64) -> Option<f64> {
    (completion_tokens > 0).then(|| prompt_tokens as f64 / completion_tokens as f64)
}

/// Waits until as many rows are stored and summed up as were accepted, or `patience` is over: the comparison tells then.
fn settle(server: &Server, expected: &ExpectedTotals, patience: Duration) {
    let requests = i64::try_from(expected.sums.requests).expect("fits");
    let sums = VIEWS.map(|(view, ..)| format!("(SELECT sum(requests) FROM {view})")).join(", ");
    let state = format!(
        "arrayUniq([(SELECT count() FROM requests WHERE NOT is_test), {sums}]) = 1 \
         AND (SELECT count() FROM requests WHERE NOT is_test) = {requests} \
         AND (SELECT sum(messages) FROM outcomes WHERE outcome = 'in_flight') = 0"
    );
    let deadline = Instant::now() + patience;
    while server.count(&state) != 1 && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(500));
    }
}

fn key(request_id: &str) -> Option<u128> {
    uuid::Uuid::parse_str(request_id).ok().map(|id| id.as_u128())
}

/// `None` for an empty field.
fn number<T: std::str::FromStr<Err: fmt::Debug>>(field: &str) -> Option<T> {
    (!field.is_empty()).then(|| field.parse().expect("a number"))
}

/// `0.000000000003` in 10⁻¹² USD.
fn pico_usd(text: &str) -> u128 {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    format!("{whole}{fraction:0<12}").parse().unwrap_or_else(|_| panic!("{text} is no amount with 12 decimals"))
}

/// The fields of a line of CSV as RFC 4180 has it.
fn fields(line: &str) -> Vec<String> {
    let (mut fields, mut field, mut is_quoted) = (Vec::new(), String::new(), false);
    let mut characters = line.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '"' if is_quoted && characters.peek() == Some(&'"') => field.extend(characters.next()),
            '"' => is_quoted = !is_quoted,
            ',' if !is_quoted => fields.push(std::mem::take(&mut field)),
            character => field.push(character),
        }
    }
    fields.push(field);
    fields
}

#[test]
fn a_line_is_read_as_it_was_meant() {
    assert_eq!(fields(r#"id,,"a ""b"", c",2.5,"#), ["id", "", r#"a "b", c"#, "2.5", ""]);
    assert_eq!(
        (pico_usd("2.000000000003"), pico_usd("0.5"), pico_usd("7")),
        (2_000_000_000_003, 500_000_000_000, 7_000_000_000_000)
    );
}

#[test]
fn a_percentile_lies_around_its_rank() {
    assert_eq!(percentile_range(&[], 0.5), None);
    let values: Vec<u32> = (1..=100).map(|value| value * 100).collect();
    let (least, most) = percentile_range(&values, 0.95).expect("values");
    assert!((least, most) > (9_300.0, 0.0) && least < 9_500.0 && most > 9_600.0 && most < 9_800.0, "{least} {most}");
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
