//! DeregisterImage, deprecation, protection.

use std::time::{Duration, SystemTime};

use super::{Query, Written, done};
use crate::dates;
use crate::error::Refused;
use crate::xml::Xml;

const YEAR: Duration = Duration::from_secs(31_557_600);

impl Query<'_> {
    pub(super) fn deregister_image(&self, xml: &mut Xml) -> Written {
        let mut things = self.world.things.lock();
        let image = self.own_image(&mut things)?;
        if image.is_protected {
            let message = format!("The image {} has deregistration protection", image.id);
            return Err(Refused::new("OperationNotPermitted", message));
        }
        let place = (image.region.clone(), image.id.clone());
        let snapshots: Vec<String> = image.snapshots().map(str::to_owned).collect();
        let _ = things.images.remove(&place);
        xml.text("return", true);
        if self.parameters.flag("DeleteAssociatedSnapshots")? == Some(true) {
            xml.items("deleteSnapshotResultSet", snapshots, |xml, id| {
                let is_used = things.images_with(&id).next().is_some();
                if !is_used {
                    let place = (self.caller.region.clone(), id.clone());
                    let _ = things.snapshots.remove(&place);
                }
                xml.text("snapshotId", &id);
                xml.text("returnCode", ["success", "skipped"][usize::from(is_used)]);
            });
        }
        Ok(())
    }

    pub(super) fn enable_deprecation(&self, xml: &mut Xml) -> Written {
        let mut things = self.world.things.lock();
        let image = self.own_image(&mut things)?;
        let text = self.parameters.needed("DeprecateAt")?;
        let at = dates::parse_iso(text).ok_or_else(|| Refused::value("DeprecateAt", text))?;
        let now = SystemTime::now();
        let years = if image.is_public() { 2 } else { 10 };
        if at <= now || at > now + YEAR * years {
            let message = format!("DeprecateAt must be in the future, at most {years} years ahead");
            return Err(Refused::new("InvalidParameterValue", message));
        }
        // Seconds are rounded to the nearest minute.
        let minute = dates::iso(at + Duration::from_secs(30));
        image.deprecation = Some(format!("{}:00.000Z", &minute[..16]));
        done(xml)
    }

    pub(super) fn disable_deprecation(&self, xml: &mut Xml) -> Written {
        self.own_image(&mut self.world.things.lock())?.deprecation = None;
        done(xml)
    }

    pub(super) fn enable_protection(&self, xml: &mut Xml) -> Written {
        self.own_image(&mut self.world.things.lock())?.is_protected = true;
        let with_cooldown = self.parameters.flag("WithCooldown")? == Some(true);
        xml.text(
            "return",
            ["enabled-without-cooldown", "enabled-with-cooldown"][usize::from(with_cooldown)],
        );
        Ok(())
    }

    pub(super) fn disable_protection(&self, xml: &mut Xml) -> Written {
        self.own_image(&mut self.world.things.lock())?.is_protected = false;
        xml.text("return", "disabled");
        Ok(())
    }
}
