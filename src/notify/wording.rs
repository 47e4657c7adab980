//! Words that every rendering shares, as plain text. Each rendering escapes them for itself.

use std::{fmt::Write as _, time::Duration};

use super::{Contributor, Event, Notification, Quantity, Severity};
use crate::domain::UtcMillis;

/// A name longer than this says nothing more to people.
pub(super) const MAX_NAME: usize = 120;
/// Contributors, notes and labels shown.
pub(super) const MAX_LISTED: usize = 5;
/// A longer note is cut.
const MAX_NOTE: usize = 400;

pub(super) const fn symbol(event: Event, severity: Severity) -> &'static str {
    match (event, severity) {
        (Event::Resolved, _) => "✅",
        (_, Severity::Critical) => "🚨",
        (_, Severity::Warning) => "⚠️",
        (_, Severity::Info) => "ℹ️",
    }
}

/// One line: `⚠️ model-budget: gpt-4o reached 80 % of $1.00`.
pub(super) fn title(notification: &Notification) -> String {
    format!("{} {}", symbol(notification.event, notification.severity), headline(notification))
}

/// The same without the symbol.
pub(super) fn headline(notification: &Notification) -> String {
    let Notification { rule, kind, value, limit, .. } = notification;
    let subject = subject_of(notification);
    let is_all = notification.scope == "all";
    // `gpt-4o p95 latency`; whose it is needs no saying when it is everybody's.
    let measure = if is_all { notification.measure.clone() } else { format!("{subject} {}", notification.measure) };
    let of_what = of_what(notification);
    let what = match (notification.event, notification.threshold_percent) {
        (Event::Resolved, _) => {
            let after = duration(notification.at.since(notification.since));
            // Silence is not health: whoever reads this must see which of both it is.
            match (is_empty(notification), is_all) {
                (true, true) => format!("no requests any more, after {after}"),
                (true, false) => format!("{subject} has no requests any more, after {after}"),
                _ if kind == "policy" => format!("no further match for {subject}, after {after}"),
                (_, true) if kind == "no_data" => format!("there are calls again, after {after}"),
                (_, false) if kind == "no_data" => format!("{subject} has calls again, after {after}"),
                (_, true) => format!("back within its limit after {after}"),
                (_, false) => format!("{subject} is back within its limit after {after}"),
            }
        }
        (_, None) if kind == "policy" => format!("the policy matched {value} of {subject}"),
        (Event::Firing, Some(percent)) => format!("{subject} reached {percent} % of {limit}"),
        (Event::StillFiring, Some(percent)) => format!("{subject} is still over {percent} % of {limit}"),
        (event, None) => {
            let still = if event == Event::StillFiring { "still " } else { "" };
            match of_what {
                Some(of_what) => {
                    let whose = if is_all { String::new() } else { format!(" for {subject}") };
                    format!("{still}{}{of_what}{whose} (limit {limit})", number(*value))
                }
                None => format!("{measure} is {still}{value} (limit {limit})"),
            }
        }
    };
    format!("{}: {what}", plain(rule))
}

/// What a count, a share or a time is of: ` webhooks with a wrong signature`, ` of requests with an error`, ` since the last
/// call`, nothing for a query's value. `None` for measures that are named by a word of their own.
pub(super) fn of_what(notification: &Notification) -> Option<String> {
    let Notification { measure, value, .. } = notification;
    let of_what = ["number of", "share", "time", "value"].iter().find_map(|kind| measure.strip_prefix(kind))?;
    let is_one = measure.starts_with("number of") && number(*value) == "1";
    let plurals = [" requests", " webhooks", " messages"];
    let plural = plurals.iter().find(|plural| is_one && of_what.starts_with(**plural));
    Some(plural.map_or_else(
        || of_what.to_owned(),
        |plural| format!("{}{}", plural.trim_end_matches('s'), &of_what[plural.len()..]),
    ))
}

/// The number without the word that says of what.
pub(super) fn number(value: Quantity) -> String {
    let text = value.to_string();
    match value {
        Quantity::Requests(_) => text.split(' ').next().unwrap_or_default().to_owned(),
        _ => text,
    }
}

/// Whether it ended because nothing is called any more: whoever reads of that must not take it for health.
pub(super) fn is_empty(notification: &Notification) -> bool {
    let of_calls = !matches!(
        notification.kind.as_str(),
        "no_data" | "unpriced_model" | "signature_failures" | "dead_letters" | "lag" | "sql"
    );
    notification.requests == 0 && of_calls
}

/// `45 s`, `18 min`, `3 h 5 min`, `2 d 4 h`.
pub(super) fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let two = |large: u64, large_unit: &str, small: u64, small_unit: &str| match small {
        0 => format!("{large} {large_unit}"),
        small => format!("{large} {large_unit} {small} {small_unit}"),
    };
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..86_400 => two(seconds / 3600, "h", seconds % 3600 / 60, "min"),
        _ => two(seconds / 86_400, "d", seconds % 86_400 / 3600, "h"),
    }
}

