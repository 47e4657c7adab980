//! When a report is due, and on what. No I/O, no clock.

use std::collections::HashSet;

use jiff::{Timestamp, civil, tz::TimeZone};
use serde::Deserialize;

use super::super::{
    AlertError,
    period::{Span, read_time_of_day, read_timezone},
    rule::{MAX_NAME_BYTES, Period},
};
use crate::domain::UtcMillis;

/// More are refused.
const MAX_SCHEDULES: usize = 50;

/// One of `[[alerts.reports]]`. Deserializing checks it.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(try_from = "ScheduleText")]
pub struct ReportSchedule {
    /// Names it in messages and tables. Unique.
    pub name: String,
    /// How often, and on how long: the day, week or month that ended last.
    pub every: Period,
    /// The time of the day after it.
    pub at: civil::Time,
    /// Whose calendar and clock.
    pub timezone: TimeZone,
    /// The receivers, in place of what `[[notifiers.routes]]` say.
    pub notifiers: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ScheduleText {
    every: String,
    name: Option<String>,
    at: Option<String>,
    timezone: Option<String>,
    notifiers: Option<Vec<String>>,
}

/// What a report is on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportPeriod {
    /// The period.
    pub span: Span,
    /// The one before it, which it is compared with.
    pub previous: Span,
}

impl TryFrom<ScheduleText> for ReportSchedule {
    type Error = String;

    fn try_from(text: ScheduleText) -> Result<Self, String> {
        let (every, usual_name) = match text.every.as_str() {
            "day" => (Period::Day, "daily"),
            "week" => (Period::Week, "weekly"),
            "month" => (Period::Month, "monthly"),
            other => return Err(format!("`every` is `{other}`; it is one of day, week, month")),
        };
        let at = read_time_of_day("at", text.at.as_deref().unwrap_or("09:00"))?;
        let timezone = read_timezone(text.timezone.as_deref())?;
        let name = text.name.unwrap_or_else(|| usual_name.to_owned());
        if name.trim().is_empty() || name.len() > MAX_NAME_BYTES || name.chars().any(char::is_control) {
            return Err(format!("`name` must be one line of 1 to {MAX_NAME_BYTES} bytes"));
        }
        Ok(Self { name, every, at, timezone, notifiers: text.notifiers })
    }
}

impl ReportSchedule {
    /// In a sentence, for people: `reports each day at 09:00 the next day (Europe/Berlin)`.
    #[must_use]
    pub fn describe(&self) -> String {
        let when = match self.every {
            Period::Week => " on Monday",
            Period::Month => " on the first",
            Period::Hour | Period::Day => " the next day",
        };
        let zone = self.timezone.iana_name().unwrap_or("UTC");
        format!("reports each {} at {}{when} ({zone})", self.every.word(), self.at.strftime("%H:%M"))
    }

    /// What the report that was due last at `now` is on. The same until the next one is due.
    ///
    /// # Errors
    /// [`AlertError::Time`] outside the years -9999 to 9999.
    pub(super) fn due(&self, now: UtcMillis) -> Result<ReportPeriod, AlertError> {
        let current = self.every.span_at(&self.timezone, now)?;
        let due_at = self.due_at(current.start).map_err(|_| AlertError::Time(now.0))?;
        let ended = if now >= due_at { current } else { self.before(&current)? };
        let span = self.before(&ended)?;
        let previous = self.before(&span)?;
        Ok(ReportPeriod { span, previous })
    }

    /// When the report on the period before the one that begins at `start` is due.
    fn due_at(&self, start: UtcMillis) -> Result<UtcMillis, jiff::Error> {
        let date = Timestamp::from_millisecond(start.0)?.to_zoned(self.timezone.clone()).date();
        let due = date.to_datetime(self.at).to_zoned(self.timezone.clone())?;
        Ok(UtcMillis(due.timestamp().as_millisecond()))
    }

    fn before(&self, span: &Span) -> Result<Span, AlertError> {
        self.every.span_at(&self.timezone, UtcMillis(span.start.0 - 1))
    }
}

