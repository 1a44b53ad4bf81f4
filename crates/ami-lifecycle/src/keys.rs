//! The KMS keys of the snapshots that are made: which they are, and whether EBS encrypts with them.

use ami_account::{Account, Key};
use ami_ec2::GetEbsDefaultKmsKeyId;

use crate::access::Link;
use crate::create::{Create, CreatePlan};
use crate::error::Error;
use crate::source::{Origin, Warning};

/// AWS's own key for EBS, which an account has, or gets when it is first used (EBS user guide, "How EBS encryption works").
const OF_AWS: &str = "alias/aws/ebs";

/// The region and the resource of a key that is named by an ARN: `arn:PARTITION:kms:REGION:ACCOUNT:RESOURCE`.
fn parts_of_arn(name: &str) -> Option<(&str, &str)> {
    let parts: Vec<&str> = name.splitn(6, ':').collect();
    match parts[..] {
        ["arn", _, "kms", region, _, resource] => Some((region, resource)),
        _ => None,
    }
}

/// Whether this is a key's own ARN, and no alias's.
fn is_arn(name: &str) -> bool {
    parts_of_arn(name).is_some_and(|(_, resource)| resource.starts_with("key/"))
}

/// Refuses a key of another region than that of the snapshot that it is to encrypt: EC2 would notice only when all is copied.
pub(crate) fn check_region(name: &str, region: &str) -> Result<(), Error> {
    match parts_of_arn(name) {
        Some((of_key, _)) if of_key != region => Err(Error::KeyElsewhere {
            key: name.to_owned(),
            region: region.to_owned(),
        }),
        _ => Ok(()),
    }
}

fn missing(name: &str, account: &Account<'_>) -> Error {
    Error::NoKey {
        key: name.to_owned(),
        region: account.region().to_owned(),
    }
}

fn flaws(name: &str, key: &Key, account: &Account<'_>) -> Vec<Error> {
    let flaws = key.flaws().into_iter();
    let errors = flaws.map(|flaw| Error::KeyUnusable {
        key: name.to_owned(),
        arn: key.arn.clone(),
        region: account.region().to_owned(),
        flaw,
    });
    errors.collect()
}

/// The ARN of the key of this name, which is all that StartSnapshot takes. Of a name that is one already nothing is asked.
///
/// # Errors
/// There is no such key, or EBS does not encrypt with it; KMS cannot be asked.
pub(crate) async fn resolve(account: &Account<'_>, name: &str) -> Result<String, Error> {
    check_region(name, account.region())?;
    if is_arn(name) {
        return Ok(name.to_owned());
    }
    let key = account.key(name).await?;
    let key = key.ok_or_else(|| missing(name, account))?;
    match flaws(name, &key, account).into_iter().next() {
        Some(problem) => Err(problem),
        None => Ok(key.arn),
    }
}

impl CreatePlan {
    /// Looks at the key of the snapshot here, and at those of the copies.
    ///
    /// # Errors
    /// A region's name is none.
    pub(crate) async fn look_at_keys(
        &mut self,
        request: &Create,
        link: &Link,
    ) -> Result<(), Error> {
        let is_encrypted = self.encrypted == Some(true) || request.is_encrypted();
        if !matches!(request.origin, Origin::Snapshot(_)) {
            let region = &link.region;
            self.kms_key = match &request.kms_key {
                Some(name) => {
                    self.look_at_key(name, !is_arn(name), &link.account(region))
                        .await
                }
                None if is_encrypted => self.look_at_default_key(region, link).await?,
                None => None,
            };
        }
        for copy in &request.distribution.copies {
            let region = &copy.region;
            let _ = match &copy.kms_key {
                Some(name) => self.look_at_key(name, false, &link.account(region)).await,
                // Copies of what is encrypted are.
                None if is_encrypted || copy.encrypted => {
                    self.look_at_default_key(region, link).await?
                }
                None => None,
            };
        }
        Ok(())
    }

    /// Gives the key's ARN, if that is known. `is_resolved`: what is made needs it, so that it is a problem if KMS cannot be asked.
    async fn look_at_key(
        &mut self,
        name: &str,
        is_resolved: bool,
        account: &Account<'_>,
    ) -> Option<String> {
        if let Err(elsewhere) = check_region(name, account.region()) {
            self.problems.push(elsewhere);
            return None;
        }
        match account.key(name).await {
            Ok(Some(key)) => {
                self.problems.extend(flaws(name, &key, account));
                Some(key.arn)
            }
            Ok(None) => {
                self.problems.push(missing(name, account));
                None
            }
            Err(error) if is_resolved => {
                self.problems.push(error.into());
                None
            }
            Err(error) => {
                self.warnings.push(Warning::KeyUnknown {
                    key: Some(name.to_owned()),
                    region: account.region().to_owned(),
                    reason: error.error.to_string(),
                });
                is_arn(name).then(|| name.to_owned())
            }
        }
    }

    /// The same for the key that EBS takes where none is named.
    async fn look_at_default_key(
        &mut self,
        region: &str,
        link: &Link,
    ) -> Result<Option<String>, Error> {
        let asked = link.there(region)?.perform(&GetEbsDefaultKmsKeyId).await;
        Ok(match asked.map(|answer| answer.kms_key_id) {
            Ok(Some(name)) if !name.ends_with(OF_AWS) => {
                self.look_at_key(&name, false, &link.account(region)).await
            }
            Ok(name) => name,
            Err(error) => {
                let reason = match error {
                    ami_ec2::Error::Request { error, .. } => error.to_string(),
                    other => other.to_string(),
                };
                self.warnings.push(Warning::KeyUnknown {
                    key: None,
                    region: region.to_owned(),
                    reason,
                });
                None
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_keys_own_arn_needs_no_resolving() {
        let arn = "arn:aws:kms:us-east-1:123456789012:";
        assert!(is_arn(&format!("{arn}key/1234abcd")));
        assert!(is_arn("arn:aws-cn:kms:cn-north-1:123456789012:key/mrk-1"));
        for name in [&*format!("{arn}alias/a"), "alias/a", "1234abcd", "mrk-1"] {
            assert!(!is_arn(name), "{name}");
        }
    }

    #[test]
    fn a_key_is_of_the_region_of_its_snapshot() {
        let arn = |what: &str| format!("arn:aws:kms:us-east-1:123456789012:{what}");
        for name in [&*arn("key/1"), &*arn("alias/a"), "alias/a", "1234abcd"] {
            assert!(check_region(name, "us-east-1").is_ok(), "{name}");
        }
        for name in [arn("key/1"), arn("alias/a")] {
            let refused = check_region(&name, "eu-west-1").unwrap_err().to_string();
            let expected = format!("the KMS key {name} is not of eu-west-1");
            assert_eq!(refused, expected);
        }
    }
}
