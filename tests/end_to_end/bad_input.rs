//! What is refused: each with the contract's answer, all of it in flat memory.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::harness::{Options, SECRET, Server, client, memory_bytes, sign, wait_until};

const LIMIT_BYTES: usize = 1024 * 1024;

async fn server() -> Server {
    let options = Options::default()
        .with("HELIOMETER__INGRESS__MAX_BODY_BYTES", LIMIT_BYTES)
        .with("HELIOMETER__INGRESS__BODY_TIMEOUT_MS", 800)
        // Nearly everything here is bad on purpose.
        .with("HELIOMETER__LIMITS__MAX_DEAD_LETTER_SHARE_PERCENT", 100)
        .with("HELIOMETER__RATE_LIMIT__FAILED_SIGNATURES_PER_15_MINUTES", 1_000_000);
    tokio::task::spawn_blocking(|| Server::start(options)).await.expect("a server")
}

#[tokio::test(flavor = "multi_thread")]
async fn every_refusal_has_its_answer() {
    let server = server().await;
    let (client, url) = (client(), server.webhook_url());
    let good = br#"{"request_id":"a"}"#.to_vec();
    let signature = sign(SECRET, &good);
    let big = format!(r#"{{"request_id":"big","request_body":"{}"}}"#, "x".repeat(LIMIT_BYTES)).into_bytes();
    let cut = br#"{"request_id":"cut","request_bo"#.to_vec();
    let text = b"this is not JSON".to_vec();
    let no_id = br#"{"request_body":{}}"#.to_vec();
    let json = "application/json";
    for (what, path, content_type, signature, body, status, answer) in [
        ("good", "", json, Some(signature.clone()), good.clone(), 200, r#"{"message":"Webhook received"}"#),
        ("unsigned", "", json, None, good.clone(), 401, r#"{"error":"Invalid signature"}"#),
        (
            "too short",
            "",
            json,
            Some(signature[..40].to_owned()),
            good.clone(),
            401,
            r#"{"error":"Invalid signature"}"#,
        ),
        ("not hex", "", json, Some("z".repeat(64)), good.clone(), 401, r#"{"error":"Invalid signature"}"#),
        ("of another body", "", json, Some(sign(SECRET, b"{}")), good.clone(), 401, r#"{"error":"Invalid signature"}"#),
        ("with an empty key", "", json, Some(sign("", &good)), good.clone(), 401, r#"{"error":"Invalid signature"}"#),
        ("oversized", "", json, Some(sign(SECRET, &big)), big.clone(), 413, "error"),
        ("cut off, signed", "", json, Some(sign(SECRET, &cut)), cut, 400, "error"),
        ("not JSON, signed", "", json, Some(sign(SECRET, &text)), text, 400, "error"),
        ("no request_id", "", json, Some(sign(SECRET, &no_id)), no_id, 400, "error"),
        ("wrong type", "", "text/plain", Some(signature.clone()), good.clone(), 415, "error"),
        ("unknown source", "/nobody", json, Some(signature.clone()), good.clone(), 404, "error"),
    ] {
        let mut request = client.post(format!("{url}{path}")).header("Content-Type", content_type).body(body);
        if let Some(signature) = signature {
            request = request.header("Helicone-Signature", signature);
        }
        let response = request.send().await.expect(what);
        assert_eq!(response.status().as_u16(), status, "{what}");
        let said = response.text().await.expect("text");
        assert!(said.contains(answer), "{what}: {said}");
    }
    assert_eq!(client.get(&url).send().await.expect("GET").status().as_u16(), 405);

    // A request that ends before its body does is no message; the sender that drips is told so.
    let mut broken = TcpStream::connect(server.address()).await.expect("connect");
    broken.write_all(b"garbage that is no TLS").await.expect("write");
    drop(broken);
    let slow = reqwest::Body::wrap_stream(futures_util::stream::unfold(0, |sent| async move {
        tokio::time::sleep(Duration::from_millis(200)).await;
        Some((Ok::<_, std::io::Error>(vec![b' ']), sent + 1))
    }));
    let request = client.post(&url).header("Content-Type", "application/json").header("Helicone-Signature", &signature);
    assert_eq!(request.body(slow).send().await.expect("an answer").status().as_u16(), 408);

    let server = tokio::task::spawn_blocking(move || {
        // Three were signed and unreadable: kept as dead letters, each with its reason.
        wait_until("dead letters", || (server.count("(SELECT count() FROM dead_letters)") == 3).then_some(()));
        assert_eq!(server.count("(SELECT countIf(reason = 'bad_json') FROM dead_letters)"), 2);
        assert_eq!(server.count("(SELECT countIf(reason = 'no_request_id') FROM dead_letters)"), 1);
        assert_eq!(server.count("(SELECT count() FROM requests)"), 1);
        assert!(!server.log().contains(SECRET), "a secret is never logged");
        server
    })
    .await
    .expect("a server");
    drop(server);
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_stays_flat_under_bad_input() {
    let server = server().await;
    let (client, url) = (client(), server.webhook_url());
    let attack = async |rounds: usize| {
        for round in 0..rounds {
            let oversized = vec![b'x'; 4 * LIMIT_BYTES];
            let unsigned = vec![b'x'; LIMIT_BYTES / 2];
            let signed = format!("{{\"request_id\":{round},{}", "\"x\":1,".repeat(20_000)).into_bytes();
            let post = |body: Vec<u8>, signature: String| {
                let request = client.post(&url).header("Content-Type", "application/json");
                request.header("Helicone-Signature", signature).body(body).send()
            };
            let signature = sign(SECRET, &signed);
            // A refused sender may see its connection cut instead of the answer.
            let (_, refused, kept) =
                tokio::join!(post(oversized, "0".repeat(64)), post(unsigned, "0".repeat(64)), post(signed, signature));
            assert_eq!(refused.expect("an answer").status().as_u16(), 401);
            assert_eq!(kept.expect("an answer").status().as_u16(), 400);
        }
        // Connections that say nothing, and ones that stop in the middle.
        for _ in 0..100 {
            let mut idle = TcpStream::connect(server.address()).await.expect("connect");
            idle.write_all(&[0x16, 0x03, 0x01]).await.expect("write");
            drop(idle);
        }
    };
    attack(40).await;
    let before = memory_bytes(server.pid(), "VmRSS");
    attack(160).await;
    let after = memory_bytes(server.pid(), "VmRSS");
    println!("resident memory: {} MiB after 40 rounds, {} MiB after 200", before >> 20, after >> 20);
    // Four times the bad input again is 640 MiB sent; what stays is the allocator's play.
    assert!(after < before + 48 * 1024 * 1024, "grew from {before} to {after} bytes");

    // And it still works.
    let mut plain = TcpStream::connect(server.address()).await.expect("connect");
    plain.write_all(b"GET / HTTP/1.1\r\n\r\n").await.expect("write");
    let mut answer = Vec::new();
    drop(tokio::time::timeout(Duration::from_secs(5), plain.read_to_end(&mut answer)).await);
    assert_eq!(crate::harness::send(&client, &url, br#"{"request_id":"still-works"}"#.to_vec()).await, 200);
    drop(tokio::task::spawn_blocking(move || drop(server)).await);
}
