//! What is around every page: head, navigation, range, source, foot.

use maud::{DOCTYPE, Markup, html};

use super::super::{
    assets,
    params::{Selection, input},
    range::Choice,
    source::Part,
};
use super::format;
use crate::domain::UtcMillis;

/// A page with an entry in the navigation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Page {
    Overview,
    Requests,
    Alerts,
    Pipeline,
    Sql,
}

impl Page {
    const ALL: [Self; 5] = [Self::Overview, Self::Requests, Self::Alerts, Self::Pipeline, Self::Sql];

    pub(in super::super) const fn path(self) -> &'static str {
        match self {
            Self::Overview => "/",
            Self::Requests => "/requests",
            Self::Alerts => "/alerts",
            Self::Pipeline => "/pipeline",
            Self::Sql => "/sql",
        }
    }

    const fn label(self) -> &'static str {
        match self {
            Self::Overview => "Overview",
            Self::Requests => "Requests",
            Self::Alerts => "Alerts",
            Self::Pipeline => "Pipeline",
            Self::Sql => "SQL",
        }
    }
}

/// See the module.
#[derive(Debug)]
pub(in super::super) struct Frame<'a> {
    pub(in super::super) page: Page,
    /// Of the document; the page's own name.
    pub(in super::super) title: &'a str,
    pub(in super::super) selection: &'a Selection,
    /// Where range and source lead to, with what they must keep. `None`: the page has no range.
    pub(in super::super) ranged: Option<(&'a str, Vec<(&'static str, String)>)>,
    pub(in super::super) sources: &'a [String],
    /// Alerts that fire now, where the page knows.
    pub(in super::super) firing: Option<usize>,
    pub(in super::super) now: UtcMillis,
}

impl Frame<'_> {
    pub(in super::super) fn render(&self, body: &Markup) -> Markup {
        html! {
            (DOCTYPE)
            html lang="en" data-assets=(*assets::REVISION) {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="color-scheme" content="light dark";
                    title { (self.title) " · Heliometer" }
                    link rel="icon" href=(assets::url("icon.svg"));
                    link rel="stylesheet" href=(assets::url("uplot.css"));
                    link rel="stylesheet" href=(assets::url("style.css"));
                    script src=(assets::url("uplot.js")) defer {}
                    script src=(assets::url("live.js")) defer {}
                }
                body {
                    a .skip href="#main" { "Skip to the content" }
                    (self.header())
                    main #main tabindex="-1" {
                        @if let Some(ranged) = &self.ranged { (self.toolbar(ranged)) } @else { h1 { (self.title) } }
                        @if let Some(problem) = &self.selection.problem { p .notice role="alert" { (sentence(problem)) } }
                        noscript { p .notice { "Charts and live updates need JavaScript. Everything else is here; reload for new numbers." } }
                        (body)
                    }
                    footer {
                        p { "Heliometer " (env!("CARGO_PKG_VERSION")) " · times are UTC · as of " span #as-of data-live { (format::time(self.now)) } }
                    }
                }
            }
        }
    }

    fn header(&self) -> Markup {
        html! {
            header .top {
                a .brand href=(self.selection.link("/", &[])) {
                    img src=(assets::url("icon.svg")) alt="" width="28" height="28";
                    span { "Heliometer" }
                }
                nav aria-label="Pages" {
                    ul {
                        @for page in Page::ALL {
                            li {
                                a href=(self.selection.link(page.path(), &[])) aria-current=[(page == self.page).then_some("page")] {
                                    (page.label())
                                    @if page == Page::Alerts {
                                        span .badge #firing hidden[self.firing.unwrap_or(0) == 0] {
                                            span .count { (self.firing.unwrap_or(0)) } span .hidden { " firing" }
                                        }
                                    }
                                }
                            }
                        }
                    }
                }
                p .live hidden {
                    span .dot aria-hidden="true" {}
                    span #live-state role="status" { "Connecting" }
                    span #live-today {}
                }
            }
        }
    }

    fn toolbar(&self, (path, keep): &(&str, Vec<(&'static str, String)>)) -> Markup {
        let range = &self.selection.range;
        let more: Vec<(&str, &str)> = keep.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let is_between = range.choice == Choice::Between;
        html! {
            div .toolbar {
                h1 { (self.title) }
                nav aria-label="Range" .ranges {
                    ul {
                        @for choice in Choice::LINKS {
                            li {
                                a href=(self.selection.link_with(choice, path, &more)) aria-current=[(choice == range.choice).then_some("true")] title=(choice.label()) {
                                    (short(choice))
                                }
                            }
                        }
                    }
                }
                details .between open[is_between] {
                    summary { "From–to" }
                    form method="get" action=(path) {
                        (hidden(keep))
                        @if !self.selection.source.is_empty() { input type="hidden" name="source" value=(self.selection.source); }
                        label { "From" input type="datetime-local" name="from" value=(input(range.from)) required; }
                        label { "To" input type="datetime-local" name="to" value=(input(range.to)) required; }
                        button { "Show" }
                    }
                }
                @if self.sources.len() > 1 || !self.selection.source.is_empty() {
                    form .source method="get" action=(path) {
                        (hidden(keep))
                        @for (name, value) in self.selection.hidden(range.choice) { @if name != "source" { input type="hidden" name=(name) value=(value); } }
                        label {
                            "Source"
                            select name="source" {
                                option value="" { "all" }
                                @for source in self.sources { option value=(source) selected[*source == self.selection.source] { (source) } }
                                @if !self.selection.source.is_empty() && !self.sources.contains(&self.selection.source) {
                                    option value=(self.selection.source) selected { (self.selection.source) }
                                }
                            }
                        }
                        button { "Apply" }
                    }
                }
                p .span #span data-live { (format::minute(range.from)) " – " (format::minute(UtcMillis(range.to.0.min(self.now.0)))) ", by " (range.grain.name()) }
            }
        }
    }
}

const fn short(choice: Choice) -> &'static str {
    match choice {
        Choice::LastHour => "1 h",
        Choice::Last24Hours => "24 h",
        Choice::Last7Days => "7 d",
        Choice::Last30Days => "30 d",
        Choice::Last90Days => "90 d",
        Choice::MonthToDate => "Month",
        Choice::Between => "",
    }
}

fn hidden(pairs: &[(&'static str, String)]) -> Markup {
    html! { @for (name, value) in pairs { input type="hidden" name=(name) value=(value); } }
}

/// With a capital letter and a full stop.
pub(super) fn sentence(text: &str) -> String {
    let mut characters = text.chars();
    let first = characters.next().map(|first| first.to_uppercase().to_string()).unwrap_or_default();
    let stop = if text.ends_with(['.', '?', '!', '…']) { "" } else { "." };
    format!("{first}{}{stop}", characters.as_str())
}

/// In place of what could not be read.
pub(super) fn problem(message: &str) -> Markup {
    html! { p .notice .bad { "Could not be read: " (sentence(message)) } }
}

/// A part of a page, or why it is not there.
pub(super) fn part<T>(part: &Part<T>, render: impl FnOnce(&T) -> Markup) -> Markup {
    match part {
        Ok(value) => render(value),
        Err(message) => problem(message),
    }
}

/// Only a sentence, for a page that cannot be made.
pub(in super::super) fn message(text: &str) -> Markup {
    html! { p .notice #message data-live { (text) } }
}
