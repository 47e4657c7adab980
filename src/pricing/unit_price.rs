//! What one token, request, image or search costs, exactly.

use std::{fmt, str::FromStr};

use rust_decimal::{Decimal, RoundingStrategy};

/// Why a text is not a price.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnitPriceError {
    /// Not a decimal number.
    #[error("is not a decimal number; write it as text, such as \"2.50\"")]
    NotANumber,
    /// Nobody is paid for being called.
    #[error("is negative")]
    Negative,
    /// More digits than can be kept.
    #[error("has more than 12 digits after the point")]
    TooFine,
    /// A slip of the unit, surely.
    #[error("is 1,000,000 USD or more; prices of tokens are in USD per million tokens")]
    TooLarge,
}

/// The price of one unit in 10⁻¹⁸ USD, so that a price per million tokens with 12 digits after the point is exact.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnitPrice {
    atto_usd: u128,
}

/// Digits after the point of the price of a unit, in USD.
const SCALE: u32 = 18;
/// Digits after the point that a price in a file may have.
const MAX_TEXT_SCALE: u32 = 12;
/// Providers publish token prices per million: 10⁶.
const MILLION_DIGITS: u32 = 6;
const MAX_USD: u32 = 1_000_000;

impl UnitPrice {
    /// Reads USD per million tokens, such as `2.50`.
    ///
    /// # Errors
    /// [`UnitPriceError`]
    pub fn per_million(text: &str) -> Result<Self, UnitPriceError> {
        Self::scaled(parse(text)?, SCALE - MILLION_DIGITS)
    }

    /// Reads USD per request, image or search, such as `0.01`.
    ///
    /// # Errors
    /// [`UnitPriceError`]
    pub fn each(text: &str) -> Result<Self, UnitPriceError> {
        Self::scaled(parse(text)?, SCALE)
    }

    fn scaled(usd: Decimal, scale: u32) -> Result<Self, UnitPriceError> {
        // At most 10⁶ with 12 digits after the point: the mantissa is below 10¹⁸, and the product below 10³⁰.
        let mantissa = u128::try_from(usd.mantissa()).map_err(|_| UnitPriceError::Negative)?;
        Ok(Self { atto_usd: mantissa * 10_u128.pow(scale - usd.scale()) })
    }

    /// `count` units in 10⁻¹⁸ USD; `None` when that is more than can be counted.
    #[must_use]
    pub const fn times(self, count: u64) -> Option<u128> {
        self.atto_usd.checked_mul(count as u128)
    }

    /// USD per million units, as files have it.
    #[must_use]
    pub fn to_per_million(self) -> String {
        plain(self.atto_usd, SCALE - MILLION_DIGITS)
    }

    /// USD per unit, as files have it.
    #[must_use]
    pub fn to_each(self) -> String {
        plain(self.atto_usd, SCALE)
    }
}

impl fmt::Display for UnitPrice {
    /// USD for one unit.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_each())
    }
}

fn parse(text: &str) -> Result<Decimal, UnitPriceError> {
    let usd = Decimal::from_str_exact(text).map_err(|_| UnitPriceError::NotANumber)?;
    check(usd)
}

fn check(usd: Decimal) -> Result<Decimal, UnitPriceError> {
    let usd = usd.normalize();
    if usd.is_sign_negative() && !usd.is_zero() {
        return Err(UnitPriceError::Negative);
    }
    if usd.scale() > MAX_TEXT_SCALE {
        return Err(UnitPriceError::TooFine);
    }
    if usd >= Decimal::from(MAX_USD) {
        return Err(UnitPriceError::TooLarge);
    }
    Ok(usd.abs())
}

/// Reads a number of somebody else's price file, multiplies it by `factor`, and gives it as our files have it.
///
/// Those numbers went through binary floats (`7.900000000000001e-07`), so the product is rounded half to even to 12 digits
/// after the point, which changes the price of a token by at most 5 × 10⁻¹⁹ USD.
///
/// # Errors
/// [`UnitPriceError`]
pub fn normalize_foreign_price(text: &str, factor: u32) -> Result<String, UnitPriceError> {
    let text = text.trim().trim_matches('"');
    let number = if text.contains(['e', 'E']) { Decimal::from_scientific(text) } else { Decimal::from_str(text) };
    let number = number.map_err(|_| UnitPriceError::NotANumber)?;
    let usd = number.checked_mul(Decimal::from(factor)).ok_or(UnitPriceError::TooLarge)?;
    let usd = check(usd.round_dp_with_strategy(MAX_TEXT_SCALE, RoundingStrategy::MidpointNearestEven))?;
    Ok(usd.normalize().to_string())
}

fn plain(value: u128, scale: u32) -> String {
    let unit = 10_u128.pow(scale);
    let fraction = format!("{:0width$}", value % unit, width = scale as usize);
    let fraction = fraction.trim_end_matches('0');
    let point = if fraction.is_empty() { "" } else { "." };
    format!("{}{point}{fraction}", value / unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_price_per_million_is_exact() {
        for (text, atto_usd) in [
            ("2.50", 2_500_000_000_000),
            ("0", 0),
            ("0.000000000001", 1),
            ("999999.999999999999", 999_999_999_999_999_999),
        ] {
            assert_eq!(UnitPrice::per_million(text), Ok(UnitPrice { atto_usd }), "{text}");
        }
        assert_eq!(UnitPrice::each("0.01"), Ok(UnitPrice { atto_usd: 10_000_000_000_000_000 }));
    }

    #[test]
    fn what_is_no_price_says_why() {
        for (text, error) in [
            ("", UnitPriceError::NotANumber),
            ("2,50", UnitPriceError::NotANumber),
            ("1e-6", UnitPriceError::NotANumber),
            ("-1", UnitPriceError::Negative),
            ("0.0000000000001", UnitPriceError::TooFine),
            ("1000000", UnitPriceError::TooLarge),
        ] {
            assert_eq!(UnitPrice::per_million(text), Err(error), "{text}");
        }
    }

    #[test]
    fn foreign_floats_become_what_was_meant() {
        for (text, factor, expected) in [
            ("1.5e-07", 1_000_000, "0.15"),
            ("7.900000000000001e-07", 1_000_000, "0.79"),
            ("0.000003", 1_000_000, "3"),
            ("\"2.5e-6\"", 1_000_000, "2.5"),
            ("0.3", 1, "0.3"),
            ("0.30000000000000004", 1, "0.3"),
            ("0", 1, "0"),
        ] {
            assert_eq!(normalize_foreign_price(text, factor).as_deref(), Ok(expected), "{text}");
        }
        assert_eq!(normalize_foreign_price("-1", 1), Err(UnitPriceError::Negative));
        assert_eq!(normalize_foreign_price("x", 1), Err(UnitPriceError::NotANumber));
    }

    #[test]
    fn prints_as_files_have_it() {
        let price = UnitPrice::per_million("0.0375").expect("price");
        assert_eq!((price.to_per_million(), price.to_each()), ("0.0375".to_owned(), "0.0000000375".to_owned()));
        assert_eq!(UnitPrice::per_million("10").expect("price").to_per_million(), "10");
    }
}
