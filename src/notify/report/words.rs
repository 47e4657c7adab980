//! What a report says, as plain text. Each rendering escapes it for itself.

use super::{
    super::{
        quantity::{Quantity, money, whole_cents},
        wording::{MAX_NAME, cut, duration, number, plain, subject, time},
    },
    Figures, MonthToDate, Report, Share,
};
use crate::domain::UsdAmount;

/// Changes below this are none, in percent.
const SMALLEST_CHANGE_PERCENT: f64 = 0.5;

/// A report in words, in the order in which they are shown.
pub(in super::super) struct Words {
    /// One line that says the most.
    pub(in super::super) title: String,
    /// Names and values.
    pub(in super::super) facts: Vec<(&'static str, String)>,
    /// Headings, each with the lines below it. None is empty.
    pub(in super::super) lists: Vec<(&'static str, Vec<Line>)>,
    /// How much the numbers can be trusted.
    pub(in super::super) completeness: String,
}

/// A line of a list.
pub(in super::super) struct Line {
    /// A name that a sender wrote.
    pub(in super::super) name: String,
    /// What is said about it.
    pub(in super::super) text: String,
}

impl Words {
    /// The words of `report`.
    pub(in super::super) fn of(report: &Report) -> Self {
        let list = |shares: &[Share], text: &dyn Fn(&Share) -> String| -> Vec<Line> {
            shares.iter().map(|share| Line { name: name_of(share), text: text(share) }).collect()
        };
        let total = report.totals.cost_usd;
        let share_of_total = |share: &Share| {
            let percent = Quantity::Usd(share.cost_usd).percent_of(Quantity::Usd(total));
            let percent = percent.map(|percent| format!(" ({percent} %)")).unwrap_or_default();
            format!("{}{percent}{}", usd(share.cost_usd), moved(share))
        };
        let mover = |share: &Share| {
            format!("{} {} → {}", share.what, usd(share.previous_cost_usd), usd(share.cost_usd)) + &moved(share)
        };
        let unpriced =
            |share: &Share| format!("{} of {}", share.requests - share.priced_requests, calls(share.requests));
        let slowest = report.slowest_models.iter().map(|slow| Line {
            name: name("model", &slow.model),
            text: format!(
                "p95 {}, median {}, {}",
                Quantity::Milliseconds(slow.latency_p95_ms),
                Quantity::Milliseconds(slow.latency_p50_ms),
                calls(slow.requests)
            ),
        });
        let lists = [
            ("Top models", list(&report.top_models, &share_of_total)),
            ("Top users", list(&report.top_users, &share_of_total)),
            ("Changed most", list(&report.movers, &mover)),
            ("Slowest models", slowest.collect()),
            ("Without a price", list(&report.unpriced_models, &unpriced)),
        ];
        Self {
            title: title(report),
            facts: facts(report),
            lists: lists.into_iter().filter(|(_, lines)| !lines.is_empty()).collect(),
            completeness: completeness(report),
        }
    }
}

/// `📊 Day 2026-11-24 (Europe/Berlin): $123.45, +12 % against the day before`
fn title(report: &Report) -> String {
    let Report { period, totals, previous, .. } = report;
    let mut period = plain(period);
    if let Some(first) = period.get(..1) {
        period.replace_range(..1, &first.to_uppercase());
    }
    let spend = match totals.requests {
        0 => "no calls".to_owned(),
        _ => format!("{}{}", at_least(totals), usd(totals.cost_usd)),
    };
    let change = change(as_f64(totals.cost_usd), as_f64(previous.cost_usd));
    let against = report.period.split(' ').next().filter(|word| matches!(*word, "day" | "week" | "month"));
    let change = match (change, against) {
        (Some(change), Some(unit)) => format!(", {change} against the {unit} before"),
        (Some(change), None) => format!(", {change} against {}", plain(&report.previous_period)),
        (None, _) => String::new(),
    };
    format!("📊 {period}: {spend}{change}")
}

fn facts(report: &Report) -> Vec<(&'static str, String)> {
    let Report { totals, previous, .. } = report;
    let mut facts = vec![("Spend", spend(totals, previous))];
    if let Some(estimate) = &report.estimate {
        let text = format!(
            "{} ± {} of {:.0} ± {:.0} calls, of which a sample was sent",
            usd(estimate.cost_usd),
            usd(from_f64(estimate.cost_usd_standard_error)),
            estimate.requests,
            estimate.requests_standard_error
        );
        facts.push(("Estimated in all", text));
    }
    facts.extend(report.month.as_ref().map(|month| ("Month so far", month_to_date(month))));
    facts.push(("Calls", with_change(&count(totals.requests), totals.requests, previous.requests)));
    if totals.requests > 0 {
        let errors = |figures: &Figures| percent(figures.error_requests, figures.requests);
        let before = if previous.requests > 0 { format!(" (before: {})", errors(previous)) } else { String::new() };
        facts.push(("Errors", errors(totals) + &before));
        let tokens = format!(
            "{} ({} prompt, {} completion, {} from the cache)",
            count(totals.total_tokens),
            count(totals.prompt_tokens),
            count(totals.completion_tokens),
            count(totals.cached_tokens)
        );
        facts.push(("Tokens", with_change(&tokens, totals.total_tokens, previous.total_tokens)));
        facts.push(("Inefficient prompts", percent(totals.inefficient_requests, totals.requests)));
        facts.push((
            "Active users",
            with_change(&count(totals.active_users), totals.active_users, previous.active_users),
        ));
    }
    if let (Some(p50), Some(p95)) = (totals.latency_p50_ms, totals.latency_p95_ms) {
        let before = previous.latency_p95_ms.map(|p95| format!(" (before: {})", Quantity::Milliseconds(p95)));
        let before = before.unwrap_or_default();
        let (p50, p95) = (Quantity::Milliseconds(p50), Quantity::Milliseconds(p95));
        facts.push(("Latency", format!("p95 {p95}{before}, median {p50}")));
    }
    let fired: u64 = report.alerts.iter().map(|fired| fired.alerts).sum();
    let rules: Vec<String> =
        report.alerts.iter().map(|fired| format!("{} {}×", cut(&plain(&fired.rule), MAX_NAME), fired.alerts)).collect();
    let alerts = if fired == 0 { "none fired".to_owned() } else { format!("{fired} fired: {}", rules.join(", ")) };
    facts.push(("Alerts", alerts));
    facts
}

fn spend(totals: &Figures, previous: &Figures) -> String {
    let change = change(as_f64(totals.cost_usd), as_f64(previous.cost_usd));
    let change = change.map(|change| format!(", {change} (before: {})", usd(previous.cost_usd))).unwrap_or_default();
    format!("{}{}{change}", at_least(totals), usd(totals.cost_usd))
}

fn month_to_date(month: &MonthToDate) -> String {
    let spent = usd(month.spent_usd);
    let Some(forecast) = &month.forecast else { return spent };
    let courses = match forecast.courses {
        0 => "a straight line at half to twice the rate so far".to_owned(),
        courses => format!("by the course of the last {courses} months"),
    };
    let (low, middle, high) = (usd(forecast.low_usd), usd(forecast.middle_usd), usd(forecast.high_usd));
    format!("{spent}; forecast {middle} (between {low} and {high}, {courses})")
}

fn completeness(report: &Report) -> String {
    let Report { totals, at, .. } = report;
    let mut parts = Vec::new();
    if totals.requests > 0 {
        let (priced, requests) = (count(totals.priced_requests), count(totals.requests));
        let share = percent(totals.priced_requests, totals.requests);
        let at_least = if totals.priced_requests < totals.requests { "; spend is at least what is shown" } else { "" };
        parts.push(format!("Priced: {priced} of {requests} calls ({share}){at_least}"));
    }
    parts.extend(report.backlog.as_deref().map(plain));
    parts.push(match report.newest_event {
        Some(newest) => format!("newest call {} before this was made", duration(at.since(newest))),
        None => "no call within the last hour".to_owned(),
    });
    parts.push(format!("made {}", time(*at)));
    parts.join(" · ")
}

fn at_least(totals: &Figures) -> &'static str {
    if totals.priced_requests < totals.requests { "at least " } else { "" }
}

/// `, +$4.20`, `, new`; nothing where nothing changed.
fn moved(share: &Share) -> String {
    let (now, before) = (share.cost_usd.pico_usd(), share.previous_cost_usd.pico_usd());
    match now - before {
        0 => String::new(),
        _ if before == 0 => ", new".to_owned(),
        more if more > 0 => format!(", +{}", usd(UsdAmount::from_pico_usd(more))),
        less => format!(", −{}", usd(UsdAmount::from_pico_usd(-less))),
    }
}

fn with_change(text: &str, now: u64, before: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "a percentage for people")]
    let change = change(now as f64, before as f64);
    change.map_or_else(|| text.to_owned(), |change| format!("{text}, {change}"))
}

