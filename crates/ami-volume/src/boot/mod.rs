//! The boot loader: found on the volume, installed into the image without asking any device what it is.

mod config;
mod grub2;
mod legacy;

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use crate::error::Error;
use crate::inside;
use crate::partition::{Layout, PartitionType};
use crate::tools::Finder;
use crate::workshop::Workshop;

pub(crate) use config::{Identity, check};
pub(crate) use grub2::Grub2;
pub(crate) use legacy::{CONFIGURATIONS as LEGACY_CONFIGURATIONS, Legacy};

/// The largest file of a boot loader that is believed, in bytes; the largest modules have a tenth.
const LARGEST_MODULE: u64 = 16 << 20;

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
    pub(crate) file_system: &'static str,
    /// The folder of the file system that is the root, without a slash at its beginning.
    pub(crate) subvolume: &'a Path,
}

impl Loader {
    /// Looks for a boot loader on a volume: the one that has a configuration, GRUB 2 first.
    ///
    /// # Errors
    /// [`Error::ToolOnVolume`] where what installs it may not be run.
    pub(crate) fn find(finder: &Finder<'_>) -> Result<Option<Self>, Error> {
        let volume = finder.view;
        match (Grub2::find(finder), Legacy::find(finder)) {
            (Ok(Some(grub2)), Ok(Some(legacy)))
                if !grub2.is_configured(volume) && legacy.is_configured(volume) =>
            {
                Ok(Some(Self::Legacy(legacy)))
            }
            (Err(_), Ok(Some(legacy))) if legacy.is_configured(volume) => {
                Ok(Some(Self::Legacy(legacy)))
            }
            (grub2, legacy) => match grub2? {
                Some(grub2) => Ok(Some(Self::Grub2(grub2))),
                None => Ok(legacy?.map(Self::Legacy)),
            },
        }
    }

    /// Whether it is installed by a program of the volume.
    pub(crate) fn needs_volume(&self) -> bool {
        match self {
            Self::Grub2(grub2) => grub2.needs_volume(),
            Self::Legacy(legacy) => legacy.needs_volume(),
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
        workshop: &Workshop<'_>,
        make: impl Fn(&crate::loop_device::LoopDevice, u64) -> Result<(), Error>,
        mount: impl Fn(&crate::loop_device::LoopDevice) -> Result<(), Error>,
    ) -> Result<(), Error> {
        match self {
            Self::Grub2(grub2) => grub2.rehearse(target, workshop).map(drop),
            Self::Legacy(legacy) => legacy.rehearse(target, workshop, make, mount),
        }
    }

    /// Puts its files into the image's file system, which is mounted.
    pub(crate) fn copy_files(&self, workshop: &Workshop<'_>) -> Result<(), Error> {
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
        workshop: &Workshop<'_>,
    ) -> Result<(), Error> {
        match self {
            Self::Grub2(grub2) => grub2.install(image, target, workshop),
            Self::Legacy(legacy) => legacy.install(image, target, workshop),
        }
    }
}

/// Copies the plain files of the volume's folder `from` that are named so into the folder `to`.
fn copy_named(
    volume: &Path,
    from: &str,
    to: &Path,
    is_wanted: impl Fn(&str) -> bool,
) -> Result<(), Error> {
    std::fs::create_dir_all(to).map_err(Error::io("create", to))?;
    let from = Path::new(from);
    for name in inside::list(volume, from).map_err(Error::io("read", from))? {
        if !name.to_str().is_some_and(&is_wanted) {
            continue;
        }
        let path = from.join(&name);
        let source = inside::open(volume, &path).map_err(Error::io("read", &path))?;
        let target = to.join(&name);
        // Must not write through an existing link.
        let _ = std::fs::remove_file(&target);
        let mut file = File::create_new(&target).map_err(Error::io("create", &target))?;
        let metadata = source.metadata().map_err(Error::io("read", &path))?;
        let mode = std::fs::Permissions::from_mode(metadata.mode() & 0o777);
        file.set_permissions(mode)
            .map_err(Error::io("create", &target))?;
        let mut source = source.take(LARGEST_MODULE);
        let _ = std::io::copy(&mut source, &mut file).map_err(Error::io("copy", &path))?;
        if source.limit() == 0 {
            return Err(Error::BrokenLoader {
                part: path,
                flaw: "large",
            });
        }
    }
    Ok(())
}
