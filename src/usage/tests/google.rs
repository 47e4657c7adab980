//! Gemini at Google AI and at Vertex AI, and other models at Vertex AI.

use super::{CASE, Case, UNKNOWN, tokens};
use crate::{
    pricing::UnpricedReason,
    usage::{ResponseStatus, ServiceTier, Usage},
};

const BASE: Case = Case { provider: "GOOGLE", ..CASE };
const VERTEX: Case = Case { provider: "VERTEX", ..CASE };

pub(super) const CASES: &[Case] = &[
    Case {
        name: "thoughts beside the candidates, a tool's result as input",
        model: "gemini-2.5-pro",
        body: r#"{"candidates":[{"content":{"parts":[{"text":"It is."}],"role":"model"},"finishReason":"STOP","index":0}],"usageMetadata":{"promptTokenCount":22,"candidatesTokenCount":9,"totalTokenCount":531,"toolUsePromptTokenCount":120,"thoughtsTokenCount":380,"promptTokensDetails":[{"modality":"TEXT","tokenCount":22}]},"modelVersion":"gemini-2.5-pro","responseId":"x"}"#,
        how: "22+120=142, 9+380=389; 142+389=531; 142 × 1.25 + 389 × 10 = 177.5 + 3890 = 4067.5 millionths",
        usage: Some(Usage { reasoning_tokens: Some(380), ..tokens(142, 389) }),
        cost: Some("0.004067500000"),
        ..BASE
    },
    Case {
        name: "audio, partly cached, and images",
        model: "gemini-2.5-flash",
        body: r#"{"candidates":[],"usageMetadata":{"promptTokenCount":3000,"candidatesTokenCount":50,"totalTokenCount":3050,"cachedContentTokenCount":1000,"promptTokensDetails":[{"modality":"TEXT","tokenCount":242},{"modality":"AUDIO","tokenCount":2500},{"modality":"IMAGE","tokenCount":258}],"cacheTokensDetails":[{"modality":"AUDIO","tokenCount":900},{"modality":"TEXT","tokenCount":100}],"candidatesTokensDetails":[{"modality":"TEXT","tokenCount":50}]},"modelVersion":"gemini-2.5-flash","createTime":"2025-10-09T08:53:20.125Z"}"#,
        how: "3000-1000=2000; audio 2500-900=1600; 142 × 0.3 + 1600 × 1 + 258 × 0.3 + 100 × 0.03 + 900 × 0.1 + 50 × 2.5 = 42.6 + 1600 + 77.4 + 3 + 90 + 125 = 1938 millionths",
        usage: Some(Usage {
            cached_tokens: Some(1000),
            cached_audio_tokens: Some(900),
            prompt_audio_tokens: Some(1600),
            prompt_image_tokens: Some(258),
            ..tokens(2000, 50)
        }),
        created_at: Some(1_760_000_000_125),
        cost: Some("0.001938000000"),
        ..BASE
    },
    Case {
        name: "an image as the answer",
        model: "gemini-2.5-flash-image",
        body: r#"{"candidates":[{"content":{"parts":[{"text":"Here."},{"inlineData":{"mimeType":"image/png","data":"iVBORw0KGgo="}}]}}],"usageMetadata":{"promptTokenCount":13,"candidatesTokenCount":1303,"totalTokenCount":1316,"promptTokensDetails":[{"modality":"TEXT","tokenCount":13}],"candidatesTokensDetails":[{"modality":"IMAGE","tokenCount":1290},{"modality":"TEXT","tokenCount":13}]}}"#,
        how: "13 × 0.3 + 13 × 2.5 + 1290 × 30 = 3.9 + 32.5 + 38700 = 38736.4 millionths",
        usage: Some(Usage { completion_image_tokens: Some(1290), ..tokens(13, 1303) }),
        cost: Some("0.038736400000"),
        ..BASE
    },
    Case {
        name: "an array of chunks: the last counts",
        model: "gemini-2.0-flash",
        body: r#"[{"candidates":[{"content":{"parts":[{"text":"He"}]}}],"usageMetadata":{"promptTokenCount":7,"totalTokenCount":7}},{"candidates":[{"content":{"parts":[{"text":"llo"}]}}],"usageMetadata":{"promptTokenCount":7,"candidatesTokenCount":2,"totalTokenCount":9}}]"#,
        how: "7 × 0.1 + 2 × 0.4 = 0.7 + 0.8 = 1.5 millionths",
        usage: Some(tokens(7, 2)),
        cost: Some("0.000001500000"),
        ..BASE
    },
    Case {
        name: "stream as Helicone keeps it when it cannot merge",
        model: "gemini-2.5-flash-lite",
        body: r#"{"streamed_data":[{"candidates":[{"content":{"parts":[{"text":"He"}]}}],"usageMetadata":{"promptTokenCount":90,"candidatesTokenCount":1,"totalTokenCount":101,"thoughtsTokenCount":10}},{"candidates":[],"usageMetadata":{"promptTokenCount":90,"candidatesTokenCount":4,"totalTokenCount":119,"thoughtsTokenCount":25,"cachedContentTokenCount":64}}]}"#,
        how: "90-64=26, 4+25=29; 26 × 0.1 + 64 × 0.01 + 29 × 0.4 = 2.6 + 0.64 + 11.6 = 14.84 millionths",
        usage: Some(Usage { cached_tokens: Some(64), reasoning_tokens: Some(25), ..tokens(26, 29) }),
        cost: Some("0.000014840000"),
        ..BASE
    },
    Case {
        name: "raw events with thoughts alone",
        model: "gemini-2.5-flash",
        body: r#""data: {\"candidates\": [{\"finishReason\": \"MAX_TOKENS\"}],\"usageMetadata\": {\"promptTokenCount\": 11,\"totalTokenCount\": 111,\"thoughtsTokenCount\": 100}}\r\n\r\n""#,
        how: "no candidates: 100 of thoughts; 11 × 0.3 + 100 × 2.5 = 3.3 + 250 = 253.3 millionths",
        usage: Some(Usage { reasoning_tokens: Some(100), ..tokens(11, 100) }),
        cost: Some("0.000253300000"),
        ..BASE
    },
    Case {
        name: "a stream refused",
        model: "gemini-2.5-flash",
        body: r#"[{"error":{"code":429,"message":"Resource has been exhausted","status":"RESOURCE_EXHAUSTED"}}]"#,
        status: ResponseStatus::Error,
        unpriced: Some(UnpricedReason::NoUsage),
        ..BASE
    },
    Case {
        name: "Helicone's gateway: audio beside the prompt",
        model: "gemini-2.5-flash",
        body: r#"{"id":"g","object":"chat.completion","created":1760000030,"choices":[],"usage":{"prompt_tokens":60,"completion_tokens":35,"total_tokens":565,"prompt_tokens_details":{"cached_tokens":20,"audio_tokens":400},"completion_tokens_details":{"reasoning_tokens":30,"audio_tokens":0},"modality_tokens":{"audio":{"input_tokens":400,"cached_tokens":50,"output_tokens":0}}}}"#,
        how: "60-20+400=440, 20+50=70; 40 × 0.3 + 400 × 1 + 20 × 0.03 + 50 × 0.1 + 35 × 2.5 = 12 + 400 + 0.6 + 5 + 87.5 = 505.1 millionths",
        usage: Some(Usage {
            cached_tokens: Some(70),
            cached_audio_tokens: Some(50),
            prompt_audio_tokens: Some(400),
            completion_audio_tokens: Some(0),
            reasoning_tokens: Some(30),
            ..tokens(440, 35)
        }),
        created_at: Some(1_760_000_030_000),
        cost: Some("0.000505100000"),
        ..BASE
    },
    Case {
        name: "thoughts already inside the candidates",
        model: "gemini-2.5-flash",
        body: r#"{"candidates":[],"usageMetadata":{"promptTokenCount":100,"candidatesTokenCount":60,"totalTokenCount":160,"thoughtsTokenCount":40,"trafficType":"ON_DEMAND"},"modelVersion":"gemini-2.5-flash","createTime":"2025-10-09T08:53:20Z","responseId":"v1"}"#,
        how: "100+60=160: 40 of 60; 100 × 0.3 + 60 × 2.5 = 30 + 150 = 180 millionths",
        usage: Some(Usage { reasoning_tokens: Some(40), service_tier: Some(ServiceTier::Default), ..tokens(100, 60) }),
        created_at: Some(1_760_000_000_000),
        cost: Some("0.000180000000"),
        ..VERTEX
    },
    Case {
        name: "reserved throughput",
        model: "gemini-2.0-flash-001",
        body: r#"{"candidates":[],"usageMetadata":{"promptTokenCount":500,"candidatesTokenCount":20,"totalTokenCount":520,"cachedContentTokenCount":480,"trafficType":"PROVISIONED_THROUGHPUT"},"createTime":"2025-10-09T08:53:21.000001Z"}"#,
        how: "500-480=20",
        usage: Some(Usage { cached_tokens: Some(480), service_tier: Some(ServiceTier::Other), ..tokens(20, 20) }),
        created_at: Some(1_760_000_001_000),
        unpriced: Some(UnpricedReason::NoPriceForServiceTier),
        ..VERTEX
    },
    Case {
        name: "Claude at Vertex AI",
        model: "claude-sonnet-4@20250514",
        body: r#"{"id":"msg_vrtx_1","type":"message","role":"assistant","model":"claude-sonnet-4-20250514","content":[],"usage":{"input_tokens":14,"cache_creation_input_tokens":1100,"cache_read_input_tokens":0,"cache_creation":{"ephemeral_5m_input_tokens":1100,"ephemeral_1h_input_tokens":0},"output_tokens":33}}"#,
        how: "14 × 3 + 1100 × 3.75 + 33 × 15 = 42 + 4125 + 495 = 4662 millionths",
        usage: Some(Usage {
            cached_tokens: Some(0),
            cache_write_tokens: Some(1100),
            cache_write_1h_tokens: Some(0),
            ..tokens(14, 33)
        }),
        cost: Some("0.004662000000"),
        ..VERTEX
    },
    Case {
        name: "OpenAI-shaped, reasoning beside the completion",
        model: "google/gemini-2.5-flash",
        body: r#"{"id":"v2","object":"chat.completion","created":1760000031,"choices":[],"usage":{"prompt_tokens":12,"completion_tokens":50,"total_tokens":262,"completion_tokens_details":{"reasoning_tokens":200},"extra_properties":{"google":{"traffic_type":"ON_DEMAND"}}}}"#,
        how: "12+50+200=262, so 50+200=250; 12 × 0.3 + 250 × 2.5 = 3.6 + 625 = 628.6 millionths",
        usage: Some(Usage { reasoning_tokens: Some(200), ..tokens(12, 250) }),
        created_at: Some(1_760_000_031_000),
        cost: Some("0.000628600000"),
        ..VERTEX
    },
    Case {
        name: "text embeddings",
        model: "gemini-embedding-001",
        body: r#"{"predictions":[{"embeddings":{"statistics":{"truncated":false,"token_count":6},"values":[0.1,0.2]}},{"embeddings":{"statistics":{"truncated":false,"token_count":5},"values":[0.3]}}],"metadata":{"billableCharacterCount":44}}"#,
        how: "6+5=11; 11 × 0.15 = 1.65 millionths",
        usage: Some(Usage { prompt_tokens: Some(11), ..UNKNOWN }),
        cost: Some("0.000001650000"),
        ..VERTEX
    },
    Case {
        name: "Imagen's images, by the piece",
        model: "imagen-4.0-generate-001",
        body: r#"{"predictions":[{"mimeType":"image/png","bytesBase64Encoded":"iVBO"},{"mimeType":"image/png","bytesBase64Encoded":"Rw0K"},{"raiFilteredReason":"filtered"}]}"#,
        how: "2 of 3 came",
        usage: Some(Usage { generated_images: Some(2), ..UNKNOWN }),
        unpriced: Some(UnpricedReason::UnknownModel),
        ..VERTEX
    },
    Case {
        name: "a prompt above 200,000 tokens, cached in part",
        model: "gemini-2.5-pro",
        body: r#"{"candidates":[],"usageMetadata":{"promptTokenCount":250000,"candidatesTokenCount":800,"totalTokenCount":250800,"cachedContentTokenCount":50000},"modelVersion":"gemini-2.5-pro"}"#,
        how: "250000-50000=200000, and with the cache above the limit; 200000 × 2.5 + 50000 × 0.25 + 800 × 15 = 500000 + 12500 + 12000 = 524500 millionths",
        usage: Some(Usage { cached_tokens: Some(50_000), ..tokens(200_000, 800) }),
        cost: Some("0.524500000000"),
        ..BASE
    },
    Case {
        name: "OpenAI-shaped, an image and no count of tokens",
        model: "gemini-2.5-flash-image",
        body: r#"{"created":1760000032,"data":[{"b64_json":"iVBORw0KGgo="}]}"#,
        how: "0.039 for the image, but what the prompt costs is not told",
        usage: Some(Usage { generated_images: Some(1), ..UNKNOWN }),
        created_at: Some(1_760_000_032_000),
        unpriced: Some(UnpricedReason::NoUsage),
        ..BASE
    },
];
