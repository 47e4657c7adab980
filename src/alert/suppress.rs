//! What keeps an alert from being told though it fires: silences, maintenance windows, and other alerts. No I/O, no clock.

use std::collections::BTreeMap;

use jiff::{Timestamp, ToSpan, civil, tz::TimeZone};
use serde::{Deserialize, Deserializer, de::Error as _};
use wildmatch::WildMatch;

use super::{
    period::{read_time_of_day, read_timezone},
    rule::Rule,
    state::States,
};
use crate::{domain::UtcMillis, notify::Severity, pricing::parse_moment};

/// Silences, maintenance windows and inhibitions each, in the settings. More are refused.
pub(super) const MAX_SUPPRESSIONS: usize = 1_000;
/// More of a comment is cut in reasons.
const MAX_COMMENT_CHARACTERS: usize = 200;

/// Which alerts are meant: those that fit every key that is given. `*` and `?` stand for other text.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Matcher {
    /// A glob for the rule's name.
    pub rule: Option<String>,
    /// A glob for the group: the model, user, …
    pub group: Option<String>,
    /// `info`, `warning` or `critical`.
    pub severity: Option<String>,
    /// Globs for labels of the rule, all of which it must have.
    pub labels: BTreeMap<String, String>,
}

impl Matcher {
    /// Whether an alert of `rule` about `group` is meant.
    #[must_use]
    pub fn matches(&self, rule: &Rule, group: &str) -> bool {
        let fits = |glob: &Option<String>, text: &str| glob.as_ref().is_none_or(|glob| fits(glob, text));
        fits(&self.rule, &rule.name)
            && fits(&self.group, group)
            && self.severity.as_ref().is_none_or(|severity| severity == rule.severity.word())
            && self.labels.iter().all(|(name, glob)| rule.labels.get(name).is_some_and(|value| self::fits(glob, value)))
    }

    fn check(&self) -> Result<(), String> {
        if *self == Self::default() {
            return Err("`match` is empty; write match = { rule = \"*\" } to mean every alert".to_owned());
        }
        match &self.severity {
            Some(word) if !Severity::ALL.iter().any(|severity| severity.word() == word) => {
                Err(format!("`match.severity` is `{word}`; it is one of info, warning, critical"))
            }
            _ => Ok(()),
        }
    }
}

fn fits(glob: &str, text: &str) -> bool {
    WildMatch::new(glob).matches(text)
}

/// One of `[[alerts.silences]]`, or of the table `alert_silences`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Silence {
    /// Which alerts.
    #[serde(rename = "match")]
    pub matcher: Matcher,
    /// From then on; from the beginning of time by default.
    #[serde(default = "always", deserialize_with = "moment")]
    pub starts_at: UtcMillis,
    /// Until then.
    #[serde(deserialize_with = "moment")]
    pub ends_at: UtcMillis,
    /// Why, for people.
    #[serde(default)]
    pub comment: String,
}

const fn always() -> UtcMillis {
    UtcMillis(0)
}

fn moment<'de, D: Deserializer<'de>>(deserializer: D) -> Result<UtcMillis, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse_moment(&text).ok_or_else(|| {
        D::Error::custom(format!("`{text}` is no time such as \"2026-11-25T14:00:00Z\" or date such as \"2026-11-25\""))
    })
}

/// One of `[[alerts.maintenance]]`: the same hours again and again.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(try_from = "MaintenanceText")]
pub struct Maintenance {
    matcher: Matcher,
    days: Vec<civil::Weekday>,
    from: civil::Time,
    to: civil::Time,
    timezone: TimeZone,
    comment: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MaintenanceText {
    #[serde(rename = "match")]
    matcher: Matcher,
    /// `mon` to `sun`; every day by default.
    days: Option<Vec<String>>,
    from: String,
    /// At or before `from`: on the next day.
    to: String,
    timezone: Option<String>,
    #[serde(default)]
    comment: String,
}

const DAYS: [(&str, civil::Weekday); 7] = [
    ("mon", civil::Weekday::Monday),
    ("tue", civil::Weekday::Tuesday),
    ("wed", civil::Weekday::Wednesday),
    ("thu", civil::Weekday::Thursday),
    ("fri", civil::Weekday::Friday),
    ("sat", civil::Weekday::Saturday),
    ("sun", civil::Weekday::Sunday),
];

impl TryFrom<MaintenanceText> for Maintenance {
    type Error = String;

