//! Downloads one document over HTTPS, with the TLS roots and proxies that requests to AWS use.

use std::pin::Pin;
use std::time::Duration;

use aws_smithy_runtime_api::client::http::{HttpConnector, HttpConnectorSettings};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use http_body::Body;

use crate::error::Error;
use crate::http;
use crate::service_error::root_cause;

/// The time-outs of the connection, and of the beginning of the answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// How long the whole download may take.
const DEADLINE: Duration = Duration::from_secs(600);

/// The limit on redirects.
const MOST_REDIRECTS: usize = 5;

/// Why a document could not be downloaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DocumentError {
    /// TLS cannot be set up.
    #[error(transparent)]
    Client(#[from] Error),
    /// The server answered with this status.
    #[error("the server answered {0}")]
    Status(u16),
    /// It is larger than allowed.
    #[error("it has more than {0} bytes")]
    TooLong(u64),
    /// It did not come in time.
    #[error("it took more than {} s", .0.as_secs())]
    Late(Duration),
    /// A redirect that is not followed.
    #[error("the server redirects elsewhere ({0})")]
    Redirect(String),
    /// The connection failed.
    #[error("{0}")]
    Connection(String),
}

/// Downloads the document at `url`, an `https:` URL. It may have at most `most` bytes.
///
/// # Errors
/// Says why it could not be downloaded.
pub async fn document(url: &str, most: u64) -> Result<Vec<u8>, DocumentError> {
    let settings = HttpConnectorSettings::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .read_timeout(READ_TIMEOUT)
        .build();
    let connector = http::connector(Some(&settings), None, http::tls_context()?);
    let all = async {
        let mut url = url.to_owned();
        for _ in 0..MOST_REDIRECTS {
            let answer = get(&connector, &url).await?;
            let status = answer.status().as_u16();
            match status {
                200 => return body(answer, most).await,
                301 | 302 | 303 | 307 | 308 => {
                    let location = answer.headers().get("location");
                    // AWS's redirects are never relative.
                    let location = location.unwrap_or_default();
                    if !location.starts_with("https://") {
                        return Err(DocumentError::Redirect(location.to_owned()));
                    }
                    url = location.to_owned();
                }
                _ => return Err(DocumentError::Status(status)),
            }
        }
        Err(DocumentError::Redirect(url))
    };
    match tokio::time::timeout(DEADLINE, all).await {
        Ok(document) => document,
        Err(_) => Err(DocumentError::Late(DEADLINE)),
    }
}

async fn get(connector: &impl HttpConnector, url: &str) -> Result<HttpResponse, DocumentError> {
    let connection =
        |error: &(dyn std::error::Error + 'static)| DocumentError::Connection(root_cause(error));
    let request = HttpRequest::get(url).map_err(|error| connection(&error))?;
    let answer = connector.call(request).await;
    answer.map_err(|error| connection(&error))
}

async fn body(answer: HttpResponse, most: u64) -> Result<Vec<u8>, DocumentError> {
    let mut body = answer.into_body();
    let mut bytes = Vec::new();
    while let Some(frame) = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        let frame = frame.map_err(|error| DocumentError::Connection(root_cause(&*error)))?;
        let data = frame.into_data().unwrap_or_default();
        if (bytes.len() + data.len()) as u64 > most {
            return Err(DocumentError::TooLong(most));
        }
        bytes.extend_from_slice(&data);
    }
    Ok(bytes)
}
