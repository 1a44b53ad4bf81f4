//! An uploaded bundle becomes an instance store-backed AMI.

use std::sync::atomic::AtomicBool;

use ami_ec2::{BlockDevice, BlockDeviceMapping, Image, RegisterImage, Tag};
use ami_manifest::{LARGEST_MANIFEST, MachineConfiguration, ParsedManifest};
use ami_s3::{BucketPath, Connection, Settings};
use serde::Serialize;

use crate::access::{Access, Link};
use crate::delete::denied;
use crate::devices::{is_instance_store, with_folder};
use crate::error::Error;
use crate::observer::{Event, Observer};
use crate::registering::{find, register_once};
use crate::waiting::unless_interrupted;

/// The devices that a manifest names and that are none of their own: the root's name, and that of the volume it lies on.
const ROOT: &str = "root";

/// Which bundle is registered, and how. What is not given is taken from the bundle's manifest.
#[derive(Debug, Clone)]
pub struct Register {
    /// How AWS is reached.
    pub access: Access,
    /// How S3 is reached.
    pub s3: Settings,
    /// The bucket, and the folder in it.
    pub bucket: BucketPath,
    /// The manifest's file name.
    pub manifest: String,
    /// The AMI's name.
    pub name: String,
    /// What it is, for people.
    pub description: Option<String>,
    /// `i386` or `x86_64`.
    pub architecture: Option<String>,
    /// `hvm` or `paravirtual`.
    pub virtualization: Option<String>,
    /// The kernel, `aki-…`.
    pub kernel: Option<String>,
    /// The RAM disk, `ari-…`.
    pub ramdisk: Option<String>,
    /// The device that it starts from.
    pub root_device: Option<String>,
    /// Further devices; one of the manifest's that has the same name gives way.
    pub devices: Vec<BlockDeviceMapping>,
    /// Its tags.
    pub tags: Vec<Tag>,
}

/// What is registered, and what is in the way.
#[derive(Debug)]
pub struct RegisterPlan {
    /// The AMI, as EC2 will be asked for it.
    pub image: RegisterImage,
    /// The region.
    pub region: String,
    /// The AMI that is there already, if an earlier run has made it.
    pub existing: Option<String>,
    /// Why it cannot be done.
    pub problems: Vec<Error>,
}

/// What was registered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Registered {
    /// The AMI's ID.
    pub image: String,
    /// Its region.
    pub region: String,
    /// Its name.
    pub name: String,
    /// Its architecture.
    pub architecture: Option<String>,
    /// Its virtualization.
    pub virtualization: Option<String>,
}

/// Looks up what [`register`] would do, and whether it would be allowed to.
///
/// # Errors
/// AWS cannot be asked; the manifest cannot be read. What else is in the way is in the plan.
pub async fn plan_register(
    request: &Register,
    interrupted: &AtomicBool,
) -> Result<RegisterPlan, Error> {
    unless_interrupted(interrupted, async {
        let link = Link::open(&request.access).await?;
        let image = image(request).await?;
        let ec2 = link.here()?;
        let mut problems = Vec::new();
        let existing = find(&ec2, &image.name, &is_of(&image)).await;
        let existing = existing.unwrap_or_else(|error| {
            problems.push(error);
            None
        });
        if existing.is_none() && problems.is_empty() {
            problems.extend(denied(&ec2, ec2.allows(&image).await));
        }
        Ok(RegisterPlan {
            image,
            region: link.region.clone(),
            existing,
            problems,
        })
    })
    .await
}

/// Registers a bundle in S3. An AMI of that name and manifest that is there already is taken for the one.
///
/// # Errors
/// [`Error::NameTaken`], [`Error::Manifest`]: nothing was done. EC2 or S3 refuses, or cannot be asked.
pub async fn register(
    request: &Register,
    observer: &impl Observer,
    interrupted: &AtomicBool,
) -> Result<Registered, Error> {
    unless_interrupted(interrupted, async {
        let link = Link::open(&request.access).await?;
        let image = image(request).await?;
        let ec2 = link.here()?;
        let registered = register_once(&ec2, &image, is_of(&image)).await?;
        observer.tell(Event::Image {
            id: &registered.id,
            region: &link.region,
            is_new: registered.is_new,
        });
        Ok(Registered {
            image: registered.id,
            region: link.region.clone(),
            name: image.name,
            architecture: image.architecture,
            virtualization: image.virtualization_type,
        })
    })
    .await
}

/// Whether an AMI is of the same manifest.
fn is_of(wanted: &RegisterImage) -> impl Fn(&Image) -> bool {
    let location = wanted.image_location.clone().unwrap_or_default();
    move |image| {
        let found = image.image_location.as_deref().unwrap_or_default();
        found.trim_start_matches('/') == location
    }
}

