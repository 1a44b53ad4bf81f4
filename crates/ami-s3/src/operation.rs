//! Operations on a bucket: each consists of tries, and each try is one of the SDK's requests, sent to wherever the bucket is.

use std::error::Error as StdError;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use ami_aws::{Ended, Failed, Policy, RequestError, ServiceError, Verdict, verdict};
use aws_sdk_s3::Client;
use aws_sdk_s3::client::customize::CustomizableOperation;
use aws_sdk_s3::config::Builder;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use tracing::debug;

use crate::connection::Bucket;
use crate::error::Error;
use crate::event::Event;
use crate::redirect::{Redirect, redirect_of};
use crate::watch::{Moved, Watch};

/// The most redirects that one operation follows.
const MOST_REDIRECTS: u32 = 5;

/// How long an answer may take, besides the time for its bytes.
const ANSWER: Duration = Duration::from_secs(30);

/// The slowest transfer (bytes a second) that deadlines allow.
const SLOWEST: u64 = 100_000;

/// How long all waits between tries may take.
const WAITS: Duration = Duration::from_secs(60);

/// The longest first wait, and the longest wait.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(20);

/// Every answer of AWS about a bucket, even a refusal, names the bucket's region here (S3 API reference, "HeadBucket").
const REGION_HEADER: &str = "x-amz-bucket-region";

/// The policy of an operation with this many tries that transfers `size` bytes.
fn policy(tries: u32, size: u64) -> Policy {
    // Rounded, because only requests with the same time-outs share connections.
    let transfer = (size / SLOWEST).checked_next_power_of_two().unwrap_or(0);
    let attempt = ANSWER + Duration::from_secs(transfer);
    Policy {
        tries,
        attempt,
        total: attempt * tries + WAITS,
        first_wait: FIRST_WAIT,
        longest_wait: LONGEST_WAIT,
    }
}

/// S3's own transient errors (S3 API reference, "Error responses"): somebody else is changing the bucket, or bytes were lost or changed
/// in transit.
pub(crate) fn own_verdict(error: &ServiceError) -> Option<Verdict> {
    let is_own = matches!(
        error.code.as_str(),
        "OperationAborted" | "BadDigest" | "IncompleteBody"
    );
    is_own.then_some(Verdict::Transient)
}

/// One try of an operation.
pub(crate) struct Attempt {
    pub(crate) client: Client,
    /// Counts the bytes that it transfers.
    pub(crate) moved: Arc<Moved>,
    /// The number of the try, from 1.
    pub(crate) number: u32,
    operation: String,
    policy: Policy,
    requester_pays: bool,
}

/// Why a try failed.
pub(crate) struct AttemptError {
    error: Box<Error>,
    verdict: Verdict,
    retry_after: Option<Duration>,
    /// Where the answer redirects to.
    redirect: Option<Redirect>,
    /// The bucket's region, if the answer names it.
    pub(crate) bucket_region: Option<String>,
}

impl From<Error> for AttemptError {
    fn from(error: Error) -> Self {
        Self {
            error: Box::new(error),
            verdict: Verdict::Permanent,
            retry_after: None,
            redirect: None,
            bucket_region: None,
        }
    }
}

impl AttemptError {
    /// The service's error for an item in an answer that succeeds as a whole.
    pub(crate) fn of_item(operation: String, error: ServiceError) -> Self {
        let error = RequestError::Service(error);
        Self {
            verdict: verdict(&error, own_verdict),
            ..Error::Request { operation, error }.into()
        }
    }

    /// The content that was received or stored is wrong; another try may succeed.
    pub(crate) fn of_content(operation: &str, reason: String) -> Self {
        let operation = operation.to_owned();
        Self {
            verdict: Verdict::Transient,
            ..Error::Content { operation, reason }.into()
        }
    }

    /// The error.
    pub(crate) fn error(&self) -> &Error {
        &self.error
    }
}

impl Attempt {
    /// This try's changes to the client's configuration.
    pub(crate) fn config(&self) -> Builder {
        Builder::new()
            .timeout_config(self.policy.timeouts())
            .retry_config(Policy::of_sdk())
    }

    /// Sends a request with that configuration; `send` is [`CustomizableOperation::send`], which has bounds that cannot be written here.
    pub(crate) async fn send<T, E, B, F>(
        &self,
        config: Builder,
        request: CustomizableOperation<T, E, B>,
        send: impl FnOnce(CustomizableOperation<T, E, B>) -> F,
    ) -> Result<T, AttemptError>
    where
        E: ProvideErrorMetadata + StdError + 'static,
        F: Future<Output = Result<T, SdkError<E, HttpResponse>>>,
    {
        let request = request.config_override(config).interceptor(Watch {
            moved: self.moved.clone(),
            requester_pays: self.requester_pays,
        });
        send(request).await.map_err(|error| self.explain(error))
    }

