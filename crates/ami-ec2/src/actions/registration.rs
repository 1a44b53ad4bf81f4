//! Registering images, and taking them away.

use serde::Deserialize;

use super::tags::{Tag, specification};
use super::{optional, parameter};
use crate::query::{Action, Done};

/// `RegisterImage`: makes an image of a manifest in S3, or of the snapshots of its devices. What is not given is not sent; EC2's own
/// defaults are an architecture of `i386` and paravirtual virtualization.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RegisterImage {
    /// Its name, 3 to 128 characters; unique among the images of an account in a region.
    pub name: String,
    /// What it is, for people.
    pub description: Option<String>,
    /// The manifest in S3, `BUCKET/KEY`: of an instance store-backed image only.
    pub image_location: Option<String>,
    /// `i386`, `x86_64` or `arm64`.
    pub architecture: Option<String>,
    /// `hvm` or `paravirtual`.
    pub virtualization_type: Option<String>,
    /// The device that it starts from.
    pub root_device_name: Option<String>,
    /// Its devices.
    pub block_device_mappings: Vec<BlockDeviceMapping>,
    /// Whether its kernel has the driver `ena`. An instance of an image without it cannot be reached if this says that there is one.
    pub ena_support: Option<bool>,
    /// `legacy-bios`, `uefi` or `uefi-preferred`.
    pub boot_mode: Option<String>,
    /// The variables of UEFI, in base64.
    pub uefi_data: Option<String>,
    /// `v2.0`.
    pub tpm_support: Option<String>,
    /// `v2.0`: instances answer only to version 2 of the metadata service. It cannot be taken back.
    pub imds_support: Option<String>,
    /// Its kernel, `aki-…`.
    pub kernel_id: Option<String>,
    /// Its RAM disk, `ari-…`.
    pub ramdisk_id: Option<String>,
    /// Its tags.
    pub tags: Vec<Tag>,
}

/// A device of an image that is registered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BlockDeviceMapping {
    /// Its name, such as `/dev/sdb`.
    pub device_name: String,
    /// What it is.
    pub kind: BlockDevice,
}

/// What a device of an image is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum BlockDevice {
    /// Nothing: an instance does not get this device.
    #[default]
    None,
    /// An instance store volume: `ephemeral0` …
    InstanceStore(String),
    /// An EBS volume.
    Ebs(EbsBlockDevice),
}

/// An EBS volume of an image that is registered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EbsBlockDevice {
    /// The snapshot that it is made from. It must be completed.
    pub snapshot_id: Option<String>,
    /// Its size in GiB.
    pub volume_size: Option<u64>,
    /// `gp3`, `io2` …
    pub volume_type: Option<String>,
    /// Operations a second.
    pub iops: Option<u64>,
    /// MiB a second.
    pub throughput: Option<u64>,
    /// Whether it goes with the instance.
    pub delete_on_termination: Option<bool>,
    /// Whether it is encrypted; not with a snapshot, which decides this.
    pub encrypted: Option<bool>,
}

impl EbsBlockDevice {
    fn parameters(&self, begin: &str) -> Vec<(String, String)> {
        let number = |value: Option<u64>| value.map(|value| value.to_string());
        let flag = |value: Option<bool>| value.map(|value| value.to_string());
        [
            ("SnapshotId", self.snapshot_id.clone()),
            ("VolumeSize", number(self.volume_size)),
            ("VolumeType", self.volume_type.clone()),
            ("Iops", number(self.iops)),
            ("Throughput", number(self.throughput)),
            ("DeleteOnTermination", flag(self.delete_on_termination)),
            ("Encrypted", flag(self.encrypted)),
        ]
        .into_iter()
        .filter_map(|(name, value)| optional(&format!("{begin}.Ebs.{name}"), value.as_ref()))
        .collect()
    }
}

impl BlockDeviceMapping {
    fn parameters(&self, number: usize) -> Vec<(String, String)> {
        let begin = format!("BlockDeviceMapping.{number}");
        let mut parameters = vec![parameter(&format!("{begin}.DeviceName"), &self.device_name)];
        match &self.kind {
            BlockDevice::None => parameters.push(parameter(&format!("{begin}.NoDevice"), "")),
            BlockDevice::InstanceStore(name) => {
                parameters.push(parameter(&format!("{begin}.VirtualName"), name));
            }
            BlockDevice::Ebs(ebs) => parameters.extend(ebs.parameters(&begin)),
        }
        parameters
    }
}

impl Action for RegisterImage {
    const NAME: &'static str = "RegisterImage";

