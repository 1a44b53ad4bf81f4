//! Refusals, as each API writes them.

use serde_json::json;

use crate::xml::Xml;

/// A refusal: its code and HTTP status are those of AWS's API models and error tables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) status: u16,
    pub(crate) code: &'static str,
    pub(crate) reason: Option<&'static str>,
    pub(crate) message: String,
}

impl Refused {
    /// One of EC2's or STS's codes, with status 400.
    pub(crate) fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status: 400,
            code,
            reason: None,
            message: message.into(),
        }
    }

    pub(crate) fn with_status(self, status: u16) -> Self {
        Self { status, ..self }
    }

    fn because(self, reason: &'static str) -> Self {
        Self {
            reason: Some(reason),
            ..self
        }
    }

    /// EBS: a validation error with its reason.
    pub(crate) fn invalid(reason: &'static str, message: impl Into<String>) -> Self {
        Self::new("ValidationException", message).because(reason)
    }

    /// EBS: no such snapshot.
    pub(crate) fn no_snapshot(id: &str) -> Self {
        let message = format!("The snapshot '{id}' does not exist.");
        Self::new("ResourceNotFoundException", message)
            .because("SNAPSHOT_NOT_FOUND")
            .with_status(404)
    }

    /// EBS: too many requests.
    pub(crate) fn throttled(reason: &'static str) -> Self {
        Self::new("RequestThrottledException", "Rate exceeded").because(reason)
    }

    /// EBS: not permitted.
    pub(crate) fn denied(message: impl Into<String>) -> Self {
        Self::new("AccessDeniedException", message)
            .because("UNAUTHORIZED_ACCOUNT")
            .with_status(403)
    }

    /// EC2: this and that cannot be said together.
    pub(crate) fn combination(message: impl Into<String>) -> Self {
        Self::new("InvalidParameterCombination", message)
    }

    /// EC2: a parameter has a value that it cannot have.
    pub(crate) fn value(name: &str, value: &str) -> Self {
        let message = format!("Value ({value}) for parameter {name} is invalid.");
        Self::new("InvalidParameterValue", message)
    }

    /// EC2: a parameter is missing.
    pub(crate) fn missing(name: &str) -> Self {
        let message = format!("The request must contain the parameter {name}");
        Self::new("MissingParameter", message)
    }

    pub(crate) fn to_json(&self) -> String {
        match self.reason {
            Some(reason) => json!({"Message": self.message, "Reason": reason}).to_string(),
            None => json!({"Message": self.message}).to_string(),
        }
    }

    pub(crate) fn to_ec2_xml(&self, request: &str) -> String {
        let mut xml = Xml::new();
        xml.within("Response", |xml| {
            xml.within("Errors", |xml| {
                xml.within("Error", |xml| {
                    xml.text("Code", self.code);
                    xml.text("Message", &self.message);
                });
            });
            xml.text("RequestID", request);
        });
        xml.finish()
    }

    pub(crate) fn to_sts_xml(&self, request: &str) -> String {
        let mut xml = Xml::new();
        xml.root("ErrorResponse", crate::sts::NAMESPACE, |xml| {
            xml.within("Error", |xml| {
                xml.text("Type", "Sender");
                xml.text("Code", self.code);
                xml.text("Message", &self.message);
            });
            xml.text("RequestId", request);
        });
        xml.finish()
    }
}
