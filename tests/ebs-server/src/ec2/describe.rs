//! DescribeRegions, DescribeSnapshots, DescribeImages.

use std::sync::Arc;
use std::time::SystemTime;

use super::filters::{let_through, read};
use super::{Query, Written, check_image_id, check_snapshot_id, no_image, no_snapshot};
use crate::dates;
use crate::error::Refused;
use crate::image::{ImageRecord, Launch};
use crate::snapshot::{Snapshot, State, Tags};
use crate::tokens;
use crate::xml::Xml;

const OF_IMAGES: &[&str] = &[
    "architecture",
    "block-device-mapping.snapshot-id",
    "block-device-mapping.device-name",
    "description",
    "image-id",
    "image-type",
    "is-public",
    "manifest-location",
    "name",
    "owner-id",
    "root-device-type",
    "state",
    "virtualization-type",
];

const OF_SNAPSHOTS: &[&str] = &[
    "description",
    "encrypted",
    "owner-id",
    "progress",
    "snapshot-id",
    "status",
    "volume-size",
];

impl Query<'_> {
    pub(super) fn describe_regions(&self, xml: &mut Xml) -> Written {
        let filters = read(
            self.parameters,
            &["region-name", "opt-in-status", "endpoint"],
        )?;
        let asked = self.parameters.list("RegionName");
        if let Some(unknown) = asked
            .iter()
            .find(|name| !self.world.settings.regions.contains(name))
        {
            let message = format!("Invalid region: {unknown}");
            return Err(Refused::new("InvalidParameterValue", message));
        }
        let endpoint = |name: &str| format!("ec2.{name}.amazonaws.com");
        let regions = self.world.settings.regions.iter().filter(|name| {
            let values = |filter: &str| match filter {
                "region-name" => vec![(*name).clone()],
                "endpoint" => vec![endpoint(name)],
                _ => vec!["opt-in-not-required".to_owned()],
            };
            (asked.is_empty() || asked.contains(name))
                && let_through(&filters, &Tags::new(), values)
        });
        xml.items("regionInfo", regions, |xml, name| {
            xml.text("regionName", name);
            xml.text("regionEndpoint", endpoint(name));
            xml.text("optInStatus", "opt-in-not-required");
        });
        Ok(())
    }

    /// Where a page begins and how long it may be: 5 to 1,000; lists of IDs have no pages.
    fn page_of(&self, name: &str, has_ids: bool) -> Result<(usize, usize), Refused> {
        let most = match self.parameters.number("MaxResults")? {
            None => usize::MAX,
            Some(_) if has_ids => {
                let message =
                    "The parameter MaxResults cannot be used with IDs in the same request";
                return Err(Refused::combination(message));
            }
            Some(most) if (5..=1000).contains(&most) => most as usize,
            Some(most) => {
                let message = format!(
                    "Value ( {most} ) for parameter maxResults is invalid. Expecting a value between 5 and 1000."
                );
                return Err(Refused::new("InvalidParameterValue", message));
            }
        };
        let start = match self.parameters.get("NextToken") {
            None => 0,
            Some(token) => {
                let start = tokens::read(&self.world.settings.secret_key, name, token);
                start.ok_or_else(|| {
                    Refused::new("InvalidNextToken", "The token is not valid, or has expired")
                })? as usize
            }
        };
        Ok((start, most))
    }

    fn next(&self, name: &str, start: usize, shown: usize, all: usize) -> Option<String> {
        let next = start + shown;
        let until = SystemTime::now() + self.world.settings.page_token_life;
        let number = u32::try_from(next).unwrap_or(u32::MAX);
        (next < all).then(|| tokens::make(&self.world.settings.secret_key, name, number, until))
    }

    /// The accounts of a list, in which the caller may be called `self`.
    fn accounts(&self, list: &str) -> Vec<String> {
        let named = self.parameters.list(list).into_iter();
        let accounts = named.map(|name| match name.as_str() {
            "self" => self.caller.account.clone(),
            _ => name,
        });
        accounts.collect()
    }

    pub(super) fn describe_snapshots(&self, xml: &mut Xml) -> Written {
        let filters = read(self.parameters, OF_SNAPSHOTS)?;
        let ids = self.parameters.list("SnapshotId");
        let name = format!("snapshots {}", self.caller.region);
        let (start, most) = self.page_of(&name, !ids.is_empty())?;
        ids.iter().try_for_each(|id| check_snapshot_id(id))?;
        let things = self.world.things.lock();
        let all: Vec<Arc<Snapshot>> = things.snapshots.values().cloned().collect();
        drop(things);
        let known: Vec<_> = all
            .into_iter()
            .filter(|snapshot| {
                snapshot.region == self.caller.region
                    && snapshot.is_visible()
                    && snapshot.is_readable_by(&self.caller.account)
            })
            .collect();
        if let Some(id) = ids
            .iter()
            .find(|id| !known.iter().any(|found| found.id == **id))
        {
            return Err(no_snapshot(id));
        }
        let owners = self.accounts("Owner");
        let restorable = self.accounts("RestorableBy");
        let found: Vec<_> = known
            .into_iter()
            .filter(|snapshot| {
                let values = |name: &str| match name {
                    "description" => vec![snapshot.description.clone()],
                    "encrypted" => vec![snapshot.kms_key.is_some().to_string()],
                    "owner-id" => vec![snapshot.owner.clone()],
                    "progress" => vec![progress(snapshot).to_owned()],
                    "snapshot-id" => vec![snapshot.id.clone()],
                    "status" => vec![snapshot.state().name().to_owned()],
                    _ => vec![snapshot.volume_size.to_string()],
                };
                let tags = snapshot.inner.lock().tags.clone();
                (ids.is_empty() || ids.contains(&snapshot.id))
                    && (owners.is_empty() || owners.contains(&snapshot.owner))
                    && (restorable.is_empty()
                        || restorable.iter().any(|who| snapshot.is_readable_by(who)))
                    && let_through(&filters, &tags, values)
            })
            .collect();
        let page: Vec<_> = found.iter().skip(start).take(most).collect();
        let next = self.next(&name, start, page.len(), found.len());
        xml.items("snapshotSet", page, |xml, snapshot| {
            write_snapshot(xml, snapshot)
        });
        xml.optional("nextToken", next);
        Ok(())
    }

    pub(super) fn describe_images(&self, xml: &mut Xml) -> Written {
        let filters = read(self.parameters, OF_IMAGES)?;
        let ids = self.parameters.list("ImageId");
        let name = format!("images {}", self.caller.region);
        let (start, most) = self.page_of(&name, !ids.is_empty())?;
        ids.iter().try_for_each(|id| check_image_id(id))?;
        let things = self.world.things.lock();
        let known: Vec<&ImageRecord> = things
            .images
            .values()
            .filter(|image| {
                image.region == self.caller.region
                    && image.is_visible()
                    && image.is_usable_by(&self.caller.account)
            })
            .collect();
        if let Some(id) = ids
            .iter()
            .find(|id| !known.iter().any(|found| found.id == **id))
        {
            return Err(no_image(id));
        }
        let owners = self.accounts("Owner");
        let executable = self.accounts("ExecutableBy");
        let with_deprecated = self.parameters.flag("IncludeDeprecated")? == Some(true);
        let now = SystemTime::now();
        let found: Vec<_> = known
            .into_iter()
            .filter(|image| {
                let deprecation = image.deprecation.as_deref().and_then(dates::parse_iso);
                let is_deprecated = deprecation.is_some_and(|at| at <= now);
                let can_start = |who: &String| match who.as_str() {
                    "all" => image.is_public(),
                    who => image.launch.contains(&Launch::Account(who.to_owned())),
                };
                (ids.is_empty() || ids.contains(&image.id))
                    && (owners.is_empty() || owners.contains(&image.owner))
                    && (executable.is_empty() || executable.iter().any(can_start))
                    // Owners see their deprecated ones always.
                    && (!is_deprecated || with_deprecated || image.owner == self.caller.account)
                    && let_through(&filters, &image.tags, |name| image_values(image, name))
            })
            .collect();
        let page: Vec<_> = found.iter().skip(start).take(most).collect();
        let next = self.next(&name, start, page.len(), found.len());
        xml.items("imagesSet", page, |xml, image| write_image(xml, image));
        xml.optional("nextToken", next);
        Ok(())
    }
}

