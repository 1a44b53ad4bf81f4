//! To whom an image is offered, how long, and whether it can be taken away.

use serde::Deserialize;

use super::parameter;
use crate::query::{Action, Done, Items};

/// Who may start instances of an image, besides its owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Grantee {
    /// An account: 12 digits.
    Account(String),
    /// All accounts of an organisation, by its ARN.
    Organization(String),
    /// All accounts of an organisational unit, by its ARN.
    Unit(String),
    /// Everybody.
    All,
}

/// `ModifyImageAttribute`: allows others to start instances of an image.
#[derive(Debug, Clone)]
pub struct ModifyImageAttribute {
    /// The image.
    pub image: String,
    /// Who may start instances of it, in addition.
    pub added: Vec<Grantee>,
}

impl Action for ModifyImageAttribute {
    const NAME: &'static str = "ModifyImageAttribute";

    const FAILED: &'static str = "Failed to share the AMI";

    const IS_REPEATABLE: bool = true;

    type Answer = Done;

    fn parameters(&self) -> Vec<(String, String)> {
        let mut parameters = vec![parameter("ImageId", &self.image)];
        let numbered = self.added.iter().zip(1..);
        parameters.extend(numbered.map(|(grantee, number)| {
            let (kind, value) = match grantee {
                Grantee::Account(account) => ("UserId", account.as_str()),
                Grantee::Organization(arn) => ("OrganizationArn", arn.as_str()),
                Grantee::Unit(arn) => ("OrganizationalUnitArn", arn.as_str()),
                Grantee::All => ("Group", "all"),
            };
            parameter(&format!("LaunchPermission.Add.{number}.{kind}"), value)
        }));
        parameters
    }
}

/// `DescribeImageAttribute`: who may start instances of an image of this account.
#[derive(Debug, Clone)]
pub struct DescribeLaunchPermissions {
    /// The image.
    pub image: String,
}

impl Action for DescribeLaunchPermissions {
    const NAME: &'static str = "DescribeImageAttribute";

    const FAILED: &'static str = "Failed to look up who may start instances of the AMI";

    const IS_REPEATABLE: bool = true;

    type Answer = LaunchPermissions;

    fn parameters(&self) -> Vec<(String, String)> {
        vec![
            parameter("ImageId", &self.image),
            parameter("Attribute", "launchPermission"),
        ]
    }
}

/// What [`DescribeLaunchPermissions`] answers.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LaunchPermissions {
    #[serde(default)]
    launch_permission: Items<LaunchPermission>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
struct LaunchPermission {
    group: Option<String>,
    user_id: Option<String>,
    organization_arn: Option<String>,
    organizational_unit_arn: Option<String>,
}

impl LaunchPermissions {
    /// Who may.
    pub fn grantees(&self) -> Vec<Grantee> {
        let of = |permission: &LaunchPermission| {
            let LaunchPermission {
                group,
                user_id,
                organization_arn,
                organizational_unit_arn,
            } = permission.clone();
            let group = group.filter(|group| group == "all").map(|_| Grantee::All);
            group
                .or(user_id.map(Grantee::Account))
                .or(organization_arn.map(Grantee::Organization))
                .or(organizational_unit_arn.map(Grantee::Unit))
        };
        self.launch_permission.iter().filter_map(of).collect()
    }
}

/// `EnableImageDeprecation`: sets when an image is not listed for others any more.
#[derive(Debug, Clone)]
pub struct EnableImageDeprecation {
    /// The image.
    pub image: String,
    /// When, `YYYY-MM-DDTHH:MM:SSZ`; EC2 rounds to the minute. At most ten years from now, two for public images.
    pub deprecate_at: String,
}

impl Action for EnableImageDeprecation {
    const NAME: &'static str = "EnableImageDeprecation";

    const FAILED: &'static str = "Failed to set the AMI's deprecation";

    const IS_REPEATABLE: bool = true;

    type Answer = Done;

    fn parameters(&self) -> Vec<(String, String)> {
        vec![
            parameter("ImageId", &self.image),
            parameter("DeprecateAt", &self.deprecate_at),
        ]
    }
}

/// `EnableImageDeregistrationProtection`: an image cannot be deregistered until the protection is disabled.
#[derive(Debug, Clone)]
pub struct EnableImageDeregistrationProtection {
    /// The image.
    pub image: String,
}

impl Action for EnableImageDeregistrationProtection {
    const NAME: &'static str = "EnableImageDeregistrationProtection";

    const FAILED: &'static str = "Failed to protect the AMI";

    const IS_REPEATABLE: bool = true;

    type Answer = Done;

    fn parameters(&self) -> Vec<(String, String)> {
        vec![parameter("ImageId", &self.image)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_grantee_has_its_own_parameter() {
        let action = ModifyImageAttribute {
            image: "ami-1".to_owned(),
            added: vec![
                Grantee::Account("123456789012".to_owned()),
                Grantee::Organization("o".to_owned()),
                Grantee::Unit("u".to_owned()),
                Grantee::All,
            ],
        };
        let expected = [
            ("ImageId", "ami-1"),
            ("LaunchPermission.Add.1.UserId", "123456789012"),
            ("LaunchPermission.Add.2.OrganizationArn", "o"),
            ("LaunchPermission.Add.3.OrganizationalUnitArn", "u"),
            ("LaunchPermission.Add.4.Group", "all"),
        ];
        assert_eq!(
            action.parameters(),
            expected.map(|(name, value)| parameter(name, value))
        );
    }
}
