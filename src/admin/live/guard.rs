//! Keeps other web pages out. The admin listener has no login, so two tricks must fail that a page could play on an
//! operator's browser:
//!
//! - **DNS rebinding**: a name of the attacker's comes to mean this machine, and his page reads ours as its own. His name is
//!   then in `Host`, so only IP addresses, `localhost` and `admin.hosts` are answered.
//! - **Cross-site requests**: his page posts a form here. It could not read the answer, but would make ClickHouse work.
//!   Browsers say in `Origin` where a POST comes from; only our own is answered.

use std::{net::IpAddr, sync::Arc};

use axum::{
    extract::{Request, State},
    http::{HeaderMap, StatusCode, Uri, header},
    middleware::Next,
    response::{IntoResponse, Response},
};

use crate::admin::Admin;

/// Refuses requests under a name that is not this listener's.
pub(super) async fn own_host(State(admin): State<Arc<Admin>>, request: Request, next: Next) -> Response {
    let host = host_of(request.headers(), request.uri());
    if host.as_deref().is_some_and(|host| is_own(host, &admin.live.hosts)) {
        return next.run(request).await;
    }
    let message =
        "The live page is not answered under this name. Use its IP address or localhost, or set admin.hosts.\n";
    (StatusCode::MISDIRECTED_REQUEST, message).into_response()
}

/// Whether a POST comes from a page of this listener.
pub(super) fn is_own_origin(headers: &HeaderMap, uri: &Uri) -> bool {
    let origin = headers.get(header::ORIGIN).and_then(|origin| origin.to_str().ok());
    let authority =
        origin.and_then(|origin| origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://")));
    match (authority, host_of(headers, uri)) {
        (Some(authority), Some(host)) => authority.eq_ignore_ascii_case(&host),
        _ => false,
    }
}

fn host_of(headers: &HeaderMap, uri: &Uri) -> Option<String> {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).map(str::to_owned);
    host.or_else(|| uri.authority().map(ToString::to_string))
}

fn is_own(host: &str, allowed: &[String]) -> bool {
    let name = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((name, _)) => name,
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    name.parse::<IpAddr>().is_ok()
        || name.eq_ignore_ascii_case("localhost")
        || allowed.iter().any(|allowed| allowed.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_its_own_are_answered() {
        let allowed = ["heliometer.example".to_owned()];
        for (host, expected) in [
            ("127.0.0.1:9464", true),
            ("127.0.0.1", true),
            ("[::1]:9464", true),
            ("192.168.1.7:80", true),
            ("localhost:9464", true),
            ("LocalHost", true),
            ("heliometer.example", true),
            ("Heliometer.Example:443", true),
            ("attacker.example:9464", false),
            ("localhost.attacker.example", false),
            ("127.0.0.1.attacker.example", false),
            ("heliometer.example.attacker", false),
            ("", false),
            ("[::1", false),
        ] {
            assert_eq!(is_own(host, &allowed), expected, "{host}");
        }
    }

    #[test]
    fn only_posts_from_its_own_pages_are_taken() {
        for (host, origin, expected) in [
            ("127.0.0.1:9464", Some("http://127.0.0.1:9464"), true),
            ("heliometer.example", Some("https://heliometer.example"), true),
            ("127.0.0.1:9464", Some("http://localhost:9464"), false),
            ("127.0.0.1:9464", Some("http://127.0.0.1:8080"), false),
            ("127.0.0.1:9464", Some("https://attacker.example"), false),
            ("127.0.0.1:9464", Some("null"), false),
            ("127.0.0.1:9464", None, false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, host.parse().expect("a host"));
            if let Some(origin) = origin {
                headers.insert(header::ORIGIN, origin.parse().expect("an origin"));
            }
            assert_eq!(is_own_origin(&headers, &Uri::from_static("/sql")), expected, "{host} {origin:?}");
        }
    }
}
