//! Users of the embedded engine who may read some sources and nothing else: `[[clickhouse.readers]]`. For a server,
//! `sql/access.example.sql` has the same as statements.

use super::config::sha256_hex;
use crate::settings::SourceReader;

/// Tables with a source in each row: a reader sees those of its own sources.
pub(super) const SOURCE_TABLES: [&str; 9] = [
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

/// What reads nothing but these tables, with the rights of whoever asks, and the limits that `user_month` needs beside them.
pub(super) const SOURCE_VIEWS: [&str; 12] = [
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
    "user_limit_rows",
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
        let filter = format!("<filter>source IN ({})</filter>", sources.join(", "));
        let filters = SOURCE_TABLES.map(|table| format!("        <{table}>{filter}</{table}>\n")).concat();
        let grant = |name: &str| format!("        <query>GRANT SELECT ON {database}.{name}</query>\n");
        let grants = [SOURCE_TABLES.map(grant).concat(), SOURCE_VIEWS.map(grant).concat()].concat();
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
        let mut expected: Vec<&str> = SOURCE_TABLES.into_iter().chain(SOURCE_VIEWS).collect();
        let mut sorted = granted.clone();
        expected.sort_unstable();
        sorted.sort_unstable();
        assert_eq!(sorted, expected);
        let policies: Vec<&str> = example.split("CREATE ROW POLICY").skip(1).collect();
        assert_eq!(policies.len(), 2, "one for everybody else, one for the team");
        for policy in policies {
            let tables = policy.split_once(" ON").and_then(|(_, rest)| rest.split_once("USING")).expect("tables").0;
            let tables: Vec<&str> =
                tables.split(',').map(|table| table.trim().trim_start_matches("heliometer.")).collect();
            assert_eq!(tables, SOURCE_TABLES);
        }
    }
}
