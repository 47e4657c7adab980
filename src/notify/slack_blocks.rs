//! One notification as a Slack message: Block Kit, and plain text where blocks are not shown.
//!
//! Names of users and models are whatever a sender wrote. They are escaped, put in code spans, and every text object
//! is `verbatim`, so that no name can mention a channel, link somewhere or format the message.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::{
    Contributor, Digest, DigestEntry, Event, Message, Notification, Quantity, Report, digest,
    report::{Line, Words},
    wording::{
        MAX_LISTED, MAX_NAME, completeness, cut, is_empty, notes, number, of_what, plain, subject, subject_of, time,
        title, without_mentions,
    },
};

/// Slack refuses a header with more characters.
const MAX_HEADER: usize = 150;
/// Slack refuses a section text with more characters.
const MAX_SECTION: usize = 3000;
/// Cells of the progress bar.
const BAR_CELLS: usize = 10;
/// A line of a digest; those of a section together stay below [`MAX_SECTION`].
const MAX_LINE: usize = 280;

/// The body to post.
#[must_use]
pub(super) fn body(message: Message<'_>) -> Value {
    match message {
        Message::Alert(notification) => alert(notification),
        Message::Digest(digest) => catch_up(digest),
        Message::Report(report) => tell(report),
    }
}

fn alert(notification: &Notification) -> Value {
    let title = title(notification);
    let mut blocks = vec![header(&title), section(&facts(notification))];
    let notes = notes(notification);
    if !notes.is_empty() {
        blocks.push(section(&escape(&notes.join("\n"))));
    }
    if !notification.contributors.is_empty() {
        blocks.push(section(&contributors(&notification.contributors)));
    }
    blocks.push(context(&escape(&completeness(notification))));
    blocks.extend(link(&notification.dashboard_url));
    json!({"text": fallback(notification, &title), "blocks": blocks})
}

fn catch_up(digest: &Digest) -> Value {
    let title = digest.title();
    let mut blocks = vec![header(&title), section(&escape(&digest.intro()))];
    for (heading, entries) in [("Still firing", &digest.firing), ("Over", &digest.ended)] {
        if !entries.is_empty() {
            blocks.push(section(&entry_list(heading, entries)));
        }
    }
    blocks.push(context(digest::WHERE_TO_LOOK));
    blocks.extend(link(&digest.dashboard_url));
    json!({"text": cut(&escape(&title), MAX_SECTION), "blocks": blocks})
}

fn tell(report: &Report) -> Value {
    let Words { title, facts, lists, completeness } = Words::of(report);
    let facts: Vec<String> = facts.iter().map(|(name, value)| format!("*{name}:* {}", escape(value))).collect();
    let mut blocks = vec![header(&title), section(&facts.join("\n"))];
    for (heading, lines) in &lists {
        let line = |Line { name, text }: &Line| format!("\n• `{}`: {}", escape(name), escape(text));
        blocks.push(section(&(format!("*{heading}*") + &lines.iter().map(line).collect::<String>())));
    }
    blocks.push(context(&escape(&completeness)));
    blocks.extend(link(&report.dashboard_url));
    json!({"text": cut(&escape(&title), MAX_SECTION), "blocks": blocks})
}

fn entry_list(heading: &str, entries: &[DigestEntry]) -> String {
    let mut text = format!("*{heading}* ({})", entries.len());
    for entry in entries.iter().take(digest::MAX_SHOWN) {
        let _ = write!(text, "\n{}", cut(&escape(&entry.line()), MAX_LINE));
    }
    if let Some(more) = digest::and_more(entries) {
        let _ = write!(text, "\n{more}");
    }
    text
}

fn header(title: &str) -> Value {
    json!({"type": "header", "text": {"type": "plain_text", "text": cut(title, MAX_HEADER), "emoji": true}})
}

fn section(text: &str) -> Value {
    json!({"type": "section", "text": {"type": "mrkdwn", "text": cut(text, MAX_SECTION), "verbatim": true}})
}

fn context(text: &str) -> Value {
    json!({
        "type": "context",
        "elements": [{"type": "mrkdwn", "text": cut(text, MAX_SECTION), "verbatim": true}],
    })
}

/// A link in text, not a button: buttons make Slack expect an interactivity endpoint.
fn link(url: &str) -> Option<Value> {
    let url = url.replace(['<', '>', '|', ' '], "").replace('&', "&amp;");
    (!url.is_empty()).then(|| section(&format!("<{url}|Open the dashboard>")))
}

