//! An amount with its unit, and how it is shown to people.

use std::fmt;

use crate::domain::UsdAmount;

/// What an alert measures. Two quantities are comparable when their units agree.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Quantity {
    /// US dollars, exact.
    Usd(UsdAmount),
    /// Tokens, prompt and completion together.
    Tokens(u64),
    /// Requests.
    Requests(u64),
    /// A duration in milliseconds.
    Milliseconds(f64),
    /// A share, 0 to 100.
    Percent(f64),
    /// A duration in seconds.
    Seconds(f64),
    /// A number of whatever a query counts.
    Number(f64),
}

impl Quantity {
    /// So many of what has no unit of its own here.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "exact up to 2⁵³")]
    pub const fn counted(count: u64) -> Self {
        Self::Number(count as f64)
    }

    /// The unit's word in tables: `usd`, `tokens`, `requests`, `ms`, `percent`, `s` or `number`.
    #[must_use]
    pub const fn unit(self) -> &'static str {
        match self {
            Self::Usd(_) => "usd",
            Self::Tokens(_) => "tokens",
            Self::Requests(_) => "requests",
            Self::Milliseconds(_) => "ms",
            Self::Percent(_) => "percent",
            Self::Seconds(_) => "s",
            Self::Number(_) => "number",
        }
    }

    /// Nothing, in the same unit.
    #[must_use]
    pub const fn zero(self) -> Self {
        match self {
            Self::Usd(_) => Self::Usd(UsdAmount::ZERO),
            Self::Tokens(_) => Self::Tokens(0),
            Self::Requests(_) => Self::Requests(0),
            Self::Milliseconds(_) => Self::Milliseconds(0.0),
            Self::Percent(_) => Self::Percent(0.0),
            Self::Seconds(_) => Self::Seconds(0.0),
            Self::Number(_) => Self::Number(0.0),
        }
    }

    /// The number alone, as a float: for columns and progress bars, never for decisions about money.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "shown to people; decisions use the exact value")]
    pub const fn as_f64(self) -> f64 {
        match self {
            Self::Usd(amount) => amount.pico_usd() as f64 / 1e12,
            Self::Tokens(count) | Self::Requests(count) => count as f64,
            Self::Milliseconds(number) | Self::Percent(number) | Self::Seconds(number) | Self::Number(number) => number,
        }
    }

    /// The exact amount in pico-dollars, `None` for other units.
    #[must_use]
    pub const fn pico_usd(self) -> Option<i128> {
        match self {
            Self::Usd(amount) => Some(amount.pico_usd()),
            _ => None,
        }
    }

    /// Reads back what [`Self::unit`], [`Self::as_f64`] and [`Self::pico_usd`] wrote; `None` for an unknown unit.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "counts were written from u64")]
    pub fn from_parts(unit: &str, number: f64, pico_usd: Option<i128>) -> Option<Self> {
        Some(match unit {
            "usd" => Self::Usd(UsdAmount::from_pico_usd(pico_usd?)),
            "tokens" => Self::Tokens(number as u64),
            "requests" => Self::Requests(number as u64),
            "ms" => Self::Milliseconds(number),
            "percent" => Self::Percent(number),
            "s" => Self::Seconds(number),
            "number" => Self::Number(number),
            _ => return None,
        })
    }

    /// Whether this has reached `percent` % of `limit`. Money and counts are compared as integers.
    #[must_use]
    pub fn has_reached(self, limit: Self, percent: u32) -> bool {
        match (self, limit) {
            (Self::Usd(value), Self::Usd(limit)) => value.has_reached(limit, percent),
            (Self::Tokens(value), Self::Tokens(limit)) | (Self::Requests(value), Self::Requests(limit)) => {
                u128::from(value) * 100 >= u128::from(limit) * u128::from(percent)
            }
            _ => self.as_f64() * 100.0 >= limit.as_f64() * f64::from(percent),
        }
    }

    /// This as whole percent of `limit`, rounded down so that 99.9 % never looks like 100 %; `None` for a zero limit.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a float cast saturates")]
    pub fn percent_of(self, limit: Self) -> Option<u64> {
        match (self, limit) {
            (Self::Usd(value), Self::Usd(limit)) if limit.is_positive() => {
                u64::try_from(value.pico_usd().saturating_mul(100) / limit.pico_usd()).ok()
            }
            _ if limit.as_f64() > 0.0 => Some((self.as_f64() * 100.0 / limit.as_f64() + 1e-9) as u64),
            _ => None,
        }
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Usd(amount) => f.write_str(&money(amount)),
            Self::Tokens(1) => f.write_str("1 token"),
            Self::Tokens(count) => write!(f, "{} tokens", thousands(&count.to_string())),
            Self::Requests(1) => f.write_str("1 request"),
            Self::Requests(count) => write!(f, "{} requests", thousands(&count.to_string())),
            Self::Milliseconds(number) => write!(f, "{} ms", thousands(&format!("{number:.0}"))),
            Self::Percent(number) => {
                let text = format!("{number:.1}");
                write!(f, "{} %", text.strip_suffix(".0").unwrap_or(&text))
            }
            Self::Seconds(number) => f.write_str(&duration(number)),
            Self::Number(number) => {
                let text = format!("{number:.3}");
                let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
                let fraction = fraction.trim_end_matches('0');
                let point = if fraction.is_empty() { "" } else { "." };
                write!(f, "{}{point}{fraction}", thousands(whole))
            }
        }
    }
}

