//! The facts of one event: who called what, how it went and what it cost. Everything follows from seed and number.

use super::{
    catalog::{self, Model, Price, Shape},
    random::{Random, Stream},
};

/// What kind of call it was, after what Helicone is seen to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    /// An answer in one piece.
    Plain,
    /// An answer in chunks, with usage.
    Streamed,
    /// An answer in chunks whose usage nobody asked for: tokens −1, −1, −2 and a negative cost.
    StreamWithoutUsage,
    /// The provider refused: tokens 0 and cost 0.
    ProviderError,
    /// A body that is a string of more than 10,240 UTF-16 units, which the webhook replaces.
    TooLarge,
    /// Bodies as strings instead of objects.
    StringBodies,
    /// Bodies with emoji, `\u0000` and lone surrogates.
    OddText,
    /// Bodies that were not stored: no model, no metadata, no usage anywhere.
    WithoutMetadata,
    /// The webhook is configured without data: bodies and user alone.
    WithoutData,
    /// Helicone counted nothing, but the provider's body tells.
    UsageOnlyInBody,
    /// Helicone's "test" button.
    TestButton,
}

/// Kinds and how many of a thousand events are of it; the first is what remains.
const KINDS: [(Kind, u32); 11] = [
    (Kind::Plain, 609),
    (Kind::Streamed, 250),
    (Kind::StreamWithoutUsage, 30),
    (Kind::ProviderError, 20),
    (Kind::TooLarge, 15),
    (Kind::StringBodies, 20),
    (Kind::OddText, 30),
    (Kind::WithoutMetadata, 8),
    (Kind::WithoutData, 5),
    (Kind::UsageOnlyInBody, 10),
    (Kind::TestButton, 3),
];

/// Tokens of one call. Prompt tokens exclude those of the cache; reasoning tokens are part of the completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tokens {
    pub(super) prompt: u64,
    pub(super) completion: u64,
    pub(super) cache_read: u64,
    pub(super) cache_write: u64,
    pub(super) reasoning: u64,
}

impl Tokens {
    /// 10⁻¹² USD.
    fn cost_pico_usd(self, price: Price) -> i128 {
        i128::from(self.prompt) * i128::from(price.prompt)
            + i128::from(self.completion) * i128::from(price.completion)
            + i128::from(self.cache_read) * i128::from(price.cache_read)
            + i128::from(self.cache_write) * i128::from(price.cache_write)
    }
}

/// One LLM call.
#[derive(Clone, Debug)]
pub(super) struct Event {
    pub(super) number: u64,
    pub(super) kind: Kind,
    pub(super) model: &'static Model,
    pub(super) user_id: Option<String>,
    pub(super) tokens: Tokens,
    pub(super) latency_ms: u64,
    /// 10⁻¹² USD; 0 for a model without a price.
    pub(super) cost_pico_usd: i128,
    /// How many neighbouring doubles the printed cost is off, as by JavaScript's arithmetic.
    pub(super) cost_noise_ulps: i64,
}

/// What the payload's `metadata` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Metadata {
    pub(super) cost_pico_usd: i128,
    pub(super) prompt_tokens: i64,
    pub(super) completion_tokens: i64,
    pub(super) total_tokens: i64,
}

impl Event {
    /// Event `number` of `seed`.
    pub(super) fn new(seed: u64, number: u64) -> Self {
        let mut random = Random::new(seed, number, Stream::Facts);
        let model = catalog::pick_model(&mut random);
        let user_id = catalog::pick_user(&mut random);
        let drawn = KINDS[random.weighted(KINDS.iter().map(|(_, weight)| *weight))].0;
        let kind = possible_kind(drawn, model.shape);
        let tokens = draw_tokens(&mut random, kind, model);
        let latency_ms = draw_latency_ms(&mut random, kind, model);
        let cost_noise_ulps = if random.chance_per_million(400_000) { 3 - i64_below(&mut random, 7) } else { 0 };
        let cost_pico_usd = model.price.map_or(0, |price| tokens.cost_pico_usd(price));
        Self { number, kind, model, user_id, tokens, latency_ms, cost_pico_usd, cost_noise_ulps }
    }

    /// The payload's `metadata`, `None` where Helicone leaves it out.
    pub(super) fn metadata(&self) -> Option<Metadata> {
        let nothing = Metadata { cost_pico_usd: 0, prompt_tokens: 0, completion_tokens: 0, total_tokens: 0 };
        match self.kind {
            Kind::WithoutMetadata | Kind::WithoutData => None,
            Kind::ProviderError | Kind::UsageOnlyInBody => Some(nothing),
            // Minus one token of each, at the model's price.
            Kind::StreamWithoutUsage => Some(Metadata {
                cost_pico_usd: self
                    .model
                    .price
                    .map_or(0, |price| -i128::from(price.prompt) - i128::from(price.completion)),
                prompt_tokens: -1,
                completion_tokens: -1,
                total_tokens: -2,
            }),
            _ => {
                let (prompt_tokens, completion_tokens) = (signed(self.tokens.prompt), signed(self.tokens.completion));
                Some(Metadata {
                    cost_pico_usd: self.cost_pico_usd,
                    prompt_tokens,
                    completion_tokens,
                    total_tokens: prompt_tokens + completion_tokens,
                })
            }
        }
    }

