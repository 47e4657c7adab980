//! The members of a response, or of one chunk of a stream, that tell of its use.

use super::{
    counters::{
        Titan, from_eval_counts, from_invocation_metrics, from_llama, from_meta, from_predictions, from_usage_metadata,
        from_usage_object,
    },
    json::{Raw, elements, member, members, name, present, time},
    reported::{ServiceTier, Usage, sum},
};
use crate::domain::UtcMillis;

/// What Helicone puts where it could not read a line of a stream, such as `data: [DONE]`: no error of the call's.
const UNREADABLE_LINE: &str = "Error parsing line";

/// Members as they stand in the body, not yet looked into.
#[derive(Default)]
pub(super) struct Response<'a> {
    usage: Raw<'a>,
    usage_metadata: Raw<'a>,
    x_groq: Raw<'a>,
    meta: Raw<'a>,
    prompt_eval_count: Raw<'a>,
    eval_count: Raw<'a>,
    titan: Titan<'a>,
    prompt_token_count: Raw<'a>,
    generation_token_count: Raw<'a>,
    invocation_metrics: Raw<'a>,
    predictions: Raw<'a>,
    data: Raw<'a>,
    output: Raw<'a>,
    service_tier: Raw<'a>,
    kind: Raw<'a>,
    message: Raw<'a>,
    /// `response`
    enclosed: Raw<'a>,
    delta: Raw<'a>,
    metadata: Raw<'a>,
    created: Raw<'a>,
    created_at: Raw<'a>,
    create_time: Raw<'a>,
    error: Raw<'a>,
    helicone_error: Raw<'a>,
    parse_response_error: Raw<'a>,
    /// Helicone's copy of a stream: an array of chunks, or one string of server-sent events.
    pub(super) streamed_data: Raw<'a>,
    /// The events of a model invoked at Bedrock, in the provider's words.
    pub(super) bedrock_events: Raw<'a>,
    /// Whether there is any key but `model`, which Helicone leaves when bodies are omitted.
    pub(super) has_content: bool,
}

impl<'a> Response<'a> {
    /// `None` when the text is not one whole JSON object.
    pub(super) fn parse(json: &'a str) -> Option<Self> {
        let mut response = Self::default();
        members(json, |key, value| response.take(key, value)).then_some(response)
    }

    fn take(&mut self, key: &[u8], value: &'a serde_json::value::RawValue) {
        self.has_content |= key != b"model";
        let member = match key {
            b"usage" => &mut self.usage,
            b"usageMetadata" => &mut self.usage_metadata,
            b"x_groq" => &mut self.x_groq,
            b"meta" => &mut self.meta,
            b"prompt_eval_count" => &mut self.prompt_eval_count,
            b"eval_count" => &mut self.eval_count,
            b"inputTextTokenCount" => &mut self.titan.input,
            b"results" => &mut self.titan.results,
            b"totalOutputTextTokenCount" => &mut self.titan.total_output,
            b"prompt_token_count" => &mut self.prompt_token_count,
            b"generation_token_count" => &mut self.generation_token_count,
            b"amazon-bedrock-invocationMetrics" => &mut self.invocation_metrics,
            b"predictions" => &mut self.predictions,
            b"data" => &mut self.data,
            b"output" => &mut self.output,
            b"service_tier" | b"serviceTier" => &mut self.service_tier,
            b"type" => &mut self.kind,
            b"message" => &mut self.message,
            b"response" => &mut self.enclosed,
            b"delta" => &mut self.delta,
            b"metadata" => &mut self.metadata,
            b"created" => &mut self.created,
            b"created_at" => &mut self.created_at,
            b"createTime" => &mut self.create_time,
            b"error" => &mut self.error,
            b"helicone_error" => &mut self.helicone_error,
            b"parse_response_error" => &mut self.parse_response_error,
            b"streamed_data" => &mut self.streamed_data,
            b"bedrock_events" => &mut self.bedrock_events,
            _ => return,
        };
        *member = Some(value);
    }

    /// What this object says was used. `None`: nothing.
    pub(super) fn usage(&self) -> Option<Usage> {
        let enclosed = self.enclosed_usage();
        let own = self.own_usage();
        match (enclosed, own) {
            (Some(start), Some(own)) => Some(start.followed_by(own)),
            (enclosed, own) => own.or(enclosed),
        }
    }

    /// The last chunk of a stream from Bedrock tells the counts once more, without the lifetimes of cache writes: only
    /// where nothing else tells.
    pub(super) fn invocation_metrics(&self) -> Option<Usage> {
        from_invocation_metrics(self.invocation_metrics)
    }

