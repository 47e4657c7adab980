//! Settings: defaults, then `heliometer.toml`, then `HELIOMETER__SECTION__KEY`, then the few variables that
//! every installation sets (`HELICONE_WEBHOOK_SECRET`, `SLACK_WEBHOOK_URL`, `HELIOMETER_DATA_DIR`).

mod alerts;
mod clickhouse;
mod contents;
mod error;
mod event_log;
mod load;
mod notifiers;
mod sections;

pub use alerts::AlertSettings;
pub use clickhouse::{ClickHouseSettings, RetentionSettings};
pub use contents::{ContentsSettings, ContentsStore, PolicyAction, PolicySettings};
pub use error::SettingsError;
pub use event_log::{EventLogSettings, SaslMechanism, SecurityProtocol};
pub(crate) use load::nearest_key;
pub use load::{config_path, load};
pub use notifiers::{
    AlertmanagerReceiver, DEFAULT_RECEIVER, EmailReceiver, NotifierSettings, PagerDutyReceiver, ReceiverSettings,
    RouteSettings, SignedWebhookReceiver, SlackBotReceiver, SmtpTls, WebhookUrlReceiver,
};
pub use sections::{
    AdminSettings, FetchSettings, IngressSettings, LimitSettings, LogFormat, PricingSettings, RateLimitSettings,
    Settings, SourceSettings, TelemetrySettings, TlsMode,
};
