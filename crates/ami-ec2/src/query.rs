//! EC2's Query protocol: an action and its parameters as a form, an XML document as the answer.
//!
//! | part | form |
//! |---|---|
//! | request | `POST /`, `Action=NAME&Version=2016-11-15`, then the parameters |
//! | list | a parameter an item, numbered from 1: `Owner.1`, `Filter.1.Value.2` |
//! | answer | the root element `NAMEResponse`; the items of a list are elements called `item` |
//! | error | `<Response><Errors><Error><Code/><Message/></Error></Errors></Response>` |
//!
//! EC2 API reference, "Query requests"; `ami-aws` signs, sends and tries again ([`Rpc`]).

use std::fmt;
use std::time::Duration;

use ami_aws::{Aws, Call, Policy, Refused, RequestError, Rpc, Service};
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// EC2 API reference: the version of the API.
const VERSION: &str = "2016-11-15";

/// EC2 (AWS general reference, "Service endpoints").
pub(crate) const EC2: Service = Service {
    id: "EC2",
    name: "ec2",
    government_is_fips: true,
};

/// The type of a request's body.
const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");

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

/// An action that lists things, spread over pages.
pub(crate) trait Listing: Action {
    /// What it lists.
    type Item: Send;

    /// What a page has, and where the next one begins, if others follow.
    fn open(page: Self::Answer) -> (Items<Self::Item>, Option<String>);

    /// Asks for the page that begins there.
    fn turn_to(&mut self, token: String);
}

/// The answer of an action that says only that it was performed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct Done {}

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
        self.send::<A>(body_of(action.parameters(), A::NAME)).await
    }

    /// Asks whether these credentials are allowed to perform an action, which is not performed (EC2 API reference, "Common query
    /// parameters": DryRun).
    ///
    /// # Errors
    /// EC2 refuses for another reason; no answer.
    pub(crate) async fn try_dry<A: Action>(&self, action: &A) -> Result<Permission, RequestError> {
        let mut parameters = action.parameters();
        parameters.push(("DryRun".to_owned(), "true".to_owned()));
        match self.send::<A>(body_of(parameters, A::NAME)).await {
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

    async fn send<A: Action>(&self, body: String) -> Result<A::Answer, RequestError> {
        let rpc = Rpc {
            aws: self.aws,
            service: EC2,
            region: self.region,
            url: &self.url,
            policy: POLICY,
        };
        let call = Call {
            action: A::NAME,
            headers: vec![FORM],
            body,
            is_repeatable: A::IS_REPEATABLE,
            read: |bytes| Ok(quick_xml::de::from_str(&String::from_utf8_lossy(bytes))?),
            refusal: |bytes| refusal(&String::from_utf8_lossy(bytes)),
        };
        rpc.perform(&call).await
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

/// An answer that is no error document has no code: what it says is shown as it is.
fn refusal(text: &str) -> Refused {
    #[derive(Deserialize)]
    struct Document {
        #[serde(rename = "Errors")]
        errors: Errors,
    }
    #[derive(Deserialize)]
    struct Errors {
        #[serde(rename = "Error")]
        error: Vec<One>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct One {
        code: Option<String>,
        message: Option<String>,
    }
    let document: Option<Document> = quick_xml::de::from_str(text).ok();
    let error = document.and_then(|document| document.errors.error.into_iter().next());
    error.map_or_else(Refused::default, |One { code, message }| Refused {
        code,
        message,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

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
            let Refused { code, message } = refusal(text);
            (code, message)
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
