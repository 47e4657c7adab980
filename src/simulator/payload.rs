//! The webhook's bytes and their signature, as Helicone makes them.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::{
    SimulatorError,
    bodies::{Bodies, quoted},
    event::{Event, Kind},
};

/// What Helicone puts in place of a long string body.
pub(super) const TOO_LARGE: &str =
    "Body too large for webhook, please fetch the full request and response from Helicone";

/// Signs as Helicone does: lower-case hex HMAC-SHA256 over the exact bytes, the secret used as UTF-8 and not decoded.
#[derive(Clone)]
pub struct Signer(Hmac<Sha256>);

impl Signer {
    /// A signer with this key. An empty one is taken here, as Helicone does for a webhook without a key.
    ///
    /// # Errors
    /// [`SimulatorError::Secret`] when it cannot be a key.
    pub fn new(secret: &str) -> Result<Self, SimulatorError> {
        Hmac::new_from_slice(secret.as_bytes()).map(Self).map_err(|_| SimulatorError::Secret)
    }

    /// The value of `Helicone-Signature` for a body.
    #[must_use]
    pub fn sign(&self, body: &[u8]) -> String {
        hex::encode(self.0.clone().chain_update(body).finalize().into_bytes())
    }
}

impl std::fmt::Debug for Signer {
    /// Never the key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Signer(***)")
    }
}