    fn explain<E>(&self, error: SdkError<E, HttpResponse>) -> AttemptError
    where
        E: ProvideErrorMetadata + StdError + 'static,
    {
        let response = error.raw_response();
        let redirect = response.and_then(redirect_of);
        let region = response.and_then(|response| response.headers().get(REGION_HEADER));
        let bucket_region = region.map(str::to_owned);
        let error = RequestError::from(error);
        let retry_after = match &error {
            RequestError::Service(error) => error.retry_after,
            _ => None,
        };
        AttemptError {
            verdict: verdict(&error, own_verdict),
            retry_after,
            redirect,
            bucket_region,
            error: Box::new(Error::Request {
                operation: self.operation.clone(),
                error,
            }),
        }
    }

    /// What the operation is called in errors.
    pub(crate) fn operation(&self) -> &str {
        &self.operation
    }
}

/// Sends the request of a fluent builder as part of an [`Attempt`].
macro_rules! send {
    ($attempt:expr, $request:expr) => {
        $crate::operation::send!($attempt, $attempt.config(), $request)
    };
    ($attempt:expr, $config:expr, $request:expr) => {
        $attempt.send(
            $config,
            $request.customize(),
            ::aws_sdk_s3::client::customize::CustomizableOperation::send,
        )
    };
}
pub(crate) use send;

impl Bucket {
    /// Performs one operation: up to five tries if the connection retries, following redirects, within one deadline.
    ///
    /// Errors begin with `operation`. `size` is the number of bytes to transfer.
    pub(crate) async fn perform<T, F>(
        &self,
        operation: &str,
        size: u64,
        try_once: impl Fn(Attempt) -> F,
    ) -> Result<T, Error>
    where
        F: Future<Output = Result<T, AttemptError>>,
    {
        let connection = self.connection();
        let policy = policy(connection.tries(), size);
        let redirects = AtomicU32::new(0);
        let (redirects, try_once, policy) = (&redirects, &try_once, &policy);
        let attempt = |number| async move {
            let routed = self.routed();
            let moved = Moved::new(connection.bytes_moved());
            let attempt = Attempt {
                client: routed.client.clone(),
                moved: moved.clone(),
                number,
                operation: operation.to_owned(),
                policy: *policy,
                requester_pays: connection.requester_pays(),
            };
            let failed = match try_once(attempt).await {
                Ok(value) => return Ok(value),
                Err(failed) => failed,
            };
            debug!("{}", failed.error);
            moved.undo();
            let AttemptError {
                error,
                mut verdict,
                retry_after,
                redirect,
                ..
            } = failed;
            let mut error = *error;
            if let Some(redirect) = redirect
                && redirects.fetch_add(1, Ordering::Relaxed) < MOST_REDIRECTS
            {
                match self.follow(operation, &routed, redirect) {
                    Ok(()) => verdict = Verdict::Resolved,
                    Err(elsewhere) => (error, verdict) = (elsewhere, Verdict::Permanent),
                }
            }
            Err(Failed {
                error,
                verdict,
                retry_after,
            })
        };
        let retrying = |error: &Error, wait| {
            let reason = error.to_string();
            connection.tell(Event::Retrying { reason, wait });
        };
        // On the heap, because it would make the stories' futures large.
        let performing = Box::pin(connection.aws().perform(policy, attempt, retrying));
        performing.await.map_err(|ended| match ended {
            Ended::Failed(error) => error,
            Ended::Late(total) => Error::Request {
                operation: operation.to_owned(),
                error: RequestError::Deadline(total),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_deadline_of_an_operation_depends_on_its_bytes() {
        let seconds = |tries, size| {
            let policy = policy(tries, size);
            (policy.attempt.as_secs(), policy.total.as_secs())
        };
        assert_eq!(seconds(1, 0), (31, 91));
        assert_eq!(seconds(1, 10 << 20), (158, 218));
        assert_eq!(seconds(5, 10 << 20), (158, 850));
    }

    #[test]
    fn s3_has_transient_errors_of_its_own() {
        let judge = |code: &str| {
            let mut error = ServiceError::of_item(Some(code), None);
            error.status = 400;
            verdict(&RequestError::Service(error), own_verdict)
        };
        for code in ["OperationAborted", "BadDigest", "IncompleteBody"] {
            assert_eq!(judge(code), Verdict::Transient);
        }
        assert_eq!(judge("InvalidDigest"), Verdict::Permanent);
        assert_eq!(judge("SlowDown"), Verdict::NotDone);
    }
}
