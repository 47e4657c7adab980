//! What the row of a step says beside the decision: who added most, what the numbers stand on, and the words of a rule that
//! is gone.

use std::collections::HashMap;

use clickhouse::Client;

use super::{
    AlertError, contributors, forecast,
    journal::{Details, Journal, TransitionRow},
    observe::{self, Backlog, SpendOf},
    period::Span,
    rule::{Condition, Rule},
    transition::Transition,
};
use crate::domain::UtcMillis;

/// Messages of one pass that get their top contributors; further ones go without.
const MAX_DETAILED: usize = 20;

/// The rows to record. A failing query leaves details out: the alert matters more.
///
/// # Errors
/// [`AlertError`] when it cannot be found out whom the alerts of a rule that is gone were told.
pub(super) async fn describe(
    journal: &Journal,
    rules: &HashMap<&str, &Rule>,
    transitions: Vec<Transition>,
    now: UtcMillis,
) -> Result<Vec<(Transition, TransitionRow)>, AlertError> {
    let client = &journal.client;
    let orphans: Vec<&str> = transitions
        .iter()
        .filter(|transition| !rules.contains_key(transition.key.rule.as_str()))
        .map(|transition| transition.fingerprint.as_str())
        .collect();
    let last_steps = journal.last_steps(&orphans).await?;
    let mut detailed = 0;
    let mut backlog = None;
    let mut newest = None;
    let mut rows = Vec::with_capacity(transitions.len());
    for transition in transitions {
        let rule = rules.get(transition.key.rule.as_str()).copied();
        let mut details = Details::default();
        if let Some(rule) = rule.filter(|_| transition.notify) {
            if detailed == 0 {
                newest = or_none(contributors::newest_event(client, now).await).flatten();
                backlog = or_none(observe::lag(client, now).await).flatten();
            }
            details.newest_event = newest;
            details.notes.extend(Some(transition.note.clone()).filter(|note| !note.is_empty()));
            details.notes.extend(backlog.as_ref().map(Backlog::note));
            if detailed < MAX_DETAILED {
                let top = contributors::top(client, rule, &transition, now).await;
                let (contributors, against) = or_none(top).unwrap_or_default();
                details.contributors = contributors;
                details.notes.extend(against);
                details.notes.extend(or_none(budget_notes(client, rule, &transition, now).await).unwrap_or_default());
            }
            detailed += 1;
        }
        let row = TransitionRow::new(&transition, rule, &details);
        let row = match last_steps.get(&transition.fingerprint) {
            Some(last) => row.in_words_of(last),
            None => row,
        };
        rows.push((transition, row));
    }
    Ok(rows)
}

/// How fast money goes, and where to, for rules that limit it.
async fn budget_notes(
    client: &Client,
    rule: &Rule,
    transition: &Transition,
    now: UtcMillis,
) -> Result<Vec<String>, AlertError> {
    let (Condition::Total(total), Some(start), Some(end)) =
        (&rule.condition, transition.key.period_start, transition.state.period_end)
    else {
        return Ok(Vec::new());
    };
    let group = transition.key.group.as_str();
    let (Some(limit), true) = (total.limit_of(group).pico_usd(), now < end) else { return Ok(Vec::new()) };
    let span = Span { start, end, label: String::new() };
    let (spent, courses) = observe::courses(client, SpendOf::of(rule, total), (&span, group), now).await?;
    Ok(forecast::notes(spent, limit, &courses, &span, now))
}

fn or_none<T>(result: Result<T, AlertError>) -> Option<T> {
    result.inspect_err(|error| tracing::warn!(%error, "an alert goes without some details")).ok()
}
