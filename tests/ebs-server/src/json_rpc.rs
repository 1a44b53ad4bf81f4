//! AWS's JSON protocol 1.1, which KMS and Service Quotas speak: the action is in the header `X-Amz-Target`, errors are named by `__type`.

use hyper::http::request::Parts;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::answer::{Answer, Received};
use crate::error::Refused;
use crate::settings::Fault;
use crate::world::{Caller, World};

/// The type of requests and answers.
const KIND: &str = "application/x-amz-json-1.1";

/// A service that speaks it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum JsonService {
    Kms,
    ServiceQuotas,
}

impl JsonService {
    /// Its name in a signature's scope.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Kms => "kms",
            Self::ServiceQuotas => "servicequotas",
        }
    }

    /// How an error of its own is called, and a request beyond its rate (its API reference, "Common errors").
    pub(crate) fn fault(self, fault: Fault) -> Refused {
        match (self, fault) {
            (Self::Kms, Fault::Throttle) => Refused::new("ThrottlingException", "Rate exceeded"),
            (Self::ServiceQuotas, Fault::Throttle) => {
                Refused::new("TooManyRequestsException", "Rate exceeded")
            }
            (Self::Kms, _) => {
                Refused::new("KMSInternalException", "An internal error").with_status(500)
            }
            (Self::ServiceQuotas, _) => {
                Refused::new("ServiceException", "An internal error").with_status(500)
            }
        }
    }
}

/// A request of the protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Call {
    pub(crate) service: JsonService,
    /// The action's name; empty if the header names none of the service's API.
    pub(crate) action: String,
}

impl Call {
    /// What the header asks for, if it is there.
    pub(crate) fn of(parts: &Parts) -> Option<Self> {
        let target = parts.headers.get("x-amz-target")?.to_str().ok()?;
        let (api, action) = target.split_once('.').unwrap_or((target, ""));
        let service = match api {
            "TrentService" => JsonService::Kms,
            "ServiceQuotasV20190624" => JsonService::ServiceQuotas,
            _ => return None,
        };
        Some(Self {
            service,
            action: action.to_owned(),
        })
    }
}

impl Refused {
    /// As the protocol has it. What never reaches the service itself is refused with another key for the message.
    pub(crate) fn to_json_rpc(&self) -> String {
        let message = match self.code {
            "AccessDeniedException" => "Message",
            _ => "message",
        };
        json!({"__type": self.code, message: self.message}).to_string()
    }
}

impl Answer {
    pub(crate) fn json_rpc(status: u16, body: String) -> Self {
        Self::of_kind(status, KIND, body.into())
    }
}

/// The parameters of an action, of which none may be unknown.
fn parameters<T: DeserializeOwned>(received: &Received) -> Result<T, Refused> {
    let parsed = serde_json::from_slice(&received.bytes());
    parsed.map_err(|error| Refused::new("SerializationException", error.to_string()))
}

impl World {
    /// Answers a request of KMS's or Service Quotas'.
    pub(crate) fn json(
        &self,
        call: &Call,
        parts: &Parts,
        received: &Received,
        caller: &Caller,
    ) -> Result<Answer, Refused> {
        let kind = parts.headers.get("content-type");
        let is_post = parts.method == "POST";
        if !is_post || kind.is_none_or(|kind| kind.as_bytes() != KIND.as_bytes()) {
            let message = format!("POST with the type {KIND} is needed");
            return Err(Refused::new("UnknownOperationException", message));
        }
        if self.settings.denied.contains(&call.action) {
            let (who, service) = (&caller.arn, call.service.name());
            let message = format!(
                "User: {who} is not authorized to perform: {service}:{}",
                call.action
            );
            return Err(Refused::new("AccessDeniedException", message));
        }
        let answer: Value = match (call.service, &*call.action) {
            (JsonService::Kms, "DescribeKey") => {
                self.describe_key(&parameters(received)?, caller)?
            }
            (JsonService::ServiceQuotas, "GetServiceQuota") => {
                self.service_quota(&parameters(received)?, caller)?
            }
            (JsonService::ServiceQuotas, "GetAWSDefaultServiceQuota") => {
                self.default_service_quota(&parameters(received)?, caller)?
            }
            _ => return Err(Refused::new("UnknownOperationException", "")),
        };
        Ok(Answer::json_rpc(200, answer.to_string()))
    }
}
