//! EC2's Query protocol: an action and its parameters as a form, an XML document as the answer.
//!
//! | part | form |
//! |---|---|
//! | request | `POST /`, `Action=NAME&Version=2016-11-15`, then the parameters |
//! | list | a parameter an item, numbered from 1: `Owner.1`, `Filter.1.Value.2` |
//! | answer | the root element `NAMEResponse`; the items of a list are elements called `item` |
//! | error | `<Response><Errors><Error><Code/><Message/></Error></Errors></Response>` |
//!
//! EC2 API reference, "Query requests"; the AWS SDK for Rust signs, sends and tries again (its crates `aws-runtime` and
//! `aws-smithy-runtime`). Its own client of EC2 has all 700 actions, and takes gigabytes of memory and minutes to compile.

use std::fmt;

use ami_aws::{APP_NAME, RequestError, Resolved};
use aws_runtime::auth::sigv4::{SCHEME_ID, SigV4AuthScheme};
use aws_runtime::auth::{SigV4OperationSigningConfig, SigningOptions};
use aws_runtime::retries::classifiers::AwsErrorCodeClassifier;
use aws_runtime::service_clock_skew::{ServiceClockSkewClassifier, ServiceClockSkewInterceptor};
use aws_runtime::user_agent::{ApiMetadata, UserAgentInterceptor};
use aws_runtime::{invocation_id::InvocationIdInterceptor, request_info::RequestInfoInterceptor};
use aws_smithy_runtime::client::identity::IdentityCache;
use aws_smithy_runtime::client::orchestrator::operation::Operation;
use aws_smithy_runtime::client::retries::classifiers::{
    HttpStatusCodeClassifier, TransientErrorClassifier,
};
use aws_smithy_runtime_api::client::auth::AuthSchemeOptionResolverParams;
use aws_smithy_runtime_api::client::auth::static_resolver::StaticAuthSchemeOptionResolver;
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse, OrchestratorError};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponentsBuilder;
use aws_smithy_runtime_api::client::runtime_plugin::StaticRuntimePlugin;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::config_bag::Layer;
use aws_smithy_types::error::ErrorMetadata;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use aws_smithy_types::retry::RetryConfig;
use aws_smithy_types::timeout::TimeoutConfig;
use aws_types::SigningName;
use aws_types::app_name::AppName;
use aws_types::region::{Region, SigningRegion};
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// EC2 API reference: the version of the API.
const VERSION: &str = "2016-11-15";

/// How EC2 is called in signatures (AWS general reference, "Service endpoints": the signing name).
const SIGNING_NAME: &str = "ec2";

/// An action, its parameters, and what it answers.
pub(crate) trait Action: Send + Sync {
    /// Its name.
    const NAME: &'static str;

    /// What it answers.
    type Answer: DeserializeOwned + fmt::Debug + Send + Sync + 'static;

    /// Its parameters, by name.
    fn parameters(&self) -> Vec<(String, String)>;
}

/// The items of a list in an answer.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Items<T> {
    #[serde(rename = "item", default = "Vec::new")]
    items: Vec<T>,
}

impl<T> Default for Items<T> {
    fn default() -> Self {
        Self { items: Vec::new() }
    }
}

impl<T> IntoIterator for Items<T> {
    type Item = T;
    type IntoIter = std::vec::IntoIter<T>;

    fn into_iter(self) -> Self::IntoIter {
        self.items.into_iter()
    }
}

/// The parameters of a list: `Owner.1`, `Owner.2` …
pub(crate) fn list<'a>(
    name: &str,
    values: impl IntoIterator<Item = &'a String>,
) -> Vec<(String, String)> {
    let numbered = values.into_iter().zip(1..);
    numbered
        .map(|(value, number)| (format!("{name}.{number}"), value.clone()))
        .collect()
}

/// A refusal.
#[derive(Debug)]
struct Refusal(ErrorMetadata);

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

/// One region's EC2.
pub(crate) struct Client<'a> {
    /// The way there.
    pub(crate) http: &'a SharedHttpClient,
    /// Who asks.
    pub(crate) credentials: &'a Resolved,
    /// For which region requests are signed.
    pub(crate) region: &'a str,
    /// Where it is asked.
    pub(crate) url: String,
    /// How long it is waited for a connection, and for an answer.
    pub(crate) timeouts: TimeoutConfig,
    /// How often a request is tried.
    pub(crate) retries: RetryConfig,
}

