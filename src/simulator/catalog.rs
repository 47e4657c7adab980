//! Who is called by whom at what price. Prices are in 10⁻¹² USD per token, so that sums are whole numbers.

use super::random::Random;

/// How a provider writes its requests and responses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// `OpenAI`'s chat completions, also spoken by Azure, `DeepSeek` and Mistral.
    OpenAi,
    /// As `OpenAI`, with the usage of a stream under `x_groq`.
    Groq,
    /// Anthropic's messages.
    Anthropic,
    /// Gemini's `generateContent`.
    Gemini,
    /// Bedrock's Converse, whose usage Helicone does not read.
    Bedrock,
}

/// One model as one provider serves it.
#[derive(Debug)]
pub(super) struct Model {
    pub(super) provider: &'static str,
    /// The dated name of the response.
    pub(super) name: &'static str,
    /// The name that the caller asked for.
    pub(super) alias: &'static str,
    pub(super) shape: Shape,
    /// How often it is called, relative to the others.
    weight: u32,
    /// What Helicone charges; `None` when it knows no price, or reads no usage.
    pub(super) price: Option<Price>,
    /// What the shipped price book says today, where it is not that.
    book: BookPrice,
    /// Half of the prompts have fewer tokens.
    pub(super) prompt_median_tokens: f64,
    /// Half of the answers have fewer tokens.
    pub(super) completion_median_tokens: f64,
    /// Half of the answers take less.
    pub(super) latency_median_ms: f64,
    /// Thinks before it answers.
    pub(super) reasons: bool,
}

/// The price book beside the gateway.
#[derive(Clone, Copy, Debug)]
enum BookPrice {
    /// The same.
    Gateway,
    /// Another.
    Of(Option<Price>),
}

/// 10⁻¹² USD per token.
#[derive(Clone, Copy, Debug)]
pub(super) struct Price {
    pub(super) prompt: u64,
    pub(super) completion: u64,
    pub(super) cache_read: u64,
    pub(super) cache_write: u64,
}

#[expect(clippy::unnecessary_wraps, reason = "a word for the table below, where models without a price say `None`")]
const fn price(prompt: u64, completion: u64, cache_read: u64, cache_write: u64) -> Option<Price> {
    Some(Price { prompt, completion, cache_read, cache_write })
}

#[expect(clippy::too_many_arguments, reason = "one row of the table below")]
const fn model(
    provider: &'static str,
    name: &'static str,
    alias: &'static str,
    shape: Shape,
    weight: u32,
    price: Option<Price>,
    (prompt_median_tokens, completion_median_tokens): (f64, f64),
    latency_median_ms: f64,
) -> Model {
    Model {
        provider,
        name,
        alias,
        shape,
        weight,
        price,
        book: BookPrice::Gateway,
        prompt_median_tokens,
        completion_median_tokens,
        latency_median_ms,
        reasons: false,
    }
}

const fn reasoning(mut model: Model) -> Model {
    model.reasons = true;
    model
}

const fn book(book: Option<Price>, mut model: Model) -> Model {
    model.book = BookPrice::Of(book);
    model
}

impl Model {
    /// What the shipped price book says today; `None` when it knows no price.
    pub(super) const fn book_price(&self) -> Option<Price> {
        match self.book {
            BookPrice::Gateway => self.price,
            BookPrice::Of(price) => price,
        }
    }
}

