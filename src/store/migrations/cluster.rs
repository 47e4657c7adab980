//! The same statements for a cluster of replicas: every table replicated, every definition made on all of them.

use crate::store::StoreError;

/// How a statement that names what it defines begins. `ON CLUSTER` comes after the name.
const DEFINITIONS: [&str; 4] =
    ["CREATE TABLE IF NOT EXISTS ", "CREATE OR REPLACE VIEW ", "CREATE DATABASE IF NOT EXISTS ", "ALTER TABLE "];

/// Engines and what replicates them. Without a path of their own replicas find each other by the table's UUID, which
/// `ON CLUSTER` makes the same on all of them.
const ENGINES: [(&str, &str); 2] =
    [("ReplacingMergeTree(", "ReplicatedReplacingMergeTree("), ("MergeTree", "ReplicatedMergeTree")];

const ENGINE: &str = "\nENGINE = ";

/// Rewrites one statement of `sql/` for `cluster`; without a cluster it stays as it is.
///
/// # Errors
/// [`StoreError::NotForCluster`] for a form that it does not know: better none than a table that is not replicated.
pub(in crate::store) fn for_cluster(statement: &str, cluster: &str) -> Result<String, StoreError> {
    if cluster.is_empty() {
        return Ok(statement.to_owned());
    }
    rewrite(statement, cluster)
        .ok_or_else(|| StoreError::NotForCluster { statement: statement.lines().next().unwrap_or_default().to_owned() })
}

/// `None` for an unknown form.
fn rewrite(statement: &str, cluster: &str) -> Option<String> {
    let definition = DEFINITIONS.into_iter().find(|definition| statement.starts_with(definition))?;
    let rest = &statement[definition.len()..];
    let name_length = rest.find(char::is_whitespace).unwrap_or(rest.len());
    let (name, rest) = rest.split_at(name_length);
    let is_name = |c: char| c.is_ascii_alphanumeric() || ['_', '.', '`', '-'].contains(&c);
    if name.is_empty() || !name.chars().all(is_name) {
        return None;
    }
    let cluster = cluster.replace('\\', "\\\\").replace('\'', "\\'");
    let head = format!("{definition}{name} ON CLUSTER '{cluster}'");
    if definition != DEFINITIONS[0] {
        return (!rest.contains(ENGINE)).then(|| format!("{head}{rest}"));
    }
    // Exactly one engine, at the begin of a line.
    let (before, engine) = rest.split_once(ENGINE)?;
    if engine.contains(ENGINE) {
        return None;
    }
    let (from, to) = ENGINES.into_iter().find(|(from, _)| engine.starts_with(from))?;
    let after = &engine[from.len()..];
    // `MergeTree` alone, not the beginning of a longer name.
    if !from.ends_with('(') && !after.is_empty() && !after.starts_with(['\n', ' ']) {
        return None;
    }
    Some(format!("{head}{before}{ENGINE}{to}{after}"))
}

#[cfg(test)]
mod tests {
    use super::{
        super::{CREATE_RECORD, MIGRATIONS, statements},
        *,
    };

    #[test]
    fn every_statement_of_sql_is_rewritten_completely() {
        let all = MIGRATIONS.iter().flat_map(|migration| statements(migration.sql)).chain([CREATE_RECORD.to_owned()]);
        let mut tables = 0;
        for statement in all {
            let rewritten = for_cluster(&statement, "main").expect("a known form");
            let first = rewritten.lines().next().expect("is not empty");
            let words: Vec<&str> = first.split_whitespace().collect();
            let on = words.iter().position(|word| *word == "ON").unwrap_or_else(|| panic!("no ON CLUSTER in {first}"));
            assert_eq!(words[on..on + 3], ["ON", "CLUSTER", "'main'"], "{first}");
            let before = &words[..on - 1];
            match before {
                ["CREATE", "TABLE", "IF", "NOT", "EXISTS"] => {
                    tables += 1;
                    let engines: Vec<&str> =
                        rewritten.lines().filter_map(|line| line.trim_start().strip_prefix("ENGINE = ")).collect();
                    assert!(matches!(engines[..], [engine] if engine.starts_with("Replicated")), "{rewritten}");
                }
                ["CREATE", "OR", "REPLACE", "VIEW"] | ["ALTER", "TABLE"] => {
                    assert!(!rewritten.contains("ENGINE"), "{rewritten}");
                }
                _ => panic!("ON CLUSTER is in the wrong place: {first}"),
            }
            // Nothing else has changed.
            let back = rewritten.replace(" ON CLUSTER 'main'", "").replace("\nENGINE = Replicated", "\nENGINE = ");
            assert_eq!(back, statement);
            assert_eq!(for_cluster(&statement, "").expect("stays"), statement);
        }
        assert!(tables >= 13, "{tables} tables");
    }

    #[test]
    fn each_form_by_itself() {
        let cases = [
            (
                "CREATE TABLE IF NOT EXISTS a\n(\n    x UInt8\n)\nENGINE = MergeTree\nORDER BY x",
                "CREATE TABLE IF NOT EXISTS a ON CLUSTER 'c'\n(\n    x UInt8\n)\nENGINE = ReplicatedMergeTree\nORDER BY x",
            ),
            (
                "CREATE TABLE IF NOT EXISTS a AS b\nENGINE = ReplacingMergeTree(v, d)\nORDER BY x",
                "CREATE TABLE IF NOT EXISTS a ON CLUSTER 'c' AS b\nENGINE = ReplicatedReplacingMergeTree(v, d)\nORDER BY x",
            ),
            ("CREATE OR REPLACE VIEW v\nAS SELECT 1", "CREATE OR REPLACE VIEW v ON CLUSTER 'c'\nAS SELECT 1"),
            ("CREATE DATABASE IF NOT EXISTS `d-1`", "CREATE DATABASE IF NOT EXISTS `d-1` ON CLUSTER 'c'"),
            ("ALTER TABLE a ADD COLUMN x UInt8", "ALTER TABLE a ON CLUSTER 'c' ADD COLUMN x UInt8"),
        ];
        for (statement, expected) in cases {
            assert_eq!(for_cluster(statement, "c").expect("a known form"), expected);
        }
        let quoted = for_cluster("CREATE DATABASE IF NOT EXISTS d", "a'b\\c").expect("a known form");
        assert_eq!(quoted, "CREATE DATABASE IF NOT EXISTS d ON CLUSTER 'a\\'b\\\\c'");
    }

    #[test]
    fn an_unknown_form_is_refused() {
        for statement in [
            "DROP TABLE a",
            "CREATE TABLE a\nENGINE = MergeTree",
            "CREATE TABLE IF NOT EXISTS a (x UInt8)",
            "CREATE TABLE IF NOT EXISTS a\nENGINE = Memory",
            "CREATE TABLE IF NOT EXISTS a\nENGINE = MergeTreeOfAnotherKind",
            "CREATE TABLE IF NOT EXISTS a\nENGINE = SummingMergeTree(x)",
            "CREATE TABLE IF NOT EXISTS a\nENGINE = MergeTree\nENGINE = MergeTree",
            "CREATE TABLE IF NOT EXISTS a(x UInt8)\nENGINE = MergeTree",
            "CREATE MATERIALIZED VIEW v\nENGINE = MergeTree",
            "CREATE OR REPLACE VIEW v\nENGINE = MergeTree",
            "",
        ] {
            assert!(matches!(for_cluster(statement, "c"), Err(StoreError::NotForCluster { .. })), "{statement}");
        }
    }
}
