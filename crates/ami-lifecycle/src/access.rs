//! Who asks AWS, and where.

use ami_account::Account;
use ami_aws::{Aws, DEFAULT_REGION, Identity};
use ami_ec2::{Ec2, Regional};
use tracing::debug;

use crate::error::Error;

/// How AWS is reached.
#[derive(Debug, Clone)]
pub struct Access {
    /// Who asks.
    pub identity: Identity,
    /// The region; `None` for the one that the sources of the credentials name, else us-east-1.
    pub region: Option<String>,
    /// A server in place of AWS's, for EC2, EBS, KMS and Service Quotas in all regions.
    pub server: Option<String>,
}

/// AWS, for one story.
pub(crate) struct Link {
    pub(crate) aws: Aws,
    pub(crate) ec2: Ec2,
    pub(crate) region: String,
    server: Option<String>,
}

impl Link {
    /// Finds the credentials and the region; no service is asked for anything else.
    pub(crate) async fn open(access: &Access) -> Result<Self, Error> {
        let aws = Aws::open(&access.identity).await?;
        let named = access.region.as_deref().or(aws.region());
        let region = named.unwrap_or(DEFAULT_REGION).to_owned();
        debug!(region, server = access.server, "EC2");
        let ec2 = Ec2::of(aws.clone(), access.server.clone());
        let link = Self {
            aws,
            ec2,
            region,
            server: access.server.clone(),
        };
        // A name that is none would be refused by each request.
        let _ = link.here()?;
        Ok(link)
    }

    /// EC2 in the story's region.
    pub(crate) fn here(&self) -> Result<Regional<'_>, Error> {
        self.there(&self.region)
    }

    /// EC2 in another region.
    pub(crate) fn there<'a>(&'a self, region: &'a str) -> Result<Regional<'a>, Error> {
        Ok(self.ec2.of_region(region)?)
    }

    /// The account's keys and quotas in a region, whose name has been checked.
    pub(crate) fn account<'a>(&'a self, region: &'a str) -> Account<'a> {
        Account::new(&self.aws, region, self.server.as_deref())
    }
}
