//! A report as Markdown.

use std::fmt::Write as _;

use super::{super::wording::escape_markdown, Report, Words};

/// Markdown with tables, as most forges and wikis show them.
#[must_use]
pub fn markdown(report: &Report) -> String {
    let words = Words::of(report);
    let mut text = format!("# {}\n\n| | |\n|---|---|\n", escape_markdown(&words.title));
    for (name, value) in &words.facts {
        let _ = writeln!(text, "| {name} | {} |", escape_markdown(value));
    }
    for (heading, lines) in &words.lists {
        let _ = write!(text, "\n## {heading}\n\n");
        for line in lines {
            let _ = writeln!(text, "- **{}**: {}", escape_markdown(&line.name), escape_markdown(&line.text));
        }
    }
    let _ = writeln!(text, "\n{}", escape_markdown(&words.completeness));
    text
}

#[cfg(test)]
mod tests {
    use super::{super::super::preview::samples, *};

    #[test]
    fn names_format_nothing() {
        let mut report = samples::report();
        report.top_users[0].name = "*bold* | [x](https://evil.example)".to_owned();
        let text = markdown(&report);
        assert!(text.contains("- **\\*bold\\* \\| \\[x\\](https:\u{2060}//evil.example)**: $61.00"), "{text}");
        assert!(text.contains("| Calls | 12,034, +3 % |\n"), "{text}");
    }
}
