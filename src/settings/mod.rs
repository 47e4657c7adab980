//! Settings: defaults, then `heliometer.toml`, then `HELIOMETER__SECTION__KEY`, then the few variables that
//! every installation sets (`HELICONE_WEBHOOK_SECRET`, `SLACK_WEBHOOK_URL`, `HELIOMETER_DATA_DIR`).

mod alerts;
mod contents;
mod error;
mod event_log;
mod load;
mod sections;

pub use alerts::AlertSettings;
pub use contents::{ContentsSettings, ContentsStore, PolicyAction, PolicySettings};
pub use error::SettingsError;
pub use event_log::{EventLogSettings, SaslMechanism, SecurityProtocol};
pub(crate) use load::nearest_key;
pub use load::{config_path, load};
pub use sections::{
    AdminSettings, ClickHouseSettings, FetchSettings, IngressSettings, LimitSettings, LogFormat, NotifierSettings,
    PricingSettings, RateLimitSettings, Settings, SourceSettings, TelemetrySettings, TlsMode,
};
