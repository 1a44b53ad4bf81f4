//! The kernels and RAM disks of one region that another has too.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::task::JoinSet;
use tracing::debug;

use crate::actions::images::Image;
use crate::connection::Ec2;
use crate::error::Error;

impl Ec2 {
    /// The kernels and RAM disks in `target` that correspond to these, wherever they are: ID to ID.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::NoCounterpart`]; EC2 cannot be asked.
    pub async fn counterparts(
        self: &Arc<Self>,
        ids: &[String],
        regions: &[String],
        target: &str,
    ) -> Result<BTreeMap<String, String>, Error> {
        let found = self.find(ids, regions).await?;
        let mut counterparts = BTreeMap::new();
        for id in ids {
            let source = found
                .get(id)
                .ok_or_else(|| Error::NotFound { id: id.clone() })?;
            let counterpart = self.counterpart(source, target).await?;
            let counterpart = counterpart.ok_or_else(|| Error::NoCounterpart {
                id: id.clone(),
                region: target.to_owned(),
            })?;
            debug!("{id} is {counterpart} in {target}");
            let _ = counterparts.insert(id.clone(), counterpart);
        }
        Ok(counterparts)
    }

    /// Those of these IDs that `region` does not have.
    ///
    /// # Errors
    /// EC2 cannot be asked.
    pub async fn unknown(&self, ids: &[String], region: &str) -> Result<Vec<String>, Error> {
        let known = self.images(region, ids).await?;
        let is_known = |id: &&String| {
            known
                .iter()
                .any(|image| image.image_id.as_ref() == Some(id))
        };
        Ok(ids.iter().filter(|id| !is_known(id)).cloned().collect())
    }

    /// The regions that these credentials can use, among them `target`.
    ///
    /// # Errors
    /// [`Error::UnknownRegion`]; EC2 cannot be asked.
    pub async fn regions_with(&self, target: &str) -> Result<Vec<String>, Error> {
        let regions = self.regions(target).await?;
        if regions.iter().any(|region| region == target) {
            return Ok(regions);
        }
        Err(Error::UnknownRegion {
            region: target.to_owned(),
            known: regions.join(", "),
        })
    }

    /// Asks all regions at once. One that cannot be asked matters only if what is missing may be there.
    async fn find(
        self: &Arc<Self>,
        ids: &[String],
        regions: &[String],
    ) -> Result<BTreeMap<String, Image>, Error> {
        let mut asking = JoinSet::new();
        for region in regions {
            let (ec2, region, ids) = (self.clone(), region.clone(), ids.to_vec());
            let _ = asking.spawn(async move { ec2.images(&region, &ids).await });
        }
        let mut found = BTreeMap::new();
        let mut failure = None;
        while found.len() < ids.len() {
            match asking.join_next().await {
                None => break,
                Some(Ok(Ok(images))) => {
                    let named = images
                        .into_iter()
                        .filter_map(|image| Some((image.image_id.clone()?, image)));
                    found.extend(named);
                }
                Some(Ok(Err(error))) => failure = failure.or(Some(error)),
                Some(Err(error)) => {
                    if let Ok(panic) = error.try_into_panic() {
                        std::panic::resume_unwind(panic);
                    }
                }
            }
        }
        match failure {
            Some(error) if found.len() < ids.len() => Err(error),
            _ => Ok(found),
        }
    }

    async fn counterpart(&self, source: &Image, target: &str) -> Result<Option<String>, Error> {
        let begin = source
            .image_id
            .as_deref()
            .and_then(|id| id.split_inclusive('-').next());
        let owners = [&source.image_owner_id, &source.image_owner_alias];
        let owners: Vec<String> = owners.into_iter().flatten().cloned().collect();
        let Some(begin) = begin.filter(|_| !owners.is_empty()) else {
            return Ok(None);
        };
        let candidates = self.images_of(target, owners, begin).await?;
        let best = candidates
            .iter()
            .filter_map(|image| Some((likeness(source, image)?, image.image_id.as_ref()?)))
            // Of several that are equally like it the first.
            .reduce(|best, next| if next.0 > best.0 { next } else { best });
        Ok(best.map(|(_, id)| id.clone()))
    }
}

/// How much alike two images are that have the same type and location, where each region has a bucket of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Likeness {
    /// They are of two accounts that EC2 calls by one name, such as `amazon`.
    SameName,
    /// They are of one account.
    SameOwner,
    /// They are one image, in one region.
    Same,
}

fn likeness(one: &Image, other: &Image) -> Option<Likeness> {
    if one.image_type != other.image_type || path(one) != path(other) {
        return None;
    }
    let alias = &one.image_owner_alias;
    if one.image_id == other.image_id {
        Some(Likeness::Same)
    } else if one.image_owner_id == other.image_owner_id {
        Some(Likeness::SameOwner)
    } else if alias.is_some() && *alias == other.image_owner_alias {
        Some(Likeness::SameName)
    } else {
        None
    }
}

/// The location without its bucket.
fn path(image: &Image) -> Option<&str> {
    let location = image.image_location.as_deref()?.trim_start_matches('/');
    location.split_once('/').map(|(_, path)| path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(id: &str, owner: &str, alias: Option<&str>, kind: &str, location: &str) -> Image {
        Image {
            image_id: Some(id.to_owned()),
            image_location: Some(location.to_owned()),
            image_owner_id: Some(owner.to_owned()),
            image_owner_alias: alias.map(str::to_owned),
            image_type: Some(kind.to_owned()),
            ..Image::default()
        }
    }

    #[test]
    fn alike_are_those_of_the_same_owner_type_and_path() {
        let one = image("aki-1", "1", None, "kernel", "bucket-a/path/k.manifest.xml");
        let like = |owner, alias, kind, location| {
            likeness(&one, &image("aki-2", owner, alias, kind, location))
        };
        let path = "/bucket-b/path/k.manifest.xml";
        assert_eq!(like("1", None, "kernel", path), Some(Likeness::SameOwner));
        assert_eq!(like("2", None, "kernel", path), None);
        assert_eq!(like("2", Some("amazon"), "kernel", path), None);
        assert_eq!(like("1", None, "ramdisk", path), None);
        assert_eq!(like("1", None, "kernel", "bucket-b/k.manifest.xml"), None);
        assert_eq!(likeness(&one, &one), Some(Likeness::Same));
        // Amazon has several accounts.
        let amazon = |id, owner| image(id, owner, Some("amazon"), "kernel", "b/k.manifest.xml");
        assert_eq!(
            likeness(&amazon("aki-1", "1"), &amazon("aki-2", "2")),
            Some(Likeness::SameName)
        );
        assert!(Likeness::Same > Likeness::SameOwner && Likeness::SameOwner > Likeness::SameName);
    }
}
