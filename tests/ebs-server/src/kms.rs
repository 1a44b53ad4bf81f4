//! KMS: DescribeKey. As in AWS's API model `kms-2014-11-01`.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::error::Refused;
use crate::settings::KmsKey;
use crate::world::{Caller, World};

/// The ID and the alias of AWS's own key for EBS.
const OF_AWS: &str = "00000000-0000-0000-0000-0000000000eb";
const ALIAS_OF_AWS: &str = "aws/ebs";

/// DescribeKey's parameters.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct DescribeKey {
    key_id: Option<String>,
    #[serde(default)]
    grant_tokens: Vec<String>,
}

/// A key that was found.
#[derive(Debug, Clone)]
pub(crate) struct FoundKey {
    pub(crate) arn: String,
    key: KmsKey,
}

impl FoundKey {
    /// Whether EBS encrypts with it.
    fn is_usable(&self) -> bool {
        let KmsKey {
            state, spec, usage, ..
        } = &self.key;
        (&**state, &**spec, &**usage) == ("Enabled", "SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT")
    }
}

fn arn(region: &str, account: &str, resource: &str) -> String {
    format!("arn:aws:kms:{region}:{account}:{resource}")
}

impl World {
    /// The ARN of AWS's own key for EBS.
    pub(crate) fn key_of_aws(&self, region: &str, account: &str) -> String {
        arn(region, account, &format!("key/{OF_AWS}"))
    }

    /// A key that exists: by its ID or ARN, or by the name or ARN of an alias.
    fn key(&self, caller: &Caller, name: &str) -> Option<FoundKey> {
        let arn = |resource: &str| arn(&caller.region, &caller.account, resource);
        let of_aws = KmsKey {
            id: OF_AWS.to_owned(),
            aliases: vec![ALIAS_OF_AWS.to_owned()],
            ..KmsKey::default()
        };
        let mut keys = self.settings.kms_keys.iter().chain([&of_aws]);
        let found = keys.find(|key| {
            let is_alias = |alias: &String| {
                let alias = format!("alias/{alias}");
                name == alias || name == arn(&alias)
            };
            name == key.id
                || name == arn(&format!("key/{}", key.id))
                || key.aliases.iter().any(is_alias)
        });
        found.map(|key| FoundKey {
            arn: arn(&format!("key/{}", key.id)),
            key: key.clone(),
        })
    }

    /// The ARN of the key with which EBS encrypts for a caller; none if there is no such key, or if it cannot be used.
    pub(crate) fn ebs_key(&self, caller: &Caller, name: Option<&str>) -> Option<String> {
        let default = self.default_ebs_key(caller);
        let found = self.key(caller, name.unwrap_or(&default))?;
        found.is_usable().then_some(found.arn)
    }

    /// The key that EBS takes where none is named: its ARN, or the alias of AWS's own.
    pub(crate) fn default_ebs_key(&self, caller: &Caller) -> String {
        let default = self.settings.default_kms_key.as_ref();
        let default = default.and_then(|name| self.key(caller, name));
        default.map_or_else(|| format!("alias/{ALIAS_OF_AWS}"), |key| key.arn)
    }

    pub(crate) fn describe_key(
        &self,
        parameters: &DescribeKey,
        caller: &Caller,
    ) -> Result<Value, Refused> {
        let validation = |message: &str| Refused::new("ValidationException", message);
        let name = parameters.key_id.as_deref().unwrap_or_default();
        if !(1..=2048).contains(&name.len()) {
            return Err(validation("KeyId must have 1 to 2048 characters"));
        }
        if parameters.grant_tokens.len() > 10 {
            return Err(validation("GrantTokens must have at most 10 items"));
        }
        let missing = |message: String| Refused::new("NotFoundException", message);
        let parts: Vec<&str> = name.splitn(6, ':').collect();
        match parts[..] {
            ["arn", _, "kms", region, ..] if region != caller.region => {
                return Err(missing(format!("Invalid arn {region}")));
            }
            ["arn", _, "kms", _, _, resource]
                if resource.starts_with("key/") || resource.starts_with("alias/") => {}
            ["arn", ..] => return Err(Refused::new("InvalidArnException", name)),
            _ => {}
        }
        let found = self.key(caller, name).ok_or_else(|| match name {
            alias if alias.contains("alias/") => missing(format!("Alias {alias} is not found.")),
            key => missing(format!("Key '{key}' does not exist")),
        })?;
        let key = found.key;
        let manager = match key.id == OF_AWS {
            true => "AWS",
            false => "CUSTOMER",
        };
        Ok(json!({"KeyMetadata": {
            "AWSAccountId": caller.account,
            "KeyId": key.id,
            "Arn": found.arn,
            "CreationDate": 1_499_988_169.234,
            "Enabled": key.state == "Enabled",
            "Description": "",
            "KeyUsage": key.usage,
            "KeyState": key.state,
            "Origin": "AWS_KMS",
            "KeyManager": manager,
            "CustomerMasterKeySpec": key.spec,
            "KeySpec": key.spec,
            "MultiRegion": key.id.starts_with("mrk-"),
        }}))
    }
}
