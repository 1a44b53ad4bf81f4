//! The options that say who asks AWS, and where.

use ami_aws::{EndpointSettings, is_region};
use ami_cli::{Context, Failure};
use ami_lifecycle::Access;
use ami_remote_cli::AccountOptions;
use ami_s3::{Endpoint, Settings, Signature};
use clap::Args;

const WHERE: &str = "Where";

/// Who asks, and where.
#[derive(Debug, Clone, Args)]
pub struct AccessOptions {
    /// The region [default: that of the environment, the profile or the instance, else us-east-1]
    #[arg(long, value_name = "REGION", value_parser = region, help_heading = WHERE)]
    pub region: Option<String>,
    /// A server in place of AWS's
    #[arg(long, value_name = "URL", value_parser = url, help_heading = WHERE)]
    pub endpoint_url: Option<String>,
    #[command(flatten)]
    pub account: AccountOptions,
}

impl AccessOptions {
    /// How AWS is reached.
    pub fn access(&self, context: &Context) -> Result<Access, Failure> {
        Ok(Access {
            identity: self.account.identity(context)?,
            region: self.region.clone(),
            server: self.endpoint_url.clone(),
        })
    }

    /// How S3 is reached, with the same credentials.
    pub fn s3(&self, access: &Access) -> Result<Settings, Failure> {
        let identity = access.identity.clone();
        let given = match &self.endpoint_url {
            Some(url) => Some(("--endpoint-url".to_owned(), url.clone())),
            None => {
                let configured = EndpointSettings::load(identity.profile()).url("S3");
                configured.map(|configured| (configured.setting, configured.url))
            }
        };
        let endpoint = given.map(|(setting, url)| {
            url.parse::<Endpoint>().map_err(|reason| {
                Failure::usage(format!("{setting} has invalid value '{url}': {reason}"))
            })
        });
        Ok(Settings {
            identity,
            region: self.region.clone(),
            endpoint: endpoint.transpose()?,
            signature: Signature::V4,
            retry: true,
            requester_pays: false,
        })
    }
}

/// A region's name.
pub fn region(text: &str) -> Result<String, String> {
    // Servers of somebody's own may have regions of any name.
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    let is_other = !text.is_empty() && text.len() < 64 && text.bytes().all(is_name);
    match is_region(text) || is_other {
        true => Ok(text.to_owned()),
        false => Err("the name of a region is needed, such as eu-west-1".to_owned()),
    }
}

fn url(text: &str) -> Result<String, String> {
    let scheme = text.split_once("://").map(|(scheme, _)| scheme);
    match scheme.map(str::to_ascii_lowercase).as_deref() {
        Some("http" | "https") => Ok(text.to_owned()),
        _ => Err("a URL is needed, such as http://127.0.0.1:8000".to_owned()),
    }
}
