//! Request and response bodies as the providers write them, as JSON text.
//!
//! Text and not `serde_json::Value`, because a Rust string cannot hold the lone surrogates that JavaScript lets through.

use super::{
    catalog::Shape,
    event::{Event, Kind, Tokens},
    random::{Random, Stream},
};

/// Inserts `values` for `$name` in a template; a name without a value stays.
pub(super) fn fill(template: &str, values: &[(&str, &str)]) -> String {
    let mut text = String::with_capacity(template.len() + values.iter().map(|(_, value)| value.len()).sum::<usize>());
    let mut rest = template;
    while let Some(start) = rest.find('$') {
        let (before, name) = rest.split_at(start);
        text.push_str(before);
        let name = &name[1..];
        let end = name.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(name.len());
        match values.iter().find(|(known, _)| *known == &name[..end]) {
            Some((_, value)) => text.push_str(value),
            None => text.push_str(&rest[start..=start + end]),
        }
        rest = &name[end..];
    }
    text.push_str(rest);
    text
}

/// A text as a JSON string with its quotes.
pub(super) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

const WORDS: &[&str] = &[
    "invoice",
    "please",
    "the",
    "and",
    "a",
    "of",
    "to",
    "summarize",
    "following",
    "customer",
    "contract",
    "with",
    "terms",
    "in",
    "three",
    "points",
    "then",
    "translate",
    "it",
    "for",
    "our",
    "team",
    "Berlin",
    "shipment",
    "order",
    "status",
    "refund",
    "policy",
    "is",
    "that",
    "which",
    "deadline",
    "quarter",
    "report",
    "numbers",
    "are",
    "final",
];

/// Already escaped, as `JSON.stringify` would.
const ODD_WORDS: &[&str] = &[
    "\\ud800",
    "\\udc00\\ud83d",
    "\\u0000",
    "😀",
    "é",
    "日本語",
    "</script>",
    "\\\"quoted\\\"",
    "line\\nbreak",
    "\u{2028}",
];

/// Words of escaped text, each with the space before it.
fn words(random: &mut Random, count: u64, odd: bool) -> Vec<String> {
    let mut words: Vec<String> = (0..count)
        .map(|index| {
            let odd = odd && random.below(4) == 0;
            let word = random.pick(if odd { ODD_WORDS } else { WORDS }).copied().unwrap_or("word");
            if index == 0 { word.to_owned() } else { format!(" {word}") }
        })
        .collect();
    if odd {
        // Whatever was drawn, an odd text has the one thing that Rust strings cannot hold.
        words.push(format!(" {}", ODD_WORDS[0]));
    }
    words
}

/// The two bodies of a call, as JSON text.
pub(super) struct Bodies {
    pub(super) request: String,
    pub(super) response: String,
}

impl Bodies {
    /// As they went between caller and provider. `created_at_seconds` is unix time.
    pub(super) fn new(seed: u64, event: &Event, created_at_seconds: i64) -> Self {
        match event.kind {
            Kind::WithoutMetadata => return Self { request: "{}".to_owned(), response: "{}".to_owned() },
            Kind::WithoutData => {
                return Self {
                    request: r#"{"question":"ready?"}"#.to_owned(),
                    response: r#"{"text":"yes"}"#.to_owned(),
                };
            }
            _ => {}
        }
        let mut random = Random::new(seed, event.number, Stream::Text);
        let odd = event.kind == Kind::OddText;
        // The replacement starts at 10,240 UTF-16 units; the shortest words make 2 each with their space.
        let prompt_words = match event.kind {
            Kind::TooLarge => 6000,
            _ => (event.tokens.prompt / 4).clamp(3, 400),
        };
        let prompt = words(&mut random, prompt_words, odd).concat();
        let answer = words(&mut random, (event.tokens.completion / 4).clamp(2, 120), odd);
        let id = format!("{:016x}", random.bits());
        let mut bodies =
            Self { request: request(event, &prompt), response: response(event, &id, created_at_seconds, &answer) };
        if matches!(event.kind, Kind::TooLarge | Kind::StringBodies) {
            bodies.request = quoted(&bodies.request);
        }
        if matches!(event.kind, Kind::StringBodies) {
            bodies.response = quoted(&bodies.response);
        }
        bodies
    }

