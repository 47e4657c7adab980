//! The providers' names: ours (Helicone's names and hosts), `LiteLLM`'s and those of genai-prices.

/// One provider under all its names.
pub(super) struct Names {
    /// As a webhook names it.
    pub(super) ours: &'static [&'static str],
    /// `litellm_provider`.
    pub(super) litellm: &'static [&'static str],
    /// `id` in genai-prices.
    pub(super) genai_prices: &'static [&'static str],
}

#[rustfmt::skip]
pub(super) const PROVIDERS: &[Names] = &[
    Names { ours: &["OPENAI", "*.openai.com"], litellm: &["openai", "text-completion-openai"], genai_prices: &["openai"] },
    Names { ours: &["AZURE", "*.openai.azure.com", "*.cognitiveservices.azure.com", "*.services.ai.azure.com"],
            litellm: &["azure", "azure_text"], genai_prices: &["azure"] },
    Names { ours: &["ANTHROPIC", "api.anthropic.com"], litellm: &["anthropic"], genai_prices: &["anthropic"] },
    Names { ours: &["GOOGLE", "generativelanguage.googleapis.com"], litellm: &["gemini"], genai_prices: &["google"] },
    Names { ours: &["VERTEX", "VERTEXAI", "*aiplatform.googleapis.com"],
            litellm: &["vertex_ai", "vertex_ai-language-models", "vertex_ai-anthropic_models", "vertex_ai-llama_models",
                       "vertex_ai-mistral_models", "vertex_ai-deepseek_models", "vertex_ai-embedding-models"],
            genai_prices: &[] },
    Names { ours: &["AWS", "BEDROCK", "bedrock-runtime.*.amazonaws.com"], litellm: &["bedrock", "bedrock_converse"],
            genai_prices: &["aws"] },
    Names { ours: &["MISTRAL", "api.mistral.ai"], litellm: &["mistral"], genai_prices: &["mistral"] },
    Names { ours: &["GROQ", "api.groq.com"], litellm: &["groq"], genai_prices: &["groq"] },
    Names { ours: &["DEEPSEEK", "api.deepseek.com"], litellm: &["deepseek"], genai_prices: &["deepseek"] },
    Names { ours: &["X", "XAI", "api.x.ai"], litellm: &["xai"], genai_prices: &["x-ai"] },
    Names { ours: &["COHERE", "api.cohere.com", "api.cohere.ai"], litellm: &["cohere", "cohere_chat"],
            genai_prices: &["cohere"] },
    Names { ours: &["OPENROUTER", "openrouter.ai"], litellm: &["openrouter"], genai_prices: &["openrouter"] },
    Names { ours: &["TOGETHER", "api.together.xyz", "api.together.ai"], litellm: &["together_ai"],
            genai_prices: &["together"] },
    Names { ours: &["FIREWORKS", "api.fireworks.ai"], litellm: &["fireworks_ai"], genai_prices: &["fireworks"] },
    Names { ours: &["PERPLEXITY", "api.perplexity.ai"], litellm: &["perplexity"], genai_prices: &["perplexity"] },
    Names { ours: &["DEEPINFRA", "api.deepinfra.com"], litellm: &["deepinfra"], genai_prices: &[] },
    Names { ours: &["CEREBRAS", "api.cerebras.ai"], litellm: &["cerebras"], genai_prices: &["cerebras"] },
    Names { ours: &["NEBIUS", "api.studio.nebius.*"], litellm: &["nebius"], genai_prices: &[] },
    Names { ours: &["NOVITA", "api.novita.ai"], litellm: &["novita"], genai_prices: &["novita"] },
    Names { ours: &["AVIAN", "api.avian.io"], litellm: &[], genai_prices: &["avian"] },
    Names { ours: &["BASETEN", "inference.baseten.co"], litellm: &["baseten"], genai_prices: &["baseten"] },
    Names { ours: &["CLOUDFLARE"], litellm: &["cloudflare"], genai_prices: &["cloudflare"] },
];
