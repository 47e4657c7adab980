//! `--expect-requests`: a line of CSV for each request, written while the run goes on.

use std::{
    fmt::Display,
    fs::File,
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

use super::{SimulatorError, expect::CountedRequest};

/// The first line. An empty field is unknown; without an event time, receipt decides.
const HEADER: &str = "request_id,event_time_ms,model,provider,user_id,cost_usd,prompt_tokens,completion_tokens,\
                      total_tokens,cached_tokens,latency_ms,status";
const PICO: u64 = 1_000_000_000_000;

/// The file, and where it is.
#[derive(Debug)]
pub(super) struct ExpectedRequests {
    path: PathBuf,
    file: BufWriter<File>,
}

impl ExpectedRequests {
    /// Begins the file anew.
    pub(super) fn create(path: &Path) -> Result<Self, SimulatorError> {
        let begin = || {
            let mut file = BufWriter::new(File::create(path)?);
            writeln!(file, "{HEADER}")?;
            Ok(file)
        };
        let file = begin().map_err(|source| fail(path, source))?;
        Ok(Self { path: path.to_path_buf(), file })
    }

    /// A request was accepted for the first time.
    pub(super) fn write(&mut self, request_id: &str, request: &CountedRequest) -> Result<(), SimulatorError> {
        writeln!(self.file, "{}", line(request_id, request)).map_err(|source| fail(&self.path, source))
    }

    /// All that was accepted is in the file.
    pub(super) fn finish(mut self) -> Result<(), SimulatorError> {
        self.file.flush().map_err(|source| fail(&self.path, source))
    }
}

fn fail(path: &Path, source: io::Error) -> SimulatorError {
    SimulatorError::ExpectRequests { path: path.display().to_string(), source }
}

fn line(request_id: &str, request: &CountedRequest) -> String {
    let cost_usd = request.cost_pico_usd.map(|cost| format!("{}.{:012}", cost / PICO, cost % PICO));
    [
        request_id.to_owned(),
        field(request.event_time.map(|at| at.0)),
        quoted(&request.model),
        quoted(&request.provider),
        quoted(&request.user_id),
        field(cost_usd),
        field(request.prompt_tokens),
        field(request.completion_tokens),
        field(request.total_tokens),
        request.cached_tokens.to_string(),
        field(request.latency_ms),
        request.status.as_str().to_owned(),
    ]
    .join(",")
}

fn field(value: Option<impl Display>) -> String {
    value.map(|value| value.to_string()).unwrap_or_default()
}

/// Quoted where it must be, as RFC 4180 says.
fn quoted(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::{super::expect::CallStatus, *};
    use crate::domain::UtcMillis;

    #[test]
    fn a_line_has_a_field_for_each_name() {
        let known = CountedRequest {
            model: "gpt-4o".to_owned(),
            provider: "OPENAI".to_owned(),
            user_id: "a \"b\", c".to_owned(),
            cost_pico_usd: Some(2_000_000_000_003),
            prompt_tokens: Some(5),
            completion_tokens: Some(6),
            total_tokens: Some(11),
            cached_tokens: 7,
            event_time: Some(UtcMillis(1_757_346_297_000)),
            latency_ms: Some(900),
            status: CallStatus::Success,
        };
        let unknown = CountedRequest { status: CallStatus::Unknown, ..CountedRequest::default() };
        for (request, expected) in [
            (known, "id,1757346297000,gpt-4o,OPENAI,\"a \"\"b\"\", c\",2.000000000003,5,6,11,7,900,success"),
            (unknown, "id,,,,,,,,,0,,unknown"),
        ] {
            assert_eq!(line("id", &request), expected);
        }
        assert_eq!(HEADER.split(',').count(), 12);
    }

    #[test]
    fn a_file_that_cannot_be_is_named() {
        let error = ExpectedRequests::create(Path::new("/nowhere/requests.csv")).expect_err("no such directory");
        assert!(error.to_string().contains("/nowhere/requests.csv"), "{error}");
    }
}
