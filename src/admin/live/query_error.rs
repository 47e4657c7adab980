//! What ClickHouse says about a query, without the noise.

/// The longest message that is shown.
const MAX_CHARACTERS: usize = 400;

/// For people.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct QueryError {
    /// What is wrong.
    pub(super) message: String,
    /// Its name in ClickHouse, such as `UNKNOWN_TABLE`; empty when it has none.
    pub(super) name: String,
    /// Line and column, from 1.
    pub(super) position: Option<(usize, usize)>,
}

impl QueryError {
    /// From an answer such as `Code: 62. DB::Exception: Syntax error: … (SYNTAX_ERROR) (version 26.7…)`.
    pub(super) fn parse(text: &str) -> Self {
        let text = text.trim();
        let text = text.split_once("DB::Exception: ").map_or(text, |(_, rest)| rest);
        // Who asked is known.
        let text = text.strip_prefix("reader: ").unwrap_or(text);
        let text = text.split_once(" (version ").map_or(text, |(text, _)| text);
        let (text, name) = match text.rsplit_once(" (") {
            Some((text, name)) if is_name(name) => (text, name.trim_end_matches(')')),
            _ => (text, ""),
        };
        let position = position(text);
        // What the parser would have taken instead is longer than anybody reads, and so is a stack of scopes.
        let mut message = text;
        for noise in [" Expected one of:", " In scope ", ": In scope ", ": while executing", ": While processing"] {
            message = message.split_once(noise).map_or(message, |(message, _)| message);
        }
        let message =
            if name == "SYNTAX_ERROR" { syntax_error(message) } else { message.replace("DB::Exception: ", "") };
        let message = message.trim_end_matches(['.', ':', ' ', '\n']);
        let cut: String = message.chars().take(MAX_CHARACTERS).collect();
        let ellipsis = if cut.len() < message.len() { " …" } else { "" };
        Self { message: cut + ellipsis, name: name.to_owned(), position }
    }
}

fn is_name(text: &str) -> bool {
    text.strip_suffix(')').is_some_and(|name| {
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_')
    })
}

/// `(line 2, col 8)`; of a query of one line only `failed at position 8`.
fn position(text: &str) -> Option<(usize, usize)> {
    if let Some((_, place)) = text.split_once("(line ") {
        let (line, rest) = place.split_once(", col ")?;
        return Some((line.parse().ok()?, rest.split_once(')')?.0.parse().ok()?));
    }
    let (_, place) = text.split_once("failed at position ")?;
    Some((1, place.split_once(' ')?.0.parse().ok()?))
}

/// `Syntax error: failed at position 15 (FRM) (line 1, col 15): FRM model_day` as `Syntax error near “FRM model_day”`.
fn syntax_error(text: &str) -> String {
    if text.contains("(end of query)") {
        return "Syntax error: the query ends too early".to_owned();
    }
    let near = text.split_once("failed at position ").and_then(|(_, rest)| rest.split_once("): "));
    match near.and_then(|(_, near)| near.lines().next()).map(|near| near.trim().trim_end_matches('.')) {
        Some(near) if !near.is_empty() => format!("Syntax error near “{}”", near.chars().take(60).collect::<String>()),
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_told_without_noise() {
        for (text, message, name, position) in [
            (
                "Code: 62. DB::Exception: Syntax error: failed at position 10 (model_day) (line 1, col 10): model_day. \
                 Expected one of: token, Comma, FROM, PREWHERE. (SYNTAX_ERROR) (version 26.7.3.1)",
                "Syntax error near “model_day”",
                "SYNTAX_ERROR",
                Some((1, 10)),
            ),
            (
                "Code: 62. DB::Exception: Syntax error: failed at position 7 (end of query): . Expected one of: a, b. \
                 (SYNTAX_ERROR) (version 26.7.3.1)",
                "Syntax error: the query ends too early",
                "SYNTAX_ERROR",
                Some((1, 7)),
            ),
            (
                "Code: 60. DB::Exception: Unknown table expression identifier 'model_dy' in scope SELECT 1 FROM model_dy. \
                 (UNKNOWN_TABLE) (version 26.7.3.1)\n",
                "Unknown table expression identifier 'model_dy' in scope SELECT 1 FROM model_dy",
                "UNKNOWN_TABLE",
                None,
            ),
            (
                "Code: 497. DB::Exception: reader: Not enough privileges. To execute this query, it's necessary to have the \
                 grant SELECT(a) ON heliometer.contents. (ACCESS_DENIED) (version 1)",
                "Not enough privileges. To execute this query, it's necessary to have the grant SELECT(a) ON heliometer.contents",
                "ACCESS_DENIED",
                None,
            ),
            (
                "Code: 62. DB::Exception: Syntax error: failed at position 8 (1): 1. Expected one of: a. (SYNTAX_ERROR)",
                "Syntax error near “1”",
                "SYNTAX_ERROR",
                Some((1, 8)),
            ),
            ("connection refused", "connection refused", "", None),
            ("", "", "", None),
        ] {
            let expected = QueryError { message: message.to_owned(), name: name.to_owned(), position };
            assert_eq!(QueryError::parse(text), expected, "{text}");
        }
        assert_eq!(QueryError::parse(&"ü".repeat(5_000)).message.chars().count(), MAX_CHARACTERS + 2);
    }
}
