//! A try of a request, and what its failure means (EBS API reference, "Common errors" and those of each operation).

use std::error::Error as StdError;
use std::time::Duration;

use ami_aws::{Failed, RequestError, ServiceError, Verdict, verdict};
use aws_sdk_ebs::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_ebs::operation::complete_snapshot::CompleteSnapshotError;
use aws_sdk_ebs::operation::get_snapshot_block::GetSnapshotBlockError;
use aws_sdk_ebs::operation::list_snapshot_blocks::ListSnapshotBlocksError;
use aws_sdk_ebs::operation::put_snapshot_block::PutSnapshotBlockError;
use aws_sdk_ebs::operation::start_snapshot::StartSnapshotError;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;

use crate::controller::Outcome;
use crate::error::Error;

/// Reasons of validation errors that pass: another request writes the block; the block came too slowly.
const PASSING_REASONS: [&str; 2] = ["CONFLICTING_BLOCK_UPDATE", "WRITE_REQUEST_TIMEOUT"];

/// A validation error that passes and has no reason of its own.
const PASSING_MESSAGE: &str = "Failed to read block data";

/// Codes of requests that came too often.
const THROTTLING_CODES: [&str; 2] = ["RequestThrottledException", "ThrottlingException"];

/// HTTP statuses of the same: RFC 6585, section 4; 402 is EBS's for a quota, which is waited out.
const THROTTLING_STATUSES: [u16; 2] = [429, QUOTA];
const QUOTA: u16 = 402;

/// How often what comes may be wrong.
const MOST_WRONG: u32 = 5;

const NOT_FOUND: u16 = 404;

/// The reason of it that is meant here: keys and grants can be unknown, too.
const NO_SNAPSHOT: &str = "SNAPSHOT_NOT_FOUND";

/// What the SDK has for a required field that the answer lacks (smithy-rs, "error correction").
const UNSET: &str = "no value was set";

/// Errors that name a reason besides their code.
pub(crate) trait Reason {
    /// EBS's reason.
    fn reason(&self) -> Option<&str>;
}

macro_rules! have_reasons {
    ($($error:ident),*) => {$(
        impl Reason for $error {
            fn reason(&self) -> Option<&str> {
                match self {
                    Self::ValidationException(error) => error.reason().map(|reason| reason.as_str()),
                    Self::RequestThrottledException(error) => error.reason().map(|reason| reason.as_str()),
                    Self::ServiceQuotaExceededException(error) => error.reason().map(|reason| reason.as_str()),
                    Self::ResourceNotFoundException(error) => error.reason().map(|reason| reason.as_str()),
                    Self::AccessDeniedException(error) => {
                        Some(error.reason().as_str()).filter(|reason| *reason != UNSET)
                    }
                    _ => None,
                }
            }
        }
    )*};
}

have_reasons!(
    StartSnapshotError,
    PutSnapshotBlockError,
    CompleteSnapshotError,
    ListSnapshotBlocksError,
    GetSnapshotBlockError
);

/// Why a try did not succeed.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// EBS says so, or did not answer.
    Request {
        error: RequestError,
        reason: Option<String>,
    },
    /// What came is wrong: another try may bring the right thing.
    Answer(String),
}

impl<E> From<SdkError<E, HttpResponse>> for Refusal
where
    E: Reason + ProvideErrorMetadata + StdError + 'static,
{
    fn from(error: SdkError<E, HttpResponse>) -> Self {
        let reason = error.as_service_error().and_then(Reason::reason);
        let reason = reason.map(|reason| reason.chars().take(100).collect());
        Self::Request {
            error: error.into(),
            reason,
        }
    }
}

impl Refusal {
    /// No answer came within the deadline.
    pub(crate) fn late() -> Self {
        Self::Request {
            error: RequestError::Timeout,
            reason: None,
        }
    }

    /// What it means for the next try, after so many. `is_new`: the snapshot was started a moment ago, and not every server may know it.
    pub(crate) fn verdict(&self, tries: u32, is_new: bool) -> Verdict {
        match self {
            Self::Answer(_) if tries < MOST_WRONG => Verdict::Transient,
            Self::Answer(_) => Verdict::Permanent,
            Self::Request {
                error: RequestError::Unread(_),
                ..
            } if tries >= MOST_WRONG => Verdict::Permanent,
            Self::Request { error, reason } => {
                verdict(error, |error| own_verdict(error, reason.as_deref(), is_new))
            }
        }
    }

    /// What it means for how many requests begin.
    pub(crate) fn outcome(&self) -> Outcome {
        match self {
            Self::Request {
                error: RequestError::Service(error),
                ..
            } => match is_throttling(error) {
                true => Outcome::Throttled,
                false => Outcome::Refused,
            },
            Self::Request { .. } => Outcome::Lost,
            Self::Answer(_) => Outcome::Refused,
        }
    }

