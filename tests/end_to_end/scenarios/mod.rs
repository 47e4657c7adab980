//! Alerts in virtual time, on the real engine with the real rollups: events in, the exact list of messages out.
//!
//! Each file beside this one is a theme, see `budgets.txt` for how a scenario is written. Between every two steps the
//! alerter starts afresh and knows only what is in ClickHouse, as after a crash. The years are far away, so that no TTL
//! meets them.

mod backtest;
mod deliver;
mod read;
mod world;

use heliometer::notify::preview::{Example, page};
use read::{Scenario, read};
use world::World;

async fn play(name: &str, text: &str) {
    let scenarios = read(text);
    assert!(!scenarios.is_empty(), "{name} has no scenario");
    let only = std::env::var("HELIOMETER_SCENARIO").unwrap_or_default();
    let mut world = World::start().await;
    let (mut told, mut failures) = (Vec::new(), Vec::new());
    for scenario in scenarios.iter().filter(|scenario| scenario.title.contains(&only)) {
        match world.play(scenario).await {
            Ok(messages) => told.extend(messages),
            Err(failure) => failures.push(failure),
        }
    }
    world.stop().await;
    assert!(failures.is_empty(), "{name}:\n{}", failures.join("\n"));
    eprintln!("{name}: {} scenarios", scenarios.len());
    if only.is_empty() {
        compare_with_docs(name, &told);
    }
}

/// People read the messages in `docs/images/scenarios`; `HELIOMETER_WRITE_SCENARIOS=1` writes them again.
fn compare_with_docs(name: &str, told: &[Example]) {
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("docs/images/scenarios/{name}.html"));
    let page = page(told);
    if std::env::var_os("HELIOMETER_WRITE_SCENARIOS").is_some() {
        std::fs::write(&file, &page).expect("written");
    }
    let shown = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(shown == page, "docs/images/scenarios/{name}.html is old: make scenario-messages, and read it");
}

macro_rules! themes {
    ($($theme:ident),+ $(,)?) => {
        const THEMES: &[(&str, &str)] = &[$((stringify!($theme), include_str!(concat!(stringify!($theme), ".txt")))),+];

        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $theme() {
                let text = include_str!(concat!(stringify!($theme), ".txt"));
                play(stringify!($theme), text).await;
            }
        )+
    };
}

themes!(budgets, windows, calendars, silences, deliveries, late_data, pipeline, spikes, own_queries);

#[test]
fn there_are_many_and_each_has_a_title_of_its_own() {
    let all: Vec<Scenario> = THEMES.iter().flat_map(|(_, text)| read(text)).collect();
    let titles: std::collections::HashSet<&str> = all.iter().map(|scenario| scenario.title.as_str()).collect();
    assert_eq!(titles.len(), all.len());
    assert!(all.len() >= 60, "{}", all.len());
}
