//! Which errors are permanent and which are transient: one table for all services.

use aws_runtime::retries::classifiers::{THROTTLING_ERRORS, TRANSIENT_ERRORS};

use crate::service_error::{RequestError, ServiceError};

/// What a failed try means for the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Another try would fail as well.
    Permanent,
    /// Another try may succeed, but the service may have carried out the request already.
    Transient,
    /// Another try may succeed later. The service has not carried out the request.
    NotDone,
    /// The credentials have expired. If they can be renewed, the operation is repeated at once.
    Expired,
    /// The obstacle has been removed. The operation is repeated at once, without counting as a try.
    Resolved,
}

impl Verdict {
    /// The verdict for a request that must not be carried out twice: if it may have been, there is no other try.
    pub fn unless_done(self) -> Self {
        match self {
            Self::Transient => Self::Permanent,
            other => other,
        }
    }
}

/// Transient HTTP statuses (AWS SDKs and tools reference guide, "Retry behavior": transient errors).
const TRANSIENT_STATUSES: [u16; 4] = [500, 502, 503, 504];

/// RFC 6585, section 4: too many requests.
const THROTTLED_STATUS: u16 = 429;

/// Codes that are transient whatever the status: S3 can return them even with status 200 (S3 API reference, "CopyObject").
const TRANSIENT_CODES: [&str; 2] = ["InternalError", "ServiceUnavailable"];

/// Codes for expired credentials (S3 API reference and EC2 API reference, "Error codes").
const EXPIRED_CODES: [&str; 3] = ["ExpiredToken", "ExpiredTokenException", "RequestExpired"];

/// Codes that a wrong clock explains (the SDK's crate `aws-runtime`, `CLOCK_SKEW_ERROR_CODES`). The SDK signs the next request with the
/// service's time.
const CLOCK_CODES: [&str; 5] = [
    "RequestTimeTooSkewed",
    "SignatureDoesNotMatch",
    "AuthFailure",
    "InvalidSignatureException",
    "AccessDeniedException",
];

/// What an error means for the next try. `own` returns a service's own verdict, which takes precedence over the table.
pub fn verdict(error: &RequestError, own: impl Fn(&ServiceError) -> Option<Verdict>) -> Verdict {
    match error {
        RequestError::Service(error) => own(error).unwrap_or_else(|| of_service(error)),
        RequestError::Unreached(_) => Verdict::NotDone,
        RequestError::Lost(_) | RequestError::Unread(_) | RequestError::Timeout => {
            Verdict::Transient
        }
        RequestError::Protocol(_) | RequestError::Deadline(_) | RequestError::Other(_) => {
            Verdict::Permanent
        }
    }
}

fn of_service(error: &ServiceError) -> Verdict {
    let (code, status) = (error.code.as_str(), error.status);
    // A successful answer that cannot be parsed.
    let is_unclear = (200..300).contains(&status) && error.has_no_code();
    if THROTTLING_ERRORS.contains(&code) || status == THROTTLED_STATUS {
        Verdict::NotDone
    } else if EXPIRED_CODES.contains(&code) {
        Verdict::Expired
    } else if is_unclear
        || TRANSIENT_STATUSES.contains(&status)
        || TRANSIENT_ERRORS.contains(&code)
        || TRANSIENT_CODES.contains(&code)
        || (error.clock_is_off && CLOCK_CODES.contains(&code))
    {
        Verdict::Transient
    } else {
        Verdict::Permanent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(code: &str, status: u16) -> RequestError {
        let mut error = ServiceError::of_item(Some(code), None);
        error.status = status;
        RequestError::Service(error)
    }

    #[test]
    fn errors_are_judged_by_code_and_status() {
        let judge = |error: &RequestError| verdict(error, |_| None);
        for (code, status, expected) in [
            ("SlowDown", 503, Verdict::NotDone),
            ("RequestLimitExceeded", 503, Verdict::NotDone),
            ("RequestThrottledException", 400, Verdict::NotDone),
            ("ThrottlingException", 400, Verdict::NotDone),
            ("Error", 429, Verdict::NotDone),
            ("InternalError", 500, Verdict::Transient),
            ("InternalError", 200, Verdict::Transient),
            ("ServiceUnavailable", 200, Verdict::Transient),
            ("Error", 502, Verdict::Transient),
            ("Error", 504, Verdict::Transient),
            ("Error", 200, Verdict::Transient),
            ("RequestTimeout", 400, Verdict::Transient),
            ("ExpiredToken", 400, Verdict::Expired),
            ("RequestExpired", 400, Verdict::Expired),
            ("RequestTimeTooSkewed", 403, Verdict::Permanent),
            ("AccessDenied", 403, Verdict::Permanent),
            ("AccessDenied", 200, Verdict::Permanent),
            ("NotImplemented", 501, Verdict::Permanent),
            ("NoSuchKey", 404, Verdict::Permanent),
        ] {
            assert_eq!(judge(&error(code, status)), expected, "{code} {status}");
        }
        for (error, expected) in [
            (RequestError::Unreached("r".into()), Verdict::NotDone),
            (RequestError::Lost("r".into()), Verdict::Transient),
            (RequestError::Timeout, Verdict::Transient),
            (RequestError::Protocol("r".into()), Verdict::Permanent),
        ] {
            assert_eq!(judge(&error), expected);
        }
    }

    #[test]
    fn a_wrong_clock_explains_a_refused_signature() {
        let mut error = ServiceError::of_item(Some("SignatureDoesNotMatch"), None);
        error.clock_is_off = true;
        error.status = 403;
        assert_eq!(of_service(&error), Verdict::Transient);
    }

    #[test]
    fn a_services_own_verdict_takes_precedence() {
        // EBS: a new snapshot is unknown for a while.
        let own = |error: &ServiceError| {
            (error.code == "ResourceNotFoundException").then_some(Verdict::NotDone)
        };
        let unknown = error("ResourceNotFoundException", 404);
        assert_eq!(verdict(&unknown, own), Verdict::NotDone);
        assert_eq!(verdict(&unknown, |_| None), Verdict::Permanent);
        assert_eq!(
            verdict(&error("AccessDeniedException", 403), own),
            Verdict::Permanent
        );
    }

    #[test]
    fn a_request_that_may_have_been_carried_out_is_not_repeated() {
        assert_eq!(Verdict::Transient.unless_done(), Verdict::Permanent);
        assert_eq!(Verdict::NotDone.unless_done(), Verdict::NotDone);
        assert_eq!(Verdict::Expired.unless_done(), Verdict::Expired);
    }
}
