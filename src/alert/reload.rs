//! Rules that change while the service runs.

use std::{
    path::PathBuf,
    time::{Duration, Instant, SystemTime},
};

use sha2::{Digest, Sha256};

use crate::settings::{AlertSettings, SettingsError, load};

/// Files are looked at this often.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Looks at the settings file and the files of `alerts.rules_files`.
#[derive(Debug)]
pub(super) struct RuleFiles {
    config: PathBuf,
    /// As they were read last.
    settings: AlertSettings,
    looked: Instant,
    /// Names, times and sizes.
    stamps: Vec<(PathBuf, Option<(SystemTime, u64)>)>,
    contents: Vec<u8>,
}

impl RuleFiles {
    /// `None` without a settings file: then nothing can change.
    pub(super) fn of(settings: &AlertSettings) -> Option<Self> {
        let config = settings.config_file.clone()?;
        let mut files = Self {
            config,
            settings: settings.clone(),
            looked: Instant::now(),
            stamps: Vec::new(),
            contents: Vec::new(),
        };
        files.stamps = files.stamps_now();
        files.contents = files.digest();
        Some(files)
    }

    /// The new settings, if a file has another content than at the last look; the mistake, if they are not valid as a
    /// whole. Each is said once.
    pub(super) fn changed(&mut self) -> Option<Result<AlertSettings, SettingsError>> {
        if self.looked.elapsed() < LOOK_EVERY {
            return None;
        }
        self.looked = Instant::now();
        let stamps = self.stamps_now();
        if stamps == self.stamps {
            return None;
        }
        self.stamps = stamps;
        let contents = self.digest();
        if contents == self.contents {
            return None;
        }
        self.contents = contents;
        match load(Some(&self.config)) {
            Ok(settings) => {
                self.settings = settings.alerts.clone();
                // The patterns may name other files now.
                self.stamps = self.stamps_now();
                self.contents = self.digest();
                Some(Ok(settings.alerts))
            }
            Err(error) => Some(Err(error)),
        }
    }

    fn files(&self) -> impl Iterator<Item = PathBuf> {
        std::iter::once(self.config.clone()).chain(self.settings.files().unwrap_or_default())
    }

    fn stamps_now(&self) -> Vec<(PathBuf, Option<(SystemTime, u64)>)> {
        self.files()
            .map(|path| {
                let stamp = std::fs::metadata(&path).ok();
                let stamp = stamp.and_then(|metadata| Some((metadata.modified().ok()?, metadata.len())));
                (path, stamp)
            })
            .collect()
    }

    fn digest(&self) -> Vec<u8> {
        let mut hasher = Sha256::new();
        for path in self.files() {
            hasher.update(path.as_os_str().as_encoded_bytes());
            hasher.update(std::fs::read(&path).unwrap_or_default());
        }
        hasher.finalize().to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(files: &mut RuleFiles) -> Option<Result<usize, String>> {
        files.looked = Instant::now().checked_sub(LOOK_EVERY).expect("a time");
        files.changed().map(|settings| settings.map(|alerts| alerts.rules.len()).map_err(|error| error.to_string()))
    }

    #[test]
    fn a_change_is_seen_once_and_a_mistake_is_said_once() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = |name: &str| directory.path().join(name);
        let rule = |name: &str| format!("name = \"{name}\"\nkind = \"budget\"\nlimit_usd = 1\n");
        let config = format!("[alerts]\nrules_files = [\"{}/*.toml\"]\n", directory.path().display());
        std::fs::write(path("config"), &config).expect("written");
        std::fs::write(path("a.toml"), format!("[[rules]]\n{}", rule("a"))).expect("written");
        let settings = load(Some(&path("config"))).expect("valid").alerts;
        let mut files = RuleFiles::of(&settings).expect("a settings file");
        assert_eq!(look(&mut files), None);
        // Touched, and the same: nothing.
        std::fs::write(path("a.toml"), format!("[[rules]]\n{}", rule("a"))).expect("written");
        assert_eq!(look(&mut files), None);
        std::fs::write(path("b.toml"), format!("[[rules]]\n{}", rule("b"))).expect("written");
        assert_eq!(look(&mut files), Some(Ok(2)));
        assert_eq!(look(&mut files), None);
        std::fs::write(path("b.toml"), format!("[[rules]]\n{}", rule("a"))).expect("written");
        assert!(look(&mut files).is_some_and(|seen| seen.is_err_and(|error| error.contains("`a` is used twice"))));
        assert_eq!(look(&mut files), None);
        std::fs::remove_file(path("b.toml")).expect("removed");
        std::fs::write(path("config"), format!("{config}[[alerts.rules]]\n{}", rule("c"))).expect("written");
        assert_eq!(look(&mut files), Some(Ok(2)));
    }
}
