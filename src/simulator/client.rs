//! The HTTP client that sends: keep-alive, HTTP/1.1 as Helicone's, and whom it trusts.

use std::{fs, path::PathBuf, time::Duration};

use reqwest::{Certificate, Client, redirect};
use url::{Host, Url};

use super::SimulatorError;

/// What remains of Helicone's two minutes when it starts to send.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(90);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Whether a URL leads to this machine by its name or address alone.
pub(super) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// A client for `url` that trusts the system's roots and the certificates in `ca_files`.
///
/// On loopback nothing is verified: there is nobody between, and the certificate is usually self-signed.
pub(super) fn build(url: &Url, ca_files: &[PathBuf], connections: usize) -> Result<Client, SimulatorError> {
    crate::tls::install_crypto_provider();
    let mut builder = Client::builder()
        .http1_only()
        .redirect(redirect::Policy::none())
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(REQUEST_TIMEOUT)
        .pool_max_idle_per_host(connections)
        .user_agent(concat!("heliometer-simulate/", env!("CARGO_PKG_VERSION")));
    if is_loopback(url) {
        builder = builder.no_proxy();
    }
    // Plain HTTP has no certificate to verify either, and then missing system roots must not be an error.
    if is_loopback(url) || url.scheme() == "http" {
        builder = builder.tls_danger_accept_invalid_certs(true);
    } else {
        for path in ca_files {
            let fail = |message: String| SimulatorError::Certificate { path: path.display().to_string(), message };
            let pem = fs::read(path).map_err(|error| fail(error.to_string()))?;
            let certificates = Certificate::from_pem_bundle(&pem).map_err(|error| fail(error.to_string()))?;
            if certificates.is_empty() {
                return Err(fail("it holds no certificate".to_owned()));
            }
            builder = builder.tls_certs_merge(certificates);
        }
    }
    builder.build().map_err(SimulatorError::Client)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_is_loopback() {
        for (url, expected) in [
            ("https://localhost:8443", true),
            ("https://127.0.0.2", true),
            ("https://[::1]:1", true),
            ("https://localhost.example.com", false),
            ("https://10.0.0.1", false),
        ] {
            assert_eq!(is_loopback(&Url::parse(url).expect("valid")), expected, "{url}");
        }
    }

    #[test]
    fn a_file_without_a_certificate_is_named() {
        let file = tempfile::NamedTempFile::new().expect("temporary file");
        let url = Url::parse("https://example.com").expect("valid");
        let error = build(&url, &[file.path().to_path_buf()], 1).expect_err("no certificate");
        assert!(error.to_string().contains("holds no certificate"), "{error}");
    }
}
