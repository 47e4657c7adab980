//! Reads the settings from their places and says what is wrong in words that help.

use std::{
    collections::HashSet,
    env,
    path::{Path, PathBuf},
};

use figment::{
    Figment,
    error::Kind,
    providers::{Env, Format, Toml},
};

use super::{Settings, SettingsError, SourceSettings};
use crate::domain::{Secret, SourceName};

/// The file to read: `--config`, else `HELIOMETER_CONFIG`, else `./heliometer.toml`, which may be absent.
///
/// # Errors
/// [`SettingsError::MissingFile`] when a file was named and is not there.
pub fn config_path(from_command_line: Option<&Path>) -> Result<Option<PathBuf>, SettingsError> {
    let named =
        from_command_line.map(Path::to_path_buf).or_else(|| env::var_os("HELIOMETER_CONFIG").map(PathBuf::from));
    match named {
        Some(path) if path.exists() => Ok(Some(path)),
        Some(path) => Err(SettingsError::MissingFile(path.display().to_string())),
        None => Ok(Some(PathBuf::from("heliometer.toml")).filter(|path| path.exists())),
    }
}

/// Reads all settings.
///
/// # Errors
/// [`SettingsError`] for the first mistake found. Missing webhook secrets are no mistake here, since most commands
/// need none: `serve` checks with [`Settings::require_sources`].
pub fn load(config: Option<&Path>) -> Result<Settings, SettingsError> {
    let mut figment = Figment::new();
    if let Some(path) = config {
        figment = figment.merge(Toml::file_exact(path));
    }
    figment = figment.merge(Env::prefixed("HELIOMETER__").split("__"));
    let mut settings: Settings = figment.extract().map_err(explain)?;

    if let Some(data_dir) = env::var_os("HELIOMETER_DATA_DIR").filter(|value| !value.is_empty()) {
        settings.data_dir.0 = PathBuf::from(data_dir);
    }
    if let Ok(list) = env::var("HELICONE_WEBHOOK_SECRET") {
        add_default_source(&mut settings, &list)?;
    }
    if let Ok(key) = env::var("HELICONE_API_KEY")
        && !key.is_empty()
        && let Some(source) = settings.sources.iter_mut().find(|source| source.name == SourceName::default())
        && source.helicone_api_key.is_none()
    {
        source.helicone_api_key = Some(Secret::new(key));
    }
    if settings.notifiers.slack_webhook_url.is_none()
        && let Ok(url) = env::var("SLACK_WEBHOOK_URL")
        && !url.is_empty()
    {
        settings.notifiers.slack_webhook_url = Some(Secret::new(url));
    }
    settings.alerts.config_file = config.map(Path::to_path_buf);
    settings.alerts.read_files()?;
    settings.check()?;
    Ok(settings)
}

/// `HELICONE_WEBHOOK_SECRET` holds one secret, or several with commas while rotating.
fn add_default_source(settings: &mut Settings, list: &str) -> Result<(), SettingsError> {
    let name = SourceName::default();
    if list.is_empty() || settings.sources.iter().any(|source| source.name == name) {
        return Ok(());
    }
    let secrets = list
        .split(',')
        .map(|secret| {
            Secret::resolve(secret.trim())
                .map_err(|source| SettingsError::Secret { key: "HELICONE_WEBHOOK_SECRET".to_owned(), source })
        })
        .collect::<Result<Vec<_>, _>>()?;
    settings.sources.push(SourceSettings::new(name, secrets));
    Ok(())
}

impl Settings {
    /// Refuses to serve what nobody can sign for.
    ///
    /// # Errors
    /// [`SettingsError::NoSecret`] when there is no source.
    pub const fn require_sources(&self) -> Result<(), SettingsError> {
        if self.sources.is_empty() { Err(SettingsError::NoSecret) } else { Ok(()) }
    }

