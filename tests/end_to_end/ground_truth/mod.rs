//! Every stored call and every bucket of every view of totals against what the simulator wrote down, call by call.
//!
//! Nothing of the program's own arithmetic is used: the totals are added up here from the simulator's lines, percentiles are
//! those of the sorted latencies. Only where receipt decides when a call was made is the row's own time taken.

mod findings;
mod views;

use std::{
    collections::HashMap,
    fmt::Debug,
    fs::File,
    io::{BufRead, BufReader},
    path::Path,
    str::FromStr,
    time::{Duration, Instant},
};

use heliometer::simulator::ExpectedTotals;
use serde::Deserialize;

use crate::harness::Server;
use findings::Differences;
pub(crate) use findings::Findings;
use views::VIEWS;

const SOURCE: &str = "default";
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
            for view in VIEWS {
                self.compare_view(server, view, &mut findings);
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
        let [forgotten, doubled, wrong] = [ids[0], ids[1], ids[2]];
        let forgotten = self.calls.remove(&forgotten).expect("is there");
        // One bit more than the last id: nobody's.
        self.calls.insert(ids[ids.len() - 1] ^ 1, forgotten);
        self.calls.get_mut(&doubled).expect("is there").rows = 1;
        let call = self.calls.get_mut(&wrong).expect("is there");
        call.cost_pico_usd = Some(call.cost_pico_usd.unwrap_or(0) + 1);
        let mut findings = Findings::default();
        self.compare_rows(server, &mut findings);
        let found = (findings.unknown, findings.lost, findings.doubled, findings.wrong);
        assert_eq!(found, (1, 1, 1, 1), "{findings}");
        for view in VIEWS {
            let mut findings = Findings::default();
            self.compare_view(server, view, &mut findings);
            // The group of the forgotten call, and that of the wrong cost, unless they are the same.
            assert!((1..=2).contains(&findings.wrong), "{findings}");
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
            let mut differences = Differences::default();
            differences.equal("source", SOURCE, row.source.as_str());
            differences.equal("event_time", event_time_ms, row.event_time_ms);
            differences.equal("model", names.text(call.model), row.model.as_str());
            differences.equal("provider", names.text(call.provider), row.provider.as_str());
            differences.equal("user_id", names.text(call.user), row.user_id.as_str());
            let found_cost = row.cost_usd.as_deref().map(pico_usd);
            differences.equal("cost_usd in 10⁻¹²", call.cost_pico_usd.map(u128::from), found_cost);
            differences.equal("prompt_tokens", call.prompt_tokens, row.prompt_tokens);
            differences.equal("completion_tokens", call.completion_tokens, row.completion_tokens);
            differences.equal("total_tokens", call.total_tokens, row.total_tokens);
            differences.equal("cached_tokens", call.cached_tokens, row.cached_tokens.unwrap_or(0));
            differences.equal("latency_ms", call.latency_ms, row.latency_ms);
            differences.equal("status", names.text(call.status), row.status.as_str());
            findings.compared(&differences, || row.request_id.clone());
        });
        for (id, _) in self.calls.iter().filter(|(_, call)| call.rows == 0) {
            findings.lost += 1;
            findings.example(|| format!("{}: accepted and lost", uuid::Uuid::from_u128(*id)));
        }
    }
}

/// Waits until as many rows are stored and summed up as were accepted, or `patience` is over: the comparison tells then.
fn settle(server: &Server, expected: &ExpectedTotals, patience: Duration) {
    let requests = i64::try_from(expected.sums.requests).expect("fits");
    let sums: Vec<String> = VIEWS.iter().map(|(view, ..)| format!("(SELECT sum(requests) FROM {view})")).collect();
    let state = format!(
        "arrayUniq([(SELECT count() FROM requests WHERE NOT is_test), {}]) = 1 \
         AND (SELECT count() FROM requests WHERE NOT is_test) = {requests} \
         AND (SELECT sum(messages) FROM outcomes WHERE outcome = 'in_flight') = 0",
        sums.join(", ")
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
fn number<T: FromStr<Err: Debug>>(field: &str) -> Option<T> {
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
    for (text, pico) in [("2.000000000003", 2_000_000_000_003), ("0.5", 500_000_000_000), ("7", 7_000_000_000_000)] {
        assert_eq!(pico_usd(text), pico, "{text}");
    }
}
