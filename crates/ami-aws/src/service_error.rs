//! Why a request failed: the service's error, or anything else. The SDK has many types for both.

use std::error::Error;
use std::time::{Duration, SystemTime};

use ami_http::TooMuch;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::{ConnectorError, SdkError};
use aws_smithy_types::date_time::{DateTime, Format};
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use hyper_util::client::legacy::Error as ClientError;

/// How many bytes of an answer that is not an error document are shown.
const MOST_TEXT: usize = 300;

/// How many bytes of the service's message, and of its code, are shown.
const MOST_WORDS: usize = 1000;
const MOST_CODE: usize = 100;

/// The code of an answer without one.
const NO_CODE: &str = "Error";

/// A larger difference of the clocks explains a refused signature (as in the SDK's crate `aws-runtime`, `SKEW_DETECTION_THRESHOLD`).
const MOST_SKEW: Duration = Duration::from_secs(4 * 60);

/// An error returned by a service.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("Server.{code}({status}): {message}")]
pub struct ServiceError {
    /// The service's error code, or `Error` if it gives none.
    pub code: String,
    /// The HTTP status.
    pub status: u16,
    /// The service's message.
    pub message: String,
    /// How long the service asks to wait before another try.
    pub retry_after: Option<Duration>,
    /// Whether this machine's clock and the service's differ by more than four minutes.
    pub clock_is_off: bool,
}

impl ServiceError {
    /// `code` and `message` are what the SDK parsed from `response`.
    pub fn new(code: Option<&str>, message: Option<&str>, response: &HttpResponse) -> Self {
        let status = response.status().as_u16();
        let message = match message {
            Some(message) => begin(message, MOST_WORDS),
            None => text_of(response),
        };
        // Answers to HEAD, for example, have no body, and so no code.
        let code = code.filter(|code| !code.is_empty()).unwrap_or(NO_CODE);
        Self {
            code: begin(code, MOST_CODE),
            status,
            message,
            retry_after: retry_after(response),
            clock_is_off: clock_is_off(response, SystemTime::now()),
        }
    }

    /// The error of one item in an answer that succeeds as a whole.
    pub fn of_item(code: Option<&str>, message: Option<&str>) -> Self {
        Self {
            code: begin(code.unwrap_or(NO_CODE), MOST_CODE),
            status: 200,
            message: begin(message.unwrap_or_default(), MOST_WORDS),
            retry_after: None,
            clock_is_off: false,
        }
    }

    /// Whether the service gave no code.
    pub(crate) fn has_no_code(&self) -> bool {
        self.code == NO_CODE
    }
}

/// At most `most` bytes from the beginning of a text, in whole characters.
fn begin(text: &str, most: usize) -> String {
    match text.floor_char_boundary(most) {
        end if end < text.len() => format!("{}…", &text[..end]),
        _ => text.to_owned(),
    }
}

/// The beginning of the body of an answer that is not an error document, if it is text.
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

/// `x-amz-retry-after` is in milliseconds (the SDK's crate `aws-runtime`), `Retry-After` in seconds or a date (RFC 9110, section 10.2.3).
fn retry_after(response: &HttpResponse) -> Option<Duration> {
    let number = |name| response.headers().get(name)?.trim().parse().ok();
    let precise = number("x-amz-retry-after").map(Duration::from_millis);
    precise.or_else(|| number("retry-after").map(Duration::from_secs))
}

/// Compares `now` with the answer's `Date`.
fn clock_is_off(response: &HttpResponse, now: SystemTime) -> bool {
    let date = response.headers().get("date");
    let date = date.and_then(|date| DateTime::from_str(date, Format::HttpDate).ok());
    let Some(theirs) = date.and_then(|date| SystemTime::try_from(date).ok()) else {
        return false;
    };
    let difference = theirs.duration_since(now);
    difference.unwrap_or_else(|earlier| earlier.duration()) > MOST_SKEW
}

