//! A large body costs its bytes once: what is looked at borrows from it, and what must be unescaped is a line at most,
//! without its long strings.

use std::fmt::Write;

use super::{facts, tokens};
use crate::usage::{
    StoredObject,
    json::members,
    stream::{Lines, Stream},
    text::StringLiteral,
};

const IMAGE_BYTES: usize = 30 << 20;

const USAGE: &str = r#""usage":{"prompt_tokens":13,"completion_tokens":17}"#;

fn image() -> String {
    "iVBORw0KGgoAAAAN".repeat(IMAGE_BYTES / 16)
}

#[test]
fn every_member_of_a_large_body_is_a_slice_of_it() {
    let object = format!(
        r#"{{"request":{{"image":"{image}"}},"response":{{"data":[{{"x":"{image}"}}],{USAGE}}}}}"#,
        image = image()
    );
    let stored: StoredObject<'_> = serde_json::from_slice(object.as_bytes()).expect("an object");
    let response = stored.response.expect("a response").get();
    let is_within = |whole: &str, part: &str| {
        let (whole, part) = (whole.as_bytes().as_ptr_range(), part.as_bytes().as_ptr_range());
        whole.start <= part.start && part.end <= whole.end
    };
    assert!(is_within(&object, response));
    let mut seen = 0;
    assert!(members(response, |_, value| {
        assert!(is_within(response, value.get()));
        seen += 1;
    }));
    assert_eq!(seen, 2);
    assert_eq!(facts(response).usage, Some(tokens(13, 17)));
}

/// As the literal of a JSON string, without a serialiser that is slow when not optimised.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}

#[test]
fn a_large_body_inside_a_string_is_skimmed() {
    let body = format!(r#"{{"data":[{{"x":"{}"}}],{USAGE}}}"#, image());
    let quoted = quoted(&body);
    let text = StringLiteral::of(&quoted).expect("a string").skimmed();
    assert!(text.capacity() < 4096, "{} bytes held of {}", text.capacity(), body.len());
    assert_eq!(facts(&quoted).usage, Some(tokens(13, 17)));
}

#[test]
fn a_large_stream_inside_a_string_is_read_line_by_line() {
    let image = &image()[..IMAGE_BYTES / 8];
    let mut text = String::new();
    for part in 0..7 {
        write!(text, "data: {{\"part\":{part},\"x\":\"{image}\",\"usage\":null}}\n\n")
            .expect("a string takes everything");
    }
    write!(text, "data: {{\"x\":\"{image}\",{USAGE}}}\n\ndata: [DONE]\n\n").expect("a string takes everything");
    let literal = quoted(&text);
    let mut lines = Lines::default();
    lines.push(StringLiteral::of(&literal).expect("a string"), &mut Stream::default());
    assert!(lines.held_bytes() < 4096, "{} bytes held of {}", lines.held_bytes(), text.len());

    let body = format!("{{\"streamed_data\":{literal}}}");
    assert_eq!(facts(&body).usage, Some(tokens(13, 17)));
}
