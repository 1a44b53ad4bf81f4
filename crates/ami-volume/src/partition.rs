//! Partition tables: what the volume's disk has, and what the image gets.
//!
//! | | mbr | gpt |
//! |---|---|---|
//! | the root | number 1, bootable, from sector 2048 to the end | number 1, from sector 4096 to the last usable one |
//! | the boot loader | sectors 1 to 2047 | BIOS boot partition, number 128, sectors 2048 to 4095 |
//!
//! The numbers are the older suite's. A sector has 512 bytes.

use std::fs::{self, File};
use std::io::{Read, Seek};
use std::path::{Path, PathBuf};

use gptman::{GPT, GPTPartitionEntry};
use mbrman::{BOOT_ACTIVE, CHS, MBR, MBRPartitionEntry};

use crate::error::Error;

/// In bytes.
pub const SECTOR: u64 = 512;

/// The first sector of the first partition: 1 MiB, where every partitioning tool of today begins.
const FIRST: u64 = 2048;

/// The BIOS boot partition's number and length in sectors.
const BIOS_BOOT: (u32, u64) = (128, 2048);

/// UEFI specification and GNU GRUB manual, "BIOS installation": 21686148-6449-6E6F-744E-656564454649.
const BIOS_BOOT_TYPE: [u8; 16] = *b"Hah!IdontNeedEFI";

/// Linux file system data, 0FC63DAF-8483-4772-8E79-3D69D8477DE4, as it stands on disk (UEFI specification, appendix A).
const LINUX_TYPE: [u8; 16] = [
    0xAF, 0x3D, 0xC6, 0x0F, 0x83, 0x84, 0x72, 0x47, 0x8E, 0x79, 0x3D, 0x69, 0xD8, 0x47, 0x7D, 0xE4,
];

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
    /// The partition's GUID, as it stands on disk.
    Gpt([u8; 16]),
}