    /// The object at `request_response_url`.
    pub(super) fn stored(&self) -> String {
        format!(r#"{{"request":{},"response":{}}}"#, self.request, self.response)
    }
}

fn is_streamed(kind: Kind) -> bool {
    matches!(kind, Kind::Streamed | Kind::StreamWithoutUsage)
}

fn request(event: &Event, prompt: &str) -> String {
    let stream = match event.kind {
        Kind::Streamed if event.model.shape == Shape::Anthropic => r#","stream":true"#,
        Kind::Streamed => r#","stream":true,"stream_options":{"include_usage":true}"#,
        Kind::StreamWithoutUsage => r#","stream":true"#,
        _ => "",
    };
    let template = match event.model.shape {
        Shape::OpenAi | Shape::Groq => {
            r#"{"model":"$model"$stream,"messages":[{"role":"system","content":"You are helpful."},{"role":"user","content":"$prompt"}]}"#
        }
        Shape::Anthropic => {
            r#"{"model":"$model"$stream,"max_tokens":16000,"messages":[{"role":"user","content":"$prompt"}]}"#
        }
        Shape::Gemini => r#"{"contents":[{"role":"user","parts":[{"text":"$prompt"}]}]}"#,
        Shape::Bedrock => r#"{"messages":[{"role":"user","content":[{"text":"$prompt"}]}]}"#,
    };
    fill(template, &[("model", event.model.alias), ("stream", stream), ("prompt", prompt)])
}

fn response(event: &Event, id: &str, created_at_seconds: i64, answer: &[String]) -> String {
    if event.kind == Kind::ProviderError {
        return error(event);
    }
    let streamed = is_streamed(event.kind);
    let usage = usage(event.model.shape, event.model.provider, &event.tokens);
    let (created, text) = (created_at_seconds.to_string(), answer.concat());
    let latency_ms = event.latency_ms.to_string();
    let values = [
        ("id", id),
        ("created", created.as_str()),
        ("model", event.model.name),
        ("answer", text.as_str()),
        ("usage", usage.as_str()),
        ("latency", latency_ms.as_str()),
    ];
    match event.model.shape {
        Shape::OpenAi | Shape::Groq if streamed => openai_stream(event, &values, answer),
        Shape::OpenAi | Shape::Groq => fill(
            r#"{"id":"chatcmpl-$id","object":"chat.completion","created":$created,"model":"$model","choices":[{"index":0,"message":{"role":"assistant","content":"$answer","refusal":null,"annotations":[]},"logprobs":null,"finish_reason":"stop"}],"usage":$usage,"service_tier":"default","system_fingerprint":"fp_f33640a400"}"#,
            &values,
        ),
        Shape::Anthropic => {
            let message = fill(ANTHROPIC_MESSAGE, &values);
            if streamed { anthropic_stream(&message, &values, answer) } else { message }
        }
        Shape::Gemini => fill(
            r#"{"candidates":[{"content":{"parts":[{"text":"$answer"}],"role":"model"},"finishReason":"STOP"}],"usageMetadata":$usage,"modelVersion":"$model","responseId":"$id"}"#,
            &values,
        ),
        Shape::Bedrock => fill(
            r#"{"output":{"message":{"content":[{"text":"$answer"}],"role":"assistant"}},"stopReason":"end_turn","usage":$usage,"metrics":{"latencyMs":$latency}}"#,
            &values,
        ),
    }
}

const ANTHROPIC_MESSAGE: &str = r#"{"id":"msg_$id","type":"message","role":"assistant","model":"$model","content":[{"type":"text","text":"$answer"}],"stop_reason":"end_turn","stop_sequence":null,"usage":$usage}"#;

/// The provider's own count, in its own words.
fn usage(shape: Shape, provider: &str, tokens: &Tokens) -> String {
    let Tokens { prompt, completion, cache_read, cache_write, reasoning } = *tokens;
    match shape {
        Shape::OpenAi | Shape::Groq => {
            let all_prompt = prompt + cache_read;
            let deepseek = if provider == "DEEPSEEK" {
                format!(r#","prompt_cache_hit_tokens":{cache_read},"prompt_cache_miss_tokens":{prompt}"#)
            } else {
                String::new()
            };
            format!(
                r#"{{"prompt_tokens":{all_prompt},"completion_tokens":{completion},"total_tokens":{},"prompt_tokens_details":{{"cached_tokens":{cache_read},"audio_tokens":0}},"completion_tokens_details":{{"reasoning_tokens":{reasoning},"audio_tokens":0,"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}}{deepseek}}}"#,
                all_prompt + completion
            )
        }
        Shape::Anthropic => format!(
            r#"{{"input_tokens":{prompt},"cache_creation_input_tokens":{cache_write},"cache_read_input_tokens":{cache_read},"cache_creation":{{"ephemeral_5m_input_tokens":{cache_write},"ephemeral_1h_input_tokens":0}},"output_tokens":{completion},"service_tier":"standard"}}"#
        ),
        Shape::Gemini => {
            let cached =
                if cache_read > 0 { format!(r#","cachedContentTokenCount":{cache_read}"#) } else { String::new() };
            let thoughts = if reasoning > 0 { format!(r#","thoughtsTokenCount":{reasoning}"#) } else { String::new() };
            format!(
                r#"{{"promptTokenCount":{},"candidatesTokenCount":{},"totalTokenCount":{}{cached}{thoughts}}}"#,
                prompt + cache_read,
                completion - reasoning,
                prompt + cache_read + completion
            )
        }
        Shape::Bedrock => {
            format!(r#"{{"inputTokens":{prompt},"outputTokens":{completion},"totalTokens":{}}}"#, prompt + completion)
        }
    }
}

/// Helicone's merge of the chunks, and the chunks.
fn openai_stream(event: &Event, values: &[(&str, &str)], answer: &[String]) -> String {
    let head =
        fill(r#""id":"chatcmpl-$id","object":"chat.completion.chunk","created":$created,"model":"$model""#, values);
    let usage = match (event.kind, event.model.shape) {
        (Kind::StreamWithoutUsage, _) => String::new(),
        (_, Shape::Groq) => fill(r#","x_groq":{"id":"req_$id","usage":$usage}"#, values),
        _ => fill(r#","usage":$usage"#, values),
    };
    let mut chunks =
        vec![format!(r#"{{{head},"choices":[{{"index":0,"delta":{{"role":"assistant","content":""}}}}]}}"#)];
    for piece in answer.chunks(8) {
        chunks.push(format!(r#"{{{head},"choices":[{{"index":0,"delta":{{"content":"{}"}}}}]}}"#, piece.concat()));
    }
    if !usage.is_empty() {
        chunks.push(format!(r#"{{{head},"choices":[]{usage}}}"#));
    }
    chunks.push(r#"{"data":null,"error":{"msg":"Error parsing line","line":"data: [DONE]"}}"#.to_owned());
    let message = format!(r#"{{"role":"assistant","content":"{}"}}"#, answer.concat());
    format!(
        r#"{{{head},"choices":[{{"delta":{message},"message":{message}}}]{usage},"streamed_data":[{}]}}"#,
        chunks.join(",")
    )
}

/// The native message, with the raw server-sent events beside it.
fn anthropic_stream(message: &str, values: &[(&str, &str)], answer: &[String]) -> String {
    let mut events = fill(
        "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_$id\",\"type\":\"message\",\"role\":\"assistant\",\"model\":\"$model\",\"content\":[],\"usage\":$usage}}\n\n",
        values,
    );
    for piece in answer.chunks(8) {
        events.push_str(&fill(
            "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"$piece\"}}\n\n",
            &[("piece", &piece.concat())],
        ));
    }
    events.push_str("event: message_stop\ndata: {\"type\":\"message_stop\"}");
    let message = message.strip_suffix('}').unwrap_or(message);
    format!(r#"{message},"streamed_data":{}}}"#, quoted(&events))
}

/// A refusal, in the provider's words. Every fifth is a proxy's page.
fn error(event: &Event) -> String {
    if event.number.is_multiple_of(5) {
        return r#"{"error":"HTML response detected:","html_response":"<html><body>Bad gateway</body></html>"}"#
            .to_owned();
    }
    match event.model.shape {
        Shape::OpenAi | Shape::Groq => {
            r#"{"error":{"message":"Rate limit reached for requests. Please try again later.","type":"rate_limit_error","param":null,"code":"rate_limit_exceeded"}}"#
        }
        Shape::Anthropic => {
            r#"{"type":"error","error":{"type":"rate_limit_error","message":"This request would exceed your rate limit."}}"#
        }
        Shape::Gemini => {
            r#"{"error":{"code":429,"message":"Resource has been exhausted (e.g. check quota).","status":"RESOURCE_EXHAUSTED"}}"#
        }
        Shape::Bedrock => r#"{"error":{"message":"Too many requests, please wait before trying again."}}"#,
    }
    .to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::value::RawValue;

    use super::*;

    #[test]
    fn a_template_is_filled_once() {
        assert_eq!(fill("$a-$b$c.$a", &[("a", "$b"), ("b", "2")]), "$b-2$c.$b");
    }

    #[test]
    fn every_body_is_json_without_leftovers() {
        for number in 0..3000 {
            let event = Event::new(5, number);
            let bodies = Bodies::new(5, &event, 1_757_346_297);
            let stored = bodies.stored();
            serde_json::from_str::<&RawValue>(&stored).unwrap_or_else(|error| panic!("{number}: {error}: {stored}"));
            assert!(!stored.contains('$'), "{number}: {stored}");
            if event.kind == Kind::OddText {
                assert!(bodies.request.contains("\\ud800"), "{number}");
            }
            if event.kind == Kind::TooLarge {
                let text: String = serde_json::from_str(&bodies.request).expect("a string");
                assert!(text.encode_utf16().count() > 10_240, "{number}: {} long", text.len());
            }
        }
    }

    #[test]
    fn usage_is_told_in_the_providers_words() {
        let tokens = Tokens { prompt: 30, completion: 50, cache_read: 70, cache_write: 5, reasoning: 20 };
        let parse = |shape, provider| -> serde_json::Value {
            serde_json::from_str(&usage(shape, provider, &tokens)).expect("JSON")
        };
        let openai = parse(Shape::OpenAi, "DEEPSEEK");
        assert_eq!((&openai["prompt_tokens"], &openai["completion_tokens"]), (&100.into(), &50.into()));
        assert_eq!(openai["prompt_tokens_details"]["cached_tokens"], 70);
        assert_eq!(openai["prompt_cache_hit_tokens"], 70);
        let anthropic = parse(Shape::Anthropic, "ANTHROPIC");
        assert_eq!((&anthropic["input_tokens"], &anthropic["cache_creation_input_tokens"]), (&30.into(), &5.into()));
        let gemini = parse(Shape::Gemini, "GOOGLE");
        assert_eq!((&gemini["promptTokenCount"], &gemini["candidatesTokenCount"]), (&100.into(), &30.into()));
        assert_eq!(parse(Shape::Bedrock, "AWS")["inputTokens"], 30);
    }
}
