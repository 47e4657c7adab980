//! Dead letters, taken up again: messages that could not be understood are sent through the pipeline once more, or put
//! aside for good.
//!
//! Only a running `serve` does this, since the embedded log belongs to one process; the command asks its admin listener.

mod handle;
mod request;

pub use handle::{DeadLetters, DeadLettersError};
pub use request::{Action, Handled, HandlingRequest, Location, LocationError, Selector};
