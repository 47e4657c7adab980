//! Rules, limits and silences that change while `serve` runs, and the commands that look at them.

use std::process::Output;

use crate::harness::{Options, SECRET, Server, client, sign, wait_until};

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn told(server: &Server, rule: &str) -> i64 {
    server.count(&format!("(SELECT count() FROM alerts WHERE rule = '{rule}' AND notified)"))
}

async fn get(server: &Server, path: &str) -> String {
    let url = format!("{}{path}", server.admin_url());
    client().get(url).send().await.expect("an answer").text().await.expect("text")
}

const BUDGET: &str =
    "[[alerts.rules]]\nname = \"first\"\nkind = \"budget\"\nlimit_usd = 0.000001\nthresholds = [100]\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rules_limits_and_silences_change_without_a_restart() {
    let mut options = Options::default().with_local_storage();
    options.config = Some(BUDGET.to_owned());
    let mut server = Server::start(options);
    let path = |name: &str| server.directory.path().join(name);
    let config = path("heliometer.toml");
    let write = |name: &std::path::Path, text: &str| std::fs::write(name, text).expect("written");
    let expected = server.start_simulation(&["--rate", "0", "--count", "200", "--seed", "11"]).finish();
    server.wait_until_worked_off(i64::try_from(expected.accepted).expect("fits"));
    wait_until("the first rule to fire", || (told(&server, "first") == 1).then_some(()));

    // More rules: one with limits from a file, one over signatures, one of a file of its own.
    write(&path("limits.csv"), "user_id,limit_usd\nuser-001,0.00001\nuser-002,1000\n");
    std::fs::create_dir(path("rules")).expect("a directory");
    write(
        &path("rules/own.toml"),
        "[[rules]]\nname = \"own\"\nkind = \"sql\"\nevery = \"1s\"\nthreshold = 100\n\
        query = \"SELECT count() AS value FROM requests\"\n",
    );
    let more = format!(
        "{BUDGET}\n[[alerts.rules]]\nname = \"users\"\nkind = \"usage\"\nunit = \"usd\"\nlimit = 1000\n\
         limits_file = \"{}\"\nthresholds = [100]\n\
         [[alerts.rules]]\nname = \"signatures\"\nkind = \"signature_failures\"\n\
         [alerts]\nrules_files = [\"{}/*.toml\"]\n",
        path("limits.csv").display(),
        path("rules").display()
    );
    write(&config, &more);
    wait_until("the rules to be taken up", || (told(&server, "own") == 1 && told(&server, "users") == 1).then_some(()));
    assert_eq!(told(&server, "first"), 1, "its state survives");
    let limit = |user: &str| {
        server.count(&format!("(SELECT toInt64(any(limit_usd) * 100000) FROM user_month WHERE user_id = '{user}')"))
    };
    assert_eq!((limit("user-001"), limit("user-002"), limit("user-003")), (1, 100_000_000, 100_000_000));

    // Another limit in the file.
    write(&path("limits.csv"), "user_id,limit_usd\nuser-001,0.00001\nuser-002,0.00002\n");
    wait_until("the other limit to hold", || (told(&server, "users") == 2).then_some(()));
    wait_until("user_month to show it", || (limit("user-002") == 2).then_some(()));

    // A mistake: the old rules hold, and it is said in three places.
    write(&config, &more.replace("signature_failures", "signature_failure"));
    wait_until("the mistake to be seen", || {
        server.log().contains("alert rules on disk are not valid as a whole").then_some(())
    });
    assert!(get(&server, "metrics").await.contains("heliometer_alert_rules_rejected 1"));
    assert!(get(&server, "readyz").await.contains("did you mean `signature_failures`?"));
    let doctor = server.command().arg("doctor").output().expect("doctor");
    assert!(text(&doctor.stdout).contains("unknown kind `signature_failure`"), "{}", text(&doctor.stdout));
    let check = server.command().args(["rules", "check"]).output().expect("rules check");
    assert_eq!(check.status.code(), Some(2), "{}", text(&check.stderr));

    let unknown = "notifiers = [\"nobody\"]\n";
    write(
        &config,
        &format!(
            "{more}[[notifiers.receivers]]\nname = \"nobody\"\ntype = \"discord\"\nwebhook_url = \"https://discord.example/1\"\n"
        ),
    );
    write(&path("rules/late.toml"), &format!("[[rules]]\nname = \"late\"\nkind = \"lag\"\n{unknown}"));
    wait_until("the receiver that came after the start to be refused", || {
        server
            .log()
            .contains("unknown receiver `nobody`; receivers are slack. Receivers and routes are read at start")
            .then_some(())
    });
    std::fs::remove_file(path("rules/late.toml")).expect("removed");

    let log = server.log().len();
    write(&config, &more);
    wait_until("the right rules to be read", || server.log()[log..].contains("alert rules read again").then_some(()));
    assert!(get(&server, "metrics").await.contains("heliometer_alert_rules_rejected 0"));

    // A silence at run time, over what is about to fire.
    let silences =
        |arguments: &[&str]| -> Output { server.command().arg("silences").args(arguments).output().expect("silences") };
    let added = silences(&["add", "--rule", "signat*", "--for", "1h", "--comment", "somebody tries"]);
    assert!(added.status.success(), "{}", text(&added.stderr));
    let id = text(&added.stdout).split_whitespace().next().expect("an id").to_owned();
    let listed = text(&silences(&["list"]).stdout);
    assert!(listed.contains(&id) && listed.contains("rule=signat*  somebody tries"), "{listed}");
    assert_eq!(silences(&["add", "--for", "1h"]).status.code(), Some(2), "a silence of nothing");

    let body = br#"{"request_id":"forged"}"#;
    for _ in 0..12 {
        let request = client().post(server.webhook_url()).header("Content-Type", "application/json");
        let request = request.header("Helicone-Signature", sign(&format!("not {SECRET}"), body)).body(body.to_vec());
        assert_eq!(request.send().await.expect("an answer").status(), 401);
    }
    let held_back = "(SELECT count() FROM alerts WHERE rule = 'signatures' AND NOT notified AND suppressed_by LIKE 'silence%somebody tries')";
    wait_until("the signatures to be held back", || (server.count(held_back) == 1).then_some(()));
    assert_eq!(told(&server, "signatures"), 0);
    assert!(silences(&["expire", &id]).status.success());
    wait_until("what still fires to be told", || (told(&server, "signatures") == 1).then_some(()));
    assert!(!silences(&["expire", &id]).status.success(), "it has ended already");

    // One rule less.
    write(&config, &more.replace(BUDGET, ""));
    let left = "(SELECT count() FROM alerts WHERE rule = 'first' AND reason = 'rule_removed' AND kind = 'budget' \
        AND scope = 'all' AND severity = 'warning' AND state = 'resolved')";
    wait_until("the first rule to be gone", || (server.count(left) == 1).then_some(()));
    let check = server.command().args(["rules", "check"]).output().expect("rules check");
    assert!(text(&check.stdout).contains("users: tells, for each user, when 100 %"), "{}", text(&check.stdout));
    assert!(text(&check.stdout).ends_with("3 rules, all valid\n"), "{}", text(&check.stdout));

    let day = |days: i64| {
        let at = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(24 * days);
        at.strftime("%Y-%m-%d").to_string()
    };
    let arguments = ["rules", "backtest", "--from", &day(-1), "--to", &day(1), "--step", "1h"];
    let backtest = server.command().args(arguments).output().expect("rules backtest");
    let said = text(&backtest.stdout);
    assert!(backtest.status.success(), "{said}{}", text(&backtest.stderr));
    assert!(said.contains("left out, since it can only be asked for now: own"), "{said}");
    assert!(said.contains("49 evaluations"), "{said}");
    assert!(server.stop().success());
}
