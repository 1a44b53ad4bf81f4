//! EC2's Query protocol: an action and its parameters as a form, an XML document as the answer.
//!
//! | part | form |
//! |---|---|
//! | request | `POST /`, `Action=NAME&Version=2016-11-15`, then the parameters |
//! | list | a parameter an item, numbered from 1: `Owner.1`, `Filter.1.Value.2` |
//! | answer | the root element `NAMEResponse`; the items of a list are elements called `item` |
//! | error | `<Response><Errors><Error><Code/><Message/></Error></Errors></Response>` |
//!
//! EC2 API reference, "Query requests"; the AWS SDK for Rust signs and sends (its crates `aws-runtime` and `aws-smithy-runtime`),
//! `ami-aws` tries again. The SDK's own client of EC2 has all 700 actions, and takes gigabytes of memory and minutes to compile.

use std::fmt;
use std::time::Duration;

use ami_aws::{APP_NAME, Aws, Ended, Failed, Policy, RequestError, verdict};
use aws_runtime::auth::sigv4::{SCHEME_ID, SigV4AuthScheme};
use aws_runtime::auth::{SigV4OperationSigningConfig, SigningOptions};
use aws_runtime::service_clock_skew::ServiceClockSkewInterceptor;
use aws_runtime::user_agent::{ApiMetadata, UserAgentInterceptor};
use aws_runtime::{invocation_id::InvocationIdInterceptor, request_info::RequestInfoInterceptor};
use aws_smithy_runtime::client::orchestrator::operation::Operation;
use aws_smithy_runtime::client::retries::classifiers::{
    HttpStatusCodeClassifier, TransientErrorClassifier,
};
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
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tracing::debug;

/// EC2 API reference: the version of the API.
const VERSION: &str = "2016-11-15";

/// How EC2 is called in signatures (AWS general reference, "Service endpoints": the signing name).
const SIGNING_NAME: &str = "ec2";

/// An action, its parameters, and what it answers.
pub trait Action: Send + Sync {
    /// Its name.
    const NAME: &'static str;

    /// What is said when it fails, as the beginning of a line.
    const FAILED: &'static str;

    /// Whether it does no harm to perform it twice: where an answer is lost, it may have been performed. So it is with all that only
    /// reads, and with what has a client token.
    const IS_REPEATABLE: bool;

    /// What it answers.
    type Answer: DeserializeOwned + fmt::Debug + Send + Sync + 'static;

    /// Its parameters, by name.
    fn parameters(&self) -> Vec<(String, String)>;
}

/// The items of a list in an answer.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Items<T> {
    #[serde(rename = "item", default = "Vec::new")]
    items: Vec<T>,
}

impl<T> Items<T> {
    /// The items, in their order.
    pub fn iter(&self) -> std::slice::Iter<'_, T> {
        self.items.iter()
    }
}

impl<T, const COUNT: usize> From<[T; COUNT]> for Items<T> {
    fn from(items: [T; COUNT]) -> Self {
        Self {
            items: items.into(),
        }
    }
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

/// A filter of a listing.
#[derive(Debug, Clone)]
pub struct Filter {
    /// What is compared, such as `image-id`.
    pub(crate) name: String,
    /// One of these must fit; `*` stands for any text.
    pub(crate) values: Vec<String>,
}

impl Filter {
    /// A filter with one value.
    pub(crate) fn new(name: &str, value: &str) -> Self {
        Self {
            name: name.to_owned(),
            values: vec![value.to_owned()],
        }
    }
}

/// The parameters of a listing's filters.
pub(crate) fn filters(filters: &[Filter]) -> Vec<(String, String)> {
    let mut parameters = Vec::new();
    for (filter, number) in filters.iter().zip(1..) {
        let name = format!("Filter.{number}");
        parameters.push((format!("{name}.Name"), filter.name.clone()));
        parameters.extend(list(&format!("{name}.Value"), &filter.values));
    }
    parameters
}

/// The answer of an action that says only that it was performed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct Done {}

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

/// How actions are tried: as AWS's SDKs do, but for five tries in place of three (AWS SDKs and tools reference guide, "Retry behavior").
const POLICY: Policy = Policy {
    tries: 5,
    attempt: Duration::from_secs(30),
    total: Duration::from_secs(5 * 30 + 60),
    first_wait: Duration::from_secs(1),
    longest_wait: Duration::from_secs(20),
};

/// Whether credentials allow an action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Permission {
    /// They do.
    Granted,
    /// They do not.
    Denied {
        /// The action's name.
        action: &'static str,
        /// What EC2 says.
        message: String,
    },
}

/// One region's EC2.
pub(crate) struct Client<'a> {
    /// Credentials, HTTP and retries.
    pub(crate) aws: &'a Aws,
    /// For which region requests are signed.
    pub(crate) region: &'a str,
    /// Where it is asked.
    pub(crate) url: String,
}