#[rustfmt::skip]
pub(super) static MODELS: &[Model] = {
    use Shape::{Anthropic, Bedrock, Gemini, Groq, OpenAi};
    &[
        model("OPENAI", "gpt-4o-2024-08-06", "gpt-4o", OpenAi, 20,
            price(2_500_000, 10_000_000, 1_250_000, 0), (900.0, 180.0), 1400.0),
        model("OPENAI", "gpt-4o-mini-2024-07-18", "gpt-4o-mini", OpenAi, 24,
            price(150_000, 600_000, 75_000, 0), (500.0, 160.0), 800.0),
        reasoning(model("OPENAI", "o4-mini-2025-04-16", "o4-mini", OpenAi, 5,
            price(1_100_000, 4_400_000, 275_000, 0), (1200.0, 900.0), 6500.0)),
        // A machine of one's own: nobody but its owner knows a price.
        model("OLLAMA", "llama3.3:70b", "llama3.3:70b", OpenAi, 2, None, (400.0, 90.0), 900.0),
        model("ANTHROPIC", "claude-3-5-sonnet-20241022", "claude-3-5-sonnet-latest", Anthropic, 12,
            price(3_000_000, 15_000_000, 300_000, 3_750_000), (1600.0, 260.0), 2600.0),
        model("ANTHROPIC", "claude-3-5-haiku-20241022", "claude-3-5-haiku-latest", Anthropic, 8,
            price(800_000, 4_000_000, 80_000, 1_000_000), (900.0, 180.0), 1300.0),
        model("GOOGLE", "gemini-2.0-flash-001", "gemini-2.0-flash", Gemini, 8,
            price(100_000, 400_000, 25_000, 0), (2200.0, 130.0), 700.0),
        reasoning(book(price(1_250_000, 10_000_000, 125_000, 0),
            model("GOOGLE", "gemini-2.5-pro", "gemini-2.5-pro", Gemini, 4,
                price(1_250_000, 10_000_000, 310_000, 0), (3000.0, 700.0), 7500.0))),
        model("AZURE", "gpt-4.1-2025-04-14", "gpt-4.1", OpenAi, 6,
            price(2_000_000, 8_000_000, 500_000, 0), (700.0, 170.0), 1500.0),
        model("GROQ", "llama-3.3-70b-versatile", "llama-3.3-70b-versatile", Groq, 5,
            price(590_000, 790_000, 590_000, 0), (300.0, 120.0), 260.0),
        // The provider ended this name in July 2026: the book has no price for it since.
        book(None, model("DEEPSEEK", "deepseek-chat", "deepseek-chat", OpenAi, 5,
            price(270_000, 1_100_000, 70_000, 0), (600.0, 240.0), 3800.0)),
        book(price(3_000_000, 15_000_000, 300_000, 3_750_000),
            model("AWS", "anthropic.claude-3-5-sonnet-20241022-v2", "anthropic.claude-3-5-sonnet-20241022-v2:0", Bedrock, 4,
                None, (800.0, 220.0), 2400.0)),
        model("MISTRAL", "mistral-small-2503", "mistral-small-latest", OpenAi, 4,
            price(100_000, 300_000, 100_000, 0), (350.0, 140.0), 650.0),
    ]
};

/// A model, by weight.
pub(super) fn pick_model(random: &mut Random) -> &'static Model {
    MODELS.get(random.weighted(MODELS.iter().map(|model| model.weight))).unwrap_or(&MODELS[0])
}

/// One call in sixteen has no user.
const WITHOUT_USER_PER_MILLION: u32 = 62_500;

/// Users of whom the first calls most: the second half as often as the first, the third a third as often.
const USERS: u32 = 40;

/// A user, or nobody.
pub(super) fn pick_user(random: &mut Random) -> Option<String> {
    if random.chance_per_million(WITHOUT_USER_PER_MILLION) {
        return None;
    }
    let index = random.weighted((1..=USERS).map(|rank| 1_000_000 / rank));
    Some(match index {
        6 => "usér-😀".to_owned(),
        11 => "carol@example.com".to_owned(),
        17 => "org_1/user 18".to_owned(),
        _ => format!("user-{:03}", index + 1),
    })
}

#[cfg(test)]
mod tests {
    use super::super::random::Stream;
    use super::*;
    use crate::{
        domain::{Clock, SystemClock},
        pricing::PriceBook,
        usage::Usage,
    };

    #[test]
    fn few_users_make_most_calls() {
        let mut random = Random::new(1, 1, Stream::Facts);
        let users: Vec<_> = (0..4000).map(|_| pick_user(&mut random)).collect();
        let count = |name: Option<&str>| users.iter().filter(|user| user.as_deref() == name).count();
        assert!(count(Some("user-001")) > count(Some("user-002")));
        assert!(count(Some("user-002")) > 3 * count(Some("user-020")));
        assert!((150..400).contains(&count(None)), "{} without a user", count(None));
    }

    /// The totals that are expected of a receiver were worked out with these prices.
    #[test]
    fn the_shipped_book_says_what_is_expected_of_it() {
        let book = PriceBook::builtin().expect("book");
        for model in MODELS {
            let usage = Usage {
                prompt_tokens: Some(1_000),
                completion_tokens: Some(100),
                cached_tokens: model.book_price().filter(|price| price.cache_read != price.prompt).map(|_| 10),
                cache_write_tokens: model.book_price().filter(|price| price.cache_write > 0).map(|_| 1),
                ..Usage::default()
            };
            let by_book = book.price(model.provider, model.name, SystemClock.now(), &usage);
            let expected = model.book_price().map(|price| {
                let (read, write) = (usage.cached_tokens.unwrap_or(0), usage.cache_write_tokens.unwrap_or(0));
                1_000 * price.prompt + 100 * price.completion + read * price.cache_read + write * price.cache_write
            });
            let by_book = by_book.ok().map(|priced| priced.amount().pico_usd());
            assert_eq!(by_book, expected.map(i128::from), "{} {}", model.provider, model.name);
        }
    }

    #[test]
    fn every_model_is_called() {
        let mut random = Random::new(1, 1, Stream::Facts);
        let called: std::collections::HashSet<_> = (0..4000).map(|_| pick_model(&mut random).name).collect();
        assert_eq!(called.len(), MODELS.len());
    }
}
