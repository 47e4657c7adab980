use prometheus::Registry;

use super::*;
use crate::{
    domain::{Secret, SourceName, SystemClock},
    settings::PolicySettings,
};

fn row(fetch_status: &str) -> RequestRow {
    RequestRow {
        request_id: "r".to_owned(),
        source: "default".to_owned(),
        event_time: 60_000,
        received_at: 61_000,
        user_id: String::new(),
        model: "m".to_owned(),
        provider: String::new(),
        prompt_tokens: None,
        completion_tokens: None,
        total_tokens: None,
        cached_tokens: None,
        cache_write_tokens: None,
        reasoning_tokens: None,
        cost_usd: None,
        cost_source: "unpriced".to_owned(),
        gateway_cost_usd: None,
        latency_ms: None,
        token_ratio: None,
        is_inefficient: false,
        status: "success".to_owned(),
        fetch_status: fetch_status.to_owned(),
        is_test: false,
        log_partition: 0,
        log_offset: 7,
        version: 3 << 32,
        is_deleted: 0,
        ..RequestRow::default()
    }
}

fn settings(store: ContentsStore) -> ContentsSettings {
    ContentsSettings { store, ..ContentsSettings::default() }
}

fn score_policy() -> PolicySettings {
    PolicySettings {
        name: "clean".to_owned(),
        when: "pii.email == 0".to_owned(),
        action: PolicyAction::Score,
        severity: None,
        scope: None,
        window: None,
        min_matches: None,
        score: None,
        value: None,
    }
}

fn try_inspector(settings: &ContentsSettings, key: Option<&str>) -> Result<Option<Arc<Inspector>>, ContentsError> {
    let mut source = SourceSettings::new(SourceName::default(), vec![Secret::new("s")]);
    source.helicone_api_key = key.map(Secret::new);
    let metrics = ContentsMetrics::new(&Registry::new()).expect("metrics");
    Inspector::new(settings, &[source], Arc::new(SystemClock), metrics)
}

fn inspector(settings: &ContentsSettings) -> Option<Arc<Inspector>> {
    try_inspector(settings, Some("k")).expect("valid settings")
}

async fn inspect(settings: &ContentsSettings, row: &RequestRow, webhook: &str) -> Inspected {
    let webhook = Bytes::copy_from_slice(webhook.as_bytes());
    inspector(settings).expect("something to do").inspect(row, webhook, None).await
}

const WEBHOOK: &str =
    r#"{"request_id":"r","request_body":{"q":"mail ann@example.com"},"response_body":"Dear ann@example.com"}"#;

#[test]
fn off_is_nothing_at_all() {
    assert!(inspector(&settings(ContentsStore::Off)).is_none());
}

/// The process that queues scores need not be the one that sends them.
#[test]
fn scores_that_no_source_can_have_are_a_mistake() {
    let settings = ContentsSettings { policies: vec![score_policy()], ..settings(ContentsStore::Off) };
    assert!(matches!(try_inspector(&settings, None), Err(ContentsError::NoApiKey(policy)) if policy == "clean"));
}

