//! Limits of single users from a CSV file or a query, read again while the service runs.

use std::{
    collections::BTreeMap,
    io::Read,
    path::Path,
    time::{Duration, Instant, SystemTime},
};

use serde_json::{Map, Value};

use super::{
    AlertError,
    observe::{Engine, rows},
    rule::{Condition, LimitSource, Rule, quantity_of},
};
use crate::notify::Quantity;

/// Users with a limit of their own; more are refused.
const MAX_LIMITS: usize = 100_000;
const MAX_FILE_BYTES: u64 = 16 * 1024 * 1024;
/// A file is looked at this often.
const FILE_EVERY: Duration = Duration::from_secs(2);
/// A query is asked this often.
const QUERY_EVERY: Duration = Duration::from_secs(60);

/// Limits by user.
pub(super) type Limits = BTreeMap<String, Quantity>;

/// The limits that one rule reads from elsewhere.
#[derive(Debug, Default)]
pub(super) struct LimitReader {
    /// The last ones that could be read. Without any, the rule must not be judged: by other limits it would cry wolf.
    pub(super) known: Option<Limits>,
    looked: Option<Instant>,
    /// The file as it was when it was read last.
    file: Option<(SystemTime, u64)>,
}

impl LimitReader {
    /// Reads again if it is time; whether there are other limits now. What was known stays when that fails.
    pub(super) async fn refresh(&mut self, engine: Engine<'_>, rule: &Rule) -> Result<bool, AlertError> {
        let Condition::Total(total) = &rule.condition else { return Ok(false) };
        let Some(source) = &total.limit_source else { return Ok(false) };
        let every = if matches!(source, LimitSource::File(_)) { FILE_EVERY } else { QUERY_EVERY };
        if self.looked.is_some_and(|looked| looked.elapsed() < every) {
            return Ok(false);
        }
        self.looked = Some(Instant::now());
        let limits = match source {
            LimitSource::File(path) => {
                let error = |message: String| AlertError::Rule {
                    rule: rule.name.clone(),
                    message: format!("limits_file {}: {message}", path.display()),
                };
                let stamp = stamp(path).map_err(|source| error(source.to_string()))?;
                if self.known.is_some() && self.file == Some(stamp) {
                    return Ok(false);
                }
                let limits = read_file(path, total.limit).map_err(error)?;
                self.file = Some(stamp);
                limits
            }
            LimitSource::Query(query) => {
                let error = |message| AlertError::Query { rule: rule.name.clone(), message };
                let rows = rows(engine.reader, &rule.name, query, MAX_LIMITS + 1).await?;
                of_rows(rows, total.limit).map_err(error)?
            }
        };
        if self.known.as_ref() == Some(&limits) {
            return Ok(false);
        }
        tracing::info!(rule = rule.name, users = limits.len(), "limits of users read");
        self.known = Some(limits);
        Ok(true)
    }
}

fn stamp(path: &Path) -> std::io::Result<(SystemTime, u64)> {
    let metadata = std::fs::metadata(path)?;
    Ok((metadata.modified()?, metadata.len()))
}

fn read_file(path: &Path, unit: Quantity) -> Result<Limits, String> {
    let file = std::fs::File::open(path).map_err(|error| error.to_string())?;
    let mut text = String::new();
    file.take(MAX_FILE_BYTES + 1).read_to_string(&mut text).map_err(|error| error.to_string())?;
    if text.len() as u64 > MAX_FILE_BYTES {
        return Err(format!("has more than {MAX_FILE_BYTES} bytes"));
    }
    read_csv(&text, unit)
}

