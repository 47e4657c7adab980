//! `OpenAI` and Azure: chat, responses, embeddings, images, transcriptions.

use super::{CASE, Case, UNKNOWN, tokens};
use crate::{
    pricing::UnpricedReason,
    usage::{ResponseStatus, ServiceTier, Usage},
};

const BASE: Case = Case { provider: "OPENAI", ..CASE };
const AZURE: Case = Case { provider: "AZURE", ..CASE };

pub(super) const CASES: &[Case] = &[
    Case {
        name: "cached prompt, reasoning, flex",
        model: "o4-mini-2025-04-16",
        body: r#"{"id":"chatcmpl-1","object":"chat.completion","created":1760000000,"model":"o4-mini-2025-04-16","choices":[{"index":0,"message":{"role":"assistant","content":"42"},"finish_reason":"stop"}],"usage":{"prompt_tokens":2306,"completion_tokens":1408,"total_tokens":3714,"prompt_tokens_details":{"cached_tokens":1920,"audio_tokens":0},"completion_tokens_details":{"reasoning_tokens":1216,"audio_tokens":0,"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}},"service_tier":"flex"}"#,
        how: "2306-1920=386; 1216 of 1408; 386 × 0.55 + 1920 × 0.138 + 1408 × 2.2 = 212.3 + 264.96 + 3097.6 = 3574.86 millionths",
        usage: Some(Usage {
            cached_tokens: Some(1920),
            reasoning_tokens: Some(1216),
            prompt_audio_tokens: Some(0),
            completion_audio_tokens: Some(0),
            service_tier: Some(ServiceTier::Flex),
            ..tokens(386, 1408)
        }),
        created_at: Some(1_760_000_000_000),
        cost: Some("0.003574860000"),
        ..BASE
    },
    Case {
        name: "audio in and out",
        model: "gpt-4o-audio-preview-2024-12-17",
        body: r#"{"id":"chatcmpl-2","object":"chat.completion","created":1760000001,"model":"gpt-4o-audio-preview-2024-12-17","choices":[{"index":0,"message":{"role":"assistant","content":null,"audio":{"id":"audio_1","data":"UklGRg==","transcript":"Hello."}},"finish_reason":"stop"}],"usage":{"prompt_tokens":233,"completion_tokens":114,"total_tokens":347,"prompt_tokens_details":{"cached_tokens":64,"audio_tokens":150,"text_tokens":83,"cached_tokens_details":{"text_tokens":40,"audio_tokens":24}},"completion_tokens_details":{"reasoning_tokens":0,"audio_tokens":91,"text_tokens":23}}}"#,
        how: "233-64=169; audio in 150-24=126; no price for cached audio",
        usage: Some(Usage {
            cached_tokens: Some(64),
            cached_audio_tokens: Some(24),
            prompt_audio_tokens: Some(126),
            completion_audio_tokens: Some(91),
            reasoning_tokens: Some(0),
            ..tokens(169, 114)
        }),
        created_at: Some(1_760_000_001_000),
        unpriced: Some(UnpricedReason::NoPriceForComponent),
        ..BASE
    },
    Case {
        name: "stream whose merged body lacks usage",
        model: "gpt-4o-mini-2024-07-18",
        body: r#"{"id":"chatcmpl-3","object":"chat.completion.chunk","created":1760000002,"model":"gpt-4o-mini-2024-07-18","choices":[{"delta":{"content":"Hi"},"message":{"content":"Hi"}}],"streamed_data":[{"id":"chatcmpl-3","created":1760000002,"choices":[{"delta":{"content":"Hi"}}],"usage":null},{"id":"chatcmpl-3","created":1760000002,"service_tier":"default","choices":[],"usage":{"prompt_tokens":19,"completion_tokens":2,"total_tokens":21,"prompt_tokens_details":{"cached_tokens":0}}},{"data":null,"error":{"msg":"Error parsing line","line":"data: [DONE]"}}]}"#,
        how: "the last chunk with usage; 19 × 0.15 + 2 × 0.6 = 2.85 + 1.2 = 4.05 millionths",
        usage: Some(Usage { cached_tokens: Some(0), service_tier: Some(ServiceTier::Default), ..tokens(19, 2) }),
        created_at: Some(1_760_000_002_000),
        cost: Some("0.000004050000"),
        ..BASE
    },
    Case {
        name: "raw events as the whole body",
        model: "gpt-4.1-2025-04-14",
        body: r#""data: {\"id\":\"c\",\"created\":1760000003,\"choices\":[{\"delta\":{\"content\":\"\\\"usage\\\"\"}}],\"usage\":null}\r\n\r\ndata: {\"id\":\"c\",\"created\":1760000003,\"choices\":[],\"usage\":{\"prompt_tokens\":300,\"completion_tokens\":41,\"total_tokens\":341,\"prompt_tokens_details\":{\"cached_tokens\":256}}}\r\n\r\ndata: [DONE]\r\n\r\n""#,
        how: "300-256=44; 44 × 2 + 256 × 0.5 + 41 × 8 = 88 + 128 + 328 = 544 millionths",
        usage: Some(Usage { cached_tokens: Some(256), ..tokens(44, 41) }),
        created_at: Some(1_760_000_003_000),
        cost: Some("0.000544000000"),
        ..BASE
    },
    Case {
        name: "stream that ended in an error",
        model: "gpt-4.1-2025-04-14",
        body: r#""data: {\"id\":\"c\",\"choices\":[{\"delta\":{\"content\":\"H\"}}]}\n\ndata: {\"error\":{\"message\":\"The server had an error\",\"type\":\"server_error\"}}\n\n""#,
        how: "no usage came",
        status: ResponseStatus::Error,
        unpriced: Some(UnpricedReason::NoUsage),
        ..BASE
    },
    Case {
        name: "embeddings",
        model: "text-embedding-3-small",
        body: r#"{"object":"list","data":[{"object":"embedding","index":0,"embedding":[0.01,-0.02]}],"model":"text-embedding-3-small","usage":{"prompt_tokens":8,"total_tokens":8}}"#,
        how: "8 × 0.02 = 0.16 millionths",
        usage: Some(Usage { prompt_tokens: Some(8), ..UNKNOWN }),
        cost: Some("0.000000160000"),
        ..BASE
    },
    Case {
        name: "images with tokens",
        model: "gpt-image-1",
        body: r#"{"created":1760000004,"background":"opaque","data":[{"b64_json":"iVBORw0KGgo="}],"output_format":"png","quality":"medium","size":"1024x1024","usage":{"input_tokens":373,"input_tokens_details":{"image_tokens":323,"text_tokens":50},"output_tokens":1056,"total_tokens":1429}}"#,
        how: "all of the output is an image; 50 × 5 + 323 × 10 + 1056 × 40 = 250 + 3230 + 42240 = 45720 millionths",
        usage: Some(Usage { prompt_image_tokens: Some(323), completion_image_tokens: Some(1056), ..tokens(373, 1056) }),
        created_at: Some(1_760_000_004_000),
        cost: Some("0.045720000000"),
        ..BASE
    },
    Case {
        name: "images with tokens of both kinds",
        model: "gpt-image-1.5",
        body: r#"{"created":1760000004,"data":[{"b64_json":"iVBORw0KGgo="}],"usage":{"input_tokens":60,"input_tokens_details":{"image_tokens":0,"text_tokens":60},"output_tokens":1200,"output_tokens_details":{"image_tokens":1056,"text_tokens":144},"total_tokens":1260}}"#,
        how: "60 × 5 + 144 × 10 + 1056 × 32 = 300 + 1440 + 33792 = 35532 millionths",
        usage: Some(Usage { prompt_image_tokens: Some(0), completion_image_tokens: Some(1056), ..tokens(60, 1200) }),
        created_at: Some(1_760_000_004_000),
        cost: Some("0.035532000000"),
        ..BASE
    },
    Case {
        name: "images by the piece",
        model: "dall-e-3",
        body: r#"{"created":1760000005,"data":[{"url":"https://images.example/1.png","revised_prompt":"a cat"},{"url":"https://images.example/2.png"}]}"#,
        how: "2 with a url",
        usage: Some(Usage { generated_images: Some(2), ..UNKNOWN }),
        created_at: Some(1_760_000_005_000),
        unpriced: Some(UnpricedReason::UnknownModel),
        ..BASE
    },
    Case {
        name: "image stream",
        model: "gpt-image-1",
        body: r#""event: image_generation.partial_image\ndata: {\"type\":\"image_generation.partial_image\",\"b64_json\":\"AAAA\",\"created_at\":1760000006}\n\nevent: image_generation.completed\ndata: {\"type\":\"image_generation.completed\",\"b64_json\":\"BBBB\",\"created_at\":1760000006,\"usage\":{\"input_tokens\":50,\"output_tokens\":272,\"total_tokens\":322,\"input_tokens_details\":{\"text_tokens\":10,\"image_tokens\":40}}}\n\n""#,
        how: "all of the output is an image; 10 × 5 + 40 × 10 + 272 × 40 = 50 + 400 + 10880 = 11330 millionths",
        usage: Some(Usage { prompt_image_tokens: Some(40), completion_image_tokens: Some(272), ..tokens(50, 272) }),
        created_at: Some(1_760_000_006_000),
        cost: Some("0.011330000000"),
        ..BASE
    },
    Case {
        name: "transcription by tokens",
        model: "gpt-4o-transcribe",
        body: r#"{"text":"Imagine the wildest idea.","usage":{"type":"tokens","input_tokens":14,"input_token_details":{"text_tokens":4,"audio_tokens":10},"output_tokens":45,"total_tokens":59}}"#,
        usage: Some(Usage { prompt_audio_tokens: Some(10), ..tokens(14, 45) }),
        unpriced: Some(UnpricedReason::UnknownModel),
        ..BASE
    },
    Case {
        name: "transcription by duration",
        model: "whisper-1",
        body: r#"{"text":"Imagine the wildest idea.","usage":{"type":"duration","seconds":27}}"#,
        how: "seconds are no tokens",
        unpriced: Some(UnpricedReason::UnknownModel),
        ..BASE
    },
    Case {
        name: "responses: cached, reasoning, web search",
        model: "gpt-5-2025-08-07",
        body: r#"{"id":"resp_1","object":"response","created_at":1760000010,"status":"completed","error":null,"model":"gpt-5-2025-08-07","output":[{"id":"ws_1","type":"web_search_call","status":"completed","action":{"type":"search","query":"x"}},{"id":"ws_2","type":"web_search_call","status":"completed","action":{"type":"open_page","url":"https://x.example"}},{"id":"msg_1","type":"message","role":"assistant","content":[{"type":"output_text","text":"Found."}]}],"service_tier":"default","usage":{"input_tokens":9850,"input_tokens_details":{"cached_tokens":4480},"output_tokens":766,"output_tokens_details":{"reasoning_tokens":640},"total_tokens":10616}}"#,
        how: "9850-4480=5370; one search, one page opened; 5370 × 1.25 + 4480 × 0.125 + 766 × 10 = 6712.5 + 560 + 7660 = 14932.5 millionths, and 1 × 0.01 for searches",
        usage: Some(Usage {
            cached_tokens: Some(4480),
            reasoning_tokens: Some(640),
            web_search_requests: Some(1),
            service_tier: Some(ServiceTier::Default),
            ..tokens(5370, 766)
        }),
        created_at: Some(1_760_000_010_000),
        cost: Some("0.024932500000"),
        ..BASE
    },
    Case {
        name: "responses: plain, priority",
        model: "gpt-4.1-mini-2025-04-14",
        body: r#"{"id":"resp_2","object":"response","created_at":1760000011.0,"status":"completed","model":"gpt-4.1-mini-2025-04-14","output":[],"service_tier":"priority","metadata":{},"usage":{"input_tokens":36,"input_tokens_details":{"cached_tokens":0},"output_tokens":87,"output_tokens_details":{"reasoning_tokens":0},"total_tokens":123}}"#,
        how: "36 × 0.7 + 87 × 2.8 = 25.2 + 243.6 = 268.8 millionths",
        usage: Some(Usage {
            cached_tokens: Some(0),
            reasoning_tokens: Some(0),
            service_tier: Some(ServiceTier::Priority),
            ..tokens(36, 87)
        }),
        created_at: Some(1_760_000_011_000),
        cost: Some("0.000268800000"),
        ..BASE
    },
    Case {
        name: "responses: stream, as Helicone merges it",
        model: "gpt-5-mini-2025-08-07",
        body: r#"{"type":"response.completed","sequence_number":9,"response":{"id":"resp_3","object":"response","created_at":1760000012,"status":"completed","error":null,"service_tier":"flex","usage":{"input_tokens":75,"input_tokens_details":{"cached_tokens":25},"output_tokens":1186,"output_tokens_details":{"reasoning_tokens":1024},"total_tokens":1261}},"streamed_data":[{"type":"response.created","response":{"id":"resp_3","created_at":1760000012,"service_tier":"auto","usage":null}}]}"#,
        how: "75-25=50; 50 × 0.125 + 25 × 0.0125 + 1186 × 1 = 6.25 + 0.3125 + 1186 = 1192.5625 millionths",
        usage: Some(Usage {
            cached_tokens: Some(25),
            reasoning_tokens: Some(1024),
            service_tier: Some(ServiceTier::Flex),
            ..tokens(50, 1186)
        }),
        created_at: Some(1_760_000_012_000),
        cost: Some("0.001192562500"),
        ..BASE
    },
    Case {
        name: "responses: raw events",
        model: "gpt-5-nano-2025-08-07",
        body: r#"{"streamed_data":"event: response.created\ndata: {\"type\":\"response.created\",\"response\":{\"id\":\"resp_4\",\"created_at\":1760000013,\"service_tier\":\"auto\",\"usage\":null}}\n\nevent: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\",\"delta\":\"Hi\"}\n\nevent: response.completed\ndata: {\"type\":\"response.completed\",\"response\":{\"id\":\"resp_4\",\"created_at\":1760000013,\"service_tier\":\"default\",\"usage\":{\"input_tokens\":11,\"input_tokens_details\":{\"cached_tokens\":0},\"output_tokens\":7,\"output_tokens_details\":{\"reasoning_tokens\":0},\"total_tokens\":18}}}\n\n"}"#,
        how: "of response.completed; 11 × 0.05 + 7 × 0.4 = 0.55 + 2.8 = 3.35 millionths",
        usage: Some(Usage {
            cached_tokens: Some(0),
            reasoning_tokens: Some(0),
            service_tier: Some(ServiceTier::Default),
            ..tokens(11, 7)
        }),
        cost: Some("0.000003350000"),
        ..BASE
    },
    Case {
        name: "responses: failed",
        model: "gpt-5-2025-08-07",
        body: r#"{"id":"resp_5","object":"response","created_at":1760000014,"status":"failed","error":{"code":"server_error","message":"The model failed."},"output":[],"usage":null}"#,
        how: "usage is null",
        status: ResponseStatus::Error,
        created_at: Some(1_760_000_014_000),
        unpriced: Some(UnpricedReason::NoUsage),
        ..BASE
    },
    Case {
        name: "responses: stream that failed",
        model: "gpt-5-2025-08-07",
        body: r#"{"type":"response.failed","response":{"id":"resp_6","object":"response","created_at":1760000015,"status":"failed","error":{"code":"server_error","message":"The model failed."},"usage":null},"streamed_data":[]}"#,
        how: "usage is null",
        status: ResponseStatus::Error,
        created_at: Some(1_760_000_015_000),
        unpriced: Some(UnpricedReason::NoUsage),
        ..BASE
    },
    Case {
        name: "rejected predictions are output",
        model: "gpt-4o-2024-11-20",
        body: r#"{"choices":[],"created":1758225261,"id":"chatcmpl-a1","model":"gpt-4o-2024-11-20","object":"chat.completion","usage":{"completion_tokens":352,"completion_tokens_details":{"accepted_prediction_tokens":120,"audio_tokens":0,"reasoning_tokens":0,"rejected_prediction_tokens":40},"prompt_tokens":1536,"prompt_tokens_details":{"audio_tokens":0,"cached_tokens":1408},"total_tokens":1888}}"#,
        how: "1536-1408=128; 128 × 2.5 + 1408 × 1.25 + 352 × 10 = 320 + 1760 + 3520 = 5600 millionths",
        usage: Some(Usage {
            cached_tokens: Some(1408),
            reasoning_tokens: Some(0),
            prompt_audio_tokens: Some(0),
            completion_audio_tokens: Some(0),
            ..tokens(128, 352)
        }),
        created_at: Some(1_758_225_261_000),
        cost: Some("0.005600000000"),
        ..AZURE
    },
    Case {
        name: "old version of the API without details",
        model: "gpt-35-turbo",
        body: r#"{"id":"chatcmpl-a2","object":"chat.completion","created":1758225262,"model":"gpt-35-turbo","prompt_filter_results":[],"choices":[{"index":0,"finish_reason":"stop","message":{"role":"assistant","content":"Hi"}}],"usage":{"prompt_tokens":9,"completion_tokens":3,"total_tokens":12}}"#,
        how: "9 × 0.5 + 3 × 1.5 = 4.5 + 4.5 = 9 millionths",
        usage: Some(tokens(9, 3)),
        created_at: Some(1_758_225_262_000),
        cost: Some("0.000009000000"),
        ..AZURE
    },
    Case {
        name: "stream that begins with a filter result",
        model: "o3-mini-2025-01-31",
        body: r#"{"choices":[{"delta":{"content":"Hi"}}],"created":0,"id":"","model":"","streamed_data":[{"choices":[],"created":0,"id":"","model":"","object":"","prompt_filter_results":[{"prompt_index":0}]},{"choices":[{"delta":{"content":"Hi"}}],"created":1758225263,"usage":null},{"choices":[],"created":1758225263,"usage":{"completion_tokens":500,"completion_tokens_details":{"reasoning_tokens":448},"prompt_tokens":21,"prompt_tokens_details":{"cached_tokens":0},"total_tokens":521}}]}"#,
        how: "448 of 500; 21 × 1.1 + 500 × 4.4 = 23.1 + 2200 = 2223.1 millionths",
        usage: Some(Usage { cached_tokens: Some(0), reasoning_tokens: Some(448), ..tokens(21, 500) }),
        cost: Some("0.002223100000"),
        ..AZURE
    },
    Case {
        name: "a filtered prompt",
        model: "gpt-4.1-2025-04-14",
        body: r#"{"error":{"message":"The response was filtered","type":null,"param":"prompt","code":"content_filter","status":400}}"#,
        status: ResponseStatus::Error,
        unpriced: Some(UnpricedReason::NoUsage),
        ..AZURE
    },
    Case {
        name: "audio in and out, nothing cached",
        model: "gpt-audio-mini-2025-10-06",
        body: r#"{"id":"chatcmpl-6","object":"chat.completion","created":1760000007,"model":"gpt-audio-mini-2025-10-06","choices":[],"usage":{"prompt_tokens":150,"completion_tokens":90,"total_tokens":240,"prompt_tokens_details":{"cached_tokens":0,"text_tokens":30,"audio_tokens":120},"completion_tokens_details":{"reasoning_tokens":0,"text_tokens":20,"audio_tokens":70}}}"#,
        how: "150-120=30, 90-70=20; 30 × 0.6 + 120 × 10 + 20 × 2.4 + 70 × 20 = 18 + 1200 + 48 + 1400 = 2666 millionths",
        usage: Some(Usage {
            cached_tokens: Some(0),
            prompt_audio_tokens: Some(120),
            completion_audio_tokens: Some(70),
            reasoning_tokens: Some(0),
            ..tokens(150, 90)
        }),
        created_at: Some(1_760_000_007_000),
        cost: Some("0.002666000000"),
        ..BASE
    },
    Case {
        name: "responses: cached and written to the cache, flex",
        model: "gpt-6.1-terra",
        body: r#"{"id":"resp_7","object":"response","created_at":1793000000,"status":"completed","error":null,"model":"gpt-6.1-terra","output":[],"service_tier":"flex","usage":{"input_tokens":5000,"input_tokens_details":{"cached_tokens":3000,"cache_write_tokens":1200},"output_tokens":400,"output_tokens_details":{"reasoning_tokens":256},"total_tokens":5400}}"#,
        how: "5000-3000-1200=800; 800 × 0.5 + 3000 × 0.025 + 1200 × 0.625 + 400 × 2.5 = 400 + 75 + 750 + 1000 = 2225 millionths",
        usage: Some(Usage {
            cached_tokens: Some(3000),
            cache_write_tokens: Some(1200),
            reasoning_tokens: Some(256),
            service_tier: Some(ServiceTier::Flex),
            ..tokens(800, 400)
        }),
        created_at: Some(1_793_000_000_000),
        cost: Some("0.002225000000"),
        ..BASE
    },
    Case {
        name: "priority",
        model: "gpt-6.1-terra",
        body: r#"{"id":"chatcmpl-7","object":"chat.completion","created":1793000001,"model":"gpt-6.1-terra","choices":[],"service_tier":"priority","usage":{"prompt_tokens":1000,"completion_tokens":100,"total_tokens":1100}}"#,
        how: "1000 × 2 + 100 × 10 = 2000 + 1000 = 3000 millionths",
        usage: Some(Usage { service_tier: Some(ServiceTier::Priority), ..tokens(1000, 100) }),
        created_at: Some(1_793_000_001_000),
        cost: Some("0.003000000000"),
        ..BASE
    },
    Case {
        name: "responses: batch, a prompt above 272,000 tokens",
        model: "gpt-6.1-terra",
        body: r#"{"id":"resp_8","object":"response","created_at":1793000002,"status":"completed","error":null,"model":"gpt-6.1-terra","output":[],"service_tier":"batch","usage":{"input_tokens":300000,"input_tokens_details":{"cached_tokens":200000},"output_tokens":1000,"output_tokens_details":{"reasoning_tokens":0},"total_tokens":301000}}"#,
        how: "300000-200000=100000; cached tokens count for the limit; 100000 × 1 + 200000 × 0.05 + 1000 × 3.75 = 100000 + 10000 + 3750 = 113750 millionths",
        usage: Some(Usage {
            cached_tokens: Some(200_000),
            reasoning_tokens: Some(0),
            service_tier: Some(ServiceTier::Batch),
            ..tokens(100_000, 1000)
        }),
        created_at: Some(1_793_000_002_000),
        cost: Some("0.113750000000"),
        ..BASE
    },
    Case {
        name: "a prompt of 272,000 tokens",
        model: "gpt-6.1-sol",
        body: r#"{"id":"chatcmpl-8","object":"chat.completion","created":1793000003,"model":"gpt-6.1-sol","choices":[],"usage":{"prompt_tokens":272000,"completion_tokens":10,"total_tokens":272010}}"#,
        how: "not above the limit; 272000 × 2 + 10 × 10 = 544000 + 100 = 544100 millionths",
        usage: Some(tokens(272_000, 10)),
        created_at: Some(1_793_000_003_000),
        cost: Some("0.544100000000"),
        ..BASE
    },
    Case {
        name: "a prompt of 272,001 tokens",
        model: "gpt-6.1-sol",
        body: r#"{"id":"chatcmpl-9","object":"chat.completion","created":1793000004,"model":"gpt-6.1-sol","choices":[],"usage":{"prompt_tokens":272001,"completion_tokens":10,"total_tokens":272011}}"#,
        how: "above the limit: all of the call; 272001 × 4 + 10 × 15 = 1088004 + 150 = 1088154 millionths",
        usage: Some(tokens(272_001, 10)),
        created_at: Some(1_793_000_004_000),
        cost: Some("1.088154000000"),
        ..BASE
    },
    Case {
        name: "responses: before the price fell",
        model: "gpt-5.6-terra",
        body: r#"{"id":"resp_9","object":"response","created_at":1782900000,"status":"completed","error":null,"model":"gpt-5.6-terra","output":[],"usage":{"input_tokens":1100,"input_tokens_details":{"cached_tokens":1000},"output_tokens":50,"output_tokens_details":{"reasoning_tokens":0},"total_tokens":1150}}"#,
        how: "1100-1000=100; 2.5 and not 2 until 2026-07-30; 100 × 2.5 + 1000 × 0.25 + 50 × 15 = 250 + 250 + 750 = 1250 millionths",
        usage: Some(Usage { cached_tokens: Some(1000), reasoning_tokens: Some(0), ..tokens(100, 50) }),
        created_at: Some(1_782_900_000_000),
        at: "2026-07-29T23:59:59Z",
        cost: Some("0.001250000000"),
        ..AZURE
    },
];
