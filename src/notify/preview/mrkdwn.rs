//! Slack's markup as HTML: as much of it as our messages use.

use std::fmt::Write as _;

use maud::{Markup, PreEscaped};

/// `*bold*`, `` `code` ``, `<url|text>`, line ends. The text's `&`, `<` and `>` are entities already, as Slack wants them.
pub(super) fn html(text: &str) -> Markup {
    let mut html = String::new();
    let mut rest = text;
    while let Some(start) = rest.find(['*', '`', '<', '\n', '"']) {
        let (before, at) = rest.split_at(start);
        html.push_str(before);
        let mark = &at[..1];
        let inner = match mark {
            "\n" | "\"" => None,
            "<" => at[1..].find('>').map(|end| (&at[1..=end], &at[end + 2..])),
            mark => at[1..].find(mark).filter(|end| *end > 0).map(|end| (&at[1..=end], &at[end + 2..])),
        };
        rest = match (mark, inner) {
            ("\n", _) => {
                html.push_str("<br>");
                &at[1..]
            }
            ("*", Some((inner, after))) if !inner.contains('\n') => {
                let _ = write!(html, "<b>{}</b>", quoted(inner));
                after
            }
            ("`", Some((inner, after))) if !inner.contains('\n') => {
                let _ = write!(html, "<code>{}</code>", quoted(inner));
                after
            }
            ("<", Some((inner, after))) => {
                let (url, words) = inner.split_once('|').unwrap_or((inner, inner));
                let _ = write!(html, "<a href=\"{}\">{}</a>", quoted(url), quoted(words));
                after
            }
            ("<", None) => {
                html.push_str("&lt;");
                &at[1..]
            }
            (mark, _) => {
                html.push_str(&quoted(mark));
                &at[1..]
            }
        };
    }
    html.push_str(rest);
    PreEscaped(html)
}

fn quoted(text: &str) -> String {
    text.replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_our_messages_use() {
        for (text, expected) in [
            ("*Since:* now\nthen", "<b>Since:</b> now<br>then"),
            ("`a*b*` *`x`*", "<code>a*b*</code> <b>`x`</b>"),
            (
                "<https://x/?a=1&amp;b=\"|Open \"it\">",
                "<a href=\"https://x/?a=1&amp;b=&quot;\">Open &quot;it&quot;</a>",
            ),
            ("3 * 4 < 5 ` \"", "3 * 4 &lt; 5 ` &quot;"),
            ("*not\nbold*", "*not<br>bold*"),
            ("", ""),
        ] {
            assert_eq!(html(text).into_string(), expected, "{text}");
        }
    }
}
