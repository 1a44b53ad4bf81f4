//! RegisterImage: an AMI of a snapshot, or of a bundle's manifest.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Instant, SystemTime};

use data_encoding::BASE64;

use super::{Parameters, Query, Written};
use crate::error::Refused;
use crate::image::{Device, EbsDevice, ImageRecord, Launch};
use crate::snapshot::State;
use crate::world::Things;
use crate::xml::Xml;

pub(super) const PARAMETERS: &[&str] = &[
    "Name",
    "Description",
    "Architecture",
    "VirtualizationType",
    "RootDeviceName",
    "BlockDeviceMapping",
    "EnaSupport",
    "SriovNetSupport",
    "BootMode",
    "UefiData",
    "TpmSupport",
    "ImdsSupport",
    "KernelId",
    "RamdiskId",
    "ImageLocation",
    "TagSpecification",
    "BillingProduct",
];

const ARCHITECTURES: &[&str] = &["i386", "x86_64", "arm64", "x86_64_mac", "arm64_mac"];

/// The largest variable store: 64 KiB.
const LARGEST_UEFI_DATA: usize = 64 << 10;

impl Query<'_> {
    pub(super) fn register_image(&self, xml: &mut Xml) -> Written {
        let mut things = self.world.things.lock();
        let image = self.new_image(&mut things)?;
        xml.text("imageId", &image.id);
        let place = (image.region.clone(), image.id.clone());
        let _ = things.images.insert(place, image);
        Ok(())
    }

    fn new_image(&self, things: &mut Things) -> Result<ImageRecord, Refused> {
        let name = self.parameters.needed("Name")?;
        check_name(name)?;
        let mut all = things.images.values();
        let twin = all.find(|image| {
            image.region == self.caller.region
                && image.owner == self.caller.account
                && image.name == name
        });
        if let Some(twin) = twin {
            let message = format!("AMI name {name} is already in use by AMI {}", twin.id);
            return Err(Refused::new("InvalidAMIName.Duplicate", message));
        }
        if self.parameters.has("BillingProduct") {
            let message = "Not authorized to register images with billing products";
            return Err(Refused::new("AuthFailure", message).with_status(403));
        }
        let location = self.parameters.get("ImageLocation").map(str::to_owned);
        let of_manifest = location
            .as_deref()
            .map(|location| self.manifest(location))
            .transpose()?;
        let architecture = match self.parameters.word("Architecture", ARCHITECTURES)? {
            Some(architecture) => architecture,
            None => of_manifest.flatten().unwrap_or("i386".to_owned()),
        };
        let virtualization = self
            .parameters
            .word("VirtualizationType", &["hvm", "paravirtual"])?
            .unwrap_or("paravirtual".to_owned());
        let devices = self.devices(things)?;
        let root = self.parameters.get("RootDeviceName").map(str::to_owned);
        if location.is_none() {
            check_root(root.as_deref(), &devices)?;
        }
        let id = things.id("ami");
        let now = Instant::now();
        let image = ImageRecord {
            id,
            region: self.caller.region.clone(),
            owner: self.caller.account.clone(),
            name: name.to_owned(),
            description: description(self.parameters)?,
            architecture,
            virtualization,
            location,
            root_device_name: root,
            devices,
            ena_support: self.parameters.flag("EnaSupport")?,
            sriov_net_support: self.parameters.word("SriovNetSupport", &["simple"])?,
            boot_mode: self
                .parameters
                .word("BootMode", &["legacy-bios", "uefi", "uefi-preferred"])?,
            tpm_support: self.parameters.word("TpmSupport", &["v2.0"])?,
            imds_support: self.parameters.word("ImdsSupport", &["v2.0"])?,
            uefi_data: self.parameters.get("UefiData").map(str::to_owned),
            kernel: id_of(self.parameters, "KernelId", "aki")?,
            ramdisk: id_of(self.parameters, "RamdiskId", "ari")?,
            tags: self.parameters.specified_tags("image", &["image"])?,
            product_codes: Vec::new(),
            platform: None,
            launch: BTreeSet::<Launch>::new(),
            deprecation: None,
            is_protected: false,
            source: None,
            failure: None,
            created: Some(SystemTime::now()),
            visible: Some(now + self.world.settings.image_visible_after),
            ready: Some(now + self.world.settings.available_after),
        };
        check_combinations(&image)?;
        Ok(image)
    }

    /// The architecture that a manifest in S3 says, if its bucket's folder is known.
    fn manifest(&self, location: &str) -> Result<Option<String>, Refused> {
        let refused = |message: &str| Err(Refused::new("InvalidManifest", message));
        let Some((bucket, key)) = location.split_once('/') else {
            return refused("The location has no bucket");
        };
        let is_path = |part: &str| !part.is_empty() && part != "." && part != "..";
        if !key.ends_with(".manifest.xml") || !location.split('/').all(is_path) {
            return refused("The location names no manifest");
        }
        let Some(buckets) = &self.world.settings.buckets else {
            return Ok(None);
        };
        match std::fs::read_to_string(buckets.join(bucket).join(key)) {
            Err(_) => refused("HTTP 404 (NoSuchKey) response for the manifest"),
            Ok(text) => Ok(text
                .split_once("<architecture>")
                .and_then(|(_, rest)| rest.split_once("</architecture>"))
                .map(|(architecture, _)| architecture.to_owned())),
        }
    }

    fn devices(&self, things: &Things) -> Result<Vec<Device>, Refused> {
        let mut devices: BTreeMap<String, Device> = BTreeMap::new();
        let mut order = Vec::new();
        for member in self.parameters.members("BlockDeviceMapping") {
            let known = ["DeviceName", "VirtualName", "NoDevice"];
            let mut names = self.parameters.names_in(&member).into_iter();
            if let Some(name) =
                names.find(|name| !known.contains(name) && !name.starts_with("Ebs."))
            {
                let message = format!("The parameter {member}.{name} is not recognized");
                return Err(Refused::new("UnknownParameter", message));
            }
            let name = self.parameters.needed(&format!("{member}.DeviceName"))?;
            let device = Device {
                name: name.to_owned(),
                virtual_name: self
                    .parameters
                    .get(&format!("{member}.VirtualName"))
                    .map(str::to_owned),
                is_none: self.parameters.has(&format!("{member}.NoDevice")),
                ebs: self
                    .parameters
                    .has(&format!("{member}.Ebs"))
                    .then(|| self.ebs(things, &member, name))
                    .transpose()?,
            };
            if device.virtual_name.is_some() && device.ebs.is_some() {
                return Err(invalid_mapping(format!("{name} is two things at once")));
            }
            order.push(name.to_owned());
            if devices.insert(name.to_owned(), device).is_some() {
                return Err(invalid_mapping(format!(
                    "The device '{name}' is used in more than one block-device mapping"
                )));
            }
        }
        Ok(order
            .iter()
            .filter_map(|name| devices.remove(name))
            .collect())
    }

    fn ebs(&self, things: &Things, member: &str, device: &str) -> Result<EbsDevice, Refused> {
        let field = |name: &str| format!("{member}.Ebs.{name}");
        let known = [
            "SnapshotId",
            "VolumeSize",
            "VolumeType",
            "Iops",
            "Throughput",
            "DeleteOnTermination",
            "Encrypted",
            "KmsKeyId",
        ];
        let mut names = self
            .parameters
            .names_in(&format!("{member}.Ebs"))
            .into_iter();
        if let Some(name) = names.find(|name| !known.contains(name)) {
            let message = format!("The parameter {} is not recognized", field(name));
            return Err(Refused::new("UnknownParameter", message));
        }
        if self.parameters.has(&field("KmsKeyId")) {
            let message = "The parameter KmsKeyId is not supported here";
            return Err(Refused::new("InvalidParameter", message));
        }
        let encrypted = self.parameters.flag(&field("Encrypted"))?;
        let snapshot = self.parameters.get(&field("SnapshotId"));
        let snapshot = snapshot.map(|id| {
            let found = self.snapshot(things, id)?;
            if found.state() != State::Completed {
                let message = format!("Snapshot {id} is not in the completed state");
                return Err(Refused::new("IncorrectState", message));
            }
            if encrypted.is_some() {
                let message = format!("the encrypted flag cannot be specified since device {device} has a snapshot specified.");
                return Err(invalid_mapping(message));
            }
            Ok(found)
        });
        let snapshot = snapshot.transpose()?;
        let size = self.parameters.number(&field("VolumeSize"))?;
        let size = match (&snapshot, size) {
            (Some(snapshot), Some(size)) if size < snapshot.volume_size => {
                let (id, least) = (&snapshot.id, snapshot.volume_size);
                let message = format!(
                    "Volume of size {size}GB is smaller than snapshot '{id}', expect size >= {least}GB"
                );
                return Err(invalid_mapping(message));
            }
            (_, Some(size)) => size,
            (Some(snapshot), None) => snapshot.volume_size,
            (None, None) => return Err(Refused::missing("size/snapshot")),
        };
        let kinds = ["standard", "io1", "io2", "gp2", "sc1", "st1", "gp3"];
        let kind = self.parameters.word(&field("VolumeType"), &kinds)?;
        let kind = kind.unwrap_or("standard".to_owned());
        let ((least, most), operations) = limits(&kind);
        if !(least..=most).contains(&size) {
            let message = format!(
                "Volume of {size}GiB is invalid for volume type '{kind}'; it has {least} to {most}GiB"
            );
            return Err(Refused::new("InvalidParameterValue", message));
        }
        let iops = self.parameters.number(&field("Iops"))?;
        match (iops, operations) {
            (Some(_), None) => {
                let message = format!("The parameter iops is not supported for {kind} volumes.");
                return Err(Refused::combination(message));
            }
            (Some(iops), Some((least, most))) if !(least..=most).contains(&iops) => {
                let message = format!("Volume iops of {iops} is not {least} to {most}");
                return Err(Refused::new("InvalidParameterValue", message));
            }
            (None, Some(_)) if kind.starts_with("io") => return Err(Refused::missing("iops")),
            _ => {}
        }
        let throughput = self.parameters.number(&field("Throughput"))?;
        match throughput {
            Some(_) if kind != "gp3" => {
                let message =
                    format!("The parameter throughput is not supported for {kind} volumes.");
                return Err(Refused::combination(message));
            }
            Some(rate) if !(125..=1000).contains(&rate) => {
                let message = format!("Throughput of {rate} is not 125 to 1000 MiB/s");
                return Err(Refused::new("InvalidParameterValue", message));
            }
            _ => {}
        }
        let is_encrypted = match &snapshot {
            Some(snapshot) => snapshot.kms_key.is_some(),
            None => encrypted == Some(true),
        };
        let termination = self.parameters.flag(&field("DeleteOnTermination"))?;
        Ok(EbsDevice {
            snapshot: snapshot.map(|snapshot| snapshot.id.clone()),
            size,
            kind,
            iops,
            throughput,
            is_deleted_on_termination: termination.unwrap_or(true),
            is_encrypted,
        })
    }
}

