//! Finds `libchdb.so`.

use std::{
    env,
    path::{Path, PathBuf},
};

use super::EngineError;

/// The pinned engine. `scripts/fetch-engine` fetches the same version and verifies its checksum.
pub(super) const ENGINE_VERSION: &str = "26.7.3-stable.1";

/// The library to load: the configured path, else beside the program, in `./engine`, or in the user's cache.
///
/// # Errors
/// [`EngineError::LibraryMissing`] with what to do.
pub fn find_library(configured: &Path) -> Result<PathBuf, EngineError> {
    let candidates = if configured.as_os_str().is_empty() { default_places() } else { vec![configured.to_path_buf()] };
    candidates.iter().find(|path| path.is_file()).cloned().ok_or_else(|| EngineError::LibraryMissing {
        looked_in: candidates.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", "),
    })
}

fn default_places() -> Vec<PathBuf> {
    let file = "libchdb.so";
    let mut places = Vec::new();
    if let Some(directory) = env::current_exe().ok().as_deref().and_then(Path::parent) {
        places.push(directory.join(file));
    }
    places.push(PathBuf::from("engine").join(file));
    let cache = env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")));
    if let Some(cache) = cache {
        places.push(cache.join("heliometer").join("engine").join(ENGINE_VERSION).join(file));
    }
    places
}
