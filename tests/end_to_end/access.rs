//! Who may read what: a reader of some sources sees those, in every view, and nothing else.

use serde::Deserialize;

use crate::{
    dashboards::reader::Reader,
    harness::{Options, SECRET, Server, client},
};

const SETTINGS: &str = r#"
[[sources]]
name = "support"
secrets = ["env:HELICONE_WEBHOOK_SECRET"]

[[sources]]
name = "sales"
secrets = ["env:HELICONE_WEBHOOK_SECRET"]

[[clickhouse.readers]]
name = "support-reader"
password = "env:SUPPORT_READER_PASSWORD"
sources = ["support"]

[[clickhouse.readers]]
name = "curious"
password = "curious"
sources = ["sales"]
queries_per_hour = 3

[[alerts.rules]]
name = "user-month"
kind = "usage"
unit = "usd"
period = "month"
limit = 0.01
overrides = { "user-001" = 3.0, "a-stranger" = 5.0 }
"#;

#[derive(Deserialize)]
struct Endpoint {
    http_port: u16,
}

fn reader(server: &Server, user: &str, password: &str) -> Reader {
    let endpoint = std::fs::read(server.data_dir().join("clickhouse/endpoint.json")).expect("the engine runs");
    let Endpoint { http_port } = serde_json::from_slice(&endpoint).expect("JSON");
    let (user, password) = (user.to_owned(), password.to_owned());
    Reader { client: client(), url: format!("http://127.0.0.1:{http_port}"), user, password }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_of_one_source_sees_no_other() {
    let options = Options { config: Some(SETTINGS.to_owned()), ..Options::default() };
    let mut server = Server::start(options.with_local_storage().with("SUPPORT_READER_PASSWORD", "secret-of-support"));
    let mut received = 0;
    for (source, count, seed) in [("support", "60", "1"), ("sales", "40", "2")] {
        let url = format!("{}/{source}", server.webhook_url());
        let arguments = ["--rate", "0", "--count", count, "--seed", seed, "--linger-seconds", "2"];
        let expected = server.start_simulation_to(&url, &arguments).finish();
        received += i64::try_from(expected.accepted).expect("fits");
    }
    server.wait_until_worked_off(received);
    assert!(server.count("(SELECT uniqExact(source) FROM requests)") == 2, "both are there");

    let support = reader(&server, "support-reader", "secret-of-support");
    let visible = support.texts("SELECT name FROM system.tables WHERE database = 'heliometer' ORDER BY name").await;
    let mut with_source = 0;
    for table in &visible {
        let columns = support.texts(&format!("SELECT name FROM system.columns WHERE table = '{table}'")).await;
        if !columns.iter().any(|column| column == "source") {
            assert_eq!(table, "user_limit_rows", "the one table without sources that it may read");
            continue;
        }
        with_source += 1;
        let sources = support.texts(&format!("SELECT DISTINCT source FROM {table} ORDER BY source")).await;
        assert_eq!(sources, ["support"], "{table}");
        let query = format!("SELECT count() FROM {table} WHERE source != 'support'");
        assert_eq!(support.texts(&query).await, ["0"], "{table}");
    }
    assert_eq!(with_source, 20, "9 tables and 11 views: {visible:?}");
    let limits = support.texts("SELECT user_id FROM user_limit_rows FINAL WHERE NOT is_default").await;
    assert_eq!(limits, ["user-001"], "limits of its own users");
    let limit = support.texts("SELECT DISTINCT toFloat64(limit_usd) FROM user_month WHERE user_id = 'user-001'").await;
    assert_eq!(limit, ["3"]);
    // By ways that go around the views.
    for (query, expected) in [
        ("SELECT uniqExact(source) FROM merge('heliometer', '_rows$') WHERE source != ''", "1"),
        ("SELECT uniqExact(source) FROM model_day_rows FINAL PREWHERE 1", "1"),
        ("SELECT count() FROM request_rows WHERE source = 'sales' OR 1 = 0", "0"),
        ("SELECT count() = (SELECT countIf(source = 'support') FROM request_rows) FROM request_rows", "1"),
        ("SELECT sum(requests) = (SELECT count() FROM requests WHERE NOT is_test) FROM user_month", "1"),
    ] {
        assert_eq!(support.texts(query).await, [expected], "{query}");
    }

    for query in [
        "SELECT * FROM content_rows",
        "SELECT * FROM contents",
        "SELECT * FROM alerts",
        "SELECT * FROM notifications",
        "SELECT * FROM outcomes",
        "SELECT * FROM dead_letters",
        "SELECT * FROM inspections",
        "SELECT * FROM alert_silences",
        "SELECT * FROM system.parts",
        "SELECT * FROM file('/etc/passwd', LineAsString)",
        "SELECT * FROM url('http://127.0.0.1:1/', LineAsString)",
        "SELECT * FROM remote('127.0.0.1:9000', 'heliometer', 'request_rows')",
        "SELECT * FROM executable('id', LineAsString, 'a String')",
        "INSERT INTO FUNCTION file('mine.csv', CSV, 'a Int8') VALUES (1)",
        "INSERT INTO request_rows (request_id) VALUES ('x')",
        "ALTER TABLE request_rows DELETE WHERE 1",
        "TRUNCATE TABLE model_day_rows",
        "DROP VIEW requests",
        "CREATE TABLE mine (a Int8) ENGINE = Memory",
        "CREATE ROW POLICY all_rows ON request_rows USING 1 TO ALL",
        "GRANT SELECT ON heliometer.* TO `support-reader`",
        "CREATE USER mine",
        "SYSTEM SHUTDOWN",
    ] {
        let error = support.ask(query).await.err().unwrap_or_else(|| panic!("{query} is allowed"));
        assert!(error.contains("ACCESS_DENIED") || error.contains("READONLY"), "{query}: {error}");
    }
    // What others asked. The table is made when the engine writes its log for the first time, some seconds after its start.
    let error = loop {
        let error = support.ask("SELECT * FROM system.query_log").await.err().expect("is refused");
        if !error.contains("UNKNOWN_TABLE") {
            break error;
        }
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    };
    assert!(error.contains("ACCESS_DENIED"), "{error}");
    let error = support.ask("SELECT 1 SETTINGS max_execution_time = 10000").await.err().expect("is refused");
    assert!(error.contains("SETTING_CONSTRAINT_VIOLATION"), "{error}");

    // Another one has a quota of its own, of three queries.
    let curious = reader(&server, "curious", "curious");
    for _ in 0..3 {
        assert_eq!(curious.texts("SELECT DISTINCT source FROM requests").await, ["sales"]);
    }
    let error = curious.ask("SELECT count() FROM requests").await.err().expect("the quota is used up");
    assert!(error.contains("QUOTA_EXCEEDED"), "{error}");
    assert_eq!(support.texts("SELECT DISTINCT source FROM requests").await, ["support"], "and others go on");
    let wrong = reader(&server, "curious", SECRET);
    assert!(wrong.ask("SELECT 1").await.is_err(), "a password is needed");
    // Those who see everything still do, and the password is in no log.
    assert_eq!(server.count("(SELECT uniqExact(source) FROM model_day)"), 2);
    assert!(!server.log().contains("secret-of-support"));
    assert!(server.stop().success());
}
