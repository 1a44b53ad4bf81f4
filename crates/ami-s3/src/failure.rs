//! Making one clear [`Error`] of the many that the SDK has.

use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::ConnectorError;

use crate::credentials::root_cause;
use crate::error::{Error, hint};

/// The most bytes of an answer that is no XML which an error shows.
const MOST_TEXT: usize = 300;

/// What S3 says of an error.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) code: String,
    pub(crate) status: u16,
    pub(crate) message: String,
}

impl Answer {
    /// `code` and `message` are what the SDK has understood of `response`.
    pub(crate) fn new(code: Option<&str>, message: Option<&str>, response: &HttpResponse) -> Self {
        let status = response.status().as_u16();
        let message = message
            .map(str::to_owned)
            .unwrap_or_else(|| text_of(response));
        // A body that was not sent, as to HEAD, says nothing.
        let code = code.filter(|code| !code.is_empty()).unwrap_or("Error");
        Self {
            code: code.to_owned(),
            status,
            message,
        }
    }

    pub(crate) fn into_error(self, doing: &str) -> Error {
        Error::Service {
            doing: doing.to_owned(),
            hint: hint(&self.code, self.status),
            code: self.code,
            status: self.status,
            message: self.message,
        }
    }
}

/// The body of an answer that is no error document, as far as it is text.
fn text_of(response: &HttpResponse) -> String {
    let bytes = response.body().bytes().unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(MOST_TEXT)])
        .trim()
        .to_owned();
    if !text.is_empty() {
        return text;
    }
    match response.status().as_u16() {
        403 => "access denied".to_owned(),
        404 => "not found".to_owned(),
        _ => "the server gave no reason".to_owned(),
    }
}

/// The SDK's error, told.
pub(crate) fn explain<E>(doing: &str, error: SdkError<E, HttpResponse>) -> Error
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    let network = |reason: String, hint| Error::Network {
        doing: doing.to_owned(),
        reason,
        hint,
    };
    match error {
        SdkError::ServiceError(context) => {
            Answer::new(context.err().code(), context.err().message(), context.raw())
                .into_error(doing)
        }
        SdkError::ResponseError(context) => {
            Answer::new(None, None, context.raw()).into_error(doing)
        }
        SdkError::DispatchFailure(failure) => match failure.as_connector_error() {
            Some(error) => network(
                connection_problem(error),
                "; check the network, the region and --url",
            ),
            None => network("the request could not be sent".to_owned(), ""),
        },
        SdkError::TimeoutError(_) => network(
            "no answer in time".to_owned(),
            "; try again, or with --retry",
        ),
        error => network(root_cause(&error), ""),
    }
}

/// What was wrong with a connection, with the innermost reason.
pub(crate) fn connection_problem(error: &ConnectorError) -> String {
    let cause = root_cause(error);
    if error.is_timeout() {
        format!("no answer in time ({cause})")
    } else {
        cause
    }
}
