//! DeleteSnapshot, CreateTags, and what an account has set for encryption.

use super::{Parameters, Written, check_snapshot_id, done, no_image, no_snapshot};
use crate::error::Refused;
use crate::snapshot::Tags;
use crate::world::{Caller, World};
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

impl World {
    pub(super) fn delete_snapshot(
        &self,
        parameters: &Parameters,
        caller: &Caller,
        xml: &mut Xml,
    ) -> Written {
        let id = parameters.needed("SnapshotId")?;
        check_snapshot_id(id)?;
        let mut things = self.things.lock();
        let found = things.snapshot(&caller.region, id);
        let found =
            found.filter(|found| found.is_visible() && found.is_readable_by(&caller.account));
        let found = found.ok_or_else(|| no_snapshot(id))?;
        if found.owner != caller.account {
            let message = format!("You do not own the snapshot '{id}'");
            return Err(Refused::new("UnauthorizedOperation", message).with_status(403));
        }
        if let Some(image) = things.images_with(id).next() {
            let message = format!("The snapshot {id} is currently in use by {}", image.id);
            return Err(Refused::new("InvalidSnapshot.InUse", message));
        }
        let place = (caller.region.clone(), id.to_owned());
        let _ = things.snapshots.remove(&place);
        done(xml)
    }

    pub(super) fn create_tags(
        &self,
        parameters: &Parameters,
        caller: &Caller,
        xml: &mut Xml,
    ) -> Written {
        let tags = parameters.tags("")?;
        let ids = parameters.list("ResourceId");
        if ids.is_empty() || tags.is_empty() {
            return Err(Refused::missing("resourceIdSet or tagSet"));
        }
        let mut things = self.things.lock();
        for id in &ids {
            let place = (caller.region.clone(), id.clone());
            if id.starts_with("snap-") {
                let found = things.snapshots.get(&place);
                let found =
                    found.filter(|found| found.is_visible() && found.owner == caller.account);
                let found = found.ok_or_else(|| no_snapshot(id))?;
                add(&mut found.inner.lock().tags, &tags)?;
            } else if id.starts_with("ami-") {
                let found = things.images.get_mut(&place);
                let found =
                    found.filter(|found| found.is_visible() && found.owner == caller.account);
                add(&mut found.ok_or_else(|| no_image(id))?.tags, &tags)?;
            } else {
                let message = format!("The ID '{id}' is not valid");
                return Err(Refused::new("InvalidID", message));
            }
        }
        done(xml)
    }

    pub(super) fn encryption_by_default(
        &self,
        _: &Parameters,
        _: &Caller,
        xml: &mut Xml,
    ) -> Written {
        xml.text(
            "ebsEncryptionByDefault",
            self.settings.encryption_by_default,
        );
        xml.text(
            "sseType",
            if self.settings.encryption_by_default {
                "sse-ebs"
            } else {
                "none"
            },
        );
        Ok(())
    }

    pub(super) fn default_kms_key(
        &self,
        _: &Parameters,
        caller: &Caller,
        xml: &mut Xml,
    ) -> Written {
        xml.text("kmsKeyId", self.default_ebs_key(caller));
        Ok(())
    }
}
