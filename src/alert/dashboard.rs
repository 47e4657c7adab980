//! The page that a message links to: `alerts.dashboard_url`, with what the message is about filled in.

use url::form_urlencoded::byte_serialize;

/// Fills in `{rule}`, `{kind}`, `{scope}` and `{group}`, encoded for a URL. Other braces stay as they are.
pub(super) fn url(template: &str, rule: &str, kind: &str, scope: &str, group: &str) -> String {
    [("{rule}", rule), ("{kind}", kind), ("{scope}", scope), ("{group}", group)].iter().fold(
        template.to_owned(),
        |url, (name, value)| {
            let encoded: String = byte_serialize(value.as_bytes()).collect();
            url.replace(name, &encoded)
        },
    )
}

#[cfg(test)]
mod tests {
    use super::url;

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
        ] {
            assert_eq!(url(template, "user month", "usage", "user", "a&b/c"), expected);
        }
        // A group is whatever a caller sends: it is put in once, and encoded.
        assert_eq!(url("{group}", "r", "k", "user", "{group}"), "%7Bgroup%7D");
    }
}