    fn own_usage(&self) -> Option<Usage> {
        let counted = from_usage_object(self.usage)
            .or_else(|| from_usage_metadata(self.usage_metadata))
            .or_else(|| from_usage_object(member(self.x_groq, "usage")))
            .or_else(|| from_meta(self.meta))
            .or_else(|| from_eval_counts(self.prompt_eval_count, self.eval_count))
            .or_else(|| self.titan.usage())
            .or_else(|| from_llama(self.prompt_token_count, self.generation_token_count))
            .or_else(|| from_predictions(self.predictions));
        let mut usage = self.with_images(counted)?;
        usage.service_tier = usage.service_tier.or_else(|| {
            let tier = name(self.service_tier).or_else(|| name(member(self.service_tier, "type")))?;
            ServiceTier::named(tier)
        });
        usage.web_search_requests = usage.web_search_requests.or_else(|| self.web_search_calls());
        Some(usage)
    }

    /// Usage one level down, in an event of a stream: Anthropic's `message_start` (`message`), the responses API's
    /// `response.completed` and Cohere's first `stream-end` (`response`), Cohere's `message-end` (`delta`), Converse's
    /// last event (`metadata`).
    fn enclosed_usage(&self) -> Option<Usage> {
        if name(self.kind) == Some("message_start") {
            let mut usage = from_usage_object(member(self.message, "usage"))?;
            // The count at the start of the message: a placeholder for what is not yet written.
            usage.completion_tokens = None;
            return usage.known();
        }
        if let Some(response) = self.enclosed.and_then(|response| Response::parse(response.get()))
            && let Some(usage) = response.own_usage()
        {
            return Some(usage);
        }
        from_usage_object(member(self.delta, "usage")).or_else(|| from_usage_object(member(self.metadata, "usage")))
    }

    /// The images API: `data` with a `url` or `b64_json` each. Where it counts tokens, those of the output are all of
    /// images (`ImagesResponse.usage` in `OpenAI`'s reference) unless it says otherwise; where it counts none (`dall-e-3`,
    /// xAI), images are charged by the piece.
    fn with_images(&self, counted: Option<Usage>) -> Option<Usage> {
        let is_image_event =
            name(self.kind).is_some_and(|kind| matches!(kind, "image_generation.completed" | "image_edit.completed"));
        // Embeddings have data too, long ones, and no output.
        let may_be_images = counted.is_none_or(|usage| usage.completion_tokens.is_some() || usage.is_empty());
        let images = if may_be_images { self.images() } else { 0 };
        if images == 0 && !is_image_event {
            return counted;
        }
        let mut usage = counted.unwrap_or_default();
        if usage.is_empty() {
            usage.generated_images = Some(images.max(1));
        } else if usage.completion_image_tokens.is_none() {
            usage.completion_image_tokens = usage.completion_tokens;
        }
        Some(usage)
    }

    fn images(&self) -> u64 {
        let mut images = 0;
        if let Some(data) = self.data {
            elements(data.get(), |element| {
                let mut is_image = false;
                members(element.get(), |key, value| {
                    is_image |= matches!(key, b"b64_json" | b"url") && present(Some(value));
                });
                images += u64::from(is_image);
            });
        }
        images
    }

    /// The responses API: each search is charged beside the tokens, opening and reading a page is not
    /// (<https://platform.openai.com/docs/guides/tools-web-search>).
    fn web_search_calls(&self) -> Option<u64> {
        let mut searches = None;
        elements(self.output?.get(), |item| {
            if name(member(Some(item), "type")) == Some("web_search_call") {
                let action = name(member(member(Some(item), "action"), "type"));
                searches = sum(searches, Some(u64::from(action.is_none_or(|action| action == "search"))));
            }
        });
        searches
    }

    /// The provider or the gateway says that the call failed.
    pub(super) fn is_error(&self) -> bool {
        let is_unreadable_line = name(member(self.error, "msg")) == Some(UNREADABLE_LINE);
        (present(self.error) && !is_unreadable_line)
            || present(self.helicone_error)
            || present(self.parse_response_error)
            || (name(self.kind) == Some("response.failed") && present(member(self.enclosed, "error")))
    }

    /// When the provider says it was made.
    pub(super) fn created_at(&self) -> Option<UtcMillis> {
        let own = time(self.created).or_else(|| time(self.created_at)).or_else(|| time(self.create_time));
        own.or_else(|| time(member(self.enclosed, "created_at")))
    }
}
