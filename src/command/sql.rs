//! `heliometer sql`

use std::{
    io::{IsTerminal, Read, Write},
    time::Duration,
};

use super::{CommandError, open_database};
use crate::{settings::Settings, store::Reader};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Ask ClickHouse something, with the reader's rights.
///
/// Prints the answer as a table, or in any ClickHouse output format. Works beside a running `serve`; without one, the embedded engine is started for the query. Views to begin with:
/// requests, model_minute, model_day, user_hour, user_month, outcomes, alerts, dead_letters, inspections. Columns are explained by
/// `heliometer sql "DESCRIBE model_day"`.
#[derive(Debug, clap::Args)]
pub(super) struct SqlArgs {
    /// An output format of ClickHouse, such as JSONEachRow, CSVWithNames, Vertical or Parquet.
    #[arg(long, value_name = "FORMAT", default_value = "PrettyCompactMonoBlock")]
    format: String,
    /// Ask with the rights of the user who may read the view contents: what people said.
    #[arg(long)]
    contents: bool,
    /// The query; `-` reads it from standard input.
    query: String,
}

pub(super) async fn run(arguments: SqlArgs, settings: &Settings) -> Result<(), CommandError> {
    let query = if arguments.query == "-" {
        let mut text = String::new();
        std::io::stdin().lock().take(1024 * 1024).read_to_string(&mut text)?;
        text
    } else {
        arguments.query
    };
    if arguments.contents {
        return ask_for_contents(&query, &arguments.format, settings).await;
    }
    ask_or_start(&query, &arguments.format, settings).await
}

async fn ask_for_contents(query: &str, format: &str, settings: &Settings) -> Result<(), CommandError> {
    if let Some(reader) = Reader::of_contents_beside(settings) {
        return ask(&reader.ok_or(CommandError::NoContentsReader)?, query, format).await;
    }
    let database = open_database(settings).await?;
    let result = match database.contents_reader() {
        Some(reader) => ask(reader, query, format).await,
        None => Err(CommandError::NoContentsReader),
    };
    database.close().await;
    result
}

/// Asks the ClickHouse that is there, or starts the embedded engine for the query.
pub(super) async fn ask_or_start(query: &str, format: &str, settings: &Settings) -> Result<(), CommandError> {
    if let Some(reader) = Reader::beside(settings) {
        return ask(&reader, query, format).await;
    }
    let database = open_database(settings).await?;
    let result = ask(database.reader(), query, format).await;
    database.close().await;
    result
}

/// Streams the answer to standard output.
async fn ask(reader: &Reader, query: &str, format: &str) -> Result<(), CommandError> {
    let unreachable = |error: reqwest::Error| CommandError::Unreachable(error.without_url().to_string());
    let client = reqwest::Client::builder().connect_timeout(CONNECT_TIMEOUT).build().map_err(unreachable)?;
    let is_terminal = std::io::stdout().is_terminal();
    let mut url = url::Url::parse(&reader.url).map_err(|error| CommandError::Unreachable(error.to_string()))?;
    url.query_pairs_mut()
        .append_pair("database", &reader.database)
        .append_pair("default_format", format)
        // An error after the first rows would otherwise end up in the middle of the output.
        .append_pair("wait_end_of_query", "1")
        .append_pair("output_format_pretty_color", if is_terminal { "1" } else { "0" })
        .append_pair("output_format_pretty_row_numbers", "0");
    let mut response = client
        .post(url)
        .header("X-ClickHouse-User", &reader.user)
        .header("X-ClickHouse-Key", reader.password.expose())
        .body(query.to_owned())
        .send()
        .await
        .map_err(unreachable)?;
    if !response.status().is_success() {
        let text = response.text().await.map_err(unreachable)?;
        return Err(CommandError::Query(text.trim_end().to_owned()));
    }
    let mut out = std::io::stdout().lock();
    while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
        match out.write_all(&chunk) {
            // `| head` has seen enough.
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => return Ok(()),
            result => result?,
        }
    }
    Ok(out.flush()?)
}
