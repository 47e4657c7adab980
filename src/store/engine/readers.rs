//! Users of the embedded engine who may read some sources and nothing else: `[[clickhouse.readers]]`. For a server,
//! `sql/access.example.sql` has the same as statements.

use super::config::sha256_hex;
use crate::settings::SourceReader;

/// Tables with a source in each row: a reader sees those of its own sources.
const SOURCE_TABLES: [&str; 9] = [
    "request_rows",
    "model_minute_rows",
    "model_hour_rows",
    "model_day_rows",
    "model_month_rows",
    "user_minute_rows",
    "user_hour_rows",
    "user_day_rows",
    "user_month_rows",
];

/// The monthly limits that `user_month` needs beside them: a reader sees the common one, and those of users whom its
/// sources know.
const LIMIT_TABLE: &str = "user_limit_rows";

/// What reads nothing but these tables, with the rights of whoever asks.
const SOURCE_VIEWS: [&str; 11] = [
    "requests",
    "model_minute",
    "model_hour",
    "model_day",
    "model_month",
    "user_minute",
    "user_hour",
    "user_day",
    "user_month",
    "price_drift",
    "unpriced_models",
];

/// The readers' quotas, for the section `quotas` of the engine's users.
pub(super) fn quotas(readers: &[SourceReader]) -> String {
    let quota = |reader: &SourceReader| {
        let SourceReader { name, queries_per_hour, .. } = reader;
        format!(
            "    <{name}><interval><duration>3600</duration><queries>{queries_per_hour}</queries></interval></{name}>\n"
        )
    };
    readers.iter().map(quota).collect()
}

/// The readers, for the section `users`. Names have letters, digits, `-` and `_` only, so that nothing needs quoting.
pub(super) fn users(readers: &[SourceReader], database: &str, loopback: &str) -> String {
    let user = |reader: &SourceReader| {
        let name = &reader.name;
        let sources: Vec<String> = reader.sources.iter().map(|source| format!("'{source}'")).collect();
        let is_own = format!("source IN ({})", sources.join(", "));
        let known = format!("is_default OR user_id IN (SELECT user_id FROM {database}.user_month_rows WHERE {is_own})");
        let filter = |table: &str, rows: &str| format!("        <{table}><filter>{rows}</filter></{table}>\n");
        let filters = SOURCE_TABLES.map(|table| filter(table, &is_own)).concat() + &filter(LIMIT_TABLE, &known);
        let grant = |table: &str| format!("        <query>GRANT SELECT ON {database}.{table}</query>\n");
        let grants = [SOURCE_TABLES.map(grant).concat(), grant(LIMIT_TABLE), SOURCE_VIEWS.map(grant).concat()].concat();
        format!(
            "    <{name}>
      <password_sha256_hex>{}</password_sha256_hex>
      {loopback}
      <profile>reader</profile>
      <quota>{name}</quota>
      <databases><{database}>
{filters}      </{database}></databases>
      <grants>
{grants}      </grants>
    </{name}>
",
            sha256_hex(reader.password.expose())
        )
    };
    readers.iter().map(user).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The statements for a server give what the embedded engine's readers get.
    #[test]
    fn the_example_for_a_server_says_the_same() {
        let example = include_str!("../../../sql/access.example.sql");
        let granted: Vec<&str> = example
            .lines()
            .filter_map(|line| line.strip_prefix("GRANT SELECT ON heliometer."))
            .filter_map(|rest| rest.strip_suffix(" TO heliometer_read_source;"))
            .collect();
        let mut expected: Vec<&str> = SOURCE_TABLES.into_iter().chain([LIMIT_TABLE]).chain(SOURCE_VIEWS).collect();
        let mut sorted = granted.clone();
        expected.sort_unstable();
        sorted.sort_unstable();
        assert_eq!(sorted, expected);
        let policies: Vec<&str> = example.split("CREATE ROW POLICY").skip(1).collect();
        let tables = |policy: &&str| -> Vec<String> {
            let tables = policy.split_once(" ON").and_then(|(_, rest)| rest.split_once("USING")).expect("tables").0;
            tables.split(',').map(|table| table.trim().trim_start_matches("heliometer.").to_owned()).collect()
        };
        let policies: Vec<Vec<String>> = policies.iter().map(tables).collect();
        let all: Vec<&str> = SOURCE_TABLES.into_iter().chain([LIMIT_TABLE]).collect();
        assert_eq!(policies, [all, SOURCE_TABLES.to_vec(), vec![LIMIT_TABLE]], "all others, and a team's two");
    }
}
