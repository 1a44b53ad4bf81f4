//! Requests of AWS's RPC protocols, Query and JSON: a signed POST of `/`, whose answer is read as a whole.
//!
//! The AWS SDK for Rust signs and sends (its crates `aws-runtime` and `aws-smithy-runtime`), [`Aws::perform`] tries again. The SDK's own
//! clients of services have every action of theirs, and take long to compile; that of EC2 takes gigabytes of memory, too.

use std::fmt;

use aws_runtime::auth::sigv4::{SCHEME_ID, SigV4AuthScheme};
use aws_runtime::auth::{SigV4OperationSigningConfig, SigningOptions};
use aws_runtime::service_clock_skew::ServiceClockSkewInterceptor;
use aws_runtime::user_agent::{ApiMetadata, UserAgentInterceptor};
use aws_runtime::{invocation_id::InvocationIdInterceptor, request_info::RequestInfoInterceptor};
use aws_smithy_runtime::client::orchestrator::operation::Operation;
use aws_smithy_runtime::client::retries::classifiers::{
    HttpStatusCodeClassifier, TransientErrorClassifier,
};
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::auth::AuthSchemeOptionResolverParams;
use aws_smithy_runtime_api::client::auth::static_resolver::StaticAuthSchemeOptionResolver;
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse, OrchestratorError};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponentsBuilder;
use aws_smithy_runtime_api::client::runtime_plugin::StaticRuntimePlugin;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::config_bag::Layer;
use aws_smithy_types::error::ErrorMetadata;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use aws_types::SigningName;
use aws_types::app_name::AppName;
use aws_types::region::{Region, SigningRegion};
use tracing::debug;

use crate::APP_NAME;
use crate::aws::Aws;
use crate::retry::{Ended, Failed, Policy};
use crate::service::Service;
use crate::service_error::RequestError;
use crate::verdict::verdict;

/// A service in one region, and how it is asked.
pub struct Rpc<'a> {
    /// Credentials, HTTP and retries.
    pub aws: &'a Aws,
    /// The service.
    pub service: Service,
    /// For which region requests are signed.
    pub region: &'a str,
    /// Where it is asked.
    pub url: &'a str,
    /// How often, and how long.
    pub policy: Policy,
}

/// A request.
pub struct Call<T> {
    /// The action's name.
    pub action: &'static str,
    /// Headers: the body's type, and what else the protocol has.
    pub headers: Vec<(&'static str, &'static str)>,
    /// The body.
    pub body: String,
    /// Whether it does no harm to perform it twice: where an answer is lost, it may have been performed.
    pub is_repeatable: bool,
    /// Reads an answer.
    pub read: fn(&[u8]) -> Result<T, BoxError>,
    /// Reads a refusal. What is none has no code, and is shown as it is.
    pub refusal: fn(&[u8]) -> Refused,
}

/// What a service says when it refuses.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Refused {
    /// Its code.
    pub code: Option<String>,
    /// Its message.
    pub message: Option<String>,
}

impl<T: fmt::Debug + Send + Sync + 'static> Call<T> {
    /// What reads its answer.
    fn reader(&self) -> impl Fn(&HttpResponse) -> Result<T, OrchestratorError<Refusal>> + use<T> {
        let (read, refusal) = (self.read, self.refusal);
        move |response| {
            let bytes = response.body().bytes().unwrap_or_default();
            if response.status().is_success() {
                return read(bytes).map_err(OrchestratorError::other);
            }
            Err(OrchestratorError::operation(refusal(bytes).into()))
        }
    }
}

/// A refusal, as the SDK takes it.
#[derive(Debug)]
struct Refusal(ErrorMetadata);