    const FAILED: &'static str = "Failed to register the AMI";

    // There is no client token: the second time the name is taken.
    const IS_REPEATABLE: bool = false;

    type Answer = ImageId;

    fn parameters(&self) -> Vec<(String, String)> {
        let mut parameters = vec![parameter("Name", &self.name)];
        let ena = self.ena_support.map(|ena| ena.to_string());
        for (name, value) in [
            ("Description", &self.description),
            ("ImageLocation", &self.image_location),
            ("Architecture", &self.architecture),
            ("VirtualizationType", &self.virtualization_type),
            ("RootDeviceName", &self.root_device_name),
            ("EnaSupport", &ena),
            ("BootMode", &self.boot_mode),
            ("UefiData", &self.uefi_data),
            ("TpmSupport", &self.tpm_support),
            ("ImdsSupport", &self.imds_support),
            ("KernelId", &self.kernel_id),
            ("RamdiskId", &self.ramdisk_id),
        ] {
            parameters.extend(optional(name, value.as_ref()));
        }
        let numbered = self.block_device_mappings.iter().zip(1..);
        parameters.extend(numbered.flat_map(|(mapping, number)| mapping.parameters(number)));
        parameters.extend(specification("image", &self.tags));
        parameters
    }
}

/// The ID of an image that was made.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ImageId {
    /// The ID.
    pub image_id: String,
}

/// `DeregisterImage`: takes an image away; its snapshots stay.
#[derive(Debug, Clone)]
pub struct DeregisterImage {
    /// Its ID.
    pub image: String,
}

impl Action for DeregisterImage {
    const NAME: &'static str = "DeregisterImage";

    const FAILED: &'static str = "Failed to deregister the AMI";

    // The second time it is not there any more.
    const IS_REPEATABLE: bool = true;

    type Answer = Done;

    fn parameters(&self) -> Vec<(String, String)> {
        vec![parameter("ImageId", &self.image)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_given_is_not_sent() {
        let action = RegisterImage {
            name: "n".to_owned(),
            image_location: Some("b/k".to_owned()),
            ..RegisterImage::default()
        };
        let expected = [("Name", "n"), ("ImageLocation", "b/k")];
        assert_eq!(
            action.parameters(),
            expected.map(|(name, value)| parameter(name, value))
        );
    }

    #[test]
    fn devices_are_numbered() {
        let device = |name: &str, kind| BlockDeviceMapping {
            device_name: name.to_owned(),
            kind,
        };
        let root = EbsBlockDevice {
            snapshot_id: Some("snap-1".to_owned()),
            volume_size: Some(8),
            volume_type: Some("gp3".to_owned()),
            iops: Some(3000),
            throughput: Some(125),
            delete_on_termination: Some(true),
            encrypted: None,
        };
        let action = RegisterImage {
            name: "n".to_owned(),
            ena_support: Some(true),
            block_device_mappings: vec![
                device("/dev/xvda", BlockDevice::Ebs(root)),
                device("/dev/sdb", BlockDevice::InstanceStore("ephemeral0".into())),
                device("/dev/sdc", BlockDevice::None),
            ],
            tags: vec![Tag::new("k", "v")],
            ..RegisterImage::default()
        };
        let expected = [
            ("Name", "n"),
            ("EnaSupport", "true"),
            ("BlockDeviceMapping.1.DeviceName", "/dev/xvda"),
            ("BlockDeviceMapping.1.Ebs.SnapshotId", "snap-1"),
            ("BlockDeviceMapping.1.Ebs.VolumeSize", "8"),
            ("BlockDeviceMapping.1.Ebs.VolumeType", "gp3"),
            ("BlockDeviceMapping.1.Ebs.Iops", "3000"),
            ("BlockDeviceMapping.1.Ebs.Throughput", "125"),
            ("BlockDeviceMapping.1.Ebs.DeleteOnTermination", "true"),
            ("BlockDeviceMapping.2.DeviceName", "/dev/sdb"),
            ("BlockDeviceMapping.2.VirtualName", "ephemeral0"),
            ("BlockDeviceMapping.3.DeviceName", "/dev/sdc"),
            ("BlockDeviceMapping.3.NoDevice", ""),
            ("TagSpecification.1.ResourceType", "image"),
            ("TagSpecification.1.Tag.1.Key", "k"),
            ("TagSpecification.1.Tag.1.Value", "v"),
        ];
        assert_eq!(
            action.parameters(),
            expected.map(|(name, value)| parameter(name, value))
        );
    }
}
