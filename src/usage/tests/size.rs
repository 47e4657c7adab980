//! A large body costs its bytes once: what is looked at borrows from it, and what must be unescaped is a line at most,
//! without its long strings.

use std::fmt::Write;

use serde_json::value::RawValue;

use super::{facts, tokens};
use crate::usage::{
    StoredObject, Usage,
    json::members,
    stream::Stream,
    text::{Skimmed, StringLiteral},
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

#[test]
fn a_large_body_inside_a_string_is_skimmed() {
    let body = format!(r#"{{"data":[{{"x":"{}"}}],{USAGE}}}"#, image());
    let quoted = serde_json::to_string(&body).expect("JSON");
    let text = StringLiteral::of(&quoted).expect("a string").skimmed();
    assert!(text.capacity() < 4096, "{} bytes held of {}", text.capacity(), body.len());
    assert_eq!(facts(&quoted).usage, Some(tokens(13, 17)));
}

#[test]
fn a_large_stream_inside_a_string_is_read_line_by_line() {
    let image = &image()[..IMAGE_BYTES / 8];
    let mut text = String::new();
    for part in 0..8 {
        write!(text, "data: {{\"part\":{part},\"x\":\"{image}\",\"usage\":null}}\n\n")
            .expect("a string takes everything");
    }
    write!(text, "data: {{\"x\":\"{image}\",{USAGE}}}\n\ndata: [DONE]\n\n").expect("a string takes everything");
    let body = serde_json::to_string(&serde_json::json!({"streamed_data": text})).expect("JSON");

    let mut held = 0;
    let mut line = Skimmed::default();
    for part in text.lines() {
        line.clear();
        line.push(part);
        held = held.max(line.text.capacity());
    }
    assert!(held < 4096, "{held} bytes held of {}", text.len());

    assert_eq!(facts(&body).usage, Some(tokens(13, 17)));
    let raw: Box<RawValue> = serde_json::value::to_raw_value(&text).expect("JSON");
    assert_eq!(Stream::of(&raw).usage(), Some(Usage { ..tokens(13, 17) }));
}
