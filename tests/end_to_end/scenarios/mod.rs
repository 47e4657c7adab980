//! Alerts in virtual time, on the real engine with the real rollups: events in, the exact list of messages out.
//!
//! Each file beside this one is a theme, see `budgets.txt` for how a scenario is written. Between every two steps the
//! alerter starts afresh and knows only what is in ClickHouse, as after a crash. The years are far away, so that no TTL
//! meets them.

mod backtest;
mod read;
mod world;

use read::{Scenario, read};
use world::World;

async fn play(name: &str, text: &str) {
    let scenarios = read(text);
    assert!(!scenarios.is_empty(), "{name} has no scenario");
    let only = std::env::var("HELIOMETER_SCENARIO").unwrap_or_default();
    let mut world = World::start().await;
    let mut failures = Vec::new();
    for scenario in scenarios.iter().filter(|scenario| scenario.title.contains(&only)) {
        failures.extend(world.play(scenario).await.err());
    }
    world.stop().await;
    assert!(failures.is_empty(), "{name}:\n{}", failures.join("\n"));
    eprintln!("{name}: {} scenarios", scenarios.len());
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

themes!(budgets, windows, calendars, silences, late_data, pipeline, spikes, own_queries);

#[test]
fn there_are_many_and_each_has_a_title_of_its_own() {
    let all: Vec<Scenario> = THEMES.iter().flat_map(|(_, text)| read(text)).collect();
    let titles: std::collections::HashSet<&str> = all.iter().map(|scenario| scenario.title.as_str()).collect();
    assert_eq!(titles.len(), all.len());
    assert!(all.len() >= 60, "{}", all.len());
}