/// The payload's text. `url` is that of the stored object.
pub(super) fn payload(event: &Event, request_id: &str, bodies: &Bodies, url: &str) -> String {
    let too_large = quoted(TOO_LARGE);
    let request = if event.kind == Kind::TooLarge { too_large.as_str() } else { bodies.request.as_str() };
    let mut text = String::with_capacity(request.len() + bodies.response.len() + 800);
    text.push_str(r#"{"request_id":""#);
    text.push_str(request_id);
    text.push_str(r#"","request_body":"#);
    text.push_str(request);
    text.push_str(r#","response_body":"#);
    text.push_str(&bodies.response);
    // Each of these is left out when there is nothing to say, in this order.
    let mut member = |name: &str, value: &str| {
        text.push_str(",\"");
        text.push_str(name);
        text.push_str("\":");
        text.push_str(value);
    };
    if let Some(user_id) = &event.user_id {
        member("user_id", &quoted(user_id));
    }
    if event.kind != Kind::WithoutData {
        member("request_response_url", &quoted(url));
    }
    if let Some(model) = event.model_name() {
        member("model", &quoted(model));
    }
    if let Some(provider) = event.provider() {
        member("provider", &quoted(provider));
    }
    if let Some(metadata) = event.metadata() {
        let cost = javascript_number(noisy_usd(metadata.cost_pico_usd, event.cost_noise_ulps));
        member(
            "metadata",
            &format!(
                r#"{{"cost":{cost},"promptTokens":{},"completionTokens":{},"totalTokens":{},"latencyMs":{}}}"#,
                metadata.prompt_tokens, metadata.completion_tokens, metadata.total_tokens, event.latency_ms
            ),
        );
    }
    text.push('}');
    text
}

/// Above this many USD a few neighbouring doubles could be half a pico-dollar apart.
const NOISE_LIMIT_USD: f64 = 512.0;

/// The double nearest to an amount, or one `ulps` (−3 to 3) beside it, as sums in JavaScript end up.
#[expect(clippy::cast_precision_loss, reason = "the gateway's own floats are what is imitated here")]
pub(super) fn noisy_usd(pico_usd: i128, ulps: i64) -> f64 {
    let usd = pico_usd as f64 / 1e12;
    if pico_usd == 0 || usd.abs() >= NOISE_LIMIT_USD {
        return usd;
    }
    f64::from_bits(usd.to_bits().wrapping_add_signed(ulps))
}

/// A number as `JSON.stringify` prints it: the shortest digits that give the same double, with an exponent below 10⁻⁶.
pub(super) fn javascript_number(number: f64) -> String {
    if number == 0.0 {
        "0".to_owned()
    } else if number.abs() < 1e-6 {
        format!("{number:e}")
    } else {
        number.to_string()
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::HashMap, fs, path::Path};

    use proptest::prelude::*;
    use serde::Deserialize;
    use serde_json::value::RawValue;

    use super::*;
    use crate::domain::UsdAmount;

    #[derive(Deserialize)]
    struct Signed {
        secret: String,
        signature: String,
    }

    #[test]
    fn signs_the_real_samples_as_helicone_did() {
        let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/samples");
        let list = fs::read_to_string(samples.join("signatures.json"))
            .expect("the real samples belong beside this checkout, in ../shared/samples: link or copy them there");
        let list: HashMap<String, Signed> = serde_json::from_str(&list).expect("a map of names");
        assert!(list.len() > 15, "only {} samples", list.len());
        for (name, Signed { secret, signature }) in list {
            let body = fs::read(samples.join(format!("webhooks/{name}.json"))).expect("a sample for each signature");
            assert_eq!(Signer::new(&secret).expect("a key").sign(&body), signature, "{name}");
        }
    }

    #[test]
    fn numbers_are_printed_as_javascript_does() {
        for (number, text) in [
            (0.0, "0"),
            (-0.0, "0"),
            (12.0, "12"),
            (1.5e-7, "1.5e-7"),
            (-0.000_012_5, "-0.0000125"),
            (0.000_001, "0.000001"),
            (0.000_000_9, "9e-7"),
            (0.000_075_000_000_000_000_01, "0.00007500000000000001"),
        ] {
            assert_eq!(javascript_number(number), text);
        }
    }

    proptest! {
        #[test]
        fn noise_rounds_back_to_the_exact_amount(
            pico_usd in prop_oneof![1_i128..1_000_000_000, 1_i128..900_000_000_000_000],
            ulps in -3_i64..=3,
            negative: bool,
        ) {
            let pico_usd = if negative { -pico_usd } else { pico_usd };
            let text = javascript_number(noisy_usd(pico_usd, ulps));
            prop_assert_eq!(UsdAmount::parse_request_amount(&text).map(UsdAmount::pico_usd), Ok(pico_usd), "{}", text);
        }
    }

    #[derive(Deserialize)]
    struct Payload<'a> {
        request_id: String,
        #[serde(borrow)]
        request_body: &'a RawValue,
        response_body: &'a RawValue,
        user_id: Option<String>,
        request_response_url: Option<String>,
        model: Option<String>,
        provider: Option<String>,
        #[serde(borrow)]
        metadata: Option<HashMap<&'a str, &'a RawValue>>,
    }

    #[test]
    fn a_payload_has_the_fields_that_helicone_sends() {
        for number in 0..2000 {
            let event = Event::new(9, number);
            let bodies = Bodies::new(9, &event, 1_757_346_297);
            let text = payload(&event, "id-1", &bodies, "http://storage/object?X-Amz-Expires=86400");
            let parsed: Payload<'_> = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
            assert_eq!(parsed.request_id, "id-1");
            assert_eq!(parsed.user_id, event.user_id);
            let bare = event.kind == Kind::WithoutData;
            assert_eq!((parsed.request_response_url.is_none(), parsed.provider.is_none()), (bare, bare));
            let unknown = bare || event.kind == Kind::WithoutMetadata;
            assert_eq!((parsed.model.is_none(), parsed.metadata.is_none()), (unknown, unknown));
            assert!(!text.contains("null,\"model\""), "falsy members are left out, never null");
            match event.kind {
                Kind::TooLarge => assert_eq!(parsed.request_body.get(), quoted(TOO_LARGE)),
                Kind::StringBodies => assert!(parsed.response_body.get().starts_with('"')),
                Kind::StreamWithoutUsage => {
                    let metadata = parsed.metadata.expect("metadata");
                    assert_eq!((metadata["promptTokens"].get(), metadata["totalTokens"].get()), ("-1", "-2"));
                    assert!(event.model.price.is_none() || metadata["cost"].get().starts_with('-'));
                }
                _ => {}
            }
        }
    }
}
