//! US dollars as a decimal with 12 places, the scale of `Decimal(18, 12)` in ClickHouse.

use std::{fmt, str::FromStr};

use rust_decimal::{Decimal, RoundingStrategy};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Digits after the decimal point in every stored amount.
const SCALE: u32 = 12;

/// Why a text is not an amount of money.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum MoneyError {
    /// Not a decimal number in JSON's grammar.
    #[error("not a decimal number")]
    NotANumber,
    /// `Decimal(18, 12)` holds less than 1,000,000 USD for one request.
    #[error("an amount of 1,000,000 USD or more for one request cannot be stored")]
    OutOfRange,
}

/// An amount of US dollars, exact to 10⁻¹² USD (a pico-dollar).
///
/// Never made from a float: the gateway's `0.00007500000000000001` is rounded half to even as a decimal text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct UsdAmount {
    pico_usd: i128,
}

impl UsdAmount {
    /// No money at all, which is not the same as an unknown price.
    pub const ZERO: Self = Self { pico_usd: 0 };

    /// One request's largest storable amount in pico-dollars: the range of `Decimal(18, 12)`.
    const MAX_REQUEST_PICO_USD: i128 = 999_999_999_999_999_999;

    /// An amount of `pico_usd` × 10⁻¹² USD.
    #[must_use]
    pub const fn from_pico_usd(pico_usd: i128) -> Self {
        Self { pico_usd }
    }

    /// The amount in units of 10⁻¹² USD.
    #[must_use]
    pub const fn pico_usd(self) -> i128 {
        self.pico_usd
    }

    /// Reads a JSON number (`1.5e-7`, `-0.0000125`, `12`) as an amount for one request.
    ///
    /// # Errors
    /// [`MoneyError`] when the text is not a number, or too large for a request's column.
    pub fn parse_request_amount(text: &str) -> Result<Self, MoneyError> {
        let amount: Self = text.parse()?;
        if amount.pico_usd.abs() > Self::MAX_REQUEST_PICO_USD {
            return Err(MoneyError::OutOfRange);
        }
        Ok(amount)
    }

    /// The amount as ClickHouse's `Decimal(18, 12)` carries it in `RowBinary`, or `None` if it is out of range.
    #[must_use]
    pub fn to_decimal64(self) -> Option<i64> {
        (self.pico_usd.abs() <= Self::MAX_REQUEST_PICO_USD).then(|| i64::try_from(self.pico_usd).ok()).flatten()
    }

    /// Above zero.
    #[must_use]
    pub const fn is_positive(self) -> bool {
        self.pico_usd > 0
    }

    /// `self / limit` for display and thresholds, NaN-free: `None` when the limit is not positive.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a ratio for people; money itself stays decimal")]
    pub fn ratio_of(self, limit: Self) -> Option<f64> {
        (limit.pico_usd > 0).then(|| self.pico_usd as f64 / limit.pico_usd as f64)
    }

    /// Whether this amount has reached `percent` % of `limit`, decided in integers.
    #[must_use]
    pub const fn has_reached(self, limit: Self, percent: u32) -> bool {
        self.pico_usd.saturating_mul(100) >= limit.pico_usd.saturating_mul(percent as i128)
    }
}

/// As an exact decimal in a text: a JSON number would be read as a float.
impl Serialize for UsdAmount {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for UsdAmount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl std::ops::Add for UsdAmount {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self { pico_usd: self.pico_usd.saturating_add(other.pico_usd) }
    }
}

impl std::iter::Sum for UsdAmount {
    fn sum<I: Iterator<Item = Self>>(iter: I) -> Self {
        iter.fold(Self::ZERO, std::ops::Add::add)
    }
}

impl FromStr for UsdAmount {
    type Err = MoneyError;

    fn from_str(text: &str) -> Result<Self, MoneyError> {
        let decimal = if text.contains(['e', 'E']) { Decimal::from_scientific(text) } else { Decimal::from_str(text) };
        let mut decimal = match decimal {
            Ok(decimal) => decimal.round_dp_with_strategy(SCALE, RoundingStrategy::MidpointNearestEven),
            // Smaller than a Decimal can scale to, hence far below half a pico-dollar.
            Err(rust_decimal::Error::ScaleExceedsMaximumPrecision(_) | rust_decimal::Error::Underflow)
                if text.contains("e-") || text.contains("E-") =>
            {
                Decimal::ZERO
            }
            Err(
                rust_decimal::Error::ExceedsMaximumPossibleValue
                | rust_decimal::Error::LessThanMinimumPossibleValue
                | rust_decimal::Error::ScaleExceedsMaximumPrecision(_),
            ) => return Err(MoneyError::OutOfRange),
            Err(_) => return Err(MoneyError::NotANumber),
        };
        decimal.rescale(SCALE);
        if decimal.scale() != SCALE {
            return Err(MoneyError::OutOfRange);
        }
        Ok(Self { pico_usd: decimal.mantissa() })
    }
}

impl fmt::Display for UsdAmount {
    /// All 12 places, as ClickHouse prints a `Decimal(18, 12)` with trailing zeros.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = 10_u128.pow(SCALE);
        let magnitude = self.pico_usd.unsigned_abs();
        let sign = if self.pico_usd < 0 { "-" } else { "" };
        write!(f, "{sign}{}.{:012}", magnitude / unit, magnitude % unit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gateway_floats_become_exact_decimals() {
        for (text, pico_usd) in [
            ("0.00007500000000000001", 75_000_000),
            ("1.5e-7", 150_000),
            ("-0.0000125", -12_500_000),
            ("0.0014001999999999999", 1_400_200_000),
            ("0.000035629999999999996", 35_630_000),
            ("0", 0),
            ("-0", 0),
            ("12", 12_000_000_000_000),
            ("1E+2", 100_000_000_000_000),
            ("0.0000000000005", 0),
            ("0.0000000000015", 2),
            ("1e-40", 0),
        ] {
            assert_eq!(UsdAmount::parse_request_amount(text).map(UsdAmount::pico_usd), Ok(pico_usd), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_stored_is_refused() {
        assert_eq!(UsdAmount::parse_request_amount("1000000"), Err(MoneyError::OutOfRange));
        assert_eq!(UsdAmount::parse_request_amount("1e30"), Err(MoneyError::OutOfRange));
        assert_eq!(UsdAmount::parse_request_amount("NaN"), Err(MoneyError::NotANumber));
        assert_eq!(UsdAmount::parse_request_amount(""), Err(MoneyError::NotANumber));
    }

    #[test]
    fn prints_as_clickhouse_does() {
        assert_eq!(UsdAmount::from_pico_usd(-12_500_000).to_string(), "-0.000012500000");
        assert_eq!(UsdAmount::from_pico_usd(1_000_000_000_001).to_string(), "1.000000000001");
    }

    #[test]
    fn thresholds_are_decided_in_integers() {
        let limit = UsdAmount::from_pico_usd(1_000_000_000_000);
        assert!(!UsdAmount::from_pico_usd(799_999_999_999).has_reached(limit, 80));
        assert!(UsdAmount::from_pico_usd(800_000_000_000).has_reached(limit, 80));
    }
}
