//! The book that is shipped: the files of `prices/`.

/// File names and contents.
pub(super) const BUILTIN: &[(&str, &str)] = &[
    ("anthropic.toml", include_str!("../../prices/anthropic.toml")),
    ("aws.toml", include_str!("../../prices/aws.toml")),
    ("azure.toml", include_str!("../../prices/azure.toml")),
    ("cerebras.toml", include_str!("../../prices/cerebras.toml")),
    ("cohere.toml", include_str!("../../prices/cohere.toml")),
    ("deepseek.toml", include_str!("../../prices/deepseek.toml")),
    ("fireworks.toml", include_str!("../../prices/fireworks.toml")),
    ("google.toml", include_str!("../../prices/google.toml")),
    ("groq.toml", include_str!("../../prices/groq.toml")),
    ("mistral.toml", include_str!("../../prices/mistral.toml")),
    ("ollama.toml", include_str!("../../prices/ollama.toml")),
    ("openai.toml", include_str!("../../prices/openai.toml")),
    ("openrouter.toml", include_str!("../../prices/openrouter.toml")),
    ("perplexity.toml", include_str!("../../prices/perplexity.toml")),
    ("together.toml", include_str!("../../prices/together.toml")),
    ("vertex.toml", include_str!("../../prices/vertex.toml")),
    ("xai.toml", include_str!("../../prices/xai.toml")),
];
