//! A message that is lost shows: in the view, in the metric, and in what doctor says, with its offset.

use std::{collections::BTreeMap, path::Path};

use heliometer::{
    domain::UtcMillis,
    event_log::{LogEvent, Offset, Partition, ReadLimits, Topic},
    settings::Settings,
    store::{
        Batch, Database, DatabaseOptions, Ledger, LedgerMetrics, LogPositionRow, OutcomeRow, audit_ledger, write_batch,
        write_positions,
    },
    telemetry::Health,
};
use prometheus::Registry;
use serde::Deserialize;

use crate::{
    alerts::{TIMEOUT, World},
    duplicates::record,
    harness::{Options, Server, client, send, wait_until},
};

const CALLS: i64 = 40;

fn body(number: i64) -> String {
    format!(r#"{{"request_id":"call-{number}","model":"m","provider":"P","metadata":{{"cost":0.25}}}}"#)
}

/// What doctor says of the ledger, and whether it is well.
fn doctor(server: &Server) -> (bool, String) {
    let output = server.command().arg("doctor").output().expect("doctor");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let from = text.find("  ledger ").unwrap_or_else(|| panic!("no ledger in {text}"));
    let end = text[from..].find("  prices ").map_or(text.len(), |end| from + end);
    (!text[from - 6..from].contains("BAD"), text[from..end].to_owned())
}

/// A gauge over all partitions; `None` before it is there.
async fn gauge(server: &Server, name: &str) -> Option<f64> {
    let url = format!("{}metrics", server.admin_url());
    let text = client().get(url).send().await.expect("metrics").text().await.expect("text");
    let values: Vec<f64> = text
        .lines()
        .filter(|line| line.starts_with(&format!("{name}{{")))
        .map(|line| line.rsplit(' ').next().and_then(|value| value.parse().ok()).expect("a number"))
        .collect();
    (!values.is_empty()).then(|| values.iter().sum())
}

async fn wait_for_gauge(server: &Server, name: &str, value: f64) {
    let mut last = None;
    for _ in 0..900 {
        last = gauge(server, name).await;
        if last == Some(value) {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    panic!("{name} is {last:?}, not {value}");
}

/// ClickHouse with the service's rights.
async fn database(server: &Server) -> Database {
    let mut settings = Settings::default();
    settings.data_dir.0 = server.data_dir();
    let options = DatabaseOptions { program: Path::new(env!("CARGO_BIN_EXE_heliometer")), join_running: true };
    Database::open(&settings, options, &Health::default()).await.expect("the running engine")
}

fn outcomes(server: &Server) -> BTreeMap<String, i64> {
    #[derive(Deserialize)]
    struct Line {
        outcome: String,
        all: i64,
    }
    let query = "SELECT outcome, sum(o.messages) AS all FROM outcomes AS o GROUP BY outcome";
    server.query::<Line>(query).into_iter().map(|line| (line.outcome, line.all)).collect()
}

fn expected(lines: &[(&str, i64)]) -> BTreeMap<String, i64> {
    lines.iter().map(|(outcome, messages)| ((*outcome).to_owned(), *messages)).collect()
}

/// While `serve` is stopped: appends calls, and commits past some of them as if they had been worked off. Returns the
/// positions that are lost, in order.
async fn lose(server: &Server, numbers: std::ops::Range<i64>) -> BTreeMap<u16, Vec<u64>> {
    let log = server.open_log();
    let mut lost: BTreeMap<u16, Vec<u64>> = BTreeMap::new();
    for number in numbers {
        let record = record("default", &format!("call-{number}"), &body(number), UtcMillis(1_795_000_000_000 + number));
        let position = log.append(Topic::Webhooks, record).await.expect("appended");
        lost.entry(position.partition.0).or_default().push(position.offset.0);
    }
    let limits = ReadLimits { max_records: 1, max_bytes: 1 };
    let mut group = log.subscribe(Topic::Webhooks, heliometer::consumer::GROUP, limits).await.expect("the group");
    assert!(matches!(group.next().await.expect("an event"), LogEvent::Assigned(_)));
    let ends: Vec<(Partition, Offset)> = lost
        .iter()
        .map(|(partition, offsets)| (Partition(*partition), Offset(offsets.last().expect("some") + 1)))
        .collect();
    group.commit(&ends).await.expect("committed");
    drop(group);
    log.close().await;
    lost
}

/// What docs/operations.md says for reading messages again.
fn read_again(server: &Server, lost: &BTreeMap<u16, Vec<u64>>) {
    let catalog = rusqlite::Connection::open(server.data_dir().join("event_log/catalog.sqlite")).expect("the catalog");
    for (partition, offsets) in lost {
        let first = i64::try_from(offsets[0]).expect("fits");
        let changed = catalog
            .execute(
                "UPDATE committed_offsets SET next_offset = min(next_offset, ?) \
                 WHERE topic = 'webhooks' AND group_name = 'heliometer' AND partition = ?",
                (first, partition),
            )
            .expect("is written");
        assert_eq!(changed, 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_message_shows_with_its_offset_until_it_is_found() {
    let mut server = Server::start(Options::default());
    let http = client();
    for number in 0..CALLS {
        assert!(send(&http, &server.webhook_url(), body(number).into_bytes()).await.is_success());
    }
    server.wait_until_worked_off(CALLS);
    wait_until("the ledger to have looked", || {
        (server.count("(SELECT sum(verified_offset) FROM ledger_checkpoints FINAL)") == CALLS).then_some(())
    });
    assert_eq!(outcomes(&server), expected(&[("received", CALLS), ("stored", CALLS), ("in_flight", 0)]));
    let (is_well, text) = doctor(&server);
    assert!(is_well && text.contains("received 40 = 40 stored + 0 in flight"), "{text}");
    wait_for_gauge(&server, "heliometer_ledger_missing_messages", 0.0).await;

    // Rows below the checkpoint may go, as retention does: nothing is counted again.
    let database_of = database(&server).await;
    let delete = "ALTER TABLE outcome_rows DELETE WHERE true SETTINGS mutations_sync = 2";
    database_of.client().query(delete).execute().await.expect("deleted");
    assert_eq!(outcomes(&server), expected(&[("received", CALLS), ("stored", CALLS), ("in_flight", 0)]));

    // Twelve messages are committed and not worked off.
    assert!(server.stop().success());
    let lost = lose(&server, CALLS..CALLS + 12).await;
    server.start_again();
    wait_for_gauge(&server, "heliometer_ledger_missing_messages", 12.0).await;
    assert_eq!(
        outcomes(&server),
        expected(&[("received", CALLS + 12), ("stored", CALLS), ("missing", 12), ("in_flight", 0)])
    );
    for (partition, offsets) in &lost {
        let at = |which: &str| {
            server.count(&format!(
                "(SELECT any(o.{which}) FROM outcomes AS o WHERE outcome = 'missing' AND log_partition = {partition})"
            ))
        };
        let offset = |offset: u64| i64::try_from(offset).expect("fits");
        assert_eq!(at("first_offset"), offset(offsets[0]));
        assert_eq!(at("last_offset"), offset(*offsets.last().expect("some")));
    }
    let (is_well, text) = doctor(&server);
    assert!(!is_well && text.contains("12 messages are missing"), "{text}");
    for (partition, offsets) in &lost {
        let (first, end) = (offsets[0], offsets.last().expect("some"));
        let range = if first == *end { format!("{first}") } else { format!("{first}-{end}") };
        assert!(text.contains(&format!("partition {partition}: {range}")), "{text}");
    }
    assert!(server.log().contains("messages have no outcome though the log was committed past them"));

    // They are read again, and count.
    assert!(server.stop().success());
    read_again(&server, &lost);
    server.start_again();
    wait_for_gauge(&server, "heliometer_ledger_missing_messages", 0.0).await;
    let healed = expected(&[("received", CALLS + 12), ("stored", CALLS + 12), ("in_flight", 0)]);
    assert_eq!(outcomes(&server), healed);
    let (is_well, text) = doctor(&server);
    assert!(is_well && text.contains("received 52 = 52 stored + 0 in flight"), "{text}");
    assert_eq!(server.count("(SELECT count() FROM requests)"), CALLS + 12);

    // Another three, which nobody can find any more: their loss is put on record, by SQL.
    assert!(server.stop().success());
    let lost = lose(&server, CALLS + 12..CALLS + 15).await;
    server.start_again();
    wait_for_gauge(&server, "heliometer_ledger_missing_messages", 3.0).await;
    let database_of = database(&server).await;
    let record_loss = "INSERT INTO outcome_rows (log_partition, log_offset, outcome, reason, received_at, version) \
                       SELECT log_partition, arrayJoin(range(gap.1, gap.2 + 1)), 'dead_letter', 'lost', now64(3), 1 \
                       FROM ledger_checkpoints FINAL ARRAY JOIN missing AS gap";
    database_of.client().query(record_loss).execute().await.expect("inserted");
    let accounted = expected(&[("received", CALLS + 15), ("stored", CALLS + 12), ("dead_letter", 3), ("in_flight", 0)]);
    assert_eq!(outcomes(&server), accounted, "at once");
    wait_for_gauge(&server, "heliometer_ledger_missing_messages", 0.0).await;
    assert_eq!(outcomes(&server), accounted, "and when the ledger has counted it");
    assert!(!lost.is_empty() && doctor(&server).0);

    // The log is replaced: told as that, and not as messages that are missing.
    assert!(server.stop().success());
    std::fs::remove_dir_all(server.data_dir().join("event_log")).expect("removed");
    server.start_again();
    wait_for_gauge(&server, "heliometer_ledger_log_reset", f64::from(u8::try_from(partitions(&server)).expect("fits")))
        .await;
    let (is_well, text) = doctor(&server);
    assert!(!is_well && text.contains("it was deleted or replaced while ClickHouse stayed"), "{text}");
    assert!(!text.contains("missing"), "{text}");
    wait_until("it to be written down", || {
        (server.count("(SELECT countIf(is_reset) FROM ledger_checkpoints FINAL)") == partitions(&server)).then_some(())
    });
    // A new ledger, as docs/operations.md says.
    let database_of = database(&server).await;
    for statement in
        ["ALTER TABLE outcome_rows DELETE WHERE true SETTINGS mutations_sync = 2", "TRUNCATE TABLE ledger_checkpoints"]
    {
        database_of.client().query(statement).execute().await.expect("runs");
    }
    assert!(send(&http, &server.webhook_url(), body(1_000).into_bytes()).await.is_success());
    assert!(send(&http, &server.webhook_url(), body(0).into_bytes()).await.is_success());
    server.wait_until_worked_off(2);
    wait_for_gauge(&server, "heliometer_ledger_log_reset", 0.0).await;
    let anew = expected(&[("received", 2), ("stored", 1), ("duplicate", 1), ("in_flight", 0)]);
    assert_eq!(outcomes(&server), anew);
    assert!(doctor(&server).0);
    assert_eq!(server.count("(SELECT count() FROM requests)"), CALLS + 13);
}

/// Partitions that hold verified messages.
fn partitions(server: &Server) -> i64 {
    server.count("(SELECT countIf(verified_offset > 0) FROM ledger_checkpoints FINAL)")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gaps_are_found_in_the_real_engine() {
    let world = World::start().await;
    let timeout = TIMEOUT;
    let client = world.database.client();
    // So that two rows of one message are there until they are looked at.
    client.query("SYSTEM STOP MERGES outcome_rows").execute().await.expect("stops");
    let outcome = |offset: u64, outcome: &str| OutcomeRow {
        log_partition: 0,
        log_offset: offset,
        outcome: outcome.to_owned(),
        reason: String::new(),
        source: "default".to_owned(),
        received_at: 1_795_000_000_000,
        version: 1,
    };
    let write = async |outcomes: Vec<OutcomeRow>| {
        let batch = Batch { outcomes, ..Batch::default() };
        write_batch(client, timeout, &batch, &world.metrics).await.expect("written");
    };
    let position = |start_offset, committed_offset, end_offset, at| LogPositionRow {
        log_partition: 0,
        start_offset,
        end_offset,
        committed_offset,
        at,
    };
    let mut ledger = Ledger::new(client.clone(), timeout, LedgerMetrics::new(&Registry::new()).expect("metrics"));
    let missing = async || {
        let audit = audit_ledger(client, timeout).await.expect("an audit");
        let ranges: Vec<String> = audit.partitions[0].missing.iter().map(ToString::to_string).collect();
        (ranges.join(","), audit.in_flight, audit.redecided)
    };
    let lines = async || {
        world
            .rows(
                "SELECT concat(outcome, ' ', toString(messages), ' ', ifNull(toString(first_offset), ''), '-', \
                 ifNull(toString(last_offset), '')) FROM outcomes ORDER BY outcome",
            )
            .await
    };
    // Two of the first ten are not there, and 13 is ahead of the commit, which is nothing special.
    write([1, 2, 3, 5, 6, 7, 8, 9, 13].map(|offset| outcome(offset, "stored")).to_vec()).await;
    write_positions(client, timeout, &[position(0, 10, 15, 1)]).await.expect("written");
    assert_eq!(missing().await, ("0,4".to_owned(), 4, 0), "without any checkpoint");
    ledger.pass().await.expect("a pass");
    assert_eq!(missing().await, ("0,4".to_owned(), 4, 0));
    let found = ["in_flight 4 -", "missing 2 0-4", "received 15 0-14", "stored 9 1-13"];
    assert_eq!(lines().await, found);
    // Redelivered, and decided in another way; 4 comes late.
    write(vec![outcome(13, "duplicate"), outcome(4, "stored")]).await;
    assert!(lines().await.contains(&"missing 1 0-4".to_owned()), "before the ledger has looked");
    // 11 and 14 are never read, since retention deletes them.
    write(vec![outcome(10, "stored"), outcome(12, "stored")]).await;
    write_positions(client, timeout, &[position(15, 14, 15, 2)]).await.expect("written");
    assert_eq!(missing().await, ("0,11,14".to_owned(), 0, 1));
    ledger.pass().await.expect("a pass");
    ledger.pass().await.expect("a pass that finds nothing new");
    let found = ["duplicate 1 13-13", "in_flight 0 -", "missing 3 0-14", "received 15 0-14", "stored 11 1-12"];
    assert_eq!(lines().await, found);
    assert_eq!(missing().await, ("0,11,14".to_owned(), 0, 1));
    // Committed anew from earlier on, for what is read again.
    write_positions(client, timeout, &[position(0, 11, 15, 3)]).await.expect("written");
    write([0, 11, 14].map(|offset| outcome(offset, "stored")).to_vec()).await;
    ledger.pass().await.expect("a pass");
    assert_eq!(missing().await, (String::new(), 0, 1));
    assert_eq!(lines().await, ["duplicate 1 13-13", "in_flight 0 -", "received 15 0-14", "stored 14 0-14"]);
    world.stop().await;
}
