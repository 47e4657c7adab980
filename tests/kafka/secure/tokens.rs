//! A token server: OAuth 2.0's client credentials grant, and JSON Web Tokens signed with ES256.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use axum::{
    Router,
    extract::State,
    http::{HeaderMap, StatusCode},
    routing::post,
};
use rcgen::{KeyPair, PublicKeyData as _, SigningKey as _};
use serde_json::{Value, json};
use url::Url;

pub(super) struct TokenServer {
    url: Url,
    issuer: Arc<Issuer>,
}

struct Issuer {
    key: KeyPair,
    /// The brokers do not know it.
    other_key: KeyPair,
    authorization: String,
    life: Duration,
    issued: AtomicUsize,
}

impl TokenServer {
    /// Listens on this machine; serves one client.
    pub(super) async fn start(client_id: &str, client_secret: &str, life: Duration) -> Self {
        let issuer = Arc::new(Issuer {
            key: KeyPair::generate().expect("a key"),
            other_key: KeyPair::generate().expect("a key"),
            authorization: format!("Basic {}", base64(format!("{client_id}:{client_secret}").as_bytes(), true)),
            life,
            issued: AtomicUsize::new(0),
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let url = format!("http://{}/token", listener.local_addr().expect("has one")).parse().expect("a URL");
        let app = Router::new().route("/token", post(answer)).with_state(Arc::clone(&issuer));
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { url, issuer }
    }

    pub(super) fn url(&self) -> Url {
        self.url.clone()
    }

    pub(super) fn issued(&self) -> usize {
        self.issuer.issued.load(Ordering::SeqCst)
    }

    /// What brokers check signatures with: a JSON Web Key Set.
    pub(super) fn key_set(&self) -> String {
        // 4, x, y.
        let point = self.issuer.key.der_bytes();
        let (x, y) = point[1..].split_at(32);
        let key = json!({
            "kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": "test",
            "x": base64(x, false), "y": base64(y, false),
        });
        json!({ "keys": [key] }).to_string()
    }
}

async fn answer(State(issuer): State<Arc<Issuer>>, headers: HeaderMap, body: String) -> (StatusCode, String) {
    if headers.get("authorization").is_none_or(|value| value != &issuer.authorization) {
        return (StatusCode::UNAUTHORIZED, json!({ "error": "invalid_client" }).to_string());
    }
    let Some(scope) = body.strip_prefix("grant_type=client_credentials&scope=") else {
        return (StatusCode::BAD_REQUEST, json!({ "error": "unsupported_grant_type" }).to_string());
    };
    issuer.issued.fetch_add(1, Ordering::SeqCst);
    let life = issuer.life.as_secs();
    let token = match scope {
        "expired" => token(&issuer.key, -60),
        "forged" => token(&issuer.other_key, 60),
        _ => token(&issuer.key, i64::try_from(life).expect("fits")),
    };
    (StatusCode::OK, json!({ "access_token": token, "token_type": "Bearer", "expires_in": life }).to_string())
}

fn token(key: &KeyPair, life_seconds: i64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("is later").as_secs();
    let now = i64::try_from(now).expect("fits");
    let header = json!({ "alg": "ES256", "typ": "JWT", "kid": "test" });
    let claims = json!({
        "iss": "test", "sub": "heliometer", "aud": "kafka", "scope": "kafka", "iat": now - 60,
        "exp": now + life_seconds,
    });
    let part = |value: &Value| base64(value.to_string().as_bytes(), false);
    let signed = format!("{}.{}", part(&header), part(&claims));
    let signature = key.sign(signed.as_bytes()).expect("signs");
    format!("{signed}.{}", base64(&fixed_length(&signature), false))
}

/// JSON Web Signatures take r and s as 32 bytes each; here they are in ASN.1, as two numbers in a sequence.
fn fixed_length(signature: &[u8]) -> Vec<u8> {
    let mut rest = &signature[2..];
    let mut fixed = Vec::with_capacity(64);
    for _ in 0..2 {
        let (number, after) = rest[2..].split_at(usize::from(rest[1]));
        // A zero in front keeps the number positive; small numbers are shorter.
        let number = &number[number.len().saturating_sub(32)..];
        fixed.extend(std::iter::repeat_n(0, 32 - number.len()));
        fixed.extend_from_slice(number);
        rest = after;
    }
    fixed
}

/// Base64 as headers have it, or for URLs and without padding.
fn base64(bytes: &[u8], is_padded: bool) -> String {
    const ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    let last = if is_padded { ['+', '/'] } else { ['-', '_'] };
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let number = chunk.iter().fold(0, |number, byte| number << 8 | usize::from(*byte)) << (8 * (3 - chunk.len()));
        for place in 0..=chunk.len() {
            let index = number >> (18 - 6 * place) & 63;
            text.push(ALPHABET.get(index).map_or_else(|| last[index - 62], |letter| char::from(*letter)));
        }
        if is_padded {
            text.extend(std::iter::repeat_n('=', 3 - chunk.len()));
        }
    }
    text
}
