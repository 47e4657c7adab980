//! How much of its traffic a source sends.

use std::{fmt, str::FromStr};

use rust_decimal::{Decimal, prelude::ToPrimitive};
use serde::Deserialize;

/// Above 0 and up to 100 percent of a source's calls, each sent or left out by chance of its own, as Helicone's webhooks
/// with a sample rate do. To a millionth of a percent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "f64")]
pub struct SampleRate {
    /// 1 to 100,000,000.
    micro_percent: u32,
}

/// Not a sample rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be above 0 and at most 100 percent")]
pub struct SampleRateError;

impl SampleRate {
    /// Every call is sent.
    pub const ALL: Self = Self { micro_percent: 100_000_000 };

    fn from_decimal(percent: Decimal) -> Result<Self, SampleRateError> {
        let micro_percent = (percent * Decimal::from(1_000_000)).round().to_u32().ok_or(SampleRateError)?;
        let rate = Self { micro_percent };
        if micro_percent == 0 || rate > Self::ALL { Err(SampleRateError) } else { Ok(rate) }
    }
}

impl Default for SampleRate {
    fn default() -> Self {
        Self::ALL
    }
}

impl TryFrom<f64> for SampleRate {
    type Error = SampleRateError;

    fn try_from(percent: f64) -> Result<Self, SampleRateError> {
        Self::from_decimal(Decimal::try_from(percent).map_err(|_| SampleRateError)?)
    }
}

impl FromStr for SampleRate {
    type Err = SampleRateError;

    fn from_str(percent: &str) -> Result<Self, SampleRateError> {
        Self::from_decimal(percent.parse().map_err(|_| SampleRateError)?)
    }
}

impl fmt::Display for SampleRate {
    /// Percent, such as `12.5`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Decimal::new(self.micro_percent.into(), 6).normalize().fmt(f)
    }
}

/// As ClickHouse's `Decimal(9, 6)`: millionths of a percent.
pub mod as_decimal {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use super::{SampleRate, SampleRateError};

    /// For `#[serde(with = …)]`.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(rate: &SampleRate, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_i32(rate.micro_percent.cast_signed())
    }

    /// For `#[serde(with = …)]`.
    ///
    /// # Errors
    /// Those of the deserializer, and for a number that is no rate.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SampleRate, D::Error> {
        let rate = SampleRate { micro_percent: u32::try_from(i32::deserialize(deserializer)?).unwrap_or(0) };
        if rate.micro_percent == 0 || rate > SampleRate::ALL {
            Err(D::Error::custom(SampleRateError))
        } else {
            Ok(rate)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read_written_and_bounded() {
        for (percent, text) in [(100.0, "100"), (12.5, "12.5"), (0.1, "0.1"), (0.000_001, "0.000001")] {
            let rate = SampleRate::try_from(percent).expect("a rate");
            assert_eq!(rate.to_string(), text);
            assert_eq!(text.parse(), Ok(rate));
        }
        for wrong in [0.0, -1.0, 100.1, 1e30, f64::NAN, 0.000_000_1] {
            assert_eq!(SampleRate::try_from(wrong), Err(SampleRateError), "{wrong}");
        }
        assert_eq!("".parse::<SampleRate>(), Err(SampleRateError));
    }
}