/// Why a request failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// The service returned an error.
    #[error(transparent)]
    Service(ServiceError),
    /// No connection could be made, so the service has not seen the request.
    #[error("{0}")]
    Unreached(String),
    /// The connection broke, or no answer came in time. The service may have carried out the request.
    #[error("{0}")]
    Lost(String),
    /// The answer could not be understood, for example because it is not HTTP.
    #[error("{0}")]
    Protocol(String),
    /// The answer is larger or slower than any of the service's.
    #[error("{0}")]
    Unread(String),
    /// No answer came in time.
    #[error("no answer in time")]
    Timeout,
    /// All tries together took too long.
    #[error("not done within {} s", .0.as_secs())]
    Deadline(Duration),
    /// Anything else, with the reason.
    #[error("{0}")]
    Other(String),
}

impl<E> From<SdkError<E, HttpResponse>> for RequestError
where
    E: ProvideErrorMetadata + Error + 'static,
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
                    Some(reason) if response.status().is_success() => Self::Unread(reason),
                    unread => Self::Service(ServiceError::new(None, unread.as_deref(), response)),
                }
            }
            SdkError::DispatchFailure(failure) => match failure.as_connector_error() {
                Some(error) => of_connection(error),
                None => Self::Other("the request could not be sent".to_owned()),
            },
            SdkError::TimeoutError(_) => Self::Timeout,
            error => Self::Other(root_cause(&error)),
        }
    }
}

/// Why an answer was not read to its end, if that is the error.
fn unread(error: &(dyn Error + 'static)) -> Option<String> {
    causes(error).find_map(|error| error.downcast_ref::<TooMuch>().map(ToString::to_string))
}

/// The kind of a connection's error, with the innermost reason.
fn of_connection(error: &ConnectorError) -> RequestError {
    let reason = root_cause(error);
    let reason = match error.is_timeout() {
        true => format!("no answer in time ({reason})"),
        false => reason,
    };
    let is_connect = |error: &ClientError| error.is_connect();
    if causes(error).any(|error| error.downcast_ref().is_some_and(is_connect)) {
        RequestError::Unreached(reason)
    } else if error.is_timeout() || error.is_io() || error.as_other().is_some() {
        RequestError::Lost(reason)
    } else {
        RequestError::Protocol(reason)
    }
}

/// The innermost reason: the layers above it only repeat that something failed.
pub fn root_cause(error: &(dyn Error + 'static)) -> String {
    causes(error)
        .last()
        .map(ToString::to_string)
        .unwrap_or_default()
}

/// An error and its sources.
fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_smithy_types::body::SdkBody;

    fn answer(headers: &[(&'static str, &'static str)]) -> HttpResponse {
        let mut response = HttpResponse::new(503.try_into().unwrap(), SdkBody::empty());
        for (name, value) in headers {
            let _ = response.headers_mut().insert(*name, *value);
        }
        response
    }

    #[test]
    fn finding_10_long_texts_of_a_service_are_cut() {
        assert_eq!(begin("short", 5), "short");
        assert_eq!(begin("longer", 5), "longe…");
        assert_eq!(begin("äöü", 3), "ä…");
    }

    #[test]
    fn a_service_may_ask_to_wait() {
        let asked = |headers: &[_]| retry_after(&answer(headers));
        assert_eq!(asked(&[]), None);
        assert_eq!(
            asked(&[("x-amz-retry-after", "1500"), ("retry-after", "9")]),
            Some(Duration::from_millis(1500))
        );
        assert_eq!(
            asked(&[("Retry-After", " 9 ")]),
            Some(Duration::from_secs(9))
        );
        assert_eq!(
            asked(&[("Retry-After", "Wed, 21 Oct 2015 07:28:00 GMT")]),
            None
        );
    }

    #[test]
    fn clocks_differ_by_more_than_four_minutes() {
        let is_off = |date, now| {
            let now = SystemTime::UNIX_EPOCH + Duration::from_secs(now);
            clock_is_off(&answer(&[("date", date)]), now)
        };
        // 1 January 1970, 00:10:00.
        let date = "Thu, 01 Jan 1970 00:10:00 GMT";
        assert_eq!(
            [300, 360, 600, 840, 900].map(|now| is_off(date, now)),
            [true, false, false, false, true]
        );
        assert!(!is_off("yesterday", 0));
        assert!(!clock_is_off(&answer(&[]), SystemTime::now()));
    }
}
