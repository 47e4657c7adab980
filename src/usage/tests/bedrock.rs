//! Amazon Bedrock: Converse, and models invoked in their own words.

use super::{CASE, Case, UNKNOWN, tokens};
use crate::{
    pricing::UnpricedReason,
    usage::{ServiceTier, Usage},
};

const BASE: Case = Case { provider: "BEDROCK", ..CASE };

pub(super) const CASES: &[Case] = &[
    Case {
        name: "Converse, cache of both lifetimes",
        model: "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
        body: r#"{"output":{"message":{"role":"assistant","content":[{"text":"Hi"}]}},"stopReason":"end_turn","usage":{"inputTokens":11,"outputTokens":40,"totalTokens":5151,"cacheReadInputTokens":3000,"cacheWriteInputTokens":2100,"cacheDetails":[{"ttl":"1h","inputTokens":1500},{"ttl":"5m","inputTokens":600}]},"serviceTier":{"type":"priority"},"metrics":{"latencyMs":812}}"#,
        how: "11+40+3000+2100=5151: the cache stands beside; 1500+600=2100",
        usage: Some(Usage {
            cached_tokens: Some(3000),
            cache_write_tokens: Some(2100),
            cache_write_1h_tokens: Some(1500),
            service_tier: Some(ServiceTier::Priority),
            ..tokens(11, 40)
        }),
        unpriced: Some(UnpricedReason::NoPriceForServiceTier),
        ..BASE
    },
    Case {
        name: "Converse, first names of the cache's counts",
        model: "amazon.nova-pro-v1:0",
        body: r#"{"output":{"message":{"role":"assistant","content":[]}},"stopReason":"end_turn","usage":{"inputTokens":4,"outputTokens":9,"totalTokens":1213,"cacheReadInputTokenCount":1200,"cacheWriteInputTokenCount":0},"metrics":{"latencyMs":400}}"#,
        how: "4 × 0.8 + 1200 × 0.2 + 9 × 3.2 = 3.2 + 240 + 28.8 = 272 millionths",
        usage: Some(Usage { cached_tokens: Some(1200), cache_write_tokens: Some(0), ..tokens(4, 9) }),
        cost: Some("0.000272000000"),
        ..BASE
    },
    Case {
        name: "Converse, events of a stream",
        model: "amazon.nova-lite-v1:0",
        body: r#"[{"messageStart":{"role":"assistant"}},{"contentBlockDelta":{"delta":{"text":"Hi"},"contentBlockIndex":0}},{"messageStop":{"stopReason":"end_turn"}},{"metadata":{"usage":{"inputTokens":25,"outputTokens":3,"totalTokens":28},"metrics":{"latencyMs":281}}}]"#,
        how: "25 × 0.06 + 3 × 0.24 = 1.5 + 0.72 = 2.22 millionths",
        usage: Some(tokens(25, 3)),
        cost: Some("0.000002220000"),
        ..BASE
    },
    Case {
        name: "Converse, a stream that Helicone kept as it came",
        model: "amazon.nova-micro-v1:0",
        body: r#"{"id":"5f0c","object":"chat.completion","created":1760000040,"model":"amazon.nova-micro-v1:0","choices":[{"index":0,"message":{"role":"assistant","content":""},"finish_reason":"stop"}],"usage":{"prompt_tokens":0,"completion_tokens":0,"total_tokens":0},"streamed_data":"\u0000\u0000\u0000\ufffd\u0000R\u000b:event-type\u0007\u0000\u0008metadata\r:content-type\u0007\u0000\u0010application/json{\"metrics\":{\"latencyMs\":300},\"p\":\"abc\",\"usage\":{\"inputTokens\":14,\"outputTokens\":77,\"totalTokens\":91}}\ufffd\ufffd\"\ufffd","bedrock_events":[]}"#,
        how: "0 is not known; of the frames' last usage; 14 × 0.035 + 77 × 0.14 = 0.49 + 10.78 = 11.27 millionths",
        usage: Some(tokens(14, 77)),
        created_at: Some(1_760_000_040_000),
        cost: Some("0.000011270000"),
        ..BASE
    },
    Case {
        name: "invoke: Claude's message",
        model: "anthropic.claude-3-5-sonnet-20241022-v2:0",
        body: r#"{"id":"msg_bdrk_1","type":"message","role":"assistant","model":"claude-3-5-sonnet-20241022","content":[{"type":"text","text":"Hi"}],"stop_reason":"end_turn","usage":{"input_tokens":10,"cache_creation_input_tokens":300,"cache_read_input_tokens":600,"output_tokens":21}}"#,
        how: "10 × 3 + 600 × 0.3 + 300 × 3.75 + 21 × 15 = 30 + 180 + 1125 + 315 = 1650 millionths",
        usage: Some(Usage { cached_tokens: Some(600), cache_write_tokens: Some(300), ..tokens(10, 21) }),
        cost: Some("0.001650000000"),
        ..BASE
    },
    Case {
        name: "invoke: Claude's stream, rewritten by Helicone without the cache",
        model: "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
        body: r#"{"id":"msg_bdrk_2","object":"chat.completion","created":1760000041,"choices":[],"usage":{"prompt_tokens":10,"completion_tokens":21,"total_tokens":31},"streamed_data":"\u0000frames","bedrock_events":[{"type":"message_start","message":{"id":"msg_bdrk_2","usage":{"input_tokens":10,"cache_creation_input_tokens":300,"cache_read_input_tokens":600,"cache_creation":{"ephemeral_5m_input_tokens":0,"ephemeral_1h_input_tokens":300},"output_tokens":2}}},{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Hi"}},{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":21}},{"type":"message_stop","amazon-bedrock-invocationMetrics":{"inputTokenCount":10,"outputTokenCount":21,"invocationLatency":900,"firstByteLatency":300,"cacheReadInputTokenCount":600,"cacheWriteInputTokenCount":300}}]}"#,
        how: "of Bedrock's own events; 10 × 3.3 + 600 × 0.33 + 300 × 6.6 + 21 × 16.5 = 33 + 198 + 1980 + 346.5 = 2557.5 millionths",
        usage: Some(Usage {
            cached_tokens: Some(600),
            cache_write_tokens: Some(300),
            cache_write_1h_tokens: Some(300),
            ..tokens(10, 21)
        }),
        created_at: Some(1_760_000_041_000),
        cost: Some("0.002557500000"),
        ..BASE
    },
    Case {
        name: "invoke: metrics alone",
        model: "mistral.mistral-large-2402-v1:0",
        body: r#"{"id":"x","object":"chat.completion","created":1760000042,"usage":{"prompt_tokens":0,"completion_tokens":0,"total_tokens":0},"bedrock_events":[{"outputs":[{"text":"Hi"}]},{"outputs":[{"text":"!","stop_reason":"stop"}],"amazon-bedrock-invocationMetrics":{"inputTokenCount":18,"outputTokenCount":5,"invocationLatency":500,"firstByteLatency":200}}]}"#,
        how: "18 × 4 + 5 × 12 = 72 + 60 = 132 millionths",
        usage: Some(tokens(18, 5)),
        created_at: Some(1_760_000_042_000),
        cost: Some("0.000132000000"),
        ..BASE
    },
    Case {
        name: "invoke: Titan",
        model: "amazon.titan-text-express-v1",
        body: r#"{"inputTextTokenCount":31,"results":[{"tokenCount":40,"outputText":"a","completionReason":"FINISH"},{"tokenCount":2,"outputText":"b","completionReason":"FINISH"}]}"#,
        how: "40+2=42; 31 × 0.2 + 42 × 0.6 = 6.2 + 25.2 = 31.4 millionths",
        usage: Some(tokens(31, 42)),
        cost: Some("0.000031400000"),
        ..BASE
    },
    Case {
        name: "invoke: Titan's stream",
        model: "amazon.titan-text-lite-v1",
        body: r#"[{"outputText":"a","index":0,"totalOutputTextTokenCount":null,"completionReason":null,"inputTextTokenCount":6},{"outputText":"b","index":0,"totalOutputTextTokenCount":9,"completionReason":"FINISH","inputTextTokenCount":6,"amazon-bedrock-invocationMetrics":{"inputTokenCount":6,"outputTokenCount":9,"invocationLatency":1,"firstByteLatency":1}}]"#,
        how: "6 × 0.15 + 9 × 0.2 = 0.9 + 1.8 = 2.7 millionths",
        usage: Some(tokens(6, 9)),
        cost: Some("0.000002700000"),
        ..BASE
    },
    Case {
        name: "invoke: Titan's embeddings",
        model: "amazon.titan-embed-text-v2:0",
        body: r#"{"embedding":[0.1,0.2],"embeddingsByType":{"float":[0.1,0.2]},"inputTextTokenCount":5}"#,
        how: "5 × 0.02 = 0.1 millionths",
        usage: Some(Usage { prompt_tokens: Some(5), ..UNKNOWN }),
        cost: Some("0.000000100000"),
        ..BASE
    },
    Case {
        name: "invoke: Llama",
        model: "meta.llama3-1-70b-instruct-v1:0",
        body: r#"{"generation":"Hello!","prompt_token_count":23,"generation_token_count":4,"stop_reason":"stop"}"#,
        how: "23 × 0.72 + 4 × 0.72 = 16.56 + 2.88 = 19.44 millionths",
        usage: Some(tokens(23, 4)),
        cost: Some("0.000019440000"),
        ..BASE
    },
    Case {
        name: "invoke: Nova",
        model: "amazon.nova-premier-v1:0",
        body: r#"{"output":{"message":{"content":[{"text":"Hi"}],"role":"assistant"}},"stopReason":"end_turn","usage":{"inputTokens":7,"outputTokens":13,"totalTokens":20,"cacheReadInputTokenCount":0,"cacheWriteInputTokenCount":1024}}"#,
        how: "no price for what is written to its cache",
        usage: Some(Usage { cached_tokens: Some(0), cache_write_tokens: Some(1024), ..tokens(7, 13) }),
        unpriced: Some(UnpricedReason::NoPriceForComponent),
        ..BASE
    },
    Case {
        name: "invoke: Jamba, in OpenAI's shape",
        model: "ai21.jamba-1-5-large-v1:0",
        body: r#"{"id":"chat-j","choices":[],"meta":{"requestDurationMillis":300},"model":"jamba-1.5-large","usage":{"prompt_tokens":17,"completion_tokens":29,"total_tokens":46}}"#,
        usage: Some(tokens(17, 29)),
        unpriced: Some(UnpricedReason::UnknownModel),
        ..BASE
    },
    Case {
        name: "Converse, cache of both lifetimes, default tier",
        model: "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
        body: r#"{"output":{"message":{"role":"assistant","content":[{"text":"Hi"}]}},"stopReason":"end_turn","usage":{"inputTokens":11,"outputTokens":40,"totalTokens":5151,"cacheReadInputTokens":3000,"cacheWriteInputTokens":2100,"cacheDetails":[{"ttl":"1h","inputTokens":1500},{"ttl":"5m","inputTokens":600}]},"serviceTier":{"type":"default"},"metrics":{"latencyMs":812}}"#,
        how: "the region costs a tenth more; 11 × 3.3 + 3000 × 0.33 + 600 × 4.125 + 1500 × 6.6 + 40 × 16.5 = 36.3 + 990 + 2475 + 9900 + 660 = 14061.3 millionths",
        usage: Some(Usage {
            cached_tokens: Some(3000),
            cache_write_tokens: Some(2100),
            cache_write_1h_tokens: Some(1500),
            service_tier: Some(ServiceTier::Default),
            ..tokens(11, 40)
        }),
        cost: Some("0.014061300000"),
        ..BASE
    },
];