/// `+12 %`, `−3 %`, `unchanged`; `None` when there was nothing before.
fn change(now: f64, before: f64) -> Option<String> {
    let percent = (now - before) / before * 100.0;
    match percent {
        _ if before <= 0.0 => None,
        _ if percent.abs() < SMALLEST_CHANGE_PERCENT => Some("unchanged".to_owned()),
        _ if percent > 0.0 => Some(format!("+{} %", count_of(percent))),
        _ => Some(format!("−{} %", count_of(-percent))),
    }
}

/// A share with one decimal, rounded down, so that 99.96 % never looks like all.
fn percent(part: u64, whole: u64) -> String {
    let tenths = u128::from(part) * 1000 / u128::from(whole.max(1));
    if tenths % 10 == 0 { format!("{} %", tenths / 10) } else { format!("{}.{} %", tenths / 10, tenths % 10) }
}

/// To the cent, from a dollar on.
fn usd(amount: UsdAmount) -> String {
    money(whole_cents(amount))
}

fn count(count: u64) -> String {
    number(Quantity::Requests(count))
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a positive percentage; a float cast saturates"
)]
fn count_of(percent: f64) -> String {
    count(percent.round() as u64)
}

fn calls(requests: u64) -> String {
    if requests == 1 { "1 call".to_owned() } else { format!("{} calls", count(requests)) }
}

