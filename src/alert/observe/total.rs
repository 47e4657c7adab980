//! Totals since the start of a period.

use clickhouse::{Client, Row};
use serde::Deserialize;

use super::{
    super::{
        AlertError,
        error::bounded,
        period::Span,
        rule::{Rule, Total},
        transition::GroupValue,
    },
    ANY_LENGTH, Bind, DOING, GROUPS_AND_ONE, SUMS, Sql, View, group_expression, push_filter, push_rows,
};
use crate::{domain::UsdAmount, notify::Quantity};

/// Groups that have reached the lowest threshold of the lowest limit, and those that are active.
pub(super) async fn groups(
    client: &Client,
    rule: &Rule,
    total: &Total,
    span: &Span,
    active: Vec<String>,
) -> Result<Vec<GroupValue>, AlertError> {
    let query = total_sql(rule, total, span, active).query(client);
    let rows: Vec<TotalRow> = bounded(DOING, query.fetch_all()).await?;
    Ok(rows.into_iter().map(|row| row.into_group(total.limit)).collect())
}

#[derive(Row, Deserialize)]
struct TotalRow {
    grp: String,
    usd: i128,
    tokens: u64,
    reqs: u64,
    priced: u64,
}

impl TotalRow {
    fn into_group(self, unit: Quantity) -> GroupValue {
        let value = match unit {
            Quantity::Usd(_) => Quantity::Usd(UsdAmount::from_pico_usd(self.usd)),
            Quantity::Requests(_) => Quantity::Requests(self.reqs),
            _ => Quantity::Tokens(self.tokens),
        };
        GroupValue {
            group: self.grp,
            value,
            requests: self.reqs,
            priced_requests: self.priced,
            exceeding_requests: None,
            limit: None,
            note: String::new(),
        }
    }
}

pub(super) fn total_sql(rule: &Rule, total: &Total, span: &Span, active: Vec<String>) -> Sql {
    let value = match total.limit {
        Quantity::Usd(_) => "usd",
        Quantity::Requests(_) => "reqs",
        _ => "tokens",
    };
    let mut sql = Sql::default();
    sql.push(&format!("SELECT name AS grp, {SUMS} FROM "));
    let parts = View::cover(rule.scope, &rule.filter, span, ANY_LENGTH);
    push_rows(&mut sql, &parts, &group_expression(rule.scope), |sql| push_filter(sql, &rule.filter));
    sql.push(&format!(" GROUP BY grp HAVING {value} >= toDecimal128(?, 12) OR has(?, grp)"));
    sql.bind(Bind::Text(lowest(total))).bind(Bind::Texts(active));
    sql.push(&format!(" ORDER BY {value} DESC, grp LIMIT ?"));
    sql.bind(Bind::Int(GROUPS_AND_ONE));
    sql
}

/// The least value that could matter, as a decimal text.
pub(super) fn lowest(total: &Total) -> String {
    let percent = i128::from(total.thresholds.first().copied().unwrap_or(0));
    let pico = |limit: &Quantity| match *limit {
        Quantity::Usd(amount) => amount.pico_usd(),
        Quantity::Tokens(count) | Quantity::Requests(count) => i128::from(count) * 1_000_000_000_000,
        _ => 0,
    };
    let limit = total.overrides.values().chain([&total.limit]).map(pico).min().unwrap_or(0);
    UsdAmount::from_pico_usd(limit.saturating_mul(percent) / 100).to_string()
}
