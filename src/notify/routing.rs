//! Which alerts go to which receivers.

use std::collections::BTreeMap;

use wildmatch::WildMatch;

use super::Severity;
use crate::settings::{DEFAULT_RECEIVER, NotifierSettings, ReceiverSettings, RouteSettings};

/// `[[notifiers.routes]]`, ready to be asked.
#[derive(Clone, Debug)]
pub struct Routing {
    routes: Vec<Route>,
    /// Where goes what no route matches.
    otherwise: Vec<String>,
}

#[derive(Clone, Debug)]
struct Route {
    rules: Vec<WildMatch>,
    severity: Vec<String>,
    labels: Vec<(String, WildMatch)>,
    receivers: Vec<String>,
    goes_on: bool,
}

impl Routing {
    /// Reads the routes. What none of them matches goes to the Slack webhook; without one, and without any route, it goes to
    /// every receiver; without any receiver, it waits for the Slack webhook.
    #[must_use]
    pub fn new(settings: &NotifierSettings) -> Self {
        let receivers = &settings.receivers;
        let otherwise = if settings.slack_webhook_url.is_some() || (receivers.is_empty() && settings.routes.is_empty())
        {
            vec![DEFAULT_RECEIVER.to_owned()]
        } else if settings.routes.is_empty() {
            receivers.iter().map(|receiver| ReceiverSettings::name(receiver).to_owned()).collect()
        } else {
            Vec::new()
        };
        Self { routes: settings.routes.iter().map(Route::new).collect(), otherwise }
    }

    /// The receivers of a rule's alerts, each once. `own` is the rule's `notifiers`, which goes before all routes.
    #[must_use]
    pub fn receivers(
        &self,
        rule: &str,
        severity: Severity,
        labels: &BTreeMap<String, String>,
        own: Option<&[String]>,
    ) -> Vec<String> {
        if let Some(own) = own {
            return own.to_vec();
        }
        let mut receivers: Vec<String> = Vec::new();
        let mut is_routed = false;
        for route in self.routes.iter().filter(|route| route.matches(rule, severity, labels)) {
            is_routed = true;
            for name in &route.receivers {
                if !receivers.contains(name) {
                    receivers.push(name.clone());
                }
            }
            if !route.goes_on {
                return receivers;
            }
        }
        if is_routed { receivers } else { self.otherwise.clone() }
    }
}

impl Route {
    fn new(settings: &RouteSettings) -> Self {
        Self {
            rules: settings.rules.iter().map(|glob| WildMatch::new(glob)).collect(),
            severity: settings.severity.clone(),
            labels: settings.labels.iter().map(|(name, glob)| (name.clone(), WildMatch::new(glob))).collect(),
            receivers: settings.receivers.clone(),
            goes_on: settings.goes_on,
        }
    }

    fn matches(&self, rule: &str, severity: Severity, labels: &BTreeMap<String, String>) -> bool {
        (self.rules.is_empty() || self.rules.iter().any(|glob| glob.matches(rule)))
            && (self.severity.is_empty() || self.severity.iter().any(|word| word == severity.word()))
            && self.labels.iter().all(|(name, glob)| labels.get(name).is_some_and(|value| glob.matches(value)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Secret;

    fn route(rules: &[&str], severity: &[&str], labels: &[(&str, &str)], to: &[&str], goes_on: bool) -> RouteSettings {
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        RouteSettings {
            rules: owned(rules),
            severity: owned(severity),
            labels: labels.iter().map(|(name, glob)| ((*name).to_owned(), (*glob).to_owned())).collect(),
            receivers: owned(to),
            goes_on,
        }
    }

    fn settings(slack: bool, routes: Vec<RouteSettings>) -> NotifierSettings {
        let receivers = serde_json::json!([
            {"name": "ops", "type": "discord", "webhook_url": "https://discord.example/1"},
            {"name": "pager", "type": "pagerduty", "routing_key": "k"},
        ]);
        NotifierSettings {
            slack_webhook_url: slack.then(|| Secret::new("https://hooks.example/1")),
            receivers: serde_json::from_value(receivers).expect("receivers"),
            routes,
            ..NotifierSettings::default()
        }
    }

    #[test]
    fn the_first_route_that_matches_decides_unless_it_goes_on() {
        let routes = vec![
            route(&[], &[], &[("team", "test*")], &[], false),
            route(&[], &["critical"], &[], &["pager"], true),
            route(&["budget-*", "usage"], &[], &[], &["ops", "pager"], false),
            route(&["budget-day"], &[], &[], &["slack"], false),
        ];
        let routing = Routing::new(&settings(true, routes));
        let none: &[(&str, &str)] = &[];
        for (rule, severity, labels, own, expected) in [
            ("other", Severity::Warning, none, None, &["slack"][..]),
            ("other", Severity::Critical, none, None, &["pager"]),
            ("budget-day", Severity::Info, none, None, &["ops", "pager"]),
            ("budget-day", Severity::Critical, none, None, &["pager", "ops"]),
            ("usage", Severity::Info, &[("team", "search")], None, &["ops", "pager"]),
            ("usage", Severity::Critical, &[("team", "testing")], None, &[]),
            ("usage", Severity::Critical, &[("team", "testing")], Some("ops"), &["ops"]),
        ] {
            let own = own.map(|name: &str| vec![name.to_owned()]);
            let owned = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            let found = routing.receivers(rule, severity, &owned, own.as_deref());
            assert_eq!(found, expected, "{rule} {severity:?} {labels:?}");
        }
    }

    #[test]
    fn without_a_route_alerts_go_to_slack_or_else_everywhere() {
        let ask =
            |settings: &NotifierSettings| Routing::new(settings).receivers("r", Severity::Info, &BTreeMap::new(), None);
        assert_eq!(ask(&settings(true, Vec::new())), ["slack"]);
        assert_eq!(ask(&settings(false, Vec::new())), ["ops", "pager"]);
        assert_eq!(ask(&settings(false, vec![route(&["x"], &[], &[], &["ops"], false)])), [""; 0]);
        assert_eq!(ask(&NotifierSettings::default()), ["slack"], "told once it is set, unless that is too late");
    }
}