/// 3 to 128 letters, digits, and `()[] ./-'@_`.
pub(super) fn check_name(name: &str) -> Result<(), Refused> {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || "()[] ./-'@_".contains(c);
    if (3..=128).contains(&name.len()) && name.chars().all(is_allowed) {
        return Ok(());
    }
    let message = "AMI names must be between 3 and 128 characters long, and may contain letters, numbers, and '(', ')', '[', ']', ' ', '.', '/', '-', '\\'', '@', '_'";
    Err(Refused::new("InvalidAMIName.Malformed", message))
}

/// At most 255 characters.
pub(super) fn description(parameters: &Parameters) -> Result<Option<String>, Refused> {
    match parameters.get("Description") {
        Some(text) if text.chars().count() > 255 => Err(Refused::value("Description", text)),
        other => Ok(other.map(str::to_owned)),
    }
}

fn id_of(parameters: &Parameters, name: &str, prefix: &str) -> Result<Option<String>, Refused> {
    match parameters.get(name) {
        Some(id) if !super::is_id(id, prefix) => {
            let code = match prefix {
                "aki" => "InvalidAKIID.Malformed",
                _ => "InvalidARIID.Malformed",
            };
            Err(Refused::new(code, format!("Invalid id: \"{id}\"")))
        }
        other => Ok(other.map(str::to_owned)),
    }
}

