//! Programs that tests need beside the service.

use std::{
    path::{Path, PathBuf},
    process::Child,
};

/// A program on PATH, or where `scripts/fetch-test-tools` puts it.
pub(crate) fn tool(names: &[&str]) -> PathBuf {
    let fetched = Path::new(env!("CARGO_MANIFEST_DIR")).join(".build/tools/usr/bin");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places: Vec<PathBuf> = std::env::split_paths(&path).chain([fetched]).collect();
    let found =
        names.iter().flat_map(|name| places.iter().map(move |place| place.join(name))).find(|file| file.is_file());
    found
        .unwrap_or_else(|| panic!("{} is missing: run scripts/fetch-test-tools (`make test` does)", names.join(" or ")))
}

/// A child process that ends with the test.
pub(crate) struct Process(pub(crate) Child);

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

pub(crate) fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").expect("bind").local_addr().expect("address").port()
}
