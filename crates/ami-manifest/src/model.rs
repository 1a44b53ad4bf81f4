//! The contents of a manifest.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use crate::bundle_key::WrappedKey;

/// The contents of a manifest of any version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// The version that it was read from. [`Version::V20071010`] is always written.
    pub version: Version,
    /// The program that made it.
    pub bundler: Bundler,
    /// What an instance needs.
    pub machine: MachineConfiguration,
    /// The image and its parts.
    pub image: Image,
}

/// The formats that can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// `3`: without machine configuration and image type.
    V3,
    /// `20070829`: without image type.
    V20070829,
    /// `2007-10-10`.
    V20071010,
}

/// The program that made a bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bundler {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its release.
    pub release: String,
}

impl Default for Bundler {
    /// The older suite's last release, because EC2 and scripts know these values.
    fn default() -> Self {
        Self {
            name: "ec2-ami-tools".to_owned(),
            version: "1.5".to_owned(),
            release: "7".to_owned(),
        }
    }
}

/// What an instance of the image needs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MachineConfiguration {
    /// `x86_64` or `i386`, as EC2 names them.
    pub architecture: String,
    /// Virtual names (`ami`, `root`, `ephemeral0`) to devices; empty when there are none.
    pub block_device_mapping: BTreeMap<String, String>,
    /// The kernel's image, `aki-…`.
    pub kernel_id: Option<String>,
    /// The RAM disk's image, `ari-…`.
    pub ramdisk_id: Option<String>,
    /// Product codes.
    pub product_codes: Vec<String>,
}

/// The image and its parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// The bundle's name, a single path component.
    pub name: String,
    /// The account that it belongs to, 12 digits.
    pub user: String,
    /// `machine`, `kernel` or `ramdisk`.
    pub image_type: String,
    /// The kernel's name, of kernel images only.
    pub kernel_name: Option<String>,
    /// The images that this one was made from.
    pub ancestry: Vec<String>,
    /// SHA-1 of the tar stream.
    pub digest: Sha1Digest,
    /// The image's size in bytes, holes included.
    pub size: u64,
    /// The sum of the parts' sizes in bytes.
    pub bundled_size: u64,
    /// The bundle's key and IV for EC2.
    pub ec2_key: WrappedKey,
    /// The bundle's key and IV for the user.
    pub user_key: WrappedKey,
    /// The parts, in order.
    pub parts: Vec<Part>,
}

/// A part of the bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// The file's name, a single path component.
    pub filename: String,
    /// SHA-1 of the file.
    pub digest: Sha1Digest,
}

/// A SHA-1 digest, written as 40 hex digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sha1Digest(pub [u8; 20]);

impl fmt::Display for Sha1Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl FromStr for Sha1Digest {
    type Err = hex::FromHexError;

    /// Accepts either case.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut bytes = [0; 20];
        hex::decode_to_slice(text, &mut bytes)?;
        Ok(Self(bytes))
    }
}
