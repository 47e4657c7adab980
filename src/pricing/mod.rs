//! What a request cost, and who says so.
//!
//! Three may say it, and [`price`] believes them in this order: the gateway, where its amount is credible; the provider,
//! where the response states an amount; the price book. Else the request is unpriced: NULL, which is never free. What the
//! book says is kept beside the gateway's amount even when that is believed, so that drift between them shows.
//!
//! The book is data: files of [`text`], shipped in `prices/` and read by [`load`](mod@load), in which [`book`] finds the
//! entry for a call and [`calculate`] multiplies. `docs/pricing.md` is the whole story. This room must never use floats for
//! money, take a missing price for zero, or guess.

pub mod book;
mod builtin;
mod calculate;
mod cost;
mod entry;
mod error;
pub mod import;
pub mod load;
mod pattern;
mod rates;
mod reason;
pub mod text;
mod unit_price;
pub mod write;

#[cfg(test)]
mod book_tests;
#[cfg(test)]
mod builtin_tests;
#[cfg(test)]
mod calculate_tests;
#[cfg(test)]
mod cost_tests;

pub use book::{PriceBook, Priced, Unpriced};
pub use calculate::{Calculation, Line};
pub use cost::{Call, Cost, CostSource, price};
pub use entry::{Entry, Validity, parse_moment};
pub use error::PricingError;
pub use pattern::Pattern;
pub use rates::{Component, PriceColumn, Rates, TieredPrices};
pub use reason::UnpricedReason;
pub use unit_price::{UnitPrice, UnitPriceError, normalize_foreign_price};
