//! Errors of operations on S3.

use std::path::{Path, PathBuf};

use ami_aws::{RequestError, ServiceError};

/// Why an operation failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A request failed.
    #[error("{operation}: {error}")]
    Request {
        /// What failed, as the beginning of a line.
        operation: String,
        /// Why.
        error: RequestError,
    },
    /// An answer redirects to a host that must not get these credentials.
    #[error(
        "{operation}: the answer leads to {host}, which is not part of {}",
        .server.as_deref().unwrap_or("S3 there")
    )]
    Elsewhere {
        /// What failed, as the beginning of a line.
        operation: String,
        /// The region or host that the answer names.
        host: String,
        /// The server that answered, if it is not AWS's.
        server: Option<String>,
    },
    /// What came is not what S3 has, or what S3 has is not what was sent.
    #[error("{operation}: {reason}")]
    Content {
        /// What failed.
        operation: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The object in S3 is not the one that the manifest describes.
    #[error(
        "{operation}: its SHA-1 is {found}, the manifest says {expected}: what S3 has is damaged"
    )]
    Digest {
        /// What failed.
        operation: String,
        /// The actual SHA-1, in lower-case hex.
        found: String,
        /// The manifest's, in lower-case hex.
        expected: String,
    },
    /// The object in S3 is no longer the one that was looked up.
    #[error("{operation}: it has changed since it was looked up")]
    Changed {
        /// What failed.
        operation: String,
    },
    /// A file is larger than any of its kind.
    #[error("{operation}: it has more than {most} bytes, which no file of this bundle has")]
    TooLong {
        /// What failed.
        operation: String,
        /// The most bytes.
        most: u64,
    },
    /// The bucket is not at the location that was asked for.
    #[error("Bucket \"{bucket}\" already exists in \"{actual}\" and \"{asked}\" was specified.")]
    Location {
        /// The bucket.
        bucket: String,
        /// Where it is.
        actual: String,
        /// Where it was asked for.
        asked: String,
    },
    /// No request can be sent.
    #[error(transparent)]
    Aws(#[from] ami_aws::Error),
    /// A local file could not be read or written.
    #[error("cannot {operation} {path}")]
    Io {
        /// What was tried, as a verb.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
}

impl Error {
    /// The object's SHA-1 is not the manifest's.
    pub fn of_digest(operation: &str, found: [u8; 20], expected: [u8; 20]) -> Self {
        Self::Digest {
            operation: operation.to_owned(),
            found: hex::encode(found),
            expected: hex::encode(expected),
        }
    }

    /// S3's error, if S3 answered with one.
    pub fn service(&self) -> Option<&ServiceError> {
        match self {
            Self::Request {
                error: RequestError::Service(error),
                ..
            } => Some(error),
            _ => None,
        }
    }

    fn status(&self) -> Option<u16> {
        self.service().map(|error| error.status)
    }

    pub(crate) fn has_code(&self, codes: &[&str]) -> bool {
        let error = self.service();
        error.is_some_and(|error| codes.contains(&error.code.as_str()))
    }

    pub(crate) fn io(operation: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = ami_files::shown(path);
        move |source| Self::Io {
            operation,
            path,
            source,
        }
    }

    /// Whether S3 says that there is no such bucket or key.
    pub fn is_not_found(&self) -> bool {
        self.status() == Some(404)
    }

    /// Whether S3 says that the object is in an archive, from which it must be restored before it can be read.
    pub fn is_archived(&self) -> bool {
        self.has_code(&["InvalidObjectState"])
    }

    /// Whether S3 denies access.
    pub(crate) fn is_denied(&self) -> bool {
        // The answer to HEAD has no code.
        self.status() == Some(403) && self.has_code(&["AccessDenied", "Error"])
    }

    /// Whether S3 refuses this request for its content, so that repeating it is useless.
    pub fn is_refused(&self) -> bool {
        self.is_denied()
            || self.is_not_implemented()
            || self.is_archived()
            || self.has_code(&["InvalidRequest"])
    }

    /// Whether the server does not implement the request.
    pub(crate) fn is_not_implemented(&self) -> bool {
        matches!(self.status(), Some(405 | 501))
    }

    /// Whether the object is not the one that the request names by its ETag.
    pub(crate) fn is_no_match(&self) -> bool {
        self.status() == Some(412)
    }

    /// Whether the requested range is past the object's end.
    pub(crate) fn is_past_the_end(&self) -> bool {
        self.status() == Some(416)
    }
}