/// Whom it is about: `gpt-4o`, `(no user)`, or `all requests`.
pub(super) fn subject_of(notification: &Notification) -> String {
    subject(&notification.scope, &plain(&notification.group))
}

pub(super) fn subject(scope: &str, group: &str) -> String {
    match (scope, group) {
        ("all", _) => "all requests".to_owned(),
        ("labels", "") => "the query".to_owned(),
        (scope, "") => format!("(no {scope})"),
        (_, group) => cut(group, MAX_NAME),
    }
}

/// What, how much against which limit, since when: names and values for tables.
pub(super) fn facts(notification: &Notification) -> Vec<(String, String)> {
    let Notification { scope, value, limit, measure, .. } = notification;
    let percent = value.percent_of(*limit).map(|percent| format!(" ({percent} %)")).unwrap_or_default();
    let mut facts = Vec::new();
    let mut add = |name: &str, value: String| facts.push((name.to_owned(), value));
    if is_empty(notification) {
        add("Now", "no requests any more".to_owned());
    } else if notification.kind == "policy" {
        add("Matched", format!("{value} of {}", notification.requests));
    } else if notification.threshold_percent.is_some() {
        add(&capitalized(measure), format!("{value} of {limit}{percent}"));
    } else {
        add(&capitalized(measure), format!("{value}, limit {limit}{percent}"));
    }
    if scope != "all" {
        add(&capitalized(scope), subject_of(notification));
    }
    add("Period", plain(&notification.period));
    add("Since", time(notification.since));
    if notification.event == Event::Resolved {
        add("Until", time(notification.at));
    }
    if let Some(exceeding) = notification.exceeding_requests.filter(|_| notification.kind != "policy") {
        let limit = if matches!(limit, Quantity::Milliseconds(_)) { format!(" over {limit}") } else { String::new() };
        add(&format!("Requests{limit}"), format!("{exceeding} of {}", notification.requests));
    }
    add("Severity", notification.severity.word().to_owned());
    for (name, value) in notification.labels.iter().take(MAX_LISTED) {
        add(&cut(&plain(name), MAX_NAME), cut(&plain(value), MAX_NAME));
    }
    facts
}

/// `user ann: $0.62`, one line each.
pub(super) fn contributors(contributors: &[Contributor]) -> Vec<String> {
    let line = |contributor: &Contributor| {
        let name = subject(&contributor.what, &plain(&contributor.name));
        format!("{} {name}: {}", contributor.what, cut(&plain(&contributor.amount), MAX_NAME))
    };
    contributors.iter().take(MAX_LISTED).map(line).collect()
}

/// What the numbers stand on, one line each.
pub(super) fn notes(notification: &Notification) -> Vec<String> {
    notification.notes.iter().take(MAX_LISTED).map(|note| cut(&plain(note), MAX_NOTE)).collect()
}

/// How much the numbers can be trusted.
pub(super) fn completeness(notification: &Notification) -> String {
    let Notification { requests, priced_requests, at, .. } = notification;
    let of_calls = !matches!(notification.kind.as_str(), "signature_failures" | "dead_letters" | "lag" | "sql");
    let noun = if *requests == 1 { "request" } else { "requests" };
    let mut text = match (notification.value, *requests) {
        _ if !of_calls => "Not counted from requests".to_owned(),
        (_, 0) => "No requests".to_owned(),
        (Quantity::Usd(_), _) => {
            let share = u128::from(*priced_requests) * 1000 / u128::from(*requests);
            format!("Priced: {priced_requests} of {requests} {noun} ({}.{} %)", share / 10, share % 10)
        }
        // Nothing else depends on prices.
        _ => format!("{requests} {noun}"),
    };
    if priced_requests < requests && matches!(notification.value, Quantity::Usd(_)) {
        text.push_str("; spend is at least what is shown");
    }
    match notification.newest_event {
        Some(newest) => {
            let _ = write!(text, " · newest event {}, {} s before", time(newest), at.since(newest).as_secs());
        }
        None => text.push_str(" · no event within the last hour"),
    }
    let _ = write!(text, " · decided {} · {}", time(*at), short_fingerprint(notification));
    text
}

/// Enough of the fingerprint to find it in the view `alerts`.
pub(super) fn short_fingerprint(notification: &Notification) -> String {
    plain(&notification.fingerprint).chars().take(12).collect()
}

pub(super) fn time(at: UtcMillis) -> String {
    jiff::Timestamp::from_millisecond(at.0)
        .map_or_else(|_| at.to_string(), |timestamp| timestamp.strftime("%Y-%m-%d %H:%M:%S UTC").to_string())
}

/// One line without control characters and without what ends a code span.
pub(super) fn plain(text: &str) -> String {
    text.chars()
        .map(|character| match character {
            '`' => 'ˋ',
            character if character.is_control() || is_invisible(character) => ' ',
            character => character,
        })
        .collect()
}

