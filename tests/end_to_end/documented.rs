//! What the documents tell people to type, typed beside a running server.

use std::process::{Command, Output};

use crate::{
    dashboards::documents::{Block, blocks},
    harness::{Options, SECRET, Server, program, wait_until},
};

/// Words that a command begins with which is not typed here, and why.
const ELSEWHERE: [(&str, &str); 5] = [
    ("make", "its targets are looked up below, and CI runs the long ones"),
    ("docker", "there is no engine here; scripts/check-deploy reads the files with compose's own library"),
    ("kubectl", "there is no cluster here; scripts/check-deploy renders the manifests"),
    ("sudo", "it changes the machine"),
    ("chromium", "tests/browser drives it"),
];
/// Lines that belong to such a command, or prepare one.
const PREPARATION: [&str; 5] = ["cp ", "cd ", "alias ", "curl --insecure https://localhost:8443", "key=$("];

/// What commands read that are about a reader's own files.
const FILES: [(&str, &str); 3] = [
    ("my-prices/own.toml", include_str!("../../prices/mistral.toml")),
    (
        "model_prices_and_context_window.json",
        r#"{"gpt-x": {"litellm_provider": "openai", "mode": "chat", "input_cost_per_token": 1.5e-07, "output_cost_per_token": 6e-07}}"#,
    ),
    (
        "data.json",
        r#"[{"id": "mistral", "models": [{"id": "m", "match": {"equals": "m"}, "prices": {"input_mtok": 2, "output_mtok": 6}}]}]"#,
    ),
];

/// One command, as a shell would get it.
struct Typed {
    place: String,
    line: String,
}

impl Typed {
    /// Its program, after assignments.
    fn program(&self) -> &str {
        let is_assignment = |word: &&str| word.split_once('=').is_some_and(|(name, _)| !name.contains(['-', '"', '/']));
        self.line.split(' ').find(|word| !is_assignment(word)).unwrap_or_default()
    }
}

/// The commands of a block: a line that ends in `\` or in an open quote goes on; of a console only what follows `$ `.
fn commands(block: &Block) -> Vec<Typed> {
    let is_console = block.language == "console";
    let mut commands: Vec<Typed> = Vec::new();
    let mut is_open = false;
    for line in block.text.lines() {
        let text = line.trim();
        match commands.last_mut() {
            Some(command) if is_open => command.line = format!("{}\n{text}", command.line),
            _ if is_console && !text.starts_with("$ ") => continue,
            _ => {
                let line = text.strip_prefix("$ ").unwrap_or(text).to_owned();
                commands.push(Typed { place: block.place.clone(), line });
            }
        }
        let whole = commands.last().map(|command| command.line.as_str()).unwrap_or_default();
        let is_loop = whole.starts_with("for ") && !whole.ends_with("done");
        is_open = whole.ends_with('\\') || whole.matches('"').count() % 2 == 1 || is_loop;
    }
    commands.retain(|command| !command.line.is_empty() && !command.line.starts_with('#'));
    commands
}

/// A shell in a directory of the server's, in which `heliometer` is the program under test.
fn shell(server: &Server, line: &str) -> Output {
    let place = server.data_dir().join("typed");
    if !place.exists() {
        std::fs::create_dir_all(&place).expect("a directory");
        std::os::unix::fs::symlink(program(), place.join("heliometer")).expect("a link");
        // Files that a reader would have by then.
        std::fs::create_dir(place.join("my-prices")).expect("a directory");
        for (name, text) in FILES {
            std::fs::write(place.join(name), text).expect("written");
        }
    }
    let mut command = Command::new("bash");
    for (key, value) in server.command().get_envs() {
        match value {
            Some(value) => command.env(key, value),
            None => command.env_remove(key),
        };
    }
    let path = format!("{}:{}", place.display(), std::env::var("PATH").unwrap_or_default());
    command.env("PATH", path).current_dir(&place).args(["-c", line]).output().expect("a shell")
}

/// Something of everything that commands ask for: calls, an alert that was told to nobody, and a dead letter.
fn fill(server: &Server) {
    let url = server.webhook_url();
    let arguments =
        ["--rate", "0", "--count", "500", "--seed", "3", "--linger-seconds", "1", "--faults", "no-request-id=2"];
    let expected = server.start_simulation_to(&url, &arguments).finish();
    server.wait_until_counted(&expected, crate::harness::PATIENCE);
    wait_until("an alert", || (server.count("(SELECT count() FROM alerts WHERE state = 'firing')") > 0).then_some(()));
}

#[test]
fn commands_of_the_documents_do_what_they_should() {
    let makefile = include_str!("../../Makefile");
    let config = "[[alerts.rules]]\nname = \"slow\"\nkind = \"budget\"\nlimit_usd = 0.01\n";
    let options = Options { config: Some(config.to_owned()), ..Options::default() };
    let server = Server::start(options.with_local_storage());
    fill(&server);
    let port = server.address().port();
    let (mut typed, mut wrong) = (0, Vec::new());
    for command in blocks(&["sh", "console"]).iter().flat_map(commands) {
        let Typed { place, line } = &command;
        if let Some((_, target)) = line.split_once("make ").filter(|_| command.program() == "make") {
            let target = target.split([' ', '\n']).next().unwrap_or_default();
            if !makefile.contains(&format!("\n{target}:")) {
                wrong.push(format!("{place}: make has no target {target}"));
            }
            continue;
        }
        // A loop is by what is in it.
        let program =
            if line.starts_with("for ") { line.lines().nth(1).unwrap_or_default() } else { command.program() };
        let is_elsewhere = ELSEWHERE.iter().any(|(word, _)| program.starts_with(word));
        // `serve` is what runs all the time.
        if is_elsewhere || PREPARATION.iter().any(|start| line.starts_with(start)) || line.ends_with("heliometer serve")
        {
            continue;
        }
        let line = line
            .replace("./target/release/heliometer", "heliometer")
            .replace("target/debug/heliometer", "heliometer")
            .replace("localhost:18443", &format!("localhost:{port}"))
            .replace("--count 20000", "--count 200")
            .replace("send-test --counted", &format!("send-test --url {} --counted", server.webhook_url()));
        let output = shell(&server, &line);
        typed += 1;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            wrong.push(format!("{place}: {line}\n    {:?} {said}", output.status.code()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(typed >= 20, "only {typed} commands were found");
    assert!(!server.log().contains(SECRET));
}
