//! The words every room speaks: money, identities, secrets, time.
//!
//! Nothing here does I/O. A value of one of these types has already been checked, so the rooms
//! need not check it again and wrong code (a token count where money belongs, a URL with its
//! credential in a log line) does not compile.

mod clock;
mod identity;
mod money;
mod presigned_url;
mod sample_rate;
mod secret;

pub use clock::{Clock, ManualClock, SystemClock, UtcMillis};
pub use identity::{DedupeKey, IdentityError, RequestId, SourceName};
pub use money::{MoneyError, UsdAmount};
pub use presigned_url::PresignedUrl;
pub use sample_rate::{SampleRate, SampleRateError, as_decimal as sample_rate_as_decimal};
pub use secret::{Secret, SecretError};
