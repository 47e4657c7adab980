//! Waiting between attempts.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

pub(super) const FIRST: Duration = Duration::from_millis(250);
pub(super) const LONGEST: Duration = Duration::from_secs(10);

/// Sleeps for the backoff and doubles it; `false` when it is time to stop.
pub(super) async fn wait(backoff: &mut Duration, shutdown: &CancellationToken) -> bool {
    tokio::select! {
        () = shutdown.cancelled() => false,
        () = tokio::time::sleep(*backoff) => {
            *backoff = (*backoff * 2).min(LONGEST);
            true
        }
    }
}
