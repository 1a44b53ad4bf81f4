//! AWS's JSON protocol, version 1.1 (Smithy, "AWS JSON 1.1 protocol").
//!
//! | part | form |
//! |---|---|
//! | request | `POST /`, the action in the header `X-Amz-Target`, its parameters as a JSON object |
//! | answer | a JSON object |
//! | error | `{"__type": "NAMESPACE#CODE", "message": …}`, or `Message` where the service itself was not reached |

use std::fmt;

use ami_aws::{Call, Policy, Refused, RequestError, Rpc, Service};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::account::Account;

/// The type of a request's body.
const JSON: (&str, &str) = ("content-type", "application/x-amz-json-1.1");

/// The header that names the action.
const TARGET: &str = "x-amz-target";

/// An action that only reads. Its fields are its parameters, under the names that the API reference gives them.
pub(crate) trait Action: Serialize {
    /// Whose it is.
    const SERVICE: Service;

    /// Its name.
    const NAME: &'static str;

    /// Its name after that of the API and its version.
    const TARGET: &'static str;

    /// How it is tried.
    const POLICY: Policy;

    /// What it answers.
    type Answer: DeserializeOwned + fmt::Debug + Send + Sync + 'static;
}

impl Account<'_> {
    /// Performs an action.
    pub(crate) async fn perform<A: Action>(&self, action: &A) -> Result<A::Answer, RequestError> {
        let body = serde_json::to_string(action);
        let call = Call {
            action: A::NAME,
            headers: vec![JSON, (TARGET, A::TARGET)],
            body: body.map_err(|error| RequestError::Other(error.to_string()))?,
            is_repeatable: true,
            read: |bytes| Ok(serde_json::from_slice(bytes)?),
            refusal,
        };
        let url = A::SERVICE.url(self.aws, self.region, self.server);
        tracing::debug!(region = self.region, url, "{}", A::NAME);
        let rpc = Rpc {
            aws: self.aws,
            service: A::SERVICE,
            region: self.region,
            url: &url,
            policy: A::POLICY,
        };
        rpc.perform(&call).await
    }
}

/// An answer that is no error document has no code: what it says is shown as it is.
fn refusal(bytes: &[u8]) -> Refused {
    #[derive(Deserialize)]
    struct Document {
        #[serde(rename = "__type")]
        kind: Option<String>,
        message: Option<String>,
        #[serde(rename = "Message")]
        outer_message: Option<String>,
    }
    let Ok(document) = serde_json::from_slice::<Document>(bytes) else {
        return Refused::default();
    };
    // Smithy: what stands before `#` and after `:` is not of the code.
    let code = document.kind.map(|kind| {
        let code = kind.rsplit('#').next().unwrap_or_default();
        code.split(':').next().unwrap_or_default().to_owned()
    });
    Refused {
        code,
        message: document.message.or(document.outer_message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_its_code_and_message() {
        let of = |text: &str| {
            let Refused { code, message } = refusal(text.as_bytes());
            (code, message)
        };
        let both = (Some("NotFoundException".to_owned()), Some("no".to_owned()));
        for text in [
            r#"{"__type": "NotFoundException", "message": "no"}"#,
            r#"{"__type": "com.amazonaws.kms#NotFoundException", "Message": "no"}"#,
            r#"{"__type": "a.b#NotFoundException:http://x/", "message": "no", "Message": "other", "more": {}}"#,
        ] {
            assert_eq!(of(text), both, "{text}");
        }
        assert_eq!(of(r#"{"message": "no"}"#), (None, Some("no".to_owned())));
        for text in ["", "Bad Gateway", "[]", "{}", r#"{"__type": 1}"#] {
            assert_eq!(of(text), (None, None), "{text}");
        }
    }
}