/// What, how much against which limit, since when.
fn facts(notification: &Notification) -> String {
    let Notification { scope, value, limit, measure, .. } = notification;
    let subject = subject_of(notification);
    let mut text = if is_empty(notification) {
        "No requests any more for ".to_owned()
    } else if notification.kind == "policy" {
        format!("The policy matched *{value}* (of {}) for ", notification.requests)
    } else if notification.threshold_percent.is_some() {
        format!("*{value}* of *{limit}* {} for ", escape(measure))
    } else if let Some(of_what) = of_what(notification) {
        format!("*{}*{}, limit *{limit}*, for ", number(*value), escape(&of_what))
    } else {
        format!("*{value}* {}, limit *{limit}*, for ", escape(measure))
    };
    // A query without labels has none to name.
    if scope != "all" && !(scope == "labels" && notification.group.is_empty()) {
        let _ = write!(text, "{} ", escape(scope));
    }
    let _ = write!(text, "`{}`", escape(&subject));
    let is_policy = notification.kind == "policy";
    if let Some(percent) = value.percent_of(*limit).filter(|_| !is_empty(notification) && !is_policy) {
        let _ = write!(text, "\n`{}` {percent} %", bar(percent));
    }
    let _ = write!(text, "\n*Period:* {}", escape(&plain(&notification.period)));
    let _ = write!(text, "\n*Since:* {}", time(notification.since));
    if notification.event == Event::Resolved {
        let _ = write!(text, " *until* {}", time(notification.at));
    }
    if let Some(exceeding) = notification.exceeding_requests.filter(|_| !is_policy) {
        let limit = if matches!(limit, Quantity::Milliseconds(_)) { format!(" over {limit}") } else { String::new() };
        let _ = write!(text, "\n*Requests{limit}:* {exceeding} of {}", notification.requests);
    }
    for (name, value) in notification.labels.iter().take(MAX_LISTED) {
        let _ = write!(text, "\n*{}:* {}", escape(&cut(&plain(name), MAX_NAME)), escape(&cut(&plain(value), MAX_NAME)));
    }
    text
}

/// `████████░░`, full from 100 % on.
fn bar(percent: u64) -> String {
    let filled = usize::try_from(percent / 10).unwrap_or(BAR_CELLS).min(BAR_CELLS);
    "█".repeat(filled) + &"░".repeat(BAR_CELLS - filled)
}

fn contributors(contributors: &[Contributor]) -> String {
    let mut text = "*Top contributors*".to_owned();
    for contributor in contributors.iter().take(MAX_LISTED) {
        let name = subject(&contributor.what, &plain(&contributor.name));
        let _ = write!(
            text,
            "\n• {} `{}`: {}",
            escape(&contributor.what),
            escape(&name),
            escape(&cut(&plain(&contributor.amount), MAX_NAME))
        );
    }
    text
}

/// Shown in notifications of the operating system and to screen readers. Slack reads it as markup, hence escaped.
fn fallback(notification: &Notification, title: &str) -> String {
    let Notification { value, limit, period, .. } = notification;
    let details = match notification.threshold_percent {
        Some(_) => format!("{value} of {limit}, {}", plain(period)),
        None => plain(period),
    };
    cut(&escape(&format!("{title}, {details}")), MAX_SECTION)
}

