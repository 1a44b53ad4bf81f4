//! Settings of an account in a region.

use serde::Deserialize;

use crate::query::Action;

/// `GetEbsEncryptionByDefault`: whether every new snapshot and volume is encrypted.
#[derive(Debug, Clone, Copy)]
pub struct GetEbsEncryptionByDefault;

impl Action for GetEbsEncryptionByDefault {
    const NAME: &'static str = "GetEbsEncryptionByDefault";

    const FAILED: &'static str = "Failed to look up encryption by default";

    const IS_REPEATABLE: bool = true;

    type Answer = GetEbsEncryptionByDefaultAnswer;

    fn parameters(&self) -> Vec<(String, String)> {
        Vec::new()
    }
}

/// What `GetEbsEncryptionByDefault` answers.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GetEbsEncryptionByDefaultAnswer {
    /// Whether it is.
    #[serde(default)]
    pub ebs_encryption_by_default: bool,
}

/// `GetEbsDefaultKmsKeyId`: the key of every new encrypted snapshot and volume for which no other is named.
#[derive(Debug, Clone, Copy)]
pub struct GetEbsDefaultKmsKeyId;

impl Action for GetEbsDefaultKmsKeyId {
    const NAME: &'static str = "GetEbsDefaultKmsKeyId";

    const FAILED: &'static str = "Failed to look up the default key of EBS";

    const IS_REPEATABLE: bool = true;

    type Answer = GetEbsDefaultKmsKeyIdAnswer;

    fn parameters(&self) -> Vec<(String, String)> {
        Vec::new()
    }
}

/// What `GetEbsDefaultKmsKeyId` answers.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GetEbsDefaultKmsKeyIdAnswer {
    /// The key's ARN; of AWS's own `alias/aws/ebs`, or the ARN of that alias.
    pub kms_key_id: Option<String>,
}