    /// For the crate's callers.
    pub(crate) fn explain(self, operation: &str) -> Error {
        let operation = operation.to_owned();
        match self {
            Self::Answer(reason) => Error::Answer { operation, reason },
            Self::Request { error, reason } => Error::Request {
                operation,
                reason,
                error,
            },
        }
    }

    /// The same, for whoever tries again.
    pub(crate) fn failed(self, operation: &str, tries: u32, is_new: bool) -> Failed<Error> {
        let retry_after: Option<Duration> = match &self {
            Self::Request {
                error: RequestError::Service(error),
                ..
            } => error.retry_after,
            _ => None,
        };
        Failed {
            verdict: self.verdict(tries, is_new),
            retry_after,
            error: self.explain(operation),
        }
    }
}

/// Whether EBS was asked too often.
pub(crate) fn is_throttling(error: &ServiceError) -> bool {
    THROTTLING_CODES.contains(&error.code.as_str()) || THROTTLING_STATUSES.contains(&error.status)
}

/// Whether EBS does not know the snapshot.
pub(crate) fn has_no_snapshot(error: &ServiceError, reason: Option<&str>) -> bool {
    error.status == NOT_FOUND && reason.is_none_or(|reason| reason == NO_SNAPSHOT)
}

fn own_verdict(error: &ServiceError, reason: Option<&str>, is_new: bool) -> Option<Verdict> {
    let passes = reason.is_some_and(|reason| PASSING_REASONS.contains(&reason))
        || error.message.contains(PASSING_MESSAGE);
    if passes {
        Some(Verdict::Transient)
    } else if is_throttling(error) || (is_new && has_no_snapshot(error, reason)) {
        Some(Verdict::NotDone)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(code: &str, status: u16, reason: Option<&str>, message: &str) -> Refusal {
        let mut error = ServiceError::of_item(Some(code), Some(message));
        error.status = status;
        Refusal::Request {
            error: RequestError::Service(error),
            reason: reason.map(str::to_owned),
        }
    }

    #[test]
    fn errors_are_judged_by_code_status_and_reason() {
        use Outcome::{Refused, Throttled};
        use Verdict::{NotDone, Permanent, Transient};
        for (code, status, reason, verdict, outcome) in [
            (
                "ValidationException",
                400,
                "CONFLICTING_BLOCK_UPDATE",
                Transient,
                Refused,
            ),
            (
                "ValidationException",
                400,
                "WRITE_REQUEST_TIMEOUT",
                Transient,
                Refused,
            ),
            (
                "ValidationException",
                400,
                "INVALID_SNAPSHOT_ID",
                Permanent,
                Refused,
            ),
            (
                "RequestThrottledException",
                400,
                "ACCOUNT_THROTTLED",
                NotDone,
                Throttled,
            ),
            (
                "RequestThrottledException",
                400,
                "RESOURCE_LEVEL_THROTTLE",
                NotDone,
                Throttled,
            ),
            ("ThrottlingException", 400, "", NotDone, Throttled),
            ("ServiceQuotaExceededException", 402, "", NotDone, Throttled),
            ("InternalServerException", 500, "", Transient, Refused),
            ("Error", 503, "", Transient, Refused),
            (
                "AccessDeniedException",
                403,
                "UNAUTHORIZED_ACCOUNT",
                Permanent,
                Refused,
            ),
            ("ConflictException", 409, "", Permanent, Refused),
            (
                "ResourceNotFoundException",
                404,
                "SNAPSHOT_NOT_FOUND",
                Permanent,
                Refused,
            ),
        ] {
            let refusal = refusal(code, status, Some(reason).filter(|r| !r.is_empty()), "no");
            let judged = (refusal.verdict(1, false), refusal.outcome());
            assert_eq!(judged, (verdict, outcome), "{code} {reason}");
        }
        let message = "Failed to read block data";
        let unread = refusal("ValidationException", 400, None, message);
        assert_eq!(unread.verdict(1, false), Transient);
        let unknown = refusal("ResourceNotFoundException", 404, None, "no");
        assert_eq!(unknown.verdict(1, true), NotDone);
        let grant = refusal(
            "ResourceNotFoundException",
            404,
            Some("GRANT_NOT_FOUND"),
            "no",
        );
        assert_eq!(grant.verdict(1, true), Permanent);
        assert_eq!(Refusal::late().outcome(), Outcome::Lost);
        assert_eq!(Refusal::late().verdict(1, false), Transient);
    }

    #[test]
    fn an_error_names_operation_code_and_reason() {
        let refused = refusal("ValidationException", 400, Some("INVALID_TAG"), "a bad tag");
        assert_eq!(
            refused.explain("StartSnapshot").to_string(),
            "StartSnapshot: Server.ValidationException(400): a bad tag (INVALID_TAG)"
        );
    }
}
