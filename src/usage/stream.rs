//! Usage from the chunks of a stream: an array of them, server-sent events, or lines of JSON.

use serde_json::value::RawValue;

use super::{
    counters::from_usage_object,
    json::{elements, present},
    reported::Usage,
    response::Response,
    text::{Skimmed, StringLiteral},
};
use crate::domain::UtcMillis;

/// `"usage":{`, as it stands escaped in a JSON string.
const ESCAPED_USAGE: &str = r#"\"usage\":{"#;

/// More than any usage object takes, escaped.
const MAX_ESCAPED_USAGE_BYTES: usize = 4096;

/// What the chunks seen so far tell.
#[derive(Debug, Default)]
pub(super) struct Stream {
    usage: Option<Usage>,
    invocation_metrics: Option<Usage>,
    /// When the first chunk that says so was made.
    pub(super) created_at: Option<UtcMillis>,
    /// A chunk was an error.
    pub(super) has_error: bool,
    /// There was a chunk.
    pub(super) has_chunks: bool,
}

impl Stream {
    /// Reads `streamed_data`, `bedrock_events`, or a body that is an array or a string.
    pub(super) fn of(raw: &RawValue) -> Self {
        let json = raw.get();
        match StringLiteral::of(json) {
            Some(text) => Self::of_text(text),
            None => Self::of_array(json),
        }
    }

    /// An array of chunks. Strings among them are parts of a text that may have been cut anywhere.
    pub(super) fn of_array(json: &str) -> Self {
        let mut stream = Self::default();
        let mut lines = Lines::default();
        elements(json, |element| match StringLiteral::of(element.get()) {
            Some(text) => lines.push(text, &mut stream),
            None => {
                stream.chunk(element.get());
            }
        });
        lines.end(&mut stream);
        stream
    }

    /// Server-sent events, or lines of JSON.
    pub(super) fn of_text(text: StringLiteral<'_>) -> Self {
        let mut stream = Self::default();
        let mut lines = Lines::default();
        lines.push(text, &mut stream);
        lines.end(&mut stream);
        stream
    }

    /// What the chunks tell together.
    pub(super) fn usage(&self) -> Option<Usage> {
        self.usage.or(self.invocation_metrics)
    }

    /// False when it is not a JSON object.
    fn chunk(&mut self, json: &str) -> bool {
        let Some(chunk) = Response::parse(json) else { return false };
        self.has_chunks = true;
        self.has_error |= chunk.is_error();
        self.created_at = self.created_at.or_else(|| chunk.created_at());
        self.invocation_metrics = chunk.invocation_metrics().or(self.invocation_metrics);
        if let Some(usage) = chunk.usage() {
            self.usage = Some(self.usage.map_or(usage, |earlier| earlier.followed_by(usage)));
        }
        true
    }
}

/// Lines of a text that comes in pieces. Each is read when it ends, and only one is held at a time, without its long
/// strings; and the event it may be part of.
#[derive(Debug, Default)]
pub(super) struct Lines {
    line: Skimmed,
    /// `data` of an event whose JSON goes on in the next line.
    event: String,
}

impl Lines {
    pub(super) fn push(&mut self, text: StringLiteral<'_>, stream: &mut Stream) {
        for piece in text.pieces() {
            let mut rest = piece.as_str();
            while let Some((line, after)) = rest.split_once('\n') {
                self.line.push(line);
                self.end_line(stream);
                rest = after;
            }
            self.line.push(rest);
        }
    }

    /// Memory taken, which never shrinks.
    #[cfg(test)]
    pub(super) fn held_bytes(&self) -> usize {
        self.line.text.capacity() + self.event.capacity()
    }

    fn end(&mut self, stream: &mut Stream) {
        self.end_line(stream);
        self.end_event(stream);
    }

    fn end_line(&mut self, stream: &mut Stream) {
        let line = self.line.text.trim();
        let data = line.strip_prefix("data:").map(str::trim_start);
        match data {
            // Each line of data that is whole is read by itself, so that lost line ends between events do no harm.
            Some(data) if data.starts_with('{') && data.ends_with('}') && stream.chunk(data) => {}
            Some(data) => {
                self.event.push_str(data);
                self.event.push('\n');
            }
            None if line.starts_with('{') => {
                stream.chunk(line);
            }
            // An empty line ends an event; so does the name of the next.
            None => self.end_event(stream),
        }
        self.line.clear();
    }

