//! Debian's Prometheus, which scrapes one server every second.

use std::{
    process::{Command, Stdio},
    time::Duration,
};

use serde_json::Value;

use crate::{
    harness::client,
    tools::{Process, free_port, tool},
};

pub(super) struct Prometheus {
    url: String,
    client: reqwest::Client,
    _directory: tempfile::TempDir,
    _process: Process,
}

impl Prometheus {
    pub(super) async fn scrape(target: &str) -> Self {
        let directory = tempfile::TempDir::new().expect("a directory");
        let config = format!(
            "scrape_configs:\n  - job_name: heliometer\n    scrape_interval: 1s\n    static_configs:\n      - targets: [\"{target}\"]\n"
        );
        let file = directory.path().join("prometheus.yml");
        std::fs::write(&file, config).expect("a file");
        let port = free_port();
        let child = Command::new(tool(&["prometheus"]))
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", directory.path().join("data").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("Prometheus starts");
        let url = format!("http://127.0.0.1:{port}");
        let prometheus = Self { url, client: client(), _directory: directory, _process: Process(child) };
        prometheus.wait_for("up == 1").await;
        prometheus
    }

    /// Until the query has an answer.
    pub(super) async fn wait_for(&self, query: &str) {
        for _ in 0..300 {
            if self.ask(query).await.is_ok_and(|values| !values.is_empty()) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        panic!("waited in vain for {query}");
    }

    /// The current values of a query, without those that are not numbers.
    pub(super) async fn ask(&self, query: &str) -> Result<Vec<f64>, String> {
        let url = url::Url::parse_with_params(&format!("{}/api/v1/query", self.url), [("query", query)]);
        let answer = self.client.get(url.expect("a URL")).send().await.map_err(|error| error.to_string())?;
        let answer: Value = serde_json::from_str(&answer.text().await.map_err(|error| error.to_string())?)
            .map_err(|error| error.to_string())?;
        let Some(series) = answer["data"]["result"].as_array() else { return Err(answer.to_string()) };
        let number = |series: &Value| series["value"][1].as_str().and_then(|value| value.parse::<f64>().ok());
        Ok(series.iter().filter_map(number).filter(|value| !value.is_nan()).collect())
    }
}
