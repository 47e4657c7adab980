//! Runs what somebody typed: with the reader's rights, and within bounds of time, rows and bytes.

use std::time::Duration;

use futures_util::{
    StreamExt,
    stream::{self, BoxStream},
};
use reqwest::Response;
use serde_json::value::RawValue;
use tokio::sync::Semaphore;

use super::{query_error::QueryError, source::LiveMetrics};
use crate::store::Reader;

/// The longest query that is taken.
pub(super) const MAX_QUERY_BYTES: usize = 32 * 1024;
/// Rows and bytes that are shown.
pub(super) const MAX_ROWS: usize = 1_000;
const MAX_BYTES: usize = 2 * 1024 * 1024;
/// Rows and bytes of a download; more of them are an error, so that no file is half of what it seems.
const MAX_CSV_ROWS: u64 = 1_000_000;
const MAX_CSV_BYTES: usize = 256 * 1024 * 1024;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// ClickHouse's own limit; the page waits a little longer, for the answer that says so.
const EXECUTION_SECONDS: u64 = 15;
const ANSWER_TIMEOUT: Duration = Duration::from_secs(EXECUTION_SECONDS + 3);
const DOWNLOAD_TIMEOUT: Duration = Duration::from_secs(120);
/// Queries at once, of everybody who looks at the page.
const AT_ONCE: usize = 2;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum SqlError {
    #[error("{}", .0.message)]
    Refused(QueryError),
    #[error("other queries are running; try again in a moment")]
    Busy,
    #[error("the query is empty")]
    Empty,
    #[error("the query is longer than {} KiB", MAX_QUERY_BYTES / 1024)]
    TooLong,
    #[error("ClickHouse did not answer within {EXECUTION_SECONDS} s; the query was stopped")]
    TooSlow,
    #[error("ClickHouse does not answer: {0}")]
    Unreachable(String),
    #[error("the answer has a format of its own; leave out FORMAT, and use Download CSV or `heliometer sql`")]
    Format,
    #[error(
        "ask for this with `heliometer sql`: the page runs queries as the reader, and clickhouse.reader_user is not set"
    )]
    NoReader,
}

/// A table. `None` is NULL.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) names: Vec<String>,
    pub(super) types: Vec<String>,
    pub(super) rows: Vec<Vec<Option<String>>>,
    /// There are more.
    pub(super) is_cut: bool,
}

/// See the module.
#[derive(Debug)]
pub(super) struct SqlBox {
    reader: Reader,
    /// The reader's rights are a user's own, not the service's.
    is_reader: bool,
    client: reqwest::Client,
    turns: Semaphore,
    metrics: LiveMetrics,
}

impl SqlBox {
    pub(super) fn new(reader: &Reader, is_reader: bool, metrics: LiveMetrics) -> Result<Self, reqwest::Error> {
        // No connection outlives its query: closing one is what stops a query, and the engine waits for open ones at its end.
        let client =
            reqwest::Client::builder().connect_timeout(CONNECT_TIMEOUT).pool_max_idle_per_host(0).no_proxy().build()?;
        Ok(Self { reader: reader.clone(), is_reader, client, turns: Semaphore::new(AT_ONCE), metrics })
    }

    /// The first rows.
    pub(super) async fn run(&self, query: &str) -> Result<Answer, SqlError> {
        let _turn = self.turns.try_acquire().map_err(|_| SqlError::Busy)?;
        let begun = tokio::time::Instant::now();
        let answer =
            tokio::time::timeout(ANSWER_TIMEOUT, self.read_table(query)).await.unwrap_or(Err(SqlError::TooSlow));
        self.metrics.asked(if answer.is_ok() { "answered" } else { "refused" }, begun.elapsed());
        answer
    }

