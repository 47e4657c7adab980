//! Why a simulation cannot start or finish, with what to do about it.

/// A mistake in the options, or something on this machine that is in the way.
#[derive(Debug, thiserror::Error)]
pub enum SimulatorError {
    /// A name in `--faults` that means nothing.
    #[error("--faults: unknown fault `{name}`, did you mean `{nearest}`? Known faults: {known}")]
    UnknownFault {
        /// What was written.
        name: String,
        /// The known name that looks most like it.
        nearest: &'static str,
        /// All known names, comma-separated.
        known: String,
    },
    /// A fault without a usable percentage.
    #[error("--faults: `{part}` must be name=percent with a percentage from 0 to 100, such as duplicates=5")]
    FaultPercent {
        /// What was written.
        part: String,
    },
    /// Faults that exclude each other for one event ask for more than all events.
    #[error("--faults: {names} can hit an event only one at a time, but add up to more than 100 percent")]
    FaultsExceedAll {
        /// The names of the group.
        names: &'static str,
    },
    /// A number that would need unbounded memory or make no sense.
    #[error("{option} must be from {min} to {max}")]
    OutOfRange {
        /// The option's name.
        option: &'static str,
        /// Smallest allowed value.
        min: u64,
        /// Largest allowed value.
        max: u64,
    },
    /// An unusable URL.
    #[error("{option}: `{url}` is not an http:// or https:// URL with a host")]
    Url {
        /// The option's name.
        option: &'static str,
        /// What was written, without a query.
        url: String,
    },
    /// The expected requests cannot be written down.
    #[error("cannot write the expected requests to {path}: {source}")]
    ExpectRequests {
        /// The file.
        path: String,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The secret is empty or cannot be a key.
    #[error("the signing secret is empty; export HELICONE_WEBHOOK_SECRET (or name another variable with --secret-env)")]
    Secret,
    /// A certificate file that was named cannot be used.
    #[error("cannot use the CA certificate {path}: {message}; give a PEM file")]
    Certificate {
        /// The file.
        path: String,
        /// What is wrong with it.
        message: String,
    },
    /// The HTTP client cannot be built, which is usually a missing set of system roots.
    #[error("cannot set up HTTPS: {0}; install the system's CA certificates, or give --ca-cert")]
    Client(#[source] reqwest::Error),
    /// The storage server's address is taken or not ours.
    #[error("cannot listen on {address} for the storage server: {source}; choose another --storage-listen")]
    StorageListen {
        /// The address asked for.
        address: std::net::SocketAddr,
        /// What the operating system said.
        source: std::io::Error,
    },
}