fn check_root(root: Option<&str>, devices: &[Device]) -> Result<(), Refused> {
    let root = root.ok_or_else(|| Refused::missing("rootDeviceName"))?;
    let device = devices.iter().find(|device| device.name == root);
    let ebs = device.and_then(|device| device.ebs.as_ref());
    if ebs.is_none_or(|ebs| ebs.snapshot.is_none()) {
        let message = format!("No snapshot for the root device {root}");
        return Err(Refused::new("InvalidBlockDeviceMapping", message));
    }
    Ok(())
}

/// As AWS's guides on boot modes, NitroTPM and enhanced networking have it. What AWS accepts although the instances then cannot be reached
/// (ENA or SR-IOV on a paravirtual image) is refused too.
fn check_combinations(image: &ImageRecord) -> Result<(), Refused> {
    let is_hvm = image.virtualization == "hvm";
    let is_arm = image.architecture.starts_with("arm64");
    let mode = image.boot_mode.as_deref();
    let has_uefi = matches!(mode, Some("uefi" | "uefi-preferred"));
    let refused = [
        (
            is_arm && !is_hvm,
            "arm64 images must have the virtualization type hvm",
        ),
        (
            is_arm && matches!(mode, Some("legacy-bios" | "uefi-preferred")),
            "arm64 images can only have the boot mode uefi",
        ),
        (
            has_uefi && image.architecture == "i386",
            "i386 images can only have the boot mode legacy-bios",
        ),
        (
            has_uefi && !is_hvm,
            "paravirtual images cannot have a UEFI boot mode",
        ),
        (
            image.tpm_support.is_some() && mode != Some("uefi"),
            "tpmSupport needs the boot mode uefi",
        ),
        (
            image.uefi_data.is_some() && !has_uefi,
            "uefiData needs a UEFI boot mode",
        ),
        (
            !is_hvm && image.ena_support == Some(true),
            "enaSupport is for hvm images only",
        ),
        (
            !is_hvm && image.sriov_net_support.is_some(),
            "sriovNetSupport is for hvm images only",
        ),
        (
            is_hvm && (image.kernel.is_some() || image.ramdisk.is_some()),
            "hvm images have no kernel or RAM disk of their own",
        ),
        (
            image.location.is_some() && image.snapshots().next().is_some(),
            "An image has a manifest or a snapshot",
        ),
    ];
    if let Some((_, message)) = refused.into_iter().find(|(is_refused, _)| *is_refused) {
        return Err(Refused::combination(message));
    }
    if let Some(data) = &image.uefi_data {
        let is_data = BASE64
            .decode(data.as_bytes())
            .is_ok_and(|data| data.len() <= LARGEST_UEFI_DATA);
        if !is_data {
            return Err(Refused::new(
                "InvalidParameterValue",
                "uefiData is not valid",
            ));
        }
    }
    Ok(())
}

fn invalid_mapping(message: impl Into<String>) -> Refused {
    Refused::new("InvalidBlockDeviceMapping", message)
}

/// The sizes in GiB and the I/O operations a second of a kind of volume, in AWS's table of volume types.
fn limits(kind: &str) -> ((u64, u64), Option<(u64, u64)>) {
    match kind {
        "gp3" => ((1, 16_384), Some((3_000, 16_000))),
        "gp2" => ((1, 16_384), None),
        "io1" => ((4, 16_384), Some((100, 64_000))),
        "io2" => ((4, 65_536), Some((100, 256_000))),
        "st1" | "sc1" => ((125, 16_384), None),
        _ => ((1, 1_024), None),
    }
}
