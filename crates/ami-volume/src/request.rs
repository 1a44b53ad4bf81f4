//! What is asked of the imager.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use crate::customise::Fstab;
use crate::in_use::InUse;
use crate::partition::PartitionType;

/// An image of a volume, as it is asked for.
#[derive(Debug, Clone)]
pub struct Request {
    /// The volume: a folder that exists.
    pub volume: PathBuf,
    /// The image's size in bytes.
    pub size: u64,
    /// `None` for the partition type of the volume's disk.
    pub partition: Option<PartitionType>,
    /// Whether mounts of any kind below the volume are copied too.
    pub all: bool,
    /// Patterns of what is left out.
    pub excludes: Vec<String>,
    /// Patterns of what is copied although another pattern leaves it out.
    pub includes: Vec<String>,
    /// Whether secrets and leftovers are left out ([`crate::SECRETS_AND_LEFTOVERS`]).
    pub filter: bool,
    /// The image's table of file systems.
    pub fstab: Fstab,
    /// A boot configuration that replaces the volume's.
    pub grub_config: Option<PathBuf>,
    /// A program that changes the image.
    pub script: Option<PathBuf>,
    /// Whether programs of the volume may be run where this machine lacks one.
    pub use_volume_tools: bool,
    /// Files that are never copied, under any of their names: the private key.
    pub secrets: Vec<PathBuf>,
    /// The image that is made. It is not copied into itself.
    pub image: PathBuf,
    /// Other files of this run, which are not copied: those of the bundle.
    pub own: Vec<PathBuf>,
    /// How the paths of private folders begin, which are not copied.
    pub private: PathBuf,
    /// The folder that the image is written to.
    pub destination: PathBuf,
    /// Whether a bundle of the image will be written there too, which may take as much space again.
    pub is_bundled: bool,
    /// Whether space at the destination is checked.
    pub check_space: bool,
    /// How many threads scan and copy.
    pub threads: NonZeroUsize,
    /// What is done about a volume that others write to.
    pub in_use: InUse,
}
