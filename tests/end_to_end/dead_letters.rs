//! Messages that were signed and could not be understood: listed, replayed, dropped, and never a flood of them.

use std::process::Output;

use serde::Deserialize;

use crate::harness::{Options, Server, client, send, wait_until};

#[derive(Debug, Deserialize, PartialEq, Eq)]
struct Letter {
    reason: String,
    location: String,
    origin: String,
}

fn run(server: &Server, arguments: &[&str]) -> Output {
    server.command().arg("dead-letters").args(arguments).output().expect("heliometer dead-letters")
}

/// What it prints; it must succeed.
fn said(server: &Server, arguments: &[&str]) -> String {
    let output = run(server, arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

fn list(server: &Server) -> Vec<Letter> {
    let text = said(server, &["list", "--format", "json"]);
    text.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
}

fn messages(server: &Server, outcome: &str) -> i64 {
    server.count(&format!("(SELECT sum(messages) FROM outcomes WHERE outcome = '{outcome}')"))
}

fn wait_for_letters(server: &Server, count: usize) -> Vec<Letter> {
    wait_until(&format!("{count} dead letters"), || Some(list(server)).filter(|letters| letters.len() == count))
}

/// Sends signed bodies, one after the other, from a thread of this test's own.
fn send_all(server: &Server, bodies: &[&str]) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let client = client();
        for body in bodies {
            let status = send(&client, &server.webhook_url(), body.as_bytes().to_vec()).await.as_u16();
            assert!(status == 200 || status == 400, "{status} for {body}");
        }
    });
}

#[test]
fn listed_replayed_and_dropped() {
    let mut server = Server::start(Options::default());
    send_all(&server, &["not JSON", r#"{"no":"id"}"#, r#"{"request_id":"good"}"#]);
    let first = wait_for_letters(&server, 2);
    assert!(said(&server, &["list", "--limit", "1"]).contains("dead-letter/"));
    let received_at = "(SELECT max(toUnixTimestamp64Milli(received_at)) FROM dead_letters WHERE reason = 'bad_json')";
    let received_at_first = server.count(received_at);

    assert_eq!(said(&server, &["replay", "--all", "--dry-run"]), "2 would be replayed\n");
    assert_eq!(list(&server), first, "a dry run does nothing");

    // What is still unreadable becomes a new dead letter, and the old one is done.
    assert!(said(&server, &["replay", "--reason", "bad_json"]).starts_with("1 of 1 replayed\n"));
    let second = wait_for_letters(&server, 2);
    let of = |letters: &[Letter]| -> (String, String) {
        let letter = letters.iter().find(|letter| letter.reason == "bad_json").expect("a bad_json");
        (letter.location.clone(), letter.origin.clone())
    };
    assert_ne!(of(&first), of(&second));
    assert_eq!(server.count(received_at), received_at_first, "the time of receipt stays");
    let replayed_as = server.count(&format!(
        "(SELECT count() FROM dead_letters WHERE state = 'replayed' AND origin = '{}' AND replayed_as = '{}' \
         AND handled_at IS NOT NULL)",
        of(&first).1,
        of(&second).1
    ));
    assert_eq!(replayed_as, 1);
    assert_eq!(said(&server, &["replay", "--location", &of(&first).0]), "0 of 0 replayed\n", "not twice");

    assert_eq!(said(&server, &["drop", "--source", "nobody"]), "0 of 0 dropped\n");
    assert_eq!(said(&server, &["drop", "--location", &of(&second).1]), "1 of 1 dropped\n");
    assert_eq!(list(&server).iter().map(|letter| letter.reason.as_str()).collect::<Vec<_>>(), ["no_request_id"]);

    // Four were received: three sent, one replayed.
    server.wait_until_worked_off(4);
    wait_until("the positions", || (messages(&server, "in_flight") == 0).then_some(()));
    let ledger = ["received", "stored", "dead_letter", "in_flight"].map(|outcome| messages(&server, outcome));
    assert_eq!(ledger, [4, 1, 3, 0]);

    for (arguments, code, expected) in [
        (&["replay"][..], 2, "--all"),
        (&["drop", "--all", "--reason", "bad_json"], 2, "cannot be used with"),
        (&["drop", "--location", "somewhere"], 2, "topic/partition/offset"),
    ] {
        let output = run(&server, arguments);
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {message}");
        assert!(message.contains(expected), "{arguments:?}: {message}");
    }

    assert!(server.stop().success());
    let output = run(&server, &["drop", "--all"]);
    assert_eq!(output.status.code(), Some(1));
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(message.contains("no `heliometer serve` answers"), "{message}");
    server.start_again();
    assert_eq!(list(&server).len(), 1, "still so after a restart");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_token_lets_anybody_in() {
    let server = tokio::task::spawn_blocking(|| Server::start(Options::default())).await.expect("a server");
    let token = std::fs::read_to_string(server.data_dir().join("admin-token")).expect("a token");
    let client = client();
    let all = r#"{"selector":{"all":true}}"#;
    for (authorization, body, expected) in [
        (None, all, 401),
        (Some("Bearer wrong".to_owned()), all, 401),
        (Some(format!("Basic {token}")), all, 401),
        (Some(format!("Bearer {token}")), all, 200),
        (Some(format!("Bearer {token}")), r#"{"selector":{}}"#, 400),
        (Some(format!("Bearer {token}")), r#"{"selector":{"all":true,"more":1}}"#, 400),
    ] {
        for route in ["replay", "drop"] {
            let request = client.post(format!("{}dead-letters/{route}", server.admin_url())).body(body);
            let request = match &authorization {
                Some(authorization) => request.header("Authorization", authorization),
                None => request,
            };
            let status = request.send().await.expect("an answer").status().as_u16();
            assert_eq!(status, expected, "{route} {body}");
        }
    }
    assert!(!server.log().contains(&token), "a token is never logged");
    drop(tokio::task::spawn_blocking(move || drop(server)).await);
}

#[test]
fn a_flood_of_bad_messages_stops_the_consumer_and_loses_nothing() {
    let options = Options::default()
        .with("HELIOMETER__LIMITS__DEAD_LETTER_WINDOW", 4)
        // All in one order.
        .with("HELIOMETER__EVENT_LOG__PARTITIONS", 1);
    let mut server = Server::start(options);
    send_all(&server, &[r#"{"request_id":"a"}"#, r#"{"request_id":"b"}"#, "bad 1", "bad 2", "bad 3"]);
    assert_eq!(server.ended().code(), Some(1));
    let log = server.log();
    assert!(log.contains("limits.max_dead_letter_share_percent"), "{log}");
    assert_eq!(list(&server).len(), 2, "the third would have been too many");
    assert_eq!(server.count("(SELECT count() FROM requests)"), 2, "what came before it is stored");

    // A supervisor that starts it again and again must not empty the topic little by little.
    let again = server.command().arg("serve").output().expect("serve");
    assert_eq!(again.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&again.stderr).contains("limits.max_dead_letter_share_percent"));
    assert_eq!(list(&server).len(), 2, "not one more");

    server.set("HELIOMETER__LIMITS__MAX_DEAD_LETTER_SHARE_PERCENT", 100);
    server.start_again();
    send_all(&server, &[r#"{"request_id":"c"}"#]);
    server.wait_until_worked_off(6);
    assert_eq!(list(&server).len(), 3);
    assert_eq!(server.count("(SELECT count() FROM requests)"), 3);
    // Kept once each: what was begun before the stop was committed.
    let kept = server.count("(SELECT max(toUInt64(splitByChar('/', location)[3])) FROM dead_letters)");
    assert_eq!(kept, 2);
}
