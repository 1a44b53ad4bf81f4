//! Partition tables: what the volume's disk has, and what the image gets.
//!
//! | | mbr | gpt |
//! |---|---|---|
//! | the root | number 1, bootable, from sector 2048 to the end | number 1, from sector 4096 to the last usable one |
//! | the boot loader | sectors 1 to 2047 | BIOS boot partition, number 128, sectors 2048 to 4095 |
//!
//! The numbers are the older suite's. A sector has 512 bytes.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::Path;

use uuid::{Uuid, uuid};

use crate::error::Error;
use crate::{gpt, mbr};

/// In bytes.
pub const SECTOR: u64 = 512;

/// The first sector of the first partition: 1 MiB, where every partitioning program of today begins.
const FIRST: u64 = 2048;

/// The BIOS boot partition's number and length in sectors.
const BIOS_BOOT: (usize, u64) = (128, 2048);

/// GNU GRUB manual, "BIOS installation"; on disk it reads `Hah!IdontNeedEFI`.
const BIOS_BOOT_TYPE: Uuid = uuid!("21686148-6449-6e6f-744e-656564454649");

/// Linux file system data (UAPI Group, Discoverable Partitions Specification).
const LINUX_TYPE: Uuid = uuid!("0fc63daf-8483-4772-8e79-3d69d8477de4");

/// Linux, in an MBR.
const LINUX_MBR_TYPE: u8 = 0x83;

/// How an image is partitioned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PartitionType {
    /// One partition in a master boot record.
    Mbr,
    /// One partition beside a BIOS boot partition, in a GUID partition table.
    Gpt,
    /// A bare file system, for paravirtual instances.
    None,
}

impl PartitionType {
    /// `mbr`, `gpt` or `none`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Mbr => "mbr",
            Self::Gpt => "gpt",
            Self::None => "none",
        }
    }
}

/// What names a partition in `PARTUUID=`: kept, so that a kernel command line that uses it still finds the root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PartitionId {
    /// The disk's signature in its MBR.
    Mbr([u8; 4]),
    /// The partition's GUID.
    Gpt(Uuid),
}

impl PartitionId {
    /// As `PARTUUID=` has it, for partition number 1.
    pub fn partuuid(&self) -> String {
        match self {
            Self::Mbr(signature) => format!("{:08x}-01", u32::from_le_bytes(*signature)),
            Self::Gpt(guid) => guid.to_string(),
        }
    }
}

/// The partition that the volume is on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourcePartition {
    /// What kind of table its disk has.
    pub kind: PartitionType,
    /// Its own, if it is number 1 and has one.
    pub id: Option<PartitionId>,
}

/// The disk that a block device is a partition of, and the partition's number, from `/sys` (`sys` is its path).
pub(crate) fn parent_disk(sys: &Path, device: (u32, u32)) -> Option<(String, u32)> {
    let folder = fs::canonicalize(sys.join(format!("dev/block/{}:{}", device.0, device.1))).ok()?;
    if let Ok(number) = fs::read_to_string(folder.join("partition")) {
        let disk = folder.parent()?.file_name()?.to_str()?.to_owned();
        return Some((disk, number.trim().parse().ok()?));
    }
    // A mapped device (LVM, encrypted, multipath): what it lies on.
    let slave = fs::read_dir(folder.join("slaves")).ok()?.next()?.ok()?;
    let numbers = fs::read_to_string(slave.path().join("dev")).ok()?;
    let (major, minor) = numbers.trim().split_once(':')?;
    parent_disk(sys, (major.parse().ok()?, minor.parse().ok()?))
}

/// Reads a disk's table; `None` if it has none.
///
/// # Errors
/// The disk cannot be read.
pub(crate) fn read_table(
    disk: &mut (impl Read + Seek),
    number: u32,
) -> io::Result<Option<SourcePartition>> {
    let mut sector = [0; SECTOR as usize];
    let _ = disk.seek(SeekFrom::Start(0))?;
    disk.read_exact(&mut sector)?;
    if let Some(first) = gpt::read_first(disk) {
        let id = first.filter(|_| number == 1).map(PartitionId::Gpt);
        let kind = PartitionType::Gpt;
        return Ok(Some(SourcePartition { kind, id }));
    }
    Ok(mbr::signature(&sector).map(|signature| SourcePartition {
        kind: PartitionType::Mbr,
        id: (number == 1 && signature != [0; 4]).then_some(PartitionId::Mbr(signature)),
    }))
}

