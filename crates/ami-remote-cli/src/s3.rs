//! The options of every command that uses S3.

use std::num::NonZeroUsize;

use ami_aws::{ConfiguredEndpoint, EndpointSettings, is_region};
use ami_cli::markers::{CheckedLast, New, Order, Shape};
use ami_cli::{Context, Failure, exit};
use ami_s3::{BucketPath, Endpoint, Settings, Signature};
use clap::ArgAction::SetTrue;
use clap::Args;

use crate::credentials::CredentialOptions;

const WHERE: &str = "Where in S3";
const HOW: &str = "Performance and output";

/// S3 would refuse more rather than be faster.
const MOST_PARALLEL: usize = 64;

/// Credentials, the bucket and how it is reached, and how many files are transferred at once.
#[derive(Debug, Clone, Args)]
pub struct S3Options {
    /// The bucket, and the folder in it: BUCKET or BUCKET/FOLDER
    #[arg(short = 'b', long, value_name = "BUCKET", add = Order(5), add = CheckedLast, help_heading = WHERE)]
    pub bucket: BucketPath,
    /// Credentials.
    #[command(flatten)]
    pub credentials: CredentialOptions,
    /// The region to connect to [default: the bucket's]
    #[arg(long, value_name = "REGION", add = Shape::TextOrNothing, help_heading = WHERE)]
    region: Option<String>,
    /// An S3-compatible server
    #[arg(long, value_name = "URL", add = CheckedLast, help_heading = WHERE)]
    url: Option<Endpoint>,
    /// The same as --url
    #[arg(long, value_name = "URL", add = New, add = CheckedLast, help_heading = WHERE)]
    endpoint_url: Option<Endpoint>,
    /// How requests are signed: 4, or 2 for old servers
    #[arg(long, value_name = "VERSION", default_value = "4", value_parser = signature, add = CheckedLast, add = Shape::TextOrNothing, help_heading = WHERE)]
    sigv: Signature,
    /// Try up to five times if something fails
    #[arg(long, action = SetTrue, help_heading = HOW)]
    pub retry: bool,
    /// How many files to transfer at once
    #[arg(long, value_name = "N", default_value = "8", value_parser = parallel, add = New, help_heading = HOW)]
    parallel: NonZeroUsize,
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
    /// The given region, if any.
    pub fn region(&self) -> Option<&str> {
        self.region.as_deref().filter(|region| !region.is_empty())
    }

    /// The given region, if it can be one of S3's: AWS's have names of a certain form, those of other servers can have any.
    ///
    /// # Errors
    /// The environment or the profile configures a server that is not a URL.
    pub fn region_of_s3(&self) -> Result<Option<&str>, Failure> {
        let is_server = is_server(self.endpoint()?.as_ref());
        let region = self.region();
        Ok(region.filter(|region| is_server || is_region(region)))
    }

    fn endpoint(&self) -> Result<Option<Endpoint>, Failure> {
        match self.endpoint_url.clone().or_else(|| self.url.clone()) {
            Some(endpoint) => Ok(Some(endpoint)),
            None => self.configured_endpoint(),
        }
    }

    /// The endpoint that the environment or the profile configures.
    fn configured_endpoint(&self) -> Result<Option<Endpoint>, Failure> {
        let settings = EndpointSettings::load(self.credentials.profile());
        let configured = settings.url("S3");
        configured
            .map(|ConfiguredEndpoint { setting, url }| {
                let invalid = |reason| {
                    Failure::usage(format!("{setting} has invalid value '{url}': {reason}"))
                };
                url.parse().map_err(invalid)
            })
            .transpose()
    }

    /// How many files are transferred at once.
    pub fn parallel(&self) -> usize {
        self.parallel.get()
    }

    /// The settings of the connection, which begins in `region`.
    ///
    /// # Errors
    /// Half of a pair of keys, or options that exclude each other; for AWS, a text that cannot be the name of a region.
    pub fn settings(&self, region: Option<&str>, context: &Context) -> Result<Settings, Failure> {
        let identity = self.credentials.identity(context)?;
        let region = region.map(str::to_owned);
        let endpoint = self.endpoint()?;
        let is_known = |region: &&str| is_region(region) || is_server(endpoint.as_ref());
        if let Some(region) = region.as_deref().filter(|region| !is_known(region)) {
            let text = format!("{region:?} is not the name of a region, such as eu-west-1");
            return Err(Failure::new(exit::OTHER, text));
        }
        Ok(Settings {
            identity,
            region,
            endpoint,
            signature: self.sigv,
            retry: self.retry,
            requester_pays: false,
        })
    }
}

/// Whether it is not AWS but another server, whose region can have any name.
fn is_server(endpoint: Option<&Endpoint>) -> bool {
    matches!(endpoint, Some(Endpoint::Server(_)))
}
