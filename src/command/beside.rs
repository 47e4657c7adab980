//! Asking a running `serve` on the same data directory to do something.

use std::time::Duration;

use serde::{Serialize, de::DeserializeOwned};

use super::CommandError;
use crate::{admin::AdminEndpoint, settings::Settings};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Posts `request` to `route` of its admin listener.
pub(super) async fn ask_serve<T: DeserializeOwned>(
    route: &str,
    request: &impl Serialize,
    settings: &Settings,
) -> Result<T, CommandError> {
    let not_there = || {
        CommandError::Serve(format!(
            "no `heliometer serve` answers for the data directory {}; start it, or name its directory with \
             HELIOMETER_DATA_DIR, and try again",
            settings.data_dir.display()
        ))
    };
    let endpoint = AdminEndpoint::beside(&settings.data_dir).ok_or_else(not_there)?;
    let failed = |error: reqwest::Error| {
        if error.is_connect() { not_there() } else { CommandError::Serve(error.without_url().to_string()) }
    };
    // No proxy: the token is for nobody else. No limit on the whole: many messages take long, and an end here would not
    // end the work there.
    let client = reqwest::Client::builder().no_proxy().connect_timeout(CONNECT_TIMEOUT).build().map_err(failed)?;
    let response = client
        .post(format!("http://{}{route}", endpoint.address))
        .bearer_auth(endpoint.token.expose())
        .body(serde_json::to_vec(request).map_err(|error| CommandError::Serve(error.to_string()))?)
        .send()
        .await
        .map_err(failed)?;
    let status = response.status();
    let body = response.bytes().await.map_err(failed)?;
    if !status.is_success() {
        let said = serde_json::from_slice::<serde_json::Value>(&body).unwrap_or_default();
        let said = said["error"].as_str().unwrap_or("no reason given");
        return Err(CommandError::Serve(format!("`heliometer serve` answered {status}: {said}")));
    }
    serde_json::from_slice(&body).map_err(|error| CommandError::Serve(error.to_string()))
}
