//! What a URL or a form says, within bounds; and links that say it again.

use url::form_urlencoded;

use super::range::{Choice, Range};
use crate::domain::UtcMillis;

const MAX_PAIRS: usize = 32;
/// Longer values are cut: no name that is stored is as long.
const MAX_CHARACTERS: usize = 512;

/// Names and values, decoded.
#[derive(Clone, Debug, Default)]
pub(super) struct Params(Vec<(String, String)>);

impl Params {
    pub(super) fn parse(query: Option<&str>) -> Self {
        let pairs = form_urlencoded::parse(query.unwrap_or_default().as_bytes());
        let cut = |text: &str| text.chars().take(MAX_CHARACTERS).collect();
        Self(pairs.take(MAX_PAIRS).map(|(name, value)| (cut(&name), cut(&value))).collect())
    }

    /// The first value of that name; empty without one.
    pub(super) fn get(&self, name: &str) -> &str {
        self.0.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value.trim())
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(known, _)| known == name)
    }
}

/// What every page keeps when it links to another: the range and the source.
#[derive(Clone, Debug)]
pub(super) struct Selection {
    pub(super) range: Range,
    /// Empty: all sources.
    pub(super) source: String,
    /// What is wrong with the URL.
    pub(super) problem: Option<String>,
}

impl Selection {
    pub(super) fn parse(params: &Params, now: UtcMillis) -> Self {
        let (range, problem) = Range::parse(params, now);
        Self { range, source: params.get("source").to_owned(), problem }
    }

    /// A link to `path` that keeps the selection and says `more`.
    pub(super) fn link(&self, path: &str, more: &[(&str, &str)]) -> String {
        self.link_with(self.range.choice, path, more)
    }

    /// The same with another range.
    pub(super) fn link_with(&self, choice: Choice, path: &str, more: &[(&str, &str)]) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        for (name, value) in more {
            query.append_pair(name, value);
        }
        for (name, value) in self.hidden(choice) {
            query.append_pair(name, &value);
        }
        let query = query.finish();
        if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") }
    }

    /// The selection as names and values, without what is usual.
    pub(super) fn hidden(&self, choice: Choice) -> Vec<(&'static str, String)> {
        let mut pairs = match choice {
            Choice::Last24Hours => Vec::new(),
            Choice::Between => vec![("from", input(self.range.from)), ("to", input(self.range.to))],
            choice => vec![("range", choice.key().to_owned())],
        };
        if !self.source.is_empty() {
            pairs.push(("source", self.source.clone()));
        }
        pairs
    }
}

/// As an `<input type="datetime-local">` has it: `2026-11-24T12:30`.
pub(super) fn input(at: UtcMillis) -> String {
    at.to_string().chars().take(16).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_say_what_was_asked_and_nothing_usual() {
        let now = UtcMillis(1_764_101_971_000);
        for (query, more, expected) in [
            ("", &[][..], "/model"),
            ("range=24h", &[], "/model"),
            ("range=7d&source=demo", &[("name", "gpt-4o")], "/model?name=gpt-4o&range=7d&source=demo"),
            ("range=7d&junk=1", &[("name", "")], "/model?name=&range=7d"),
            (
                "source=a%26b%3D%22%3C",
                &[("name", "a b/<script>")],
                "/model?name=a+b%2F%3Cscript%3E&source=a%26b%3D%22%3C",
            ),
            ("from=2025-11-20T10:20&to=2025-11-22", &[], "/model?from=2025-11-20T10%3A00&to=2025-11-22T00%3A00"),
        ] {
            let selection = Selection::parse(&Params::parse(Some(query)), now);
            let link = selection.link("/model", more);
            assert_eq!(link, expected, "{query}");
            let again = Params::parse(link.split_once('?').map(|(_, query)| query));
            assert_eq!(Selection::parse(&again, now).range, selection.range, "{link} means the same");
            assert_eq!(again.get("source"), selection.source, "{link} means the same");
        }
    }

    #[test]
    fn what_is_too_much_is_cut() {
        let long = format!("user={}", "ü".repeat(10_000));
        assert_eq!(Params::parse(Some(&long)).get("user").chars().count(), MAX_CHARACTERS);
        let many = "a=1&".repeat(10_000) + "b=2";
        assert!(!Params::parse(Some(&many)).has("b"));
    }
}