/// The AMI, as EC2 is asked for it.
async fn image(request: &Register) -> Result<RegisterImage, Error> {
    let location = request.bucket.location(&request.manifest);
    let machine = machine(request, &location).await?;
    let kernel = request.kernel.clone().or(machine.kernel_id.clone());
    let virtualization = request.virtualization.clone();
    // A kernel of EC2's, or PV-GRUB, is what a paravirtual instance starts with, and no other has one.
    let found = match &kernel {
        Some(_) => "paravirtual",
        None => "hvm",
    };
    let (root, mut devices) = devices(&machine, &location)?;
    let is_given = |device: &BlockDeviceMapping| {
        let mut given = request.devices.iter();
        given.any(|given| given.device_name == device.device_name)
    };
    devices.retain(|device| !is_given(device));
    devices.extend(request.devices.iter().cloned());
    Ok(RegisterImage {
        name: request.name.clone(),
        description: request.description.clone(),
        image_location: Some(location),
        architecture: Some(request.architecture.clone().unwrap_or(machine.architecture)),
        virtualization_type: Some(virtualization.unwrap_or_else(|| found.to_owned())),
        root_device_name: request.root_device.clone().or(root),
        block_device_mappings: devices,
        kernel_id: kernel,
        ramdisk_id: request.ramdisk.clone().or(machine.ramdisk_id),
        tags: request.tags.clone(),
        ..RegisterImage::default()
    })
}

async fn machine(request: &Register, location: &str) -> Result<MachineConfiguration, Error> {
    let (connection, _) = Connection::open(&request.s3).await?;
    let bucket = connection.bucket(request.bucket.clone());
    let operation = format!("Failed to download {:?}", request.manifest);
    let bytes = bucket.get(&operation, &request.manifest, LARGEST_MANIFEST);
    let bytes = bytes.await?;
    match ParsedManifest::parse(&bytes) {
        Ok(parsed) => Ok(parsed.manifest.machine),
        Err(source) => Err(Error::Manifest {
            location: location.to_owned(),
            source,
        }),
    }
}

/// The root device and the instance store volumes of a manifest.
pub(crate) fn devices(
    machine: &MachineConfiguration,
    location: &str,
) -> Result<(Option<String>, Vec<BlockDeviceMapping>), Error> {
    let mut root = None;
    let mut devices = Vec::new();
    for (name, device) in &machine.block_device_mapping {
        let is_volume = is_instance_store(name);
        if name != ROOT && !is_volume {
            continue;
        }
        let is_device = |device: &str| {
            let mut bytes = device.bytes();
            !device.is_empty() && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'/')
        };
        if !is_device(device) {
            return Err(Error::Device {
                location: location.to_owned(),
                name: name.clone(),
                device: device.clone(),
            });
        }
        let device_name = with_folder(device);
        if is_volume {
            let kind = BlockDevice::InstanceStore(name.clone());
            devices.push(BlockDeviceMapping { device_name, kind });
        } else {
            root = Some(device_name);
        }
    }
    Ok((root, devices))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(mapping: &[(&str, &str)]) -> MachineConfiguration {
        let pairs = mapping.iter();
        let pairs = pairs.map(|&(name, device)| (name.to_owned(), device.to_owned()));
        MachineConfiguration {
            block_device_mapping: pairs.collect(),
            ..MachineConfiguration::default()
        }
    }

    #[test]
    fn a_manifests_devices_are_those_that_ec2_knows() {
        let mapping = machine(&[
            ("ami", "sda1"),
            ("root", "/dev/sda1"),
            ("ephemeral0", "sdb"),
            ("ephemeral", "sdx"),
            ("swap", "sda3"),
        ]);
        let (root, devices) = devices(&mapping, "b/m").unwrap();
        assert_eq!(root.as_deref(), Some("/dev/sda1"));
        let expected = BlockDeviceMapping {
            device_name: "/dev/sdb".to_owned(),
            kind: BlockDevice::InstanceStore("ephemeral0".to_owned()),
        };
        assert_eq!(devices, [expected]);
        assert_eq!(
            super::devices(&machine(&[]), "b/m").unwrap(),
            (None, vec![])
        );
    }

    #[test]
    fn what_is_no_device_is_refused() {
        for device in ["", "sd b", "../x", "sdb\n"] {
            let refused = devices(&machine(&[("ephemeral0", device)]), "b/m");
            assert!(matches!(refused, Err(Error::Device { .. })), "{device:?}");
        }
    }
}