/// Where things are in an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// The root's first byte.
    pub root_offset: u64,
    /// The root's length in bytes.
    pub root_length: u64,
    /// The first sector for a boot loader's core image, and how many there are.
    pub boot_area: Option<(u64, u64)>,
}

impl Layout {
    /// The layout of an image of `size` bytes.
    pub fn new(kind: PartitionType, size: u64) -> Self {
        let sectors = size / SECTOR;
        let (first, end, boot_area) = match kind {
            PartitionType::None => (0, sectors, None),
            PartitionType::Mbr => (FIRST, sectors, Some((1, FIRST - 1))),
            PartitionType::Gpt => (
                FIRST + BIOS_BOOT.1,
                sectors.saturating_sub(gpt::SECTORS_AT_END),
                Some((FIRST, BIOS_BOOT.1)),
            ),
        };
        Self {
            root_offset: first * SECTOR,
            root_length: end.saturating_sub(first) * SECTOR,
            boot_area,
        }
    }
}

/// Writes the table of an image that is empty. Identifiers that are not those of `keep` are made of what `random` returns.
///
/// # Errors
/// The image cannot be written, or is too large for the table.
pub(crate) fn write_table(
    image: &File,
    path: &Path,
    kind: PartitionType,
    keep: Option<PartitionId>,
    mut random: impl FnMut() -> Result<[u8; 16], Error>,
) -> Result<PartitionId, Error> {
    let size = image.metadata().map_err(Error::io("read", path))?.len();
    let layout = Layout::new(kind, size);
    let (first, length) = (layout.root_offset / SECTOR, layout.root_length / SECTOR);
    let failed = Error::io("write the partition table of", path);
    if kind == PartitionType::Gpt {
        let mut new = || random().map(|bytes| uuid::Builder::from_random_bytes(bytes).into_uuid());
        let id = match keep {
            Some(PartitionId::Gpt(guid)) => guid,
            _ => new()?,
        };
        let root = gpt::Partition {
            number: 1,
            kind: LINUX_TYPE,
            id,
            first,
            last: first + length - 1,
            name: "Linux",
        };
        let bios_boot = gpt::Partition {
            number: BIOS_BOOT.0,
            kind: BIOS_BOOT_TYPE,
            id: new()?,
            first: FIRST,
            last: FIRST + BIOS_BOOT.1 - 1,
            name: "BIOS Boot Partition",
        };
        gpt::write(image, size / SECTOR, new()?, &[root, bios_boot]).map_err(failed)?;
        return Ok(PartitionId::Gpt(id));
    }
    let signature = match keep {
        Some(PartitionId::Mbr(signature)) => signature,
        _ => {
            let [a, b, c, d, ..] = random()?;
            // Zeros would mean that there is none.
            [a | 1, b, c, d]
        }
    };
    let too_large = |_| Error::TooLargeForMbr { size };
    let entry = mbr::Entry {
        is_bootable: true,
        kind: LINUX_MBR_TYPE,
        chs: [[0; 3]; 2],
        first: u32::try_from(first).map_err(too_large)?,
        length: u32::try_from(length).map_err(too_large)?,
    };
    image
        .write_all_at(&mbr::record(signature, &entry), 0)
        .map_err(failed)?;
    Ok(PartitionId::Mbr(signature))
}

