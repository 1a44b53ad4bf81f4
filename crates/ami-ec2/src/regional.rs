//! EC2 in one region.

use std::time::Duration;

use ami_aws::{RequestError, Verdict, verdict};
use tracing::debug;

use crate::actions::images::{DescribeImages, Image};
use crate::actions::snapshots::{DescribeSnapshots, Snapshot};
use crate::connection::Ec2;
use crate::endpoint;
use crate::error::Error;
use crate::query::{Action, Client, Filter, Permission};

/// The images or snapshots of an answer, which the client limits in bytes too.
const PAGE: u32 = 200;

/// The most answers that a list may be spread over: an account has up to 100,000 snapshots in a region (EBS user guide, "Quotas"), of
/// which filters leave a few.
const MOST_PAGES: usize = 50;

/// How long all answers of a list together may take.
const LONGEST: Duration = Duration::from_secs(600);

/// Who asks, as an owner.
const SELF: &str = "self";

/// EC2 in one region.
pub struct Regional<'a> {
    ec2: &'a Ec2,
    region: &'a str,
}

impl Ec2 {
    /// EC2 in a region.
    ///
    /// # Errors
    /// [`Error::NoRegion`]: it is no name of one, and could lead to another host.
    pub fn of_region<'a>(&'a self, region: &'a str) -> Result<Regional<'a>, Error> {
        if !endpoint::is_label(region) {
            let region = region.to_owned();
            return Err(Error::NoRegion { region });
        }
        Ok(Regional { ec2: self, region })
    }
}

