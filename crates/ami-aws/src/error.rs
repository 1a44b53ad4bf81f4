//! What can be wrong before a service is asked.

use std::path::PathBuf;

/// Why no service can be asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Nothing on this machine says who is asking.
    #[error("no credentials were found")]
    NoCredentials,
    /// Credentials are configured, but cannot be had.
    #[error("cannot get credentials: {reason}")]
    Credentials {
        /// What the source says.
        reason: String,
    },
    /// The file of certificates that `AWS_CA_BUNDLE` names is of no use.
    #[error("{variable} names {path}, which {reason}")]
    CertificateFile {
        /// The environment variable.
        variable: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// TLS cannot be set up.
    #[error("cannot use TLS: {0}")]
    Tls(String),
}