impl From<Refused> for Refusal {
    fn from(Refused { code, message }: Refused) -> Self {
        let mut builder = ErrorMetadata::builder();
        if let Some(code) = code {
            builder = builder.code(code);
        }
        if let Some(message) = message {
            builder = builder.message(message);
        }
        Self(builder.build())
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Refusal {}

impl ProvideErrorMetadata for Refusal {
    fn meta(&self) -> &ErrorMetadata {
        &self.0
    }
}

impl Rpc<'_> {
    /// Performs an action. What fails and may succeed is tried again, if that does no harm.
    ///
    /// # Errors
    /// The service's refusal; no answer, or none that can be read.
    pub async fn perform<T>(&self, call: &Call<T>) -> Result<T, RequestError>
    where
        T: fmt::Debug + Send + Sync + 'static,
    {
        let operation = &self.operation(call);
        let attempt = |_| async move {
            let answer = operation.invoke(call.body.clone()).await;
            answer.map_err(|error| failed(error.into(), call.is_repeatable))
        };
        let retrying = |error: &RequestError, _| debug!("{}: {error}", call.action);
        // On the heap, because it would make the callers' futures large.
        let performing = Box::pin(self.aws.perform(&self.policy, attempt, retrying));
        performing.await.map_err(|ended| match ended {
            Ended::Failed(error) => error,
            Ended::Late(total) => RequestError::Deadline(total),
        })
    }

    /// The action as the SDK sees it: one try, which the caller may repeat. A repeated one is signed with the service's time, where this
    /// machine's clock is wrong.
    fn operation<T>(&self, call: &Call<T>) -> Operation<String, T, Refusal>
    where
        T: fmt::Debug + Send + Sync + 'static,
    {
        let headers = call.headers.clone();
        Operation::builder()
            .service_name(self.service.id)
            .operation_name(call.action)
            .http_client(self.aws.http().answers.clone())
            .endpoint_url(self.url)
            .timeout_config(self.policy.timeouts())
            .no_retry()
            // They tell which connections are not used again.
            .retry_classifier(HttpStatusCodeClassifier::default())
            .retry_classifier(TransientErrorClassifier::<Refusal>::new())
            .with_connection_poisoning()
            .interceptor(ServiceClockSkewInterceptor::new())
            .interceptor(RequestInfoInterceptor::new())
            .interceptor(UserAgentInterceptor::new())
            .interceptor(InvocationIdInterceptor::new())
            .runtime_plugin(self.signing())
            .serializer(move |body: String| {
                let mut request = HttpRequest::new(SdkBody::from(body));
                request.set_method("POST")?;
                request.set_uri("/")?;
                for &(name, value) in &headers {
                    let _ = request.headers_mut().insert(name, value);
                }
                Ok(request)
            })
            .deserializer(call.reader())
            .build()
    }

    /// Signature version 4 (AWS general reference, "Signature Version 4 signing process").
    fn signing(&self) -> StaticRuntimePlugin {
        let name = self.service.name;
        let mut config = Layer::new("signing");
        let _ = config
            .store_put(AuthSchemeOptionResolverParams::new(()))
            .store_put(SigV4OperationSigningConfig {
                region: Some(SigningRegion::from(Region::new(self.region.to_owned()))),
                name: Some(SigningName::from_static(name)),
                signing_options: SigningOptions::default(),
                ..Default::default()
            })
            .store_put(ApiMetadata::new(name, env!("CARGO_PKG_VERSION")))
            .store_or_unset(AppName::new(APP_NAME).ok());
        let components = RuntimeComponentsBuilder::new("signing")
            .with_auth_scheme_option_resolver(Some(StaticAuthSchemeOptionResolver::new(vec![
                SCHEME_ID,
            ])))
            .with_auth_scheme(SigV4AuthScheme::new())
            .with_identity_cache(Some(self.aws.identity_cache()))
            .with_identity_resolver(SCHEME_ID, self.aws.credentials());
        StaticRuntimePlugin::new()
            .with_config(config.freeze())
            .with_runtime_components(components)
    }
}

/// What a failed try of an action means for the next one.
fn failed(error: RequestError, is_repeatable: bool) -> Failed<RequestError> {
    let found = verdict(&error, |_| None);
    let retry_after = match &error {
        RequestError::Service(error) => error.retry_after,
        _ => None,
    };
    Failed {
        verdict: if is_repeatable {
            found
        } else {
            found.unless_done()
        },
        retry_after,
        error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::Verdict;

    #[test]
    fn what_must_not_be_done_twice_is_not_repeated_after_a_lost_answer() {
        let lost = || RequestError::Lost("r".to_owned());
        let unreached = || RequestError::Unreached("r".to_owned());
        assert_eq!(failed(lost(), false).verdict, Verdict::Permanent);
        assert_eq!(failed(unreached(), false).verdict, Verdict::NotDone);
        assert_eq!(failed(lost(), true).verdict, Verdict::Transient);
    }
}
