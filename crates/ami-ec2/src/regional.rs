//! EC2 in one region.

use std::time::Duration;

use ami_aws::{RequestError, Verdict, is_label, verdict};
use tracing::debug;

use crate::actions::images::{DescribeImages, Image};
use crate::actions::snapshots::{DescribeSnapshots, Snapshot};
use crate::connection::Ec2;
use crate::error::Error;
use crate::query::{Action, Client, Filter, Items, Listing, Permission};

/// The images or snapshots of an answer, which the client limits in bytes too.
const PAGE: u32 = 200;

/// The most answers that a list may be spread over: an account has up to 100,000 snapshots in a region (EBS user guide, "Quotas"), of
/// which filters leave a few.
const MOST_PAGES: usize = 50;

/// How long all answers of a list together may take.
const LONGEST: Duration = Duration::from_secs(600);

/// Who asks, as an owner.
const SELF: &str = "self";

/// How many of something there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Count {
    /// How many were counted.
    pub found: u64,
    /// Whether these are all.
    pub is_all: bool,
}

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
        if !is_label(region) {
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
        self.image_of(&[], id).await
    }

    /// The image of this ID, if this account owns it.
    ///
    /// # Errors
    /// EC2 cannot be asked.
    pub async fn own_image(&self, id: &str) -> Result<Option<Image>, Error> {
        self.image_of(&[SELF], id).await
    }

    async fn image_of(&self, owners: &[&str], id: &str) -> Result<Option<Image>, Error> {
        let images = self.images(owners, "image-id", id).await?;
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
        let action = DescribeImages {
            owners: owned(owners),
            filters: vec![Filter::new(filter, value)],
            include_deprecated: true,
            max_results: PAGE,
            ..DescribeImages::default()
        };
        self.all_of(action).await
    }

    /// How many images this account has, public ones only if `is_public`. What is in the recycle bin is not counted, and nothing that is
    /// beyond `enough` and its page, or beyond 10,000.
    ///
    /// # Errors
    /// EC2 cannot be asked.
    pub async fn count_images(&self, is_public: bool, enough: u64) -> Result<Count, Error> {
        let is_public = is_public.then(|| Filter::new("is-public", "true"));
        let action = DescribeImages {
            owners: owned(&[SELF]),
            filters: is_public.into_iter().collect(),
            include_deprecated: true,
            include_disabled: true,
            max_results: PAGE,
            ..DescribeImages::default()
        };
        self.count(action, enough).await
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
        let action = DescribeSnapshots {
            owners: owned(owners),
            filters: vec![filter],
            max_results: PAGE,
            ..DescribeSnapshots::default()
        };
        self.all_of(action).await
    }

    /// How many snapshots this account has, as [`Self::count_images`] counts.
    ///
    /// # Errors
    /// EC2 cannot be asked.
    pub async fn count_snapshots(&self, enough: u64) -> Result<Count, Error> {
        let action = DescribeSnapshots {
            owners: owned(&[SELF]),
            max_results: PAGE,
            ..DescribeSnapshots::default()
        };
        self.count(action, enough).await
    }

    async fn all_of<L: Listing>(&self, action: L) -> Result<Vec<L::Item>, Error> {
        let mut items = Vec::new();
        let keep = |page: Items<L::Item>| {
            items.extend(page);
            true
        };
        match self.turn_pages(action, keep).await? {
            true => Ok(items),
            false => Err(self.endless(L::FAILED)),
        }
    }

    async fn count<L: Listing>(&self, action: L, enough: u64) -> Result<Count, Error> {
        let mut found = 0;
        let count = |page: Items<L::Item>| {
            found += page.iter().len() as u64;
            found < enough
        };
        let is_all = self.turn_pages(action, count).await?;
        Ok(Count { found, is_all })
    }

    /// Reads the pages of a list, but no more than there may be, as long as `takes` wants another. Gives whether the last one was read.
    async fn turn_pages<L: Listing>(
        &self,
        mut action: L,
        mut takes: impl FnMut(Items<L::Item>) -> bool + Send,
    ) -> Result<bool, Error> {
        let pages = async {
            for _ in 0..MOST_PAGES {
                let (items, next) = L::open(self.perform(&action).await?);
                let wants_another = takes(items);
                match next.filter(|token| !token.is_empty()) {
                    None => return Ok(true),
                    Some(_) if !wants_another => return Ok(false),
                    Some(token) => action.turn_to(token),
                }
            }
            Ok(false)
        };
        let turned = tokio::time::timeout(LONGEST, pages).await;
        turned.unwrap_or_else(|_| Err(self.endless(L::FAILED)))
    }

    fn endless(&self, operation: &'static str) -> Error {
        let reason = "the server's answers have no end".to_owned();
        Error::of(operation, self.region, RequestError::Unread(reason))
    }
}

fn owned(owners: &[&str]) -> Vec<String> {
    owners.iter().map(|&owner| owner.to_owned()).collect()
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
