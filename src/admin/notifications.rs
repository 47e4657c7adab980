//! `POST /notifications/resend`

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
use crate::{
    alert::ResendRequest,
    domain::{Clock, SystemClock},
};

pub(super) async fn resend(State(admin): State<Arc<Admin>>, headers: HeaderMap, body: Bytes) -> Response {
    let control = match allowed(&admin, &headers) {
        Ok(control) => control,
        Err((status, message)) => return error(status, message),
    };
    let request: ResendRequest = match serde_json::from_slice(&body) {
        Ok(request) => request,
        Err(wrong) => return error(StatusCode::BAD_REQUEST, &wrong.to_string()),
    };
    if let Err(wrong) = request.check() {
        return error(StatusCode::BAD_REQUEST, wrong);
    }
    match control.resender.resend(&request, SystemClock.now()).await {
        Ok(resent) => json_response(StatusCode::OK, &json!(resent)),
        Err(failed) => error(StatusCode::SERVICE_UNAVAILABLE, &failed.to_string()),
    }
}
