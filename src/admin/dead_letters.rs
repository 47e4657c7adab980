//! `POST /dead-letters/replay` and `/dead-letters/drop`: the only routes of the admin listener that change something.
//!
//! A web page that an operator has open must not be able to call them. The bearer token suffices for that, so neither
//! `Origin` nor `Host` is looked at: no page can read the token's file, and a browser attaches no such header by itself.

use std::sync::Arc;

use axum::{
    body::Bytes,
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::json;

use super::{Admin, access::Access};
use crate::dead_letters::{Action, DeadLetters, HandlingRequest};

/// A request with the most locations that are allowed is about this large.
pub(super) const MAX_REQUEST_BYTES: usize = 64 * 1024;

/// What the routes need; there once ClickHouse is up.
#[derive(Debug)]
pub(super) struct Control {
    pub(super) access: Access,
    pub(super) dead_letters: Arc<DeadLetters>,
}

pub(super) async fn replay(state: State<Arc<Admin>>, headers: HeaderMap, body: Bytes) -> Response {
    answer(&state, Action::Replay, &headers, &body).await
}

pub(super) async fn drop_letters(state: State<Arc<Admin>>, headers: HeaderMap, body: Bytes) -> Response {
    answer(&state, Action::Drop, &headers, &body).await
}

async fn answer(admin: &Admin, action: Action, headers: &HeaderMap, body: &[u8]) -> Response {
    let Some(control) = admin.control.get() else {
        return error(StatusCode::SERVICE_UNAVAILABLE, "ClickHouse is not there yet; see /readyz");
    };
    if !control.access.allows(headers.get(header::AUTHORIZATION).map(HeaderValue::as_bytes)) {
        return error(StatusCode::UNAUTHORIZED, "needs the bearer token of the file admin-token in the data directory");
    }
    let request: HandlingRequest = match serde_json::from_slice(body) {
        Ok(request) => request,
        Err(wrong) => return error(StatusCode::BAD_REQUEST, &wrong.to_string()),
    };
    if let Err(wrong) = request.selector.check() {
        return error(StatusCode::BAD_REQUEST, wrong);
    }
    let dead_letters = control.dead_letters.clone();
    // On its own, so that a client that goes away does not end it between a message and its mark.
    match tokio::spawn(async move { dead_letters.handle(action, &request).await }).await {
        Ok(Ok(handled)) => json_response(StatusCode::OK, &json!(handled)),
        Ok(Err(failed)) => error(StatusCode::SERVICE_UNAVAILABLE, &failed.to_string()),
        Err(_) => error(StatusCode::INTERNAL_SERVER_ERROR, "failed; see the log of serve"),
    }
}

fn error(status: StatusCode, message: &str) -> Response {
    json_response(status, &json!({ "error": message }))
}

fn json_response(status: StatusCode, body: &serde_json::Value) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}
