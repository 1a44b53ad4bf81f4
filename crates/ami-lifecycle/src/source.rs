//! What an AMI is made of, opened and surveyed.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use ami_disk::{Allocation, FileSystem, Survey, Unread, survey};
use ami_ebs::{BoxError, Source};
use ami_image::Image;
use ami_mounts::mounted_for_writing;

use crate::bundle::Bundle;
use crate::error::Error;
use crate::format::Format;
use crate::identity::of_file;

/// A volume's size has whole GiB.
pub(crate) const GIB: u64 = 1 << 30;

/// The length of the header, and of the trailer, by which a format is known.
const SECTOR: u64 = 512;

/// What an AMI is made of.
pub enum Origin {
    /// A snapshot that is there.
    Snapshot(String),
    /// A disk image or a block device.
    Disk {
        /// Its path.
        path: PathBuf,
        /// Whether it stays, so that an interrupted run can be gone on with.
        stays: bool,
        /// What keeps it from changing, if it is a device that is mounted for writing.
        still: Option<Arc<dyn Still>>,
    },
    /// A bundle.
    Bundle(Box<Bundle>),
    /// A stream, which is read once, and of which nothing is known before.
    Stream(Box<dyn Read + Send>),
}

impl Origin {
    /// Whether a later run finds it as it is now, and so can go on with what this one has begun.
    pub fn stays(&self) -> bool {
        match self {
            Self::Disk { stays, .. } => *stays,
            Self::Snapshot(_) | Self::Bundle(_) => true,
            Self::Stream(_) => false,
        }
    }
}

/// Something keeps a device from changing, though it is mounted for writing.
pub trait Still: Send + Sync {
    /// Whether nothing has changed until now.
    ///
    /// # Errors
    /// It may have.
    fn check(&self) -> Result<(), BoxError>;

    /// All of it was read, and it may change. If it is read again after that, `check` fails.
    ///
    /// # Errors
    /// It may have changed before.
    fn finish(&self) -> Result<(), BoxError>;
}

/// A device that is kept from changing.
struct StillDisk {
    image: Arc<Image>,
    still: Arc<dyn Still>,
}

impl ami_ebs::Disk for StillDisk {
    fn size(&self) -> u64 {
        self.image.size()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), BoxError> {
        self.still.check()?;
        Ok(self.image.read(offset, buffer)?)
    }

    fn check_unchanged(&self) -> Result<(), BoxError> {
        self.still.finish()
    }
}

impl std::fmt::Debug for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Snapshot(id) => write!(f, "Snapshot({id})"),
            Self::Disk { path, .. } => write!(f, "Disk({})", path.display()),
            Self::Bundle(bundle) => write!(f, "{bundle:?}"),
            Self::Stream(_) => f.write_str("Stream"),
        }
    }
}

/// A disk that was opened.
#[derive(Debug)]
pub(crate) struct Disk {
    pub(crate) image: Arc<Image>,
    pub(crate) survey: Survey,
}

/// What is worth knowing and no reason to stop.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Warning {
    /// All of a file system is sent.
    #[error(
        "all of {} is sent, free space too: {reason}",
        .partition.map_or("the disk".to_owned(), |number| format!("partition {number}"))
    )]
    AllSent {
        /// The partition.
        partition: Option<u32>,
        /// Why its free space is not known.
        reason: Unread,
    },
    /// Nothing is found that an instance starts with.
    #[error("no boot loader was found: an instance may not start")]
    NoBootLoader,
    /// No kernel of it has the network driver of current instance types.
    #[error(
        "no kernel in the image has the driver ena: current instance types cannot be reached without it"
    )]
    NoEna,
    /// It is not known whether EBS encrypts with a key.
    #[error(
        "{} in {region} cannot be looked up: {reason}",
        .key.as_ref().map_or_else(|| "the default KMS key of EBS".to_owned(), |key| format!("the KMS key {key}"))
    )]
    KeyUnknown {
        /// The key; `None`: the default one.
        key: Option<String>,
        /// Its region.
        region: String,
        /// Why.
        reason: String,
    },
}

