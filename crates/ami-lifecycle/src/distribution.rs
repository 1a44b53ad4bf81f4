//! What follows when an AMI is there: copies in other regions, permissions, deprecation, protection. Each region is by itself: what fails
//! in one is kept and told, and undoes nothing.

use std::sync::atomic::AtomicBool;
use std::time::Duration;

use ami_ec2::{
    CopyImage, EnableImageDeprecation, EnableImageDeregistrationProtection, Grantee, Image,
    ModifyImageAttribute, Regional, Tag,
};
use serde::Serialize;

use crate::access::Link;
use crate::error::Error;
use crate::identity::Fields;
use crate::observer::{Event, Observer};
use crate::waiting::{unless_interrupted, until_available};

/// How long a copy may take: snapshots of terabytes take hours.
const LONGEST_COPY: Duration = Duration::from_secs(12 * 3600);

/// To whom an AMI and its copies are offered, and how long.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Offer {
    /// Who may start instances of it, besides its owner.
    pub share: Vec<Grantee>,
    /// From when on it is not listed for others, `YYYY-MM-DDTHH:MM:SSZ`.
    pub deprecate_at: Option<String>,
    /// Whether it cannot be deregistered until somebody disables this protection.
    pub protect: bool,
}

/// A region that gets a copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copy {
    /// The region.
    pub region: String,
    /// Whether the copy's snapshots are encrypted, whatever the AMI's are.
    pub encrypted: bool,
    /// The KMS key for that, in that region; `None` for the region's default.
    pub kms_key: Option<String>,
}

/// All that follows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Distribution {
    /// The copies.
    pub copies: Vec<Copy>,
    /// For the AMI and each copy.
    pub offer: Offer,
}

/// A copy that is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Copied {
    /// Its region.
    pub region: String,
    /// Its ID.
    pub image: String,
}

/// A step that follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Step {
    /// The copy.
    Copy,
    /// The permissions.
    Share,
    /// The deprecation.
    Deprecate,
    /// The protection.
    Protect,
}

/// A step that failed. Those after it in the same region were tried if they did not need it.
#[derive(Debug)]
pub struct Unfinished {
    /// The region.
    pub region: String,
    /// The AMI there, if it is there.
    pub image: Option<String>,
    /// The step.
    pub step: Step,
    /// Why.
    pub error: Error,
}

/// What followed.
#[derive(Debug, Default)]
pub struct Distributed {
    /// The copies that there are.
    pub copies: Vec<Copied>,
    /// What failed.
    pub unfinished: Vec<Unfinished>,
}

/// Copies an available AMI, and offers it and its copies. All copies are begun before any is waited for.
///
/// # Errors
/// [`Error::Interrupted`] only; everything else is in the result.
pub(crate) async fn distribute(
    link: &Link,
    image: &Image,
    tags: &[Tag],
    distribution: &Distribution,
    observer: &impl Observer,
    interrupted: &AtomicBool,
) -> Result<Distributed, Error> {
    let mut work = Work {
        link,
        observer,
        interrupted,
        done: Distributed::default(),
    };
    let id = image.image_id.clone().unwrap_or_default();
    let mut begun = Vec::new();
    for copy in &distribution.copies {
        let asked = work
            .unless_interrupted(copied(link, image, tags, copy))
            .await;
        begun.extend(work.keep(&copy.region, None, Step::Copy, asked)?);
    }
    let region = link.region.clone();
    work.offer(&region, &id, &distribution.offer).await?;
    for Copied { region, image } in begun {
        let ec2 = link.there(&region)?;
        let ready = until_available(&ec2, &image, LONGEST_COPY, observer);
        let ready = work.unless_interrupted(ready).await;
        if let Some(ready) = work.keep(&region, Some(&image), Step::Copy, ready)? {
            let region = &region;
            let id = ready.image_id.as_deref().unwrap_or(&image);
            observer.tell(Event::Copy { id, region });
            work.done.copies.push(Copied {
                region: region.clone(),
                image: image.clone(),
            });
            work.offer(region, &image, &distribution.offer).await?;
        }
    }
    Ok(work.done)
}

struct Work<'a, O> {
    link: &'a Link,
    observer: &'a O,
    interrupted: &'a AtomicBool,
    done: Distributed,
}

impl<O: Observer> Work<'_, O> {
    async fn unless_interrupted<T>(
        &self,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        unless_interrupted(self.interrupted, work).await
    }

    /// Gives what succeeded; keeps and tells what failed.
    fn keep<T>(
        &mut self,
        region: &str,
        image: Option<&str>,
        step: Step,
        result: Result<T, Error>,
    ) -> Result<Option<T>, Error> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(Error::Interrupted) => Err(Error::Interrupted),
            Err(error) => {
                let unfinished = Unfinished {
                    region: region.to_owned(),
                    image: image.map(str::to_owned),
                    step,
                    error,
                };
                self.observer.tell(Event::Unfinished(&unfinished));
                self.done.unfinished.push(unfinished);
                Ok(None)
            }
        }
    }

    async fn offer(&mut self, region: &str, id: &str, offer: &Offer) -> Result<(), Error> {
        let ec2 = self.link.there(region)?;
        if !offer.share.is_empty() {
            let result = self.unless_interrupted(share(&ec2, id, &offer.share)).await;
            let _ = self.keep(region, Some(id), Step::Share, result)?;
        }
        if let Some(at) = &offer.deprecate_at {
            let result = self.unless_interrupted(deprecate(&ec2, id, at)).await;
            let _ = self.keep(region, Some(id), Step::Deprecate, result)?;
        }
        if offer.protect {
            let result = self.unless_interrupted(protect(&ec2, id)).await;
            let _ = self.keep(region, Some(id), Step::Protect, result)?;
        }
        Ok(())
    }
}