/// `user,limit` a line. A user may stand in quotes; a first line without a number is a heading; `#` begins a comment.
pub(super) fn read_csv(text: &str, unit: Quantity) -> Result<Limits, String> {
    let mut limits = Limits::new();
    for (index, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let place = format!("line {}", index + 1);
        let (user, limit) = line.rsplit_once(',').ok_or_else(|| format!("{place}: is not `user,limit`"))?;
        match quantity_of(limit.trim().trim_matches('"'), unit) {
            None if index == 0 && !limit.bytes().any(|byte| byte.is_ascii_digit()) => {}
            None => return Err(format!("{place}: the limit is not a number above 0 in {}", unit.unit())),
            Some(limit) => {
                insert(&mut limits, unquoted(user.trim()), limit).map_err(|error| format!("{place}: {error}"))?;
            }
        }
    }
    Ok(limits)
}

fn unquoted(text: &str) -> String {
    match text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        Some(inner) => inner.replace("\"\"", "\""),
        None => text.to_owned(),
    }
}

fn of_rows(rows: Vec<Map<String, Value>>, unit: Quantity) -> Result<Limits, String> {
    let mut limits = Limits::new();
    for mut row in rows {
        let (Some(Value::String(user)), Some(limit)) = (row.remove("user_id"), row.remove("limit")) else {
            return Err("it must give columns `user_id` (a String) and `limit`".to_owned());
        };
        let text = match limit {
            Value::Number(number) => number.to_string(),
            Value::String(text) => text,
            // No limit of their own.
            Value::Null => continue,
            _ => String::new(),
        };
        let limit = quantity_of(&text, unit)
            .ok_or_else(|| format!("its column `limit` is not always a number above 0 in {}", unit.unit()))?;
        insert(&mut limits, user, limit)?;
    }
    Ok(limits)
}

fn insert(limits: &mut Limits, user: String, limit: Quantity) -> Result<(), String> {
    if limits.insert(user, limit).is_some() {
        return Err("a user has two limits".to_owned());
    }
    if limits.len() > MAX_LIMITS { Err(format!("more than {MAX_LIMITS} users have limits")) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::UsdAmount;

    const USD: Quantity = Quantity::Usd(UsdAmount::ZERO);

    fn shown(limits: &Result<Limits, String>) -> Result<Vec<String>, String> {
        let limits = limits.as_ref().map_err(Clone::clone)?;
        Ok(limits.iter().map(|(user, limit)| format!("{user} {limit}")).collect())
    }

    #[test]
    fn csv_is_read_as_people_write_it() {
        let text = "\u{feff}user_id,limit_usd\r\n# by hand\r\nann,500\r\n\"Bob, Jr. \"\"B\"\"\",0.1\r\n\r\n, 7\r\n";
        assert_eq!(
            shown(&read_csv(text, USD)),
            Ok(vec![" $7.00".to_owned(), "Bob, Jr. \"B\" $0.10".to_owned(), "ann $500.00".to_owned()])
        );
        for (text, expected) in [
            ("ann", "line 1: is not `user,limit`"),
            ("ann,5\nbob,-1", "line 2: the limit is not a number above 0 in usd"),
            ("ann,5\nbob,much", "line 2: the limit"),
            ("ann,5\nann,6", "line 2: a user has two limits"),
        ] {
            assert!(read_csv(text, USD).expect_err(text).starts_with(expected), "{text}");
        }
        assert!(read_csv("ann,1.5", Quantity::Tokens(0)).is_err());
    }

    #[test]
    fn rows_of_a_query_are_read() {
        let rows = |rows: Value| {
            let Value::Array(rows) = rows else { panic!("a list") };
            let row = |row| match row {
                Value::Object(row) => row,
                other => panic!("{other}"),
            };
            of_rows(rows.into_iter().map(row).collect(), USD)
        };
        let answer = json!([{"user_id": "ann", "limit": "12.50"}, {"user_id": "bob", "limit": 3}, {"user_id": "cy", "limit": null}]);
        assert_eq!(shown(&rows(answer)), Ok(vec!["ann $12.50".to_owned(), "bob $3.00".to_owned()]));
        assert!(rows(json!([{"user": "ann", "limit": 1}])).expect_err("refused").contains("`user_id`"));
        assert!(rows(json!([{"user_id": "ann", "limit": 0}])).expect_err("refused").contains("above 0"));
    }
}
