//! KMS keys.

use std::time::Duration;

use ami_aws::{Policy, Service};
use serde::{Deserialize, Serialize};

use crate::account::Account;
use crate::error::Error;
use crate::json::Action;

/// KMS (AWS general reference, "Service endpoints").
const KMS: Service = Service {
    id: "KMS",
    name: "kms",
    government_is_fips: false,
};

/// KMS API reference, "DescribeKey": there is no such key or alias.
const MISSING: &str = "NotFoundException";

/// KMS API reference, "KeyMetadata": the only type of key that EBS encrypts with (EBS user guide, "How EBS encryption works").
const SYMMETRIC: &str = "SYMMETRIC_DEFAULT";
const FOR_ENCRYPTION: &str = "ENCRYPT_DECRYPT";

/// `DescribeKey`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct DescribeKey<'a> {
    key_id: &'a str,
}

impl Action for DescribeKey<'_> {
    const SERVICE: Service = KMS;

    const NAME: &'static str = "DescribeKey";

    const TARGET: &'static str = "TrentService.DescribeKey";

    const POLICY: Policy = Policy {
        tries: 4,
        attempt: Duration::from_secs(15),
        total: Duration::from_secs(60),
        first_wait: Duration::from_millis(500),
        longest_wait: Duration::from_secs(5),
    };

    type Answer = DescribeKeyAnswer;
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DescribeKeyAnswer {
    key_metadata: Key,
}

/// A key, as KMS describes it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Key {
    /// Its ARN.
    pub arn: String,
    /// `Enabled`, `Disabled`, `PendingDeletion`, `PendingImport`, `Unavailable` …
    pub key_state: Option<String>,
    /// `SYMMETRIC_DEFAULT`, `RSA_2048`, `HMAC_256` …
    pub key_spec: Option<String>,
    /// `ENCRYPT_DECRYPT`, `SIGN_VERIFY` …
    pub key_usage: Option<String>,
}

/// Why EBS does not encrypt with a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Flaw {
    /// Somebody has disabled it.
    #[error("is disabled")]
    Disabled,
    /// It is going to be deleted.
    #[error("is to be deleted")]
    PendingDeletion,
    /// It cannot be used for another reason.
    #[error("is in the state {0}")]
    State(String),
    /// It is of another type.
    #[error("is no symmetric key for encryption, but {spec} for {usage}")]
    Type {
        /// KMS's name of the type.
        spec: String,
        /// KMS's name of the use.
        usage: String,
    },
}

impl Key {
    /// Why EBS does not encrypt with it; nothing if it does, or if KMS did not say (KMS developer guide, "Key states of AWS KMS keys").
    pub fn flaws(&self) -> Vec<Flaw> {
        let of_state = match self.key_state.as_deref() {
            // A key whose primary region is changing can be used.
            None | Some("Enabled" | "Updating") => None,
            Some("Disabled") => Some(Flaw::Disabled),
            Some("PendingDeletion" | "PendingReplicaDeletion") => Some(Flaw::PendingDeletion),
            Some(other) => Some(Flaw::State(other.to_owned())),
        };
        let spec = self.key_spec.as_deref().unwrap_or(SYMMETRIC);
        let usage = self.key_usage.as_deref().unwrap_or(FOR_ENCRYPTION);
        let is_fit = (spec, usage) == (SYMMETRIC, FOR_ENCRYPTION);
        let of_type = (!is_fit).then(|| Flaw::Type {
            spec: spec.to_owned(),
            usage: usage.to_owned(),
        });
        of_state.into_iter().chain(of_type).collect()
    }
}

impl Account<'_> {
    /// The key of this name: its ID or ARN, or the name or ARN of an alias. `None`: there is none.
    ///
    /// # Errors
    /// KMS cannot be asked, or these credentials may not ask it.
    pub async fn key(&self, name: &str) -> Result<Option<Key>, Error> {
        let answer = self.perform(&DescribeKey { key_id: name }).await;
        let answer = answer.map_err(|error| Error {
            what: format!("the KMS key {name}"),
            region: self.region.to_owned(),
            error,
        });
        match answer {
            Ok(answer) => Ok(Some(answer.key_metadata)),
            Err(error) if error.code() == Some(MISSING) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_action_becomes_an_object() {
        let action = DescribeKey {
            key_id: "alias/\"a\"",
        };
        assert_eq!(
            serde_json::to_string(&action).unwrap(),
            r#"{"KeyId":"alias/\"a\""}"#
        );
    }

    /// The answer is shaped like the example in KMS's API reference, shortened.
    #[test]
    fn a_key_is_read_from_an_answer() {
        let text = r#"{"KeyMetadata": {"Origin": "AWS_KMS", "KeyId": "1234abcd-12ab-34cd-56ef-1234567890ab", "KeyState": "Enabled",
            "MultiRegion": false, "CreationDate": 1499988169.234, "Enabled": true, "KeyUsage": "ENCRYPT_DECRYPT",
            "Arn": "arn:aws:kms:us-west-2:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab",
            "KeySpec": "SYMMETRIC_DEFAULT", "EncryptionAlgorithms": ["SYMMETRIC_DEFAULT"]}}"#;
        let key = serde_json::from_str::<DescribeKeyAnswer>(text).unwrap();
        let key = key.key_metadata;
        let expected =
            "arn:aws:kms:us-west-2:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";
        assert_eq!((&*key.arn, key.flaws()), (expected, Vec::new()));
        assert!(serde_json::from_str::<DescribeKeyAnswer>("{}").is_err());
    }

    #[test]
    fn ebs_needs_an_enabled_symmetric_key() {
        let flaws = |state: &str, spec: &str, usage: &str| {
            let some = |text: &str| Some(text.to_owned());
            let key = Key {
                arn: "a".to_owned(),
                key_state: some(state),
                key_spec: some(spec),
                key_usage: some(usage),
            };
            let flaws = key.flaws().into_iter();
            flaws.map(|flaw| flaw.to_string()).collect::<Vec<_>>()
        };
        let (fit, usage) = ("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT");
        for (state, expected) in [
            ("Enabled", None),
            ("Updating", None),
            ("Disabled", Some("is disabled")),
            ("PendingDeletion", Some("is to be deleted")),
            ("PendingReplicaDeletion", Some("is to be deleted")),
            ("PendingImport", Some("is in the state PendingImport")),
            ("Unavailable", Some("is in the state Unavailable")),
        ] {
            let expected: Vec<&str> = expected.into_iter().collect();
            assert_eq!(flaws(state, fit, usage), expected);
        }
        let wrong =
            |spec, usage| format!("is no symmetric key for encryption, but {spec} for {usage}");
        for (spec, usage) in [
            ("RSA_2048", "ENCRYPT_DECRYPT"),
            ("HMAC_256", "GENERATE_VERIFY_MAC"),
        ] {
            assert_eq!(flaws("Enabled", spec, usage), [wrong(spec, usage)]);
        }
        assert_eq!(
            flaws("Disabled", "ECC_NIST_P256", "SIGN_VERIFY"),
            [
                "is disabled".to_owned(),
                wrong("ECC_NIST_P256", "SIGN_VERIFY")
            ]
        );
    }
}
