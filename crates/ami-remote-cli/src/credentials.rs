//! The options for credentials.

use std::fmt;
use std::str::FromStr;

use ami_aws::{Identity, Role};
use ami_cli::markers::New;
use ami_cli::{Context, Failure};
use clap::Args;
use zeroize::Zeroizing;

const CREDENTIALS: &str = "Credentials";

/// AWS's tools call it the session token.
const DELEGATION_TOKEN: &str = "AWS_DELEGATION_TOKEN";

/// A value that is never shown, and is wiped when dropped.
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

impl FromStr for Secret {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(Zeroizing::new(text.to_owned())))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// The credentials for AWS.
#[derive(Debug, Clone, Args)]
pub struct CredentialOptions {
    /// Your access key's ID [default: credentials are searched for, see the manual]
    #[arg(short = 'a', long, value_name = "ID", help_heading = CREDENTIALS)]
    access_key: Option<String>,
    /// Your secret key; others on this machine can see it here
    #[arg(short = 's', long, value_name = "SECRET", help_heading = CREDENTIALS)]
    secret_key: Option<Secret>,
    /// The token of temporary credentials
    #[arg(short = 't', long, value_name = "TOKEN", help_heading = CREDENTIALS)]
    delegation_token: Option<Secret>,
    /// Use the credentials of this profile
    #[arg(long, value_name = "NAME", add = New, help_heading = CREDENTIALS)]
    profile: Option<String>,
}

impl CredentialOptions {
    /// The chosen profile, if any.
    pub fn profile(&self) -> Option<&str> {
        self.profile.as_deref()
    }

    /// The missing option, if only half of a pair of keys was given.
    pub fn missing(&self) -> Option<&'static str> {
        match (&self.access_key, &self.secret_key) {
            (None, Some(_)) => Some("access-key"),
            (Some(_), None) => Some("secret-key"),
            (None, None) if self.delegation_token.is_some() => Some("access-key"),
            _ => None,
        }
    }

    /// The given credentials, or where to look for others.
    ///
    /// # Errors
    /// Half of a pair of keys, or options that exclude each other.
    pub fn identity(&self, context: &Context) -> Result<Identity, Failure> {
        if let Some(name) = self.missing() {
            return Err(Failure::missing(name));
        }
        let (Some(access_key), Some(Secret(secret_key))) = (&self.access_key, &self.secret_key)
        else {
            let profile = self.profile.clone();
            return Ok(Identity::Chain { profile });
        };
        if self.profile.is_some() {
            return Err(Failure::not_both("access-key", "profile"));
        }
        if !context.is_batch() {
            context.warn(
                "Others on this machine can see the keys on your command line. Without -a, -s and -t they are taken from the \
                 environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY), from a profile or from the instance's role.",
            );
        }
        let token = match &self.delegation_token {
            Some(Secret(token)) => Some(token.clone()),
            None => std::env::var(DELEGATION_TOKEN).ok().map(Zeroizing::new),
        };
        Ok(Identity::Given {
            access_key: access_key.clone(),
            secret_key: secret_key.clone(),
            token: token.filter(|token| !token.is_empty()),
        })
    }
}

/// The credentials for AWS, and the role that they assume, perhaps in another account.
#[derive(Debug, Clone, Args)]
pub struct AccountOptions {
    /// Whose credentials.
    #[command(flatten)]
    pub credentials: CredentialOptions,
    /// Assume this role first, perhaps one of another account
    #[arg(long, value_name = "ARN", value_parser = role, help_heading = CREDENTIALS)]
    assume_role: Option<String>,
    /// The external ID that the role's owner asks for
    #[arg(long, value_name = "ID", requires = "assume_role", help_heading = CREDENTIALS)]
    external_id: Option<Secret>,
}

/// IAM user guide, "IAM ARNs".
fn role(text: &str) -> Result<String, String> {
    let mut parts = text.splitn(6, ':');
    let mut part = || parts.next().unwrap_or_default();
    let is_role = part() == "arn" && !part().is_empty() && part() == "iam";
    let is_global = part().is_empty();
    let is_account = part().len() == 12;
    match is_role && is_global && is_account && part().starts_with("role/") {
        true => Ok(text.to_owned()),
        false => Err("a role's ARN is needed: arn:aws:iam::ACCOUNT:role/NAME".to_owned()),
    }
}

impl AccountOptions {
    /// The role that is assumed, if any.
    pub fn role(&self) -> Option<&str> {
        self.assume_role.as_deref()
    }

    /// Who asks.
    ///
    /// # Errors
    /// Half of a pair of keys, or what cannot go together.
    pub fn identity(&self, context: &Context) -> Result<Identity, Failure> {
        let identity = self.credentials.identity(context)?;
        let Some(arn) = &self.assume_role else {
            return Ok(identity);
        };
        let external_id = self.external_id.as_ref();
        Ok(Identity::Role {
            assumed_by: Box::new(identity),
            role: Role {
                arn: arn.clone(),
                external_id: external_id.map(|Secret(id)| id.clone()),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_has_an_arn() {
        for text in [
            "arn:aws:iam::123456789012:role/a",
            "arn:aws-cn:iam::123456789012:role/path/to:it",
        ] {
            assert_eq!(role(text).as_deref(), Ok(text));
        }
        for text in [
            "",
            "a",
            "arn:aws:iam::123456789012:user/a",
            "arn:aws:iam:eu-west-1:123456789012:role/a",
            "arn:aws:iam::12345678901:role/a",
            "arn:aws:sts::123456789012:role/a",
        ] {
            assert!(role(text).is_err(), "{text}");
        }
    }
}
