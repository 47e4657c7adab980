//! `[alerts]`: rules, and what keeps them quiet.

use std::{
    io::Read,
    path::{Path, PathBuf},
};

use figment::{
    Figment,
    providers::{Format, Toml},
};
use serde::Deserialize;
use wildmatch::WildMatch;

use super::SettingsError;
use crate::alert::{Inhibition, Maintenance, ReportSchedule, Rule, Silence, Suppressions};

/// A thousand rules have about 200 kB.
const MAX_FILE_BYTES: u64 = 4 * 1024 * 1024;
/// Files that one pattern may name.
const MAX_FILES: usize = 1_000;

/// `[alerts]`
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AlertSettings {
    /// Rules are evaluated at least this often, and after every rollup pass that changed something.
    pub evaluate_every_ms: u64,
    /// `[[alerts.rules]]`
    pub rules: Vec<Rule>,
    /// Files with more of them, as `[[rules]]`; `*` stands for any text in a file's name.
    pub rules_files: Vec<String>,
    /// `[[alerts.silences]]`: alerts that are not told for a time.
    pub silences: Vec<Silence>,
    /// `[[alerts.maintenance]]`: hours of the week in which alerts are not told.
    pub maintenance: Vec<Maintenance>,
    /// `[[alerts.inhibitions]]`: alerts that are not told while others fire.
    pub inhibitions: Vec<Inhibition>,
    /// `[[alerts.reports]]`: what a day, week or month came to, told when it is over.
    pub reports: Vec<ReportSchedule>,
    /// A page to link to from messages, for example the Grafana dashboard.
    pub dashboard_url: String,
    /// The settings file that all this comes from, so that it can be read again when it changes.
    #[serde(skip)]
    pub config_file: Option<PathBuf>,
}

impl Default for AlertSettings {
    fn default() -> Self {
        Self {
            evaluate_every_ms: 1_000,
            rules: Vec::new(),
            rules_files: Vec::new(),
            silences: Vec::new(),
            maintenance: Vec::new(),
            inhibitions: Vec::new(),
            reports: Vec::new(),
            dashboard_url: String::new(),
            config_file: None,
        }
    }
}

/// A file with rules.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RulesFile {
    #[serde(default)]
    rules: Vec<Rule>,
}

impl AlertSettings {
    /// Adds the rules of `rules_files` to those written here.
    ///
    /// # Errors
    /// [`SettingsError`] for the first mistake, with its file.
    pub(super) fn read_files(&mut self) -> Result<(), SettingsError> {
        for path in self.files()? {
            let place = path.display().to_string();
            let wrong =
                |message: String| SettingsError::Value { place: place.clone(), key: "rules".to_owned(), message };
            let mut text = String::new();
            let file = std::fs::File::open(&path).map_err(|error| wrong(error.to_string()))?;
            file.take(MAX_FILE_BYTES + 1).read_to_string(&mut text).map_err(|error| wrong(error.to_string()))?;
            if text.len() as u64 > MAX_FILE_BYTES {
                return Err(wrong(format!("has more than {MAX_FILE_BYTES} bytes")));
            }
            let file: RulesFile =
                Figment::from(Toml::string(&text)).extract().map_err(|error| wrong(error.to_string()))?;
            self.rules.extend(file.rules);
        }
        Ok(())
    }

    /// The files that `rules_files` names now.
    ///
    /// # Errors
    /// [`SettingsError`] for a pattern that names none: a silent mistake would be alerts that nobody gets.
    pub(crate) fn files(&self) -> Result<Vec<PathBuf>, SettingsError> {
        let mut files = Vec::new();
        for pattern in &self.rules_files {
            let found = files_by_glob(pattern);
            if found.is_empty() || found.len() > MAX_FILES {
                return Err(SettingsError::Value {
                    place: "settings".to_owned(),
                    key: "alerts.rules_files".to_owned(),
                    message: format!(
                        "`{pattern}` names {} files; it must name 1 to {MAX_FILES}. `*` stands for other text in the \
                         file's name, not in its directory's",
                        found.len()
                    ),
                });
            }
            files.extend(found);
        }
        Ok(files)
    }

    /// Everything here that keeps alerts from being told.
    pub(crate) fn suppressions(&self) -> Suppressions {
        Suppressions {
            silences: self.silences.clone(),
            maintenance: self.maintenance.clone(),
            inhibitions: self.inhibitions.clone(),
            rules: self.rules.clone(),
        }
    }

