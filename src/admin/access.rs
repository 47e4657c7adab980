//! Who may change things through the admin listener: whoever can read a file in the data directory.

use std::{
    fs, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
};

use rand::{TryRng, rngs::SysRng};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{domain::Secret, whole_file};

/// The token that a changing request must bear, new at every start, in a file that only its owner can read.
#[derive(Debug)]
pub(super) struct Access {
    token: Secret,
    data_dir: PathBuf,
    address: SocketAddr,
}

/// Where a running `serve` takes changing requests, for commands beside it.
#[derive(Clone, Debug)]
pub struct AdminEndpoint {
    /// Its address.
    pub address: SocketAddr,
    /// The bearer token.
    pub token: Secret,
}

/// `<data>/admin.json`
#[derive(Serialize, Deserialize)]
struct Published {
    address: SocketAddr,
}

fn token_file(data_dir: &Path) -> PathBuf {
    data_dir.join("admin-token")
}

fn address_file(data_dir: &Path) -> PathBuf {
    data_dir.join("admin.json")
}

impl Access {
    /// Makes the token and writes both files. `listen` is where the admin listener is bound.
    pub(super) fn publish(data_dir: &Path, listen: SocketAddr) -> io::Result<Self> {
        let mut bytes = [0; 32];
        SysRng.try_fill_bytes(&mut bytes).map_err(|error| io::Error::other(error.to_string()))?;
        let access = Self {
            token: Secret::new(hex::encode(bytes)),
            data_dir: data_dir.to_path_buf(),
            address: reachable(listen),
        };
        whole_file::write(&token_file(data_dir), access.token.expose(), whole_file::PRIVATE)?;
        let published = serde_json::to_string(&Published { address: access.address })?;
        whole_file::write(&address_file(data_dir), &published, whole_file::PRIVATE)?;
        Ok(access)
    }

    /// Whether an `Authorization` header's value is right.
    pub(super) fn allows(&self, authorization: Option<&[u8]>) -> bool {
        let Some(token) = authorization.and_then(|value| value.strip_prefix(b"Bearer ")) else { return false };
        // Of the digests, so that the time the comparison takes tells nothing about the token.
        Sha256::digest(token) == Sha256::digest(self.token.expose().as_bytes())
    }

    /// Takes the address back, unless a later `serve` on this directory has written its own.
    pub(super) fn withdraw(&self) {
        if read_address(&self.data_dir) == Some(self.address) {
            drop(fs::remove_file(address_file(&self.data_dir)));
        }
    }
}

impl AdminEndpoint {
    /// Of a `serve` that runs on this data directory, or was killed there. `None` when there is none.
    #[must_use]
    pub fn beside(data_dir: &Path) -> Option<Self> {
        let token = fs::read_to_string(token_file(data_dir)).ok().filter(|token| !token.is_empty())?;
        Some(Self { address: read_address(data_dir)?, token: Secret::new(token) })
    }
}

fn read_address(data_dir: &Path) -> Option<SocketAddr> {
    let published: Published = serde_json::from_str(&fs::read_to_string(address_file(data_dir)).ok()?).ok()?;
    Some(published.address)
}

/// A listener on every address answers on loopback too.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn only_the_token_of_the_file_is_let_in() {
        let directory = tempfile::TempDir::new().expect("temporary directory");
        let listen = SocketAddr::from(([0, 0, 0, 0], 9464));
        let access = Access::publish(directory.path(), listen).expect("published");
        let endpoint = AdminEndpoint::beside(directory.path()).expect("an endpoint");
        assert_eq!(endpoint.address, SocketAddr::from(([127, 0, 0, 1], 9464)));
        let mode = fs::metadata(token_file(directory.path())).expect("a file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);

        let token = endpoint.token.expose();
        assert!(access.allows(Some(format!("Bearer {token}").as_bytes())));
        let wrong = [None, Some(String::new()), Some("Bearer ".to_owned()), Some(token.to_owned())];
        for authorization in wrong.into_iter().chain([Some(format!("Bearer {}", &token[1..]))]) {
            assert!(!access.allows(authorization.as_deref().map(str::as_bytes)), "{authorization:?}");
        }

        let later = Access::publish(directory.path(), listen).expect("published");
        assert!(!later.allows(Some(format!("Bearer {token}").as_bytes())), "each start has a token of its own");
        later.withdraw();
        assert!(AdminEndpoint::beside(directory.path()).is_none());
    }
}
