//! A report as HTML: a page of its own, and what an email shows.

use maud::{DOCTYPE, Markup, html};

use super::{Line, Report, Words};

const STYLE: &str = include_str!("style.css");

/// A page without anything from elsewhere, to be kept or printed.
#[must_use]
pub fn page(report: &Report) -> String {
    let words = Words::of(report);
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (words.title) }
                style { (maud::PreEscaped(STYLE)) }
            }
            body { (content(&words)) }
        }
    }
    .into_string()
}

/// The same without a page around it.
pub(in super::super) fn fragment(report: &Report) -> Markup {
    content(&Words::of(report))
}

fn content(words: &Words) -> Markup {
    html! {
        h1 { (words.title) }
        table {
            @for (name, value) in &words.facts {
                tr { th scope="row" align="left" { (name) } td { (value) } }
            }
        }
        @for (heading, lines) in &words.lists {
            h2 { (heading) }
            ul { @for Line { name, text } in lines { li { b { (name) } ": " (text) } } }
        }
        p.completeness { (words.completeness) }
    }
}