    fn try_from(text: MaintenanceText) -> Result<Self, String> {
        let day = |name: String| {
            let known = DAYS.iter().find(|(known, _)| *known == name);
            known
                .map(|(_, day)| *day)
                .ok_or_else(|| format!("`days` has `{name}`; days are mon, tue, wed, thu, fri, sat, sun"))
        };
        let days = match text.days {
            None => DAYS.iter().map(|(_, day)| *day).collect(),
            Some(days) => days.into_iter().map(day).collect::<Result<_, _>>()?,
        };
        let timezone = read_timezone(text.timezone.as_deref())?;
        let (from, to) = (read_time_of_day("from", &text.from)?, read_time_of_day("to", &text.to)?);
        Ok(Self { matcher: text.matcher, days, from, to, timezone, comment: text.comment })
    }
}

impl Maintenance {
    /// Whether the clock on the wall says so.
    fn holds_at(&self, now: UtcMillis) -> bool {
        let Ok(now) = Timestamp::from_millisecond(now.0) else { return false };
        let local = now.to_zoned(self.timezone.clone()).datetime();
        let (time, today) = (local.time(), local.date().weekday());
        if self.from < self.to {
            return self.days.contains(&today) && time >= self.from && time < self.to;
        }
        let yesterday = local.date().checked_sub(1.day()).map(civil::Date::weekday);
        (self.days.contains(&today) && time >= self.from)
            || (yesterday.is_ok_and(|day| self.days.contains(&day)) && time < self.to)
    }
}

/// One of `[[alerts.inhibitions]]`: while a `source` fires, no `target` is told.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Inhibition {
    /// What must fire.
    pub source: Matcher,
    /// What is not told then.
    pub target: Matcher,
    /// Only alerts about the same group (the default).
    #[serde(default = "yes")]
    pub same_group: bool,
}

const fn yes() -> bool {
    true
}

/// Everything that may keep alerts from being told.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Suppressions {
    /// Of the settings, and those made at run time.
    pub silences: Vec<Silence>,
    /// Of the settings.
    pub maintenance: Vec<Maintenance>,
    /// Of the settings.
    pub inhibitions: Vec<Inhibition>,
    /// The rules, so that what fires can be matched by severity and labels.
    pub rules: Vec<Rule>,
}

impl Suppressions {
    /// Why an alert of `rule` about `group` is not told now, for people; `None` when it is told.
    #[must_use]
    pub fn reason(&self, rule: &Rule, group: &str, states: &States, now: UtcMillis) -> Option<String> {
        let silence = self
            .silences
            .iter()
            .find(|silence| silence.starts_at <= now && now < silence.ends_at && silence.matcher.matches(rule, group));
        if let Some(silence) = silence {
            return Some(with_comment(&format!("silence until {}", silence.ends_at), &silence.comment));
        }
        let maintenance =
            self.maintenance.iter().find(|window| window.matcher.matches(rule, group) && window.holds_at(now));
        if let Some(maintenance) = maintenance {
            return Some(with_comment("maintenance", &maintenance.comment));
        }
        self.inhibitions.iter().filter(|inhibition| inhibition.target.matches(rule, group)).find_map(|inhibition| {
            let fires = states.firing().find(|key| {
                (key.rule != rule.name || key.group != group)
                    && (!inhibition.same_group || key.group == group)
                    && self
                        .rules
                        .iter()
                        .find(|known| known.name == key.rule)
                        .is_some_and(|source| inhibition.source.matches(source, &key.group))
            });
            fires.map(|key| format!("alert {} fires", key.rule))
        })
    }

    /// Checks what types alone cannot.
    ///
    /// # Errors
    /// What is wrong, and where.
    pub fn check(&self) -> Result<(), String> {
        let sizes = [self.silences.len(), self.maintenance.len(), self.inhibitions.len()];
        if sizes.iter().any(|size| *size > MAX_SUPPRESSIONS) {
            return Err(format!("more than {MAX_SUPPRESSIONS} silences, maintenance windows or inhibitions"));
        }
        for silence in &self.silences {
            silence.matcher.check().map_err(|message| format!("alerts.silences: {message}"))?;
            if silence.ends_at <= silence.starts_at {
                return Err("alerts.silences: `ends_at` is not after `starts_at`".to_owned());
            }
        }
        for window in &self.maintenance {
            window.matcher.check().map_err(|message| format!("alerts.maintenance: {message}"))?;
        }
        for inhibition in &self.inhibitions {
            for matcher in [&inhibition.source, &inhibition.target] {
                matcher.check().map_err(|message| format!("alerts.inhibitions: {message}"))?;
            }
        }
        Ok(())
    }
}

