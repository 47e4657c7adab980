//! One cryptography provider for every TLS connection of the process.

/// Installs `ring` for rustls. Later calls change nothing.
pub fn install_crypto_provider() {
    // The error says that one is installed already, which is what is wanted.
    drop(rustls::crypto::ring::default_provider().install_default());
}