/// Random numbers for [`write_table`].
pub(crate) fn random() -> Result<[u8; 16], Error> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(Error::Random)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::process::Command;

    use super::*;

    fn image(size: u64) -> (tempfile::TempDir, PathBuf, File) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("image");
        let file = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&path)
            .unwrap();
        file.set_len(size).unwrap();
        (folder, path, file)
    }

    fn printed(command: &str, path: &Path) -> String {
        let output = Command::new("sh")
            .args(["-c", &format!("{command} {}", path.display())])
            .env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin")
            .output()
            .unwrap();
        assert!(output.status.success(), "{command}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    #[test]
    fn an_mbr_is_what_sfdisk_reads() {
        let (_folder, path, mut file) = image(64 << 20);
        let keep = Some(PartitionId::Mbr([0x78, 0x56, 0x34, 0x12]));
        let id = write_table(&file, &path, PartitionType::Mbr, keep, || Ok([0; 16])).unwrap();
        assert_eq!(id.partuuid(), "12345678-01");
        let table = printed("sfdisk --dump", &path);
        assert!(
            table.contains("label: dos\nlabel-id: 0x12345678\n"),
            "{table}"
        );
        assert!(
            table.contains("start=        2048, size=      129024, type=83, bootable"),
            "{table}"
        );
        let found = read_table(&mut file, 1).unwrap().unwrap();
        assert_eq!(
            found,
            SourcePartition {
                kind: PartitionType::Mbr,
                id: keep
            }
        );
        assert_eq!(read_table(&mut file, 2).unwrap().unwrap().id, None);
        let layout = Layout::new(PartitionType::Mbr, 64 << 20);
        assert_eq!(
            (layout.root_offset, layout.root_length),
            (1 << 20, 63 << 20)
        );
    }

    #[test]
    fn a_gpt_is_what_sgdisk_and_sfdisk_read() {
        let (_folder, path, mut file) = image(64 << 20);
        let mut next = 0;
        let id = write_table(&file, &path, PartitionType::Gpt, None, || {
            next += 1;
            Ok([next; 16])
        })
        .unwrap();
        let verified = printed("sgdisk --verify", &path);
        assert!(verified.contains("No problems found."), "{verified}");
        let table = printed("sfdisk --dump", &path);
        assert!(table.contains("label: gpt"), "{table}");
        assert!(
            table.contains(
                "start=        4096, size=      126943, type=0FC63DAF-8483-4772-8E79-3D69D8477DE4"
            ),
            "{table}"
        );
        assert!(table.contains("image128 : start=        2048, size=        2048, type=21686148-6449-6E6F-744E-656564454649"), "{table}");
        assert!(
            table
                .to_lowercase()
                .contains(&format!("uuid={}", id.partuuid())),
            "{table} {id:?}"
        );
        assert_eq!(
            read_table(&mut file, 1).unwrap().unwrap(),
            SourcePartition {
                kind: PartitionType::Gpt,
                id: Some(id)
            }
        );
        let layout = Layout::new(PartitionType::Gpt, 64 << 20);
        assert_eq!(
            (layout.root_offset, layout.root_length),
            (2 << 20, 126_943 * 512)
        );
    }

    #[test]
    fn no_table_is_none() {
        let (_folder, _, mut file) = image(1 << 20);
        assert_eq!(read_table(&mut file, 1).unwrap(), None);
    }

    #[test]
    fn a_partition_leads_to_its_disk_and_a_mapped_device_to_its_partition() {
        let sys = tempfile::tempdir().unwrap();
        let root = sys.path();
        let disk = root.join("devices/vbd/block/xvda");
        fs::create_dir_all(disk.join("xvda1")).unwrap();
        fs::write(disk.join("xvda1/partition"), "1\n").unwrap();
        fs::write(disk.join("xvda1/dev"), "202:1\n").unwrap();
        let mapped = root.join("devices/virtual/block/dm-0");
        fs::create_dir_all(mapped.join("slaves")).unwrap();
        std::os::unix::fs::symlink(disk.join("xvda1"), mapped.join("slaves/xvda1")).unwrap();
        fs::create_dir_all(root.join("dev/block")).unwrap();
        for (number, target) in [
            ("202:0", &disk),
            ("202:1", &disk.join("xvda1")),
            ("253:0", &mapped),
        ] {
            std::os::unix::fs::symlink(target, root.join("dev/block").join(number)).unwrap();
        }
        assert_eq!(parent_disk(root, (202, 1)), Some(("xvda".into(), 1)));
        assert_eq!(parent_disk(root, (253, 0)), Some(("xvda".into(), 1)));
        assert_eq!(parent_disk(root, (202, 0)), None);
        assert_eq!(parent_disk(root, (9, 9)), None);
    }
}
