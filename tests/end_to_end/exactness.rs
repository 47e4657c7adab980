//! 20,000 events over HTTPS, exactly.

use crate::{
    harness::{Options, Server},
    totals::assert_twenty_thousand_are_exact,
};

#[test]
fn twenty_thousand_events_are_counted_exactly() {
    let mut server = Server::start(
        Options::default()
            .with_local_storage()
            .with("HELIOMETER__RATE_LIMIT__FAILED_SIGNATURES_PER_15_MINUTES", 100_000),
    );
    assert_twenty_thousand_are_exact(&server, &server.webhook_url());
    assert!(server.stop().success());
}
