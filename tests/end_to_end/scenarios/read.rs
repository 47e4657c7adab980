//! Scenarios as text.
//!
//! ```text
//! === title
//! [[rules]]                       the section `alerts` of the settings
//! …
//! ---
//! 2031-09-08T10:00:00Z | 3x ann gpt-4o $0.20 900ms, bob - | rule/group 80% $0.81; rule/group ends 0 ms
//! +5m                  |                                  |
//! ```
//!
//! A step is a time, what came in until then, and every message that follows at once. `~` before a message says that it was
//! held back. Two steps never have the same time. A line that begins with `#` is for readers, but for `# two replicas`: two
//! processes decide; and `# to Slack`: what Slack takes is part of what follows, `posted` and its text.

use std::time::Duration;

use figment::{
    Figment,
    providers::{Format, Toml},
};
use heliometer::{domain::UtcMillis, settings::AlertSettings};

pub(super) struct Scenario {
    pub(super) title: String,
    pub(super) settings: AlertSettings,
    /// Two processes decide at each step, of which one may.
    pub(super) two_replicas: bool,
    /// What is told is also delivered.
    pub(super) to_slack: bool,
    pub(super) steps: Vec<Step>,
}

pub(super) struct Step {
    pub(super) at: UtcMillis,
    pub(super) line: String,
    pub(super) events: Vec<Event>,
    pub(super) expected: Vec<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Event {
    Calls(Calls),
    /// `dead-letter 3 source`
    DeadLetters {
        count: u64,
        source: String,
    },
    /// `bad-signature 3 source`
    SignatureFailures {
        count: u64,
        source: String,
    },
    /// `backlog 3 5m`: so many messages wait, and the last that does not was received so long ago.
    Backlog {
        messages: u64,
        age: Duration,
    },
    /// `silence 1h rule=* group=*`, at run time.
    Silence {
        length: Duration,
        rule: Option<String>,
        group: Option<String>,
    },
    /// `expire`: every silence made at run time.
    Expire,
    /// `slack away`, `slack back`
    Slack {
        is_away: bool,
    },
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Calls {
    pub(super) count: u64,
    pub(super) user: String,
    pub(super) model: String,
    pub(super) provider: String,
    pub(super) source: String,
    /// In 10⁻¹² USD; `None` is unpriced.
    pub(super) cost: Option<i64>,
    pub(super) latency_ms: u32,
    pub(super) error: bool,
    pub(super) ratio: f64,
    pub(super) tokens: u64,
    /// The call ended so long before it arrived; negative when a clock is ahead.
    pub(super) ago_ms: i64,
    pub(super) test: bool,
    /// The id, to send the same again; otherwise each has its own.
    pub(super) id: Option<String>,
}

impl Default for Calls {
    fn default() -> Self {
        Self {
            count: 1,
            user: String::new(),
            model: "gpt-4o".to_owned(),
            provider: "OPENAI".to_owned(),
            source: "default".to_owned(),
            cost: Some(0),
            latency_ms: 900,
            error: false,
            ratio: 2.0,
            tokens: 1_500,
            ago_ms: 0,
            test: false,
            id: None,
        }
    }
}

pub(super) fn read(text: &str) -> Vec<Scenario> {
    text.split("\n=== ").skip(1).map(scenario).collect()
}

fn scenario(text: &str) -> Scenario {
    let (title, rest) = text.split_once('\n').expect("a title");
    let (head, steps) = rest.split_once("\n---\n").unwrap_or_else(|| panic!("{title}: no ---"));
    let is_marked = |mark: &str| head.lines().any(|line| line == mark);
    let (two_replicas, to_slack) = (is_marked("# two replicas"), is_marked("# to Slack"));
    let settings: AlertSettings =
        Figment::from(Toml::string(head)).extract().unwrap_or_else(|error| panic!("{title}: {error}"));
    let mut now = UtcMillis(0);
    let mut read = Vec::new();
    for line in steps.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let [time, events, expected] = cells.as_slice() else { panic!("{title}: three cells: {line}") };
        now = match time.strip_prefix('+') {
            Some(length) => now.plus(duration(length)),
            None => UtcMillis(
                time.parse::<jiff::Timestamp>().unwrap_or_else(|error| panic!("{line}: {error}")).as_millisecond(),
            ),
        };
        let mut expected: Vec<String> = list(expected, ';').map(str::to_owned).collect();
        expected.sort();
        let events = list(events, ',').map(event).collect();
        read.push(Step { at: now, line: line.to_owned(), events, expected });
    }
    assert!(read.is_sorted_by(|one, next| one.at < next.at), "{title}: every step has a later time");
    Scenario { title: title.to_owned(), settings, two_replicas, to_slack, steps: read }
}

fn list(text: &str, separator: char) -> impl Iterator<Item = &str> {
    text.split(separator).map(str::trim).filter(|part| !part.is_empty())
}

fn duration(text: &str) -> Duration {
    let span: jiff::Span = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
    let seconds = span.total((jiff::Unit::Second, jiff::SpanRelativeTo::days_are_24_hours())).expect("a duration");
    Duration::from_secs_f64(seconds)
}

fn event(text: &str) -> Event {
    let words: Vec<&str> = text.split_whitespace().collect();
    let number = |word: &str| word.parse::<u64>().unwrap_or_else(|error| panic!("{text}: {error}"));
    match words.as_slice() {
        ["dead-letter", count, source] => Event::DeadLetters { count: number(count), source: (*source).to_owned() },
        ["bad-signature", count, source] => {
            Event::SignatureFailures { count: number(count), source: (*source).to_owned() }
        }
        ["backlog", messages, age] => Event::Backlog { messages: number(messages), age: duration(age) },
        ["silence", length, rest @ ..] => {
            let glob = |key: &str| rest.iter().find_map(|word| word.strip_prefix(key)).map(str::to_owned);
            Event::Silence { length: duration(length), rule: glob("rule="), group: glob("group=") }
        }
        ["expire"] => Event::Expire,
        ["slack", "away"] => Event::Slack { is_away: true },
        ["slack", "back"] => Event::Slack { is_away: false },
        words => Event::Calls(calls(words, text)),
    }
}

fn calls(words: &[&str], text: &str) -> Calls {
    let mut calls = Calls::default();
    let mut names = 0;
    for word in words {
        let value = |key: &str| word.strip_prefix(key);
        if let Some(count) = word.strip_suffix('x').and_then(|count| count.parse().ok()) {
            calls.count = count;
        } else if let Some(amount) = value("$") {
            let amount: heliometer::domain::UsdAmount =
                amount.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
            calls.cost = Some(i64::try_from(amount.pico_usd()).expect("fits"));
        } else if let Some(latency) = word.strip_suffix("ms").and_then(|latency| latency.parse().ok()) {
            calls.latency_ms = latency;
        } else if let Some(ratio) = value("ratio=") {
            calls.ratio = ratio.parse().expect("a ratio");
        } else if let Some(tokens) = value("tokens=") {
            calls.tokens = tokens.parse().expect("tokens");
        } else if let Some(ago) = value("ago=") {
            let sign = if ago.starts_with('-') { -1 } else { 1 };
            calls.ago_ms = sign * i64::try_from(duration(ago.trim_start_matches('-')).as_millis()).expect("fits");
        } else if let Some(source) = value("source=") {
            source.clone_into(&mut calls.source);
        } else if let Some(provider) = value("provider=") {
            provider.clone_into(&mut calls.provider);
        } else if let Some(id) = value("id=") {
            calls.id = Some(id.to_owned());
        } else {
            match *word {
                "error" => calls.error = true,
                "unpriced" => calls.cost = None,
                "test" => calls.test = true,
                name => {
                    let name = if name == "-" { "" } else { name };
                    assert!(names < 2, "{text}: what is `{name}`?");
                    let target = if names == 0 { &mut calls.user } else { &mut calls.model };
                    name.clone_into(target);
                    names += 1;
                }
            }
        }
    }
    calls
}
