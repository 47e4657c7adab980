//! Asks ClickHouse as Grafana does: with the reader's rights, one query after the other. Shared with `benches/dashboards.rs`.

use serde::Deserialize;
use serde_json::Value;

pub(crate) struct Reader {
    pub(crate) client: reqwest::Client,
    /// `http://host:port`
    pub(crate) url: String,
    pub(crate) user: String,
    pub(crate) password: String,
}

#[derive(Deserialize)]
pub(crate) struct Answer {
    #[serde(rename = "meta")]
    pub(crate) columns: Vec<Column>,
    #[serde(rename = "data")]
    pub(crate) rows: Vec<Vec<Value>>,
}

#[derive(Deserialize)]
pub(crate) struct Column {
    pub(crate) name: String,
    #[serde(rename = "type")]
    pub(crate) kind: String,
}

impl Reader {
    pub(crate) async fn ask(&self, query: &str) -> Result<Answer, String> {
        let request = self.client.post(format!("{}/?database=heliometer&default_format=JSONCompact", self.url));
        let request = request.header("X-ClickHouse-User", &self.user).header("X-ClickHouse-Key", &self.password);
        let answer = request.body(query.to_owned()).send().await.map_err(|error| error.to_string())?;
        let succeeded = answer.status().is_success();
        let text = answer.text().await.map_err(|error| error.to_string())?;
        if !succeeded {
            return Err(text);
        }
        if text.is_empty() {
            return Ok(Answer { columns: Vec::new(), rows: Vec::new() });
        }
        serde_json::from_str(&text).map_err(|error| format!("{error}: {text}"))
    }

    /// The first column, as texts.
    pub(crate) async fn texts(&self, query: &str) -> Vec<String> {
        let answer = self.ask(query).await.unwrap_or_else(|error| panic!("{error}\n{query}"));
        answer.rows.iter().map(|row| row[0].as_str().map_or_else(|| row[0].to_string(), ToOwned::to_owned)).collect()
    }
}
