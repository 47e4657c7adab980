//! Files that browsers may keep: their URLs name their contents.

use std::sync::LazyLock;

use axum::{
    extract::Path,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use sha2::{Digest, Sha256};

/// Name, type and content.
const FILES: [(&str, &str, &str); 5] = [
    ("style.css", "text/css; charset=utf-8", include_str!("style.css")),
    ("live.js", "text/javascript; charset=utf-8", include_str!("live.js")),
    ("icon.svg", "image/svg+xml", include_str!("icon.svg")),
    ("uplot.js", "text/javascript; charset=utf-8", include_str!("../vendor/uplot/uPlot.iife.min.js")),
    ("uplot.css", "text/css; charset=utf-8", include_str!("../vendor/uplot/uPlot.min.css")),
];

/// Of all files together: when one changes, so do all URLs, and pages that are open load themselves anew.
pub(super) static REVISION: LazyLock<String> = LazyLock::new(|| {
    let mut digest = Sha256::new();
    for (_, _, content) in FILES {
        digest.update(content);
    }
    hex::encode(digest.finalize()).chars().take(16).collect()
});

/// Where a file is.
pub(super) fn url(name: &str) -> String {
    format!("/assets/{}/{name}", *REVISION)
}

/// `GET /assets/{revision}/{name}`
pub(super) async fn asset(Path((revision, name)): Path<(String, String)>) -> Response {
    match FILES.iter().find(|(known, _, _)| *known == name && revision == *REVISION) {
        Some((_, content_type, content)) => {
            let for_ever = HeaderValue::from_static("public, max-age=31536000, immutable");
            let content_type = HeaderValue::from_static(content_type);
            ([(header::CONTENT_TYPE, content_type), (header::CACHE_CONTROL, for_ever)], *content).into_response()
        }
        None => StatusCode::NOT_FOUND.into_response(),
    }
}