impl Regional<'_> {
    /// The region's name.
    pub fn region(&self) -> &str {
        self.region
    }

    fn client(&self) -> Client<'_> {
        self.ec2.client(self.region)
    }

    /// Performs an action. What fails and may succeed is tried again, if that does no harm.
    ///
    /// # Errors
    /// EC2's refusal; no answer. Of an action that is not repeatable, [`Error::may_have_been_done`] says whether to look.
    pub async fn perform<A: Action>(&self, action: &A) -> Result<A::Answer, Error> {
        debug!(region = self.region, "EC2: {}", A::NAME);
        let answer = self.client().perform(action).await;
        answer.map_err(|error| Error::of(A::FAILED, self.region, error))
    }

    /// Asks whether these credentials allow an action, which is not performed.
    ///
    /// # Errors
    /// EC2 refuses it for another reason; no answer.
    pub async fn allows<A: Action>(&self, action: &A) -> Result<Permission, Error> {
        debug!(region = self.region, "EC2: {}, dry", A::NAME);
        let answer = self.client().try_dry(action).await;
        answer.map_err(|error| Error::of(A::FAILED, self.region, error))
    }

    /// The image of this ID, whoever owns it.
    ///
    /// # Errors
    /// EC2 cannot be asked.
    pub async fn image(&self, id: &str) -> Result<Option<Image>, Error> {
        let images = self.images(&[], "image-id", id).await?;
        let mut images = images.into_iter();
        Ok(images.find(|image| image.image_id.as_deref() == Some(id)))
    }

    /// The images of this account with this name: one that was registered, and any number of copies.
    ///
    /// # Errors
    /// EC2 cannot be asked.
    pub async fn images_named(&self, name: &str) -> Result<Vec<Image>, Error> {
        let mut images = self.images(&[SELF], "name", name).await?;
        // `*` and `?` stand for other text.
        images.retain(|image| image.name.as_deref() == Some(name));
        Ok(images)
    }

    /// The images of this account that use a snapshot.
    ///
    /// # Errors
    /// EC2 cannot be asked.
    pub async fn images_of_snapshot(&self, snapshot: &str) -> Result<Vec<Image>, Error> {
        let filter = "block-device-mapping.snapshot-id";
        let mut images = self.images(&[SELF], filter, snapshot).await?;
        images.retain(|image| image.snapshots().contains(&snapshot));
        Ok(images)
    }

    async fn images(
        &self,
        owners: &[&str],
        filter: &str,
        value: &str,
    ) -> Result<Vec<Image>, Error> {
        let mut action = DescribeImages {
            owners: owners.iter().map(|&owner| owner.to_owned()).collect(),
            filters: vec![Filter::new(filter, value)],
            include_deprecated: true,
            max_results: PAGE,
            next_token: None,
        };
        let pages = async {
            let mut images = Vec::new();
            for _ in 0..MOST_PAGES {
                let page = self.perform(&action).await?;
                images.extend(page.images_set);
                action.next_token = page.next_token.filter(|token| !token.is_empty());
                if action.next_token.is_none() {
                    return Ok(images);
                }
            }
            Err(self.endless(DescribeImages::FAILED))
        };
        let described = tokio::time::timeout(LONGEST, pages).await;
        described.unwrap_or_else(|_| Err(self.endless(DescribeImages::FAILED)))
    }

    /// The snapshot of this ID, whoever owns it.
    ///
    /// # Errors
    /// EC2 cannot be asked.
    pub async fn snapshot(&self, id: &str) -> Result<Option<Snapshot>, Error> {
        let filter = Filter::new("snapshot-id", id);
        let mut snapshots = self.snapshots(&[], filter).await?.into_iter();
        Ok(snapshots.find(|snapshot| snapshot.snapshot_id.as_deref() == Some(id)))
    }

    /// The snapshots of this account that have a tag of this key.
    ///
    /// # Errors
    /// EC2 cannot be asked.
    pub async fn snapshots_tagged(&self, key: &str) -> Result<Vec<Snapshot>, Error> {
        let filter = Filter::new("tag-key", key);
        let mut snapshots = self.snapshots(&[SELF], filter).await?;
        snapshots.retain(|snapshot| snapshot.tags().contains_key(key));
        Ok(snapshots)
    }

    async fn snapshots(&self, owners: &[&str], filter: Filter) -> Result<Vec<Snapshot>, Error> {
        let mut action = DescribeSnapshots {
            owners: owners.iter().map(|&owner| owner.to_owned()).collect(),
            filters: vec![filter],
            max_results: PAGE,
            next_token: None,
        };
        let pages = async {
            let mut snapshots = Vec::new();
            for _ in 0..MOST_PAGES {
                let page = self.perform(&action).await?;
                snapshots.extend(page.snapshot_set);
                action.next_token = page.next_token.filter(|token| !token.is_empty());
                if action.next_token.is_none() {
                    return Ok(snapshots);
                }
            }
            Err(self.endless(DescribeSnapshots::FAILED))
        };
        let described = tokio::time::timeout(LONGEST, pages).await;
        described.unwrap_or_else(|_| Err(self.endless(DescribeSnapshots::FAILED)))
    }

    fn endless(&self, operation: &'static str) -> Error {
        let reason = "the server's answers have no end".to_owned();
        Error::of(operation, self.region, RequestError::Unread(reason))
    }
}

impl Error {
    /// EC2's code for its refusal, if it has refused something.
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Request {
                error: RequestError::Service(error),
                ..
            } => Some(&error.code),
            _ => None,
        }
    }

    /// Whether EC2 may have done what was asked all the same: no answer came, or one that says nothing.
    pub fn may_have_been_done(&self) -> bool {
        match self {
            Self::Request { error, .. } => {
                matches!(error, RequestError::Deadline(_))
                    || verdict(error, |_| None) == Verdict::Transient
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ami_aws::ServiceError;

    #[test]
    fn what_was_not_answered_may_have_been_done() {
        let of = |error| Error::of("Failed", "eu-west-1", error);
        let service = |code: &str, status| {
            let mut error = ServiceError::of_item(Some(code), None);
            error.status = status;
            of(RequestError::Service(error))
        };
        for (error, expected) in [
            (of(RequestError::Lost("reset".to_owned())), true),
            (of(RequestError::Timeout), true),
            (of(RequestError::Deadline(LONGEST)), true),
            (service("InternalError", 500), true),
            (of(RequestError::Unreached("refused".to_owned())), false),
            (service("RequestLimitExceeded", 503), false),
            (service("InvalidAMIName.Duplicate", 400), false),
        ] {
            assert_eq!(error.may_have_been_done(), expected, "{error}");
        }
        let error = service("InvalidAMIName.Duplicate", 400);
        assert_eq!(error.code(), Some("InvalidAMIName.Duplicate"));
    }
}