    /// What a receiver with the shipped price book works out where the gateway counted nothing but the body tells: 10⁻¹²
    /// USD. `None` for other calls, and where the book has no price.
    pub(super) fn book_cost_pico_usd(&self) -> Option<i128> {
        let price = self.model.book_price().filter(|_| self.kind == Kind::UsageOnlyInBody)?;
        Some(self.tokens.cost_pico_usd(price))
    }

    /// Prompt (without cache) and completion tokens that the inline response body tells.
    pub(super) const fn body_usage(&self) -> Option<(u64, u64)> {
        match self.kind {
            Kind::StreamWithoutUsage | Kind::ProviderError | Kind::WithoutMetadata | Kind::WithoutData => None,
            _ => Some((self.tokens.prompt, self.tokens.completion)),
        }
    }

    /// Whether the inline response body says when it was created. Anthropic's, Gemini's and Bedrock's never do.
    pub(super) const fn tells_creation(&self) -> bool {
        matches!(self.model.shape, Shape::OpenAi | Shape::Groq)
            && !matches!(self.kind, Kind::ProviderError | Kind::WithoutMetadata | Kind::WithoutData)
    }

    /// The payload's `model`. Without a response, the name that was asked for.
    pub(super) const fn model_name(&self) -> Option<&'static str> {
        match self.kind {
            Kind::WithoutMetadata | Kind::WithoutData => None,
            Kind::ProviderError => Some(self.model.alias),
            _ => Some(self.model.name),
        }
    }

    /// The payload's `provider`.
    pub(super) const fn provider(&self) -> Option<&'static str> {
        match self.kind {
            Kind::WithoutData => None,
            _ => Some(self.model.provider),
        }
    }
}

/// Not every provider does everything: Bedrock's usage is never counted by Helicone, and Gemini always tells its usage.
const fn possible_kind(drawn: Kind, shape: Shape) -> Kind {
    match (drawn, shape) {
        (Kind::ProviderError | Kind::WithoutMetadata | Kind::WithoutData | Kind::TestButton, _) => drawn,
        (_, Shape::Bedrock) => Kind::UsageOnlyInBody,
        (Kind::StreamWithoutUsage, Shape::Anthropic) => Kind::Streamed,
        (Kind::Streamed | Kind::StreamWithoutUsage, Shape::Gemini) => Kind::Plain,
        _ => drawn,
    }
}

fn draw_tokens(random: &mut Random, kind: Kind, model: &Model) -> Tokens {
    let prompt = random.log_normal(model.prompt_median_tokens, 1.0, 1, 200_000);
    let completion = random.log_normal(model.completion_median_tokens, 0.9, 1, 16_000);
    let has_cache = model.price.is_some_and(|price| price.cache_read != price.prompt);
    let cache_read = if has_cache && random.chance_per_million(250_000) { prompt / 128 * 128 + 1024 } else { 0 };
    let writes_cache = model.shape == Shape::Anthropic && random.chance_per_million(150_000);
    let cache_write = if writes_cache { 1024 + random.below(4096) } else { 0 };
    // A body that alone tells the usage is kept plain: what thinking costs is told in too many ways.
    let reasoning = if model.reasons && kind != Kind::UsageOnlyInBody { completion * 6 / 10 } else { 0 };
    Tokens { prompt, completion, cache_read, cache_write, reasoning }
}

fn draw_latency_ms(random: &mut Random, kind: Kind, model: &Model) -> u64 {
    let median_ms = if kind == Kind::ProviderError { 120.0 } else { model.latency_median_ms };
    let latency_ms = random.log_normal(median_ms, 0.45, 20, 60_000);
    // One call in fifty waits in some queue.
    if random.chance_per_million(20_000) { latency_ms * (4 + random.below(12)) } else { latency_ms }
}

fn i64_below(random: &mut Random, bound: u64) -> i64 {
    signed(random.below(bound))
}

fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_occurs_and_ratios_above_ten_do() {
        let events: Vec<_> = (0..5000).map(|number| Event::new(11, number)).collect();
        for (kind, _) in KINDS {
            assert!(events.iter().any(|event| event.kind == kind), "{kind:?} never occurs");
        }
        let inefficient = events.iter().filter(|event| event.tokens.prompt > 10 * event.tokens.completion).count();
        assert!((500..3000).contains(&inefficient), "{inefficient} of 5000 with a ratio above 10");
        assert!(events.iter().any(|event| event.latency_ms > 30_000), "no slow tail");
        assert!(events.iter().any(|event| event.cost_noise_ulps != 0));
    }

    #[test]
    fn a_cost_is_tokens_times_price() {
        let event = (0..1000).map(|number| Event::new(1, number)).find(|event| event.model.alias == "gpt-4o");
        let event = event.expect("gpt-4o is called often");
        let tokens = event.tokens;
        let expected = tokens.prompt * 2_500_000 + tokens.completion * 10_000_000 + tokens.cache_read * 1_250_000;
        assert_eq!(event.cost_pico_usd, i128::from(expected));
    }
}