fn progress(snapshot: &Snapshot) -> &'static str {
    match snapshot.state() {
        State::Completed => "100%",
        _ => "0%",
    }
}

pub(super) fn write_tags(xml: &mut Xml, tags: &Tags) {
    if !tags.is_empty() {
        xml.items("tagSet", tags, |xml, (key, value)| {
            xml.text("key", key);
            xml.text("value", value);
        });
    }
}

fn write_snapshot(xml: &mut Xml, snapshot: &Snapshot) {
    let state = snapshot.state();
    xml.text("snapshotId", &snapshot.id);
    xml.text("volumeId", "vol-ffffffff");
    xml.text("status", state.name());
    if state == State::Error {
        let message = "The snapshot was not completed in time, or its key cannot be used";
        xml.text("statusMessage", message);
    }
    xml.text("startTime", dates::iso(snapshot.created));
    xml.text("progress", progress(snapshot));
    xml.text("ownerId", &snapshot.owner);
    xml.text("volumeSize", snapshot.volume_size);
    xml.text("description", &snapshot.description);
    xml.text("encrypted", snapshot.kms_key.is_some());
    xml.optional("kmsKeyId", snapshot.kms_key.as_ref());
    xml.text("storageTier", "standard");
    write_tags(xml, &snapshot.inner.lock().tags);
}

