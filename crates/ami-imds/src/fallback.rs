//! IMDSv1 for the SDK's client, which knows only version 2, and errors where the HTTP client would panic.
//!
//! If the service gives no token (it does not know the request, or the hop limit keeps the answer from a container), the SDK gets a
//! placeholder, which is removed from its requests: they are then version 1. A token without a lifetime gets the one that was asked for.

use std::net::IpAddr;
use std::time::Duration;

use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient,
    SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_runtime_api::http::StatusCode;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::byte_stream::ByteStream;
use tracing::debug;

use crate::start::start;

/// EC2 user guide, "Use IMDSv2".
const TOKEN: &str = "x-aws-ec2-metadata-token";
const TTL: &str = "x-aws-ec2-metadata-token-ttl-seconds";

/// Six hours, the longest that a token lives.
const LONGEST: Duration = Duration::from_secs(6 * 3600);

/// Where the service names the instance's role (EC2 user guide, "Retrieve security credentials from instance metadata"). The SDK makes a
/// URL of that name, and panics if it cannot. The credentials are below this path.
const ROLE: &str = "/iam/security-credentials";

const MADE_UP: &str = "imdsv1";

#[derive(Debug)]
pub(crate) struct Fallback(SharedHttpClient);

impl Fallback {
    pub(crate) fn new(client: SharedHttpClient) -> Self {
        Self(client)
    }
}

impl HttpClient for Fallback {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        let connector = self.0.http_connector(settings, components);
        SharedHttpConnector::new(FallbackConnector(connector))
    }
}

#[derive(Debug)]
struct FallbackConnector(SharedHttpConnector);

impl HttpConnector for FallbackConnector {
    fn call(&self, mut request: HttpRequest) -> HttpConnectorFuture {
        let connector = self.0.clone();
        if request.method() == "PUT" {
            return HttpConnectorFuture::new(async move {
                prepare(request.uri()).await?;
                match connector.call(request).await {
                    Ok(response) if response.status().is_success() => with_lifetime(response).await,
                    Ok(response) if has_no_tokens(response.status()) => {
                        let status = response.status().as_u16();
                        debug!(status, "no IMDSv2 token: using IMDSv1");
                        token(MADE_UP, LONGEST)
                    }
                    Err(error) if error.is_timeout() => {
                        debug!("no answer with an IMDSv2 token: using IMDSv1");
                        token(MADE_UP, LONGEST)
                    }
                    result => result,
                }
            });
        }
        if request.headers().get(TOKEN) == Some(MADE_UP) {
            let _ = request.headers_mut().remove(TOKEN);
        }
        let is_role = request.uri().contains(ROLE) && request.uri().ends_with('/');
        HttpConnectorFuture::new(async move {
            prepare(request.uri()).await?;
            let answer = connector.call(request).await?;
            match is_role {
                true => role(answer).await,
                false => Ok(answer),
            }
        })
    }
}

/// Gets the thread on which the HTTP client looks up a host's name. tokio panics if it gets none, unless it has one already. The
/// service's usual address needs no lookup.
async fn prepare(uri: &str) -> Result<(), ConnectorError> {
    let cannot = |error: std::io::Error| ConnectorError::other(error.into(), None);
    if has_address(uri) {
        return Ok(());
    }
    let thread = start(|| Ok(tokio::task::spawn_blocking(|| ()))).map_err(cannot)?;
    thread.await.map_err(|error| cannot(error.into()))
}

/// Whether a URI names its host by an IP address.
fn has_address(uri: &str) -> bool {
    let rest = uri.split_once("://").map_or(uri, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host,
        _ => authority,
    };
    let version_6 = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
    version_6.unwrap_or(host).parse::<IpAddr>().is_ok()
}

/// Forbidden (metadata options), not found, method not allowed or not implemented (services that know only version 1), and every other
/// error that is permanent.
fn has_no_tokens(status: StatusCode) -> bool {
    status.is_client_error() || status.as_u16() == 501
}

/// Trims the name of a role. Any other text becomes "not found".
async fn role(response: HttpResponse) -> Result<HttpResponse, ConnectorError> {
    if !response.status().is_success() {
        return Ok(response);
    }
    let body = ByteStream::new(response.into_body()).collect().await;
    let bytes = body
        .map_err(|error| ConnectorError::io(error.into()))?
        .into_bytes();
    match std::str::from_utf8(&bytes).map(str::trim) {
        Ok(text) if is_role(text) => answer(200, text),
        _ => {
            debug!("the answer is not the name of a role");
            answer(404, "")
        }
    }
}

/// IAM user guide, "IAM and AWS STS quotas": letters, digits and `+=,.@_-`.
fn is_role(text: &str) -> bool {
    let is_fit = |b: u8| b.is_ascii_alphanumeric() || b"+=,.@_-".contains(&b);
    !text.is_empty() && text.bytes().all(is_fit)
}

fn answer(status: u16, text: &str) -> Result<HttpResponse, ConnectorError> {
    let status = StatusCode::try_from(status).map_err(|e| ConnectorError::other(e.into(), None))?;
    Ok(HttpResponse::new(status, SdkBody::from(text)))
}

async fn with_lifetime(response: HttpResponse) -> Result<HttpResponse, ConnectorError> {
    let lifetime = response.headers().get(TTL);
    let lifetime = lifetime.and_then(|seconds| seconds.trim().parse().ok());
    let lifetime = lifetime.map_or(LONGEST, Duration::from_secs);
    let body = ByteStream::new(response.into_body()).collect().await;
    let text = body.map(|bytes| bytes.into_bytes()).unwrap_or_default();
    match std::str::from_utf8(&text).map(str::trim) {
        Ok(text) if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic()) => {
            token(text, lifetime)
        }
        _ => {
            debug!("the answer is not an IMDSv2 token: using IMDSv1");
            token(MADE_UP, LONGEST)
        }
    }
}

fn token(text: &str, lifetime: Duration) -> Result<HttpResponse, ConnectorError> {
    let mut response = answer(200, text)?;
    let seconds = lifetime.as_secs().to_string();
    let _ = response.headers_mut().insert(TTL, seconds);
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_told_from_names() {
        for uri in [
            "http://169.254.169.254/latest/api/token",
            "http://127.0.0.1:1338",
            "http://[fd00:ec2::254]/latest/",
            "http://[::1]:80/",
        ] {
            assert!(has_address(uri), "{uri}");
        }
        for uri in [
            "http://localhost/",
            "http://localhost:1338/latest/",
            "http://1.2.3.4.example:80",
            "http://name@127.0.0.1/",
            "/latest/",
            "",
        ] {
            assert!(!has_address(uri), "{uri}");
        }
    }

    #[test]
    fn a_page_is_not_the_name_of_a_role() {
        for text in ["role", "A-Role_1+=,.@x"] {
            assert!(is_role(text), "{text}");
        }
        for text in ["", "<html>", "a b", "a/b", "one\ntwo", "r\u{f6}le"] {
            assert!(!is_role(text), "{text}");
        }
    }
}
