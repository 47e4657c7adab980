//! The page that a message links to: `alerts.dashboard_url`, with what the message is about filled in.

use url::form_urlencoded::byte_serialize;

use crate::domain::UtcMillis;

/// What can be filled in.
pub(super) struct Subject<'a> {
    pub(super) rule: &'a str,
    pub(super) kind: &'a str,
    pub(super) scope: &'a str,
    pub(super) group: &'a str,
    /// When the alert began.
    pub(super) since: UtcMillis,
    /// When the message was decided.
    pub(super) at: UtcMillis,
}

/// Receivers refuse a whole message for a longer link, and a group is whatever a caller sends.
const MAX_URL_BYTES: usize = 2_000;
/// How much of the time before and after the alert is shown.
const AROUND_MS: i64 = 3_600_000;

/// Fills in `{rule}`, `{kind}`, `{scope}`, `{group}`, and `{from}` and `{to}` in milliseconds since 1970, encoded for a
/// URL. Other braces stay as they are. When that is too long, what is before the `?`.
pub(super) fn url(template: &str, subject: &Subject<'_>) -> String {
    let Subject { rule, kind, scope, group, since, at } = subject;
    let (from, to) = (since.0.saturating_sub(AROUND_MS).to_string(), at.0.saturating_add(AROUND_MS).to_string());
    let values = [
        ("{rule}", *rule),
        ("{kind}", *kind),
        ("{scope}", *scope),
        ("{group}", shown(scope, group)),
        ("{from}", &from),
        ("{to}", &to),
    ];
    let filled = values.iter().fold(template.to_owned(), |url, (name, value)| {
        let encoded: String = byte_serialize(value.as_bytes()).collect();
        url.replace(name, &encoded)
    });
    [filled.as_str(), page(&filled)].into_iter().find(|url| url.len() <= MAX_URL_BYTES).unwrap_or_default().to_owned()
}

/// The link of what is about no alert: the page without what would be filled in.
pub(super) fn url_of_report(template: &str) -> &str {
    if template.contains('{') { page(template) } else { template }
}

/// What is before the `?`.
fn page(url: &str) -> &str {
    url.split('?').next().unwrap_or_default()
}

/// What the dashboards call a group: an empty one has a name there.
fn shown<'a>(scope: &str, group: &'a str) -> &'a str {
    match (scope, group) {
        ("all" | "labels", "") => "(everything)",
        ("user", "") => "(no user)",
        (_, "") => "(unknown)",
        (_, group) => group,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn about<'a>(scope: &'a str, group: &'a str) -> Subject<'a> {
        let (since, at) = (UtcMillis(7_200_000), UtcMillis(9_000_000));
        Subject { rule: "user month", kind: "usage", scope, group, since, at }
    }

    #[test]
    fn what_the_message_is_about_is_filled_in() {
        for (template, expected) in [
            ("", ""),
            ("https://g.example/d/heliometer-alerts", "https://g.example/d/heliometer-alerts"),
            (
                "https://g.example/?var-rule={rule}&var-group={group}",
                "https://g.example/?var-rule=user+month&var-group=a%26b%2Fc",
            ),
            ("https://g.example/{kind}/{scope}/{other}", "https://g.example/usage/user/{other}"),
            ("https://g.example/?from={from}&to={to}", "https://g.example/?from=3600000&to=12600000"),
        ] {
            assert_eq!(url(template, &about("user", "a&b/c")), expected);
        }
        // A group is whatever a caller sends: it is put in once, and encoded.
        assert_eq!(url("{group}", &about("user", "{rule}")), "%7Brule%7D");
    }

    #[test]
    fn a_report_links_to_the_page() {
        for (template, expected) in [
            ("https://g.example/d/a?var-rule={rule}&from={from}", "https://g.example/d/a"),
            ("https://g.example/d/a?orgId=1", "https://g.example/d/a?orgId=1"),
        ] {
            assert_eq!(url_of_report(template), expected);
        }
    }

    #[test]
    fn an_empty_group_has_the_name_that_dashboards_give_it() {
        for (scope, expected) in
            [("all", "(everything)"), ("labels", "(everything)"), ("user", "(no user)"), ("model", "(unknown)")]
        {
            assert_eq!(shown(scope, ""), expected);
        }
    }

    #[test]
    fn a_link_that_is_too_long_for_receivers_leads_to_the_page() {
        let long = "ü".repeat(1_000);
        assert_eq!(url("https://g.example/d/a?var-group={group}", &about("user", &long)), "https://g.example/d/a");
        assert_eq!(url("https://g.example/{group}", &about("user", &long)), "");
    }
}