    async fn read_table(&self, query: &str) -> Result<Answer, SqlError> {
        let (rows, bytes) = ((MAX_ROWS + 1).to_string(), MAX_BYTES.to_string());
        let limits =
            [("max_result_rows", rows.as_str()), ("max_result_bytes", &bytes), ("result_overflow_mode", "break")];
        let mut response = self.ask(query, "JSONCompactEachRowWithNamesAndTypes", &limits).await?;
        let (mut text, mut is_cut) = (Vec::new(), false);
        while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
            text.extend_from_slice(&chunk);
            if text.len() > MAX_BYTES {
                is_cut = true;
                break;
            }
        }
        parse(&text, is_cut)
    }

    /// The whole answer as CSV, once ClickHouse has all of it: an error is never in the middle of a file.
    pub(super) async fn csv(&self, query: &str) -> Result<BoxStream<'static, std::io::Result<bytes::Bytes>>, SqlError> {
        let turn = self.turns.try_acquire().map_err(|_| SqlError::Busy)?;
        let (rows, bytes) = (MAX_CSV_ROWS.to_string(), MAX_CSV_BYTES.to_string());
        let limits =
            [("max_result_rows", rows.as_str()), ("max_result_bytes", &bytes), ("result_overflow_mode", "throw")];
        let asked = tokio::time::timeout(ANSWER_TIMEOUT, self.ask(query, "CSVWithNames", &limits));
        let response = asked.await.unwrap_or(Err(SqlError::TooSlow))?;
        drop(turn);
        let deadline = tokio::time::Instant::now() + DOWNLOAD_TIMEOUT;
        Ok(stream::unfold((response, 0_usize), move |(mut response, sent)| async move {
            let chunk = match tokio::time::timeout_at(deadline, response.chunk()).await {
                Ok(Ok(Some(chunk))) if sent + chunk.len() <= MAX_CSV_BYTES => Ok(chunk),
                Ok(Ok(None)) => return None,
                Ok(Ok(Some(_))) => Err(std::io::Error::other("the answer is too large")),
                Ok(Err(error)) => Err(std::io::Error::other(error.without_url())),
                Err(_) => Err(std::io::Error::other("the download takes too long")),
            };
            let sent = sent + chunk.as_ref().map_or(0, bytes::Bytes::len);
            Some((chunk, (response, sent)))
        })
        .boxed())
    }

    async fn ask(&self, query: &str, format: &str, limits: &[(&str, &str)]) -> Result<Response, SqlError> {
        let query = query.trim().trim_end_matches(';').trim_end();
        if !self.is_reader {
            return Err(SqlError::NoReader);
        }
        if query.is_empty() {
            return Err(SqlError::Empty);
        }
        if query.len() > MAX_QUERY_BYTES {
            return Err(SqlError::TooLong);
        }
        let mut url = url::Url::parse(&self.reader.url).map_err(|error| SqlError::Unreachable(error.to_string()))?;
        url.query_pairs_mut()
            .append_pair("database", &self.reader.database)
            .append_pair("default_format", format)
            .append_pair("max_execution_time", &EXECUTION_SECONDS.to_string())
            // Who is gone, or was told that it takes too long, needs no answer.
            .append_pair("cancel_http_readonly_queries_on_client_close", "1")
            // An error after the first rows would otherwise end up in the middle of the answer.
            .append_pair("wait_end_of_query", "1")
            .append_pair("output_format_json_quote_64bit_integers", "1")
            .append_pair("output_format_json_quote_decimals", "1")
            .append_pair("output_format_json_quote_denormals", "1")
            .extend_pairs(limits);
        let response = self
            .client
            .post(url)
            .header("X-ClickHouse-User", &self.reader.user)
            .header("X-ClickHouse-Key", self.reader.password.expose())
            .body(query.to_owned())
            .send()
            .await
            .map_err(unreachable)?;
        if response.status().is_success() {
            return Ok(response);
        }
        let text = response.text().await.map_err(unreachable)?;
        Err(SqlError::Refused(QueryError::parse(&text)))
    }
}

fn unreachable(error: reqwest::Error) -> SqlError {
    SqlError::Unreachable(error.without_url().to_string())
}

/// A line of names, a line of types, then a line for each row.
fn parse(text: &[u8], is_cut: bool) -> Result<Answer, SqlError> {
    let mut lines: Vec<&[u8]> = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).collect();
    if lines.is_empty() {
        return Ok(Answer::default());
    }
    // The last line may have been cut in its middle.
    if is_cut {
        lines.pop();
    }
    let mut lines = lines.into_iter();
    let mut header = || -> Result<Vec<String>, SqlError> {
        let line = lines.next().ok_or(SqlError::Format)?;
        serde_json::from_slice(line).map_err(|_| SqlError::Format)
    };
    let (names, types) = (header()?, header()?);
    let mut rows = lines.map(cells).collect::<Result<Vec<_>, _>>()?;
    let is_cut = is_cut || rows.len() > MAX_ROWS;
    rows.truncate(MAX_ROWS);
    Ok(Answer { names, types, rows, is_cut })
}

/// Numbers as ClickHouse wrote them: no digit is lost.
fn cells(line: &[u8]) -> Result<Vec<Option<String>>, SqlError> {
    let values: Vec<&RawValue> = serde_json::from_slice(line).map_err(|_| SqlError::Format)?;
    let cell = |value: &RawValue| match value.get() {
        "null" => None,
        text => Some(serde_json::from_str::<String>(text).unwrap_or_else(|_| text.to_owned())),
    };
    Ok(values.into_iter().map(cell).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_keep_every_digit_and_say_when_they_are_cut() {
        let text = b"[\"a\",\"b\",\"c\"]\n[\"String\",\"Decimal(38, 12)\",\"Array(UInt8)\"]\n[\"x\\ny\",\"0.000000000001\",[1,2]]\n[null,1.50,{}]\n";
        let answer = parse(text, false).expect("a table");
        assert_eq!(answer.names, ["a", "b", "c"]);
        let row = |cells: [Option<&str>; 3]| cells.map(|cell| cell.map(str::to_owned)).to_vec();
        assert_eq!(
            answer.rows,
            [row([Some("x\ny"), Some("0.000000000001"), Some("[1,2]")]), row([None, Some("1.50"), Some("{}")]),]
        );
        assert!(!answer.is_cut);

        let cut = parse(&text[..text.len() - 4], true).expect("a table");
        assert_eq!((cut.rows.len(), cut.is_cut), (1, true));
        assert_eq!(parse(b"", false).expect("nothing"), Answer::default());
        for wrong in [&b"1\t2\n"[..], b"[1]\n", b"[\"a\"]\n[\"String\"]\nx\n"] {
            assert!(matches!(parse(wrong, false), Err(SqlError::Format)));
        }
        let many = [&b"[\"a\"]\n[\"UInt8\"]\n"[..], &b"[1]\n".repeat(MAX_ROWS + 5)].concat();
        let many = parse(&many, false).expect("a table");
        assert_eq!((many.rows.len(), many.is_cut), (MAX_ROWS, true));
    }
}
