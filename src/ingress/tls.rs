//! Certificates: self-signed at first start, or files that are read again when they change.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use rustls::{
    RootCertStore, ServerConfig,
    client::{WebPkiServerVerifier, danger::ServerCertVerifier as _},
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
};
use sha2::{Digest, Sha256};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{
    domain::{Clock, UtcMillis},
    settings::{Settings, TlsMode},
    whole_file,
};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Ten years. Browsers want 398 days at most, but only from public authorities; a self-signed certificate is
/// pinned by its clients, and each new one breaks the pin.
const SELF_SIGNED_FOR: Duration = Duration::from_secs(3650 * 24 * 60 * 60);

/// A self-signed certificate with less left than this is made anew at start.
const RENEW_BEFORE: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// Why a certificate cannot be used. Never quotes a key.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read or written.
    #[error("cannot {doing} {path}: {source}")]
    File {
        /// `read` or `write`.
        doing: &'static str,
        /// Which file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// Not PEM, or without the section that is needed.
    #[error("{path} holds no usable PEM {wanted}")]
    Pem {
        /// Which file.
        path: PathBuf,
        /// `certificate` or `private key`.
        wanted: &'static str,
    },
    /// The certificate and the key do not belong together, or are of a kind that TLS cannot use.
    #[error("the certificate {path} and its key cannot be used: {source}")]
    Pair {
        /// The certificate's file.
        path: PathBuf,
        /// What rustls said.
        source: rustls::Error,
    },
    /// Making the self-signed certificate failed.
    #[error("cannot make a self-signed certificate: {0}")]
    Generate(#[from] rcgen::Error),
}

/// The files of a certificate chain and its key, in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CertificateFiles {
    pub(super) cert: PathBuf,
    pub(super) key: PathBuf,
}

/// The files that `settings` mean, made now if they are the self-signed ones and not good any more. `None`: no TLS.
pub(super) fn prepare(settings: &Settings, clock: &dyn Clock) -> Result<Option<CertificateFiles>, TlsError> {
    match &settings.ingress.tls {
        TlsMode::Off => Ok(None),
        TlsMode::Files { cert_file, key_file } => {
            Ok(Some(CertificateFiles { cert: cert_file.clone(), key: key_file.clone() }))
        }
        TlsMode::SelfSigned => {
            let directory = settings.data_dir.join("tls");
            let files = CertificateFiles { cert: directory.join("cert.pem"), key: directory.join("key.pem") };
            let now = clock.now();
            if !files.cert.exists() || !is_good(&files, now.plus(RENEW_BEFORE)) {
                make_self_signed(&directory, &files, now)?;
                tracing::info!(cert = %files.cert.display(), "made a self-signed certificate");
            }
            Ok(Some(files))
        }
    }
}

/// Whether a client that trusts the certificate would accept it at `time`.
fn is_good(files: &CertificateFiles, time: UtcMillis) -> bool {
    let check = || -> Option<()> {
        let (chain, key) = read_pair(files).ok()?;
        let certificate = chain.first()?.clone();
        server_config(files, chain, key).ok()?;
        let mut roots = RootCertStore::empty();
        roots.add(certificate.clone()).ok()?;
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider()).build().ok()?;
        let name = ServerName::try_from("localhost").ok()?;
        let at = UnixTime::since_unix_epoch(Duration::from_millis(u64::try_from(time.0).ok()?));
        verifier.verify_server_cert(&certificate, &[], &name, &[], at).ok().map(drop)
    };
    check().is_some()
}

fn make_self_signed(directory: &Path, files: &CertificateFiles, now: UtcMillis) -> Result<(), TlsError> {
    let mut names: Vec<String> = ["localhost", "127.0.0.1", "::1"].map(str::to_owned).into();
    let host = nix::unistd::gethostname().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    // Some machines are called what no certificate may say, such as `my_laptop.`.
    if host != "localhost" && ServerName::try_from(host.as_str()).is_ok() {
        names.push(host);
    }
    let mut parameters = rcgen::CertificateParams::new(names)?;
    let now = UNIX_EPOCH + Duration::from_millis(u64::try_from(now.0).unwrap_or(0));
    // Clients' clocks may be slow.
    parameters.not_before = (now - DAY).into();
    parameters.not_after = (now + SELF_SIGNED_FOR).into();
    parameters.distinguished_name = rcgen::DistinguishedName::new();
    parameters.distinguished_name.push(rcgen::DnType::CommonName, "Heliometer self-signed");
    let key = rcgen::KeyPair::generate()?;
    let certificate = parameters.self_signed(&key)?;

    fs::create_dir_all(directory).map_err(|source| file_error("write", directory, source))?;
    let write = |path: &Path, text: &str, mode| {
        whole_file::write(path, text, mode).map_err(|source| file_error("write", path, source))
    };
    write(&files.key, &key.serialize_pem(), whole_file::PRIVATE)?;
    write(&files.cert, &certificate.pem(), 0o644)
}

fn file_error(doing: &'static str, path: &Path, source: std::io::Error) -> TlsError {
    TlsError::File { doing, path: path.to_owned(), source }
}

/// Passed explicitly: a process-wide default could be installed by any dependency.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

type Pair = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn read_pair(files: &CertificateFiles) -> Result<Pair, TlsError> {
    let (cert, key) = read_files(files)?;
    parse_pair(files, &cert, &key)
}

fn read_files(files: &CertificateFiles) -> Result<(Vec<u8>, Vec<u8>), TlsError> {
    let read = |path: &Path| fs::read(path).map_err(|source| file_error("read", path, source));
    Ok((read(&files.cert)?, read(&files.key)?))
}

