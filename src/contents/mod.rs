//! What was said: request and response bodies, kept or not, and judged.
//!
//! A call that is stored also passes the [`Inspector`], which takes its bodies from the stored object, else from the
//! webhook, and makes of them, as the settings say: a row of `content_rows` (the text, after [`redact`]ion), a row of
//! `inspection_rows` (what kinds of personal data are in it, how often, and which [`policy`] matched, but never a piece
//! of the text), and rows of `score_rows` (scores to be sent to Helicone, see [`scores`]). All of them carry the key and
//! the version of the call's row in `request_rows`, so that writing them again changes nothing.
//!
//! Everything is off unless set, and then costs nothing. Text never reaches a log, a metric or an error. A body is looked
//! at up to `contents.max_body_bytes`, a policy sees less, and the text that waits for its insert is bounded over all
//! calls. No expression and no detector can fail a message.

mod bodies;
mod error;
mod inspector;
mod metrics;
pub mod pii;
mod policy;
mod redact;
pub mod scores;

pub use error::ContentsError;
pub use inspector::{Inspected, Inspector};
pub use metrics::ContentsMetrics;
pub use policy::{Action, alert_rules, check};
pub use redact::{Redacted, redact};
