//! Anthropic, and Helicone's gateway that words its usage like `OpenAI`.

use super::{CASE, Case, UNKNOWN, tokens};
use crate::{
    pricing::UnpricedReason,
    usage::{ResponseStatus, ServiceTier, Usage},
};

const BASE: Case = Case { provider: "ANTHROPIC", ..CASE };

pub(super) const CASES: &[Case] = &[
    Case {
        name: "cache written for both lifetimes, web search, batch",
        model: "claude-sonnet-4-5-20250929",
        body: r#"{"id":"msg_1","type":"message","role":"assistant","model":"claude-sonnet-4-5-20250929","content":[{"type":"text","text":"Yes."}],"stop_reason":"end_turn","usage":{"input_tokens":2048,"cache_creation_input_tokens":556,"cache_read_input_tokens":1800,"cache_creation":{"ephemeral_5m_input_tokens":456,"ephemeral_1h_input_tokens":100},"output_tokens":503,"server_tool_use":{"web_search_requests":3,"web_fetch_requests":1},"service_tier":"batch"}}"#,
        how: "456+100=556",
        usage: Some(Usage {
            cached_tokens: Some(1800),
            cache_write_tokens: Some(556),
            cache_write_1h_tokens: Some(100),
            web_search_requests: Some(3),
            service_tier: Some(ServiceTier::Batch),
            ..tokens(2048, 503)
        }),
        unpriced: Some(UnpricedReason::NoPriceForServiceTier),
        ..BASE
    },
    Case {
        name: "nothing but input and output",
        model: "claude-3-haiku-20240307",
        body: r#"{"id":"msg_2","type":"message","role":"assistant","model":"claude-3-haiku-20240307","content":[{"type":"text","text":"Hi"}],"stop_reason":"end_turn","usage":{"input_tokens":12,"output_tokens":6}}"#,
        how: "12 × 0.25 + 6 × 1.25 = 3 + 7.5 = 10.5 millionths",
        usage: Some(tokens(12, 6)),
        cost: Some("0.000010500000"),
        ..BASE
    },
    Case {
        name: "compaction is charged beside the message",
        model: "claude-opus-4-6",
        body: r#"{"id":"msg_3","type":"message","role":"assistant","model":"claude-opus-4-6","content":[],"usage":{"input_tokens":23000,"output_tokens":1000,"cache_read_input_tokens":0,"cache_creation_input_tokens":0,"iterations":[{"type":"compaction","input_tokens":180000,"output_tokens":3500,"cache_read_input_tokens":400,"cache_creation_input_tokens":70},{"type":"message","input_tokens":23000,"output_tokens":1000}],"service_tier":"standard"}}"#,
        how: "180000+23000=203000, 3500+1000=4500; 203000 × 5 + 400 × 0.5 + 70 × 6.25 + 4500 × 25 = 1015000 + 200 + 437.5 + 112500 = 1128137.5 millionths",
        usage: Some(Usage {
            cached_tokens: Some(400),
            cache_write_tokens: Some(70),
            service_tier: Some(ServiceTier::Default),
            ..tokens(203_000, 4500)
        }),
        cost: Some("1.128137500000"),
        ..BASE
    },
    Case {
        name: "a model that Helicone does not merge: only the raw events tell",
        model: "claude-haiku-4-5-20251001",
        body: r#"{"type":"message_stop","completion":"","streamed_data":"event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_4\",\"usage\":{\"input_tokens\":25,\"cache_creation_input_tokens\":4000,\"cache_read_input_tokens\":0,\"cache_creation\":{\"ephemeral_5m_input_tokens\":1000,\"ephemeral_1h_input_tokens\":3000},\"output_tokens\":1,\"service_tier\":\"standard\"}}}\n\nevent: ping\ndata: {\"type\":\"ping\"}\n\nevent: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"Hi\"}}\n\nevent: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":15}}\n\nevent: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"}"#,
        how: "input of message_start, output of message_delta; 25 × 1 + 1000 × 1.25 + 3000 × 2 + 15 × 5 = 25 + 1250 + 6000 + 75 = 7350 millionths",
        usage: Some(Usage {
            cached_tokens: Some(0),
            cache_write_tokens: Some(4000),
            cache_write_1h_tokens: Some(3000),
            service_tier: Some(ServiceTier::Default),
            ..tokens(25, 15)
        }),
        cost: Some("0.007350000000"),
        ..BASE
    },
    Case {
        name: "raw events whose last usage grew by a search",
        model: "claude-opus-4-5-20251101",
        body: r#""event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":2679,\"cache_creation_input_tokens\":0,\"cache_read_input_tokens\":0,\"output_tokens\":3}}}\n\nevent: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"input_tokens\":10682,\"cache_creation_input_tokens\":0,\"cache_read_input_tokens\":0,\"output_tokens\":510,\"server_tool_use\":{\"web_search_requests\":1}}}\n\n""#,
        how: "message_delta is cumulative; 10682 × 5 + 510 × 25 = 53410 + 12750 = 66160 millionths, and 1 × 0.01 for searches",
        usage: Some(Usage {
            cached_tokens: Some(0),
            cache_write_tokens: Some(0),
            web_search_requests: Some(1),
            ..tokens(10_682, 510)
        }),
        cost: Some("0.076160000000"),
        ..BASE
    },
    Case {
        name: "merged by Helicone with the input of the start, without the search",
        model: "claude-sonnet-4-20250514",
        body: r#"{"id":"msg_8","type":"message","role":"assistant","content":[],"usage":{"input_tokens":2679,"cache_creation_input_tokens":0,"cache_read_input_tokens":0,"output_tokens":510,"service_tier":"standard"},"streamed_data":"event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":2679,\"cache_creation_input_tokens\":0,\"cache_read_input_tokens\":0,\"output_tokens\":3,\"service_tier\":\"standard\"}}}\n\nevent: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"input_tokens\":10682,\"cache_creation_input_tokens\":0,\"cache_read_input_tokens\":0,\"output_tokens\":510,\"server_tool_use\":{\"web_search_requests\":1}}}\n\n"}"#,
        how: "of message_delta, which has what the search found in it; 10682 × 3 + 510 × 15 = 32046 + 7650 = 39696 millionths, and 1 × 0.01 for searches",
        usage: Some(Usage {
            cached_tokens: Some(0),
            cache_write_tokens: Some(0),
            web_search_requests: Some(1),
            service_tier: Some(ServiceTier::Default),
            ..tokens(10_682, 510)
        }),
        cost: Some("0.049696000000"),
        ..BASE
    },
    Case {
        name: "a stream cut off after its start",
        model: "claude-opus-4-5-20251101",
        body: r#""event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":40,\"output_tokens\":1}}}\n\nevent: content_block_delta\ndata: {\"type\":\"content_bl""#,
        how: "the output was never counted",
        usage: Some(Usage { prompt_tokens: Some(40), ..UNKNOWN }),
        unpriced: Some(UnpricedReason::NoUsage),
        ..BASE
    },
    Case {
        name: "a stream that failed",
        model: "claude-opus-4-5-20251101",
        body: r#""event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":40,\"output_tokens\":1}}}\n\nevent: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"}}\n\n""#,
        how: "the output was never counted",
        usage: Some(Usage { prompt_tokens: Some(40), ..UNKNOWN }),
        status: ResponseStatus::Error,
        unpriced: Some(UnpricedReason::NoUsage),
        ..BASE
    },
    Case {
        name: "fast mode has a price of its own",
        model: "claude-opus-4-6",
        body: r#"{"id":"msg_5","type":"message","content":[],"usage":{"input_tokens":100,"cache_creation_input_tokens":0,"cache_read_input_tokens":0,"output_tokens":20,"output_tokens_details":{"thinking_tokens":12},"service_tier":"standard","speed":"fast"}}"#,
        how: "12 of 20",
        usage: Some(Usage {
            cached_tokens: Some(0),
            cache_write_tokens: Some(0),
            reasoning_tokens: Some(12),
            service_tier: Some(ServiceTier::Fast),
            ..tokens(100, 20)
        }),
        unpriced: Some(UnpricedReason::NoPriceForServiceTier),
        ..BASE
    },
    Case {
        name: "Helicone's gateway: reads inside, writes beside",
        model: "claude-sonnet-4-5-20250929",
        body: r#"{"id":"msg_6","object":"chat.completion","created":1760000020,"model":"claude-sonnet-4-5-20250929","choices":[],"usage":{"prompt_tokens":520,"completion_tokens":90,"total_tokens":1330,"prompt_tokens_details":{"cached_tokens":500,"audio_tokens":0,"cache_write_tokens":220,"cache_write_details":{"write_5m_tokens":200,"write_1h_tokens":20}},"modality_tokens":{}}}"#,
        how: "520-500=20; 20 × 3 + 500 × 0.3 + 200 × 3.75 + 20 × 6 + 90 × 15 = 60 + 150 + 750 + 120 + 1350 = 2430 millionths",
        usage: Some(Usage {
            cached_tokens: Some(500),
            cache_write_tokens: Some(220),
            cache_write_1h_tokens: Some(20),
            prompt_audio_tokens: Some(0),
            ..tokens(20, 90)
        }),
        created_at: Some(1_760_000_020_000),
        cost: Some("0.002430000000"),
        ..BASE
    },
    Case {
        name: "Helicone's gateway, streamed: all of the cache beside",
        model: "claude-3-5-haiku-20241022",
        body: r#"{"id":"msg_7","object":"chat.completion.chunk","created":1760000021,"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":12,"total_tokens":21,"prompt_tokens_details":{"cached_tokens":183,"audio_tokens":0},"completion_tokens_details":{"reasoning_tokens":0,"audio_tokens":0,"accepted_prediction_tokens":0,"rejected_prediction_tokens":0},"server_tool_use":{"web_search_requests":2}}}"#,
        how: "183 is no part of 9; 9 × 0.8 + 183 × 0.08 + 12 × 4 = 7.2 + 14.64 + 48 = 69.84 millionths, and 2 × 0.01 for searches",
        usage: Some(Usage {
            cached_tokens: Some(183),
            reasoning_tokens: Some(0),
            prompt_audio_tokens: Some(0),
            completion_audio_tokens: Some(0),
            web_search_requests: Some(2),
            ..tokens(9, 12)
        }),
        created_at: Some(1_760_000_021_000),
        cost: Some("0.020069840000"),
        ..BASE
    },
    Case {
        name: "a prompt above 200,000 tokens",
        model: "claude-sonnet-4-5-20250929",
        body: r#"{"id":"msg_20","type":"message","role":"assistant","model":"claude-sonnet-4-5-20250929","content":[],"stop_reason":"end_turn","usage":{"input_tokens":150000,"cache_creation_input_tokens":20000,"cache_read_input_tokens":40000,"cache_creation":{"ephemeral_5m_input_tokens":15000,"ephemeral_1h_input_tokens":5000},"output_tokens":1000,"service_tier":"standard"}}"#,
        how: "150000+40000+20000=210000 is above the limit; 150000 × 6 + 40000 × 0.6 + 15000 × 7.5 + 5000 × 12 + 1000 × 22.5 = 900000 + 24000 + 112500 + 60000 + 22500 = 1119000 millionths",
        usage: Some(Usage {
            cached_tokens: Some(40_000),
            cache_write_tokens: Some(20_000),
            cache_write_1h_tokens: Some(5000),
            service_tier: Some(ServiceTier::Default),
            ..tokens(150_000, 1000)
        }),
        cost: Some("1.119000000000"),
        ..BASE
    },
];