/// Checks what single schedules cannot know: that their names differ.
///
/// # Errors
/// What is wrong, in words.
pub fn check_schedules(schedules: &[ReportSchedule]) -> Result<(), String> {
    if schedules.len() > MAX_SCHEDULES {
        return Err(format!("there are more than {MAX_SCHEDULES}"));
    }
    let mut names = HashSet::new();
    match schedules.iter().find(|schedule| !names.insert(schedule.name.as_str())) {
        Some(twice) => Err(format!("the name `{}` is used twice; give each a `name` of its own", twice.name)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use figment::{
        Figment,
        providers::{Format, Toml},
    };

    use super::*;

    fn schedule(text: &str) -> Result<ReportSchedule, String> {
        Figment::from(Toml::string(text)).extract().map_err(|error| error.to_string())
    }

    fn at(text: &str) -> UtcMillis {
        UtcMillis(text.parse::<Timestamp>().expect("a time").as_millisecond())
    }

    #[test]
    fn the_period_that_ended_last_is_due_from_its_hour_on() {
        for (text, now, expected) in [
            ("every = 'day'", "2026-11-25T08:59:59Z", "day 2026-11-23 (UTC)"),
            ("every = 'day'", "2026-11-25T09:00:00Z", "day 2026-11-24 (UTC)"),
            ("every = 'day'", "2026-11-25T23:59:59Z", "day 2026-11-24 (UTC)"),
            ("every = 'day'\nat = '00:00'", "2026-11-25T00:00:00Z", "day 2026-11-24 (UTC)"),
            // 09:00 in Tokyo is midnight in UTC.
            ("every = 'day'\ntimezone = 'Asia/Tokyo'", "2026-11-24T23:59:59Z", "day 2026-11-23 (Asia/Tokyo)"),
            ("every = 'day'\ntimezone = 'Asia/Tokyo'", "2026-11-25T00:00:00Z", "day 2026-11-24 (Asia/Tokyo)"),
            // 02:30 does not exist on this day; it is 03:30.
            (
                "every = 'day'\nat = '02:30'\ntimezone = 'Europe/Berlin'",
                "2026-03-29T01:29:59Z",
                "day 2026-03-27 (Europe/Berlin)",
            ),
            (
                "every = 'day'\nat = '02:30'\ntimezone = 'Europe/Berlin'",
                "2026-03-29T01:30:00Z",
                "day 2026-03-28 (Europe/Berlin)",
            ),
            // A Monday.
            ("every = 'week'", "2026-11-23T08:59:59Z", "week 2026-W46 (UTC)"),
            ("every = 'week'", "2026-11-23T09:00:00Z", "week 2026-W47 (UTC)"),
            ("every = 'week'", "2026-11-29T23:00:00Z", "week 2026-W47 (UTC)"),
            ("every = 'month'", "2026-12-01T09:00:00Z", "month 2026-11 (UTC)"),
        ] {
            let due = schedule(text).expect("valid").due(at(now)).expect("in range");
            assert_eq!(due.span.label, expected, "{text} at {now}");
            assert_eq!(due.previous.end, due.span.start, "{text} at {now}");
        }
    }

    #[test]
    fn mistakes_are_named() {
        for (text, expected) in [
            ("every = 'hour'", "`every` is `hour`; it is one of day, week, month"),
            ("every = 'day'\nat = '25:00'", "`at` is `25:00`, but must be like"),
            ("every = 'day'\ntimezone = 'Berlin'", "`timezone` is `Berlin`"),
            ("every = 'day'\nname = ' '", "`name` must be"),
            ("every = 'day'\nto = 'ops'", "found `to`"),
            ("at = '09:00'", "missing field `every`"),
        ] {
            let error = schedule(text).expect_err(text);
            assert!(error.contains(expected), "{text}: {error}");
        }
        let daily = schedule("every = 'day'").expect("valid");
        assert_eq!(daily.name, "daily");
        assert!(check_schedules(std::slice::from_ref(&daily)).is_ok());
        assert!(check_schedules(&[daily.clone(), daily]).is_err_and(|error| error.contains("`daily` is used twice")));
    }
}