    /// Checks what types alone cannot.
    fn check(&self) -> Result<(), SettingsError> {
        let mut names = HashSet::new();
        for source in &self.sources {
            if !names.insert(&source.name) {
                return Err(SettingsError::DuplicateSource(source.name.to_string()));
            }
            if source.secrets.is_empty() {
                return Err(SettingsError::Value {
                    place: "settings".to_owned(),
                    key: format!("sources.{}.secrets", source.name),
                    message: "needs at least one secret".to_owned(),
                });
            }
        }
        if self.fetch.max_in_flight_bytes < self.fetch.max_object_bytes {
            return Err(SettingsError::Value {
                place: "settings".to_owned(),
                key: "fetch.max_in_flight_bytes".to_owned(),
                message: "must be at least fetch.max_object_bytes, or the largest objects never fit".to_owned(),
            });
        }
        let at_least_one: [(&str, u64); 11] = [
            ("event_log.partitions", self.event_log.partitions.into()),
            ("ingress.max_body_bytes", self.ingress.max_body_bytes as u64),
            ("ingress.max_connections", self.ingress.max_connections as u64),
            ("rate_limit.per_ip_per_second", self.rate_limit.per_ip_per_second.into()),
            ("rate_limit.per_source_per_second", self.rate_limit.per_source_per_second.into()),
            ("rate_limit.failed_signatures_per_15_minutes", self.rate_limit.failed_signatures_per_15_minutes.into()),
            ("clickhouse.flush_rows", self.clickhouse.flush_rows as u64),
            ("fetch.max_concurrent", self.fetch.max_concurrent as u64),
            ("fetch.max_concurrent_per_host", self.fetch.max_concurrent_per_host as u64),
            ("limits.dead_letter_window", self.limits.dead_letter_window as u64),
            ("fetch.max_attempts", self.fetch.max_attempts.into()),
        ];
        for (key, value) in at_least_one {
            if value == 0 {
                return Err(SettingsError::Value {
                    place: "settings".to_owned(),
                    key: key.to_owned(),
                    message: "must be at least 1".to_owned(),
                });
            }
        }
        let at_most: [(&str, u64, u64); 2] = [
            ("limits.max_dead_letter_share_percent", self.limits.max_dead_letter_share_percent.into(), 100),
            // One byte each.
            ("limits.dead_letter_window", self.limits.dead_letter_window as u64, 1_000_000),
        ];
        for (key, value, most) in at_most {
            if value > most {
                return Err(SettingsError::Value {
                    place: "settings".to_owned(),
                    key: key.to_owned(),
                    message: format!("must be at most {most}"),
                });
            }
        }
        self.alerts.check()?;
        crate::contents::check(&self.contents).map_err(|error| SettingsError::Value {
            place: "settings".to_owned(),
            key: "contents".to_owned(),
            message: error.to_string(),
        })?;
        let policies = crate::contents::alert_rules(&self.contents).unwrap_or_default();
        let all_rules: Vec<_> = self.alerts.rules.iter().cloned().chain(policies).collect();
        crate::alert::check_rules(&all_rules).map_err(|error| SettingsError::Value {
            place: "settings".to_owned(),
            key: "contents.policies".to_owned(),
            message: error.to_string(),
        })?;
        self.check_notifiers()?;
        if let Some((key, message)) = self.clickhouse.fault() {
            return Err(SettingsError::Value {
                place: "settings".to_owned(),
                key: format!("clickhouse.{key}"),
                message,
            });
        }
        if self.ingress.max_in_flight_bytes < self.ingress.max_body_bytes {
            return Err(SettingsError::Value {
                place: "settings".to_owned(),
                key: "ingress.max_in_flight_bytes".to_owned(),
                message: "must not be below ingress.max_body_bytes".to_owned(),
            });
        }
        Ok(())
    }
}