#[tokio::test]
async fn what_is_stored_is_redacted_and_has_the_key_of_its_row() {
    let inspected = inspect(&settings(ContentsStore::Full), &row("fetched"), WEBHOOK).await;
    let content = inspected.content.expect("is stored");
    assert_eq!(content.request_body, r#"{"q":"mail [email]"}"#);
    assert_eq!(content.response_body, "Dear [email]");
    assert_eq!((content.request_bytes, content.response_bytes), (28, 20));
    assert_eq!((content.event_time, content.version, content.is_truncated), (60_000, 3 << 32, false));
    assert_eq!(content.expires_at, 61 + 30 * 24 * 3600);
    let inspection = inspected.inspection.expect("is inspected");
    assert_eq!((inspection.pii_email, inspection.pii_card), (Some(2), Some(0)));
    assert_eq!((inspection.event_time, inspection.version), (60_000, 3 << 32));
    assert!(inspected.room.is_some());
    assert!(!format!("{content:?}").contains("Dear"), "rows of contents do not print");
}

#[tokio::test]
async fn types_that_are_not_redacted_are_counted_still() {
    let settings = ContentsSettings { redact: vec![PiiKind::Card], ..settings(ContentsStore::Full) };
    let inspected = inspect(&settings, &row("none"), WEBHOOK).await;
    assert_eq!(inspected.content.expect("is stored").redacted, ["card"]);
    assert_eq!(inspected.inspection.expect("is inspected").pii_email, Some(2));
}

#[tokio::test]
async fn the_cut_comes_after_redaction_and_goes_through_nothing() {
    let body =
        |count: usize| format!(r#"{{"request_id":"r","request_body":"{}"}}"#, "é 4111 1111 1111 1111 ".repeat(count));
    for truncate_bytes in 1..60 {
        let settings = ContentsSettings { truncate_bytes, ..settings(ContentsStore::Truncated) };
        let content = inspect(&settings, &row("none"), &body(3)).await.content.expect("is stored");
        assert!(content.is_truncated || content.request_body.len() == 3 * 10);
        assert!(!content.request_body.contains('4'), "{}", content.request_body);
    }
    // A body beyond the bound: the part of it that is looked at ends within a number, wherever that is.
    for extra in 0..24 {
        let settings = ContentsSettings { max_body_bytes: 1024 + extra, ..settings(ContentsStore::Full) };
        let content = inspect(&settings, &row("none"), &body(1_000)).await.content.expect("is stored");
        assert!(content.is_truncated && content.request_body.len() <= 1024 + extra);
        assert!(!content.request_body.contains('4'), "{}", content.request_body);
        assert_eq!(content.request_bytes, 23_000);
    }
}

#[tokio::test]
async fn policies_alone_store_no_text() {
    let settings = ContentsSettings { policies: vec![score_policy()], ..settings(ContentsStore::Off) };
    let clean = r#"{"request_id":"r","request_body":{"q":"hello"}}"#;
    let inspected = inspect(&settings, &row("none"), clean).await;
    assert!(inspected.content.is_none() && inspected.room.is_none());
    assert_eq!(inspected.inspection.expect("is inspected").matches, ["clean"]);
    assert_eq!(inspected.scores.len(), 1);
    assert_eq!((inspected.scores[0].name.as_str(), inspected.scores[0].value), ("clean", 1));
    assert_eq!(inspected.scores[0].version, 3 << 32);
    // The expression needs the counts, so they are made.
    let inspected = inspect(&settings, &row("none"), WEBHOOK).await;
    assert!(inspected.scores.is_empty() && inspected.inspection.is_some_and(|found| found.pii_email == Some(2)));
    // What will be judged again is not scored now, nor is what nobody can send.
    assert!(inspect(&settings, &row("pending"), clean).await.scores.is_empty());
    let elsewhere = RequestRow { source: "other".to_owned(), ..row("none") };
    assert!(inspect(&settings, &elsewhere, clean).await.scores.is_empty());
}

#[tokio::test]
async fn the_test_button_and_calls_without_bodies_store_nothing() {
    let full = settings(ContentsStore::Full);
    let test = RequestRow { is_test: true, ..row("test") };
    let inspected = inspect(&full, &test, WEBHOOK).await;
    assert!(inspected.content.is_none() && inspected.inspection.is_none());
    let inspected = inspect(&full, &row("none"), r#"{"request_id":"r","request_body":""}"#).await;
    assert!(inspected.content.is_none() && inspected.inspection.is_some());
}

#[tokio::test]
async fn text_waits_for_room() {
    let inspector = inspector(&settings(ContentsStore::Full)).expect("stores");
    let webhook = Bytes::from_static(WEBHOOK.as_bytes());
    let all = Arc::clone(&inspector.waiting_text_kib);
    let held = all.acquire_many(u32::try_from(WAITING_TEXT_KIB).expect("fits")).await.expect("open");
    let row = row("none");
    let waiting = inspector.inspect(&row, webhook, None);
    tokio::pin!(waiting);
    let soon = std::time::Duration::from_millis(200);
    assert!(tokio::time::timeout(soon, &mut waiting).await.is_err(), "there is no room");
    drop(held);
    assert!(waiting.await.content.is_some());
}
