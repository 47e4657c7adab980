//! Queries of the settings: label columns and a `value`, with the reader's rights.

use std::time::Duration;

use clickhouse::Client;
use serde_json::{Map, Value};

use super::{
    super::{AlertError, transition::GroupValue},
    DOING, MAX_GROUPS,
};
use crate::notify::Quantity;

/// A query that takes longer is stopped, here and by ClickHouse.
const TIMEOUT: Duration = Duration::from_secs(10);
/// A larger answer is refused.
const MAX_ANSWER_BYTES: usize = 8 * 1024 * 1024;
/// More of a label's value is cut.
const MAX_LABEL_CHARACTERS: usize = 256;

/// One group for each row: named by its other columns.
pub(super) async fn groups(reader: Option<&Client>, rule: &str, query: &str) -> Result<Vec<GroupValue>, AlertError> {
    let refused = |message: String| AlertError::Query { rule: rule.to_owned(), message };
    let mut groups: Vec<GroupValue> = Vec::new();
    for row in rows(reader, rule, query, MAX_GROUPS + 1).await? {
        groups.extend(group(row).map_err(&refused)?);
    }
    groups.sort_by(|one, other| other.value.as_f64().total_cmp(&one.value.as_f64()));
    let mut names = std::collections::HashSet::new();
    match groups.iter().find(|group| !names.insert(group.group.as_str())) {
        Some(twice) => Err(refused(format!(
            "two rows have the labels `{}`; each row needs its own, or GROUP BY them",
            twice.group
        ))),
        None => Ok(groups),
    }
}

/// At most `limit` rows of the answer, with decimals as text.
pub(in crate::alert) async fn rows(
    reader: Option<&Client>,
    rule: &str,
    query: &str,
    limit: usize,
) -> Result<Vec<Map<String, Value>>, AlertError> {
    let refused = |message: String| AlertError::Query { rule: rule.to_owned(), message };
    let reader = reader.ok_or_else(|| refused("no user with a reader's rights is known".to_owned()))?;
    // A line comment at its end must not swallow the rest.
    let statement = format!("SELECT * FROM (\n{query}\n) LIMIT {limit}").replace('?', "??");
    let answer = async {
        let mut cursor = reader
            .query(&statement)
            .with_setting("max_execution_time", TIMEOUT.as_secs().to_string())
            .with_setting("output_format_json_quote_64bit_integers", "0")
            .with_setting("output_format_json_quote_decimals", "1")
            .fetch_bytes("JSONEachRow")?;
        let mut bytes = Vec::new();
        while let Some(chunk) = cursor.next().await? {
            bytes.extend_from_slice(&chunk);
            if bytes.len() > MAX_ANSWER_BYTES {
                break;
            }
        }
        Ok::<_, clickhouse::error::Error>(bytes)
    };
    let answer = match tokio::time::timeout(TIMEOUT + Duration::from_secs(2), answer).await {
        Err(_) => return Err(refused(format!("it took longer than {} s", TIMEOUT.as_secs()))),
        Ok(Err(clickhouse::error::Error::BadResponse(message))) => return Err(refused(message)),
        Ok(Err(source)) => return Err(AlertError::ClickHouse { doing: DOING, source }),
        Ok(Ok(bytes)) if bytes.len() > MAX_ANSWER_BYTES => {
            return Err(refused(format!("its answer has more than {MAX_ANSWER_BYTES} bytes")));
        }
        Ok(Ok(bytes)) => bytes,
    };
    serde_json::Deserializer::from_slice(&answer)
        .into_iter()
        .collect::<Result<_, _>>()
        .map_err(|error| refused(format!("its answer cannot be read: {error}")))
}

/// A row without a value (NULL) says nothing.
fn group(mut row: Map<String, Value>) -> Result<Option<GroupValue>, String> {
    let value = match row.remove("value") {
        None => return Err("it has no column named `value`".to_owned()),
        Some(Value::Null) => return Ok(None),
        Some(Value::Number(number)) => number.as_f64(),
        // Decimals and large integers come as text.
        Some(Value::String(text)) => text.parse().ok(),
        Some(Value::Bool(truth)) => Some(f64::from(u8::from(truth))),
        Some(_) => None,
    };
    let value = value.filter(|value| value.is_finite()).ok_or("its column `value` is not a number")?;
    let requests = row.remove("requests").and_then(|requests| requests.as_u64()).unwrap_or(1);
    let text = |value: Value| match value {
        Value::String(text) => text,
        other => other.to_string(),
    };
    let short = |text: String| text.chars().take(MAX_LABEL_CHARACTERS).collect::<String>();
    let labels: Vec<(String, String)> = row.into_iter().map(|(name, value)| (name, short(text(value)))).collect();
    let group = match labels.as_slice() {
        [(_, only)] => only.clone(),
        labels => labels.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(", "),
    };
    Ok(Some(GroupValue {
        group,
        value: Quantity::Number(value),
        requests: requests.max(1),
        priced_requests: 0,
        exceeding_requests: None,
        limit: None,
        note: String::new(),
    }))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(row: Value) -> Result<Option<(String, f64, u64)>, String> {
        let Value::Object(row) = row else { panic!("an object") };
        Ok(group(row)?.map(|group| (group.group, group.value.as_f64(), group.requests)))
    }

    #[test]
    fn labels_name_the_group() {
        assert_eq!(read(json!({"user_id": "ann", "value": 2})), Ok(Some(("ann".to_owned(), 2.0, 1))));
        assert_eq!(
            read(json!({"model": "m", "user_id": "ann", "n": 3, "value": "1.25", "requests": 7})),
            Ok(Some(("model=m, n=3, user_id=ann".to_owned(), 1.25, 7)))
        );
        assert_eq!(read(json!({"value": 0})), Ok(Some((String::new(), 0.0, 1))));
        assert_eq!(read(json!({"user_id": "ann", "value": null})), Ok(None));
        assert!(read(json!({"user_id": "ann"})).is_err_and(|message| message.contains("no column named `value`")));
        assert!(read(json!({"value": "many"})).is_err_and(|message| message.contains("not a number")));
        assert!(read(json!({"value": "nan"})).is_err());
    }
}