impl Client<'_> {
    /// Performs an action. What fails and may succeed is tried again, if that does no harm.
    ///
    /// # Errors
    /// EC2's refusal; no answer.
    pub(crate) async fn perform<A: Action>(&self, action: &A) -> Result<A::Answer, RequestError> {
        self.send::<A>(&body_of(action.parameters(), A::NAME)).await
    }

    /// Asks whether these credentials are allowed to perform an action, which is not performed (EC2 API reference, "Common query
    /// parameters": DryRun).
    ///
    /// # Errors
    /// EC2 refuses for another reason; no answer.
    pub(crate) async fn try_dry<A: Action>(&self, action: &A) -> Result<Permission, RequestError> {
        let mut parameters = action.parameters();
        parameters.push(("DryRun".to_owned(), "true".to_owned()));
        match self.send::<A>(&body_of(parameters, A::NAME)).await {
            Ok(_) => Ok(Permission::Granted),
            Err(RequestError::Service(error)) if error.code == "DryRunOperation" => {
                Ok(Permission::Granted)
            }
            Err(RequestError::Service(error)) if error.code == "UnauthorizedOperation" => {
                Ok(Permission::Denied {
                    action: A::NAME,
                    message: error.message,
                })
            }
            Err(error) => Err(error),
        }
    }

    async fn send<A: Action>(&self, body: &str) -> Result<A::Answer, RequestError> {
        let operation = &self.operation::<A>();
        let attempt = |_| async move {
            let answer = operation.invoke(body.to_owned()).await;
            answer.map_err(|error| failed::<A>(error.into()))
        };
        let retrying = |error: &RequestError, _| debug!("{}: {error}", A::NAME);
        // On the heap, because it would make the stories' futures large.
        let performing = Box::pin(self.aws.perform(&POLICY, attempt, retrying));
        performing.await.map_err(|ended| match ended {
            Ended::Failed(error) => error,
            Ended::Late(total) => RequestError::Deadline(total),
        })
    }

    /// The action as the SDK sees it: one try, which the caller may repeat. A repeated one is signed with the service's time, where this
    /// machine's clock is wrong.
    fn operation<A: Action>(&self) -> Operation<String, A::Answer, Refusal> {
        Operation::builder()
            .service_name("EC2")
            .operation_name(A::NAME)
            .http_client(self.aws.http().answers.clone())
            .endpoint_url(&self.url)
            .timeout_config(POLICY.timeouts())
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
            .build()
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
            .with_identity_cache(Some(self.aws.identity_cache()))
            .with_identity_resolver(SCHEME_ID, self.aws.credentials());
        StaticRuntimePlugin::new()
            .with_config(config.freeze())
            .with_runtime_components(components)
    }
}

/// What a failed try of an action means for the next one.
fn failed<A: Action>(error: RequestError) -> Failed<RequestError> {
    let found = verdict(&error, |_| None);
    let retry_after = match &error {
        RequestError::Service(error) => error.retry_after,
        _ => None,
    };
    Failed {
        verdict: if A::IS_REPEATABLE {
            found
        } else {
            found.unless_done()
        },
        retry_after,
        error,
    }
}

fn body_of(parameters: Vec<(String, String)>, name: &str) -> String {
    let mut form = form_urlencoded::Serializer::new(String::new());
    let _ = form
        .append_pair("Action", name)
        .append_pair("Version", VERSION)
        .extend_pairs(parameters);
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
    use ami_aws::Verdict;

    struct Example;

    impl Action for Example {
        const NAME: &'static str = "DescribeExamples";

        const FAILED: &'static str = "Failed to look up examples";

        const IS_REPEATABLE: bool = true;

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
            body_of(Example.parameters(), Example::NAME),
            "Action=DescribeExamples&Version=2016-11-15&Owner.1=1&Owner.2=a+b%26c%3D%C3%BC"
        );
    }

    #[test]
    fn what_must_not_be_done_twice_is_not_repeated_after_a_lost_answer() {
        struct Make;

        impl Action for Make {
            const NAME: &'static str = "MakeExample";

            const FAILED: &'static str = "Failed to make an example";

            const IS_REPEATABLE: bool = false;

            type Answer = Answer;

            fn parameters(&self) -> Vec<(String, String)> {
                Vec::new()
            }
        }

        let lost = || RequestError::Lost("r".to_owned());
        let unreached = || RequestError::Unreached("r".to_owned());
        assert_eq!(failed::<Make>(lost()).verdict, Verdict::Permanent);
        assert_eq!(failed::<Make>(unreached()).verdict, Verdict::NotDone);
        assert_eq!(failed::<Example>(lost()).verdict, Verdict::Transient);
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
