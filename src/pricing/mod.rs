//! What a request cost, and who says so.
//!
//! The gateway's amount counts when it is credible: above zero, with no negative token count beside it. Helicone
//! writes 0 also when it knows no price, and a negative amount for a stream without usage. Else the amount that
//! the provider itself states in the response counts. Else the request is unpriced: NULL, which is never free.

use crate::{domain::UsdAmount, payload::Metadata, usage::Usage};

/// Where a cost comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CostSource {
    /// Helicone's `metadata.cost`.
    Gateway,
    /// The response's own `usage.cost`.
    Provider,
    /// Nobody knows a price.
    Unpriced,
}

impl CostSource {
    /// The value in `requests.cost_source`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::Provider => "provider",
            Self::Unpriced => "unpriced",
        }
    }
}

/// A request's cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    /// USD; `None` is unpriced.
    pub amount: Option<UsdAmount>,
    /// Who says so.
    pub source: CostSource,
}

/// Decides a request's cost.
#[must_use]
pub fn price(metadata: Option<&Metadata>, usage: Option<&Usage>) -> Cost {
    if let Some(metadata) = metadata
        && let Some(amount) = metadata.cost_usd
        && amount.is_positive()
        && !metadata.has_negative_tokens()
    {
        return Cost { amount: Some(amount), source: CostSource::Gateway };
    }
    match usage.and_then(|usage| usage.cost_usd) {
        Some(amount) => Cost { amount: Some(amount), source: CostSource::Provider },
        None => Cost { amount: None, source: CostSource::Unpriced },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_believed() {
        let usd = |pico_usd| Some(UsdAmount::from_pico_usd(pico_usd));
        let metadata = |pico_usd, prompt_tokens| Metadata {
            cost_usd: usd(pico_usd),
            prompt_tokens: Some(prompt_tokens),
            ..Metadata::default()
        };
        let stated = Usage { cost_usd: usd(7), ..Usage::default() };
        for (what, metadata, usage, amount, source) in [
            ("gateway", Some(metadata(5, 1)), Some(stated), usd(5), CostSource::Gateway),
            ("no price known", Some(metadata(0, 1)), None, None, CostSource::Unpriced),
            ("stream without usage", Some(metadata(-12_500_000, -1)), None, None, CostSource::Unpriced),
            ("tokens not credible", Some(metadata(5, -1)), None, None, CostSource::Unpriced),
            ("provider", Some(metadata(0, 1)), Some(stated), usd(7), CostSource::Provider),
            ("nothing", None, None, None, CostSource::Unpriced),
        ] {
            assert_eq!(price(metadata.as_ref(), usage.as_ref()), Cost { amount, source }, "{what}");
        }
    }
}
