//! CopyImage: an image of this or another region, with its snapshots, asynchronously.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;

use super::register::{check_name, description};
use super::{Query, Written};
use crate::error::Refused;
use crate::image::ImageRecord;
use crate::snapshot::{Inner, Phase, Snapshot, State, Tags};
use crate::world::Things;
use crate::xml::Xml;

pub(super) const PARAMETERS: &[&str] = &[
    "ClientToken",
    "Description",
    "Encrypted",
    "KmsKeyId",
    "Name",
    "SourceImageId",
    "SourceRegion",
    "CopyImageTags",
    "TagSpecification",
];

/// How the snapshots of a copy are encrypted.
struct Encryption {
    is_asked: bool,
    /// The ARN of the key, if it exists.
    key: Option<String>,
    /// AWS looks at the key later: then the copy fails.
    fails: bool,
}

impl Query<'_> {
    pub(super) fn copy_image(&self, xml: &mut Xml) -> Written {
        let mut things = self.world.things.lock();
        let token = self.parameters.get("ClientToken");
        if token.is_some_and(|token| token.len() > 64 || !token.is_ascii()) {
            return Err(Refused::value("ClientToken", token.unwrap_or_default()));
        }
        let token = token.map(|token| {
            (
                self.caller.account.clone(),
                self.caller.region.clone(),
                token.to_owned(),
            )
        });
        let request = format!("{:?}", self.parameters);
        if let Some((before, image)) = token.as_ref().and_then(|t| things.copy_tokens.get(t)) {
            if *before != request {
                let message = "The client token was used with other parameters";
                return Err(Refused::new("IdempotentParameterMismatch", message));
            }
            xml.text("imageId", image);
            return Ok(());
        }
        let name = self.parameters.needed("Name")?;
        check_name(name)?;
        let region = self.parameters.needed("SourceRegion")?;
        if !self
            .world
            .settings
            .regions
            .iter()
            .any(|known| known == region)
        {
            let message = format!("The source region '{region}' is not valid");
            return Err(Refused::new("InvalidRequest", message));
        }
        let id = self.parameters.needed("SourceImageId")?;
        let source = self.image(&mut things, region, id)?.clone();
        if source.state() != "available" {
            let message = format!("The image {id} is not available");
            return Err(Refused::new("InvalidAMIID.Unavailable", message));
        }
        let encryption = self.encryption()?;
        let image_tags = match self.parameters.flag("CopyImageTags")? {
            Some(true) if source.owner == self.caller.account => source.tags.clone(),
            _ => Tags::new(),
        };
        let kinds = ["image", "snapshot"];
        let mut tags = image_tags;
        tags.extend(self.parameters.specified_tags("image", &kinds)?);
        let snapshot_tags = self.parameters.specified_tags("snapshot", &kinds)?;

        let now = Instant::now();
        let mut image = ImageRecord {
            id: things.id("ami"),
            region: self.caller.region.clone(),
            owner: self.caller.account.clone(),
            name: name.to_owned(),
            description: description(self.parameters)?.or(source.description.clone()),
            tags,
            launch: BTreeSet::new(),
            deprecation: None,
            is_protected: false,
            failure: encryption
                .fails
                .then(|| "The KMS key does not exist or cannot be used".to_owned()),
            created: Some(SystemTime::now()),
            visible: Some(now + self.world.settings.image_visible_after),
            ready: Some(now + self.world.settings.copied_after),
            source: Some((id.to_owned(), region.to_owned())),
            ..source
        };
        let copies = self.copies(&mut things, &mut image, region, &encryption, &snapshot_tags)?;
        for copy in copies {
            let place = (self.caller.region.clone(), copy.id.clone());
            let _ = things.snapshots.insert(place, copy);
        }
        xml.text("imageId", &image.id);
        if let Some(token) = token {
            let _ = things
                .copy_tokens
                .insert(token, (request, image.id.clone()));
        }
        let place = (self.caller.region.clone(), image.id.clone());
        let _ = things.images.insert(place, image);
        Ok(())
    }

    fn encryption(&self) -> Result<Encryption, Refused> {
        let is_asked = self.parameters.flag("Encrypted")? == Some(true);
        let name = self.parameters.get("KmsKeyId");
        if name.is_some() && !is_asked {
            let message = "The parameter KmsKeyId requires the parameter Encrypted to be set.";
            return Err(Refused::new("InvalidParameterDependency", message));
        }
        let key = self.world.ebs_key(self.caller, name);
        Ok(Encryption {
            is_asked: is_asked || self.world.settings.encryption_by_default,
            fails: is_asked && key.is_none(),
            key,
        })
    }

    /// The copies of an image's snapshots, of which it has the IDs then.
    fn copies(
        &self,
        things: &mut Things,
        image: &mut ImageRecord,
        region: &str,
        encryption: &Encryption,
        tags: &Tags,
    ) -> Result<Vec<Arc<Snapshot>>, Refused> {
        let under_way = things.snapshots.values().filter(|snapshot| {
            snapshot.is_copy
                && snapshot.region == self.caller.region
                && snapshot.owner == self.caller.account
                && snapshot.state() == State::Pending
        });
        let limit = self.world.settings.quotas.copies;
        if under_way.count() + image.snapshots().count() > limit {
            let message = format!(
                "Too many snapshot copies in progress. The limit is {limit} for this destination region."
            );
            return Err(Refused::new("ResourceLimitExceeded", message));
        }
        let from = image.source.as_ref().map_or("", |(id, _)| id).to_owned();
        let to = image.id.clone();
        let mut copies = Vec::new();
        let devices = image
            .devices
            .iter_mut()
            .filter_map(|device| device.ebs.as_mut());
        for ebs in devices {
            let Some(id) = &mut ebs.snapshot else {
                continue;
            };
            let source = things.snapshot(region, id).ok_or_else(|| {
                Refused::new(
                    "InvalidSnapshot.NotFound",
                    "A snapshot of the image is gone",
                )
            })?;
            let is_encrypted = encryption.is_asked || source.kms_key.is_some();
            *id = things.id("snap");
            ebs.is_encrypted = is_encrypted;
            copies.push(Arc::new(Snapshot {
                id: id.clone(),
                region: self.caller.region.clone(),
                owner: self.caller.account.clone(),
                volume_size: source.volume_size,
                description: format!(
                    "Copied for DestinationAmi {to} from SourceAmi {from} for SourceSnapshot {}.",
                    source.id
                ),
                created: SystemTime::now(),
                visible: Instant::now(),
                timeout: Duration::MAX,
                kms_key: is_encrypted.then(|| encryption.key.clone()).flatten(),
                is_copy: true,
                parent: None,
                blocks: source.blocks.clone(),
                inner: Mutex::new(Inner {
                    phase: Phase::Sealed {
                        until: Instant::now() + self.world.settings.copied_after,
                        fails: encryption.fails,
                    },
                    tags: tags.clone(),
                    shared_with: BTreeSet::new(),
                    in_flight: BTreeSet::new(),
                }),
            }));
        }
        Ok(copies)
    }
}
