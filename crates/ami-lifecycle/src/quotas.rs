//! How much of an account's quotas is used, for a plan that is shown. What cannot be read is left out: it stops nothing.

use ami_account::Quota;
use ami_ec2::{Count, Grantee, Regional};
use tracing::debug;

use crate::access::Link;
use crate::create::{Create, CreatePlan};
use crate::error::Error;
use crate::source::Origin;

/// How much of a quota is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuotaUse {
    /// The region.
    pub region: String,
    /// The quota.
    pub quota: Quota,
    /// Its value.
    pub limit: u64,
    /// How many there are, as far as they were counted.
    pub used: Count,
}

impl CreatePlan {
    /// Looks at the quotas of what would be made.
    ///
    /// # Errors
    /// A region's name is none.
    pub(crate) async fn look_at_quotas(
        &mut self,
        request: &Create,
        link: &Link,
    ) -> Result<(), Error> {
        let of_snapshots = match request.origin {
            Origin::Snapshot(_) => None,
            Origin::Disk { .. } | Origin::Bundle(_) | Origin::Stream(_) => Some(Quota::Snapshots),
        };
        let is_public = request.distribution.offer.share.contains(&Grantee::All);
        let of_images = request.name.iter().flat_map(|_| {
            let of_public = is_public.then_some(Quota::PublicImages);
            [Some(Quota::Images), of_public].into_iter().flatten()
        });
        let of_images: Vec<Quota> = of_images.collect();
        // What is there counts already.
        if self.existing.is_none() {
            let wanted = of_snapshots.iter().chain(&of_images);
            self.count(wanted, &link.region, link).await?;
        }
        for copy in &request.distribution.copies {
            let wanted = [Quota::Snapshots];
            let wanted = wanted.iter().chain(&of_images);
            self.count(wanted, &copy.region, link).await?;
        }
        if let Some((blocks, free)) = self.blocks.zip(self.free) {
            let rate = rate(link).await;
            self.least_seconds = rate.map(|rate| blocks.saturating_sub(free).div_ceil(rate));
        }
        Ok(())
    }

    async fn count<'a>(
        &mut self,
        wanted: impl Iterator<Item = &'a Quota>,
        region: &str,
        link: &Link,
    ) -> Result<(), Error> {
        let ec2 = link.there(region)?;
        for &quota in wanted {
            let limit = match link.account(region).quota(quota).await {
                Ok(Some(limit)) => limit,
                Ok(None) => continue,
                // So it is with the others.
                Err(error) => {
                    debug!("{error}");
                    break;
                }
            };
            let used = match counted(&ec2, quota, limit).await {
                Ok(used) => used,
                Err(error) => {
                    debug!("{error}");
                    continue;
                }
            };
            let region = region.to_owned();
            if used.found >= limit {
                self.problems.push(Error::QuotaReached {
                    quota,
                    limit,
                    region: region.clone(),
                });
            }
            self.quotas.push(QuotaUse {
                region,
                quota,
                limit,
                used,
            });
        }
        Ok(())
    }
}

async fn counted(ec2: &Regional<'_>, quota: Quota, limit: u64) -> Result<Count, ami_ec2::Error> {
    match quota {
        Quota::Snapshots => ec2.count_snapshots(limit).await,
        quota => {
            let is_public = quota == Quota::PublicImages;
            ec2.count_images(is_public, limit).await
        }
    }
}

/// How many blocks a second EBS takes at most.
async fn rate(link: &Link) -> Option<u64> {
    let account = link.account(&link.region);
    let mut rate = None;
    for quota in [Quota::PutBlocksOfAccount, Quota::PutBlocksOfSnapshot] {
        match account.quota(quota).await {
            Ok(found) => rate = [rate, found].into_iter().flatten().min(),
            Err(error) => {
                debug!("{error}");
                break;
            }
        }
    }
    rate.filter(|rate| *rate > 0)
}