    /// Checks what types alone cannot.
    pub(super) fn check(&self) -> Result<(), SettingsError> {
        let wrong =
            |key: &str, message| SettingsError::Value { place: "settings".to_owned(), key: key.to_owned(), message };
        crate::alert::check_rules(&self.rules).map_err(|error| wrong("alerts.rules", error.to_string()))?;
        crate::alert::check_schedules(&self.reports).map_err(|message| wrong("alerts.reports", message))?;
        self.suppressions().check().map_err(|message| wrong("alerts", message))
    }
}

fn files_by_glob(pattern: &str) -> Vec<PathBuf> {
    let path = Path::new(pattern);
    let Some(name) = path.file_name().map(|name| name.to_string_lossy()) else { return Vec::new() };
    if !name.contains('*') {
        return if path.is_file() { vec![path.to_path_buf()] } else { Vec::new() };
    }
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let glob = WildMatch::new(&name);
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    let mut files: Vec<PathBuf> = entries
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.file_name().is_some_and(|name| glob.matches(&name.to_string_lossy())) && path.is_file())
        .collect();
    files.sort();
    files
}

#[cfg(test)]
mod tests {
    use crate::settings::load;

    fn rule(name: &str) -> String {
        format!("name = \"{name}\"\nkind = \"budget\"\nlimit_usd = 1\n")
    }

    #[test]
    fn rules_come_from_the_settings_and_from_files() {
        let directory = tempfile::tempdir().expect("a directory");
        let place = directory.path().display();
        let write = |name: &str, text: &str| std::fs::write(directory.path().join(name), text).expect("written");
        write("a.toml", &format!("[[rules]]\n{}[[rules]]\n{}", rule("two"), rule("three")));
        write("b.toml", &format!("[[rules]]\n{}", rule("four")));
        write("notes.txt", "no rules");
        let settings = |files: &str| format!("[alerts]\nrules_files = [{files}]\n[[alerts.rules]]\n{}", rule("one"));
        let load_text = |text: &str| {
            write("heliometer.cfg", text);
            load(Some(&directory.path().join("heliometer.cfg")))
        };
        let loaded = load_text(&settings(&format!("\"{place}/*.toml\""))).expect("valid");
        let names: Vec<&str> = loaded.alerts.rules.iter().map(|rule| rule.name.as_str()).collect();
        assert_eq!(names, ["one", "two", "three", "four"]);
        assert_eq!(loaded.alerts.config_file, Some(directory.path().join("heliometer.cfg")));
        for (files, expected) in [
            (format!("\"{place}/c*.toml\""), "names 0 files"),
            (format!("\"{place}/missing.toml\""), "names 0 files"),
            (format!("\"{place}/a.toml\", \"{place}/*.toml\""), "`two` is used twice"),
            (format!("\"{place}/notes.txt\""), "notes.txt"),
        ] {
            let message = load_text(&settings(&files)).expect_err(&files).to_string();
            assert!(message.contains(expected), "{files}: {message}");
        }
        write("b.toml", "[[rules]]\nname = \"x\"\nkind = \"budget\"\nlimit = 1\n");
        let message = load_text(&settings(&format!("\"{place}/b.toml\""))).expect_err("unknown key").to_string();
        assert!(message.contains("b.toml") && message.contains("did you mean `limit_usd`?"), "{message}");
    }

    #[test]
    fn silences_maintenance_and_inhibitions_are_read() {
        let load_text = |text: &str| {
            let file = tempfile::NamedTempFile::new().expect("temporary file");
            std::fs::write(file.path(), text).expect("written");
            load(Some(file.path()))
        };
        let text = "[[alerts.silences]]\nmatch = { rule = \"slow*\", labels = { team = \"search\" } }\n\
            ends_at = \"2026-12-01\"\ncomment = \"move\"\n\
            [[alerts.maintenance]]\nmatch = { rule = \"*\" }\ndays = [\"sun\"]\nfrom = \"22:00\"\nto = \"02:00\"\n\
            [[alerts.inhibitions]]\nsource = { rule = \"silence\" }\ntarget = { rule = \"errors\" }\n";
        let alerts = load_text(text).expect("valid").alerts;
        assert_eq!((alerts.silences.len(), alerts.maintenance.len(), alerts.inhibitions.len()), (1, 1, 1));
        assert!(alerts.inhibitions[0].same_group);
        for (from, to, expected) in [
            ("\"2026-12-01\"", "\"soon\"", "`soon` is no time"),
            ("rule = \"*\" }\ndays", "}\ndays", "match"),
            ("rule = \"*\" }\ndays", " }\ndays", "`match` is empty"),
            ("\"sun\"", "\"sunny\"", "days are mon"),
        ] {
            let message = load_text(&text.replace(from, to)).expect_err(to).to_string();
            assert!(message.contains(expected), "{to}: {message}");
        }
    }
}
