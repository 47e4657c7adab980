//! Where links lead: from one dashboard to another, and from messages about alerts.

use std::collections::{BTreeMap, BTreeSet};

use regex::Regex;

use super::{
    grafana::{Choice, Dashboard, dashboards, fill},
    reader::{Answer, Reader},
};
use crate::{harness::PATIENCE, slack::Slack};

/// The variables of each dashboard, by its uid.
pub(super) struct Pages(BTreeMap<String, BTreeSet<String>>);

impl Pages {
    pub(super) fn of(all: &[(String, String, Dashboard)]) -> Self {
        let names = |dashboard: &Dashboard| dashboard.templating.list.iter().map(|each| each.name.clone()).collect();
        Self(all.iter().map(|(_, _, dashboard)| (dashboard.uid.clone(), names(dashboard))).collect())
    }

    /// Why rows, whose columns `page` and `variable` say where a link leads, lead nowhere.
    pub(super) fn wrong(&self, answer: &Answer) -> Option<String> {
        let column = |name: &str| answer.columns.iter().position(|column| column.name == name);
        let (page, variable) = (column("page")?, column("variable")?);
        answer.rows.iter().find_map(|row| {
            let (page, variable) = (row[page].as_str().unwrap_or_default(), row[variable].as_str().unwrap_or_default());
            let leads = self.0.get(&format!("heliometer-{page}")).is_some_and(|variables| variables.contains(variable));
            (!leads).then(|| format!("a row links to {page} with {variable}"))
        })
    }
}

/// The documented `alerts.dashboard_url`.
pub(super) fn documented_link() -> String {
    let link = Regex::new(r#"dashboard_url = "([^"]+)""#).expect("an expression");
    link.captures(include_str!("../../../docs/alerts.md")).expect("is documented")[1].to_owned()
}

/// Each message that Slack got opens the steps of its alert.
pub(super) async fn message_links(slack: &Slack, reader: &Reader) {
    let (_, _, dashboard) = dashboards().into_iter().find(|(name, ..)| name == "alerts.json").expect("alerts.json");
    let steps = dashboard.panels.iter().find(|panel| panel.title == "Steps").expect("the panel");
    let query = steps.targets[0].sql.as_ref().expect("a query");
    let deadline = std::time::Instant::now() + PATIENCE;
    // Of everything together, a model and a user: one a second is sent.
    let links = loop {
        let links = slack.links().await;
        let is_there = |text: &str| links.iter().any(|link| link.as_str().contains(text));
        if ["var-rule=month-budget", "var-rule=model-day-budget", "var-rule=user-month"].into_iter().all(is_there) {
            break links;
        }
        assert!(std::time::Instant::now() < deadline, "{links:?}");
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    };
    for link in links {
        assert!(link.path().ends_with(&dashboard.uid), "{link}");
        let values: BTreeMap<String, String> = link.query_pairs().into_owned().collect();
        let time = |name: &str| values[name].parse::<i64>().expect("milliseconds") / 1_000;
        let range = time("from")..time("to");
        let mut choices = dashboard.choices(&range, reader).await;
        for name in ["rule", "group"] {
            let value = values[&format!("var-{name}")].clone();
            let Some(Choice::All(offered)) = choices.get(name) else { panic!("{name} is not offered") };
            assert!(offered.contains(&value), "{link}: {name} is one of {offered:?}");
            choices.insert(name.to_owned(), Choice::One(value));
        }
        let answer = reader.ask(&fill(query, &range, &choices).expect("a query")).await.expect("an answer");
        assert!(!answer.rows.is_empty(), "{link} shows nothing");
    }
}

#[test]
fn links_lead_to_dashboards_and_set_variables_that_these_have() {
    let all = dashboards();
    let Pages(pages) = Pages::of(&all);
    assert_eq!(pages.len(), all.len(), "uids are unique");
    let link = Regex::new(r#""/d/([^?"]+)\?([^"]*)""#).expect("an expression");
    let mut links = 0;
    for (name, text, dashboard) in &all {
        assert!(dashboard.tags.iter().any(|tag| tag == "heliometer"), "{name}: its tag links it with the others");
        for found in link.captures_iter(text) {
            links += 1;
            let (page, parts) = (&found[1], found[2].split('&'));
            // What rows say is looked at with rows.
            let by_row = page.contains("${__data.fields.page}");
            let known = pages.get(page);
            assert!(by_row || known.is_some(), "{name}: there is no {page}");
            let has = |variable: &str| known.is_some_and(|known| known.contains(variable));
            assert!(found[2].contains("${__url_time_range}"), "{name}: {} forgets the time", &found[0]);
            for part in parts {
                if let Some((variable, value)) = part.strip_prefix("var-").and_then(|part| part.split_once('=')) {
                    assert!(by_row || has(variable), "{name}: {page} has no variable {variable}");
                    assert!(value.ends_with(":percentencode}"), "{name}: {value} may hold an `&`");
                } else if let Some(variable) = part.strip_suffix(":queryparam}") {
                    let variable = variable.trim_start_matches("${");
                    assert!(has(variable) && pages[&dashboard.uid].contains(variable), "{name}: {page}, {variable}");
                }
            }
        }
        assert_eq!(text.matches("\"/d/").count(), link.find_iter(text).count(), "{name}: a link is not understood");
    }
    assert!(links > 20, "only {links} links");
}
