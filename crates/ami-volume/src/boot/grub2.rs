//! GRUB 2 on BIOS (GNU GRUB manual 2.06, "BIOS installation"; grub-core/boot/i386/pc/boot.S and diskboot.S for the offsets).
//!
//! | where | what |
//! |---|---|
//! | sector 0, bytes 0 to 439 | boot.img |
//! | sector 0, 0x5C | u64: the first sector of the core image |
//! | core image, 0x1F4 | u64: its second sector on the disk, u16: how many sectors follow the first, u16: segment 0x0820 |
//!
//! mbr: the core image begins at sector 1; gpt: it is in the BIOS boot partition.

use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::boot::{Target, copy_named};
use crate::error::{Error, Package};
use crate::inside;
use crate::partition::{PartitionType, SECTOR};
use crate::tools::{Finder, Surroundings, Tool};
use crate::workshop::Workshop;

/// Where distributions keep the modules for BIOS.
const MODULES: [&str; 3] = [
    "/usr/lib/grub/i386-pc",
    "/usr/share/grub2/i386-pc",
    "/usr/lib/grub2/i386-pc",
];

/// Without these there is nothing to make a core image of.
const NEEDED: [&str; 4] = ["boot.img", "diskboot.img", "kernel.img", "biosdisk.mod"];

/// Where GRUB's configuration and modules are: upstream's name, and that of Red Hat and SUSE.
const FOLDERS: [&str; 2] = ["/boot/grub", "/boot/grub2"];

/// What the core image is called while it is made.
const CORE: &str = "core.img";

const PACKAGE: Package = Package {
    debian: "grub-common",
    red_hat: "grub2-tools-minimal",
};

/// The code's length in sector 0; behind it are the disk's signature and the partition table.
const BOOT_CODE: usize = 440;

/// GRUB_BOOT_MACHINE_KERNEL_SECTOR.
const KERNEL_SECTOR: usize = 0x5C;

/// Where the block list is in the core image's first sector, and GRUB_BOOT_MACHINE_KERNEL_SEG + 0x20.
const BLOCK_LIST: usize = 0x1F4;
const SEGMENT: u16 = 0x0820;

/// GRUB 2 as it is on a volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grub2 {
    modules: &'static str,
    folder: &'static str,
    mkimage: Tool,
}

impl Grub2 {
    pub(crate) fn find(finder: &Finder<'_>) -> Result<Option<Self>, Error> {
        let volume = finder.view;
        let modules = MODULES.into_iter().find(|folder| {
            NEEDED
                .iter()
                .all(|file| inside::is_file(volume, &Path::new(folder).join(file)))
        });
        let Some(modules) = modules else {
            return Ok(None);
        };
        let Some(mkimage) = finder.find(&["grub-mkimage", "grub2-mkimage"], PACKAGE)? else {
            return Ok(None);
        };
        let has_configuration =
            |folder: &&&str| inside::is_file(volume, &Path::new(folder).join("grub.cfg"));
        let is_there = |folder: &&&str| inside::is_folder(volume, Path::new(folder));
        // Where there is neither: as the volume's programs are called.
        let is_grub2 = |path: &&str| inside::is_file(volume, Path::new(path));
        let has_grub2 = ["/usr/bin/grub2-mkimage", "/usr/sbin/grub2-install"]
            .iter()
            .any(is_grub2);
        let folder = FOLDERS
            .iter()
            .find(has_configuration)
            .or_else(|| FOLDERS.iter().find(is_there))
            .unwrap_or(&FOLDERS[usize::from(has_grub2)]);
        Ok(Some(Self {
            modules,
            folder,
            mkimage,
        }))
    }

    pub(crate) fn needs_volume(&self) -> bool {
        self.mkimage.is_on_volume()
    }

    pub(crate) fn configuration(&self) -> String {
        format!("{}/grub.cfg", self.folder)
    }

    pub(crate) fn is_configured(&self, volume: &Path) -> bool {
        inside::is_file(volume, Path::new(&self.configuration()))
    }

    pub(crate) fn copy_files(&self, workshop: &Workshop<'_>) -> Result<(), Error> {
        let image = workshop.image();
        let to = inside::resolve(&image, &Path::new(self.folder).join("i386-pc"))
            .map_err(Error::io("read", &image))?;
        copy_named(&workshop.volume(), self.modules, &to, |name| {
            name.ends_with(".mod") || name.ends_with(".lst")
        })
    }

    pub(crate) fn install(
        &self,
        image: &File,
        target: &Target<'_>,
        workshop: &Workshop<'_>,
    ) -> Result<(), Error> {
        for (offset, bytes) in self.rehearse(target, workshop)? {
            image
                .write_all_at(&bytes, offset)
                .map_err(Error::io("write", target.path))?;
        }
        Ok(())
    }

    /// Makes what is to be written where, in bytes.
    pub(crate) fn rehearse(
        &self,
        target: &Target<'_>,
        workshop: &Workshop<'_>,
    ) -> Result<[(u64, Vec<u8>); 2], Error> {
        let core = self.core_image(target, workshop)?;
        let path = Path::new(self.modules).join("boot.img");
        let boot =
            inside::read_needed(&workshop.volume(), &path).map_err(Error::io("read", &path))?;
        sectors(boot, core, target)
    }

