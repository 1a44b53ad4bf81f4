//! Why a kernel or RAM disk could not be looked up.

use ami_aws::{RequestError, ServiceError};

/// Why something could not be looked up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// EC2 refused, or failed.
    #[error("{operation} in {region}: Server.{code}({status}): {message}{hint}")]
    Service {
        /// What failed.
        operation: &'static str,
        /// Where it was asked.
        region: String,
        /// EC2's name for the error, or `Error` where it gave none.
        code: String,
        /// HTTP's status.
        status: u16,
        /// EC2's own words.
        message: String,
        /// What to do, after a semicolon; or nothing.
        hint: &'static str,
    },
    /// No whole answer came.
    #[error(
        "{operation} in {region}: {reason}; check the network, or give --kernel and --ramdisk with --no-mapping"
    )]
    Network {
        /// What failed.
        operation: &'static str,
        /// Where it was asked.
        region: String,
        /// What was wrong.
        reason: String,
    },
    /// EC2 has no such region, or not for this account.
    #[error("Invalid region: {region} is none that these credentials can use ({known})")]
    UnknownRegion {
        /// What was asked for.
        region: String,
        /// Those that there are.
        known: String,
    },
    /// No region has a kernel or RAM disk of this ID.
    #[error("'{id}' not found in any region; give another with --kernel or --ramdisk")]
    NotFound {
        /// The ID.
        id: String,
    },
    /// The region has no kernel or RAM disk like this one.
    #[error(
        "Mapping for '{id}' not found: {region} has none of the same owner, type and location; give one with --kernel or --ramdisk"
    )]
    NoCounterpart {
        /// The ID.
        id: String,
        /// Where one was looked for.
        region: String,
    },
    /// No service can be asked.
    #[error(transparent)]
    Aws(#[from] ami_aws::Error),
}

impl Error {
    pub(crate) fn of(operation: &'static str, region: &str, error: RequestError) -> Self {
        let region = region.to_owned();
        let reason = match error {
            RequestError::Service(ServiceError {
                code,
                status,
                message,
            }) => {
                return Self::Service {
                    operation,
                    region,
                    hint: hint(&code, status),
                    code,
                    status,
                    message,
                };
            }
            RequestError::Connection(reason) | RequestError::Other(reason) => reason,
            RequestError::Timeout => "no answer in time".to_owned(),
        };
        Self::Network {
            operation,
            region,
            reason,
        }
    }
}

/// What to do about an error of EC2 (EC2 API reference, "Error codes").
fn hint(code: &str, status: u16) -> &'static str {
    match code {
        "UnauthorizedOperation" => {
            "; these credentials do not allow it: ec2:DescribeRegions and ec2:DescribeImages are needed"
        }
        "AuthFailure" | "SignatureDoesNotMatch" => "; check the access key and the secret key",
        "RequestExpired" => "; get new temporary credentials, and check this machine's clock",
        "OptInRequired" => "; enable the region for this account",
        "RequestLimitExceeded" => "; try again later",
        _ if status >= 500 => "; try again later",
        _ => "",
    }
}
