//! Calendar periods in a rule's time zone.

use jiff::{
    Timestamp, ToSpan, Zoned,
    civil::{self, Weekday},
    tz::TimeZone,
};

use super::{AlertError, rule::Period};
use crate::domain::UtcMillis;

/// Reads the key `timezone` of rules, maintenance windows and reports; UTC when it is not there.
///
/// # Errors
/// What is wrong, in words.
pub(super) fn read_timezone(name: Option<&str>) -> Result<TimeZone, String> {
    name.map_or(Ok(TimeZone::UTC), |name| {
        TimeZone::get(name).map_err(|_| {
            format!("`timezone` is `{name}`, which is no IANA time zone such as \"UTC\" or \"Europe/Berlin\"")
        })
    })
}

/// Reads a time of day, such as `09:00`, of the key `key`.
///
/// # Errors
/// What is wrong, in words.
pub(super) fn read_time_of_day(key: &str, text: &str) -> Result<civil::Time, String> {
    civil::Time::strptime("%H:%M", text).map_err(|_| format!("`{key}` is `{text}`, but must be like \"22:00\""))
}

/// A stretch of time with a name for people. The end is exclusive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// Its first millisecond.
    pub start: UtcMillis,
    /// The first millisecond after it.
    pub end: UtcMillis,
    /// `day 2025-09-08 (Europe/Berlin)`
    pub label: String,
}

impl Period {
    /// The period that holds `now`, by the calendar of `timezone`: a day may have 23 or 25 hours.
    ///
    /// # Errors
    /// [`AlertError::Time`] outside the years -9999 to 9999.
    pub fn span_at(self, timezone: &TimeZone, now: UtcMillis) -> Result<Span, AlertError> {
        self.try_span_at(timezone, now).map_err(|_| AlertError::Time(now.0))
    }

    fn try_span_at(self, timezone: &TimeZone, now: UtcMillis) -> Result<Span, jiff::Error> {
        let now = Timestamp::from_millisecond(now.0)?.to_zoned(timezone.clone());
        let date = now.date();
        let midnight = |date: jiff::civil::Date| date.to_zoned(timezone.clone());
        let (start, end, name): (Zoned, Zoned, String) = match self {
            Self::Hour => {
                // By elapsed time, so that both hours called 02:00 are periods of their own.
                let into = i64::from(now.minute()) * 60 + i64::from(now.second());
                let into = into.seconds().nanoseconds(now.subsec_nanosecond());
                let start = now.checked_sub(into)?;
                let end = start.checked_add(1.hour())?;
                let name = start.strftime("%Y-%m-%d %H:%M").to_string();
                (start, end, name)
            }
            Self::Day => (midnight(date)?, midnight(date.tomorrow()?)?, date.to_string()),
            Self::Week => {
                let monday = date.checked_sub(i64::from(date.weekday().since(Weekday::Monday)).days())?;
                let week = date.iso_week_date();
                let name = format!("{}-W{:02}", week.year(), week.week());
                (midnight(monday)?, midnight(monday.checked_add(7.days())?)?, name)
            }
            Self::Month => {
                let first = date.first_of_month();
                let name = first.strftime("%Y-%m").to_string();
                (midnight(first)?, midnight(first.checked_add(1.month())?)?, name)
            }
        };
        let zone = timezone.iana_name().unwrap_or("UTC");
        Ok(Span {
            start: UtcMillis(start.timestamp().as_millisecond()),
            end: UtcMillis(end.timestamp().as_millisecond()),
            label: format!("{} {name} ({zone})", self.word()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> UtcMillis {
        UtcMillis(text.parse::<Timestamp>().expect("a time").as_millisecond())
    }

    fn check(period: Period, zone: &str, now: &str, start: &str, end: &str, label: &str) {
        let timezone = TimeZone::get(zone).expect("a zone");
        let span = period.span_at(&timezone, at(now)).expect("in range");
        assert_eq!((span.start, span.end), (at(start), at(end)), "{label} at {now} in {zone}: {span:?}");
        assert_eq!(span.label, label);
    }

    #[test]
    fn months_start_at_local_midnight() {
        use Period::Month;
        let now = "2025-09-30T23:30:00Z";
        check(Month, "UTC", now, "2025-09-01T00:00:00Z", "2025-10-01T00:00:00Z", "month 2025-09 (UTC)");
        let label = "month 2025-10 (Asia/Tokyo)";
        check(Month, "Asia/Tokyo", now, "2025-09-30T15:00:00Z", "2025-10-31T15:00:00Z", label);
        // Daylight saving time begins within the month in New York, and March has 31 days less one hour.
        let label = "month 2025-03 (America/New_York)";
        let (start, end) = ("2025-03-01T05:00:00Z", "2025-04-01T04:00:00Z");
        check(Month, "America/New_York", "2025-03-31T23:30:00Z", start, end, label);
    }

    #[test]
    fn days_follow_daylight_saving_time() {
        use Period::Day;
        let (start, end) = ("2025-03-29T23:00:00Z", "2025-03-30T22:00:00Z");
        check(Day, "Europe/Berlin", "2025-03-30T12:00:00Z", start, end, "day 2025-03-30 (Europe/Berlin)");
        let (start, end) = ("2025-10-25T22:00:00Z", "2025-10-26T23:00:00Z");
        check(Day, "Europe/Berlin", "2025-10-26T12:00:00Z", start, end, "day 2025-10-26 (Europe/Berlin)");
        // Midnight does not exist on this day; it begins at 01:00.
        let (start, end) = ("2018-11-04T03:00:00Z", "2018-11-05T02:00:00Z");
        check(Day, "America/Sao_Paulo", "2018-11-04T12:00:00Z", start, end, "day 2018-11-04 (America/Sao_Paulo)");
    }

    #[test]
    fn a_repeated_hour_is_two_periods() {
        use Period::Hour;
        let label = "hour 2025-10-26 02:00 (Europe/Berlin)";
        check(Hour, "Europe/Berlin", "2025-10-26T00:30:00Z", "2025-10-26T00:00:00Z", "2025-10-26T01:00:00Z", label);
        check(Hour, "Europe/Berlin", "2025-10-26T01:30:00Z", "2025-10-26T01:00:00Z", "2025-10-26T02:00:00Z", label);
        let label = "hour 2025-09-08 21:00 (Asia/Kathmandu)";
        check(
            Hour,
            "Asia/Kathmandu",
            "2025-09-08T15:44:57.250Z",
            "2025-09-08T15:15:00Z",
            "2025-09-08T16:15:00Z",
            label,
        );
    }

    #[test]
    fn weeks_start_on_monday() {
        use Period::Week;
        let (start, end) = ("2025-12-29T00:00:00Z", "2026-01-05T00:00:00Z");
        check(Week, "UTC", "2026-01-01T00:00:00Z", start, end, "week 2026-W01 (UTC)");
        check(Week, "UTC", "2026-01-04T23:59:59.999Z", start, end, "week 2026-W01 (UTC)");
    }
}