    fn end_event(&mut self, stream: &mut Stream) {
        if self.event.trim_start().starts_with('{') {
            stream.chunk(&self.event);
        }
        self.event.clear();
    }
}

/// The last usage object in a text that is neither: Bedrock's binary event stream of Converse, which Helicone stores as a
/// string as it came, frames and all.
pub(super) fn last_usage_in_frames(raw: &RawValue) -> Option<Usage> {
    let escaped = StringLiteral::of(raw.get())?.escaped();
    let start = escaped.rfind(ESCAPED_USAGE)? + ESCAPED_USAGE.len() - 1;
    let mut end = escaped.len().min(start + MAX_ESCAPED_USAGE_BYTES);
    while !escaped.is_char_boundary(end) {
        end -= 1;
    }
    let text = StringLiteral::of_escaped(escaped.get(start..end)?).unescaped();
    let object: &RawValue = serde_json::Deserializer::from_str(&text).into_iter().next()?.ok()?;
    from_usage_object(Some(object)).filter(|_| present(Some(object)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(text: &str) -> Option<(Option<u64>, Option<u64>)> {
        let raw: Box<RawValue> = serde_json::value::to_raw_value(text).expect("JSON");
        Stream::of(&raw).usage().map(|usage| (usage.prompt_tokens, usage.completion_tokens))
    }

    #[test]
    fn events_however_their_lines_are_cut() {
        let chunk = r#"{"usage":{"prompt_tokens":7,"completion_tokens":5}}"#;
        let expected = Some((Some(7), Some(5)));
        for text in [
            format!("data: {chunk}\n\ndata: [DONE]\n\n"),
            format!("data:{chunk}"),
            format!("\r\nevent: message\r\nid: 3\r\ndata: {chunk}\r\n\r\ndata: [DONE]\r\n"),
            format!(": OPENROUTER PROCESSING\n\ndata: {{\"usage\":null}}\ndata: {chunk}\ndata: [DONE]"),
            format!("data: {{\"cut\":\ndata: {chunk}\ndata: {{\"usage\":{{\"prompt_tok"),
            "data: {\"usage\":\ndata: {\"prompt_tokens\":7,\ndata: \"completion_tokens\":5}\ndata: }\n\n".to_owned(),
            format!("{{\"usage\":null}}\n{chunk}\n"),
        ] {
            assert_eq!(usage(&text), expected, "{text}");
        }
        for text in ["", "data: [DONE]", "usage", "data: usage {}", "data: {\"usage\":{\"prompt_tokens\":7", "{\n{\n\n"]
        {
            assert_eq!(usage(text), None, "{text}");
        }
    }

    #[test]
    fn parts_of_a_text_may_be_cut_anywhere() {
        let text =
            "event: x\ndata: {\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":5},\"t\":\"é\"}\n\ndata: [DONE]\n";
        for (cut, _) in text.char_indices() {
            let (before, after) = text.split_at(cut);
            let array = serde_json::json!([before, after]).to_string();
            let usage = Stream::of_array(&array).usage().expect("usage");
            assert_eq!((usage.prompt_tokens, usage.completion_tokens), (Some(7), Some(5)), "cut at {cut}");
        }
    }

    #[test]
    fn many_broken_lines_are_read_once() {
        // Would take minutes if each were tried again with those before it.
        assert_eq!(usage(&"data: {\n".repeat(200_000)), None);
    }

    #[test]
    fn the_last_usage_in_binary_frames() {
        let text = "\u{0}\u{0}\u{1}s\u{FFFD}\":event-type\u{7}messageStart{\"p\":\"ab\"}\u{2}\"{\"metrics\":{\"latencyMs\":5},\"usage\":{\"inputTokens\":12,\"outputTokens\":34,\"totalTokens\":46}}\u{FFFD}\"";
        let raw: Box<RawValue> = serde_json::value::to_raw_value(text).expect("JSON");
        let usage = last_usage_in_frames(&raw).expect("usage");
        assert_eq!((usage.prompt_tokens, usage.completion_tokens), (Some(12), Some(34)));
        let raw: Box<RawValue> = serde_json::value::to_raw_value("\"usage\":{\"inputTokens\":1").expect("JSON");
        assert_eq!(last_usage_in_frames(&raw), None, "cut off");
    }
}