fn name_of(share: &Share) -> String {
    name(&share.what, &share.name)
}

fn name(what: &str, name: &str) -> String {
    subject(what, &plain(name))
}

#[expect(clippy::cast_precision_loss, reason = "a percentage for people; money itself stays decimal")]
fn as_f64(amount: UsdAmount) -> f64 {
    amount.pico_usd() as f64
}

/// A standard error, which is no amount of money to begin with.
#[expect(clippy::cast_possible_truncation, reason = "a float cast saturates")]
fn from_f64(usd: f64) -> UsdAmount {
    UsdAmount::from_pico_usd((usd * 1e12) as i128)
}

#[cfg(test)]
mod tests {
    use super::{super::super::preview::samples, *};

    #[test]
    fn a_day_in_words() {
        let words = Words::of(&samples::report());
        assert_eq!(words.title, "📊 Day 2025-09-08 (Europe/Berlin): at least $123.45, +12 % against the day before");
        let facts: Vec<String> = words.facts.iter().map(|(name, value)| format!("{name}: {value}")).collect();
        assert_eq!(
            facts,
            [
                "Spend: at least $123.45, +12 % (before: $110.20)",
                "Month so far: $812.10; forecast $3,105.00 (between $2,870.00 and $3,410.50, by the course of the last 4 months)",
                "Calls: 12,034, +3 %",
                "Errors: 0.5 % (before: 2.1 %)",
                "Tokens: 9,120,400 (7,200,100 prompt, 1,920,300 completion, 2,400,000 from the cache), −2 %",
                "Inefficient prompts: 1.2 %",
                "Active users: 312, unchanged",
                "Latency: p95 4,210 ms (before: 5,020 ms), median 812 ms",
                "Alerts: 3 fired: day-budget 2×, slow 1×",
            ]
        );
        let lists: Vec<String> = words
            .lists
            .iter()
            .flat_map(|(heading, lines)| {
                lines.iter().map(move |line| format!("{heading} | {} | {}", line.name, line.text))
            })
            .collect();
        assert_eq!(
            lists,
            [
                "Top models | gpt-4o | $80.10 (64 %), +$5.20",
                "Top models | claude-sonnet-4 | $43.35 (35 %), new",
                "Top users | ann | $61.00 (49 %), −$2.00",
                "Top users | (no user) | $12.00 (9 %)",
                "Changed most | claude-sonnet-4 | model $0.00 → $43.35, new",
                "Changed most | ann | user $63.00 → $61.00, −$2.00",
                "Slowest models | gpt-4o | p95 9,048 ms, median 1,200 ms, 812 calls",
                "Without a price | new-model | 12 of 12 calls",
            ]
        );
        assert_eq!(
            words.completeness,
            "Priced: 12,022 of 12,034 calls (99.9 %); spend is at least what is shown · newest call 2 s before this was made \
             · made 2025-09-09 07:00:00 UTC"
        );
    }

    #[test]
    fn a_day_without_calls_says_so() {
        let sample = samples::report();
        let nothing = Report {
            totals: Figures::default(),
            previous: Figures::default(),
            top_models: Vec::new(),
            top_users: Vec::new(),
            movers: Vec::new(),
            slowest_models: Vec::new(),
            unpriced_models: Vec::new(),
            alerts: Vec::new(),
            month: None,
            newest_event: None,
            ..sample
        };
        let words = Words::of(&nothing);
        assert_eq!(words.title, "📊 Day 2025-09-08 (Europe/Berlin): no calls");
        assert!(words.lists.is_empty());
        assert!(words.completeness.starts_with("no call within the last hour"), "{}", words.completeness);
    }

    #[test]
    fn changes_are_told_as_people_say_them() {
        for (now, before, expected) in [
            (112.0, 100.0, Some("+12 %")),
            (97.0, 100.0, Some("−3 %")),
            (100.2, 100.0, Some("unchanged")),
            (1600.0, 100.0, Some("+1,500 %")),
            (1.0, 0.0, None),
            (0.0, 0.0, None),
        ] {
            assert_eq!(change(now, before).as_deref(), expected, "{now} after {before}");
        }
        assert_eq!(percent(9_999, 10_000), "99.9 %");
    }
}
