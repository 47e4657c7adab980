//! Files that are there whole or not at all, whoever reads them and whenever the power goes.

use std::{
    fs::{File, Permissions},
    io::{self, Write},
    os::unix::fs::PermissionsExt,
    path::Path,
};

/// Read and written by the owner alone.
pub(crate) const PRIVATE: u32 = 0o600;

/// Writes `text` under another name in the same directory, syncs it, renames it to `path`, and syncs the directory.
///
/// # Errors
/// What the operating system says; `path` is then as it was, or already new.
pub(crate) fn write(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // Readable by its owner alone from the beginning.
    let mut file = tempfile::NamedTempFile::new_in(directory)?;
    file.write_all(text.as_bytes())?;
    file.as_file().set_permissions(Permissions::from_mode(mode))?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    File::open(directory)?.sync_all()
}
