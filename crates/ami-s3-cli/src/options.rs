//! The options that every command with S3 has.

use std::fmt;
use std::num::NonZeroUsize;
use std::str::FromStr;

use ami_cli::{Context, Failure};
use ami_s3::{BucketPath, Endpoint, Identity, Settings, Signature, is_region};
use clap::ArgAction::SetTrue;
use clap::Args;
use zeroize::Zeroizing;

const WHERE: &str = "Where in S3";
const WHO: &str = "Who asks";
const HOW: &str = "How it is transferred";

/// AWS's tools know it as a session token.
const DELEGATION_TOKEN: &str = "AWS_DELEGATION_TOKEN";

/// AWS SDKs and tools reference guide, "Service-specific endpoints"; the first that is set counts.
const ENDPOINT_VARIABLES: [&str; 2] = ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"];

/// More would be refused by S3 rather than be faster.
const MOST_PARALLEL: usize = 64;

/// A value that is never shown, and wiped when it is dropped.
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

/// Who asks, where, and how many things at once.
#[derive(Debug, Clone, Args)]
pub struct S3Options {
    /// The bucket, and the folder in it: BUCKET or BUCKET/FOLDER
    #[arg(short = 'b', long, value_name = "BUCKET", help_heading = WHERE)]
    pub bucket: Option<BucketPath>,
    /// Your access key's ID [default: credentials are looked for, see the manual]
    #[arg(short = 'a', long, value_name = "ID", help_heading = WHO)]
    access_key: Option<String>,
    /// Your secret key; others on this machine can see it here
    #[arg(short = 's', long, value_name = "SECRET", help_heading = WHO)]
    secret_key: Option<Secret>,
    /// The token of temporary credentials
    #[arg(short = 't', long, value_name = "TOKEN", help_heading = WHO)]
    delegation_token: Option<Secret>,
    /// Take the credentials of this profile
    #[arg(long, value_name = "NAME", help_heading = WHO)]
    profile: Option<String>,
    /// The region to ask in [default: the bucket's]
    #[arg(long, value_name = "REGION", help_heading = WHERE)]
    region: Option<String>,
    /// An S3-compatible server
    #[arg(long, value_name = "URL", help_heading = WHERE)]
    url: Option<Endpoint>,
    /// The same as --url
    #[arg(long, value_name = "URL", help_heading = WHERE)]
    endpoint_url: Option<Endpoint>,
    /// How requests are signed: 4, or 2 for old servers
    #[arg(long, value_name = "VERSION", default_value = "4", value_parser = signature, help_heading = WHERE)]
    sigv: Signature,
    /// Try up to five times what fails
    #[arg(long, action = SetTrue, help_heading = HOW)]
    pub retry: bool,
    /// How many files are transferred at once
    #[arg(long, value_name = "N", default_value = "8", value_parser = parallel, help_heading = HOW)]
    parallel: NonZeroUsize,
    /// Print one JSON object in place of the status lines; asks nothing
    #[arg(long, action = SetTrue, help_heading = HOW)]
    pub json: bool,
}

fn signature(text: &str) -> Result<Signature, String> {
    match text {
        "2" => Ok(Signature::V2),
        "4" => Ok(Signature::V4),
        _ => Err("Please specify one of these values: 2, 4".to_owned()),
    }
}

fn parallel(text: &str) -> Result<NonZeroUsize, String> {
    let number = text.parse().ok();
    number
        .filter(|number: &NonZeroUsize| number.get() <= MOST_PARALLEL)
        .ok_or_else(|| format!("a number from 1 to {MOST_PARALLEL} is needed."))
}

impl S3Options {
    /// The region that was given, if any.
    pub fn region(&self) -> Option<&str> {
        self.region.as_deref().filter(|region| !region.is_empty())
    }

    /// How many files are transferred at once.
    pub fn parallel(&self) -> usize {
        self.parallel.get()
    }

    /// What is needed to connect. `location` is where the bucket was asked for, if a region was not.
    ///
    /// # Errors
    /// Half of a pair of keys, or what cannot go together; a region that is no name of one.
    pub fn settings(&self, location: Option<&str>, context: &Context) -> Result<Settings, Failure> {
        let identity = self.identity(context)?;
        let region = self.region().or(location).map(str::to_owned);
        if let Some(region) = region.as_deref().filter(|region| !is_region(region)) {
            let text = format!("{region:?} is not the name of a region, such as eu-west-1");
            return Err(Failure::new(ami_cli::exit::OTHER, text));
        }
        let endpoint = self.endpoint_url.clone().or_else(|| self.url.clone());
        let endpoint = match endpoint {
            Some(endpoint) => Some(endpoint),
            None => environment_endpoint()?,
        };
        Ok(Settings {
            identity,
            region,
            endpoint,
            signature: self.sigv,
            retry: self.retry,
        })
    }

    fn identity(&self, context: &Context) -> Result<Identity, Failure> {
        let missing = |name| Failure::usage(format!("missing mandatory parameter: --{name}"));
        let (access_key, secret_key) = match (&self.access_key, &self.secret_key) {
            (None, None) => {
                if self.delegation_token.is_some() {
                    return Err(missing("access-key"));
                }
                let profile = self.profile.clone();
                return Ok(Identity::Chain { profile });
            }
            (None, Some(_)) => return Err(missing("access-key")),
            (Some(_), None) => return Err(missing("secret-key")),
            (Some(access_key), Some(Secret(secret_key))) => (access_key, secret_key),
        };
        if self.profile.is_some() {
            return Err(Failure::usage(
                "--access-key and --profile may not both be provided",
            ));
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

fn environment_endpoint() -> Result<Option<Endpoint>, Failure> {
    let set = ENDPOINT_VARIABLES.iter().find_map(|name| {
        let value = std::env::var(name).ok().filter(|value| !value.is_empty())?;
        Some((name, value))
    });
    set.map(|(name, value)| {
        let invalid =
            |reason| Failure::usage(format!("{name} has invalid value '{value}': {reason}"));
        value.parse().map_err(invalid)
    })
    .transpose()
}