impl Settings {
    /// Receivers and routes by themselves, and the receivers that rules and reports name.
    fn check_notifiers(&self) -> Result<(), SettingsError> {
        let wrong = |(key, message)| SettingsError::Value { place: "settings".to_owned(), key, message };
        self.notifiers.check().map_err(wrong)?;
        let super::AlertSettings { rules, reports, .. } = &self.alerts;
        let rules = rules.iter().map(|rule| ("rules, rule", &rule.name, &rule.notifiers));
        let reports = reports.iter().map(|report| ("reports, report", &report.name, &report.notifiers));
        for (what, whose, notifiers) in rules.chain(reports) {
            for name in notifiers.iter().flatten() {
                let key = || format!("alerts.{what} `{whose}`, notifiers");
                self.notifiers.check_name(name).map_err(|message| wrong((key(), message)))?;
            }
        }
        Ok(())
    }
}

/// The known key that was probably meant.
pub(crate) fn nearest_key<'a>(key: &str, known: &[&'a str]) -> Option<&'a str> {
    known
        .iter()
        .map(|name| (strsim::damerau_levenshtein(name, key), *name))
        .min()
        .filter(|(distance, name)| *distance <= name.len().max(key.len()) / 2)
        .map(|(_, name)| name)
}

/// Turns figment's error into one that names the place, the key and the nearest known key.
fn explain(error: figment::Error) -> SettingsError {
    let place = error.metadata.as_ref().map_or_else(
        || "settings".to_owned(),
        |metadata| match metadata.source.as_ref() {
            Some(figment::Source::File(path)) => path.display().to_string(),
            _ => "environment (HELIOMETER__…)".to_owned(),
        },
    );
    let path = error.path.join(".");
    match error.kind {
        Kind::UnknownField(field, known) => {
            let nearest = nearest_key(&field, known);
            let dotted = |name: &str| {
                let parent = path.strip_suffix(field.as_str()).unwrap_or(&path).trim_end_matches('.');
                if parent.is_empty() { name.to_owned() } else { format!("{parent}.{name}") }
            };
            SettingsError::UnknownKey {
                place,
                key: dotted(&field),
                suggestion: nearest.map(|name| format!(", did you mean `{}`?", dotted(name))).unwrap_or_default(),
                known: known.join(", "),
            }
        }
        Kind::UnknownVariant(word, known) => {
            let near = nearest_key(&word, known).map(|near| format!(", did you mean `{near}`?")).unwrap_or_default();
            let message = format!("`{word}` is none{near}; there are {}", known.join(", "));
            SettingsError::Value { place, key: path, message }
        }
        kind => SettingsError::Value { place, key: path, message: kind.to_string() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load_text(text: &str) -> Result<Settings, SettingsError> {
        let file = tempfile::NamedTempFile::new().expect("temporary file");
        std::fs::write(file.path(), text).expect("write");
        load(Some(file.path()))
    }

    #[test]
    fn an_unknown_key_names_the_nearest() {
        for (text, expected) in [
            ("[ingress]\nlisten_adress = 1", "unknown key `ingress.listen_adress`"),
            ("[ingres]\nlisten = 1", "did you mean `ingress`?"),
            ("[clickhouse]\nflush_interval = 1", "did you mean `clickhouse.flush_interval_ms`?"),
        ] {
            let message = load_text(text).expect_err(text).to_string();
            assert!(message.contains(expected), "{message}");
        }
    }

    #[test]
    fn a_wrong_value_names_its_key() {
        let message = load_text("[clickhouse]\nhttp_port = \"x\"").expect_err("wrong type").to_string();
        assert!(message.contains("clickhouse.http_port"), "{message}");
        let message = load_text("[ingress]\ntls = \"on\"").expect_err("wrong word").to_string();
        assert!(message.contains("ingress.tls") && message.contains("self-signed"), "{message}");
    }

    #[test]
    fn contents_are_a_word_or_a_table() {
        use super::super::{ContentsStore, PolicyAction};
        use crate::contents::pii::PiiKind;
        let contents = |text: &str| load_text(text).map(|settings| settings.contents);
        assert_eq!(contents("").expect("default").store, ContentsStore::Off);
        assert_eq!(contents("contents = \"full\"").expect("a word").store, ContentsStore::Full);
        let table = "[contents]\nstore = \"truncated\"\ntruncate_bytes = 10\nredact = [\"card\", \"email\"]\n\
                     [[contents.policies]]\nname = \"p\"\nwhen = \"cost_usd != null && cost_usd > 1\"\naction = \"flag\"";
        let read = contents(table).expect("a table");
        assert_eq!((read.store, read.truncate_bytes), (ContentsStore::Truncated, 10));
        assert_eq!(read.redact, [PiiKind::Email, PiiKind::Card]);
        assert_eq!((read.policies.len(), read.policies[0].action), (1, PolicyAction::Flag));
        assert!(contents("[contents]\nredact = false").expect("none").redact.is_empty());
        for (text, expected) in [
            ("contents = \"ful\"", "contents"),
            ("contents = 3", "contents"),
            ("[contents]\nstor = \"full\"", "unknown key `contents.stor`, did you mean `contents.store`?"),
            ("[contents]\nstore = \"some\"", "contents.store"),
            ("[contents]\nredact = [\"e-mail\"]", "\"api_key\""),
            ("[contents]\nretention_days = 0", "retention_days must be between 1 and 3650"),
            ("[contents]\nstore = \"full\"\ndetect_pii = false", "detect_pii = false contradicts"),
            ("[[contents.policies]]\nname = \"p\"\nwen = \"true\"\naction = \"flag\"", "did you mean"),
            ("[[contents.policies]]\nname = \"p\"\nwhen = \"true\"\naction = \"mail\"", "action"),
            ("[[contents.policies]]\nname = \"p\"\nwhen = \"tru\"\naction = \"flag\"", "unknown variable `tru`"),
            (
                "[[contents.policies]]\nname = \"p\"\nwhen = \"true\"\naction = \"alert\"\n\
                 [[alerts.rules]]\nname = \"p\"\nkind = \"budget\"\nlimit_usd = 1",
                "`p` is used twice",
            ),
        ] {
            let message = contents(text).expect_err(text).to_string();
            assert!(message.contains(expected), "{text}\n{message}");
        }
    }

    #[test]
    fn receivers_and_routes_are_checked() {
        let receiver = |keys: &str| format!("[[notifiers.receivers]]\nname = \"ops\"\n{keys}");
        let discord = receiver("type = \"discord\"\nwebhook_url = \"https://discord.example/1\"");
        let with = |more: &str| format!("{discord}\n{more}");
        let settings =
            load_text(&with("[[notifiers.routes]]\nseverity = \"critical\"\nreceivers = [\"ops\", \"slack\"]"));
        let notifiers = settings.expect("is right").notifiers;
        assert_eq!(notifiers.names().collect::<Vec<_>>(), ["slack", "ops"]);
        assert_eq!(notifiers.routes[0].severity, ["critical"]);
        let rule = "[[alerts.rules]]\nname = \"r\"\nkind = \"budget\"\nlimit_usd = 1\nnotifiers = ";
        assert!(load_text(&with(&format!("{rule}[\"ops\"]"))).is_ok());
        for (text, expected) in [
            (receiver("type = \"discrod\"\nwebhook_url = \"x\""), "did you mean `discord`?"),
            (receiver("webhook_url = \"x\""), "type"),
            (receiver("type = \"teams\"\nwebhok_url = \"x\""), "webhok_url`, did you mean `"),
            (
                receiver("type = \"teams\"\nwebhook_url = \"secret\""),
                "notifiers.receivers.ops: webhook_url is not an http(s) URL",
            ),
            (
                receiver("type = \"slack_bot\"\ntoken = \"env:HELIOMETER_NO_SUCH\"\nchannel = \"c\""),
                "HELIOMETER_NO_SUCH is not set",
            ),
            (receiver("type = \"alertmanager\"\nurls = []"), "urls needs 1 to 10"),
            (
                receiver("type = \"email\"\nsmtp_host = \"h\"\nfrom = \"nobody\"\nto = \"a@example.org\""),
                "from `nobody` is not an address",
            ),
            (
                receiver(
                    "type = \"email\"\nsmtp_host = \"h\"\nsmtp_tls = \"off\"\nusername = \"u\"\npassword = \"p\"\nfrom = \"a@b.c\"\nto = \"a@b.c\"",
                ),
                "would send the password in the clear",
            ),
            (with(&discord), "notifiers.receivers.ops: the name is used twice"),
            (discord.replace("\"ops\"", "\"op s\""), "must be 1 to 64 of"),
            (with("[[notifiers.routes]]\nreceivers = [\"opps\"]"), "unknown receiver `opps`, did you mean `ops`?"),
            (with("[[notifiers.routes]]\nseverity = \"crit\"\nreceivers = []"), "notifiers.routes.0.severity"),
            (with("[[notifiers.routes]]\nreciever = \"ops\""), "did you mean"),
            (with("[[notifiers.routes]]\nseverity = \"info\""), "receivers"),
            (with(&format!("{rule}[\"slak\"]")), "rule `r`, notifiers: unknown receiver `slak`, did you mean `slack`?"),
            (
                format!(
                    "[notifiers]\nslack_webhook_url = \"https://x.example\"\n{}",
                    discord.replace("\"ops\"", "\"slack\"")
                ),
                "choose another name",
            ),
            ("[notifiers]\nretry_for_hours = 0".to_owned(), "retry_for_hours: must be between 1 and 720"),
        ] {
            let message = load_text(&text).expect_err(&text).to_string();
            assert!(message.contains(expected), "{text}\n{message}");
            assert!(!message.contains("\"secret\""), "{message}");
        }
    }

    #[test]
    fn a_cluster_needs_a_server() {
        let message = load_text("[clickhouse]\ncluster = \"main\"").expect_err("is embedded").to_string();
        assert!(message.contains("clickhouse.cluster: needs clickhouse.url"), "{message}");
        let with_url = "[clickhouse]\nurl = \"http://ch:8123\"\ncluster = \"main\"";
        assert_eq!(load_text(with_url).expect("is right").clickhouse.cluster, "main");
    }

    #[test]
    fn readers_have_names_and_sources_of_their_own() {
        let reader = |name: &str, more: &str| {
            format!("[[clickhouse.readers]]\nname = \"{name}\"\npassword = \"p\"\nsources = [\"a\"]\n{more}")
        };
        let settings = load_text(&reader("support", "")).expect("is right");
        assert_eq!(settings.clickhouse.readers[0].queries_per_hour, 1_000);
        for (text, expected) in [
            (reader("heliometer", ""), "choose another one"),
            (reader("boot", ""), "choose another one"),
            (reader("1st", ""), "must begin with a letter"),
            (reader("Support", ""), "readers"),
            (reader("a", &reader("a", "")), "is there twice"),
            (reader("a", "").replace("[\"a\"]", "[]"), "has no sources"),
            (reader("a", "queries_per_hour = 0"), "at least 1"),
            (format!("{}\n[clickhouse]\nurl = \"http://ch:8123\"", reader("a", "")), "sql/access.example.sql"),
        ] {
            let message = load_text(&text).expect_err(&text).to_string();
            assert!(message.contains(expected), "{text}\n{message}");
        }
    }

    #[test]
    fn an_empty_secret_is_refused_without_being_shown() {
        let message = load_text("[[sources]]\nname = \"a\"\nsecrets = [\"\"]").expect_err("empty").to_string();
        assert!(message.contains("the secret is empty"), "{message}");
    }

    #[test]
    fn sources_are_named_once() {
        let text = "[[sources]]\nname = \"a\"\nsecrets = [\"x\"]\n[[sources]]\nname = \"a\"\nsecrets = [\"y\"]";
        assert!(matches!(load_text(text), Err(SettingsError::DuplicateSource(name)) if name == "a"));
    }

    #[test]
    fn tls_takes_files() {
        let settings = load_text("[ingress]\ntls = { cert_file = \"c\", key_file = \"k\" }").expect("valid");
        assert_eq!(settings.ingress.tls, super::super::TlsMode::Files { cert_file: "c".into(), key_file: "k".into() });
    }
}
