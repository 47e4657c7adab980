//! `Helicone-Signature`: hex HMAC-SHA256 over the exact body bytes, keyed with the secret as UTF-8.

use axum::http::{HeaderMap, HeaderName};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::error::IngressError;
use crate::domain::Secret;

pub(super) static HEADER: HeaderName = HeaderName::from_static("helicone-signature");

/// A signature as sent: well-formed, not yet verified.
pub(super) struct Signature([u8; 32]);

impl Signature {
    /// Reads the one header there must be: 64 hex digits of either case.
    pub(super) fn from_headers(headers: &HeaderMap) -> Result<Self, IngressError> {
        let mut values = headers.get_all(&HEADER).iter();
        // Two signatures are refused: which of them a proxy in between looked at is anyone's guess.
        let (Some(value), None) = (values.next(), values.next()) else { return Err(IngressError::InvalidSignature) };
        let mut bytes = [0; 32];
        hex::decode_to_slice(value.as_bytes(), &mut bytes).map_err(|_| IngressError::InvalidSignature)?;
        Ok(Self(bytes))
    }
}

/// The secrets of one source, ready to verify.
pub(super) struct Verifier(Vec<Hmac<Sha256>>);

impl Verifier {
    /// `None` when there is no secret or one is empty: with an empty key anyone can sign.
    pub(super) fn new(secrets: &[Secret]) -> Option<Self> {
        if secrets.is_empty() || secrets.iter().any(|secret| secret.expose().is_empty()) {
            return None;
        }
        secrets
            .iter()
            .map(|secret| Hmac::new_from_slice(secret.expose().as_bytes()).ok())
            .collect::<Option<_>>()
            .map(Self)
    }

    /// The index of the secret that signed `body`. Every secret is tried and each comparison takes constant
    /// time, so that timing tells neither a byte of the signature nor which secret is in use.
    pub(super) fn verify(&self, body: &[u8], signature: &Signature) -> Result<usize, IngressError> {
        let mut found = None;
        for (index, keyed) in self.0.iter().enumerate() {
            let matches = keyed.clone().chain_update(body).verify_slice(&signature.0).is_ok();
            if matches && found.is_none() {
                found = Some(index);
            }
        }
        found.ok_or(IngressError::InvalidSignature)
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn headers(values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(&HEADER, HeaderValue::from_str(value).expect("header value"));
        }
        headers
    }

    #[test]
    fn only_one_header_of_64_hex_digits_is_read() {
        let good = "aB".repeat(32);
        assert!(Signature::from_headers(&headers(&[&good])).is_ok());
        for bad in [&[][..], &[""], &[&good, &good], &[&good[..62]], &["zz".repeat(32).as_str()]] {
            assert!(Signature::from_headers(&headers(bad)).is_err(), "{bad:?}");
        }
        assert!(Signature::from_headers(&headers(&[&format!("sha256={good}")])).is_err());
    }

    #[test]
    fn the_index_of_the_secret_that_signed_is_told() {
        let secrets = ["one", "two", "two"].map(Secret::new);
        let verifier = Verifier::new(&secrets).expect("secrets");
        for (secret, expected) in [("one", Some(0)), ("two", Some(1)), ("three", None)] {
            let mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("any length").chain_update(b"body");
            let signature = Signature(mac.finalize().into_bytes().into());
            assert_eq!(verifier.verify(b"body", &signature).ok(), expected, "{secret}");
            assert!(verifier.verify(b"body ", &signature).is_err());
        }
    }

    #[test]
    fn an_empty_secret_is_never_configurable() {
        assert!(Verifier::new(&[]).is_none());
        assert!(Verifier::new(&[Secret::new("a"), Secret::new("")]).is_none());
    }
}