impl Client<'_> {
    /// Performs an action. What fails and may succeed is tried again.
    pub(crate) async fn perform<A: Action>(&self, action: &A) -> Result<A::Answer, RequestError> {
        let operation = Operation::builder()
            .service_name("EC2")
            .operation_name(A::NAME)
            .http_client(self.http.clone())
            .endpoint_url(&self.url)
            .timeout_config(self.timeouts.clone())
            .standard_retry(&self.retries)
            .retry_classifier(HttpStatusCodeClassifier::default())
            .retry_classifier(TransientErrorClassifier::<Refusal>::new())
            .retry_classifier(AwsErrorCodeClassifier::<Refusal>::new())
            .retry_classifier(ServiceClockSkewClassifier::<Refusal>::new())
            .interceptor(ServiceClockSkewInterceptor::new())
            .interceptor(RequestInfoInterceptor::new())
            .interceptor(UserAgentInterceptor::new())
            .interceptor(InvocationIdInterceptor::new())
            .with_connection_poisoning()
            .runtime_plugin(self.signing())
            .serializer(|body: String| {
                let mut request = HttpRequest::new(SdkBody::from(body));
                request.set_method("POST")?;
                request.set_uri("/")?;
                let _ = request
                    .headers_mut()
                    .insert("content-type", "application/x-www-form-urlencoded");
                Ok(request)
            })
            .deserializer(read::<A::Answer>)
            .build();
        Ok(operation.invoke(body_of(action)).await?)
    }

    /// Signature version 4 (AWS general reference, "Signature Version 4 signing process").
    fn signing(&self) -> StaticRuntimePlugin {
        let mut config = Layer::new("signing");
        let _ = config
            .store_put(AuthSchemeOptionResolverParams::new(()))
            .store_put(SigV4OperationSigningConfig {
                region: Some(SigningRegion::from(Region::new(self.region.to_owned()))),
                name: Some(SigningName::from_static(SIGNING_NAME)),
                signing_options: SigningOptions::default(),
                ..Default::default()
            })
            .store_put(ApiMetadata::new(SIGNING_NAME, env!("CARGO_PKG_VERSION")))
            .store_or_unset(AppName::new(APP_NAME).ok());
        let components = RuntimeComponentsBuilder::new("signing")
            .with_auth_scheme_option_resolver(Some(StaticAuthSchemeOptionResolver::new(vec![
                SCHEME_ID,
            ])))
            .with_auth_scheme(SigV4AuthScheme::new())
            .with_identity_cache(Some(IdentityCache::lazy().build()))
            .with_identity_resolver(SCHEME_ID, self.credentials.provider.clone());
        StaticRuntimePlugin::new()
            .with_config(config.freeze())
            .with_runtime_components(components)
    }
}

fn body_of<A: Action>(action: &A) -> String {
    let mut form = form_urlencoded::Serializer::new(String::new());
    let _ = form
        .append_pair("Action", A::NAME)
        .append_pair("Version", VERSION)
        .extend_pairs(action.parameters());
    form.finish()
}

fn read<T: DeserializeOwned>(response: &HttpResponse) -> Result<T, OrchestratorError<Refusal>> {
    let text = String::from_utf8_lossy(response.body().bytes().unwrap_or_default());
    if response.status().is_success() {
        return quick_xml::de::from_str(&text).map_err(OrchestratorError::other);
    }
    Err(OrchestratorError::operation(Refusal(refusal(&text))))
}

/// An answer that is no error document has no code: what it says is shown as it is.
fn refusal(text: &str) -> ErrorMetadata {
    #[derive(Deserialize)]
    struct Document {
        #[serde(rename = "Errors")]
        errors: Errors,
    }
    #[derive(Deserialize)]
    struct Errors {
        #[serde(rename = "Error")]
        error: Vec<Refused>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Refused {
        code: Option<String>,
        message: Option<String>,
    }
    let document: Option<Document> = quick_xml::de::from_str(text).ok();
    let error = document.and_then(|document| document.errors.error.into_iter().next());
    let mut builder = ErrorMetadata::builder();
    if let Some(Refused { code, message }) = error {
        builder = code
            .into_iter()
            .fold(builder, |builder, code| builder.code(code));
        builder = message
            .into_iter()
            .fold(builder, |builder, text| builder.message(text));
    }
    builder.build()
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Example;

    impl Action for Example {
        const NAME: &'static str = "DescribeExamples";

        type Answer = Answer;

        fn parameters(&self) -> Vec<(String, String)> {
            list("Owner", &["1".to_owned(), "a b&c=\u{fc}".to_owned()])
        }
    }

    #[derive(Debug, PartialEq, Eq, Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Answer {
        example_set: Items<String>,
    }

    #[test]
    fn an_action_becomes_a_form() {
        assert_eq!(
            body_of(&Example),
            "Action=DescribeExamples&Version=2016-11-15&Owner.1=1&Owner.2=a+b%26c%3D%C3%BC"
        );
    }

    #[test]
    fn a_list_may_be_empty() {
        let parse = |set: &str| -> Vec<String> {
            let text = format!(
                "<DescribeExamplesResponse><requestId>r</requestId>{set}</DescribeExamplesResponse>"
            );
            let answer: Answer = quick_xml::de::from_str(&text).unwrap();
            answer.example_set.into_iter().collect()
        };
        assert_eq!(
            parse("<exampleSet><item>a</item><item>b</item></exampleSet>"),
            ["a", "b"]
        );
        assert_eq!(parse("<exampleSet/>"), [] as [String; 0]);
    }

    #[test]
    fn a_refusal_says_its_code_and_message() {
        let of = |text| {
            let refusal = refusal(text);
            let known = |text: Option<&str>| text.map(str::to_owned);
            (known(refusal.code()), known(refusal.message()))
        };
        let text = "<?xml version=\"1.0\"?><Response><Errors><Error><Code>AuthFailure</Code><Message>No &amp; no</Message></Error></Errors>\
            <RequestID>r</RequestID></Response>";
        let expected = ("AuthFailure".to_owned(), "No & no".to_owned());
        assert_eq!(of(text), (Some(expected.0), Some(expected.1)));
        for text in [
            "",
            "Bad Gateway",
            "<html/>",
            "<Response><Errors/></Response>",
        ] {
            assert_eq!(of(text), (None, None), "{text}");
        }
    }
}
