//! Why the book has no amount for a call, in one word.

/// A bounded label for tables and metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum UnpricedReason {
    /// The response tells no usage, or not of something that costs money.
    NoUsage,
    /// No entry names the provider.
    UnknownProvider,
    /// No entry of the provider names the model.
    UnknownModel,
    /// The model has prices, but none at the time of the call.
    NoPriceAtThatTime,
    /// The entry has no price for something that was used.
    NoPriceForComponent,
    /// The entry has no prices for the tier of service that the provider says it used.
    NoPriceForServiceTier,
    /// Only the gateway counted tokens, and it leaves out some that would change the cost.
    GatewayCountsIncomplete,
    /// Parts are more than their whole.
    InconsistentUsage,
    /// 1,000,000 USD or more for one call.
    OutOfRange,
}

impl UnpricedReason {
    /// The label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoUsage => "no_usage",
            Self::UnknownProvider => "unknown_provider",
            Self::UnknownModel => "unknown_model",
            Self::NoPriceAtThatTime => "no_price_at_that_time",
            Self::NoPriceForComponent => "no_price_for_component",
            Self::NoPriceForServiceTier => "no_price_for_service_tier",
            Self::GatewayCountsIncomplete => "gateway_counts_incomplete",
            Self::InconsistentUsage => "inconsistent_usage",
            Self::OutOfRange => "out_of_range",
        }
    }
}