fn image_values(image: &ImageRecord, name: &str) -> Vec<String> {
    let one = |text: &str| vec![text.to_owned()];
    match name {
        "architecture" => one(&image.architecture),
        "block-device-mapping.snapshot-id" => image.snapshots().map(str::to_owned).collect(),
        "block-device-mapping.device-name" => {
            image.devices.iter().map(|d| d.name.clone()).collect()
        }
        "description" => image.description.iter().cloned().collect(),
        "image-id" => one(&image.id),
        "image-type" => one("machine"),
        "is-public" => one(&image.is_public().to_string()),
        "manifest-location" => image.location.iter().cloned().collect(),
        "name" => one(&image.name),
        "owner-id" => one(&image.owner),
        "root-device-type" => one(root_device_type(image)),
        "state" => one(image.state()),
        _ => one(&image.virtualization),
    }
}

fn root_device_type(image: &ImageRecord) -> &'static str {
    match image.location {
        Some(_) => "instance-store",
        None => "ebs",
    }
}

pub(super) fn write_devices(xml: &mut Xml, image: &ImageRecord) {
    xml.items("blockDeviceMapping", &image.devices, |xml, device| {
        xml.text("deviceName", &device.name);
        xml.optional("virtualName", device.virtual_name.as_ref());
        if device.is_none {
            xml.text("noDevice", "");
        }
        if let Some(ebs) = &device.ebs {
            xml.within("ebs", |xml| {
                xml.optional("snapshotId", ebs.snapshot.as_ref());
                xml.text("volumeSize", ebs.size);
                xml.text("deleteOnTermination", ebs.is_deleted_on_termination);
                xml.text("volumeType", &ebs.kind);
                xml.optional("iops", ebs.iops);
                xml.optional("throughput", ebs.throughput);
                xml.text("encrypted", ebs.is_encrypted);
            });
        }
    });
}

fn write_image(xml: &mut Xml, image: &ImageRecord) {
    let location = format!("{}/{}", image.owner, image.name);
    xml.text("imageId", &image.id);
    xml.text(
        "imageLocation",
        image.location.as_ref().unwrap_or(&location),
    );
    xml.text("imageState", image.state());
    xml.text("imageOwnerId", &image.owner);
    xml.optional("creationDate", image.created.map(dates::iso));
    xml.text("isPublic", image.is_public());
    xml.text("architecture", &image.architecture);
    xml.text("imageType", "machine");
    xml.optional("kernelId", image.kernel.as_ref());
    xml.optional("ramdiskId", image.ramdisk.as_ref());
    xml.text("platformDetails", "Linux/UNIX");
    xml.text("usageOperation", "RunInstances");
    xml.optional("platform", image.platform.as_ref());
    if !image.product_codes.is_empty() {
        xml.items("productCodes", &image.product_codes, |xml, code| {
            xml.text("productCode", code);
            xml.text("type", "marketplace");
        });
    }
    xml.text("name", &image.name);
    xml.optional("description", image.description.as_ref());
    xml.text("rootDeviceType", root_device_type(image));
    xml.optional("rootDeviceName", image.root_device_name.as_ref());
    write_devices(xml, image);
    xml.text("virtualizationType", &image.virtualization);
    xml.text("hypervisor", "xen");
    xml.optional("enaSupport", image.ena_support);
    xml.optional("sriovNetSupport", image.sriov_net_support.as_ref());
    xml.optional("bootMode", image.boot_mode.as_ref());
    xml.optional("tpmSupport", image.tpm_support.as_ref());
    xml.optional("imdsSupport", image.imds_support.as_ref());
    xml.optional("deprecationTime", image.deprecation.as_ref());
    let protection = ["disabled", "enabled"][usize::from(image.is_protected)];
    xml.text("deregistrationProtection", protection);
    if let Some((id, region)) = &image.source {
        xml.text("sourceImageId", id);
        xml.text("sourceImageRegion", region);
    }
    if image.state() == "failed" {
        xml.within("stateReason", |xml| {
            xml.text("code", "Client.InternalError");
            xml.optional("message", image.failure.as_ref());
        });
    }
    write_tags(xml, &image.tags);
}
