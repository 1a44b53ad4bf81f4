//! The connection to EC2 in each region, and the requests there.

use std::str::FromStr;
use std::time::Duration;

use ami_aws::{Aws, DEFAULT_REGION, Identity, Partition, RequestError, is_label};
use tracing::debug;

use crate::actions::images::{DescribeImages, Image};
use crate::actions::regions::DescribeRegions;
use crate::error::Error;
use crate::query::{Action, Client, EC2, Filter};

/// The images of an answer, which the client limits in bytes too.
const PAGE: u32 = 200;

/// The most answers that a list may be spread over, and with them what is kept of it: AWS has some hundred kernels in a region.
const MOST_PAGES: usize = 50;

/// How long all answers of a list together may take.
const LONGEST: Duration = Duration::from_secs(600);

/// The most regions: all are asked at once.
const MOST_REGIONS: usize = 200;

/// A region that EC2 does not name, and where it is asked: `REGION@URL`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegionEndpoint {
    /// The region's name.
    pub region: String,
    /// Its endpoint.
    pub url: String,
}

impl FromStr for RegionEndpoint {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (region, url) = text.split_once('@').unwrap_or_default();
        let scheme = url
            .split_once("://")
            .map(|(scheme, _)| scheme.to_ascii_lowercase());
        if region.is_empty() || !matches!(scheme.as_deref(), Some("http" | "https")) {
            return Err("REGION@URL is needed, as in test-1@http://127.0.0.1:8000");
        }
        Ok(Self {
            region: region.to_owned(),
            url: url.to_owned(),
        })
    }
}

/// EC2 in all regions.
pub struct Ec2 {
    aws: Aws,
    /// A server in place of AWS's, and of the one that the environment or the profile names, for all regions.
    server: Option<String>,
    additional: Option<RegionEndpoint>,
}

impl Ec2 {
    /// Finds the credentials; nothing is sent to EC2 yet. The environment and the profile may name a server in place of AWS's, or choose
    /// among AWS's ([`EndpointSettings`](ami_aws::EndpointSettings)).
    ///
    /// # Errors
    /// [`Error::Aws`].
    pub async fn open(
        identity: &Identity,
        additional: Option<RegionEndpoint>,
    ) -> Result<Self, Error> {
        Ok(Self {
            aws: Aws::open(identity).await?,
            server: None,
            additional,
        })
    }

    /// EC2 for somebody who is known already. `server` is asked in place of AWS, or of the one that the environment or the profile names.
    pub fn of(aws: Aws, server: Option<String>) -> Self {
        Self {
            aws,
            server,
            additional: None,
        }
    }

    pub(crate) fn client<'a>(&'a self, region: &'a str) -> Client<'a> {
        let of_region = self
            .additional
            .as_ref()
            .filter(|additional| additional.region == region)
            .map(|additional| &additional.url);
        let server = of_region.or(self.server.as_ref());
        Client {
            aws: &self.aws,
            region,
            url: EC2.url(&self.aws, region, server.map(String::as_str)),
        }
    }

    /// The regions that these credentials can use, of the partition that `target` is in, and the additional one.
    pub(crate) async fn regions(&self, target: &str) -> Result<Vec<String>, Error> {
        let partition = Partition::of(target);
        let first = partition.first_region();
        let region = first.or(self.aws.region()).unwrap_or(DEFAULT_REGION);
        debug!(region, "EC2: asking for regions");
        let answer = self.client(region).perform(&DescribeRegions).await;
        let answer = answer.map_err(|error| Error::of(DescribeRegions::FAILED, region, error))?;
        let regions = answer.region_info.into_iter();
        let names = regions
            .filter_map(|region| region.region_name)
            .filter(|name| is_label(name));
        let additional = self
            .additional
            .iter()
            .map(|additional| additional.region.clone());
        let mut regions: Vec<String> = names.chain(additional).collect();
        regions.sort();
        regions.dedup();
        if regions.len() > MOST_REGIONS {
            return Err(endless(DescribeRegions::FAILED, region));
        }
        Ok(regions)
    }

    /// The images of a region that have these IDs; those it does not have are left out.
    pub(crate) async fn images(&self, region: &str, ids: &[String]) -> Result<Vec<Image>, Error> {
        // A filter, because unknown IDs in the action's own ID parameter would be an error.
        let mut images = self.describe(region, Vec::new(), ids.to_vec()).await?;
        images.retain(|image| ids.iter().any(|id| image.image_id.as_ref() == Some(id)));
        Ok(images)
    }

    /// The images of these owners in a region whose IDs begin so: `aki-` are kernels, `ari-` RAM disks.
    pub(crate) async fn images_of(
        &self,
        region: &str,
        owners: Vec<String>,
        begin: &str,
    ) -> Result<Vec<Image>, Error> {
        self.describe(region, owners, vec![format!("{begin}*")])
            .await
    }

    /// The images of these owners, or of everybody, that have one of these IDs.
    async fn describe(
        &self,
        region: &str,
        owners: Vec<String>,
        ids: Vec<String>,
    ) -> Result<Vec<Image>, Error> {
        let described = tokio::time::timeout(LONGEST, self.pages(region, owners, ids)).await;
        described.unwrap_or_else(|_| Err(endless(DescribeImages::FAILED, region)))
    }

    async fn pages(
        &self,
        region: &str,
        owners: Vec<String>,
        ids: Vec<String>,
    ) -> Result<Vec<Image>, Error> {
        debug!(region, ?owners, ?ids, "EC2: asking for images");
        let client = self.client(region);
        let mut action = DescribeImages {
            owners,
            filters: vec![Filter {
                name: "image-id".to_owned(),
                values: ids,
            }],
            include_deprecated: true,
            include_disabled: false,
            max_results: PAGE,
            next_token: None,
        };
        let mut images = Vec::new();
        for _ in 0..MOST_PAGES {
            let page = client.perform(&action).await;
            let page = page.map_err(|error| Error::of(DescribeImages::FAILED, region, error))?;
            images.extend(page.images_set);
            action.next_token = page.next_token.filter(|token| !token.is_empty());
            if action.next_token.is_none() {
                return Ok(images);
            }
        }
        Err(endless(DescribeImages::FAILED, region))
    }
}

fn endless(operation: &'static str, region: &str) -> Error {
    let reason = "the server's answers have no end".to_owned();
    Error::of(operation, region, RequestError::Unread(reason))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_additional_region_has_a_name_and_a_url() {
        let parse = |text: &str| text.parse::<RegionEndpoint>();
        let endpoint = parse("test-region@http://127.0.0.2:8902").unwrap();
        assert_eq!(endpoint.region, "test-region");
        assert_eq!(endpoint.url, "http://127.0.0.2:8902");
        for text in ["", "test-region", "@http://h", "test-region@", "r@ftp://h"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
