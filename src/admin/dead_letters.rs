//! `POST /dead-letters/replay` and `/dead-letters/drop`.

use std::sync::Arc;

use axum::{
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::Response,
};
use serde_json::json;

use super::{
    Admin,
    control::{allowed, error, json_response},
};
use crate::dead_letters::{Action, HandlingRequest};

pub(super) async fn replay(state: State<Arc<Admin>>, headers: HeaderMap, body: Bytes) -> Response {
    answer(&state, Action::Replay, &headers, &body).await
}

pub(super) async fn drop_letters(state: State<Arc<Admin>>, headers: HeaderMap, body: Bytes) -> Response {
    answer(&state, Action::Drop, &headers, &body).await
}

async fn answer(admin: &Admin, action: Action, headers: &HeaderMap, body: &[u8]) -> Response {
    let control = match allowed(admin, headers) {
        Ok(control) => control,
        Err((status, message)) => return error(status, message),
    };
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
