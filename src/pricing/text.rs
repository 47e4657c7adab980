//! A book file as it is written: TOML with prices as text.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::Component;

/// Defines a table that has, beside its own keys, one for each price.
macro_rules! priced_table {
    ($(#[$meta:meta])* $visibility:vis struct $name:ident { $($(#[$field_meta:meta])* $field:ident: $type:ty,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        $visibility struct $name {
            $($(#[$field_meta])* pub $field: $type,)*
            /// USD per million.
            pub input: Option<String>,
            /// USD per million, or `same` as `input`.
            pub cached_input: Option<String>,
            /// USD per million, or `same` as `cached_input`.
            pub cached_audio: Option<String>,
            /// USD per million, or `same` as `input`.
            pub cache_write: Option<String>,
            /// USD per million, or `same` as `cache_write`.
            pub cache_write_1h: Option<String>,
            /// USD per million, or `same` as `input`.
            pub input_audio: Option<String>,
            /// USD per million, or `same` as `input`.
            pub input_image: Option<String>,
            /// USD per million.
            pub output: Option<String>,
            /// USD per million, where it is not that of `output`.
            pub reasoning: Option<String>,
            /// USD per million, or `same` as `output`.
            pub output_audio: Option<String>,
            /// USD per million, or `same` as `output`.
            pub output_image: Option<String>,
            /// USD each; `unknown` where there is a fee that no usage tells.
            pub per_request: Option<String>,
            /// USD each.
            pub per_image: Option<String>,
            /// USD each.
            pub per_web_search: Option<String>,
        }

        impl $name {
            /// What is written for a component.
            #[must_use]
            pub const fn price(&self, component: Component) -> Option<&String> {
                match component {
                    Component::Input => self.input.as_ref(),
                    Component::CachedInput => self.cached_input.as_ref(),
                    Component::CachedAudio => self.cached_audio.as_ref(),
                    Component::CacheWrite => self.cache_write.as_ref(),
                    Component::CacheWrite1h => self.cache_write_1h.as_ref(),
                    Component::InputAudio => self.input_audio.as_ref(),
                    Component::InputImage => self.input_image.as_ref(),
                    Component::Output => self.output.as_ref(),
                    Component::Reasoning => self.reasoning.as_ref(),
                    Component::OutputAudio => self.output_audio.as_ref(),
                    Component::OutputImage => self.output_image.as_ref(),
                    Component::Request => self.per_request.as_ref(),
                    Component::Image => self.per_image.as_ref(),
                    Component::WebSearch => self.per_web_search.as_ref(),
                }
            }

            /// The place where a component is written.
            pub const fn price_mut(&mut self, component: Component) -> &mut Option<String> {
                match component {
                    Component::Input => &mut self.input,
                    Component::CachedInput => &mut self.cached_input,
                    Component::CachedAudio => &mut self.cached_audio,
                    Component::CacheWrite => &mut self.cache_write,
                    Component::CacheWrite1h => &mut self.cache_write_1h,
                    Component::InputAudio => &mut self.input_audio,
                    Component::InputImage => &mut self.input_image,
                    Component::Output => &mut self.output,
                    Component::Reasoning => &mut self.reasoning,
                    Component::OutputAudio => &mut self.output_audio,
                    Component::OutputImage => &mut self.output_image,
                    Component::Request => &mut self.per_request,
                    Component::Image => &mut self.per_image,
                    Component::WebSearch => &mut self.per_web_search,
                }
            }
        }
    };
}

/// A file: whose prices they are, where they were read, and the prices.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BookText {
    /// Providers as Helicone names them, hosts, or globs. For every entry that names none itself.
    pub providers: Vec<String>,
    /// Pages that the prices were read from.
    pub sources: Vec<String>,
    /// When they were last compared, as `2026-11-25`.
    pub checked: String,
    /// `[[prices]]`
    pub prices: Vec<EntryText>,
}

priced_table! {
    /// One of `[[prices]]`, or of `[[pricing.overrides]]` in the settings.
    pub struct EntryText {
        /// Providers as Helicone names them, hosts, or globs; those of the file unless set.
        providers: Vec<String>,
        /// Names of models or globs with `*`. Case does not matter.
        models: Vec<String>,
        /// The first moment it holds: a date (its beginning in UTC) or a time such as `2025-09-05T16:00:00Z`.
        from: Option<String>,
        /// The first moment it holds no more.
        until: Option<String>,
        /// Times in UTC when it holds, such as `16:30-00:30` or `mon-fri 01:00-04:00`; it then goes before an entry without any.
        hours: Vec<String>,
        /// For the reader.
        note: String,
        /// Prices of the whole call when the prompt is long.
        tiers: Vec<TierText>,
        /// Prices of other tiers of service: `flex`, `priority`, `batch`, `fast`.
        service_tiers: BTreeMap<String, ServiceTierText>,
    }
}

priced_table! {
    /// The prices of a call with a long prompt.
    pub struct TierText {
        /// It holds for calls with more input tokens than this, cached ones included.
        above_prompt_tokens: u64,
    }
}

priced_table! {
    /// The prices of another tier of service.
    pub struct ServiceTierText {
        /// Its own prices of long prompts.
        tiers: Option<Vec<TierText>>,
    }
}
