//! The client.

use std::time::Duration;

use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient,
    SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;

use crate::body::Body;

/// The most bytes of an error. AWS's have hundreds, a proxy's page has thousands.
const MOST_OF_ERROR: u64 = 64 << 10;

/// How long an answer that is read into memory may take after its head.
const LONGEST: Duration = Duration::from_secs(60);

/// An HTTP client that limits answers: errors to 64 KiB, others as its constructor says, and all that are limited to a minute.
#[derive(Debug)]
pub struct Limited {
    inner: SharedHttpClient,
    most: Option<u64>,
}

impl Limited {
    /// Limits answers to `most` bytes.
    pub fn answers(inner: SharedHttpClient, most: u64) -> SharedHttpClient {
        let most = Some(most);
        SharedHttpClient::new(Self { inner, most })
    }

    /// Limits only errors, for callers that stream answers.
    pub fn errors(inner: SharedHttpClient) -> SharedHttpClient {
        SharedHttpClient::new(Self { inner, most: None })
    }
}

impl HttpClient for Limited {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        SharedHttpConnector::new(LimitedConnector {
            inner: self.inner.http_connector(settings, components),
            most: self.most,
        })
    }
}

#[derive(Debug)]
struct LimitedConnector {
    inner: SharedHttpConnector,
    most: Option<u64>,
}

impl HttpConnector for LimitedConnector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let (answer, most) = (self.inner.call(request), self.most);
        HttpConnectorFuture::new(async move {
            let mut answer = answer.await?;
            let most = if answer.status().is_success() {
                most
            } else {
                Some(MOST_OF_ERROR)
            };
            if let Some(most) = most {
                let inner = std::mem::replace(answer.body_mut(), SdkBody::taken());
                let body = Body::new(inner, most, tokio::time::sleep(LONGEST), LONGEST);
                *answer.body_mut() = SdkBody::from_body_1_x(body);
            }
            Ok(answer)
        })
    }
}
