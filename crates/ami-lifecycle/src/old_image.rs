//! An instance store-backed AMI, and what a new one takes after it.

use std::sync::atomic::AtomicBool;

use ami_ec2::{
    BlockDevice, BlockDeviceMapping, DescribeLaunchPermissions, Device, Grantee, Image, Tag,
};
use ami_s3::BucketPath;

use crate::access::{Access, Link};
use crate::devices::{add_devices, is_instance_store, with_folder};
use crate::distribution::{COPY_TAG, SOURCE_TAG};
use crate::error::Error;
use crate::waiting::unless_interrupted;

/// What instances are billed as whose software has no price (EC2 user guide, "AMI billing information").
const PLAIN: &str = "RunInstances";

/// The tags that AWS sets itself, which nobody else can.
const OF_AWS: &str = "aws:";

/// An instance store-backed AMI of this account.
#[derive(Debug, Clone)]
pub struct OldImage {
    /// Its ID.
    pub id: String,
    /// The bucket of its bundle, and the folder in it.
    pub bucket: BucketPath,
    /// The file name of its manifest.
    pub manifest: String,
    /// Its name.
    pub name: String,
    /// What it is, for people.
    pub description: Option<String>,
    /// `i386` or `x86_64`.
    pub architecture: Option<String>,
    /// The device that it starts from.
    pub root_device: Option<String>,
    /// The other devices.
    pub devices: Vec<BlockDeviceMapping>,
    /// Its tags, without those of AWS and ours.
    pub tags: Vec<Tag>,
    /// Who may start instances of it, besides everybody.
    pub shared_with: Vec<Grantee>,
    /// Whether everybody may.
    pub is_public: bool,
    /// The product codes and the billing code that an AMI made of its bundle does not have.
    pub codes: Vec<String>,
}

/// Asks EC2 about an instance store-backed AMI.
///
/// # Errors
/// [`Error::NoImage`], [`Error::NotOwn`], [`Error::NotInstanceStore`], [`Error::Windows`], [`Error::NoLocation`]; EC2 cannot be asked.
pub async fn old_image(
    access: &Access,
    id: &str,
    interrupted: &AtomicBool,
) -> Result<OldImage, Error> {
    unless_interrupted(interrupted, async {
        let link = Link::open(access).await?;
        let ec2 = link.here()?;
        let Some(image) = ec2.own_image(id).await? else {
            return Err(match ec2.image(id).await? {
                Some(image) => Error::NotOwn {
                    image: id.to_owned(),
                    owner: image.image_owner_id.unwrap_or_default(),
                },
                None => Error::NoImage {
                    image: id.to_owned(),
                    region: link.region.clone(),
                },
            });
        };
        let mut old = OldImage::new(id, image)?;
        let asked = DescribeLaunchPermissions {
            image: id.to_owned(),
        };
        let mut grantees = ec2.perform(&asked).await?.grantees();
        old.is_public |= grantees.contains(&Grantee::All);
        grantees.retain(|grantee| *grantee != Grantee::All);
        old.shared_with = grantees;
        Ok(old)
    })
    .await
}

impl OldImage {
    fn new(id: &str, image: Image) -> Result<Self, Error> {
        let owned = || id.to_owned();
        if image.root_device_type.as_deref() != Some("instance-store") {
            return Err(Error::NotInstanceStore { image: owned() });
        }
        if image.platform.as_deref() == Some("windows") {
            return Err(Error::Windows { image: owned() });
        }
        let location = image.image_location.unwrap_or_default();
        let place = location.trim_start_matches('/').rsplit_once('/');
        let place = place.and_then(|(bucket, file)| Some((bucket.parse().ok()?, file)));
        let Some((bucket, manifest)) = place.filter(|(_, file)| !file.is_empty()) else {
            return Err(Error::NoLocation {
                image: owned(),
                location,
            });
        };
        let manifest = manifest.to_owned();
        let codes = image.product_codes.into_iter();
        let codes = codes.filter_map(|code| code.product_code);
        let operation = image.usage_operation.filter(|operation| operation != PLAIN);
        let is_others = |tag: &Tag| {
            let is_ours = tag.key == SOURCE_TAG || tag.key == COPY_TAG;
            !is_ours && !tag.key.to_ascii_lowercase().starts_with(OF_AWS)
        };
        let root_device = image.root_device_name.as_deref().map(with_folder);
        let devices = image.block_device_mapping.iter();
        let mut further = Vec::new();
        add_devices(
            &mut further,
            devices.filter_map(instance_store),
            root_device.as_deref(),
        );
        Ok(Self {
            id: owned(),
            bucket,
            manifest,
            name: image.name.unwrap_or_default(),
            description: image.description.filter(|text| !text.is_empty()),
            architecture: image.architecture,
            devices: further,
            root_device,
            tags: image.tag_set.into_iter().filter(is_others).collect(),
            shared_with: Vec::new(),
            is_public: image.is_public == Some(true),
            codes: codes.chain(operation).collect(),
        })
    }
}

