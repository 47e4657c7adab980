//! The monthly limits of users, written to `user_limit_rows` at start so that the view `user_month` shows them.

use std::collections::BTreeMap;

use clickhouse::{Client, Row};
use serde::{Deserialize, Serialize};

use super::{
    AlertError,
    error::bounded,
    rule::{Condition, Period, Rule},
};
use crate::{domain::UtcMillis, notify::Quantity};

#[derive(Clone, Debug, PartialEq, Eq, Row, Serialize, Deserialize)]
struct LimitRow {
    user_id: String,
    is_default: bool,
    limit_usd: i128,
    version: u64,
    is_deleted: u8,
}

/// Limits in pico-dollars by (is the default, user).
type Limits = BTreeMap<(bool, String), i128>;

/// Makes the table say what the rules say.
pub(super) async fn publish(client: &Client, rules: &[&Rule], now: UtcMillis) -> Result<(), AlertError> {
    let query = client.query("SELECT ?fields FROM user_limit_rows FINAL");
    let known: Vec<LimitRow> = bounded("read user limits", query.fetch_all()).await?;
    let changes = changes(&monthly(rules), known, now);
    if changes.is_empty() {
        return Ok(());
    }
    let write = async {
        let mut insert = client.insert::<LimitRow>("user_limit_rows").await?;
        for row in &changes {
            insert.write(row).await?;
        }
        insert.end().await
    };
    bounded("write user limits", write).await
}

/// Of several rules that limit a user's month, the lowest limit counts.
fn monthly(rules: &[&Rule]) -> Limits {
    let mut limits = Limits::new();
    let mut add = |key: (bool, String), limit: Quantity| {
        if let Quantity::Usd(amount) = limit {
            let lowest = limits.entry(key).or_insert(i128::MAX);
            *lowest = amount.pico_usd().min(*lowest);
        }
    };
    for rule in rules {
        let Condition::Total(total) = &rule.condition else { continue };
        // A filtered rule limits a part of the spend, which the view does not show.
        if total.kind == "usage" && total.period == Period::Month && rule.filter.0.is_empty() {
            add((true, String::new()), total.limit);
            total.overrides.iter().for_each(|(user, limit)| add((false, user.clone()), *limit));
        }
    }
    limits
}

/// What is to be written so that `known` becomes `wanted`.
fn changes(wanted: &Limits, known: Vec<LimitRow>, now: UtcMillis) -> Vec<LimitRow> {
    let version = u64::try_from(now.0).unwrap_or(0).max(known.iter().map(|row| row.version + 1).max().unwrap_or(0));
    let mut known: BTreeMap<(bool, String), LimitRow> =
        known.into_iter().map(|row| ((row.is_default, row.user_id.clone()), row)).collect();
    let mut rows = Vec::new();
    for ((is_default, user_id), limit_usd) in wanted {
        let key = (*is_default, user_id.clone());
        if known.remove(&key).is_none_or(|row| row.limit_usd != *limit_usd) {
            let limit_usd = *limit_usd;
            rows.push(LimitRow { user_id: key.1, is_default: key.0, limit_usd, version, is_deleted: 0 });
        }
    }
    rows.extend(known.into_values().map(|row| LimitRow { version, is_deleted: 1, ..row }));
    rows
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn limits_are_written_when_they_change_and_withdrawn_when_they_go() {
        let rule = |limit: f64| -> Rule {
            let table = json!({"name": "u", "kind": "usage", "unit": "usd", "limit": limit, "overrides": {"ann": 500}});
            serde_json::from_value(table).expect("a rule")
        };
        let first = changes(&monthly(&[&rule(100.0)]), Vec::new(), UtcMillis(5));
        let short = |rows: &[LimitRow]| -> Vec<(String, bool, i128, u64, u8)> {
            rows.iter()
                .map(|row| {
                    (
                        row.user_id.clone(),
                        row.is_default,
                        row.limit_usd / 1_000_000_000_000,
                        row.version,
                        row.is_deleted,
                    )
                })
                .collect()
        };
        assert_eq!(short(&first), [("ann".to_owned(), false, 500, 5, 0), (String::new(), true, 100, 5, 0)]);
        assert!(changes(&monthly(&[&rule(100.0)]), first.clone(), UtcMillis(6)).is_empty());
        let lower = changes(&monthly(&[&rule(100.0), &rule(90.0)]), first.clone(), UtcMillis(6));
        assert_eq!(short(&lower), [(String::new(), true, 90, 6, 0)]);
        let gone = changes(&monthly(&[]), first, UtcMillis(1));
        assert_eq!(short(&gone), [("ann".to_owned(), false, 500, 6, 1), (String::new(), true, 100, 6, 1)]);
    }
}