/// `$1.02`: at least cents, no trailing zeros beyond them. From $1 on at most 4 decimals; below it 4 significant digits.
/// Digits beyond are cut, not rounded, so that an amount below a limit never looks like the limit.
#[must_use]
pub fn money(amount: UsdAmount) -> String {
    let text = amount.to_string();
    let (sign, text) = text.strip_prefix('-').map_or(("", text.as_str()), |rest| ("-", rest));
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let kept = if whole == "0" {
        fraction.find(|digit| digit != '0').map_or(2, |first| (first + 4).min(fraction.len()))
    } else {
        4
    };
    let mut fraction = fraction[..kept.min(fraction.len())].trim_end_matches('0').to_owned();
    while fraction.len() < 2 {
        fraction.push('0');
    }
    format!("{sign}${}.{fraction}", thousands(whole))
}

/// Without fractions of a cent from a dollar on, cut: what is not known to them is not shown to them.
#[must_use]
pub const fn whole_cents(amount: UsdAmount) -> UsdAmount {
    const CENT: i128 = 10_000_000_000;
    let pico = amount.pico_usd();
    UsdAmount::from_pico_usd(if pico.abs() >= 100 * CENT { pico / CENT * CENT } else { pico })
}

/// `90 s`, `5 min`, `2 h 30 min`, `3 d 4 h`: at most two units, cut, not rounded.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a float cast saturates")]
fn duration(seconds: f64) -> String {
    let seconds = seconds as u64;
    let (large, small, large_unit, small_unit) = match seconds {
        0..120 => return format!("{seconds} s"),
        120..3_600 => (seconds / 60, seconds % 60, "min", "s"),
        3_600..86_400 => (seconds / 3_600, seconds % 3_600 / 60, "h", "min"),
        _ => (seconds / 86_400, seconds % 86_400 / 3_600, "d", "h"),
    };
    if small == 0 { format!("{large} {large_unit}") } else { format!("{large} {large_unit} {small} {small_unit}") }
}

/// `1234567` as `1,234,567`.
fn thousands(digits: &str) -> String {
    let (sign, digits) = digits.strip_prefix('-').map_or(("", digits), |rest| ("-", rest));
    let mut text = String::with_capacity(digits.len() + digits.len() / 3 + 1);
    text.push_str(sign);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usd(text: &str) -> UsdAmount {
        text.parse().expect("valid")
    }

    #[test]
    fn money_is_short_and_never_rounded_up_to_a_limit() {
        for (amount, shown) in [
            ("1.02", "$1.02"),
            ("1", "$1.00"),
            ("0", "$0.00"),
            ("0.1", "$0.10"),
            ("0.999999", "$0.9999"),
            ("1.0234567", "$1.0234"),
            ("0.000075", "$0.000075"),
            ("0.000000000001", "$0.000000000001"),
            ("1234567.5", "$1,234,567.50"),
            ("-0.5", "-$0.50"),
        ] {
            assert_eq!(money(usd(amount)), shown, "{amount}");
        }
    }

    #[test]
    fn other_units_carry_their_word() {
        assert_eq!(Quantity::Tokens(1_200_000).to_string(), "1,200,000 tokens");
        assert_eq!(Quantity::Requests(1).to_string(), "1 request");
        assert_eq!(Quantity::Milliseconds(5_321.4).to_string(), "5,321 ms");
        assert_eq!(Quantity::Percent(20.0).to_string(), "20 %");
        assert_eq!(Quantity::Percent(33.333).to_string(), "33.3 %");
        for (seconds, shown) in
            [(90.9, "90 s"), (300.0, "5 min"), (9_000.0, "2 h 30 min"), (3_600.0, "1 h"), (273_601.0, "3 d 4 h")]
        {
            assert_eq!(Quantity::Seconds(seconds).to_string(), shown);
        }
        for (number, shown) in [(1_234_567.0, "1,234,567"), (0.25, "0.25"), (-12.0, "-12")] {
            assert_eq!(Quantity::Number(number).to_string(), shown);
        }
    }

    #[test]
    fn thresholds_are_decided_in_integers() {
        let limit = Quantity::Usd(usd("0.3"));
        assert!(Quantity::Usd(usd("0.24")).has_reached(limit, 80));
        assert!(!Quantity::Usd(usd("0.239999999999")).has_reached(limit, 80));
        assert!(Quantity::Tokens(8).has_reached(Quantity::Tokens(10), 80));
        assert_eq!(Quantity::Usd(usd("0.2999")).percent_of(limit), Some(99));
        assert_eq!(Quantity::Tokens(8).percent_of(Quantity::Tokens(10)), Some(80));
        assert_eq!(Quantity::Tokens(8).percent_of(Quantity::Tokens(0)), None);
    }

    #[test]
    fn parts_read_back() {
        for quantity in [
            Quantity::Usd(usd("1.234567890123")),
            Quantity::Tokens(7),
            Quantity::Requests(9),
            Quantity::Milliseconds(1.5),
            Quantity::Percent(20.0),
            Quantity::Seconds(3.5),
            Quantity::Number(-2.5),
        ] {
            let back = Quantity::from_parts(quantity.unit(), quantity.as_f64(), quantity.pico_usd());
            assert_eq!(back, Some(quantity));
        }
        assert_eq!(Quantity::from_parts("miles", 1.0, None), None);
    }
}