    fn core_image(&self, target: &Target<'_>, workshop: &Workshop<'_>) -> Result<Vec<u8>, Error> {
        let partition = match target.partition {
            PartitionType::Gpt => "gpt1",
            _ => "msdos1",
        };
        let root = match target.subvolume.to_str() {
            None | Some("") => String::new(),
            Some(subvolume) => format!("/{subvolume}"),
        };
        let prefix = format!("(hd0,{partition}){root}{}", self.folder);
        let file_system = match target.file_system {
            "xfs" => "xfs",
            "btrfs" => "btrfs",
            _ => "ext2",
        };
        let run = |modules: &Path, output: &Path, surroundings: &Surroundings<'_>| {
            let mut arguments = ["-O", "i386-pc", "-p", &prefix, "-d"]
                .map(OsStr::new)
                .to_vec();
            arguments.extend([modules.as_os_str(), "-o".as_ref(), output.as_os_str()]);
            let names = ["biosdisk", "part_msdos", "part_gpt", file_system, "normal"];
            arguments.extend(names.map(OsStr::new));
            self.mkimage.run(surroundings, &arguments, b"").map(drop)
        };
        // It syncs what it writes, which a pipe does not take.
        if self.mkimage.is_on_volume() {
            let room = workshop.make_room()?;
            let output = Path::new("/dev").join(CORE);
            room.run(|surroundings| run(Path::new(self.modules), &output, surroundings))?;
            return room.read(CORE);
        }
        // Copies, for it would follow links of the volume to files of this machine.
        let modules = workshop.base().join("modules");
        copy_named(&workshop.volume(), self.modules, &modules, |name| {
            [".mod", ".lst", ".img"]
                .iter()
                .any(|end| name.ends_with(end))
        })?;
        let output = workshop.base().join(CORE);
        run(&modules, &output, &workshop.surroundings())?;
        let core = std::fs::read(&output).map_err(Error::io("read", &output))?;
        std::fs::remove_dir_all(&modules).map_err(Error::io("remove", &modules))?;
        std::fs::remove_file(&output).map_err(Error::io("remove", &output))?;
        Ok(core)
    }
}

/// What is written where, in bytes.
fn sectors(
    mut boot: Vec<u8>,
    mut core: Vec<u8>,
    target: &Target<'_>,
) -> Result<[(u64, Vec<u8>); 2], Error> {
    let sector = SECTOR as usize;
    let (first, room) = target.layout.boot_area.unwrap_or_default();
    let length = core.len().div_ceil(sector);
    for (part, is_short) in [("boot.img", boot.len() < sector), (CORE, length < 2)] {
        if is_short {
            return Err(Error::BrokenLoader {
                part: part.into(),
                flaw: "short",
            });
        }
    }
    let too_long = || Error::LoaderTooLong {
        part: "GRUB 2's core image".to_owned(),
        sectors: length as u64,
        room,
    };
    if length as u64 > room {
        return Err(too_long());
    }
    boot.truncate(BOOT_CODE);
    boot[KERNEL_SECTOR..KERNEL_SECTOR + 8].copy_from_slice(&first.to_le_bytes());
    core.resize(length * sector, 0);
    core[BLOCK_LIST..BLOCK_LIST + 8].copy_from_slice(&(first + 1).to_le_bytes());
    let following = u16::try_from(length - 1).map_err(|_| too_long())?;
    core[BLOCK_LIST + 8..BLOCK_LIST + 10].copy_from_slice(&following.to_le_bytes());
    core[BLOCK_LIST + 10..BLOCK_LIST + 12].copy_from_slice(&SEGMENT.to_le_bytes());
    Ok([(0, boot), (first * SECTOR, core)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::partition::Layout;

    fn target(partition: PartitionType) -> Target<'static> {
        Target {
            path: Path::new("/image"),
            partition,
            layout: Layout::new(partition, 1 << 30),
            file_system: "ext4",
            subvolume: Path::new(""),
        }
    }

    #[test]
    fn the_boot_sector_points_to_the_core_image_and_that_to_itself() {
        for (partition, first) in [(PartitionType::Mbr, 1_u64), (PartitionType::Gpt, 2048)] {
            let [(at, boot), (core_at, core)] =
                sectors(vec![0xAA; 512], vec![0xBB; 1025], &target(partition)).unwrap();
            assert_eq!(
                (at, boot.len(), core_at, core.len()),
                (0, 440, first * 512, 1536)
            );
            assert_eq!(boot[0x5C..0x64], first.to_le_bytes());
            assert_eq!(core[0x1F4..0x1FC], (first + 1).to_le_bytes());
            assert_eq!(core[0x1FC..0x200], [2, 0, 0x20, 0x08]);
            assert_eq!(
                (boot[0x5B], boot[0x64], core[0x1F3], core[0x200]),
                (0xAA, 0xAA, 0xBB, 0xBB)
            );
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let error = sectors(
            vec![0; 512],
            vec![0; 2048 * 512],
            &target(PartitionType::Mbr),
        )
        .unwrap_err();
        assert_eq!(
            error.to_string(),
            "GRUB 2's core image of 2048 sectors does not fit in front of the partition, where there are 2047"
        );
        for (boot, core, told) in [(511, 2048, "boot.img"), (512, 512, "core.img")] {
            let error = sectors(vec![0; boot], vec![0; core], &target(PartitionType::Mbr));
            assert_eq!(
                error.unwrap_err().to_string(),
                format!("{told} is too short to be a part of a boot loader")
            );
        }
    }
}
