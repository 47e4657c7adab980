//! Numbers and times for people.

use jiff::{Timestamp, tz::TimeZone};
use rust_decimal::Decimal;

use crate::domain::UtcMillis;

/// For what is not known.
pub(in super::super) const NOTHING: &str = "–";

/// `1234567` as `1,234,567`.
pub(in super::super) fn grouped(value: u64) -> String {
    group(&value.to_string())
}

fn group(digits: &str) -> String {
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 error`, `2,000 errors`
pub(in super::super) fn counted(value: u64, noun: &str) -> String {
    format!("{} {noun}{}", grouped(value), if value == 1 { "" } else { "s" })
}

/// `1234567` as `1.23M`.
#[expect(clippy::cast_precision_loss, reason = "rounded for people")]
pub(in super::super) fn compact(value: u64) -> String {
    const UNITS: [(u64, &str); 4] = [(1_000_000_000_000, "T"), (1_000_000_000, "B"), (1_000_000, "M"), (10_000, "k")];
    match UNITS.into_iter().find(|(least, _)| value >= *least) {
        Some((least, unit)) => {
            let scaled = value as f64 / if unit == "k" { 1_000.0 } else { least as f64 };
            let decimals = if scaled >= 100.0 {
                0
            } else if scaled >= 10.0 {
                1
            } else {
                2
            };
            format!("{scaled:.decimals$}{unit}")
        }
        None => grouped(value),
    }
}

/// An exact amount rounded for reading: cents from a dollar on, three digits below.
pub(in super::super) fn money(exact_usd: &str) -> String {
    let Some(amount) = decimal(exact_usd) else { return NOTHING.to_owned() };
    let sign = if amount.is_sign_negative() && !amount.is_zero() { "-" } else { "" };
    let amount = amount.abs();
    if amount.is_zero() {
        return "$0.00".to_owned();
    }
    if amount < Decimal::ONE {
        let rounded = amount.round_sf(3).unwrap_or(amount).normalize();
        let scale = usize::try_from(rounded.scale().max(2)).unwrap_or(2);
        return format!("{sign}${rounded:.scale$}");
    }
    let text = format!("{:.2}", amount.round_dp(2));
    let (whole, cents) = text.split_once('.').unwrap_or((&text, "00"));
    format!("{sign}${}.{cents}", group(whole))
}

pub(in super::super) fn decimal(text: &str) -> Option<Decimal> {
    if text.is_empty() { Some(Decimal::ZERO) } else { text.parse().ok() }
}

/// For bars and charts, where a pixel is coarser.
pub(in super::super) fn approximate(exact: &str) -> f64 {
    exact.parse().unwrap_or(0.0)
}

#[expect(clippy::cast_precision_loss, reason = "a percentage for people")]
pub(in super::super) fn percent(part: u64, whole: u64) -> String {
    if whole == 0 {
        return NOTHING.to_owned();
    }
    let percent = 100.0 * part as f64 / whole as f64;
    // What is not whole must not look so.
    if part < whole && percent >= 99.95 { "99.9 %".to_owned() } else { format!("{percent:.1} %") }
}

/// Milliseconds, from ten seconds on as seconds.
pub(in super::super) fn latency(latency_ms: f64) -> String {
    if !latency_ms.is_finite() {
        NOTHING.to_owned()
    } else if latency_ms < 10_000.0 {
        format!("{} ms", group(&format!("{latency_ms:.0}")))
    } else {
        format!("{:.1} s", latency_ms / 1_000.0)
    }
}

/// A length of time in its largest unit or two.
pub(in super::super) fn duration(seconds: f64) -> String {
    if !seconds.is_finite() || seconds < 0.0 {
        return NOTHING.to_owned();
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "finite and not negative; saturates")]
    let whole = seconds as u64;
    match whole {
        0..10 => format!("{seconds:.1} s"),
        10..60 => format!("{whole} s"),
        60..3_600 => format!("{} min {} s", whole / 60, whole % 60),
        3_600..86_400 => format!("{} h {} min", whole / 3_600, whole % 3_600 / 60),
        _ => format!("{} d {} h", whole / 86_400, whole % 86_400 / 3_600),
    }
}

/// A measured value in the unit of its alert.
pub(in super::super) fn measured(value: f64, unit: &str) -> String {
    match unit {
        "usd" => money(&format!("{value:.6}")),
        "ms" => latency(value),
        "s" => duration(value),
        "percent" => format!("{value:.1} %"),
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
        "tokens" | "requests" => match value.max(0.0) as u64 {
            1 => format!("1 {}", unit.trim_end_matches('s')),
            count => format!("{} {unit}", compact(count)),
        },
        _ => format!("{}", (value * 1_000.0).round() / 1_000.0),
    }
}

/// How a number has moved.
#[derive(Debug, PartialEq, Eq)]
pub(in super::super) struct Delta {
    /// `up`, `down` or `same`.
    pub(in super::super) direction: &'static str,
    /// `▲ 12 %`
    pub(in super::super) text: String,
}

/// Against the same time of the period before; `None` where there was nothing to compare with.
pub(in super::super) fn delta(now: f64, before: f64) -> Option<Delta> {
    if !now.is_finite() || !before.is_finite() || before <= 0.0 {
        return None;
    }
    let percent = 100.0 * (now - before) / before;
    let (direction, arrow) = match percent {
        percent if percent >= 0.5 => ("up", "▲"),
        percent if percent <= -0.5 => ("down", "▼"),
        _ => return Some(Delta { direction: "same", text: "± 0 %".to_owned() }),
    };
    let text = if percent >= 1_000.0 {
        format!("{arrow} {:.0}×", now / before)
    } else {
        format!("{arrow} {:.0} %", percent.abs())
    };
    Some(Delta { direction, text })
}

/// `2026-11-25 20:19:31`
pub(in super::super) fn time(at: UtcMillis) -> String {
    strftime(at, "%Y-%m-%d %H:%M:%S")
}

/// `20:19:31`, after a day `11-24 20:19:31`.
pub(in super::super) fn short_time(at: UtcMillis, now: UtcMillis) -> String {
    let is_recent = now.0.abs_diff(at.0) < 20 * 3_600_000;
    strftime(at, if is_recent { "%H:%M:%S" } else { "%m-%d %H:%M:%S" })
}

/// `2026-11-25 20:19`
pub(in super::super) fn minute(at: UtcMillis) -> String {
    strftime(at, "%Y-%m-%d %H:%M")
}

/// As `<time datetime>` has it.
pub(in super::super) fn machine_time(at: UtcMillis) -> String {
    at.to_string()
}

fn strftime(at: UtcMillis, format: &str) -> String {
    Timestamp::from_millisecond(at.0)
        .map_or_else(|_| at.to_string(), |at| at.to_zoned(TimeZone::UTC).strftime(format).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!(["0", "999", "1,000", "1,234,567"].map(str::to_owned), [0, 999, 1_000, 1_234_567].map(grouped));
        assert_eq!(
            ["0", "9,999", "10.0k", "123k", "1.23M", "45.6B", "7.00T"].map(str::to_owned),
            [0, 9_999, 10_000, 123_456, 1_234_567, 45_600_000_000, 7_000_000_000_000].map(compact)
        );
        assert_eq!((counted(1, "row").as_str(), counted(1_000, "row").as_str()), ("1 row", "1,000 rows"));
        for (part, whole, expected) in [(1, 3, "33.3 %"), (0, 0, "–"), (3, 3, "100.0 %"), (99_999, 100_000, "99.9 %")]
        {
            assert_eq!(percent(part, whole), expected, "{part} of {whole}");
        }
        for (value, expected) in [(0.4, "0 ms"), (1_234.6, "1,235 ms"), (15_218.56, "15.2 s"), (f64::NAN, "–")] {
            assert_eq!(latency(value), expected);
        }
        for (seconds, expected) in [
            (0.25, "0.2 s"),
            (42.0, "42 s"),
            (61.0, "1 min 1 s"),
            (7_300.0, "2 h 1 min"),
            (90_000.0, "1 d 1 h"),
            (-1.0, "–"),
        ] {
            assert_eq!(duration(seconds), expected);
        }
        for (value, unit, expected) in [
            (0.5, "usd", "$0.50"),
            (8_123.4, "ms", "8,123 ms"),
            (20.44, "percent", "20.4 %"),
            (1e6, "tokens", "1.00M tokens"),
            (1.0, "requests", "1 request"),
            (420.0, "s", "7 min 0 s"),
            (11.25, "number", "11.25"),
        ] {
            assert_eq!(measured(value, unit), expected);
        }
    }

    #[test]
    fn money_is_rounded_from_the_exact_amount() {
        for (exact, expected) in [
            ("0", "$0.00"),
            ("", "$0.00"),
            ("0.5", "$0.50"),
            ("0.084643", "$0.0846"),
            ("0.000000000001", "$0.000000000001"),
            ("0.99999", "$1.00"),
            ("1", "$1.00"),
            ("41.39314674", "$41.39"),
            ("2.005", "$2.00"),
            ("1234567.891", "$1,234,567.89"),
            ("-3.5", "-$3.50"),
            ("nan", "–"),
        ] {
            assert_eq!(money(exact), expected, "{exact}");
        }
    }

    #[test]
    fn deltas_say_where_to() {
        let told = |now, before| delta(now, before).map(|delta| format!("{} {}", delta.direction, delta.text));
        assert_eq!(told(112.0, 100.0).as_deref(), Some("up ▲ 12 %"));
        assert_eq!(told(50.0, 100.0).as_deref(), Some("down ▼ 50 %"));
        assert_eq!(told(100.2, 100.0).as_deref(), Some("same ± 0 %"));
        assert_eq!(told(5_000.0, 100.0).as_deref(), Some("up ▲ 50×"));
        assert_eq!((told(1.0, 0.0), told(f64::NAN, 1.0)), (None, None));
    }

    #[test]
    fn times_are_utc() {
        let at = UtcMillis(1_764_101_971_000);
        assert_eq!((time(at).as_str(), minute(at).as_str()), ("2025-11-25 20:19:31", "2025-11-25 20:19"));
        assert_eq!(short_time(at, at), "20:19:31");
        assert_eq!(short_time(at, UtcMillis(at.0 + 86_400_000)), "11-25 20:19:31");
    }
}
