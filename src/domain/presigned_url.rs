//! `request_response_url`: its query is a bearer credential for the stored bodies.

use std::{fmt, time::Duration};

use url::Url;

use super::UtcMillis;

/// Helicone's documented life of a URL, for those that do not tell their own.
const DEFAULT_LIFE: Duration = Duration::from_secs(30 * 60);

/// A pre-signed URL. Prints without its query, user name and password, so it may stand in logs and tables.
#[derive(Clone, PartialEq, Eq)]
pub struct PresignedUrl(Url);

impl PresignedUrl {
    /// Reads an absolute URL; `None` when it is not one.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Url::parse(text).ok().map(Self)
    }

    /// The whole URL with its credential, for the HTTP client alone.
    #[must_use]
    pub const fn expose(&self) -> &Url {
        &self.0
    }

    /// When it stops working: `X-Amz-Date` + `X-Amz-Expires`; without a date the life counts from `received_at`,
    /// without an expiry it is 30 minutes.
    #[must_use]
    pub fn expires_at(&self, received_at: UtcMillis) -> UtcMillis {
        let life = self
            .query("X-Amz-Expires")
            .and_then(|seconds| seconds.parse().ok())
            .map_or(DEFAULT_LIFE, Duration::from_secs);
        let signed_at = self.query("X-Amz-Date").and_then(|date| parse_amz_date(&date)).unwrap_or(received_at);
        signed_at.plus(life)
    }

    /// Helicone's "test" button signs with the credential `MOCKAWSCREDENTIAL`.
    #[must_use]
    pub fn is_test_button(&self) -> bool {
        self.query("X-Amz-Credential").is_some_and(|credential| credential.starts_with("MOCKAWSCREDENTIAL"))
    }

    fn query(&self, name: &str) -> Option<String> {
        self.0.query_pairs().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.into_owned())
    }
}

impl fmt::Display for PresignedUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let port = self.0.port().map(|port| format!(":{port}")).unwrap_or_default();
        write!(f, "{}://{}{port}{}", self.0.scheme(), self.0.host_str().unwrap_or(""), self.0.path())
    }
}

impl fmt::Debug for PresignedUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// `20261121T220318Z`, the basic form of ISO 8601 that AWS signatures use.
fn parse_amz_date(text: &str) -> Option<UtcMillis> {
    let datetime = jiff::civil::DateTime::strptime("%Y%m%dT%H%M%SZ", text).ok()?;
    let zoned = datetime.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
    Some(UtcMillis(zoned.timestamp().as_millisecond()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECEIVED: UtcMillis = UtcMillis(1_000_000);

    #[test]
    fn the_credential_is_never_printed() {
        let url =
            PresignedUrl::parse("http://key:word@minio.local:9000/b/o?X-Amz-Signature=secret#frag").expect("valid");
        assert_eq!(format!("{url} {url:?}"), "http://minio.local:9000/b/o http://minio.local:9000/b/o");
    }

    #[test]
    fn expiry_comes_from_the_url_where_it_tells() {
        for (query, expires_at_ms) in [
            ("", RECEIVED.0 + 1_800_000),
            ("X-Amz-Expires=60", RECEIVED.0 + 60_000),
            ("X-Amz-Date=20261121T220318Z&X-Amz-Expires=86400", 1_795_384_998_000),
            ("X-Amz-Date=nonsense&X-Amz-Expires=nonsense", RECEIVED.0 + 1_800_000),
        ] {
            let url = PresignedUrl::parse(&format!("https://s3/x?{query}")).expect("valid");
            assert_eq!(url.expires_at(RECEIVED).0, expires_at_ms, "{query}");
        }
    }

    #[test]
    fn knows_the_test_button() {
        let url = PresignedUrl::parse("https://s3/x?X-Amz-Credential=MOCKAWSCREDENTIAL%2F20261121%2Fus-west-2");
        assert!(url.expect("valid").is_test_button());
        assert!(!PresignedUrl::parse("https://s3/MOCKAWSCREDENTIAL").expect("valid").is_test_button());
    }
}