fn parse_pair(files: &CertificateFiles, cert: &[u8], key: &[u8]) -> Result<Pair, TlsError> {
    let no_certificate = || TlsError::Pem { path: files.cert.clone(), wanted: "certificate" };
    let chain: Vec<_> = CertificateDer::pem_slice_iter(cert).collect::<Result<_, _>>().map_err(|_| no_certificate())?;
    if chain.is_empty() {
        return Err(no_certificate());
    }
    let key = PrivateKeyDer::from_pem_slice(key)
        .map_err(|_| TlsError::Pem { path: files.key.clone(), wanted: "private key" })?;
    Ok((chain, key))
}

fn server_config(
    files: &CertificateFiles,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<ServerConfig, TlsError> {
    let pair_error = |source| TlsError::Pair { path: files.cert.clone(), source };
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(pair_error)?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(pair_error)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

/// The configuration in use, and the files it came from.
pub(super) struct Certificates {
    files: CertificateFiles,
    current: watch::Sender<Arc<ServerConfig>>,
    /// Of the files' contents as last read, good or bad, so that a bad pair is reported once.
    last_seen: [u8; 32],
}

impl Certificates {
    /// Reads the files for the first time.
    pub(super) fn load(files: CertificateFiles) -> Result<Self, TlsError> {
        let (cert, key) = read_files(&files)?;
        let (chain, private_key) = parse_pair(&files, &cert, &key)?;
        let config = server_config(&files, chain, private_key)?;
        let last_seen = fingerprint(&cert, &key);
        Ok(Self { files, current: watch::Sender::new(Arc::new(config)), last_seen })
    }

    /// Where the acceptor finds the configuration for the next connection.
    pub(super) fn subscribe(&self) -> watch::Receiver<Arc<ServerConfig>> {
        self.current.subscribe()
    }

    /// Reads the files again, and uses them if they changed and are good. Open connections keep what they have.
    fn reload(&mut self) -> Result<(), TlsError> {
        let (cert, key) = read_files(&self.files)?;
        // Contents rather than modification times: those miss two writes within one tick and links that are swapped.
        let seen = fingerprint(&cert, &key);
        if seen == self.last_seen {
            return Ok(());
        }
        self.last_seen = seen;
        let (chain, private_key) = parse_pair(&self.files, &cert, &key)?;
        self.current.send_replace(Arc::new(server_config(&self.files, chain, private_key)?));
        tracing::info!(cert = %self.files.cert.display(), "the certificate was reloaded");
        Ok(())
    }

    /// Reloads every `interval` until shutdown. A bad pair leaves the old one in use.
    pub(super) async fn watch(mut self, interval: Duration, shutdown: CancellationToken) {
        let mut was_unreadable = false;
        while shutdown.run_until_cancelled(tokio::time::sleep(interval)).await.is_some() {
            // The files are small and local; the pause is below what a worker thread should care about.
            let result = self.reload();
            let unreadable = matches!(result, Err(TlsError::File { .. }));
            if let Err(error) = result
                && !(unreadable && was_unreadable)
            {
                tracing::warn!(%error, "the new certificate is not used; the old one stays");
            }
            was_unreadable = unreadable;
        }
    }
}

fn fingerprint(cert: &[u8], key: &[u8]) -> [u8; 32] {
    // The certificate is hashed first, so that moving bytes between the files changes the result.
    Sha256::new().chain_update(Sha256::digest(cert)).chain_update(key).finalize().into()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::domain::{ManualClock, SystemClock};

    fn in_temporary_directory() -> (tempfile::TempDir, Settings) {
        let directory = tempfile::tempdir().expect("temporary directory");
        let mut settings = Settings::default();
        settings.data_dir.0 = directory.path().to_owned();
        (directory, settings)
    }

    #[test]
    fn a_self_signed_certificate_is_kept_until_shortly_before_it_ends() {
        let (_directory, settings) = in_temporary_directory();
        let clock = ManualClock::at(SystemClock.now());
        let prepare = || {
            let files = prepare(&settings, &clock).expect("made").expect("TLS");
            (fs::read(&files.cert).expect("certificate"), files)
        };
        let (first, files) = prepare();
        assert_eq!(fs::metadata(&files.key).expect("key").permissions().mode() & 0o777, 0o600);
        assert!(Certificates::load(files.clone()).is_ok());
        clock.advance(SELF_SIGNED_FOR.saturating_sub(RENEW_BEFORE + DAY));
        assert!(prepare().0 == first, "kept");
        clock.advance(DAY * 2);
        let (second, _) = prepare();
        assert!(second != first, "made anew within 30 days of its end");
        fs::write(&files.key, "damaged").expect("write");
        assert!(prepare().0 != second, "made anew when the key is damaged");
    }

    #[test]
    fn a_bad_new_pair_leaves_the_old_one() {
        let (_directory, settings) = in_temporary_directory();
        let files = prepare(&settings, &SystemClock).expect("made").expect("TLS");
        let mut certificates = Certificates::load(files.clone()).expect("good");
        let current = certificates.subscribe();
        let first = Arc::clone(&current.borrow());
        let (_other_directory, other) = in_temporary_directory();
        let other = prepare(&other, &SystemClock).expect("made").expect("TLS");

        fs::copy(&other.cert, &files.cert).expect("copy");
        assert!(matches!(certificates.reload(), Err(TlsError::Pair { .. })), "the key is still the old one's");
        assert!(certificates.reload().is_ok(), "reported once");
        assert!(Arc::ptr_eq(&first, &current.borrow()));
        fs::copy(&other.key, &files.key).expect("copy");
        certificates.reload().expect("a good pair again");
        assert!(!Arc::ptr_eq(&first, &current.borrow()));
        fs::write(&files.cert, "-----BEGIN").expect("write");
        assert!(matches!(certificates.reload(), Err(TlsError::Pem { wanted: "certificate", .. })));
    }
}
