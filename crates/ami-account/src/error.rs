//! Why something could not be looked up.

use ami_aws::RequestError;

/// Something could not be looked up.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("Failed to look up {what} in {region}: {error}")]
pub struct Error {
    /// What was asked for.
    pub what: String,
    /// The region that was asked.
    pub region: String,
    /// Why it failed.
    pub error: RequestError,
}

impl Error {
    /// The service's code for its refusal, if it has refused.
    pub fn code(&self) -> Option<&str> {
        match &self.error {
            RequestError::Service(error) => Some(&error.code),
            _ => None,
        }
    }
}