fn instance_store(device: &Device) -> Option<BlockDeviceMapping> {
    let name = device.virtual_name.as_deref()?;
    is_instance_store(name).then_some(())?;
    Some(BlockDeviceMapping {
        device_name: with_folder(device.device_name.as_deref()?),
        kind: BlockDevice::InstanceStore(name.to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use ami_ec2::ProductCode;

    use super::*;

    fn image() -> Image {
        let device = |name: &str, virtual_name: &str| Device {
            device_name: Some(name.to_owned()),
            virtual_name: Some(virtual_name.to_owned()),
            ..Device::default()
        };
        Image {
            image_location: Some("/bucket/a/b/image.manifest.xml".to_owned()),
            name: Some("old".to_owned()),
            description: Some(String::new()),
            root_device_type: Some("instance-store".to_owned()),
            root_device_name: Some("/dev/sda1".to_owned()),
            usage_operation: Some("RunInstances".to_owned()),
            block_device_mapping: [
                device("sda1", "ami"),
                device("/dev/sda1", "root"),
                device("sda2", "ephemeral0"),
                device("/dev/sdb", "ephemeral"),
            ]
            .into(),
            tag_set: [
                Tag::new("team", "a"),
                Tag::new("aws:cloudformation:stack-name", "s"),
                Tag::new(SOURCE_TAG, "x"),
            ]
            .into(),
            ..Image::default()
        }
    }

    #[test]
    fn what_a_new_ami_takes_after_it() {
        let old = OldImage::new("ami-1", image()).unwrap();
        assert_eq!(
            old.bucket.location(&old.manifest),
            "bucket/a/b/image.manifest.xml"
        );
        assert_eq!((&*old.name, old.description), ("old", None));
        assert_eq!(old.root_device.as_deref(), Some("/dev/sda1"));
        let expected = BlockDeviceMapping {
            device_name: "/dev/sda2".to_owned(),
            kind: BlockDevice::InstanceStore("ephemeral0".to_owned()),
        };
        assert_eq!(old.devices, [expected]);
        assert_eq!(old.tags, [Tag::new("team", "a")]);
        assert!(!old.is_public && old.codes.is_empty());
    }

    #[test]
    fn codes_that_would_be_lost_are_told() {
        let code = ProductCode {
            product_code: Some("abc".to_owned()),
        };
        let priced = Image {
            product_codes: [code].into(),
            usage_operation: Some("RunInstances:0010".to_owned()),
            ..image()
        };
        let old = OldImage::new("ami-1", priced).unwrap();
        assert_eq!(old.codes, ["abc", "RunInstances:0010"]);
    }

    #[test]
    fn what_no_linux_can_be_made_of_is_refused() {
        let refused = |image| OldImage::new("ami-1", image).unwrap_err();
        let ebs = Image {
            root_device_type: Some("ebs".to_owned()),
            ..image()
        };
        assert!(matches!(refused(ebs), Error::NotInstanceStore { .. }));
        let windows = Image {
            platform: Some("windows".to_owned()),
            ..image()
        };
        assert!(matches!(refused(windows), Error::Windows { .. }));
        for location in ["", "bucket", "bucket/", "/m.manifest.xml"] {
            let image = Image {
                image_location: Some(location.to_owned()),
                ..image()
            };
            assert!(
                matches!(refused(image), Error::NoLocation { .. }),
                "{location}"
            );
        }
    }
}
