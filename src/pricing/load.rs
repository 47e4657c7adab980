//! Reads book files: those shipped, those of a directory, those of the settings.

use std::{
    collections::BTreeMap,
    io::Read,
    path::{Path, PathBuf},
    sync::Arc,
};

use figment::{
    Figment,
    error::Kind,
    providers::{Format, Toml},
};
use wildmatch::WildMatch;

use super::{
    Entry, PriceBook, PricingError,
    builtin::BUILTIN,
    entry::{parse_moment, patterns},
    text::{BookText, EntryText},
};
use crate::settings::{PricingSettings, nearest_key};

/// The largest public price list has a few megabytes.
pub(super) const MAX_FILE_BYTES: u64 = 16 * 1024 * 1024;
const OVERRIDES_PLACE: &str = "pricing.overrides";

impl PriceBook {
    /// The book that is shipped.
    ///
    /// # Errors
    /// None, as the tests prove; an error is better than a panic.
    pub fn builtin() -> Result<Self, PricingError> {
        Self::load(&PricingSettings::default())
    }

    /// The book by the settings: what is shipped, then the files of `book_dir`, then the overrides, the later going before
    /// the earlier. A file of `book_dir` takes the place of a shipped one of the same name.
    ///
    /// # Errors
    /// The first mistake found, with its file and entry.
    pub fn load(settings: &PricingSettings) -> Result<Self, PricingError> {
        let mut shipped: BTreeMap<String, String> =
            BUILTIN.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
        let mut directory = BTreeMap::new();
        if !settings.book_dir.as_os_str().is_empty() {
            for path in toml_files(&settings.book_dir)? {
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                shipped.remove(&name);
                directory.insert(path.display().to_string(), read_bounded(&path)?);
            }
        }
        let mut overrides = BTreeMap::new();
        for pattern in &settings.overrides_files {
            for path in files_by_glob(pattern)? {
                overrides.insert(path.display().to_string(), read_bounded(&path)?);
            }
        }
        let mut layers = vec![read_files(&overrides)?, read_files(&directory)?, read_files(&shipped)?];
        let own = entries(&settings.overrides, OVERRIDES_PLACE, &Arc::from([]))?;
        layers[0].extend(own);

        let texts = [overrides, directory, shipped]
            .into_iter()
            .enumerate()
            .flat_map(|(layer, files)| files.into_iter().map(move |(name, text)| format!("{layer}\0{name}\0{text}\0")));
        let revision_of = texts.chain([format!("{:?}", settings.overrides)]);
        Self::from_layers(layers, revision_of)
    }
}

/// Reads one file's text. `place` is what errors call it.
///
/// # Errors
/// The first mistake found.
pub fn read_book(text: &str, place: &str) -> Result<Vec<Entry>, PricingError> {
    let book: BookText = Figment::from(Toml::string(text)).extract().map_err(|error| explain(error, place))?;
    if !book.checked.is_empty() && parse_moment(&book.checked).is_none() {
        return Err(PricingError::Format {
            place: place.to_owned(),
            message: format!("checked = \"{}\" is no date such as 2026-11-25", book.checked),
        });
    }
    entries(&book.prices, place, &patterns(&book.providers, place)?.into())
}

/// Reads one file and looks for contradictions in it. Returns how many entries it has.
///
/// # Errors
/// The first mistake found.
pub fn check_book(text: &str, place: &str) -> Result<usize, PricingError> {
    let entries = read_book(text, place)?;
    let count = entries.len();
    PriceBook::from_layers(vec![entries], []).map(|_| count)
}

fn entries(texts: &[EntryText], place: &str, providers: &Arc<[super::Pattern]>) -> Result<Vec<Entry>, PricingError> {
    texts
        .iter()
        .enumerate()
        .map(|(index, text)| Entry::read(text, entry_place(place, index, text.models.first()), providers))
        .collect()
}

fn entry_place(file: &str, index: usize, model: Option<&String>) -> String {
    let model = model.map(|model| format!(" ({model:.60})")).unwrap_or_default();
    format!("{file}: entry {}{model}", index + 1)
}

fn read_files(files: &BTreeMap<String, String>) -> Result<Vec<Entry>, PricingError> {
    let mut all = Vec::new();
    for (name, text) in files {
        all.extend(read_book(text, name)?);
    }
    Ok(all)
}

/// Turns figment's error into one that names the file, the entry and the nearest known key.
fn explain(error: figment::Error, place: &str) -> PricingError {
    // `prices.3.inptu` is the fourth entry.
    let entry = match error.path.as_slice() {
        [prices, index, ..] if prices == "prices" => index.parse::<usize>().ok(),
        _ => None,
    };
    let place = entry.map_or_else(|| place.to_owned(), |index| entry_place(place, index, None));
    let key = error.path.get(if entry.is_some() { 2.. } else { 0.. }).unwrap_or_default().join(".");
    match error.kind {
        Kind::UnknownField(field, known) => {
            let suggestion =
                nearest_key(&field, known).map(|name| format!(", did you mean `{name}`?")).unwrap_or_default();
            PricingError::UnknownKey { place, key: field, suggestion, known: known.join(", ") }
        }
        kind @ Kind::InvalidType(figment::error::Actual::Float(_) | figment::error::Actual::Unsigned(_), _) => {
            PricingError::Format {
                place,
                message: format!(
                    "{key}: {kind}; prices are written as text, such as \"2.50\", so that they stay exact"
                ),
            }
        }
        kind => {
            let colon = if key.is_empty() { "" } else { ": " };
            PricingError::Format { place, message: format!("{key}{colon}{kind}").trim_end().to_owned() }
        }
    }
}

/// Reads a whole file that is not too large.
///
/// # Errors
/// [`PricingError::Read`] and [`PricingError::TooLarge`].
pub fn read_bounded(path: &Path) -> Result<String, PricingError> {
    let failed = |source| PricingError::Read { path: path.to_path_buf(), source };
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(failed)?;
    file.take(MAX_FILE_BYTES + 1).read_to_string(&mut text).map_err(failed)?;
    if text.len() as u64 > MAX_FILE_BYTES {
        return Err(PricingError::TooLarge { path: path.to_path_buf(), limit_bytes: MAX_FILE_BYTES });
    }
    Ok(text)
}

fn toml_files(directory: &Path) -> Result<Vec<PathBuf>, PricingError> {
    let failed = |source| PricingError::Read { path: directory.to_path_buf(), source };
    let mut paths = Vec::new();
    for file in std::fs::read_dir(directory).map_err(failed)? {
        let path = file.map_err(failed)?.path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

/// `*` stands for other text in the file's name, not in its directory's.
fn files_by_glob(pattern: &str) -> Result<Vec<PathBuf>, PricingError> {
    let path = Path::new(pattern);
    let none = || PricingError::NoSuchFiles(pattern.to_owned());
    let name = path.file_name().ok_or_else(none)?.to_string_lossy();
    if !name.contains('*') {
        return if path.is_file() { Ok(vec![path.to_path_buf()]) } else { Err(none()) };
    }
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let glob = WildMatch::new(&name);
    let mut paths = toml_files(directory)?;
    paths.retain(|path| path.file_name().is_some_and(|name| glob.matches(&name.to_string_lossy())));
    if paths.is_empty() { Err(none()) } else { Ok(paths) }
}
