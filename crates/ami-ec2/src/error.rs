//! Why EC2 did not do what it was asked.

use ami_aws::RequestError;

/// Why EC2 did not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A request did not succeed.
    #[error("{operation} in {region}: {error}")]
    Request {
        /// What failed, as the beginning of a line.
        operation: &'static str,
        /// The region that was asked.
        region: String,
        /// Why.
        error: RequestError,
    },
    /// EC2 has no such region, or not for this account.
    #[error("Invalid region: these credentials cannot use {region}, but only ({known})")]
    UnknownRegion {
        /// What was asked for.
        region: String,
        /// Those that there are.
        known: String,
    },
    /// It is no name of a region.
    #[error("{region:?} is not the name of a region, such as eu-west-1")]
    NoRegion {
        /// What was asked for.
        region: String,
    },
    /// No region has a kernel or RAM disk of this ID.
    #[error("'{id}' not found in any region")]
    NotFound {
        /// The ID.
        id: String,
    },
    /// The region has no kernel or RAM disk like this one.
    #[error("Mapping for '{id}' not found: {region} has none of the same owner, type and location")]
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
        Self::Request {
            operation,
            region: region.to_owned(),
            error,
        }
    }
}
