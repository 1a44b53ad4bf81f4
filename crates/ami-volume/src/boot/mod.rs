//! The boot loader: found on the volume, installed into the image without asking any device what it is.

mod config;
mod grub2;
mod legacy;

use std::fs::File;
use std::path::Path;

use crate::error::Error;
use crate::inside;
use crate::partition::{Layout, PartitionType};
use crate::workshop::Workshop;

pub(crate) use config::{Identity, check};
pub(crate) use grub2::Grub2;
pub(crate) use legacy::{CONFIGURATIONS as LEGACY_CONFIGURATIONS, Legacy};

/// A boot loader of a volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Loader {
    /// GRUB 2 for BIOS.
    Grub2(Grub2),
    /// GRUB 0.97.
    Legacy(Legacy),
}

/// An image that is to boot.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Target<'a> {
    pub(crate) path: &'a Path,
    pub(crate) partition: PartitionType,
    pub(crate) layout: Layout,
    /// The file system's name.
    pub(crate) file_system: &'a str,
    /// The folder of the file system that is the root, without a slash at its beginning.
    pub(crate) subvolume: &'a Path,
}

impl Loader {
    /// Looks for a boot loader on a volume: the one that has a configuration, GRUB 2 first.
    pub(crate) fn find(volume: &Path) -> Option<Self> {
        let grub2 = Grub2::find(volume);
        let legacy = Legacy::find(volume);
        match (grub2, legacy) {
            (Some(grub2), Some(legacy))
                if !grub2.is_configured(volume) && legacy.is_configured(volume) =>
            {
                Some(Self::Legacy(legacy))
            }
            (Some(grub2), _) => Some(Self::Grub2(grub2)),
            (None, legacy) => legacy.map(Self::Legacy),
        }
    }

    /// `GRUB 2` or `GRUB Legacy`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Grub2(_) => "GRUB 2",
            Self::Legacy(_) => "GRUB Legacy",
        }
    }

    /// The paths of its configuration, the usual one first.
    pub(crate) fn configurations(&self) -> Vec<String> {
        match self {
            Self::Grub2(grub2) => vec![grub2.configuration()],
            Self::Legacy(_) => LEGACY_CONFIGURATIONS.map(str::to_owned).into(),
        }
    }

    /// Whether the volume has a configuration for it.
    pub(crate) fn is_configured(&self, volume: &Path) -> bool {
        self.configurations()
            .iter()
            .any(|path| inside::is_file(volume, Path::new(path)))
    }

    /// Tries what can be tried before anything is copied.
    pub(crate) fn rehearse(
        &self,
        target: &Target<'_>,
        workshop: &Workshop,
        make: impl Fn(&crate::loop_device::LoopDevice, u64) -> Result<(), Error>,
        mount: impl Fn(&crate::loop_device::LoopDevice) -> Result<(), Error>,
    ) -> Result<(), Error> {
        match self {
            Self::Grub2(grub2) => grub2.rehearse(target, workshop).map(drop),
            Self::Legacy(legacy) => legacy.rehearse(target, workshop, make, mount),
        }
    }

    /// Puts its files into the image's file system, which is mounted.
    pub(crate) fn copy_files(&self, workshop: &Workshop) -> Result<(), Error> {
        match self {
            Self::Grub2(grub2) => grub2.copy_files(workshop),
            Self::Legacy(legacy) => legacy.copy_files(&workshop.volume(), &workshop.image()),
        }
    }

    /// Writes it in front of the image's file system, which is not mounted.
    pub(crate) fn install(
        &self,
        image: &File,
        target: &Target<'_>,
        workshop: &Workshop,
    ) -> Result<(), Error> {
        match self {
            Self::Grub2(grub2) => grub2.install(image, target, workshop),
            Self::Legacy(legacy) => legacy.install(image, target, workshop),
        }
    }
}

/// Copies the files of one folder that are named so.
fn copy_named(from: &Path, to: &Path, is_wanted: impl Fn(&str) -> bool) -> Result<(), Error> {
    std::fs::create_dir_all(to).map_err(Error::io("create", to))?;
    for entry in std::fs::read_dir(from).map_err(Error::io("read", from))? {
        let entry = entry.map_err(Error::io("read", from))?;
        let name = entry.file_name();
        if !name.to_str().is_some_and(&is_wanted) {
            continue;
        }
        let (source, target) = (entry.path(), to.join(&name));
        if std::fs::canonicalize(&source).ok() == std::fs::canonicalize(&target).ok() {
            continue;
        }
        // Not through a link that stands there.
        let _ = std::fs::remove_file(&target);
        let _ = std::fs::copy(&source, &target).map_err(Error::io("copy", &source))?;
    }
    Ok(())
}
