//! What can go wrong on the way to S3 and back.

use std::path::{Path, PathBuf};

use ami_aws::{RequestError, ServiceError};

/// Why something could not be done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// S3 refused, or failed.
    #[error("{operation}: Server.{code}({status}): {message}{hint}")]
    Service {
        /// What failed, as the beginning of a line.
        operation: String,
        /// S3's name for the error, or `Error` where it gave none.
        code: String,
        /// HTTP's status.
        status: u16,
        /// S3's own words.
        message: String,
        /// What to do, after a semicolon; or nothing.
        hint: &'static str,
    },
    /// No whole answer came.
    #[error("{operation}: {reason}{hint}")]
    Network {
        /// What failed.
        operation: String,
        /// What was wrong.
        reason: String,
        /// What to do, after a semicolon; or nothing.
        hint: &'static str,
    },
    /// What S3 has is not what the manifest describes, or what was sent.
    #[error("{operation}: {reason}")]
    Content {
        /// What failed.
        operation: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A file is longer than any of its kind.
    #[error("{operation}: it has more than {most} bytes, which no file of this bundle has")]
    TooLong {
        /// What failed.
        operation: String,
        /// The most bytes.
        most: u64,
    },
    /// The bucket is somewhere else than where it was asked for.
    #[error("Bucket \"{bucket}\" already exists in \"{actual}\" and \"{asked}\" was specified.")]
    Location {
        /// The bucket.
        bucket: String,
        /// Where it is.
        actual: String,
        /// Where it was asked for.
        asked: String,
    },
    /// No service can be asked.
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
    /// `operation` begins the error's line.
    pub(crate) fn of(operation: &str, error: RequestError) -> Self {
        let operation = operation.to_owned();
        let (reason, hint) = match error {
            RequestError::Service(ServiceError {
                code,
                status,
                message,
            }) => {
                return Self::Service {
                    operation,
                    hint: hint(&code, status),
                    code,
                    status,
                    message,
                };
            }
            RequestError::Connection(reason) => {
                (reason, "; check the network, the region and --url")
            }
            RequestError::Timeout => (
                "no answer in time".to_owned(),
                "; try again, or with --retry",
            ),
            RequestError::Other(reason) => (reason, ""),
        };
        Self::Network {
            operation,
            reason,
            hint,
        }
    }

    pub(crate) fn io(operation: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = ami_parts::shown(path);
        move |source| Self::Io {
            operation,
            path,
            source,
        }
    }

    /// Whether S3 says that there is no such bucket or key.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Service { status: 404, .. })
    }

    /// Whether S3 says that the person may not do this, whoever they are.
    pub(crate) fn is_denied(&self) -> bool {
        matches!(self, Self::Service { status: 403, code, .. } if code == "AccessDenied" || code == "Error")
    }

    /// Whether S3 refuses this one request for what it asks, and would refuse it again.
    pub fn is_refused(&self) -> bool {
        let is_of_object = |code: &str| matches!(code, "InvalidObjectState" | "InvalidRequest");
        self.is_denied()
            || self.is_not_implemented()
            || matches!(self, Self::Service { code, .. } if is_of_object(code))
    }

    /// Whether the server does not know such a request.
    pub(crate) fn is_not_implemented(&self) -> bool {
        matches!(
            self,
            Self::Service {
                status: 405 | 501,
                ..
            }
        )
    }
}

/// What to do about an error of S3 (S3 API reference, "Error responses").
pub(crate) fn hint(code: &str, status: u16) -> &'static str {
    match code {
        "AccessDenied" | "AllAccessDisabled" => {
            "; these credentials do not allow it: see the policies of their user or role, and the bucket's"
        }
        "InvalidAccessKeyId" | "SignatureDoesNotMatch" | "InvalidSecurity" => {
            "; check the access key and the secret key"
        }
        "ExpiredToken" | "InvalidToken" | "TokenRefreshRequired" => {
            "; get new temporary credentials"
        }
        "RequestTimeTooSkewed" => "; set this machine's clock",
        "AccessControlListNotSupported" => {
            "; EC2 reads bundles by their ACL: set the bucket's object ownership to \"Bucket owner preferred\""
        }
        "BucketAlreadyExists" => "; another account has a bucket of this name: choose another name",
        "NoSuchBucket" => "; check the bucket's name",
        "NoSuchKey" => "; check the folder behind the bucket's name, and the file's name",
        "BucketNotEmpty" => "; it holds other files, and stays",
        "AuthorizationHeaderMalformed" | "IllegalLocationConstraintException" => {
            "; give the bucket's region with --region"
        }
        "NotImplemented" | "MethodNotAllowed" => "; this server does not know such a request",
        "SlowDown" | "InternalError" | "ServiceUnavailable" | "RequestTimeout" => {
            "; try again later, or with --retry"
        }
        _ if status >= 500 => "; try again later, or with --retry",
        _ => "",
    }
}
