//! The routes of the admin listener that change something: who may call them, and how they answer.
//!
//! A web page that an operator has open must not be able to call them. The bearer token suffices for that, so neither
//! `Origin` nor `Host` is looked at: no page can read the token's file, and a browser attaches no such header by itself.

use std::sync::Arc;

use axum::{
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::json;

use super::{Admin, access::Access};
use crate::{alert::Resender, dead_letters::DeadLetters};

/// A request with the most locations that are allowed is about this large.
pub(super) const MAX_REQUEST_BYTES: usize = 64 * 1024;

/// What the routes need; there once ClickHouse is up.
#[derive(Debug)]
pub(super) struct Control {
    pub(super) access: Access,
    pub(super) dead_letters: Arc<DeadLetters>,
    pub(super) resender: Arc<Resender>,
}

/// Status and reason.
pub(super) type Refusal = (StatusCode, &'static str);

/// The parts, for whoever bears the token.
pub(super) fn allowed<'a>(admin: &'a Admin, headers: &HeaderMap) -> Result<&'a Control, Refusal> {
    let Some(control) = admin.control.get() else {
        return Err((StatusCode::SERVICE_UNAVAILABLE, "ClickHouse is not there yet; see /readyz"));
    };
    if !control.access.allows(headers.get(header::AUTHORIZATION).map(HeaderValue::as_bytes)) {
        let message = "needs the bearer token of the file admin-token in the data directory";
        return Err((StatusCode::UNAUTHORIZED, message));
    }
    Ok(control)
}

pub(super) fn error(status: StatusCode, message: &str) -> Response {
    json_response(status, &json!({ "error": message }))
}

pub(super) fn json_response(status: StatusCode, body: &serde_json::Value) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}
