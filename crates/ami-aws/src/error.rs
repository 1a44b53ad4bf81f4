//! What can go wrong before a request is sent.

use std::path::PathBuf;

/// Why no request can be sent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There are no credentials on this machine.
    #[error("no credentials were found")]
    NoCredentials,
    /// Credentials are configured, but cannot be obtained.
    #[error("cannot get credentials: {reason}")]
    Credentials {
        /// The source's error.
        reason: String,
    },
    /// The file of certificates that `AWS_CA_BUNDLE` names cannot be used.
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
