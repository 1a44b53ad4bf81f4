//! What a service says of an error, and what else is in the way: the SDK has many forms of both.

use ami_http::TooMuch;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::{ConnectorError, SdkError};
use aws_smithy_types::error::metadata::ProvideErrorMetadata;

/// The most bytes of an answer that is no XML which an error shows.
const MOST_TEXT: usize = 300;

/// The most bytes that an error shows of the service's own words, and of its name for the error.
const MOST_WORDS: usize = 1000;
const MOST_CODE: usize = 100;

/// What a service says of an error.
#[derive(Debug, Clone)]
pub struct ServiceError {
    /// Its name for the error, or `Error` where it gave none.
    pub code: String,
    /// HTTP's status.
    pub status: u16,
    /// Its own words.
    pub message: String,
}

impl ServiceError {
    /// `code` and `message` are what the SDK has understood of `response`.
    pub fn new(code: Option<&str>, message: Option<&str>, response: &HttpResponse) -> Self {
        let status = response.status().as_u16();
        let message = match message {
            Some(message) => begin(message, MOST_WORDS),
            None => text_of(response),
        };
        // A body that was not sent, as to HEAD, says nothing.
        let code = code.filter(|code| !code.is_empty()).unwrap_or("Error");
        Self {
            code: begin(code, MOST_CODE),
            status,
            message,
        }
    }
}

/// The first bytes of a text, up to the end of a letter.
fn begin(text: &str, most: usize) -> String {
    match text.floor_char_boundary(most) {
        end if end < text.len() => format!("{}…", &text[..end]),
        _ => text.to_owned(),
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

/// Why a request did not succeed.
#[derive(Debug, Clone)]
pub enum RequestError {
    /// The service refused, or failed.
    Service(ServiceError),
    /// There was no way to it, or back.
    Connection(String),
    /// Nothing came for too long.
    Timeout,
    /// Something else: the reason.
    Other(String),
}

impl<E> From<SdkError<E, HttpResponse>> for RequestError
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    fn from(error: SdkError<E, HttpResponse>) -> Self {
        let unread = unread(&error);
        match error {
            SdkError::ServiceError(context) => {
                let (code, message) = (context.err().code(), context.err().message());
                Self::Service(ServiceError::new(code, message, context.raw()))
            }
            SdkError::ResponseError(context) => {
                let response = context.raw();
                match unread {
                    Some(reason) if response.status().is_success() => Self::Other(reason),
                    unread => Self::Service(ServiceError::new(None, unread.as_deref(), response)),
                }
            }
            SdkError::DispatchFailure(failure) => match failure.as_connector_error() {
                Some(error) => Self::Connection(connection_problem(error)),
                None => Self::Other("the request could not be sent".to_owned()),
            },
            SdkError::TimeoutError(_) => Self::Timeout,
            error => Self::Other(root_cause(&error)),
        }
    }
}

/// Why an answer was not read to its end, if that is what went wrong.
fn unread(error: &(dyn std::error::Error + 'static)) -> Option<String> {
    causes(error).find_map(|error| error.downcast_ref::<TooMuch>().map(ToString::to_string))
}

/// What was wrong with a connection, with the innermost reason.
pub fn connection_problem(error: &ConnectorError) -> String {
    let cause = root_cause(error);
    if error.is_timeout() {
        format!("no answer in time ({cause})")
    } else {
        cause
    }
}

/// The innermost reason: the layers above it only repeat that something failed.
pub fn root_cause(error: &(dyn std::error::Error + 'static)) -> String {
    causes(error)
        .last()
        .map(ToString::to_string)
        .unwrap_or_default()
}

/// An error, and what is behind it.
fn causes<'a>(
    error: &'a (dyn std::error::Error + 'static),
) -> impl Iterator<Item = &'a (dyn std::error::Error + 'static)> {
    std::iter::successors(Some(error), |error| error.source())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finding_10_the_words_of_a_service_are_cut() {
        assert_eq!(begin("short", 5), "short");
        assert_eq!(begin("longer", 5), "longe…");
        assert_eq!(begin("äöü", 3), "ä…");
    }
}