impl PartitionId {
    /// As `PARTUUID=` has it, for partition number 1.
    pub fn partuuid(&self) -> String {
        match self {
            Self::Mbr(signature) => format!("{:08x}-01", u32::from_le_bytes(*signature)),
            Self::Gpt(guid) => {
                let g = guid;
                format!(
                    "{:02x}{:02x}{:02x}{:02x}-{:02x}{:02x}-{:02x}{:02x}-{:02x}{:02x}-{:02x}{:02x}{:02x}{:02x}{:02x}{:02x}",
                    g[3],
                    g[2],
                    g[1],
                    g[0],
                    g[5],
                    g[4],
                    g[7],
                    g[6],
                    g[8],
                    g[9],
                    g[10],
                    g[11],
                    g[12],
                    g[13],
                    g[14],
                    g[15]
                )
            }
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
) -> std::io::Result<Option<SourcePartition>> {
    let mut sector = [0; SECTOR as usize];
    let _ = disk.seek(std::io::SeekFrom::Start(0))?;
    disk.read_exact(&mut sector)?;
    if let Ok(table) = GPT::find_from(disk) {
        let has_one = number == 1 && table[1].is_used();
        let id = has_one.then(|| PartitionId::Gpt(table[1].unique_partition_guid));
        let kind = PartitionType::Gpt;
        return Ok(Some(SourcePartition { kind, id }));
    }
    if sector[510..] != [0x55, 0xAA] {
        return Ok(None);
    }
    let signature = [sector[440], sector[441], sector[442], sector[443]];
    let id = (number == 1 && signature != [0; 4]).then_some(PartitionId::Mbr(signature));
    let kind = PartitionType::Mbr;
    Ok(Some(SourcePartition { kind, id }))
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
            // Behind the last usable sector are the copy of the table (32 sectors) and of its header.
            PartitionType::Gpt => (
                FIRST + BIOS_BOOT.1,
                sectors.saturating_sub(33),
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

/// Writes an image's table. `random` gives the IDs that are not `keep`.
///
/// # Errors
/// The image cannot be written.
pub(crate) fn write_table(
    image: &mut File,
    path: &Path,
    kind: PartitionType,
    keep: Option<PartitionId>,
    mut random: impl FnMut() -> [u8; 16],
) -> Result<PartitionId, Error> {
    let failed = |source: Box<dyn std::error::Error + Send + Sync>| Error::PartitionTable {
        operation: "write",
        path: PathBuf::from(path),
        source,
    };
    let size = image.metadata().map_err(Error::io("read", path))?.len();
    let layout = Layout::new(kind, size);
    let (first, length) = (layout.root_offset / SECTOR, layout.root_length / SECTOR);
    match kind {
        PartitionType::Gpt => {
            let unique = match keep {
                Some(PartitionId::Gpt(guid)) => guid,
                _ => random_guid(random()),
            };
            let mut table = GPT::new_from(image, SECTOR, random_guid(random()))
                .map_err(|e| failed(e.into()))?;
            table[1] = GPTPartitionEntry {
                partition_type_guid: LINUX_TYPE,
                unique_partition_guid: unique,
                starting_lba: first,
                ending_lba: first + length - 1,
                attribute_bits: 0,
                partition_name: "Linux".into(),
            };
            table[BIOS_BOOT.0] = GPTPartitionEntry {
                partition_type_guid: BIOS_BOOT_TYPE,
                unique_partition_guid: random_guid(random()),
                starting_lba: FIRST,
                ending_lba: FIRST + BIOS_BOOT.1 - 1,
                attribute_bits: 0,
                partition_name: "BIOS Boot Partition".into(),
            };
            let _ = table.write_into(image).map_err(|e| failed(e.into()))?;
            GPT::write_protective_mbr_into(image, SECTOR).map_err(|e| failed(e.into()))?;
            Ok(PartitionId::Gpt(unique))
        }
        PartitionType::Mbr | PartitionType::None => {
            let signature = match keep {
                Some(PartitionId::Mbr(signature)) => signature,
                _ => {
                    let [a, b, c, d, ..] = random();
                    [a | 1, b, c, d]
                }
            };
            let mut table =
                MBR::new_from(image, SECTOR as u32, signature).map_err(|e| failed(e.into()))?;
            table[1] = MBRPartitionEntry {
                boot: BOOT_ACTIVE,
                first_chs: CHS::empty(),
                sys: LINUX_MBR_TYPE,
                last_chs: CHS::empty(),
                // `--size` is at most 10 GiB without --no-size-checks, and a u32 of sectors is 2 TiB.
                starting_lba: u32::try_from(first).map_err(|e| failed(e.into()))?,
                sectors: u32::try_from(length).map_err(|e| failed(e.into()))?,
            };
            table.write_into(image).map_err(|e| failed(e.into()))?;
            Ok(PartitionId::Mbr(signature))
        }
    }
}

/// A source of IDs for [`write_table`].
pub(crate) fn random_ids() -> Result<impl FnMut() -> [u8; 16], Error> {
    let path = Path::new("/dev/urandom");
    let mut pool = vec![0; 16 * 8];
    let mut source = File::open(path).map_err(Error::io("open", path))?;
    source
        .read_exact(&mut pool)
        .map_err(Error::io("read", path))?;
    let mut next = 0;
    Ok(move || {
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&pool[next..next + 16]);
        next = (next + 16) % pool.len();
        bytes
    })
}

/// Version 4, variant 1 (RFC 9562), in the on-disk order of GPT.
fn random_guid(mut bytes: [u8; 16]) -> [u8; 16] {
    bytes[7] = bytes[7] & 0x0F | 0x40;
    bytes[8] = bytes[8] & 0x3F | 0x80;
    bytes
}

#[cfg(test)]
mod tests {
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
        let id = write_table(&mut file, &path, PartitionType::Mbr, keep, || [0; 16]).unwrap();
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
        let id = write_table(&mut file, &path, PartitionType::Gpt, None, || {
            next += 1;
            [next; 16]
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