/// Slack's three entities; with them no `<!channel>`, `<@U…>` or link can be written. A bare `@channel` is split, for
/// workspaces that still turn such words into mentions.
fn escape(text: &str) -> String {
    without_mentions(&text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;"))
}

#[cfg(test)]
mod tests {
    use super::{super::Severity, *};
    use crate::domain::{UsdAmount, UtcMillis};

    fn message(notification: &Notification) -> Value {
        body(Message::Alert(notification))
    }

    fn usd(text: &str) -> Quantity {
        Quantity::Usd(text.parse::<UsdAmount>().expect("valid"))
    }

    fn budget() -> Notification {
        Notification {
            id: "t1".to_owned(),
            fingerprint: "0123456789abcdef".to_owned(),
            at: UtcMillis(1_757_346_297_250),
            event: Event::Firing,
            rule: "model-budget".to_owned(),
            kind: "budget".to_owned(),
            severity: Severity::Warning,
            labels: vec![("team".to_owned(), "search".to_owned())],
            scope: "model".to_owned(),
            group: "gpt-4o".to_owned(),
            measure: "spend".to_owned(),
            value: usd("0.82"),
            limit: usd("1"),
            threshold_percent: Some(80),
            period: "day 2025-09-08 (UTC)".to_owned(),
            since: UtcMillis(1_757_346_297_250),
            requests: 120,
            priced_requests: 118,
            exceeding_requests: None,
            newest_event: Some(UtcMillis(1_757_346_295_000)),
            contributors: vec![Contributor {
                what: "user".to_owned(),
                name: "ann".to_owned(),
                amount: "$0.62".to_owned(),
            }],
            notes: Vec::new(),
            dashboard_url: "https://grafana.example/d/1?a=1&b=2".to_owned(),
        }
    }

    fn texts(message: &Value) -> Vec<String> {
        let blocks = message["blocks"].as_array().expect("blocks");
        let text = |block: &Value| {
            let text = if block["type"] == "context" { &block["elements"][0]["text"] } else { &block["text"]["text"] };
            text.as_str().expect("text").to_owned()
        };
        blocks.iter().map(text).collect()
    }

    #[test]
    fn a_budget_message() {
        let message = message(&budget());
        assert_eq!(
            message["text"],
            "⚠️ model-budget: gpt-4o reached 80 % of $1.00, $0.82 of $1.00, day 2025-09-08 (UTC)"
        );
        assert_eq!(message["blocks"][0]["type"], "header");
        assert_eq!(message["blocks"][0]["text"]["type"], "plain_text");
        assert_eq!(message["blocks"][1]["text"]["verbatim"], true);
        assert_eq!(
            texts(&message),
            [
                "⚠️ model-budget: gpt-4o reached 80 % of $1.00",
                "*$0.82* of *$1.00* spend for model `gpt-4o`\n`████████░░` 82 %\n*Period:* day 2025-09-08 (UTC)\n\
                 *Since:* 2025-09-08 15:44:57 UTC\n*team:* search",
                "*Top contributors*\n• user `ann`: $0.62",
                "Priced: 118 of 120 requests (98.3 %); spend is at least what is shown · newest event \
                 2025-09-08 15:44:55 UTC, 2 s before · decided 2025-09-08 15:44:57 UTC · 0123456789ab",
                "<https://grafana.example/d/1?a=1&amp;b=2|Open the dashboard>",
            ]
        );
    }

    #[test]
    fn a_latency_message_and_its_end() {
        let slow = Notification {
            kind: "latency".to_owned(),
            measure: "p95 latency".to_owned(),
            value: Quantity::Milliseconds(7_200.0),
            limit: Quantity::Milliseconds(5_000.0),
            threshold_percent: None,
            period: "last 5m".to_owned(),
            exceeding_requests: Some(12),
            contributors: Vec::new(),
            dashboard_url: String::new(),
            severity: Severity::Critical,
            ..budget()
        };
        let lines = texts(&message(&slow));
        assert_eq!(lines[0], "🚨 model-budget: gpt-4o p95 latency is 7,200 ms (limit 5,000 ms)");
        assert!(lines[1].contains("*Requests over 5,000 ms:* 12 of 120"), "{}", lines[1]);
        assert_eq!(lines.len(), 3);
        let ended = Notification { event: Event::Resolved, value: Quantity::Milliseconds(900.0), ..slow };
        let lines = texts(&message(&ended));
        assert_eq!(lines[0], "✅ model-budget: gpt-4o is back within its limit after 0 s");
        assert!(lines[1].contains("*until* 2025-09-08 15:44:57 UTC"), "{}", lines[1]);
    }

    #[test]
    fn names_from_senders_cannot_mention_link_or_format() {
        let hostile = "<!channel> & <https://evil.example|click> `*bold*`\n@here @everyone";
        let message = message(&Notification {
            scope: "user".to_owned(),
            group: hostile.to_owned(),
            contributors: vec![Contributor {
                what: "user".to_owned(),
                name: hostile.to_owned(),
                amount: "<!here>".to_owned(),
            }],
            dashboard_url: String::new(),
            ..budget()
        });
        let mut marked_up = texts(&message);
        // The header is plain text, where nothing has a meaning.
        let header = marked_up.remove(0);
        assert!(!header.contains('\n') && !header.contains('`'));
        marked_up.push(message["text"].as_str().expect("text").to_owned());
        for text in &marked_up {
            assert!(!text.contains('<') && !text.contains('>'), "{text}");
            assert!(!text.contains("@here") && !text.contains("@everyone"), "{text}");
        }
        assert!(marked_up[0].contains("`&lt;!channel&gt; &amp; &lt;https://evil.example|click&gt; ˋ*bold*ˋ @"));
    }

    #[test]
    fn nobody_has_a_name() {
        let message = message(&Notification { scope: "user".to_owned(), group: String::new(), ..budget() });
        assert!(texts(&message)[0].contains("(no user) reached"), "{message}");
        assert!(texts(&message)[1].contains("for user `(no user)`"), "{message}");
    }

    #[test]
    fn lengths_stay_within_what_slack_takes() {
        let long = "&".repeat(5_000);
        let labels = (0..100).map(|index| (format!("{index}{long}"), long.clone())).collect();
        let contributor = Contributor { what: "user".to_owned(), name: long.clone(), amount: long.clone() };
        let message = message(&Notification {
            rule: long.clone(),
            group: long.clone(),
            period: long.clone(),
            labels,
            contributors: vec![contributor; 100],
            ..budget()
        });
        let texts = texts(&message);
        assert!(texts.len() <= 50);
        assert!(texts[0].chars().count() <= MAX_HEADER);
        // The header is plain text and not escaped.
        for text in &texts[1..] {
            assert!(text.chars().count() <= MAX_SECTION, "{}", text.chars().count());
            assert!(text.replace("&amp;", "").find('&').is_none(), "an entity was cut");
        }
    }

    #[test]
    fn the_bar_fills_from_left_to_right() {
        for (percent, shown) in [(0, "░░░░░░░░░░"), (9, "░░░░░░░░░░"), (80, "████████░░"), (250, "██████████")]
        {
            assert_eq!(bar(percent), shown);
        }
    }
}
