//! Providers that answer in `OpenAI`'s shape, each with words of its own.

use super::{CASE, Case, UNKNOWN, tokens, usd};
use crate::{
    pricing::UnpricedReason,
    usage::{ServiceTier, Usage},
};

const MISTRAL: Case = Case { provider: "MISTRAL", ..CASE };
const GROQ: Case = Case { provider: "GROQ", ..CASE };
const DEEPSEEK: Case = Case { provider: "DEEPSEEK", ..CASE };
const XAI: Case = Case { provider: "X", ..CASE };
const OPENROUTER: Case = Case { provider: "OPENROUTER", ..CASE };

pub(super) const CASES: &[Case] = &[
    Case {
        name: "plain",
        model: "mistral-medium-latest",
        body: r#"{"id":"cmpl-m1","created":1760000050,"model":"mistral-medium-latest","usage":{"prompt_tokens":21,"total_tokens":64,"completion_tokens":43,"prompt_audio_seconds":null},"object":"chat.completion","choices":[]}"#,
        how: "21 × 1.5 + 43 × 7.5 = 31.5 + 322.5 = 354 millionths",
        usage: Some(tokens(21, 43)),
        created_at: Some(1_760_000_050_000),
        cost: Some("0.000354000000"),
        ..MISTRAL
    },
    Case {
        name: "cached",
        model: "mistral-medium-2505",
        body: r#"{"id":"cmpl-m2","created":1760000051,"model":"mistral-medium-2505","usage":{"prompt_tokens":1300,"total_tokens":1310,"completion_tokens":10,"num_cached_tokens":1024},"object":"chat.completion","choices":[]}"#,
        how: "1300-1024=276; 276 × 0.4 + 1024 × 0.04 + 10 × 2 = 110.4 + 40.96 + 20 = 171.36 millionths",
        usage: Some(Usage { cached_tokens: Some(1024), ..tokens(276, 10) }),
        created_at: Some(1_760_000_051_000),
        cost: Some("0.000171360000"),
        ..MISTRAL
    },
    Case {
        name: "raw events, usage in the last chunk",
        model: "codestral-2508",
        body: r#""data: {\"id\":\"m3\",\"created\":1760000052,\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\ndata: {\"id\":\"m3\",\"created\":1760000052,\"choices\":[{\"delta\":{\"content\":\"\"},\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":30,\"total_tokens\":38,\"completion_tokens\":8}}\n\ndata: [DONE]\n\n""#,
        how: "30 × 0.3 + 8 × 0.9 = 9 + 7.2 = 16.2 millionths",
        usage: Some(tokens(30, 8)),
        created_at: Some(1_760_000_052_000),
        cost: Some("0.000016200000"),
        ..MISTRAL
    },
    Case {
        name: "embeddings",
        model: "mistral-embed",
        body: r#"{"id":"m4","object":"list","data":[{"object":"embedding","embedding":[0.5],"index":0}],"model":"mistral-embed","usage":{"prompt_tokens":15,"total_tokens":15,"completion_tokens":0}}"#,
        how: "15 × 0.1 = 1.5 millionths",
        usage: Some(tokens(15, 0)),
        cost: Some("0.000001500000"),
        ..MISTRAL
    },
    Case {
        name: "usage of the answer, on demand",
        model: "llama-3.3-70b-versatile",
        body: r#"{"id":"chatcmpl-g1","object":"chat.completion","created":1760000060,"model":"llama-3.3-70b-versatile","choices":[],"usage":{"queue_time":0.05,"prompt_tokens":47,"prompt_time":0.01,"completion_tokens":10,"completion_time":0.02,"total_tokens":57,"total_time":0.03},"x_groq":{"id":"req_1"},"service_tier":"on_demand"}"#,
        how: "47 × 0.59 + 10 × 0.79 = 27.73 + 7.9 = 35.63 millionths",
        usage: Some(Usage { service_tier: Some(ServiceTier::Default), ..tokens(47, 10) }),
        created_at: Some(1_760_000_060_000),
        cost: Some("0.000035630000"),
        ..GROQ
    },
    Case {
        name: "reasoning and cache, flex",
        model: "openai/gpt-oss-120b",
        body: r#"{"id":"chatcmpl-g2","object":"chat.completion","created":1760000061,"model":"openai/gpt-oss-120b","choices":[],"usage":{"queue_time":0.05,"prompt_tokens":900,"completion_tokens":210,"total_tokens":1110,"prompt_tokens_details":{"cached_tokens":768},"completion_tokens_details":{"reasoning_tokens":150}},"service_tier":"flex"}"#,
        how: "900-768=132; 150 of 210; 132 × 0.15 + 768 × 0.075 + 210 × 0.6 = 19.8 + 57.6 + 126 = 203.4 millionths",
        usage: Some(Usage {
            cached_tokens: Some(768),
            reasoning_tokens: Some(150),
            service_tier: Some(ServiceTier::Flex),
            ..tokens(132, 210)
        }),
        created_at: Some(1_760_000_061_000),
        cost: Some("0.000203400000"),
        ..GROQ
    },
    Case {
        name: "stream, usage in x_groq of a chunk alone",
        model: "llama-3.1-8b-instant",
        body: r#"{"id":"chatcmpl-g3","created":1760000062,"choices":[{"delta":{"content":"Hi"}}],"x_groq":{"id":"req_3"},"streamed_data":[{"id":"chatcmpl-g3","choices":[{"delta":{"content":"Hi"}}],"x_groq":{"id":"req_3"}},{"id":"chatcmpl-g3","choices":[{"delta":{},"finish_reason":"stop"}],"x_groq":{"id":"req_3","usage":{"prompt_tokens":12,"completion_tokens":2,"total_tokens":14}}},{"msg":"Error parsing line","line":"data: [DONE]"}]}"#,
        how: "12 × 0.05 + 2 × 0.08 = 0.6 + 0.16 = 0.76 millionths",
        usage: Some(tokens(12, 2)),
        created_at: Some(1_760_000_062_000),
        cost: Some("0.000000760000"),
        ..GROQ
    },
    Case {
        name: "reasoner",
        model: "deepseek-reasoner",
        body: r#"{"id":"d1","object":"chat.completion","created":1760000070,"model":"deepseek-reasoner","choices":[],"usage":{"prompt_tokens":640,"completion_tokens":1500,"total_tokens":2140,"prompt_tokens_details":{"cached_tokens":576},"completion_tokens_details":{"reasoning_tokens":1400},"prompt_cache_hit_tokens":576,"prompt_cache_miss_tokens":64}}"#,
        how: "640-576=64, the misses; 1400 of 1500; 64 × 0.28 + 576 × 0.028 + 1500 × 0.42 = 17.92 + 16.128 + 630 = 664.048 millionths",
        usage: Some(Usage { cached_tokens: Some(576), reasoning_tokens: Some(1400), ..tokens(64, 1500) }),
        created_at: Some(1_760_000_070_000),
        at: "2025-10-09",
        cost: Some("0.000664048000"),
        ..DEEPSEEK
    },
    Case {
        name: "hits without details",
        model: "deepseek-chat",
        body: r#"{"id":"d2","object":"chat.completion","created":1760000071,"model":"deepseek-chat","choices":[],"usage":{"prompt_tokens":200,"completion_tokens":7,"total_tokens":207,"prompt_cache_hit_tokens":128,"prompt_cache_miss_tokens":72}}"#,
        how: "200-128=72, the misses; 72 × 0.27 + 128 × 0.07 + 7 × 1.1 = 19.44 + 8.96 + 7.7 = 36.1 millionths",
        usage: Some(Usage { cached_tokens: Some(128), ..tokens(72, 7) }),
        created_at: Some(1_760_000_071_000),
        at: "2025-09-01T12:00:00Z",
        cost: Some("0.000036100000"),
        ..DEEPSEEK
    },
    Case {
        name: "stream with lines that keep the connection alive",
        model: "deepseek-flash",
        body: r#"{"streamed_data":": keep-alive\n\ndata: {\"id\":\"d3\",\"choices\":[{\"delta\":{\"content\":\"a\"}}],\"usage\":null}\n\n: keep-alive\n\ndata: {\"id\":\"d3\",\"choices\":[{\"delta\":{}}],\"usage\":{\"prompt_tokens\":17,\"completion_tokens\":9,\"total_tokens\":26,\"prompt_tokens_details\":{\"cached_tokens\":0},\"prompt_cache_hit_tokens\":0,\"prompt_cache_miss_tokens\":17}}\n\ndata: [DONE]\n"}"#,
        how: "17 × 0.3 + 9 × 1.2 = 5.1 + 10.8 = 15.9 millionths; a Monday at a peak hour",
        usage: Some(Usage { cached_tokens: Some(0), ..tokens(17, 9) }),
        at: "2026-11-02T02:00:00Z",
        cost: Some("0.000015900000"),
        ..DEEPSEEK
    },
    Case {
        name: "chat: reasoning beside the completion, exact cost in ticks",
        model: "grok-4-0709",
        body: r#"{"id":"x1","object":"chat.completion","created":1760000080,"model":"grok-4-0709","choices":[],"usage":{"prompt_tokens":687,"completion_tokens":30,"total_tokens":1017,"prompt_tokens_details":{"text_tokens":687,"audio_tokens":0,"image_tokens":0,"cached_tokens":680},"completion_tokens_details":{"reasoning_tokens":300,"audio_tokens":0,"accepted_prediction_tokens":0,"rejected_prediction_tokens":0},"num_sources_used":0,"cost_in_usd_ticks":54810000}}"#,
        how: "687+30+300=1017, so 30+300=330; 687-680=7; 54810000/10^10=0.005481; the book has no price for its cache",
        usage: Some(Usage {
            cached_tokens: Some(680),
            reasoning_tokens: Some(300),
            prompt_audio_tokens: Some(0),
            prompt_image_tokens: Some(0),
            completion_audio_tokens: Some(0),
            cost_usd: Some(usd(5_481_000_000)),
            ..tokens(7, 330)
        }),
        created_at: Some(1_760_000_080_000),
        unpriced: Some(UnpricedReason::NoPriceForComponent),
        ..XAI
    },
    Case {
        name: "chat: reasoning inside, an image seen",
        model: "grok-4-fast-reasoning",
        body: r#"{"id":"x2","object":"chat.completion","created":1760000081,"model":"grok-4-fast-reasoning","choices":[],"usage":{"prompt_tokens":1100,"completion_tokens":400,"total_tokens":1500,"prompt_tokens_details":{"text_tokens":332,"audio_tokens":0,"image_tokens":768,"cached_tokens":0},"completion_tokens_details":{"reasoning_tokens":250,"audio_tokens":0}}}"#,
        how: "1100+400=1500: 250 of 400; 332 × 0.2 + 768 × 0.2 + 400 × 0.5 = 66.4 + 153.6 + 200 = 420 millionths",
        usage: Some(Usage {
            cached_tokens: Some(0),
            reasoning_tokens: Some(250),
            prompt_audio_tokens: Some(0),
            prompt_image_tokens: Some(768),
            completion_audio_tokens: Some(0),
            ..tokens(1100, 400)
        }),
        created_at: Some(1_760_000_081_000),
        cost: Some("0.000420000000"),
        ..XAI
    },
    Case {
        name: "responses: xAI",
        model: "grok-4.3",
        body: r#"{"id":"x3","object":"response","created_at":1760000082,"status":"completed","output":[],"usage":{"input_tokens":9212,"input_tokens_details":{"cached_tokens":3072},"output_tokens":3417,"output_tokens_details":{"reasoning_tokens":1000},"total_tokens":12629,"num_server_side_tools_used":3,"cost_in_usd_ticks":318319000}}"#,
        how: "9212-3072=6140; 9212+3417=12629: 1000 of 3417; 318319000/10^10=0.0318319; 6140 × 1.25 + 3072 × 0.2 + 3417 × 2.5 = 7675 + 614.4 + 8542.5 = 16831.9 millionths; 0.015 less than stated: tools are charged beside",
        usage: Some(Usage {
            cached_tokens: Some(3072),
            reasoning_tokens: Some(1000),
            cost_usd: Some(usd(31_831_900_000)),
            ..tokens(6140, 3417)
        }),
        created_at: Some(1_760_000_082_000),
        cost: Some("0.016831900000"),
        ..XAI
    },
    Case {
        name: "an image, priced by the provider",
        model: "grok-2-image-1212",
        body: r#"{"data":[{"b64_json":"/9j/4AAQ","mime_type":"image/jpeg"}],"usage":{"cost_in_usd_ticks":200000000}}"#,
        how: "200000000/10^10=0.02",
        usage: Some(Usage { generated_images: Some(1), cost_usd: Some(usd(20_000_000_000)), ..UNKNOWN }),
        unpriced: Some(UnpricedReason::UnknownModel),
        ..XAI
    },
    Case {
        name: "cost, reads and writes inside the prompt",
        model: "anthropic/claude-sonnet-4.5",
        body: r#"{"id":"gen-1","provider":"Anthropic","model":"anthropic/claude-sonnet-4.5","object":"chat.completion","created":1760000090,"choices":[],"usage":{"prompt_tokens":194,"completion_tokens":2,"total_tokens":196,"cost":0.0006285,"is_byok":false,"prompt_tokens_details":{"cached_tokens":45,"cache_write_tokens":100,"audio_tokens":0,"video_tokens":0},"cost_details":{"upstream_inference_cost":0.0006285,"upstream_inference_prompt_cost":0.0005985,"upstream_inference_completions_cost":0.00003},"completion_tokens_details":{"reasoning_tokens":0,"image_tokens":0}}}"#,
        how: "194-45-100=49; 49 × 3 + 45 × 0.3 + 100 × 3.75 + 2 × 15 = 147 + 13.5 + 375 + 30 = 565.5 millionths",
        usage: Some(Usage {
            cached_tokens: Some(45),
            cache_write_tokens: Some(100),
            reasoning_tokens: Some(0),
            prompt_audio_tokens: Some(0),
            completion_image_tokens: Some(0),
            cost_usd: Some(usd(628_500_000)),
            ..tokens(49, 2)
        }),
        created_at: Some(1_760_000_090_000),
        cost: Some("0.000565500000"),
        ..OPENROUTER
    },
    Case {
        name: "own key: its fee and the provider's price",
        model: "openai/gpt-4o",
        body: r#"{"id":"gen-2","object":"chat.completion","created":1760000091,"choices":[],"usage":{"prompt_tokens":1000,"completion_tokens":100,"total_tokens":1100,"cost":0.000175,"is_byok":true,"cost_details":{"upstream_inference_cost":0.0035}}}"#,
        how: "0.000175+0.0035=0.003675; 1000 × 2.5 + 100 × 10 = 2500 + 1000 = 3500 millionths",
        usage: Some(Usage { cost_usd: Some(usd(3_675_000_000)), ..tokens(1000, 100) }),
        created_at: Some(1_760_000_091_000),
        cost: Some("0.003500000000"),
        ..OPENROUTER
    },
    Case {
        name: "a free model states no cost",
        model: "deepseek/deepseek-r1:free",
        body: r#"{"id":"gen-3","object":"chat.completion","created":1760000092,"choices":[],"usage":{"prompt_tokens":10,"completion_tokens":600,"total_tokens":610,"cost":0,"completion_tokens_details":{"reasoning_tokens":580}}}"#,
        how: "0 is not above 0; 580 of 600",
        usage: Some(Usage { reasoning_tokens: Some(580), ..tokens(10, 600) }),
        created_at: Some(1_760_000_092_000),
        unpriced: Some(UnpricedReason::UnknownModel),
        ..OPENROUTER
    },
    Case {
        name: "stream with comments, a cost of a float's noise",
        model: "google/gemini-2.5-flash",
        body: r#"{"streamed_data":": OPENROUTER PROCESSING\n\ndata: {\"id\":\"gen-4\",\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\ndata: {\"id\":\"gen-4\",\"choices\":[],\"usage\":{\"prompt_tokens\":33,\"completion_tokens\":5,\"total_tokens\":38,\"cost\":2.2400000000000002e-05}}\n\ndata: [DONE]\n\n"}"#,
        how: "0.0000224 to 12 places; 33 × 0.3 + 5 × 2.5 = 9.9 + 12.5 = 22.4 millionths",
        usage: Some(Usage { cost_usd: Some(usd(22_400_000)), ..tokens(33, 5) }),
        cost: Some("0.000022400000"),
        ..OPENROUTER
    },
    Case {
        name: "hits at a cheap hour",
        model: "deepseek-chat",
        body: r#"{"id":"d4","object":"chat.completion","created":1756685700,"model":"deepseek-chat","choices":[],"usage":{"prompt_tokens":200,"completion_tokens":7,"total_tokens":207,"prompt_cache_hit_tokens":128,"prompt_cache_miss_tokens":72}}"#,
        how: "200-128=72; until 00:30 UTC; 72 × 0.135 + 128 × 0.035 + 7 × 0.55 = 9.72 + 4.48 + 3.85 = 18.05 millionths",
        usage: Some(Usage { cached_tokens: Some(128), ..tokens(72, 7) }),
        created_at: Some(1_756_685_700_000),
        at: "2025-09-01T00:15:00Z",
        cost: Some("0.000018050000"),
        ..DEEPSEEK
    },
    Case {
        name: "chat: cached, reasoning beside",
        model: "grok-4.5",
        body: r#"{"id":"x5","object":"chat.completion","created":1793000010,"model":"grok-4.5","choices":[],"usage":{"prompt_tokens":1500,"completion_tokens":200,"total_tokens":1800,"prompt_tokens_details":{"text_tokens":1500,"audio_tokens":0,"image_tokens":0,"cached_tokens":1024},"completion_tokens_details":{"reasoning_tokens":100,"audio_tokens":0}}}"#,
        how: "1500-1024=476; 1500+200+100=1800, so 200+100=300; 476 × 2 + 1024 × 0.3 + 300 × 6 = 952 + 307.2 + 1800 = 3059.2 millionths",
        usage: Some(Usage {
            cached_tokens: Some(1024),
            reasoning_tokens: Some(100),
            prompt_audio_tokens: Some(0),
            prompt_image_tokens: Some(0),
            completion_audio_tokens: Some(0),
            ..tokens(476, 300)
        }),
        created_at: Some(1_793_000_010_000),
        cost: Some("0.003059200000"),
        ..XAI
    },
    Case {
        name: "chat: a prompt of 200,000 tokens",
        model: "grok-4.3",
        body: r#"{"id":"x6","object":"chat.completion","created":1793000011,"model":"grok-4.3","choices":[],"usage":{"prompt_tokens":200000,"completion_tokens":10,"total_tokens":200010}}"#,
        how: "xAI charges more from 200,000 on; 200000 × 2.5 + 10 × 5 = 500000 + 50 = 500050 millionths",
        usage: Some(tokens(200_000, 10)),
        created_at: Some(1_793_000_011_000),
        cost: Some("0.500050000000"),
        ..XAI
    },
];