async fn share(ec2: &Regional<'_>, id: &str, with: &[Grantee]) -> Result<(), Error> {
    let image = id.to_owned();
    let added = with.to_vec();
    let _ = ec2.perform(&ModifyImageAttribute { image, added }).await?;
    Ok(())
}

async fn deprecate(ec2: &Regional<'_>, id: &str, at: &str) -> Result<(), Error> {
    let (image, deprecate_at) = (id.to_owned(), at.to_owned());
    let action = EnableImageDeprecation {
        image,
        deprecate_at,
    };
    let _ = ec2.perform(&action).await?;
    Ok(())
}

async fn protect(ec2: &Regional<'_>, id: &str) -> Result<(), Error> {
    let image = id.to_owned();
    let action = EnableImageDeregistrationProtection { image };
    let _ = ec2.perform(&action).await?;
    Ok(())
}

/// Begins a copy, or finds the one that an earlier run has begun: by its name and its tag, since EC2 does not say how long it remembers a
/// client token. A copy of an earlier AMI of the same name and source has another tag.
async fn copied(link: &Link, image: &Image, tags: &[Tag], copy: &Copy) -> Result<Copied, Error> {
    let ec2 = link.there(&copy.region)?;
    let name = image.name.clone().unwrap_or_default();
    let earlier = ec2.images_named(&name).await?;
    let mut generation = 0;
    let token = loop {
        let token = client_token(image, copy, generation);
        let is_it = |found: &&Image| found.tags().get(COPY_TAG) == Some(&token.as_str());
        let Some(found) = earlier.iter().find(is_it) else {
            break token;
        };
        let state = found.image_state.as_deref();
        if let Some(id) = &found.image_id
            && matches!(state, Some("available" | "pending"))
        {
            return Ok(Copied {
                region: copy.region.clone(),
                image: id.clone(),
            });
        }
        // The same token would give the one that has failed again.
        generation += 1;
    };
    let own = Tag::new(COPY_TAG, &token);
    let action = CopyImage {
        client_token: token,
        name,
        description: image.description.clone(),
        source_image_id: image.image_id.clone().unwrap_or_default(),
        source_region: link.region.clone(),
        encrypted: copy.encrypted || copy.kms_key.is_some(),
        kms_key_id: copy.kms_key.clone(),
        image_tags: vec![own.clone()],
        snapshot_tags: tags.iter().cloned().chain([own]).collect(),
    };
    let image = ec2.perform(&action).await?.image_id;
    let region = copy.region.clone();
    Ok(Copied { region, image })
}

/// The key of the tag that everything of ours has. Its value is a digest of the source, which [`crate::delete`] and resuming find it by.
pub const SOURCE_TAG: &str = "ec2-ami:source";

/// The key of the tag that copies and their snapshots have besides. Its value is a digest of the AMI and of how it is copied.
pub const COPY_TAG: &str = "ec2-ami:copy";

/// The same for the same copy, of which so many have failed: 64 ASCII characters, EC2's limit.
fn client_token(image: &Image, copy: &Copy, generation: u32) -> String {
    let mut fields = Fields::default();
    let encrypted = copy.encrypted.to_string();
    let generation = generation.to_string();
    for field in [
        image.image_id.as_deref(),
        image.name.as_deref(),
        Some(&copy.region),
        Some(&encrypted),
        copy.kms_key.as_deref(),
        Some(&generation),
    ] {
        fields.add(field.unwrap_or_default().as_bytes());
    }
    hex::encode(fields.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_has_a_token_of_its_own() {
        let image = Image {
            image_id: Some("ami-1".to_owned()),
            name: Some("n".to_owned()),
            ..Image::default()
        };
        let copy = |region: &str, kms_key: Option<&str>| Copy {
            region: region.to_owned(),
            encrypted: false,
            kms_key: kms_key.map(str::to_owned),
        };
        let token = |copy: &Copy| client_token(&image, copy, 0);
        let one = token(&copy("eu-west-1", None));
        assert_eq!(one.len(), 64);
        assert_eq!(one, token(&copy("eu-west-1", None)));
        assert_ne!(one, token(&copy("eu-west-2", None)));
        assert_ne!(one, client_token(&image, &copy("eu-west-1", None), 1));
        assert_ne!(one, token(&copy("eu-west-1", Some("k"))));
    }
}
