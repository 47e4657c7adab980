//! What can stop a repricing.

use crate::store::StoreError;

/// Why it did not come to its end. What was written stays; running it again goes on.
#[derive(Debug, thiserror::Error)]
pub enum RepricingError {
    /// ClickHouse.
    #[error(transparent)]
    Store(#[from] StoreError),
}
