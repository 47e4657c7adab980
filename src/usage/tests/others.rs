//! Cohere and Ollama, which have shapes of their own, and smaller providers in `OpenAI`'s.

use super::{CASE, Case, UNKNOWN, tokens, usd};
use crate::{
    pricing::UnpricedReason,
    usage::{ResponseStatus, Usage},
};

const COHERE: Case = Case { provider: "COHERE", ..CASE };
const OLLAMA: Case = Case { provider: "OLLAMA", ..CASE };
const TOGETHER: Case = Case { provider: "TOGETHER", ..CASE };
const FIREWORKS: Case = Case { provider: "FIREWORKS", ..CASE };
const PERPLEXITY: Case = Case { provider: "PERPLEXITY", ..CASE };

pub(super) const CASES: &[Case] = &[
    Case {
        name: "version 2: what is billed counts",
        model: "command-a-03-2025",
        body: r#"{"id":"c1","finish_reason":"COMPLETE","message":{"role":"assistant","content":[{"type":"text","text":"Hi"}]},"usage":{"billed_units":{"input_tokens":5,"output_tokens":418},"tokens":{"input_tokens":71,"output_tokens":418},"cached_tokens":64}}"#,
        how: "billed 5 of 71; 5 × 2.5 + 418 × 10 = 12.5 + 4180 = 4192.5 millionths",
        usage: Some(tokens(5, 418)),
        cost: Some("0.004192500000"),
        ..COHERE
    },
    Case {
        name: "version 2: stream",
        model: "command-r-plus-08-2024",
        body: r#""event: message-start\ndata: {\"type\":\"message-start\",\"id\":\"c2\",\"delta\":{\"message\":{\"role\":\"assistant\"}}}\n\nevent: message-end\ndata: {\"type\":\"message-end\",\"delta\":{\"finish_reason\":\"COMPLETE\",\"usage\":{\"billed_units\":{\"input_tokens\":12,\"output_tokens\":30},\"tokens\":{\"input_tokens\":78,\"output_tokens\":31}}}}\n\ndata: [DONE]\n\n""#,
        how: "billed; 12 × 2.5 + 30 × 10 = 30 + 300 = 330 millionths",
        usage: Some(tokens(12, 30)),
        cost: Some("0.000330000000"),
        ..COHERE
    },
    Case {
        name: "version 1: meta",
        model: "command-r",
        body: r#"{"response_id":"c3","text":"Hi","generation_id":"g","finish_reason":"COMPLETE","meta":{"api_version":{"version":"1"},"billed_units":{"input_tokens":17,"output_tokens":12},"tokens":{"input_tokens":215,"output_tokens":12}}}"#,
        how: "billed 17 of 215; 17 × 0.15 + 12 × 0.6 = 2.55 + 7.2 = 9.75 millionths",
        usage: Some(tokens(17, 12)),
        cost: Some("0.000009750000"),
        ..COHERE
    },
    Case {
        name: "version 1: stream of lines",
        model: "command-r",
        body: r#""{\"is_finished\":false,\"event_type\":\"text-generation\",\"text\":\"Hi\"}\n{\"is_finished\":true,\"event_type\":\"stream-end\",\"response\":{\"text\":\"Hi\",\"meta\":{\"billed_units\":{\"input_tokens\":9,\"output_tokens\":1}}},\"finish_reason\":\"COMPLETE\"}\n""#,
        how: "9 × 0.15 + 1 × 0.6 = 1.35 + 0.6 = 1.95 millionths",
        usage: Some(tokens(9, 1)),
        cost: Some("0.000001950000"),
        ..COHERE
    },
    Case {
        name: "embeddings",
        model: "embed-v4.0",
        body: r#"{"id":"c5","embeddings":{"float":[[0.1]]},"texts":["hello"],"meta":{"api_version":{"version":"2"},"billed_units":{"input_tokens":2}}}"#,
        how: "2 × 0.12 = 0.24 millionths",
        usage: Some(Usage { prompt_tokens: Some(2), ..UNKNOWN }),
        cost: Some("0.000000240000"),
        ..COHERE
    },
    Case {
        name: "rerank is charged by the search",
        model: "rerank-v3.5",
        body: r#"{"id":"c6","results":[{"index":0,"relevance_score":0.9}],"meta":{"billed_units":{"search_units":1}}}"#,
        how: "no tokens are told",
        unpriced: Some(UnpricedReason::UnknownModel),
        ..COHERE
    },
    Case {
        name: "chat",
        model: "llama3.2",
        body: r#"{"model":"llama3.2","created_at":"2025-10-09T08:53:20.519897Z","message":{"role":"assistant","content":"Hello!"},"done_reason":"stop","done":true,"total_duration":5191566416,"load_duration":2154458,"prompt_eval_count":26,"prompt_eval_duration":383809000,"eval_count":298,"eval_duration":4799921000}"#,
        usage: Some(tokens(26, 298)),
        created_at: Some(1_760_000_000_519),
        unpriced: Some(UnpricedReason::UnknownProvider),
        ..OLLAMA
    },
    Case {
        name: "generate, from a full cache",
        model: "qwen2.5:7b",
        body: r#"{"model":"qwen2.5:7b","created_at":"2025-10-09T10:53:21+02:00","response":"{\"usage\":{\"prompt_tokens\":999}}","done":true,"context":[1,2,3],"eval_count":12}"#,
        how: "no prompt was evaluated; what the model wrote is no usage",
        usage: Some(Usage { completion_tokens: Some(12), ..UNKNOWN }),
        created_at: Some(1_760_000_001_000),
        unpriced: Some(UnpricedReason::UnknownProvider),
        ..OLLAMA
    },
    Case {
        name: "stream of lines",
        model: "mistral",
        body: r#""{\"model\":\"mistral\",\"created_at\":\"2025-10-09T08:53:20Z\",\"message\":{\"role\":\"assistant\",\"content\":\"The\"},\"done\":false}\n{\"model\":\"mistral\",\"created_at\":\"2025-10-09T08:53:22Z\",\"message\":{\"role\":\"assistant\",\"content\":\"\"},\"done\":true,\"prompt_eval_count\":11,\"eval_count\":18}\n""#,
        how: "of the last line; the time of the first",
        usage: Some(tokens(11, 18)),
        created_at: Some(1_760_000_000_000),
        unpriced: Some(UnpricedReason::UnknownProvider),
        ..OLLAMA
    },
    Case {
        name: "embeddings",
        model: "nomic-embed-text",
        body: r#"{"model":"nomic-embed-text","embeddings":[[0.01,-0.02]],"total_duration":14143917,"load_duration":1019500,"prompt_eval_count":8}"#,
        usage: Some(Usage { prompt_tokens: Some(8), ..UNKNOWN }),
        unpriced: Some(UnpricedReason::UnknownProvider),
        ..OLLAMA
    },
    Case {
        name: "a model that is not there",
        model: "none",
        body: r#"{"error":"model 'none' not found"}"#,
        status: ResponseStatus::Error,
        unpriced: Some(UnpricedReason::UnknownProvider),
        ..OLLAMA
    },
    Case {
        name: "plain",
        model: "meta-llama/Meta-Llama-3.1-70B-Instruct-Turbo",
        body: r#"{"id":"t1","object":"chat.completion","created":1760000100,"model":"meta-llama/Meta-Llama-3.1-70B-Instruct-Turbo","choices":[],"usage":{"prompt_tokens":18,"completion_tokens":22,"total_tokens":40}}"#,
        how: "18 × 0.88 + 22 × 0.88 = 15.84 + 19.36 = 35.2 millionths",
        usage: Some(tokens(18, 22)),
        created_at: Some(1_760_000_100_000),
        cost: Some("0.000035200000"),
        ..TOGETHER
    },
    Case {
        name: "cached at the top",
        model: "moonshotai/Kimi-K3",
        body: r#"{"id":"t2","object":"chat.completion","created":1760000101,"choices":[],"usage":{"prompt_tokens":700,"completion_tokens":22,"total_tokens":722,"cached_tokens":512}}"#,
        how: "700-512=188; 188 × 3 + 512 × 0.3 + 22 × 15 = 564 + 153.6 + 330 = 1047.6 millionths",
        usage: Some(Usage { cached_tokens: Some(512), ..tokens(188, 22) }),
        created_at: Some(1_760_000_101_000),
        cost: Some("0.001047600000"),
        ..TOGETHER
    },
    Case {
        name: "stream",
        model: "deepseek-ai/DeepSeek-V4.1-Flash",
        body: r#"{"streamed_data":[{"id":"t3","choices":[{"delta":{"content":"a"}}],"usage":null},{"id":"t3","choices":[{"delta":{"content":""}}],"usage":{"prompt_tokens":6,"completion_tokens":3,"total_tokens":9}}]}"#,
        how: "6 × 0.3 + 3 × 1.2 = 1.8 + 3.6 = 5.4 millionths",
        usage: Some(tokens(6, 3)),
        cost: Some("0.000005400000"),
        ..TOGETHER
    },
    Case {
        name: "cached",
        model: "accounts/fireworks/models/deepseek-v3p2",
        body: r#"{"id":"f1","object":"chat.completion","created":1760000110,"choices":[],"usage":{"prompt_tokens":2010,"total_tokens":2060,"completion_tokens":50,"prompt_tokens_details":{"cached_tokens":2000}}}"#,
        how: "2010-2000=10; 10 × 0.56 + 2000 × 0.28 + 50 × 1.68 = 5.6 + 560 + 84 = 649.6 millionths",
        usage: Some(Usage { cached_tokens: Some(2000), ..tokens(10, 50) }),
        created_at: Some(1_760_000_110_000),
        cost: Some("0.000649600000"),
        ..FIREWORKS
    },
    Case {
        name: "usage in every chunk: the last counts",
        model: "accounts/fireworks/models/gpt-oss-20b",
        body: r#""data: {\"id\":\"f2\",\"choices\":[{\"delta\":{\"content\":\"a\"}}],\"usage\":{\"prompt_tokens\":14,\"total_tokens\":15,\"completion_tokens\":1}}\n\ndata: {\"id\":\"f2\",\"choices\":[{\"delta\":{\"content\":\"b\"}}],\"usage\":{\"prompt_tokens\":14,\"total_tokens\":16,\"completion_tokens\":2}}\n\ndata: [DONE]\n\n""#,
        how: "14 × 0.07 + 2 × 0.3 = 0.98 + 0.6 = 1.58 millionths",
        usage: Some(tokens(14, 2)),
        cost: Some("0.000001580000"),
        ..FIREWORKS
    },
    Case {
        name: "counts as floats",
        model: "accounts/fireworks/models/kimi-k2p5",
        body: r#"{"id":"f3","object":"chat.completion","created":1760000111,"choices":[],"usage":{"prompt_tokens":14.0,"total_tokens":1.6e1,"completion_tokens":2.0}}"#,
        how: "14 × 0.6 + 2 × 3 = 8.4 + 6 = 14.4 millionths",
        usage: Some(tokens(14, 2)),
        created_at: Some(1_760_000_111_000),
        cost: Some("0.000014400000"),
        ..FIREWORKS
    },
    Case {
        name: "cost as an object",
        model: "sonar-pro",
        body: r#"{"id":"p1","model":"sonar-pro","created":1760000120,"usage":{"prompt_tokens":8,"completion_tokens":439,"total_tokens":447,"search_context_size":"low","cost":{"input_tokens_cost":0.000024,"output_tokens_cost":0.006585,"request_cost":0.006,"total_cost":0.012609}},"object":"chat.completion","choices":[]}"#,
        how: "0.000024+0.006585+0.006=0.012609; the fee for a call depends on how far it searched",
        usage: Some(Usage { cost_usd: Some(usd(12_609_000_000)), ..tokens(8, 439) }),
        created_at: Some(1_760_000_120_000),
        unpriced: Some(UnpricedReason::NoPriceForComponent),
        ..PERPLEXITY
    },
    Case {
        name: "deep research: reasoning beside, searches",
        model: "sonar-deep-research",
        body: r#"{"id":"p2","model":"sonar-deep-research","created":1760000121,"usage":{"prompt_tokens":33,"completion_tokens":7163,"total_tokens":7196,"citation_tokens":20016,"num_search_queries":21,"reasoning_tokens":73997},"object":"chat.completion","choices":[]}"#,
        how: "73997 is no part of 7163: 7163+73997=81160",
        usage: Some(Usage { reasoning_tokens: Some(73_997), web_search_requests: Some(21), ..tokens(33, 81_160) }),
        created_at: Some(1_760_000_121_000),
        unpriced: Some(UnpricedReason::UnknownModel),
        ..PERPLEXITY
    },
    Case {
        name: "plain",
        model: "sonar",
        body: r#"{"id":"p3","model":"sonar","created":1760000122,"usage":{"prompt_tokens":14,"completion_tokens":70,"total_tokens":84},"citations":["https://x.example"],"object":"chat.completion","choices":[]}"#,
        how: "the fee for a call depends on how far it searched",
        usage: Some(tokens(14, 70)),
        created_at: Some(1_760_000_122_000),
        unpriced: Some(UnpricedReason::NoPriceForComponent),
        ..PERPLEXITY
    },
    Case {
        name: "a proxy that adds Anthropic's words",
        provider: "litellm.internal.example",
        model: "claude-sonnet-4-5",
        body: r#"{"id":"l1","created":1760000130,"model":"claude-sonnet-4-5","object":"chat.completion","choices":[],"usage":{"completion_tokens":40,"prompt_tokens":3000,"total_tokens":3040,"prompt_tokens_details":{"cached_tokens":2000,"cache_creation_tokens":900},"cache_creation_input_tokens":900,"cache_read_input_tokens":2000}}"#,
        how: "3000-2000-900=100",
        usage: Some(Usage { cached_tokens: Some(2000), cache_write_tokens: Some(900), ..tokens(100, 40) }),
        created_at: Some(1_760_000_130_000),
        unpriced: Some(UnpricedReason::UnknownProvider),
        ..CASE
    },
    Case {
        name: "counts that cannot be",
        provider: "llm.internal.example",
        model: "x",
        body: r#"{"usage":{"prompt_tokens":-1,"completion_tokens":9007199254740993,"total_tokens":"3","cost":-0.5}}"#,
        how: "negative, above 2^53, text",
        unpriced: Some(UnpricedReason::UnknownProvider),
        ..CASE
    },
    Case {
        name: "responses: cached",
        model: "perplexity/glm-5.3-flash",
        body: r#"{"id":"resp_p1","object":"response","created_at":1793000020,"status":"completed","model":"perplexity/glm-5.3-flash","output":[],"usage":{"input_tokens":500,"input_tokens_details":{"cache_read_input_tokens":200},"output_tokens":60,"total_tokens":560}}"#,
        how: "500-200=300; 300 × 0.15 + 200 × 0.03 + 60 × 0.5 = 45 + 6 + 30 = 81 millionths",
        usage: Some(Usage { cached_tokens: Some(200), ..tokens(300, 60) }),
        created_at: Some(1_793_000_020_000),
        cost: Some("0.000081000000"),
        ..PERPLEXITY
    },
    Case {
        name: "responses: plain",
        model: "perplexity/kimi-k3",
        body: r#"{"id":"resp_p2","object":"response","created_at":1793000021,"status":"completed","model":"perplexity/kimi-k3","output":[],"usage":{"input_tokens":40,"output_tokens":90,"total_tokens":130}}"#,
        how: "40 × 3 + 90 × 15 = 120 + 1350 = 1470 millionths",
        usage: Some(tokens(40, 90)),
        created_at: Some(1_793_000_021_000),
        cost: Some("0.001470000000"),
        ..PERPLEXITY
    },
    Case {
        name: "responses: one search",
        model: "perplexity/sonar",
        body: r#"{"id":"resp_p3","object":"response","created_at":1793000022,"status":"completed","model":"perplexity/sonar","output":[{"type":"web_search_call","id":"ws_1","status":"completed","action":{"type":"search","query":"x"}}],"usage":{"input_tokens":800,"input_tokens_details":{"cached_tokens":320},"output_tokens":100,"total_tokens":900}}"#,
        how: "800-320=480; 480 × 0.25 + 320 × 0.0625 + 100 × 2.5 = 120 + 20 + 250 = 390 millionths, and 1 × 0.0025 for searches",
        usage: Some(Usage { cached_tokens: Some(320), web_search_requests: Some(1), ..tokens(480, 100) }),
        created_at: Some(1_793_000_022_000),
        cost: Some("0.002890000000"),
        ..PERPLEXITY
    },
];