/// What is known of a disk that can be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskFound {
    /// Bytes.
    pub size: u64,
    /// That of the system on it, as EC2 names it, if there is one.
    pub architecture: Option<String>,
}

/// Looks whether a file or a device is a disk as it is and can be read as a whole; one that `is_still` may be mounted for writing.
///
/// # Errors
/// [`Error::Format`], [`Error::Mounted`], [`Error::Empty`], [`Error::Image`], [`Error::Survey`].
pub fn look_at_disk(
    path: &Path,
    is_still: bool,
    interrupted: &AtomicBool,
) -> Result<DiskFound, Error> {
    let Disk { image, survey } = Disk::open(path, is_still, interrupted)?;
    Ok(DiskFound {
        size: image.size(),
        architecture: survey.architecture.map(|found| found.to_string()),
    })
}

impl Disk {
    /// Opens and surveys a disk. One that `is_still` may be mounted for writing.
    ///
    /// # Errors
    /// [`Error::Format`], [`Error::Mounted`], [`Error::Empty`], [`Error::Image`], [`Error::Survey`].
    pub(crate) fn open(
        path: &Path,
        is_still: bool,
        interrupted: &AtomicBool,
    ) -> Result<Self, Error> {
        let image = Image::open(path)?;
        let path = path.to_owned();
        if image.size() == 0 {
            return Err(Error::Empty { path });
        }
        if let Some(format) = format(&image)? {
            return Err(Error::Format { path, format });
        }
        if !is_still && let Some(folder) = mounted_for_writing(&path) {
            return Err(Error::Mounted { path, folder });
        }
        let survey = survey(&image, interrupted).map_err(|error| match error {
            ami_disk::Error::Interrupted => Error::Interrupted,
            source => Error::Survey { path, source },
        })?;
        let image = Arc::new(image);
        Ok(Self { image, survey })
    }

    /// What is sent.
    pub(crate) fn into_source(self, still: Option<Arc<dyn Still>>) -> Source {
        let image = self.image;
        Source::Disk {
            disk: match still {
                Some(still) => Arc::new(StillDisk { image, still }),
                None => image,
            },
            free: self.survey.free,
        }
    }

    /// The size of a volume that holds it, in GiB.
    pub(crate) fn gib(&self) -> u64 {
        self.image.size().div_ceil(GIB)
    }

    /// What identifies it on this machine, whatever it holds.
    pub(crate) fn identity(&self) -> [u8; 32] {
        of_file(self.image.path())
    }

    /// What is worth knowing of it.
    pub(crate) fn warnings(&self) -> Vec<Warning> {
        let volumes = self.survey.volumes.iter();
        let mut warnings: Vec<Warning> = volumes
            .filter_map(|volume| match (&volume.kind, &volume.allocation) {
                (
                    Some(FileSystem::Ext | FileSystem::Xfs | FileSystem::Btrfs),
                    Allocation::Unread(reason),
                ) => Some(Warning::AllSent {
                    partition: volume.partition,
                    reason: reason.clone(),
                }),
                _ => None,
            })
            .collect();
        let boot = self.survey.boot;
        if !boot.bios && !boot.uefi {
            warnings.push(Warning::NoBootLoader);
        }
        warnings
    }

    /// How many blocks there are up to its end, and how many of them are left out.
    pub(crate) fn blocks(&self) -> (u64, u64) {
        let block = ami_ebs::BLOCK_SIZE;
        let free = self.survey.free.iter().map(|extent| {
            let begin = extent.offset.div_ceil(block);
            let end = extent.offset.saturating_add(extent.length) / block;
            end.saturating_sub(begin)
        });
        (self.image.size().div_ceil(block), free.sum())
    }
}

fn format(image: &Image) -> Result<Option<Format>, Error> {
    let read = |offset: u64, length: u64| -> Result<Vec<u8>, Error> {
        let length = length.min(image.size() - offset);
        let mut bytes = vec![0; usize::try_from(length).unwrap_or_default()];
        image.read(offset, &mut bytes)?;
        Ok(bytes)
    };
    let first = read(0, SECTOR)?;
    let last = read(image.size().saturating_sub(SECTOR), SECTOR)?;
    Ok(Format::of(&first, &last))
}