/// Characters that reorder or hide text.
const fn is_invisible(character: char) -> bool {
    matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// At most `max` characters; cut text ends with `…` and never within an entity such as `&amp;`.
pub(super) fn cut(text: &str, max: usize) -> String {
    if text.chars().count() <= max {
        return text.to_owned();
    }
    let mut kept: String = text.chars().take(max - 1).collect();
    if let Some(start) = kept.rfind('&')
        && kept.len() - start < "&quot;".len()
        && !kept[start..].contains(';')
    {
        kept.truncate(start);
    }
    kept + "…"
}

/// So that a bare `@everyone` mentions nobody, where such words do.
pub(super) fn without_mentions(text: &str) -> String {
    ["channel", "here", "everyone"]
        .iter()
        .fold(text.to_owned(), |text, word| text.replace(&format!("@{word}"), &format!("@\u{2060}{word}")))
}

/// Backslashes before what Markdown has a use for within a line, and broken URLs, so that names from senders format,
/// mention and link nothing.
pub(super) fn escape_markdown(text: &str) -> String {
    let text = without_mentions(text).replace("://", ":\u{2060}//");
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        if matches!(character, '\\' | '*' | '_' | '~' | '|' | '[' | ']' | '<' | '>') {
            escaped.push('\\');
        }
        escaped.push(character);
    }
    escaped
}

fn capitalized(text: &str) -> String {
    let mut characters = text.chars();
    characters.next().map(|first| first.to_uppercase().chain(characters).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::preview::samples;

    #[test]
    fn durations_are_as_long_as_people_say_them() {
        for (seconds, expected) in [
            (0, "0 s"),
            (59, "59 s"),
            (60, "1 min"),
            (3599, "59 min"),
            (3600, "1 h"),
            (11_100, "3 h 5 min"),
            (187_200, "2 d 4 h"),
        ] {
            assert_eq!(duration(Duration::from_secs(seconds)), expected);
        }
    }

    #[test]
    fn headlines_are_sentences() {
        let quiet = Notification { requests: 0, ..samples::resolved() };
        let still = Notification { event: Event::StillFiring, ..samples::latency() };
        let policy_over = Notification { event: Event::Resolved, ..samples::policy() };
        for (notification, expected) in [
            (samples::budget(80), "day-budget: gpt-4o reached 80 % of $10.00"),
            (samples::latency(), "slow: gpt-4o p95 latency is 7,210 ms (limit 5,000 ms)"),
            (still, "slow: gpt-4o p95 latency is still 7,210 ms (limit 5,000 ms)"),
            (samples::resolved(), "slow: gpt-4o is back within its limit after 18 min"),
            (quiet, "slow: gpt-4o has no requests any more, after 18 min"),
            (samples::policy(), "card-leak: the policy matched 3 requests of bob@example.org"),
            (
                Notification { scope: "all".to_owned(), ..samples::latency() },
                "slow: p95 latency is 7,210 ms (limit 5,000 ms)",
            ),
            (
                Notification { scope: "all".to_owned(), ..samples::budget(100) },
                "day-budget: all requests reached 100 % of $10.00",
            ),
            (samples::forecast(), "day-budget: gpt-4o forecast spend is $12.40 (limit $10.00)"),
            (samples::errors(), "error-rate: 60 % of requests with an error for ANTHROPIC (limit 10 %)"),
            (samples::spike(), "spend-spike: spend is $31.00 (limit $30.00)"),
            (samples::quiet(), "no-data: 1 h 1 min since the last call for eu (limit 1 h)"),
            (samples::heard_again(), "no-data: eu has calls again, after 41 min"),
            (samples::unpriced(), "unpriced-model: 2 requests without a price for new-model (limit 1 request)"),
            (
                Notification { value: Quantity::Requests(1), ..samples::unpriced() },
                "unpriced-model: 1 request without a price for new-model (limit 1 request)",
            ),
            (samples::signatures(), "signature-failures: 12 webhooks with a wrong signature for default (limit 10)"),
            (samples::behind(), "lag: wait of the oldest message to be stored is 7 min (limit 5 min)"),
            (samples::own_query(), "sql: 11 for ann (limit 10)"),
            (policy_over, "card-leak: no further match for bob@example.org, after 0 s"),
        ] {
            assert_eq!(headline(&notification), expected);
        }
    }

    #[test]
    fn coverage_of_prices_is_told_where_money_is() {
        assert!(
            completeness(&samples::budget(80)).starts_with("Priced: 1198 of 1204 requests (99.5 %); spend is at least")
        );
        assert!(completeness(&samples::latency()).starts_with("120 requests · newest event"));
    }

    #[test]
    fn markdown_from_senders_is_only_text() {
        for (text, expected) in [
            ("gpt-4o_mini*", "gpt-4o\\_mini\\*"),
            ("[x](https://evil.example)", "\\[x\\](https:\u{2060}//evil.example)"),
            ("<@1> @everyone", "\\<@1\\> @\u{2060}everyone"),
        ] {
            assert_eq!(escape_markdown(text), expected);
        }
    }
}
