//! DeleteSnapshot, CreateTags, and what an account has set for encryption.

use super::{Query, Written, done, no_image, no_snapshot};
use crate::error::Refused;
use crate::snapshot::Tags;
use crate::xml::Xml;

fn add(tags: &mut Tags, more: &Tags) -> Written {
    let mut all = tags.clone();
    all.extend(more.clone());
    if all.len() > 50 {
        return Err(Refused::new("TagLimitExceeded", "At most 50 tags"));
    }
    *tags = all;
    Ok(())
}

impl Query<'_> {
    pub(super) fn delete_snapshot(&self, xml: &mut Xml) -> Written {
        let id = self.parameters.needed("SnapshotId")?;
        let mut things = self.world.things.lock();
        let found = self.snapshot(&things, id)?;
        if found.owner != self.caller.account {
            let message = format!("You do not own the snapshot '{id}'");
            return Err(Refused::new("UnauthorizedOperation", message).with_status(403));
        }
        if let Some(image) = things.images_with(id).next() {
            let message = format!("The snapshot {id} is currently in use by {}", image.id);
            return Err(Refused::new("InvalidSnapshot.InUse", message));
        }
        let place = (self.caller.region.clone(), id.to_owned());
        let _ = things.snapshots.remove(&place);
        done(xml)
    }

    pub(super) fn create_tags(&self, xml: &mut Xml) -> Written {
        let tags = self.parameters.tags("")?;
        let ids = self.parameters.list("ResourceId");
        if ids.is_empty() || tags.is_empty() {
            return Err(Refused::missing("resourceIdSet or tagSet"));
        }
        let mut things = self.world.things.lock();
        for id in &ids {
            let place = (self.caller.region.clone(), id.clone());
            if id.starts_with("snap-") {
                let found = things.snapshots.get(&place);
                let found =
                    found.filter(|found| found.is_visible() && found.owner == self.caller.account);
                let found = found.ok_or_else(|| no_snapshot(id))?;
                add(&mut found.inner.lock().tags, &tags)?;
            } else if id.starts_with("ami-") {
                let found = things.images.get_mut(&place);
                let found =
                    found.filter(|found| found.is_visible() && found.owner == self.caller.account);
                add(&mut found.ok_or_else(|| no_image(id))?.tags, &tags)?;
            } else {
                let message = format!("The ID '{id}' is not valid");
                return Err(Refused::new("InvalidID", message));
            }
        }
        done(xml)
    }

    pub(super) fn encryption_by_default(&self, xml: &mut Xml) -> Written {
        xml.text(
            "ebsEncryptionByDefault",
            self.world.settings.encryption_by_default,
        );
        xml.text(
            "sseType",
            if self.world.settings.encryption_by_default {
                "sse-ebs"
            } else {
                "none"
            },
        );
        Ok(())
    }

    pub(super) fn default_kms_key(&self, xml: &mut Xml) -> Written {
        xml.text("kmsKeyId", self.world.default_ebs_key(self.caller));
        Ok(())
    }
}