fn with_comment(what: &str, comment: &str) -> String {
    let comment: String = comment.chars().take(MAX_COMMENT_CHARACTERS).collect();
    if comment.is_empty() { what.to_owned() } else { format!("{what}: {comment}") }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn at(text: &str) -> UtcMillis {
        UtcMillis(text.parse::<Timestamp>().expect("a time").as_millisecond())
    }

    fn rule() -> Rule {
        let table = json!({"name": "slow-eu", "kind": "latency", "threshold_ms": 1, "severity": "critical",
            "labels": {"team": "search"}});
        serde_json::from_value(table).expect("a rule")
    }

    #[test]
    fn a_matcher_wants_all_its_keys() {
        for (table, expected) in [
            (json!({"rule": "slow*"}), true),
            (json!({"rule": "slow"}), false),
            (json!({"rule": "*", "group": "gpt-4?"}), true),
            (json!({"group": "gpt-5*"}), false),
            (json!({"severity": "critical"}), true),
            (json!({"severity": "info"}), false),
            (json!({"labels": {"team": "sea*"}}), true),
            (json!({"labels": {"team": "search", "env": "*"}}), false),
        ] {
            let matcher: Matcher = serde_json::from_value(table.clone()).expect("a matcher");
            assert_eq!(matcher.matches(&rule(), "gpt-4o"), expected, "{table}");
        }
    }

    #[test]
    fn maintenance_follows_the_clock_on_the_wall() {
        let window = |days: serde_json::Value, from: &str, to: &str| -> Maintenance {
            let table =
                json!({"match": {"rule": "*"}, "days": days, "from": from, "to": to, "timezone": "Europe/Berlin"});
            serde_json::from_value(table).expect("a window")
        };
        // 2025-10-25 is a Saturday; on the next night clocks go back at 03:00.
        let night = window(json!(["sat"]), "22:00", "04:00");
        for (time, expected) in [
            ("2025-10-25T19:59:59Z", false),
            ("2025-10-25T20:00:00Z", true),
            ("2025-10-26T00:30:00Z", true),
            ("2025-10-26T02:59:59Z", true),
            ("2025-10-26T03:00:00Z", false),
            ("2025-10-26T21:00:00Z", false),
        ] {
            assert_eq!(night.holds_at(at(time)), expected, "{time}");
        }
        let noon = window(json!(["mon", "tue"]), "12:00", "13:00");
        assert!(noon.holds_at(at("2025-09-08T10:30:00Z")) && !noon.holds_at(at("2025-09-10T10:30:00Z")));
    }

    #[test]
    fn mistakes_are_named() {
        for (table, expected) in [
            (json!({"match": {"rule": "*"}, "from": "22", "to": "04:00"}), "like \"22:00\""),
            (json!({"match": {"rule": "*"}, "from": "22:00", "to": "04:00", "days": ["sunday"]}), "days are mon"),
            (json!({"match": {"rule": "*"}, "from": "22:00", "to": "04:00", "timezone": "CET/x"}), "no IANA time zone"),
            (json!({"match": {"rul": "*"}, "from": "22:00", "to": "04:00"}), "unknown field `rul`"),
        ] {
            let message = serde_json::from_value::<Maintenance>(table.clone()).expect_err("refused").to_string();
            assert!(message.contains(expected), "{table}: {message}");
        }
        let silence = |table: serde_json::Value| -> Result<(), String> {
            let silence = serde_json::from_value::<Silence>(table).map_err(|error| error.to_string())?;
            Suppressions { silences: vec![silence], ..Suppressions::default() }.check()
        };
        let good = json!({"match": {"rule": "a"}, "starts_at": "2026-01-01", "ends_at": "2026-01-02T12:00:00Z"});
        assert_eq!(silence(good), Ok(()));
        for (table, expected) in [
            (json!({"match": {}, "ends_at": "2026-01-01"}), "`match` is empty"),
            (json!({"match": {"rule": "a"}, "ends_at": "tomorrow"}), "`tomorrow` is no time"),
            (json!({"match": {"rule": "a"}, "starts_at": "2026-01-02", "ends_at": "2026-01-01"}), "not after"),
            (json!({"match": {"severity": "high"}, "ends_at": "2026-01-01"}), "one of info"),
        ] {
            let message = silence(table.clone()).expect_err("refused");
            assert!(message.contains(expected), "{table}: {message}");
        }
    }

    #[test]
    fn the_reason_is_said() {
        let table =
            json!({"match": {"rule": "slow*"}, "starts_at": "2026-01-01", "ends_at": "2026-01-02", "comment": "move"});
        let silences = vec![serde_json::from_value(table).expect("a silence")];
        let suppressions = Suppressions { silences, ..Suppressions::default() };
        let reason = |time: &str| suppressions.reason(&rule(), "", &States::default(), at(time));
        assert_eq!(reason("2025-12-31T23:59:59Z"), None);
        assert_eq!(reason("2026-01-01T00:00:00Z").as_deref(), Some("silence until 2026-01-02T00:00:00.000Z: move"));
        assert_eq!(reason("2026-01-02T00:00:00Z"), None);
    }
}
